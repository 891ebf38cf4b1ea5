//! The results of a program, as its last line and as a section of a document. Pure, but for writing the file.

use std::{collections::BTreeMap, fmt::Write as _, fs::OpenOptions, io::Write as _, path::Path};

use crate::{Result, run::RunReport, seeded::Bug};

/// Everything that was seen.
pub struct Tally {
    seed: u64,
    /// The runs.
    pub runs: Vec<RunReport>,
    /// The runs of a plain worker without a mistake.
    pub controls: Vec<RunReport>,
    /// The mistakes, and how many anomalies showed each.
    pub seeded: Vec<(Bug, usize)>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, runs: Vec::new(), controls: Vec::new(), seeded: Vec::new() }
    }

    /// Whether every run was well and every mistake was found.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.runs.iter().chain(&self.controls).all(RunReport::is_well) && self.seeded.iter().all(|(_, found)| *found > 0)
    }

    /// The last line.
    #[must_use]
    pub fn result(&self) -> String {
        let sum = |of: fn(&RunReport) -> usize| self.runs.iter().map(of).sum::<usize>();
        let faults: u64 = self.runs.iter().flat_map(|run| run.fired.values()).sum();
        let anomalies = sum(|run| run.anomalies.len()) + self.controls.iter().map(|run| run.anomalies.len()).sum::<usize>();
        let caught = self.seeded.iter().filter(|(_, found)| *found > 0).count();
        format!(
            "RESULT runs={} orders={} acked={} unknown={} faults={faults} unfired={} anomalies={anomalies} seeded_caught={caught}/{}",
            self.runs.len(),
            sum(RunReport::orders),
            sum(|run| run.fates.0),
            sum(|run| run.fates.2),
            sum(|run| run.unfired().len()),
            self.seeded.len(),
        )
    }

    /// A section of a document in Markdown.
    #[must_use]
    pub fn section(&self, day: &str) -> String {
        let mut text = format!("\n## {day}, seed {}\n\n`{}`\n\n| fault | times |\n|---|---|\n", self.seed, self.result());
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for (fault, times) in self.runs.iter().flat_map(|run| &run.fired) {
            *faults.entry(fault.to_string()).or_default() += times;
        }
        for (fault, times) in faults {
            let _ = writeln!(text, "| {fault} | {times} |");
        }
        text.push_str("\n| run | delivery | orders | acked | unknown | payments | dead letters | worker starts | anomalies |\n|---|---|---|---|---|---|---|---|---|\n");
        for (number, run) in self.runs.iter().enumerate() {
            let (acked, _, unknown) = run.fates;
            let (payments, letters) = run.ends;
            let _ = writeln!(
                text,
                "| {} | {:?} | {} | {acked} | {unknown} | {payments} | {letters} | {} | {} |",
                number + 1,
                run.plan.delivery,
                run.orders(),
                run.starts,
                run.anomalies.len()
            );
        }
        for (bug, found) in &self.seeded {
            let _ = write!(text, "\n- mistake {bug:?}: {found} anomalies");
        }
        text.push('\n');
        text
    }
}

/// Adds a section to the end of a document.
///
/// # Errors
/// The file cannot be written.
pub fn append(file: &Path, tally: &Tally) -> Result {
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    Ok(file.write_all(tally.section(&day).as_bytes())?)
}
