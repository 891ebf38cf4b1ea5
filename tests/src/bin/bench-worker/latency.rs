//! How long an order takes at a steady rate: from the moment that it is sent to the moment that its payment can be read.

use penstock_tests::bench::{Latency, PARTITIONS, Steady, Topics, Watcher, wait_for};
use penstock_tests::scene::Result;

use crate::check;
use crate::contestant::{Contestant, Running, Setup, Task};
use crate::loops::Guarantee;
use crate::orders::{Fate, fate, number_of, record};

/// Orders a second.
pub const RATE: u32 = 2_000;
/// How long orders come before the measured ones, in seconds.
const WARM_SECONDS: u32 = 10;
const WARM: u32 = RATE * WARM_SECONDS;

/// Sends orders for so long, and follows their payments.
pub async fn run(setup: &Setup, who: Contestant, guarantee: Guarantee, seconds: u32, name: &str) -> Result<Latency> {
    let source = format!("{name}-orders");
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(&source, name));
    topics.create(&[&source, &task.payments, &task.letters]).await?;
    let running = Running::start(setup, who, guarantee, &task)?;
    let orders = WARM + RATE * seconds;
    let outputs = (0..orders).filter(|number| matches!(fate(*number), Fate::Paid(_))).count();
    let (brokers, output) = (setup.brokers.as_str(), task.payments.as_str());
    let steady = Steady { brokers, source: &source, output, rate: RATE, warm: WARM, records: orders, outputs };
    let latency = steady.follow(record, number_of)?;
    wait_for(&Watcher::new(&setup.brokers, &task.group, &source, PARTITIONS)?, running.process(), orders.into()).await?;
    running.end().await?;
    let outcome = check::outputs(&setup.brokers, &task, orders)?;
    topics.delete(&[&source, &task.payments, &task.letters]).await?;
    if !outcome.problems.is_empty() {
        return Err(format!("{who}, {guarantee:?}: not exact:\n  {}", outcome.problems.join("\n  ")).into());
    }
    eprintln!("    {who}: p50 {:.1} ms, p99 {:.1} ms at {RATE} orders/s", latency.p50, latency.p99);
    Ok(latency)
}
