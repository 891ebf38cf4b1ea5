//! Keeps two harnesses from making the same thing at once. The kernel frees a lock with the process that holds it.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::error::{HarnessError, Result, at};
use super::progress::Step;

/// Held until dropped.
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock at `path`, and says so when it is taken.
pub(crate) async fn acquire(path: &Path, what: &str) -> Result<Lock> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    }
    let file = File::options().create(true).write(true).truncate(false).open(path).map_err(at("open", path))?;
    if try_lock(&file, path)? {
        return Ok(Lock { _file: file });
    }
    let step = Step::start(&format!("waiting until another harness is done with {what}"));
    tokio::select! {
        free = poll(&file, path) => free?,
        never = step.tick(None) => match never {},
    }
    step.done();
    Ok(Lock { _file: file })
}

async fn poll(file: &File, path: &Path) -> Result<()> {
    while !try_lock(file, path)? {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(HarnessError::File { action: "lock", path: path.to_owned(), source }),
    }
}
