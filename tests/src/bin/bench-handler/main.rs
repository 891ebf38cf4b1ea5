//! `bench-handler`: what the hop to a handler over HTTP costs.
//!
//! A topic is filled with small records. The worker works it off with a processor of its own that does as much beside the network
//! (`enrich`: JSON read, JSON written), and then with `processor.http` and handlers that do next to nothing, at several concurrencies.
//! Beside it in the same run a bare HTTP client sends the same requests to the same handler: what is possible without Kafka. Every output of
//! every run is checked. The worker and the bare client have one core; Kafka, the handler and this program another.
//!
//! `cargo run --release -p penstock-tests --bin bench-handler`

#![allow(clippy::indexing_slicing, reason = "a benchmark may stop where a program must not")]

mod bare;
mod carts;
mod check;
mod floor;
mod handler;
mod latency;
mod report;
mod run;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use penstock_tests::bench::{PARTITIONS, Sender, Topics};
use penstock_tests::local::{BrokerSettings, Brokers, cores, pin, worker_binary};
use penstock_tests::scene::Result;

use handler::Handler;
use report::Report;
use run::{Setup, Who};

/// For handlers that are no measure of the hop: a tenth of the records.
const FEW: u32 = 10;
/// Below it a handler that takes its time only takes time.
const MANY: u16 = 16;

/// Measures what the hop to a handler over HTTP costs.
#[derive(Parser)]
#[command(name = "bench-handler")]
struct Arguments {
    /// How many records each contestant works off at each concurrency. The handlers in Python and Node, and the one that takes its
    /// time, get a tenth.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    records: u32,
    /// Records in process at once in the worker, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    concurrency: Vec<u16>,
    /// Without the handlers of examples/handlers, which need python3 and node.
    #[arg(long)]
    skip_examples: bool,
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
    /// Be the handler that does next to nothing.
    #[command(hide = true)]
    Floor(floor::Job),
    /// Be the bare client.
    #[command(hide = true)]
    Bare(bare::Job),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let result = match arguments.role.take() {
        Some(Role::Floor(job)) => floor::run(job).await,
        Some(Role::Bare(job)) => bare::run(job).await,
        None => bench(&arguments).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-handler: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: &Arguments) -> Result {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release -p penstock-tests --bin bench-handler".into());
    }
    let [other, measured] = *cores()?.first_chunk().ok_or("two cores are needed: one for Kafka, one for who is measured")?;
    let binary = match &arguments.worker {
        Some(binary) => binary.clone(),
        None => worker_binary().await?,
    };
    // Besides Kafka, so that nothing disturbs who is measured.
    pin(other)?;
    let settings = BrokerSettings { core: Some(other), heap_megabytes: 1024, ..BrokerSettings::default() };
    let brokers = Brokers::start(1, settings).await?;
    let setup = Setup { brokers: brokers.bootstrap().join(","), binary, measured, other };
    for records in [arguments.records, arguments.records / FEW] {
        fill(&setup, records).await?;
    }
    let report = measure(arguments, &setup).await?;
    // A reader that went away is no failure of ours.
    let _ = writeln!(std::io::stdout(), "\n{}\n{}", report.table(), report.result());
    Ok(())
}

/// Writes the topic that is worked off.
async fn fill(setup: &Setup, records: u32) -> Result {
    eprintln!("==> {records} records of some {} bytes in {PARTITIONS} partitions", carts::value(0).len());
    let topic = run::source(records);
    Topics::new(&setup.brokers)?.create(&[&topic]).await?;
    let sender = Sender::new(&setup.brokers, &topic, 20)?;
    (0..records).try_for_each(|number| sender.send(carts::key(number).as_bytes(), carts::value(number).as_bytes()))?;
    sender.finish()
}

async fn measure(arguments: &Arguments, setup: &Setup) -> Result<Report> {
    let (all, few) = (arguments.records, arguments.records / FEW);
    let mut report = Report::default();
    eprintln!("==> before the first run");
    run::worked_off(setup, Who::Builtin, 16, all, "bench-0").await?;
    for concurrency in arguments.concurrency.iter().copied() {
        eprintln!("==> concurrency {concurrency}");
        let mut contestants = vec![(Who::Builtin, all), (Who::Handler(Handler::Floor), all)];
        if !arguments.skip_examples {
            contestants.extend([(Who::Handler(Handler::Python), few), (Who::Handler(Handler::Node), few)]);
        }
        if concurrency >= MANY {
            contestants.push((Who::Handler(Handler::Slow), few));
        }
        report.add(concurrency, Who::Bare, bare::measure(setup, concurrency, all).await?);
        for (who, records) in contestants {
            report.add(concurrency, who, run::worked_off(setup, who, concurrency, records, &format!("bench-{concurrency}-{who:?}")).await?);
        }
    }
    if !arguments.skip_latency {
        eprintln!("==> latency for {} s each", arguments.latency_seconds);
        for who in [Who::Builtin, Who::Handler(Handler::Floor)] {
            report.latencies.push((who, latency::run(setup, who, arguments.latency_seconds, &format!("latency-{who:?}")).await?));
        }
    }
    Ok(report)
}
