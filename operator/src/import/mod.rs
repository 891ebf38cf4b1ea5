//! `penstock-operator import`: prints `KafkaTopic` objects for topics that others have declared or made.
//!
//! Every printed object is suspended, so that nothing changes before a person looks, and what cannot be carried over is told. Nothing is
//! written but text.

mod arguments;
mod existing;
mod names;
mod print;
mod read;
mod strimzi;

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context as _, bail};
use penstock_crds::{KafkaTopic, KafkaTopicSpec, topic::ClusterRef};

pub use self::arguments::Import;
use self::arguments::{FromKafka, FromStrimzi, Source};
use crate::apiserver;

/// What is printed, and what is told beside it.
#[derive(Debug, Default)]
struct Imported {
    topics: Vec<KafkaTopic>,
    notes: Vec<Note>,
}

impl Imported {
    fn note(&mut self, about: impl Into<String>, says: impl Into<String>) {
        self.notes.push(Note { about: about.into(), says: says.into() });
    }
}

/// What a person should know of an object: what was not carried over, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    about: String,
    says: String,
}

/// Prints the objects to `out`, and what there is to know about them to `notes`.
///
/// # Errors
/// What was asked for cannot be read, or there is nothing to print.
pub async fn run(import: Import, out: &mut impl Write, notes: &mut impl Write) -> anyhow::Result<()> {
    let imported = match import.source {
        Source::Strimzi(arguments) => from_strimzi(&arguments).await?,
        Source::Kafka(arguments) => from_kafka(&arguments).await?,
    };
    for Note { about, says } in &imported.notes {
        writeln!(notes, "{about}: {says}")?;
    }
    if imported.topics.is_empty() {
        bail!("there is nothing to print");
    }
    out.write_all(print::yaml(&imported.topics)?.as_bytes())?;
    let count = match imported.topics.len() {
        1 => "1 object".to_owned(),
        count => format!("{count} objects, all"),
    };
    writeln!(
        notes,
        "{count} with `suspend: true`: apply them, look at their status, and take `suspend` away where it says what you expect"
    )?;
    Ok(())
}

async fn from_strimzi(arguments: &FromStrimzi) -> anyhow::Result<Imported> {
    let objects = if arguments.filenames.is_empty() {
        let client = apiserver::connect().await.context("cannot find the apiserver: set KUBECONFIG, or give a file with --filename")?;
        read::strimzi(client, arguments.namespace.as_deref(), arguments.all_namespaces).await?
    } else {
        read::files(&arguments.filenames)?
    };
    let choice = strimzi::Choice {
        strimzi_cluster: arguments.strimzi_cluster.as_deref(),
        cluster: arguments.cluster.as_deref(),
        into: arguments.into.as_deref(),
    };
    Ok(strimzi::imported(&objects, choice)?)
}

async fn from_kafka(arguments: &FromKafka) -> anyhow::Result<Imported> {
    let declared = match &arguments.cluster {
        Some(cluster) if arguments.bootstrap.is_empty() => {
            let client = apiserver::connect().await.context("cannot find the apiserver: set KUBECONFIG, or give --bootstrap")?;
            Some(read::cluster(client, &arguments.operator_namespace, cluster).await?)
        }
        _ => None,
    };
    let spec = declared.unwrap_or_else(|| read::bare(&arguments.bootstrap));
    let (found, unread) = read::kafka(&spec.bootstrap_servers, &arguments.patterns).await?;
    let mut imported = existing::imported(&found, &spec, arguments.cluster.as_deref(), arguments.into.as_deref());
    imported.notes.extend(unread);
    Ok(imported)
}

/// A suspended object of that name.
fn object(name: &str, namespace: Option<&str>, cluster: Option<&str>, kafka_name: &str, labels: BTreeMap<String, String>) -> KafkaTopic {
    let cluster = cluster.filter(|cluster| *cluster != penstock_crds::topic::DEFAULT_CLUSTER);
    let spec = KafkaTopicSpec {
        cluster_ref: cluster.map(|name| ClusterRef { name: name.to_owned() }),
        topic_name: (name != kafka_name).then(|| kafka_name.to_owned()),
        suspend: true,
        ..KafkaTopicSpec::default()
    };
    let mut topic = KafkaTopic::new(name, spec);
    topic.metadata.namespace = namespace.map(str::to_owned);
    topic.metadata.labels = Some(labels).filter(|labels| !labels.is_empty());
    topic
}

/// Where an object stands, for a note about it.
fn place(topic: &KafkaTopic) -> String {
    let name = topic.metadata.name.as_deref().unwrap_or_default();
    topic.metadata.namespace.as_deref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// Whether a topic is of Kafka itself, or of Strimzi's own parts.
fn is_internal(kafka_name: &str) -> bool {
    kafka_name.starts_with("__") || kafka_name.starts_with("strimzi.cruisecontrol.")
}
