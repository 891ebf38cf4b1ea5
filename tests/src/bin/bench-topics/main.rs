//! `bench-topics`: how fast and how light the operator is with many topics, beside a bare loop that writes the same objects and topics, in
//! the same run.
//!
//! On the cluster of `make up`, with the operator as it is installed from the chart there. The operator rests while the loop runs.
//!
//! `cargo run --release -p penstock-tests --bin bench-topics`

mod board;
mod fleet;
mod life;
mod many;
mod place;
mod report;
mod usage;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use penstock_crds::topic::DeletionPolicy;
use penstock_tests::scene::{Result, Scene, install};

use life::Lives;
use place::{close, open};
use report::{Bulk, Life, Report};
use usage::{Usage, usage};

/// On a machine whose cores are all busy, what a pod asks for is what it gets beside the apiserver, the broker and the benchmark itself: a
/// twentieth of a core, as by default, would measure the share and not the operator.
const SHARE: &str = "resources.requests.cpu=500m";

/// Measures the operator with many topics.
#[derive(Parser)]
#[command(name = "bench-topics")]
struct Arguments {
    /// One workload alone. May be given many times.
    #[arg(long)]
    only: Vec<Workload>,
    /// How many topics live at once (W1).
    #[arg(long, value_delimiter = ',', default_values_t = [25, 125, 250, 1000])]
    lives: Vec<usize>,
    /// How many topics are created and deleted at once (W2).
    #[arg(long, value_delimiter = ',', default_values_t = [500, 2000, 5000])]
    bulks: Vec<usize>,
    /// Among how many topics the operator is restarted (W4), and topics are changed behind its back (W6).
    #[arg(long, default_value_t = 1000)]
    among: usize,
    /// How many topics rest (W5).
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000])]
    rests: Vec<usize>,
    /// For how long they rest, in seconds.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(30..=3_600))]
    rest_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// The life of topics.
    W1,
    /// Many at once.
    W2,
    /// A restart.
    W4,
    /// At rest.
    W5,
    /// Changed behind the operator's back.
    W6,
}

impl Arguments {
    fn has(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-topics: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: &Arguments) -> Result {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release -p penstock-tests --bin bench-topics".into());
    }
    let system = Scene::at(install::NAMESPACE).await?;
    eprintln!("==> installing the operator");
    install::install_with_policy(&system, &[SHARE]).await?;
    place::clear(&system).await?;
    let report = measure(arguments, &system).await;
    system.operator().await.start().await?;
    // Whatever happened, nothing is left behind.
    place::clear(&system).await?;
    let report = report?;
    // A reader that went away is no failure of ours.
    let _ = writeln!(std::io::stdout(), "\n{}\n{}", report.tables(), report.result());
    Ok(())
}

async fn measure(arguments: &Arguments, system: &Scene) -> Result<Report> {
    let mut report = Report::default();
    if arguments.has(Workload::W1) {
        for count in &arguments.lives {
            report.lives.push(live(system, *count).await?);
        }
        if let Some(most) = arguments.lives.iter().max() {
            let (_, usage) = by_operator(system, *most, DeletionPolicy::Retain).await?;
            report.retained = Some((*most, usage));
        }
    }
    if arguments.has(Workload::W2) {
        for count in &arguments.bulks {
            eprintln!("==> W2: {count} topics at once");
            let fleet = open(system, &format!("bulk-{count}"), DeletionPolicy::Delete).await?;
            let (created, deleted) = (many::create(&fleet, *count).await?, many::delete(&fleet, *count).await?);
            eprintln!("    created in {:.1} s, deleted in {:.1} s", created.as_secs_f64(), deleted.as_secs_f64());
            report.bulks.push(Bulk { count: *count, created, deleted });
            close(system, &fleet).await?;
        }
    }
    if arguments.has(Workload::W4) || arguments.has(Workload::W6) {
        eprintln!("==> {} topics for W4 and W6", arguments.among);
        let fleet = open(system, "among", DeletionPolicy::Delete).await?;
        many::create(&fleet, arguments.among).await?;
        if arguments.has(Workload::W4) {
            eprintln!("==> W4: a restart");
            report.restart = Some(many::restart(system, &fleet).await?);
        }
        if arguments.has(Workload::W6) {
            eprintln!("==> W6: changes behind the operator's back");
            report.drift = many::drift(&fleet, arguments.among).await?;
        }
        many::delete(&fleet, arguments.among).await?;
        close(system, &fleet).await?;
    }
    if arguments.has(Workload::W5) {
        let lasts = Duration::from_secs(arguments.rest_seconds);
        for count in &arguments.rests {
            eprintln!("==> W5: {count} topics, at rest for {} s once they are there", lasts.as_secs());
            let fleet = open(system, &format!("rest-{count}"), DeletionPolicy::Delete).await?;
            many::create(&fleet, *count).await?;
            // The process has the memory of what it did before: a fresh one tells what resting takes.
            system.operator().await.stop().await?;
            system.operator().await.start().await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            report.rests.push((*count, lasts, many::rest(system, &fleet, lasts).await?));
            many::delete(&fleet, *count).await?;
            close(system, &fleet).await?;
        }
    }
    Ok(report)
}

/// W1: without the operator, then with it.
async fn live(system: &Scene, count: usize) -> Result<Life> {
    eprintln!("==> W1: {count} topics, by a bare loop");
    system.operator().await.stop().await?;
    // Nobody would take off the finalizer of the others.
    let fleet = open(system, &format!("floor-{count}"), DeletionPolicy::Retain).await?;
    let floor = life::floor(&fleet, count).await?;
    close(system, &fleet).await?;
    eprintln!("    {:.1} s", floor.total.as_secs_f64());
    system.operator().await.start().await?;
    let (ours, usage) = by_operator(system, count, DeletionPolicy::Delete).await?;
    Ok(Life { count, ours, floor, usage })
}

async fn by_operator(system: &Scene, count: usize, policy: DeletionPolicy) -> Result<(Lives, Usage)> {
    eprintln!("==> W1: {count} topics, by the operator (deletionPolicy: {policy:?})");
    let fleet = open(system, &format!("life-{count}"), policy).await?;
    let before = usage(system, &fleet).await?;
    let ours = life::with_operator(&fleet, count).await?;
    let usage = usage(system, &fleet).await?.since(&before);
    close(system, &fleet).await?;
    eprintln!("    {:.1} s", ours.total.as_secs_f64());
    Ok((ours, usage))
}
