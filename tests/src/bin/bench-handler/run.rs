//! One timed run of the worker: a full topic is worked off, from the first output to the last committed offset.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use penstock_crds::worker::WorkerConfig;
use penstock_tests::bench::{PARTITIONS, Topics, Watcher, wait_for};
use penstock_tests::local::{WorkerOptions, WorkerProcess, ports};
use penstock_tests::scene::Result;
use serde_json::json;

use crate::check;
use crate::handler::{Handler, RunningHandler};
use crate::report::Figures;

/// Where records are posted to.
pub const PATH: &str = "/";
const END: Duration = Duration::from_secs(40);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A bare HTTP client, without Kafka.
    Bare,
    /// The worker with a processor of its own.
    Builtin,
    /// The worker with a handler over HTTP.
    Handler(Handler),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare => f.write_str("bare client and handler in Rust"),
            Self::Builtin => f.write_str("worker, built-in `enrich`"),
            Self::Handler(handler) => write!(f, "worker, {handler}"),
        }
    }
}

/// What all runs share.
#[derive(Clone, Debug)]
pub struct Setup {
    pub brokers: String,
    pub binary: PathBuf,
    /// The core of who is measured.
    pub measured: usize,
    /// That of everybody else.
    pub other: usize,
}

/// What the worker reads and writes.
pub struct Task {
    pub group: String,
    pub source: String,
    pub sink: String,
    pub letters: String,
}

impl Task {
    /// Reads `source`, under a name of its own.
    pub fn new(source: &str, name: &str) -> Self {
        let name = name.replace(['(', ')'], "-");
        Self { source: source.to_owned(), sink: format!("{name}-out"), letters: format!("{name}-letters"), group: name }
    }
}

/// The topic with so many records.
pub fn source(records: u32) -> String {
    format!("bench-{records}")
}

/// A worker that runs, and its handler.
pub struct Running {
    pub worker: WorkerProcess,
    pub handler: Option<RunningHandler>,
}

impl Running {
    /// Starts them.
    pub async fn start(setup: &Setup, who: Who, concurrency: u16, task: &Task) -> Result<Self> {
        let handler = match who {
            Who::Handler(handler) => Some(RunningHandler::start(handler, setup.other).await?),
            Who::Builtin | Who::Bare => None,
        };
        let config = config(setup, handler.as_ref(), concurrency, task)?;
        let options = WorkerOptions { core: Some(setup.measured), ..WorkerOptions::new(&setup.binary) };
        Ok(Self { worker: WorkerProcess::start(&config, &options)?, handler })
    }

    /// Asks the worker to end, and waits until it has.
    pub async fn end(self) -> Result {
        self.worker.process().terminate();
        self.worker.process().wait(END).await?;
        Ok(())
    }
}

fn config(setup: &Setup, handler: Option<&RunningHandler>, concurrency: u16, task: &Task) -> Result<WorkerConfig> {
    let admin_port = *ports::free(1)?.first().ok_or("no port")?;
    let processor = match handler {
        Some(handler) => json!({"http": {"port": handler.port, "path": PATH, "timeout": "30s"}}),
        None => json!({"builtin": "enrich", "options": {}}),
    };
    // What is not said here is as the operator leaves it.
    let config = json!({
        "pipeline": {"namespace": "bench", "name": "hop"},
        "bootstrapServers": setup.brokers.split(',').collect::<Vec<_>>(),
        "source": {"kafka": {
            "topics": [task.source], "group": task.group, "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key",
            "concurrency": concurrency, "retry": {"attempts": 4, "initialBackoff": "200ms", "maxBackoff": "5s"},
            "deadLetter": {"topic": task.letters, "format": "Record"},
        }},
        "processor": processor,
        "sink": task.sink,
        "adminPort": admin_port,
        "drainTimeout": "25s",
    });
    Ok(serde_json::from_value(config)?)
}

/// Lets the worker work off so many records, and checks what came out.
pub async fn worked_off(setup: &Setup, who: Who, concurrency: u16, records: u32, name: &str) -> Result<Figures> {
    let (topics, task) = (Topics::new(&setup.brokers)?, Task::new(&source(records), name));
    topics.create(&[&task.sink, &task.letters]).await?;
    let running = Running::start(setup, who, concurrency, &task).await?;
    let watcher = Watcher::new(&setup.brokers, &task.group, &task.source, PARTITIONS)?;
    let ended = wait_for(&watcher, running.worker.process(), records.into()).await?;
    let (cpu, metric) = (running.worker.process().usage()?.cpu, async |name| running.worker.metric(name).await);
    let requests = metric("penstock_worker_handler_seconds_count").await?.zip(metric("penstock_worker_handler_seconds_sum").await?);
    let (handler_cpu, counts) = match &running.handler {
        Some(handler) => (Some(handler.cpu()?), handler.counts().await?),
        None => (None, None),
    };
    running.end().await?;
    let first = check::outputs(&setup.brokers, &task, records).map_err(|error| format!("{who}: {error}"))?;
    topics.delete(&[&task.sink, &task.letters]).await?;
    let took = ended.duration_since(UNIX_EPOCH + Duration::from_millis(u64::try_from(first)?))?;
    let (millions, rate) = (f64::from(records) / 1e6, f64::from(records) / took.as_secs_f64());
    let figures = Figures {
        rate,
        cpu: cpu.as_secs_f64() / millions,
        handler_cpu: handler_cpu.map(|cpu| cpu / millions),
        counts,
        // Little's law.
        mean_under_way: requests.filter(|(count, _)| *count > 0.0).map(|(count, seconds)| rate * seconds / count),
    };
    figures.tell(&who.to_string());
    Ok(figures)
}
