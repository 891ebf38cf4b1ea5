//! What came of traces, as a table and as one line for scripts. Pure.

use std::fmt::Write;

use crate::{run::Run, trace::Trace};

/// What came of a trace, for each contestant.
pub struct Replayed {
    pub name: String,
    pub trace: Trace,
    pub runs: [Run; 3],
}

/// The table.
pub fn table(replayed: &[Replayed]) -> String {
    let mut table = "| trace | | over the goal, s | worker-seconds | steps | largest age, s |\n|---|---|---:|---:|---:|---:|\n".to_owned();
    for Replayed { name, runs, .. } in replayed {
        for run in runs {
            let Run { name: who, over_goal, worker_seconds, steps, largest_age, .. } = run;
            // Writing to a String cannot fail.
            let _ = writeln!(table, "| {name} | {who} | {over_goal} | {worker_seconds} | {steps} | {largest_age} |");
        }
    }
    table
}

/// The sums of all traces.
pub fn result(replayed: &[Replayed]) -> String {
    let sum = |of: fn(&Run) -> u64| {
        replayed
            .iter()
            .fold([0; 3], |[ours, keda, numaflow], Replayed { runs: [a, b, c], .. }| [ours + of(a), keda + of(b), numaflow + of(c)])
    };
    let (over, seconds, steps) = (sum(|run| run.over_goal), sum(|run| run.worker_seconds), sum(|run| run.steps));
    let ([ours_over, keda_over, numaflow_over], [ours_s, keda_s, numaflow_s], [ours_steps, keda_steps, _]) = (over, seconds, steps);
    format!(
        "RESULT traces={} ours_over_goal_s={ours_over} keda_over_goal_s={keda_over} numaflow_over_goal_s={numaflow_over} \
         ours_worker_s={ours_s} keda_worker_s={keda_s} numaflow_worker_s={numaflow_s} ours_steps={ours_steps} keda_steps={keda_steps}",
        replayed.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::BUILT_IN;

    #[test]
    fn the_line_has_the_sums() {
        let run = |n: u64| Run { over_goal: n, worker_seconds: 10 * n, steps: 100 * n, ..Run::default() };
        let replayed = [1, 2].map(|n| Replayed {
            name: "t".to_owned(),
            trace: Trace::parse(BUILT_IN[0].1).unwrap(),
            runs: [run(n), run(3 * n), run(5 * n)],
        });
        let expected = "RESULT traces=2 ours_over_goal_s=3 keda_over_goal_s=9 numaflow_over_goal_s=15 ours_worker_s=30 keda_worker_s=90 \
                        numaflow_worker_s=150 ours_steps=300 keda_steps=900";
        assert_eq!(result(&replayed), expected);
    }
}
