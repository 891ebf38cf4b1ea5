//! Starts processes so that they end with this program, and on the core that they shall run on.
//!
//! A process that is to die with its parent dies with the *thread* that started it, and takes that thread's cores along.
//! So one thread starts them all, and it lives as long as the program.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cluster::{HarnessError, Result};

struct Order {
    command: Command,
    core: Option<usize>,
    answer: SyncSender<io::Result<Child>>,
}

static KEEPER: LazyLock<io::Result<Sender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = channel::<Order>();
    std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
        for Order { mut command, core, answer } in taken {
            // Whoever asked may have given up.
            let _ = answer.send(spawn_on(&mut command, core));
        }
    })?;
    Ok(orders)
});

/// Starts a command on that core, or on those of this program.
pub(super) fn spawn(command: Command, core: Option<usize>) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts processes is gone");
    let keeper = KEEPER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (answer, answered) = sync_channel(1);
    keeper.send(Order { command, core, answer }).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn spawn_on(command: &mut Command, core: Option<usize>) -> io::Result<Child> {
    let Some(core) = core else { return command.spawn() };
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    let child = command.spawn();
    sched_setaffinity(None, &before)?;
    child
}

/// The cores that this program may use.
///
/// # Errors
/// The kernel does not tell.
pub fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).map_err(|error| HarnessError::Input(format!("the cores of this machine cannot be told: {error}")))?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Pins the calling thread, and all that it starts from now on, to one core.
///
/// # Errors
/// The kernel refuses: there is no such core, or this program may not use it.
pub fn pin(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).map_err(|error| HarnessError::Input(format!("cannot run on core {core} alone: {error}")))
}
