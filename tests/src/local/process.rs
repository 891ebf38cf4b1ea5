//! One process of a program of ours or of Kafka: its signals, its log, its end.
//!
//! Dropped, it is killed and its end awaited. If this program is killed itself, the kernel kills the process.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Usage, keeper, usage};
use crate::cluster::error::at;
use crate::cluster::orphans::{MARK, identity};
use crate::cluster::progress::tail;
use crate::cluster::{HarnessError, Result};

/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a command, with its output at the end of `log`, on that core alone or on all that this program may use.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &Command, log: &Path, core: Option<usize>) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(at("write", log))?;
        let other = file.try_clone().map_err(at("write", log))?;
        let program = PathBuf::from(command.get_program());
        // `setpriv` becomes the program, so that its process is the program's.
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(&program).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(variable, value),
                None => wrapped.env_remove(variable),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        // A terminal's Ctrl-C reaches only this program, which then ends them in its own order.
        wrapped.env(MARK, identity()).stdin(Stdio::null()).stdout(file).stderr(other).process_group(0);
        let child = keeper::spawn(wrapped, core).map_err(at("start", &program))?;
        let pid = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), pid, child: Mutex::new(child), log: log.to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Ends it at once (SIGKILL) and waits until the kernel has.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        // Only a process that was never started cannot be waited for.
        let _ = self.child().wait();
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it where it is (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// How it has ended; none while it runs or is paused.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It has not, within `limit`; with the end of its log.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if begun.elapsed() > limit {
                return Err(self.late("has not ended", limit));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage::of(self.pid)
    }

    /// Where its output is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error if it has ended; with the end of its log.
    ///
    /// # Errors
    /// [`HarnessError::Command`].
    pub fn must_run(&self) -> Result<()> {
        let Some(status) = self.ended() else { return Ok(()) };
        let tail = self.tail();
        Err(HarnessError::Command { command: self.name.clone(), status: format!("ended, {status}"), log: Some(self.log.clone()), tail })
    }

    /// Says what did not come about in time; with the end of its log.
    pub fn late(&self, what: &str, limit: Duration) -> HarnessError {
        let advice = format!("Its log, {}, ends with{}", self.log.display(), self.tail());
        HarnessError::Late { what: format!("{} {what}", self.name), seconds: limit.as_secs(), advice }
    }

    fn tail(&self) -> String {
        tail(&self.log, 15).iter().map(|line| format!("\n    | {line}")).collect()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never reaches another process: the id is ours until the child has been waited for.
    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            // It may end right now, and then needs no signal.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sleep");
        Process::start("sleep", command.arg("60"), &folder.join("log"), None).unwrap()
    }

    fn state(process: &Process) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("State:")).unwrap().trim().to_owned()
    }

    fn becomes(process: &Process, expected: char) {
        let begun = Instant::now();
        while !state(process).starts_with(expected) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", state(process));
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn signals_arrive_and_the_end_is_told() {
        let folder = super::super::folder::Folder::new("test").unwrap();
        let process = sleeper(folder.path());
        process.must_run().unwrap();
        becomes(&process, 'S');
        process.pause();
        becomes(&process, 'T');
        assert_eq!(process.ended(), None);
        process.resume();
        becomes(&process, 'S');
        process.terminate();
        let status = process.wait(Duration::from_secs(10)).await.unwrap();
        assert!(!status.success());
        assert!(process.must_run().unwrap_err().to_string().contains("sleep"));
        process.kill();
    }

    #[test]
    fn a_process_runs_on_its_core_alone() {
        let folder = super::super::folder::Folder::new("test").unwrap();
        let core = *keeper::cores().unwrap().last().unwrap();
        let mut command = Command::new("sleep");
        let process = Process::start("sleep", command.arg("60"), &folder.path().join("log"), Some(core)).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        assert!(status.lines().any(|line| line == format!("Cpus_allowed_list:\t{core}")), "{status}");
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        let folder = super::super::folder::Folder::new("test").unwrap();
        let missing = folder.path().join("missing/log");
        let error = Process::start("sleep", &Command::new("sleep"), &missing, None).unwrap_err();
        assert!(error.to_string().contains("missing/log"), "{error}");
    }
}
