//! How long a record takes at a modest rate: from the moment that it is sent to the moment that its output can be read.

use penstock_tests::bench::{Latency, PARTITIONS, Steady, Topics, Watcher, wait_for};
use penstock_tests::scene::Result;

use crate::carts;
use crate::check;
use crate::run::{Running, Setup, Task, Who};

/// Records a second.
pub const RATE: u32 = 500;
/// How long records come before the measured ones, in seconds.
const WARM_SECONDS: u32 = 10;
/// Records in process at once.
pub const CONCURRENCY: u16 = 16;

/// Sends records for so long, and follows their outputs.
pub async fn run(setup: &Setup, who: Who, seconds: u32, name: &str) -> Result<Latency> {
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(&format!("{name}-in").replace(['(', ')'], "-"), name));
    topics.create(&[&task.source, &task.sink, &task.letters]).await?;
    let running = Running::start(setup, who, CONCURRENCY, &task).await?;
    let records = RATE * (WARM_SECONDS + seconds);
    let (brokers, source, output) = (setup.brokers.as_str(), task.source.as_str(), task.sink.as_str());
    let steady = Steady { brokers, source, output, rate: RATE, warm: RATE * WARM_SECONDS, records, outputs: records as usize };
    let latency = steady.follow(carts::record, carts::number_of)?;
    wait_for(&Watcher::new(brokers, &task.group, source, PARTITIONS)?, running.worker.process(), records.into()).await?;
    running.end().await?;
    check::outputs(brokers, &task, records).map_err(|error| format!("{who}: {error}"))?;
    topics.delete(&[source, output, &task.letters]).await?;
    eprintln!("    {who}: p50 {:.1} ms, p99 {:.1} ms at {RATE} records/s", latency.p50, latency.p99);
    Ok(latency)
}
