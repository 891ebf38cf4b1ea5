//! `chaos`: real brokers, real workers, everything that can happen to them, and a checker that trusts nobody.
//!
//! Each run has topics of its own, loses processes, replies and brokers by a schedule that follows from its seed, and is then
//! read and checked. Afterwards workers with a mistake each are run, to see that the checker finds it.

#![allow(clippy::print_stdout, reason = "what it prints is the result")]

mod checker;
mod collect;
mod fault;
mod fleet;
mod history;
mod inflict;
mod load;
mod order;
mod paying;
mod plain;
mod proxy;
mod report;
mod rig;
mod run;
mod seeded;
mod stub;
mod wire;
mod worker;

use std::{collections::BTreeMap, io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    fault::{Deck, Fault, Means, Planned},
    history::Delivery,
    report::Tally,
    rig::Rig,
    run::{RunPlan, RunReport, run},
    seeded::Bug,
    worker::Subject,
};

/// What any step may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// How long a question to Kafka may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long threads may take to end with the program.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a run of a worker with a mistake is.
const SEEDED: Duration = Duration::from_secs(10);
/// How often a mistake may have its chance to show: some need a moment that does not come in every run.
const ATTEMPTS: usize = 3;
/// When its fault begins: once all workers work.
const SEEDED_FAULT: Duration = Duration::from_secs(4);

