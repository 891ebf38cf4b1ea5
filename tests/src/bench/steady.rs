//! A steady load, and how long each of its records takes: from the moment that it is sent to the moment that what follows from it
//! can be read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message;

use super::{LIMIT, PARTITIONS, Reader, Sender};
use crate::scene::Result;

/// How long a record may wait for others before it is sent, in milliseconds: what Kafka's producers do by default (KIP-1030).
const LINGER: u32 = 5;

/// A load. Its records are numbers.
pub struct Steady<'a> {
    /// The brokers.
    pub brokers: &'a str,
    /// Where the records are written.
    pub source: &'a str,
    /// Where what follows from them is read.
    pub output: &'a str,
    /// Records a second.
    pub rate: u32,
    /// How many come before those that are measured: until everybody has joined and connected, and the broker's Java code is
    /// compiled for what comes.
    pub warm: u32,
    /// How many there are in all.
    pub records: u32,
    /// How many of them have an output.
    pub outputs: usize,
}

/// What was measured, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of the records took that long at most.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
}

impl Steady<'_> {
    /// Sends the records and follows their outputs. `record` makes the key and the value of a number, `number_of` tells it from the
    /// key of an output.
    ///
    /// # Errors
    /// Kafka does not take a record, or an output does not come.
    pub fn follow(&self, record: impl Fn(u32) -> (String, String) + Sync, number_of: impl Fn(&[u8]) -> Option<u32>) -> Result<Latency> {
        let sender = Sender::new(self.brokers, self.source, LINGER)?;
        let reader = Reader::new(self.brokers, &[self.output], PARTITIONS)?;
        let begun = Instant::now();
        let sent: Vec<AtomicU64> = (0..self.records).map(|_| AtomicU64::new(0)).collect();
        let since = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let send = |number: u32| {
            let (key, value) = record(number);
            if let Some(slot) = sent.get(number as usize) {
                slot.store(since(), Ordering::Relaxed);
            }
            sender.send(key.as_bytes(), value.as_bytes())
        };
        let mut latencies = Vec::with_capacity(self.records as usize);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let begun = Instant::now();
                for number in 0..self.records {
                    let due = begun + Duration::from_secs(1) * number / self.rate;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    send(number)?;
                }
                sender.finish()
            });
            let collected = self.collect(&reader, number_of, |number| {
                if number < self.warm {
                    return;
                }
                let at = sent.get(number as usize).map_or(0, |slot| slot.load(Ordering::Relaxed));
                latencies.push(Duration::from_nanos(since().saturating_sub(at)));
            });
            let sent = sending.join().unwrap_or_else(|_| Err("the sender panicked".into()));
            sent.and(collected)
        })?;
        Ok(percentiles(latencies))
    }

    /// Reads outputs until all have come.
    fn collect(&self, reader: &Reader, number_of: impl Fn(&[u8]) -> Option<u32>, mut each: impl FnMut(u32)) -> Result {
        let (mut missing, mut last) = (self.outputs, Instant::now());
        while missing > 0 {
            if let Some(message) = reader.next(Duration::from_millis(100))? {
                if let Some(number) = message.key().and_then(&number_of) {
                    each(number);
                    missing -= 1;
                }
                last = Instant::now();
            }
            if last.elapsed() > LIMIT {
                return Err(format!("no output came for {} s; {missing} are missing", LIMIT.as_secs()).into());
            }
        }
        Ok(())
    }
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
