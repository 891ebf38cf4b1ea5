//! `bench-worker`: how fast the worker is, beside plain rdkafka loops that do the same work by hand, in the same run.
//!
//! Kafka runs on one core, whoever is measured on another. A topic is filled before, with orders of 300 bytes of which 2 % are
//! invalid; then each contestant works it off in turn, round after round, from the first output to the last committed offset. Before
//! the first round a loop works it off once for each guarantee, not counted, so that nobody pays for a broker that has just been
//! started. Every output of every run is checked. Further: latency at a steady rate, memory at rest, time to the first commit.
//!
//! `cargo run --release -p penstock-tests --bin bench-worker`

#![allow(clippy::indexing_slicing, reason = "a benchmark may stop where a program must not")]

mod check;
mod contestant;
mod drain;
mod latency;
mod loops;
mod orders;
mod report;
mod start;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use penstock_tests::bench::{PARTITIONS, Sender, Topics, Watcher};
use penstock_tests::local::{BrokerSettings, Brokers, cores, pin, worker_binary};
use penstock_tests::scene::Result;

use contestant::{Contestant, Setup};
use loops::{Guarantee, Job, Style};
use report::Report;

const SOURCE: &str = "bench-orders";
/// Who takes part, in the order of a round.
const CONTESTANTS: [Contestant; 3] = [Contestant::Loop(Style::Naive), Contestant::Loop(Style::Tuned), Contestant::Worker];

/// Measures the worker beside plain rdkafka loops that do the same work.
#[derive(Parser)]
#[command(name = "bench-worker")]
struct Arguments {
    /// How many orders each contestant works off in each round.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..=10_000_000))]
    records: u32,
    /// How many rounds. The table shows medians. 0: latency, start and rest alone.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    rounds: u32,
    /// One guarantee alone: at least once or exactly once.
    #[arg(long)]
    only: Option<Guarantee>,
    /// Records in process at once in the worker.
    #[arg(long, default_value_t = 16)]
    concurrency: u16,
    /// Measure no latencies.
    #[arg(long)]
    skip_latency: bool,
    /// For how long latency is measured, in seconds, for each contestant.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    latency_seconds: u32,
    /// A worker that is compiled already. Default: compile it.
    #[arg(long)]
    worker: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Be one of the loops.
    #[command(hide = true)]
    Loop(Job),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let result = match arguments.role.take() {
        Some(Role::Loop(job)) => loops::run(job),
        None => bench(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: &Arguments) -> Result {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release -p penstock-tests --bin bench-worker".into());
    }
    let [kafka, measured] = *cores()?.first_chunk().ok_or("two cores are needed: one for Kafka, one for who is measured")?;
    let binary = match &arguments.worker {
        Some(binary) => binary.clone(),
        None => worker_binary().await?,
    };
    // Besides Kafka, so that nothing disturbs who is measured.
    pin(kafka)?;
    let settings = BrokerSettings { core: Some(kafka), heap_megabytes: 1024, is_measured: true, ..BrokerSettings::default() };
    let brokers = Brokers::start(1, settings).await?;
    let setup = Setup { brokers: brokers.bootstrap().join(","), binary, core: measured, concurrency: arguments.concurrency };
    eprintln!("==> {} orders of {} bytes in {PARTITIONS} partitions", arguments.records, orders::BYTES);
    fill(&setup, arguments.records).await?;
    let report = measure(arguments, &setup).await?;
    // A reader that went away is no failure of ours.
    let _ = writeln!(std::io::stdout(), "\n{}\n{}", report.table(), report.result());
    Ok(())
}

async fn fill(setup: &Setup, orders: u32) -> Result {
    Topics::new(&setup.brokers)?.create(&[SOURCE]).await?;
    let sender = Sender::new(&setup.brokers, SOURCE, 20)?;
    (0..orders).try_for_each(|number| orders::send(&sender, number))?;
    sender.finish()?;
    let found = Watcher::new(&setup.brokers, "bench-filler", SOURCE, PARTITIONS)?.available()?;
    if found == i64::from(orders) { Ok(()) } else { Err(format!("{found} orders are in Kafka, not {orders}").into()) }
}

async fn measure(arguments: &Arguments, setup: &Setup) -> Result<Report> {
    let mut report = Report::default();
    let guarantees: Vec<_> = [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce]
        .into_iter()
        .filter(|guarantee| arguments.only.is_none_or(|only| only == *guarantee))
        .collect();
    for guarantee in guarantees.iter().filter(|_| arguments.rounds > 0) {
        eprintln!("==> before the first round, {guarantee:?}");
        drain::run(setup, Contestant::Loop(Style::Tuned), *guarantee, SOURCE, arguments.records, &format!("bench-0-{guarantee:?}")).await?;
    }
    for round in 1..=arguments.rounds {
        for guarantee in &guarantees {
            eprintln!("==> round {round} of {}, {guarantee:?}", arguments.rounds);
            for who in CONTESTANTS {
                let name = format!("bench-{round}-{guarantee:?}-{who}").replace([',', ' '], "");
                let drained = drain::run(setup, who, *guarantee, SOURCE, arguments.records, &name).await?;
                report.drained.push((who, *guarantee, drained));
            }
        }
    }
    for guarantee in guarantees {
        eprintln!("==> start and rest, {guarantee:?}");
        report.starts.push((guarantee, start::run(setup, guarantee, &format!("start-{guarantee:?}")).await?));
        if arguments.skip_latency {
            continue;
        }
        eprintln!("==> latency for {} s each, {guarantee:?}", arguments.latency_seconds);
        for who in CONTESTANTS.into_iter().filter(|who| *who != Contestant::Loop(Style::Naive)) {
            let name = format!("latency-{guarantee:?}-{who}").replace([',', ' '], "");
            let latency = latency::run(setup, who, guarantee, arguments.latency_seconds, &name).await?;
            report.latencies.push((who, guarantee, latency));
        }
    }
    Ok(report)
}