/// Breaks workers and brokers in every way, and checks that nothing is lost, doubled or out of order.
#[derive(Debug, Parser)]
#[command(name = "chaos", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    runs: Runs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one worker; what the rig itself starts.
    #[command(hide = true)]
    Worker {
        /// What it is told.
        #[arg(long)]
        spec: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Runs {
    /// How many runs.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// How long orders come in each, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// What everything is made from. Default: the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults of these kinds, such as `held-cut-EndTxn`; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// No faults of these kinds; may be given several times. What this machine cannot do must be left out by name.
    #[arg(long)]
    without: Vec<String>,
    /// The delivery. Default: both, by turns.
    #[arg(long, value_enum)]
    delivery: Option<Delivery>,
    /// What works: Penstock's runtime, or the plain loop that the rig measures itself by.
    #[arg(long, value_enum, default_value_t = Worker::Penstock)]
    worker: Worker,
    /// Orders in a second.
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Which mistakes the checker must find. Default: all.
    #[arg(long, value_enum)]
    seeded: Vec<Bug>,
    /// Leave the mistakes out.
    #[arg(long, conflicts_with = "seeded")]
    no_seeded: bool,
    /// Adds a section with the results at the end of this file.
    #[arg(long)]
    append: Option<PathBuf>,
    /// Lists the kinds of faults, and ends.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Worker {
    Penstock,
    Plain,
}

impl Worker {
    fn subject(self) -> Subject {
        match self {
            Self::Penstock => Subject::Penstock,
            Self::Plain => Subject::Plain(None),
        }
    }
}

fn main() -> ExitCode {
    let Arguments { command, runs } = Arguments::parse();
    // The rig itself breaks what its clients would complain about.
    let usual = if command.is_some() { "info" } else { "error,rdkafka=off,librdkafka=off" };
    let log = EnvFilter::try_from_env("CHAOS_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(log).with_ansi(false).with_writer(io::stderr).init();
    let done = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
        let done = runtime.block_on(async {
            match command {
                Some(Command::Worker { spec }) => worker::run(&spec).await.map(|()| true),
                None => tokio::select! {
                    done = break_everything(&runs) => done,
                    told = told_to_end() => Err(told.err().unwrap_or_else(|| "interrupted".into())),
                },
            }
        });
        // A call to a broker that is gone must not hold the program.
        runtime.shutdown_timeout(FAREWELL);
        done
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn told_to_end() -> Result {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// True: every run was well, and every mistake was found.
async fn break_everything(runs: &Runs) -> Result<bool> {
    let seed = runs.seed.unwrap_or_else(|| jiff::Timestamp::now().as_second().unsigned_abs());
    let rig = Arc::new(Rig::start().await?);
    let mut decks = Decks::new(runs, seed, &rig)?;
    if runs.list {
        decks.0.iter().for_each(|(delivery, deck)| println!("{delivery:?}: {}", deck.names().join(" ")));
        return Ok(true);
    }
    let mut tally = Tally::new(seed);
    for number in 0..runs.runs {
        let (delivery, schedule) = decks.deal(number, Duration::from_secs(runs.seconds))?;
        let plan = RunPlan {
            name: format!("chaos-{seed}-{number}"),
            seed: seed.wrapping_add(u64::try_from(number)?),
            length: Duration::from_secs(runs.seconds),
            rate: runs.rate,
            delivery,
            subject: runs.worker.subject(),
            schedule,
            drain: Duration::from_secs(300),
        };
        let report = run(&rig, plan).await?;
        println!("run {}/{} {report}", number + 1, runs.runs);
        complain(&rig, &report);
        tally.runs.push(report);
    }
    if !runs.no_seeded {
        find_mistakes(&rig, runs, seed, &mut tally).await?;
    }
    if let Some(file) = &runs.append {
        report::append(file, &tally)?;
    }
    println!("{}", tally.result());
    Ok(tally.is_well())
}

/// A plain worker without a mistake has no anomaly, under none of the faults that bring mistakes to light; with one it has.
async fn find_mistakes(rig: &Arc<Rig>, runs: &Runs, seed: u64, tally: &mut Tally) -> Result {
    let chosen = if runs.seeded.is_empty() { Bug::value_variants() } else { &runs.seeded };
    let plan = |name: String, subject, delivery, fault: Option<Fault>| RunPlan {
        name,
        seed,
        length: SEEDED,
        rate: runs.rate,
        delivery,
        subject,
        schedule: fault.into_iter().map(|fault| Planned { at: SEEDED_FAULT, fault }).collect(),
        drain: Duration::from_secs(90),
    };
    let mut controls = vec![(Delivery::AtLeastOnce, None), (Delivery::ExactlyOnce, None)];
    for lit in chosen.iter().map(|bug| (bug.delivery(), bug.light())) {
        if !controls.contains(&lit) {
            controls.push(lit);
        }
    }
    for (number, (delivery, fault)) in controls.into_iter().enumerate() {
        let report = run(rig, plan(format!("control-{seed}-{number}"), Subject::Plain(None), delivery, fault)).await?;
        println!("control {report}");
        complain(rig, &report);
        tally.controls.push(report);
    }
    for bug in chosen {
        let mut shown = 0;
        for attempt in 0..ATTEMPTS {
            let name = format!("seeded-{seed}-{bug:?}-{attempt}");
            let report = run(rig, plan(name, Subject::Plain(Some(*bug)), bug.delivery(), bug.light())).await?;
            // Orders without an end, in a run that came to none, would show any mistake.
            shown = if report.is_whole() { report.anomalies.iter().filter(|one| bug.shows().contains(&one.name())).count() } else { 0 };
            println!("seeded {bug:?}: {} {report}", if shown == 0 { "not found" } else { "found" });
            if shown > 0 {
                break;
            }
        }
        tally.seeded.push((*bug, shown));
    }
    Ok(())
}

/// What a person needs to look for the reason.
fn complain(rig: &Rig, report: &RunReport) {
    if report.is_well() {
        return;
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    report.anomalies.iter().for_each(|anomaly| *kinds.entry(anomaly.name()).or_default() += 1);
    kinds.iter().for_each(|(kind, count)| println!("    {count} of {kind}"));
    report.anomalies.iter().take(20).for_each(|anomaly| println!("    {}: {anomaly}", anomaly.name()));
    if report.anomalies.len() > 20 {
        println!("    and {} more", report.anomalies.len() - 20);
    }
    report.failures.iter().for_each(|failure| println!("    failed: {failure}"));
    match rig.keep(&report.plan.name) {
        Ok(folder) => println!("    the logs of its workers are in {}", folder.display()),
        Err(error) => println!("    the logs of its workers cannot be kept: {error}"),
    }
}

/// A deck for each delivery, by turns.
struct Decks(Vec<(Delivery, Deck)>);

impl Decks {
    fn new(runs: &Runs, seed: u64, rig: &Rig) -> Result<Self> {
        let deliveries = runs.delivery.map_or_else(|| Delivery::value_variants().to_vec(), |delivery| vec![delivery]);
        let next_generation = runs.worker == Worker::Plain || worker::takes_next_generation();
        let possible = Means { next_generation, ..rig.means };
        let named = |names: &[String], fault: &Fault| names.contains(&fault.to_string());
        let (mut known, mut impossible) = (Vec::new(), Vec::new());
        let decks = deliveries.into_iter().map(|delivery| {
            let mut all = Fault::all(delivery, Means::EVERYTHING);
            known.extend(all.iter().map(Fault::to_string));
            all.retain(|fault| (runs.only.is_empty() || named(&runs.only, fault)) && !named(&runs.without, fault));
            let done = Fault::all(delivery, possible);
            impossible.extend(all.iter().filter(|fault| !done.contains(fault)).map(Fault::to_string));
            (delivery, Deck::new(seed, all))
        });
        let decks = Self(decks.filter(|(_, deck)| !deck.is_empty()).collect());
        if let Some(unknown) = runs.only.iter().chain(&runs.without).find(|named| !known.contains(named)) {
            return Err(format!("there is no fault `{unknown}`; `--list` lists them").into());
        }
        impossible.sort_unstable();
        impossible.dedup();
        if !impossible.is_empty() && !runs.list {
            let (names, options) = (impossible.join(", "), impossible.iter().map(|name| format!(" --without {name}")).collect::<String>());
            return Err(
                format!("this machine cannot do {names}, for the reasons above: run it as root, or leave them out with{options}").into()
            );
        }
        Ok(decks)
    }

    fn deal(&mut self, number: usize, length: Duration) -> Result<(Delivery, Vec<Planned>)> {
        let place = number % self.0.len().max(1);
        let (delivery, deck) = self.0.get_mut(place).ok_or("there is nothing to be done")?;
        Ok((*delivery, deck.deal(length)))
    }
}
