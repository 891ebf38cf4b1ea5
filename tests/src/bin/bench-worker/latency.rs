//! How long an order takes at a steady rate: from the moment that it is sent to the moment that its payment can be read.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penstock_tests::scene::Result;
use rdkafka::Message;

use crate::check;
use crate::client::{LIMIT, Reader, Sender, Watcher};
use crate::contestant::{Contestant, Running, Setup, Task};
use crate::drain::wait_for;
use crate::loops::Guarantee;
use crate::orders::{Fate, fate, number_of};
use crate::topics::{PARTITIONS, Topics};

/// Orders a second.
pub const RATE: u32 = 2_000;
/// How long orders come before the measured ones, in seconds: until everybody has joined and connected, and the broker's Java
/// code is compiled for what comes.
const WARM_SECONDS: u32 = 10;
const WARM: u32 = RATE * WARM_SECONDS;
/// How long an order may wait for others before it is sent, in milliseconds: what Kafka's producers do by default (KIP-1030).
const LINGER: u32 = 5;

/// What was measured, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

/// Sends orders for so long, and follows their payments.
pub async fn run(setup: &Setup, who: Contestant, guarantee: Guarantee, seconds: u32, name: &str) -> Result<Latency> {
    let source = format!("{name}-orders");
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(&source, name));
    topics.create(&[&source, &task.payments, &task.letters]).await?;
    let running = Running::start(setup, who, guarantee, &task)?;
    let orders = WARM + RATE * seconds;
    let latencies = measure(setup, &task, orders)?;
    wait_for(&Watcher::new(&setup.brokers, &task.group, &source, PARTITIONS)?, &running, orders.into()).await?;
    running.end().await?;
    let outcome = check::outputs(&setup.brokers, &task, orders)?;
    topics.delete(&[&source, &task.payments, &task.letters]).await?;
    if !outcome.problems.is_empty() {
        return Err(format!("{who}, {guarantee:?}: not exact:\n  {}", outcome.problems.join("\n  ")).into());
    }
    let latency = percentiles(latencies);
    eprintln!("    {who}: p50 {:.1} ms, p99 {:.1} ms at {RATE} orders/s", latency.p50, latency.p99);
    Ok(latency)
}

fn measure(setup: &Setup, task: &Task, orders: u32) -> Result<Vec<Duration>> {
    let sender = Sender::new(&setup.brokers, &task.source, LINGER)?;
    let reader = Reader::new(&setup.brokers, &[&task.payments], PARTITIONS)?;
    let begun = Instant::now();
    let sent: Vec<AtomicU64> = (0..orders).map(|_| AtomicU64::new(0)).collect();
    let since = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let send = |number: u32| {
        if let Some(slot) = sent.get(number as usize) {
            slot.store(since(), Ordering::Relaxed);
        }
        sender.send(number)
    };
    let mut latencies = Vec::with_capacity(orders as usize);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let begun = Instant::now();
            for number in 0..orders {
                let due = begun + Duration::from_secs(1) * number / RATE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                send(number)?;
            }
            sender.finish()
        });
        let collected = collect(&reader, paid(0..orders), |number| {
            if number < WARM {
                return;
            }
            let at = sent.get(number as usize).map_or(0, |slot| slot.load(Ordering::Relaxed));
            latencies.push(Duration::from_nanos(since().saturating_sub(at)));
        });
        let sent = sending.join().unwrap_or_else(|_| Err("the sender panicked".into()));
        sent.and(collected)
    })?;
    Ok(latencies)
}

/// How many of these orders are paid.
fn paid(range: Range<u32>) -> usize {
    range.filter(|number| matches!(fate(*number), Fate::Paid(_))).count()
}

/// Reads payments until so many orders have theirs.
fn collect(reader: &Reader, mut missing: usize, mut each: impl FnMut(u32)) -> Result {
    let mut last = Instant::now();
    while missing > 0 {
        if let Some(message) = reader.next(Duration::from_millis(100))? {
            if let Some(number) = message.key().and_then(number_of) {
                each(number);
                missing -= 1;
            }
            last = Instant::now();
        }
        if last.elapsed() > LIMIT {
            return Err(format!("no payment came for {} s; {missing} are missing", LIMIT.as_secs()).into());
        }
    }
    Ok(())
}

fn percentiles(mut latencies: Vec<Duration>) -> Latency {
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).map_or(f64::NAN, |found| found.as_secs_f64() * 1e3);
    Latency { p50: at(50), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all() {
        let Latency { p50, p99 } = percentiles((0..200).rev().map(Duration::from_millis).collect());
        assert_eq!((p50.round(), p99.round()), (100.0, 198.0));
    }
}
