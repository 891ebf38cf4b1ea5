//! The worker at its start and at rest: how long until its first commit, and how much memory it has while it does nothing.

use std::time::{Duration, Instant};

use penstock_tests::bench::{PARTITIONS, Sender, Topics, Watcher, wait_for};
use penstock_tests::scene::Result;

use crate::contestant::{Contestant, Running, Setup, Task};
use crate::loops::Guarantee;
use crate::orders;

const ORDERS: u32 = 1_000;
/// How long the worker does nothing before its memory is read.
const REST: Duration = Duration::from_secs(3);
const READY: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the start of the process to the first offset that it has committed.
    pub first_commit: Duration,
    /// Memory of a worker that is ready and has nothing to do, in bytes.
    pub idle_rss: u64,
}

/// Starts the worker three times in one group: to make the group, to rest, and for the measured start.
pub async fn run(setup: &Setup, guarantee: Guarantee, name: &str) -> Result<Start> {
    let source = format!("{name}-orders");
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(&source, name));
    topics.create(&[&source, &task.payments, &task.letters]).await?;
    let (sender, watcher) = (Sender::new(&setup.brokers, &source, 0)?, Watcher::new(&setup.brokers, &task.group, &source, PARTITIONS)?);
    let begin = || Running::start(setup, Contestant::Worker, guarantee, &task);

    (0..ORDERS).try_for_each(|number| orders::send(&sender, number))?;
    sender.finish()?;
    let running = begin()?;
    wait_for(&watcher, running.process(), ORDERS.into()).await?;
    running.end().await?;

    let resting = begin()?;
    if let Running::Worker(worker) = &resting {
        worker.wait_ready(READY).await?;
    }
    tokio::time::sleep(REST).await;
    let idle_rss = resting.process().usage()?.rss;
    resting.end().await?;

    (ORDERS..ORDERS * 2).try_for_each(|number| orders::send(&sender, number))?;
    sender.finish()?;
    let begun = Instant::now();
    let running = begin()?;
    wait_for(&watcher, running.process(), i64::from(ORDERS) + 1).await?;
    let first_commit = begun.elapsed();
    running.end().await?;
    topics.delete(&[&source, &task.payments, &task.letters]).await?;
    eprintln!("    worker: first commit {:.2} s after its start", first_commit.as_secs_f64());
    Ok(Start { first_commit, idle_rss })
}
