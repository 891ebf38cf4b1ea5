//! What was measured, as a table for `docs/benchmarks.md` and as one line for scripts. Pure.

use std::fmt::Write;

use penstock_tests::bench::Latency;

use crate::floor::Counts;
use crate::handler::Handler;
use crate::latency::{CONCURRENCY, RATE};
use crate::run::Who;

/// What a run measured.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Records, or requests, a second.
    pub rate: f64,
    /// Processor seconds of the worker, or of the bare client, for a million of them, from the process' start.
    pub cpu: f64,
    /// Those of the handler.
    pub handler_cpu: Option<f64>,
    /// What the handler has counted.
    pub counts: Option<Counts>,
    /// How many requests were under way at once, as the worker's own times say.
    pub mean_under_way: Option<f64>,
}

impl Figures {
    /// Says it at once.
    pub fn tell(&self, who: &str) {
        eprintln!("    {who}: {:.0}/s, {:.2} CPU-s per million", self.rate, self.cpu);
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    runs: Vec<(u16, Who, Figures)>,
    pub latencies: Vec<(Who, Latency)>,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, concurrency: u16, who: Who, figures: Figures) {
        self.runs.push((concurrency, who, figures));
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut table =
            "| concurrency | | records/s | CPU-s per million | of the handler | connections opened | requests under way, mean | most |\n\
            |---:|---|---:|---:|---:|---:|---:|---:|\n"
                .to_owned();
        for (concurrency, who, Figures { rate, cpu, handler_cpu, counts, mean_under_way }) in &self.runs {
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| {concurrency} | {who} | {rate:.0} | {cpu:.1} | {} | {} | {} | {} |",
                shown(*handler_cpu, 1),
                counts.map_or_else(dash, |counts| counts.connections.to_string()),
                shown(*mean_under_way, 1),
                counts.map_or_else(dash, |counts| counts.under_way.to_string()),
            );
        }
        for (who, Latency { p50, p99 }) in &self.latencies {
            let _ = writeln!(table, "\nAt {RATE} records/s and concurrency {CONCURRENCY}, {who}: p50 {p50:.1} ms, p99 {p99:.1} ms.");
        }
        table
    }

    /// The line for scripts, at the default concurrency; `-` where nothing was measured.
    pub fn result(&self) -> String {
        let (hop, bare, builtin) = (self.floor(CONCURRENCY), self.find(CONCURRENCY, Who::Bare), self.find(CONCURRENCY, Who::Builtin));
        let by =
            |other: Option<&Figures>, figure: fn(&Figures) -> f64| shown(hop.zip(other).map(|(hop, other)| figure(hop) / figure(other)), 3);
        let added = |figure: fn(&Latency) -> f64| {
            let of = |wanted| self.latencies.iter().find(|(who, _)| *who == wanted).map(|(_, latency)| figure(latency));
            shown(of(FLOOR).zip(of(Who::Builtin)).map(|(hop, builtin)| hop - builtin), 1)
        };
        let counts = hop.and_then(|hop| hop.counts);
        let slow = self.find(CONCURRENCY, Who::Handler(Handler::Slow)).and_then(|slow| slow.counts);
        format!(
            "RESULT c16_records_s={} c16_bare_ratio={} c16_builtin_ratio={} c16_cpu_s={} c16_bare_cpu_ratio={} connections={} under_way={} p50_added_ms={} p99_added_ms={} exact=true",
            shown(hop.map(|hop| hop.rate), 0),
            by(bare, |figures| figures.rate),
            by(builtin, |figures| figures.rate),
            shown(hop.map(|hop| hop.cpu), 1),
            by(bare, |figures| figures.cpu),
            counts.map_or_else(dash, |counts| counts.connections.to_string()),
            slow.map_or_else(dash, |counts| counts.under_way.to_string()),
            added(|latency| latency.p50),
            added(|latency| latency.p99),
        )
    }

    fn floor(&self, concurrency: u16) -> Option<&Figures> {
        self.find(concurrency, FLOOR)
    }

    fn find(&self, concurrency: u16, wanted: Who) -> Option<&Figures> {
        self.runs.iter().find(|(c, who, _)| (*c, *who) == (concurrency, wanted)).map(|(_, _, figures)| figures)
    }
}

const FLOOR: Who = Who::Handler(Handler::Floor);

fn dash() -> String {
    "-".to_owned()
}

fn shown(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(dash, |figure| format!("{figure:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_told() {
        let figures = |rate, counts| Figures { rate, cpu: 40.0, handler_cpu: Some(20.0), counts, mean_under_way: Some(15.0) };
        let mut report = Report::default();
        report.add(16, Who::Bare, Figures { cpu: 32.0, ..figures(20_000.0, None) });
        report.add(16, FLOOR, figures(10_000.0, Some(Counts { connections: 17, under_way: 2 })));
        report.add(1, FLOOR, figures(5_000.0, None));
        report.latencies.push((FLOOR, Latency { p50: 20.5, p99: 30.0 }));
        assert_eq!(
            report.result(),
            "RESULT c16_records_s=10000 c16_bare_ratio=0.500 c16_builtin_ratio=- c16_cpu_s=40.0 c16_bare_cpu_ratio=1.250 connections=17 under_way=- p50_added_ms=- p99_added_ms=- exact=true"
        );
        report.latencies.push((Who::Builtin, Latency { p50: 20.0, p99: 28.0 }));
        assert!(report.result().contains("p50_added_ms=0.5 p99_added_ms=2.0 exact=true"));
        assert!(report.table().contains("| 16 | worker, handler in Rust | 10000 | 40.0 | 20.0 | 17 | 15.0 | 2 |"), "{}", report.table());
    }
}
