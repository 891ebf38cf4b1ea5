//! What was measured, as a table for `docs/scaling.md` and as one line for scripts. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::operator::Watched;

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    /// What was seen of the operator, for each number of pipelines, fewest first.
    pub watched: Vec<(u32, Watched)>,
    /// Seconds from a record to its commit, in ascending order.
    pub wakes: Vec<f64>,
}

impl Report {
    /// The table.
    pub fn table(&self) -> String {
        let mut table = "| pipelines | time per sweep, ms | what a sweep asks, with all else that the operator asks meanwhile | operator's memory, MiB | CPU, millicores |\n\
                         |---:|---:|---|---:|---:|\n"
            .to_owned();
        for (count, seen) in &self.watched {
            let requests: Vec<String> = seen.requests.iter().map(|(request, count)| format!("{request} {count:.1}")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "| {count} | {:.1} | {} | {:.0} | {:.0} |",
                seen.sweep_seconds * 1e3,
                requests.join(", "),
                mebibytes(seen.rss),
                seen.cores * 1e3
            );
        }
        if let (Some(p50), Some(least), Some(most)) = (self.p50(), self.wakes.first(), self.wakes.last()) {
            let _ = writeln!(table, "\nFrom a record to its commit, without a worker: p50 {p50:.1} s, from {least:.1} s to {most:.1} s.");
        }
        table
    }

    /// The line for scripts.
    pub fn result(&self) -> String {
        let mut line = "RESULT".to_owned();
        if let Some((count, seen)) = self.watched.last() {
            let all: f64 = seen.requests.values().sum();
            let _ = write!(line, " pipelines={count} sweep_ms={:.1} questions_per_sweep={all:.1}", seen.sweep_seconds * 1e3);
            let names: BTreeSet<&String> = self.watched.iter().flat_map(|(_, seen)| seen.requests.keys()).collect();
            for name in names {
                let _ = write!(line, " {name}={:.1}", seen.requests.get(name).copied().unwrap_or_default());
            }
            let _ = write!(line, " rss_mib={:.0} cpu_millicores={:.0}", mebibytes(seen.rss), seen.cores * 1e3);
        }
        if let Some((_, seen)) = self.watched.first() {
            let _ = write!(line, " questions_per_sweep_of_few={:.1}", seen.requests.values().sum::<f64>());
        }
        if let Some(p50) = self.p50() {
            let _ = write!(line, " wake_p50_s={p50:.2}");
        }
        line
    }

    fn p50(&self) -> Option<f64> {
        self.wakes.get(self.wakes.len() / 2).copied()
    }
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_line_says_it_all() {
        let seen = |fetches: f64| Watched {
            sweep_seconds: 0.0124,
            requests: BTreeMap::from([("Fetch".to_owned(), fetches), ("OffsetFetch".to_owned(), 1.0)]),
            cores: 0.031,
            rss: 52.0 * 1024.0 * 1024.0,
        };
        let report = Report { watched: vec![(20, seen(1.0)), (200, seen(1.5))], wakes: vec![2.0, 3.5, 9.0] };
        assert_eq!(
            report.result(),
            "RESULT pipelines=200 sweep_ms=12.4 questions_per_sweep=2.5 Fetch=1.5 OffsetFetch=1.0 rss_mib=52 cpu_millicores=31 \
             questions_per_sweep_of_few=2.0 wake_p50_s=3.50"
        );
        assert!(report.table().contains("| 200 | 12.4 | Fetch 1.5, OffsetFetch 1.0 | 52 | 31 |"), "{}", report.table());
        assert_eq!(Report::default().result(), "RESULT");
    }
}
