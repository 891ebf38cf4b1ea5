//! Ends programs that a harness started and that outlived it because it was killed outright. Every program of a harness, and
//! whatever that starts in turn, carries the harness's identity in its environment.

use std::time::Duration;

use rustix::process::{Pid, getpid};

use super::sweep::{end, proc_file, processes};

/// The environment variable that says which harness a program works for.
pub(crate) const MARK: &str = "PENSTOCK_STEP";

/// This harness's identity: its process id and start time, which together never come again.
pub(crate) fn identity() -> String {
    identity_of(getpid()).unwrap_or_default()
}

/// Ends all programs whose harness is no more.
pub(crate) fn end_all() {
    let orphans: Vec<_> = processes().filter(|pid| harness_of(*pid).is_some_and(|mark| !is_alive(&mark))).collect();
    end(&orphans, Duration::from_secs(10));
}

fn harness_of(pid: Pid) -> Option<String> {
    let environment = std::fs::read(proc_file(pid, "environ")).ok()?;
    marked(&environment)
}

fn marked(environment: &[u8]) -> Option<String> {
    let variables = environment.split(|byte| *byte == 0);
    let value = variables.filter_map(|v| std::str::from_utf8(v).ok()).find_map(|v| v.strip_prefix(MARK)?.strip_prefix('='))?;
    Some(value.to_owned())
}

/// Whether the harness of that identity still runs.
pub(crate) fn is_alive(identity: &str) -> bool {
    let pid = identity.split(':').next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    pid.and_then(identity_of).is_some_and(|now| now == identity)
}

fn identity_of(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(proc_file(pid, "stat")).ok()?;
    Some(format!("{}:{}", pid.as_raw_nonzero(), start_time(&stat)?))
}

/// Field 22 of /proc/PID/stat; the second, the program's name in parentheses, may itself hold spaces and parentheses.
fn start_time(stat: &str) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(start_time(stat), Some("4711"));
    }

    #[test]
    fn the_mark_is_one_whole_variable() {
        for (environment, mark) in
            [("A=1\0PENSTOCK_STEP=7:8\0B=2\0", Some("7:8")), ("XPENSTOCK_STEP=7:8\0", None), ("PENSTOCK_STEPS=7:8\0", None), ("", None)]
        {
            assert_eq!(marked(environment.as_bytes()).as_deref(), mark, "{environment}");
        }
    }

    #[test]
    fn a_running_process_is_alive_and_a_reused_id_is_not() {
        assert!(is_alive(&identity()));
        assert!(!is_alive(&format!("{}:1", getpid().as_raw_nonzero())));
        assert!(!is_alive("nonsense"));
    }
}
