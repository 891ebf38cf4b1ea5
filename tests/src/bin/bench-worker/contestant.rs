//! Who is measured: the worker and the loops, each as a process of its own on the same core.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use penstock_crds::worker::{Delivery, Producing, WorkerConfig};
use penstock_tests::local::{Folder, Process, WorkerOptions, WorkerProcess, ports};
use penstock_tests::scene::Result;
use serde_json::json;

use crate::loops::{Guarantee, Style};
use crate::orders::SUCCESS_RATE;

const END: Duration = Duration::from_secs(40);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// A plain loop.
    Loop(Style),
    /// Penstock's worker.
    Worker,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loop(Style::Naive) => "loop, naive",
            Self::Loop(Style::Tuned) => "loop, tuned",
            Self::Worker => "worker",
        })
    }
}

/// What the worker calls that guarantee.
fn delivery(guarantee: Guarantee) -> Delivery {
    match guarantee {
        Guarantee::AtLeastOnce => Delivery::AtLeastOnce,
        Guarantee::ExactlyOnce => Delivery::ExactlyOnce,
    }
}

/// What all contestants share.
#[derive(Clone, Debug)]
pub struct Setup {
    pub brokers: String,
    pub binary: PathBuf,
    pub core: usize,
    pub concurrency: u16,
}

/// What one of them does.
#[derive(Clone, Debug)]
pub struct Task {
    pub group: String,
    pub source: String,
    pub payments: String,
    pub letters: String,
}

impl Task {
    /// Reads `source`, under a name of its own.
    pub fn new(source: &str, name: &str) -> Self {
        Self { group: name.to_owned(), source: source.to_owned(), payments: format!("{name}-payments"), letters: format!("{name}-letters") }
    }

    /// The topics that it writes to.
    pub fn outputs(&self) -> [&str; 2] {
        [&self.payments, &self.letters]
    }
}

/// A contestant that runs.
pub enum Running {
    /// With the folder of its log, which must outlive it.
    Loop {
        process: Process,
        _log: Folder,
    },
    Worker(WorkerProcess),
}

impl Running {
    /// Starts one.
    pub fn start(setup: &Setup, contestant: Contestant, guarantee: Guarantee, task: &Task) -> Result<Self> {
        match contestant {
            Contestant::Loop(style) => start_loop(setup, style, guarantee, task),
            Contestant::Worker => {
                let options = WorkerOptions { core: Some(setup.core), ..WorkerOptions::new(&setup.binary) };
                Ok(Self::Worker(WorkerProcess::start(&worker_config(setup, delivery(guarantee), task)?, &options)?))
            }
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        match self {
            Self::Loop { process, .. } => process,
            Self::Worker(worker) => worker.process(),
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(self) -> Result {
        self.process().terminate();
        self.process().wait(END).await?;
        Ok(())
    }
}

fn start_loop(setup: &Setup, style: Style, guarantee: Guarantee, task: &Task) -> Result<Running> {
    let folder = Folder::new("loop")?;
    let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["loop", "--style", &word(style.to_possible_value()), "--guarantee", &word(guarantee.to_possible_value())]);
    command.args(["--brokers", &setup.brokers, "--group", &task.group, "--source", &task.source]);
    command.args(["--payments", &task.payments, "--letters", &task.letters]);
    // As a worker that is told nothing else; Kafka's words for it are ours in lower case.
    command.args(["--compression", &format!("{:?}", Producing::default().compression).to_lowercase()]);
    let process = Process::start("the loop", &command, &folder.path().join("log"), Some(setup.core))?;
    Ok(Running::Loop { process, _log: folder })
}

fn worker_config(setup: &Setup, delivery: Delivery, task: &Task) -> Result<WorkerConfig> {
    let admin_port = *ports::free(1)?.first().ok_or("no port")?;
    let delivery = serde_json::to_value(delivery)?;
    // What is not said here is as the operator leaves it.
    let config = json!({
        "pipeline": {"namespace": "bench", "name": "payments"},
        "bootstrapServers": setup.brokers.split(',').collect::<Vec<_>>(),
        "source": {"kafka": {
            "topics": [task.source], "group": task.group, "startFrom": "Earliest", "delivery": delivery, "ordering": "Key",
            "concurrency": setup.concurrency, "retry": {"attempts": 4, "initialBackoff": "200ms", "maxBackoff": "5s"},
            "deadLetter": {"topic": task.letters, "format": "Envelope"},
        }},
        "processor": {"builtin": "payments", "options": {"successRate": SUCCESS_RATE.to_string()}},
        "sink": task.payments,
        "adminPort": admin_port,
        "drainTimeout": "25s",
    });
    Ok(serde_json::from_value(config)?)
}
