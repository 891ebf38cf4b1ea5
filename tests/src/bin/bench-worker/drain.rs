//! One timed run: a full topic is worked off, from the first output to the last committed offset.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use penstock_tests::scene::Result;

use crate::check;
use crate::client::Watcher;
use crate::contestant::{Contestant, Running, Setup, Task};
use crate::loops::Guarantee;
use crate::topics::{PARTITIONS, Topics};

/// How often commits are looked at: also how exactly the end is known.
const LOOK: Duration = Duration::from_millis(10);
/// Who commits nothing for so long stands still for good.
const STILL: Duration = Duration::from_secs(60);

/// What a run measured.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// Orders a second.
    pub rate: f64,
    /// Processor seconds for a million orders, from the process' start.
    pub cpu: f64,
    /// The most memory, in bytes.
    pub peak_rss: u64,
}

/// Lets a contestant work off the orders `0..orders` in `source`, and checks what came out.
pub async fn run(setup: &Setup, who: Contestant, guarantee: Guarantee, source: &str, orders: u32, name: &str) -> Result<Drained> {
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(source, name));
    topics.create(&task.outputs()).await?;
    let running = Running::start(setup, who, guarantee, &task)?;
    let watcher = Watcher::new(&setup.brokers, &task.group, source, PARTITIONS)?;
    let ended = wait_for(&watcher, &running, orders.into()).await?;
    let usage = running.process().usage()?;
    running.end().await?;
    let outcome = check::outputs(&setup.brokers, &task, orders)?;
    topics.delete(&task.outputs()).await?;
    if !outcome.problems.is_empty() {
        return Err(format!("{who}, {guarantee:?}: not exact:\n  {}", outcome.problems.join("\n  ")).into());
    }
    let begun = UNIX_EPOCH + Duration::from_millis(u64::try_from(outcome.first_output)?);
    let took = ended.duration_since(begun)?;
    let millions = f64::from(orders) / 1e6;
    let drained =
        Drained { rate: f64::from(orders) / took.as_secs_f64(), cpu: usage.cpu.as_secs_f64() / millions, peak_rss: usage.peak_rss };
    eprintln!("    {who}: {:.0} orders/s, {:.2} CPU-s per million, peak {:.1} MB", drained.rate, drained.cpu, megabytes(drained.peak_rss));
    Ok(drained)
}

/// Waits until so many records are committed; when that was.
pub async fn wait_for(watcher: &Watcher, running: &Running, records: i64) -> Result<SystemTime> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let committed = watcher.committed()?;
        if committed >= records {
            return Ok(SystemTime::now());
        }
        if committed > last {
            (last, moved) = (committed, Instant::now());
        }
        running.process().must_run()?;
        if moved.elapsed() > STILL {
            return Err(running.process().late(&format!("has committed {committed} of {records}"), STILL).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes as the megabytes of the report.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
