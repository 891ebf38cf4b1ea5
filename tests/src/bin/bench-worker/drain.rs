//! One timed run: a full topic is worked off, from the first output to the last committed offset.

use std::time::{Duration, UNIX_EPOCH};

use penstock_tests::bench::{PARTITIONS, Topics, Watcher, megabytes, wait_for};
use penstock_tests::scene::Result;

use crate::check;
use crate::contestant::{Contestant, Running, Setup, Task};
use crate::loops::Guarantee;

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
    let ended = wait_for(&watcher, running.process(), orders.into()).await?;
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
