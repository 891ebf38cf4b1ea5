//! What a process has used, as the kernel counts it.

use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

use crate::cluster::Result;
use crate::cluster::error::at;
use crate::cluster::sweep::proc_file;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads, in user and kernel mode, in steps of some 10 ms.
    pub cpu: Duration,
    /// Memory now, in bytes.
    pub rss: u64,
    /// The most memory that it ever had, in bytes.
    pub peak_rss: u64,
}

/// Reads it from `/proc`.
pub(super) fn of(pid: Pid) -> Result<Usage> {
    let read = |name| {
        let path = proc_file(pid, name);
        std::fs::read_to_string(&path).map_err(at("read", &path))
    };
    let (stat, status) = (read("stat")?, read("status")?);
    let field = |name| kilobytes(&status, name).unwrap_or_default() * 1024;
    let cpu = Duration::from_secs(1) / u32::try_from(clock_ticks_per_second()).unwrap_or(100) * ticks(&stat).unwrap_or_default();
    Ok(Usage { cpu, rss: field("VmRSS"), peak_rss: field("VmHWM") })
}

/// Fields 14 and 15 of /proc/PID/stat; the second may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some(fields.next()?? + fields.next()??)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(ticks("7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 250 31 0 0 20 0 1 0 4711"), Some(281));
        assert_eq!(ticks("7 (a) S 1"), None);
        let status = "Name:\tworker\nVmPeak:\t  999 kB\nVmHWM:\t    1234 kB\nVmRSS:\t     567 kB\n";
        assert_eq!((kilobytes(status, "VmHWM"), kilobytes(status, "VmRSS"), kilobytes(status, "Vm")), (Some(1234), Some(567), None));
    }

    #[test]
    fn this_program_uses_memory() {
        let usage = of(rustix::process::getpid()).unwrap();
        assert!(usage.rss > 0 && usage.peak_rss >= usage.rss, "{usage:?}");
    }
}
