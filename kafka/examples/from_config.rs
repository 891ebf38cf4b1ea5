//! A service from a YAML file and the environment: creates its topics, produces, consumes, and stops in good order.
//!
//! `cargo run -p penstock-kafka --example from_config -- --config kafka/examples/app.yaml`
//!
//! Stop the broker while it runs: the circuit opens, and closes when the broker is back. Neither loses a record.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use penstock_kafka::{
    ConfigLayers, Consumer, Error, GroupOffset, KafkaConfig, NewTopic, Producer, RebalanceListener, Record, TopicAdmin, TopicPartition,
};
use tokio_util::sync::CancellationToken;

/// How many records are handled before their offsets are committed.
const BATCH: usize = 50;
/// How long to wait for what is on its way when the service stops.
const FLUSH: Duration = Duration::from_secs(10);

/// Produces to and consumes from the topics of a configuration, until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Arguments {
    /// The YAML file; without it, everything comes from the environment.
    #[arg(long)]
    config: Option<PathBuf>,
    /// What the variables of the environment begin with.
    #[arg(long, default_value = "PENSTOCK_KAFKA")]
    prefix: String,
    /// Stop producing after so many records.
    #[arg(long)]
    count: Option<u64>,
    /// Milliseconds between two records.
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// Milliseconds of work per record that was read.
    #[arg(long, default_value_t = 0)]
    work: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Says when the circuit opens and closes.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,librdkafka=off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let mut layers = ConfigLayers::new();
    if let Some(file) = &arguments.config {
        layers = layers.yaml_file(file)?;
    }
    let config = layers.env(&arguments.prefix)?.build()?;
    let Some(reading) = &config.consumer else { bail!("the configuration has no section `consumer`") };
    let topic = reading.topics.first().context("no topic to write to")?;

    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        ended().await;
        println!("stopping");
        stopped.cancel();
    });

    if stop.run_until_cancelled(create_topics(&config)).await.transpose()?.is_none() {
        return Ok(());
    }
    let producer = Producer::new(&config.connection, &config.producer)?;
    let consumer = reading.subscribe(&config.connection, Printing)?;
    let (produced, consumed) = tokio::join!(
        cancelling(&stop, produce(&producer, topic, &arguments, &stop)),
        cancelling(&stop, consume(&consumer, &arguments, &stop))
    );
    // First what was taken in is committed, then the group is left; what was given out is awaited.
    consumer.close().await;
    let flushed = producer.flush(FLUSH).await;
    println!("{} records acknowledged, {} handled and committed", produced?, consumed?);
    Ok(flushed?)
}

/// One task that fails stops the other, too.
async fn cancelling<T>(stop: &CancellationToken, task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let result = task.await;
    if result.is_err() {
        stop.cancel();
    }
    result
}

/// Creates the topics that are not there, and waits until all of them can be used. A broker that is not there yet is waited for.
async fn create_topics(config: &KafkaConfig) -> anyhow::Result<()> {
    let admin = TopicAdmin::new(&config.connection)?;
    let answers = loop {
        match admin.create(&config.topics).await {
            Ok(answers) => break answers,
            Err(error) if error.is_retriable() => println!("waiting for Kafka: {error}"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    for NewTopic { name, partitions, .. } in &config.topics {
        match answers.get(name) {
            Some(Err(Error::TopicExists { .. })) => println!("topic {name} exists"),
            Some(Err(error)) => bail!("topic {name}: {error}"),
            _ => println!("topic {name} created"),
        }
        admin.wait_until_visible(name, partitions.unwrap_or(1), Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// Writes a record at a time, each until Kafka has acknowledged it.
async fn produce(producer: &Producer, topic: &str, arguments: &Arguments, stop: &CancellationToken) -> anyhow::Result<u64> {
    let mut number = 0;
    while arguments.count.is_none_or(|count| number < count) {
        let record = Record::to(topic).with_key(format!("order-{number}")).with_payload(format!(r#"{{"number":{number}}}"#));
        let Some(sent) = stop.run_until_cancelled(producer.send(record)).await else { break };
        let pause = match sent {
            Ok(_) => {
                number += 1;
                Duration::from_millis(arguments.every)
            }
            // Nothing is sent for a while: wait for as long, and try again.
            Err(Error::CircuitOpen { retry_after }) => {
                println!("not sent: the circuit is open for another {} ms", retry_after.as_millis());
                retry_after
            }
            // It may be stored although nobody said so. Readers of this topic can tell by the number.
            Err(error) if error.is_retriable() => {
                println!("not acknowledged: {error}");
                Duration::from_millis(arguments.every)
            }
            Err(error) => return Err(error.into()),
        };
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(number)
}

/// Handles records in the order of their partitions, and commits what is done. While one is being worked on, the client reads ahead up to
/// the bounds of the configuration, and no further.
async fn consume(consumer: &Consumer, arguments: &Arguments, stop: &CancellationToken) -> anyhow::Result<u64> {
    let mut handled = 0;
    while let Some(received) = stop.run_until_cancelled(consumer.recv_batch(BATCH)).await {
        let records = match received {
            Ok(records) => records,
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                println!("error: {error}");
                continue;
            }
        };
        let (mut done, mut count) = (BTreeMap::new(), 0);
        for record in records {
            if stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(arguments.work)).await;
            println!("{}/{} {:?}", record.topic_partition(), record.offset, record.payload);
            count += 1;
            done.insert(record.topic_partition(), GroupOffset::after(&record));
        }
        // The last of each partition stands for those before it.
        let offsets: Vec<GroupOffset> = done.into_values().collect();
        match consumer.commit(&offsets).await {
            Ok(()) => handled += count,
            // Nothing is lost: a later commit of the partition covers them, or they come again to another member.
            Err(error) => println!("not committed: {error}"),
        }
    }
    Ok(handled)
}

async fn ended() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Tells when partitions come and go.
struct Printing;

impl RebalanceListener for Printing {
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        println!("assigned {} partitions", partitions.len());
    }
}
