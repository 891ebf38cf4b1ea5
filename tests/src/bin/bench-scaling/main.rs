//! `bench-scaling`: what it costs to watch many pipelines, and how long one sleeps on after a record came.
//!
//! On the cluster that is up, pipelines in dry run are made, and the operator is looked at while it watches them: what it asks of Kafka in
//! each sweep, how long a sweep takes, its memory and CPU. Then a pipeline without workers is woken again and again: from the acknowledgement
//! of a record to the first commit of the worker that was started for it.
//!
//! `cargo run --release -p penstock-tests --bin bench-scaling`, on the cluster of `make up`

#![allow(clippy::indexing_slicing, reason = "a benchmark may stop where a program must not")]

mod fleet;
mod operator;
mod report;
mod wake;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use penstock_tests::scene::{Result, bench};

use report::Report;

/// Measures what watching many pipelines costs, and how long it takes to wake one.
#[derive(Clone, Parser)]
#[command(name = "bench-scaling")]
struct Arguments {
    /// How many pipelines there are at first. Half of them share a topic with another.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    few: u32,
    /// How many there are then.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipelines: u32,
    /// For how long the operator is looked at, in seconds, each time.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=3_600))]
    seconds: u32,
    /// How many times a pipeline is woken.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=100))]
    wakes: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(report) => {
            // A reader that went away is no failure of ours.
            let _ = writeln!(std::io::stdout(), "\n{}\n{}", report.table(), report.result());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-scaling: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<Report> {
    if arguments.few > arguments.pipelines {
        return Err("--few must not be above --pipelines".into());
    }
    bench("bench-scaling", async |scene| {
        let mut report = Report::default();
        let mut made = 0;
        for count in [arguments.few, arguments.pipelines] {
            fleet::grow(scene, made, count).await?;
            made = count;
            report.watched.push((count, operator::watch(scene, Duration::from_secs(arguments.seconds.into())).await?));
        }
        fleet::remove(scene, made).await?;
        report.wakes = wake::times(scene, arguments.wakes).await?;
        Ok(report)
    })
    .await
}
