//! What workers did in looks that followed one another. A worker that takes longer for a record than the time between two looks
//! shows its speed only over several of them, those included at which it has done nothing.

use std::time::Duration;

/// What is enough to tell a rate by: so many records, or as many as there are after so long.
pub const RECORDS: u64 = 20;
pub const LONG: Duration = Duration::from_secs(60);

/// Records, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    looks: usize,
    records: u64,
    over: Duration,
    /// The same of each worker, in seconds.
    worker_seconds: f64,
}

impl Span {
    /// Takes in what so many workers did since the last look.
    pub fn add(&mut self, records: u64, over: Duration, workers: u32) {
        self.looks += 1;
        self.records += records;
        self.over += over;
        self.worker_seconds += over.as_secs_f64() * f64::from(workers);
    }

    /// At how many looks that was.
    pub fn looks(&self) -> usize {
        self.looks
    }

    /// How long that took.
    pub fn over(&self) -> Duration {
        self.over
    }

    /// Whether it is enough to tell a rate by. Nothing at all is none: it counts as a part of the time that the next record took.
    pub fn is_enough(&self) -> bool {
        self.records >= RECORDS || (self.records > 0 && self.over >= LONG)
    }

    /// What it was, once that is enough, and begins anew.
    pub fn take_if_enough(&mut self) -> Option<Self> {
        self.is_enough().then(|| std::mem::take(self))
    }

    /// Records a second, of all workers.
    pub fn total(&self) -> f64 {
        rate(self.records, self.over.as_secs_f64())
    }

    /// Records a second, of one worker.
    pub fn per_worker(&self) -> f64 {
        rate(self.records, self.worker_seconds)
    }
}

fn rate(records: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { records as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_takes_enough_records_or_enough_time() {
        for (name, records, total) in [
            ("a quick look", vec![100], Some(20.0)),
            ("two looks", vec![12, 8], Some(2.0)),
            ("not yet", vec![12, 7], None),
            ("a minute", [0, 1].repeat(6), Some(0.1)),
            ("not yet a minute", [0, 1].repeat(5), None),
            ("a record takes longer than that", [vec![0; 19], vec![1]].concat(), Some(0.01)),
            ("nothing", vec![0; 40], None),
        ] {
            let mut span = Span::default();
            let mut taken = None;
            for records in records {
                assert_eq!(taken, None, "{name}");
                span.add(records, Duration::from_secs(5), 2);
                taken = span.take_if_enough();
            }
            assert_eq!(taken.map(|span| span.total()), total, "{name}");
            assert_eq!(taken.map(|span| 2.0 * span.per_worker()), total, "{name}");
        }
    }
}
