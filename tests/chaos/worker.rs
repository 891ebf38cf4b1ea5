//! One worker of the rig, as a process of its own: `chaos worker --spec FILE`.
//!
//! Either Penstock's own runtime, or a plain loop written by hand that can be told to make a mistake.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use penstock_crds::worker::WorkerConfig;
use penstock_workers::{
    processor::DynProcessor,
    processors::{self, BuiltProcessor},
    runtime,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Result, history::Delivery, paying::Paying, plain, seeded::Bug};

/// What works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// The runtime of Penstock.
    Penstock,
    /// A plain loop, and the mistake that it makes.
    Plain(Option<Bug>),
}

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// What works.
    pub subject: Subject,
    /// The number of the worker among those of its group.
    pub number: usize,
    /// What it is called, as a pod is.
    pub name: String,
    /// Whether each start has a name of its own, as a new pod has. Otherwise it keeps its name, as the same pod does.
    pub new_names: bool,
    /// The names of all topics begin with it, and so does the group's.
    pub prefix: String,
    /// Brokers, each as `host:port`.
    pub bootstrap: Vec<String>,
    /// What is promised.
    pub delivery: Delivery,
    /// Whether dead letters are JSON.
    pub envelope: bool,
    /// Whether what fails waits in a retry topic, and others of its key behind it.
    pub delays: bool,
    /// Whether the group is one of KIP-848.
    pub next_generation: bool,
    /// The payment service.
    pub service: SocketAddr,
    /// A port for its admin server.
    pub admin_port: u16,
    /// How long the group waits for a worker that is silent, in milliseconds.
    pub session_timeout_ms: u64,
    /// How long a transaction may take.
    pub transaction_timeout: Duration,
}

/// The topics of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Orders come in here.
    pub orders: String,
    /// Payments go out here.
    pub payments: String,
    /// Dead letters.
    pub letters: String,
    /// Orders wait here for another attempt, first in one and then in the other.
    pub retries: [String; 2],
    /// Orders wait here behind others of their key.
    pub held: String,
    /// The workers' group.
    pub group: String,
}

impl Topics {
    /// Those of a run.
    #[must_use]
    pub fn of(prefix: &str) -> Self {
        let name = |rest: &str| format!("{prefix}-{rest}");
        Self {
            orders: name("orders"),
            payments: name("payments"),
            letters: name("orders.DLT"),
            retries: [1, 2].map(|level| name(&format!("orders.retry.{level}"))),
            held: name("orders.held"),
            group: name("workers"),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&str; 6] {
        let [first, second] = &self.retries;
        [&self.orders, &self.payments, &self.letters, first, second, &self.held].map(String::as_str)
    }

    /// Those that the group reads.
    #[must_use]
    pub fn read(&self) -> [&str; 4] {
        let [first, second] = &self.retries;
        [&self.orders, first, second, &self.held].map(String::as_str)
    }
}

impl WorkerSpec {
    /// One to ask what a worker takes; nobody runs it.
    fn any() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Self {
            subject: Subject::Penstock,
            number: 0,
            name: "any".to_owned(),
            new_names: false,
            prefix: "any".to_owned(),
            bootstrap: vec![nowhere.to_string()],
            delivery: Delivery::AtLeastOnce,
            envelope: true,
            delays: true,
            next_generation: false,
            service: nowhere,
            admin_port: nowhere.port(),
            session_timeout_ms: 6_000,
            transaction_timeout: Duration::from_secs(10),
        }
    }

    /// The configuration that the operator would write for such a worker.
    #[must_use]
    pub fn config(&self) -> Value {
        let mut config = self.usual_config();
        let Some(Value::Object(input)) = config.pointer_mut("/source/kafka") else { return config };
        if self.next_generation {
            input.insert("groupProtocol".to_owned(), "Consumer".into());
        }
        if self.delays {
            let Topics { orders, retries, held, .. } = Topics::of(&self.prefix);
            let tiers = retries.iter().zip(["500ms", "1s"]).map(|(retry, delay)| json!({"delay": delay, "topics": {&orders: retry}}));
            input.insert("retry".to_owned(), json!({"attempts": 2, "initialBackoff": "20ms", "maxBackoff": "100ms"}));
            input.insert("tiers".to_owned(), tiers.collect::<Vec<_>>().into());
            input.insert("held".to_owned(), json!({orders: held}));
        }
        config
    }

    fn usual_config(&self) -> Value {
        let topics = Topics::of(&self.prefix);
        let delivery = format!("{:?}", self.delivery);
        let format = if self.envelope { "Envelope" } else { "Record" };
        json!({
            "pipeline": {"namespace": "chaos", "name": self.prefix},
            "bootstrapServers": self.bootstrap,
            "source": {"kafka": {
                "topics": [topics.orders], "group": topics.group, "startFrom": "Earliest", "delivery": delivery, "ordering": "Key",
                "concurrency": 16, "retry": {"attempts": 4, "initialBackoff": "20ms", "maxBackoff": "100ms"},
                "deadLetter": {"topic": topics.letters, "format": format},
            }},
            "processor": {"builtin": "payments", "options": {"successRate": "1"}},
            "sink": topics.payments,
            // Less than a letter may have, so that one that is too large is alone in its batch.
            "producer": {"batchBytes": 131_072, "linger": "10ms", "compression": "Lz4"},
            "adminPort": self.admin_port,
            "drainTimeout": "10s",
        })
    }
}

/// Whether Penstock's worker can be a member of a KIP-848 group.
#[must_use]
pub fn takes_next_generation() -> bool {
    let spec = WorkerSpec { next_generation: true, ..WorkerSpec::any() };
    serde_json::from_value::<WorkerConfig>(spec.config()).is_ok()
}

/// Runs a worker until it is told to stop.
///
/// # Errors
/// What it is told cannot be read or does not hold together.
pub async fn run(path: &Path) -> Result {
    let spec: WorkerSpec = serde_json::from_slice(&fs::read(path)?)?;
    // Of the plain loop's configuration only the processor counts.
    let told =
        if spec.subject == Subject::Penstock { spec.clone() } else { WorkerSpec { delivery: Delivery::AtLeastOnce, ..spec.clone() } };
    let config: WorkerConfig = serde_json::from_value(told.config())?;
    let BuiltProcessor::Record(payments) = processors::build(&config)? else { return Err("payments is no processor of records".into()) };
    let processor: Arc<dyn DynProcessor> = Arc::new(Paying::new(payments, spec.service, spec.subject == Subject::Penstock));
    match spec.subject {
        Subject::Penstock => Ok(runtime::run(config, async { Ok(BuiltProcessor::Record(processor)) }, spec.name).await?),
        Subject::Plain(bug) => plain::run(&spec, bug, processor).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_a_worker_takes() {
        let spec = WorkerSpec::any();
        let config: WorkerConfig = serde_json::from_value(spec.config()).unwrap();
        penstock_workers::config::check(&config).unwrap();
    }
}
