//! Manages topics: list, describe, create, grow, configure and delete them, and show the cluster.
//!
//! `cargo run -p penstock-kafka --example manage_topics -- create orders --partitions 3 --config retention.ms=60000`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use penstock_kafka::{ConfigDelta, ConnectionSettings, NewTopic, PerTopic, TopicAdmin, TopicDescription};

/// Manages Kafka topics.
#[derive(Parser)]
struct Arguments {
    /// Comma-separated list of host:port.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "localhost:9092")]
    bootstrap: String,
    /// Seconds that one call may take.
    #[arg(long, default_value_t = 10)]
    timeout: u64,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the cluster.
    Cluster,
    /// List all topics.
    List,
    /// Describe topics with their ids, partitions, own configuration and offsets.
    Describe { topics: Vec<String> },
    /// Create a topic and wait until it is usable.
    Create {
        topic: String,
        #[arg(long)]
        partitions: Option<i32>,
        #[arg(long)]
        replication_factor: Option<i16>,
        /// key=value; may be given several times.
        #[arg(long, value_parser = key_value)]
        config: Vec<(String, String)>,
        /// Only ask the broker whether it would.
        #[arg(long)]
        validate_only: bool,
    },
    /// Raise the number of partitions to a total.
    Grow { topic: String, partitions: i32 },
    /// Set and remove single configuration keys.
    Configure {
        topic: String,
        /// key=value; may be given several times.
        #[arg(long, value_parser = key_value)]
        set: Vec<(String, String)>,
        /// A key that goes back to the broker's value; may be given several times.
        #[arg(long)]
        unset: Vec<String>,
    },
    /// Delete a topic, but only if it has this id (default: the id it has now).
    Delete {
        topic: String,
        #[arg(long)]
        id: Option<String>,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let connection = ConnectionSettings::parse(&arguments.bootstrap)?.with_client_id("topics-example")?;
    let admin = TopicAdmin::new(&connection)?.with_timeout(Duration::from_secs(arguments.timeout));
    match arguments.action {
        Action::Cluster => cluster(&admin).await,
        Action::List => list(&admin).await,
        Action::Describe { topics } => describe(&admin, &topics).await,
        Action::Create { topic, partitions, replication_factor, config, validate_only } => {
            let new = NewTopic { name: topic, partitions, replication_factor, config: config.into_iter().collect() };
            create(&admin, new, validate_only).await
        }
        Action::Grow { topic, partitions } => report(admin.add_partitions(&[(&topic, partitions)]).await?),
        Action::Configure { topic, set, unset } => {
            let delta = ConfigDelta { topic, set: set.into_iter().collect(), unset: unset.into_iter().collect() };
            report(admin.alter_configs_incremental(&[delta]).await?)
        }
        Action::Delete { topic, id } => delete(&admin, &topic, id).await,
    }
}

async fn cluster(admin: &TopicAdmin) -> anyhow::Result<()> {
    let cluster = admin.cluster().await?;
    let version = cluster.version.map_or("unknown".to_owned(), |version| version.to_string());
    println!("cluster {} running Kafka {version}, controller {:?}", cluster.cluster_id, cluster.controller);
    for broker in cluster.brokers {
        println!("  broker {} at {}:{} rack {:?}", broker.id, broker.host, broker.port, broker.rack);
    }
    Ok(())
}

async fn list(admin: &TopicAdmin) -> anyhow::Result<()> {
    for topic in admin.list().await? {
        println!("{} ({} partitions)", topic.name, topic.partitions);
    }
    Ok(())
}

async fn describe(admin: &TopicAdmin, topics: &[String]) -> anyhow::Result<()> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let (mut configs, mut offsets) = (admin.describe_configs(&names).await?, admin.offsets(&names).await?);
    for (name, described) in admin.describe(&names).await? {
        match described {
            Ok(topic) => print(&topic),
            Err(error) => println!("{name}: {error}"),
        }
        if let Some(Ok(config)) = configs.remove(&name) {
            println!("  set on the topic: {:?} (of {} keys)", config.overrides(), config.entries.len());
        }
        if let Some(Ok(offsets)) = offsets.remove(&name) {
            println!("  offsets: {offsets:?}");
        }
    }
    Ok(())
}

async fn create(admin: &TopicAdmin, new: NewTopic, validate_only: bool) -> anyhow::Result<()> {
    if validate_only {
        return report(admin.validate_create(&[new]).await?);
    }
    report(admin.create(std::slice::from_ref(&new)).await?)?;
    let partitions = new.partitions.unwrap_or(1);
    print(&admin.wait_until_visible(&new.name, partitions, Duration::from_secs(10)).await?);
    Ok(())
}

async fn delete(admin: &TopicAdmin, topic: &str, id: Option<String>) -> anyhow::Result<()> {
    let id = match id {
        Some(id) => id.parse()?,
        None => admin.describe(&[topic]).await?.remove(topic).context("no answer for the topic")??.id,
    };
    report(admin.delete(&[(topic, id)]).await?)
}

fn print(topic: &TopicDescription) {
    let (count, factor) = (topic.partition_count(), topic.replication_factor());
    println!("{} id {} with {count} partitions, replication factor {factor:?}", topic.name, topic.id);
    for partition in &topic.partitions {
        println!("  {} leader {:?} replicas {:?} isr {:?}", partition.id, partition.leader, partition.replicas, partition.isr);
    }
}

fn report(results: PerTopic<()>) -> anyhow::Result<()> {
    let mut failed = 0;
    for (name, result) in results {
        match result {
            Ok(()) => println!("{name}: done"),
            Err(error) => {
                failed += 1;
                println!("{name}: {error}");
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} topics failed");
    Ok(())
}
