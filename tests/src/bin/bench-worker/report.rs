//! What was measured, as a table for `docs/benchmarks.md` and as one line for scripts. Pure.

use std::fmt::Write;

use penstock_tests::bench::{Latency, megabytes};

use crate::contestant::Contestant;
use crate::drain::Drained;
use crate::loops::{Guarantee, Style};
use crate::start::Start;

const ORDER: [Contestant; 3] = [Contestant::Worker, Contestant::Loop(Style::Tuned), Contestant::Loop(Style::Naive)];

/// Everything that was measured, in the order of the rounds.
#[derive(Default)]
pub struct Report {
    pub drained: Vec<(Contestant, Guarantee, Drained)>,
    pub latencies: Vec<(Contestant, Guarantee, Latency)>,
    pub starts: Vec<(Guarantee, Start)>,
}

impl Report {
    /// The table.
    pub fn table(&self) -> String {
        let mut table =
            "| | guarantee | orders/s | CPU-s per million | peak RSS, MB | p50, ms | p99, ms |\n|---|---|---:|---:|---:|---:|---:|\n"
                .to_owned();
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            for who in ORDER {
                let (rate, latency) = (self.median(who, guarantee, |d| d.rate), self.latency(who, guarantee));
                if rate.is_none() && latency.is_none() {
                    continue;
                }
                let name = if guarantee == Guarantee::AtLeastOnce { "at least once" } else { "exactly once" };
                // Writing to a String cannot fail.
                let _ = writeln!(
                    table,
                    "| {who} | {name} | {} | {} | {} | {} | {} |",
                    shown(rate, 0),
                    shown(self.median(who, guarantee, |d| d.cpu), 2),
                    shown(self.median(who, guarantee, |d| megabytes(d.peak_rss)), 1),
                    shown(latency.map(|l| l.p50), 1),
                    shown(latency.map(|l| l.p99), 1),
                );
            }
        }
        for (guarantee, start) in &self.starts {
            let (first, idle) = (start.first_commit.as_secs_f64(), megabytes(start.idle_rss));
            let _ =
                writeln!(table, "\nWorker, {guarantee:?}: first commit {first:.2} s after the start of the process; {idle:.1} MB at rest.");
        }
        table
    }

    /// The line for scripts; `-` where nothing was measured.
    pub fn result(&self) -> String {
        use Guarantee::{AtLeastOnce, ExactlyOnce};
        let worker = Contestant::Worker;
        let peak = [AtLeastOnce, ExactlyOnce].iter().filter_map(|guarantee| self.median(worker, *guarantee, |d| megabytes(d.peak_rss)));
        let p99 = |guarantee| shown(self.latency(worker, guarantee).map(|latency| latency.p99), 1);
        format!(
            "RESULT alo_records_s={} alo_loop_ratio={} alo_cpu_ratio={} eos_records_s={} eos_loop_ratio={} rss_mb={} p99_alo_ms={} p99_eos_ms={} exact=true",
            shown(self.median(worker, AtLeastOnce, |d| d.rate), 0),
            shown(self.ratio(AtLeastOnce, |d| d.rate), 2),
            shown(self.ratio(AtLeastOnce, |d| d.cpu), 2),
            shown(self.median(worker, ExactlyOnce, |d| d.rate), 0),
            shown(self.ratio(ExactlyOnce, |d| d.rate), 2),
            shown(peak.reduce(f64::max), 1),
            p99(AtLeastOnce),
            p99(ExactlyOnce),
        )
    }

    /// The worker's figure by the tuned loop's, in each round; the median of the rounds.
    fn ratio(&self, guarantee: Guarantee, figure: fn(&Drained) -> f64) -> Option<f64> {
        let (ours, theirs) = (self.all(Contestant::Worker, guarantee, figure), self.all(Contestant::Loop(Style::Tuned), guarantee, figure));
        median(ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    }

    fn median(&self, who: Contestant, guarantee: Guarantee, figure: fn(&Drained) -> f64) -> Option<f64> {
        median(self.all(who, guarantee, figure))
    }

    fn all(&self, who: Contestant, guarantee: Guarantee, figure: fn(&Drained) -> f64) -> Vec<f64> {
        self.drained.iter().filter(|(w, g, _)| (*w, *g) == (who, guarantee)).map(|(_, _, drained)| figure(drained)).collect()
    }

    fn latency(&self, who: Contestant, guarantee: Guarantee) -> Option<Latency> {
        self.latencies.iter().find(|(w, g, _)| (*w, *g) == (who, guarantee)).map(|(_, _, latency)| *latency)
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().checked_sub(1)? / 2).copied()
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_told() {
        let drained = |rate| Drained { rate, cpu: 3.0, peak_rss: 64 << 20 };
        let mut report = Report::default();
        for (worker, tuned) in [(90.0, 100.0), (50.0, 200.0), (330.0, 300.0)] {
            report.drained.push((Contestant::Loop(Style::Tuned), Guarantee::AtLeastOnce, drained(tuned)));
            report.drained.push((Contestant::Worker, Guarantee::AtLeastOnce, drained(worker)));
        }
        assert_eq!(
            report.result(),
            "RESULT alo_records_s=90 alo_loop_ratio=0.90 alo_cpu_ratio=1.00 eos_records_s=- eos_loop_ratio=- rss_mb=64.0 p99_alo_ms=- p99_eos_ms=- exact=true"
        );
        assert!(report.table().contains("| worker | at least once | 90 | 3.00 | 64.0 | - | - |"), "{}", report.table());
        assert!(!report.table().contains("exactly once"));
    }
}
