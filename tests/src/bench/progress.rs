//! How far a process that is measured has come.

use std::time::{Duration, Instant, SystemTime};

use super::Watcher;
use crate::local::Process;
use crate::scene::Result;

/// How often commits are looked at: also how exactly the end is known.
const LOOK: Duration = Duration::from_millis(10);
/// Who commits nothing for so long stands still for good.
const STILL: Duration = Duration::from_secs(60);

/// Waits until so many records are committed; when that was.
///
/// # Errors
/// The process has ended, or commits nothing any more.
pub async fn wait_for(watcher: &Watcher, process: &Process, records: i64) -> Result<SystemTime> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let committed = watcher.committed()?;
        if committed >= records {
            return Ok(SystemTime::now());
        }
        if committed > last {
            (last, moved) = (committed, Instant::now());
        }
        process.must_run()?;
        if moved.elapsed() > STILL {
            return Err(process.late(&format!("has committed {committed} of {records}"), STILL).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes as the megabytes of a report.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
