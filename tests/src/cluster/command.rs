//! Runs other programs. Each runs in a process group of its own, which is ended with the future that waits for it, so that
//! an interrupted harness leaves nothing at work behind; a terminal's Ctrl-C reaches only the harness.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::error::{HarnessError, Result, at};
use super::orphans::{MARK, identity};
use super::progress::{Step, tail};

/// How long a program that is told to end may take to tidy up.
const GRACE: Duration = Duration::from_secs(10);

/// Takes away what `cargo run` has told this program about its own package. A cargo that inherits it takes it for a change of
/// the build, and compiles some crates, with all that stand on them, anew each time.
pub(crate) fn forget_cargo(command: &mut Command) {
    let told = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        command.env_remove(name);
    }
}

/// A running program whose whole group ends when this is dropped.
struct Group(Child);

impl Group {
    fn spawn(command: &mut Command) -> Result<Self> {
        let program = Path::new(command.as_std().get_program()).to_owned();
        command.stdin(Stdio::null()).env(MARK, identity()).process_group(0).spawn().map(Self).map_err(at("start", &program))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
        // The group may have ended by itself in the meantime; that is as good.
        let _ = kill_process_group(group, Signal::TERM);
        let started = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if started.elapsed() > GRACE {
                let _ = kill_process_group(group, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a command to its end as a step that a person sees, with its output in `log`.
pub(crate) async fn logged(what: &str, mut command: Command, log: &Path) -> Result<()> {
    let step = Step::start(what);
    quiet_with(&step, &mut command, log).await?;
    step.done();
    Ok(())
}

/// Runs a command to its end as a part of `step`, with its output in `log`.
pub(crate) async fn quiet_with(step: &Step, command: &mut Command, log: &Path) -> Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    }
    let file = OpenOptions::new().create(true).write(true).truncate(true).open(log).map_err(at("write", log))?;
    let other = file.try_clone().map_err(at("write", log))?;
    let mut group = Group::spawn(command.stdout(file).stderr(other))?;
    let status = tokio::select! {
        status = group.0.wait() => status.map_err(at("wait for", log))?,
        never = step.tick(Some(log)) => match never {},
    };
    if status.success() {
        return Ok(());
    }
    let lines = tail(log, 20);
    Err(failure(command, status.to_string(), Some(log), &lines))
}

/// Runs a command that ends soon and returns what it printed.
pub(crate) async fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let mut group = Group::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
    let ended = tokio::time::timeout(limit, async { tokio::join!(group.0.wait(), read(stdout), read(stderr)) }).await;
    let Ok((status, stdout, stderr)) = ended else {
        return Err(failure(command, format!("no end after {} s", limit.as_secs()), None, &[]));
    };
    let status = status.map_err(at("wait for", Path::new(command.as_std().get_program())))?;
    if status.success() {
        return Ok(stdout);
    }
    let lines: Vec<String> = stderr.lines().chain(stdout.lines()).take(20).map(str::to_owned).collect();
    Err(failure(command, status.to_string(), None, &lines))
}

/// Whether a command ends well within `limit`.
pub(crate) async fn succeeds(command: &mut Command, limit: Duration) -> bool {
    output(command, limit).await.is_ok()
}

/// Repeats `check` until it holds; `what` says what is not so when it never does.
pub(crate) async fn wait_until<F>(what: &str, limit: Duration, advice: &str, mut check: F) -> Result<()>
where
    F: AsyncFnMut() -> bool,
{
    let started = Instant::now();
    while !check().await {
        if started.elapsed() > limit {
            return Err(HarnessError::Late { what: what.to_owned(), seconds: limit.as_secs(), advice: advice.to_owned() });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn read<R: tokio::io::AsyncRead + Unpin>(source: Option<R>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // What was read before an error is still worth showing.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut source, &mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn failure(command: &Command, status: String, log: Option<&Path>, lines: &[String]) -> HarnessError {
    let std = command.as_std();
    let words: Vec<_> = std::iter::once(std.get_program()).chain(std.get_args()).map(|w| w.to_string_lossy()).collect();
    let tail = lines.iter().map(|line| format!("\n    | {line}")).collect();
    HarnessError::Command { command: words.join(" "), status, log: log.map(Path::to_owned), tail }
}
