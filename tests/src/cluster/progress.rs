//! What a person sees while the harness works: a line for each step, and one about every 15 seconds of a long step.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a long step says that it is still at work.
const INTERVAL: Duration = Duration::from_secs(15);

/// A step under way. Tell how it ended with [`Step::done`].
pub(crate) struct Step {
    started: Instant,
}

impl Step {
    pub(crate) fn start(what: &str) -> Self {
        eprintln!("==> {what}");
        Self { started: Instant::now() }
    }

    /// Says every 15 seconds how long this takes and what the log said last. Never returns.
    pub(crate) async fn tick(&self, log: Option<&Path>) -> Infallible {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let last = log.and_then(last_line).map(|line| format!(": {line}")).unwrap_or_default();
            eprintln!("    … {} s{last}", self.started.elapsed().as_secs());
        }
    }

    /// Ends the step. Only what took long enough to be noticed is worth a line.
    pub(crate) fn done(self) {
        let seconds = self.started.elapsed().as_secs_f32();
        if seconds >= 1.0 {
            eprintln!("    {seconds:.1} s");
        }
    }
}

/// Says something that needs no time.
pub(crate) fn note(what: &str) {
    eprintln!("    {what}");
}

fn last_line(log: &Path) -> Option<String> {
    tail(log, 1).pop()
}

/// The last `lines` non-empty lines of a text file, each cut to a readable length; none when it cannot be read.
pub(crate) fn tail(log: &Path, lines: usize) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut last: Vec<String> =
        text.lines().rev().filter(|l| !l.trim().is_empty()).take(lines).map(|l| l.trim_end().chars().take(300).collect()).collect();
    last.reverse();
    last
}
