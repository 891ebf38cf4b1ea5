//! `scaling-sim`: replays a trace of what comes into a topic for the operator's own autoscaler, for KEDA with a
//! HorizontalPodAutoscaler and for Numaflow, and tells how long records waited for too long, what the workers cost and how often
//! their number was changed.
//!
//! Ours is the very function that the operator runs; the other two are the formulas of their documentation (`keda.rs`,
//! `numaflow.rs` name the pages). There is no cluster, no Kafka and no chance in it: the same trace gives the same figures.
//!
//! `cargo run -p penstock-tests --bin scaling-sim -- --all`

mod contestant;
mod keda;
mod numaflow;
mod ours;
mod picture;
mod report;
mod run;
mod trace;
mod world;

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{contestant::contestants, report::Replayed, trace::BUILT_IN, trace::Trace};

/// Replays traces of what comes into a topic for autoscalers, and compares them.
#[derive(Parser)]
#[command(name = "scaling-sim", after_help = after_help())]
struct Arguments {
    /// A trace: the name of one that is built in, or a file of the same form.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    trace: Option<String>,
    /// Every trace that is built in. Ends with a line for scripts: `RESULT`, and the sums of all of them.
    #[arg(long)]
    all: bool,
    /// Also draws how many workers there were, second by second, into this file (SVG).
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

fn after_help() -> String {
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    format!(
        "Built in: {}.\nThe form of a file: tests/src/bin/scaling-sim/traces. What is compared, and how fairly: docs/scaling.md.",
        names.join(", ")
    )
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(text) => {
            // A reader that went away is no failure of ours.
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("scaling-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<String, String> {
    let replayed = match &arguments.trace {
        Some(trace) => vec![replay(trace, &read(trace)?)?],
        None => all()?,
    };
    if let Some(file) = &arguments.picture {
        fs::write(file, picture::picture(&replayed)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let result = if arguments.all { format!("\n{}\n", report::result(&replayed)) } else { String::new() };
    Ok(report::table(&replayed) + &result)
}

fn all() -> Result<Vec<Replayed>, String> {
    BUILT_IN.iter().map(|(name, text)| replay(name, text)).collect()
}

fn read(trace: &str) -> Result<String, String> {
    match BUILT_IN.iter().find(|(name, _)| *name == trace) {
        Some((_, text)) => Ok((*text).to_owned()),
        None => fs::read_to_string(trace).map_err(|error| format!("{trace} is neither built in nor a file that can be read: {error}")),
    }
}

fn replay(name: &str, text: &str) -> Result<Replayed, String> {
    let trace = Trace::parse(text).map_err(|error| format!("{name}: {error}"))?;
    let runs = contestants(&trace).map(|mut contestant| run::replay(&trace, contestant.as_mut()));
    Ok(Replayed { name: name.to_owned(), trace, runs })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        for (args, fits) in [
            (&["scaling-sim", "--all"][..], true),
            (&["scaling-sim", "burst"], true),
            (&["scaling-sim"], false),
            (&["scaling-sim", "burst", "--all"], false),
        ] {
            assert_eq!(Arguments::try_parse_from(args).is_ok(), fits, "{args:?}");
        }
    }

    #[test]
    fn the_documentation_shows_what_comes_out() {
        let docs = format!("{}/../docs", env!("CARGO_MANIFEST_DIR"));
        let (page, drawn) = (fs::read_to_string(format!("{docs}/scaling.md")).unwrap(), fs::read_to_string(format!("{docs}/scaling.svg")));
        let replayed = all().unwrap();
        let renew = "cargo run -p penstock-tests --bin scaling-sim -- --all --picture docs/scaling.svg";
        assert!(page.contains(&report::table(&replayed)), "docs/scaling.md shows other figures: {renew}");
        assert_eq!(drawn.unwrap(), picture::picture(&replayed), "docs/scaling.svg shows something else: {renew}");
    }

    #[test]
    fn ours_is_in_time_and_calm() {
        let sum = |of: fn(&run::Run) -> u64| {
            let replayed = all().unwrap();
            [0, 1, 2].map(|who: usize| replayed.iter().map(|r| of(&r.runs[who])).sum::<u64>())
        };
        let [ours, keda, numaflow] = sum(|run| run.over_goal);
        assert!(3 * ours < keda && 3 * ours < numaflow, "over the goal: {ours}, {keda}, {numaflow}");
        let [ours, keda, numaflow] = sum(|run| run.steps);
        assert!(2 * ours < keda && 2 * ours < numaflow, "steps: {ours}, {keda}, {numaflow}");
        let [ours, keda, numaflow] = sum(|run| run.worker_seconds);
        assert!(10 * ours < 11 * keda.max(numaflow), "worker-seconds: {ours}, {keda}, {numaflow}");
    }

    #[test]
    fn a_burst_takes_three_steps_up_and_three_down() {
        let burst = replay("burst", &read("burst").unwrap()).unwrap();
        let first: Vec<u32> = burst.runs[0].workers.iter().copied().take(800).collect();
        let steps = |up: bool| first.windows(2).filter(|pair| pair[0] != pair[1] && (pair[1] > pair[0]) == up).count();
        assert!((1..=3).contains(&steps(true)) && (1..=3).contains(&steps(false)), "{} up, {} down", steps(true), steps(false));
        assert_eq!(first.last(), Some(&0));
    }
}
