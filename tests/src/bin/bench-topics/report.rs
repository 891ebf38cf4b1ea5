//! What was measured, as tables for `docs/benchmarks.md` and as one line for scripts. Pure.

use std::{fmt::Write, time::Duration};

use crate::{life::Lives, usage::Usage};

/// The life of so many topics, with the operator and without.
pub struct Life {
    pub count: usize,
    pub ours: Lives,
    pub floor: Lives,
    pub usage: Usage,
}

/// Many created and deleted at once.
pub struct Bulk {
    pub count: usize,
    pub created: Duration,
    pub deleted: Duration,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    pub lives: Vec<Life>,
    /// Those whose topics stay.
    pub retained: Option<(usize, Usage)>,
    pub bulks: Vec<Bulk>,
    pub restart: Option<Duration>,
    pub rests: Vec<(usize, Duration, Usage)>,
    pub drift: Vec<Duration>,
}

impl Report {
    /// The tables.
    pub fn tables(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = "| W1: life of N topics | total, s | floor, s | Ready p50 / p95 / p99, s | floor p50, s | CPU-s | peak RSS, MB | \
                        apiserver requests (writes) | Kafka requests |\n|---|---:|---:|---:|---:|---:|---:|---:|---|\n"
            .to_owned();
        for life in &self.lives {
            let kafka: Vec<_> = life.usage.kafka.iter().map(|(request, count)| format!("{request} {count}")).collect();
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {:.2} / {:.2} / {:.2} | {:.2} | {:.1} | {:.0} | {} ({}) | {} |",
                life.count,
                life.ours.total.as_secs_f64(),
                life.floor.total.as_secs_f64(),
                percentile(&life.ours.ready, 50),
                percentile(&life.ours.ready, 95),
                percentile(&life.ours.ready, 99),
                percentile(&life.floor.ready, 50),
                life.usage.cpu,
                life.usage.peak_rss,
                life.usage.requests,
                life.usage.writes,
                kafka.join(", "),
            );
        }
        if let Some((count, usage)) = &self.retained {
            let _ = writeln!(
                text,
                "\n{count} lives with deletionPolicy: Retain: {} apiserver requests ({} writes), {:.1} CPU-s.",
                usage.requests, usage.writes, usage.cpu
            );
        }
        text.push_str("\n| W2: N at once | created, s | deleted, s |\n|---|---:|---:|\n");
        for bulk in &self.bulks {
            let _ = writeln!(text, "| {} | {:.1} | {:.1} |", bulk.count, bulk.created.as_secs_f64(), bulk.deleted.as_secs_f64());
        }
        if let Some(restart) = self.restart {
            let _ = writeln!(text, "\nW4: {:.2} s from the start of the process until a fresh topic was ready.", restart.as_secs_f64());
        }
        for (count, lasts, usage) in &self.rests {
            let _ = writeln!(
                text,
                "\nW5: {count} topics at rest for {} s: {} apiserver requests besides watches, {:.2} CPU-s, peak RSS {:.0} MB.",
                lasts.as_secs(),
                usage.requests,
                usage.cpu,
                usage.peak_rss
            );
        }
        if !self.drift.is_empty() {
            let (half, all) = (percentile(&self.drift, 50), percentile(&self.drift, 100));
            let _ = writeln!(text, "\nW6: a change behind the operator's back was reverted after {half:.1} s (p50), {all:.1} s at most.");
        }
        text
    }

    /// The line for scripts; `-` where nothing was measured.
    pub fn result(&self) -> String {
        let life = self.lives.iter().find(|life| life.count == 1000);
        let bulk = self.bulks.iter().find(|bulk| bulk.count == 2000);
        let rest = self.rests.iter().find(|(count, ..)| *count == 1000);
        format!(
            "RESULT w1_1000_s={} w1_1000_ready_p50_s={} w1_1000_floor_s={} w2_2000_s={} w4_s={} w5_1000_requests={} rss_mb={} cpu_s={}",
            shown(life.map(|life| life.ours.total.as_secs_f64())),
            shown(life.map(|life| percentile(&life.ours.ready, 50))),
            shown(life.map(|life| life.floor.total.as_secs_f64())),
            shown(bulk.map(|bulk| (bulk.created + bulk.deleted).as_secs_f64())),
            shown(self.restart.map(|restart| restart.as_secs_f64())),
            rest.map_or_else(|| "-".to_owned(), |(_, _, usage)| usage.requests.to_string()),
            shown(life.map(|life| life.usage.peak_rss)),
            shown(life.map(|life| life.usage.cpu)),
        )
    }
}

fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let index = (times.len().saturating_sub(1)) * percent / 100;
    times.get(index).copied().unwrap_or_default().as_secs_f64()
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_told() {
        let mut report = Report::default();
        assert_eq!(
            report.result(),
            "RESULT w1_1000_s=- w1_1000_ready_p50_s=- w1_1000_floor_s=- w2_2000_s=- w4_s=- w5_1000_requests=- rss_mb=- cpu_s=-"
        );
        let second = Duration::from_secs(1);
        report.bulks.push(Bulk { count: 2000, created: 3 * second, deleted: 2 * second });
        assert!(report.result().contains("w2_2000_s=5.00"));
        let times: Vec<_> = (1..=100).map(|n| n * second).collect();
        for (percent, seconds) in [(50, 50.0), (95, 95.0), (100, 100.0)] {
            assert!((percentile(&times, percent) - seconds).abs() < f64::EPSILON, "{percent}");
        }
    }
}
