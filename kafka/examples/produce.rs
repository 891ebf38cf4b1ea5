//! Produces records to a topic: one per line of standard input, or a number of generated ones.
//!
//! `cargo run -p penstock-kafka --example produce -- --topic orders --count 1000`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use penstock_kafka::{ConnectionSettings, Delivery, Producer, ProducerSettings, Record};

/// Produces records to a topic, each acknowledged by Kafka.
#[derive(Parser)]
struct Arguments {
    /// Comma-separated list of host:port.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "localhost:9092")]
    bootstrap: String,
    /// The topic to write to.
    #[arg(long)]
    topic: String,
    /// How many records to generate; without it, each line of standard input ("key:payload" or "payload") is a record.
    #[arg(long)]
    count: Option<u64>,
    /// Seconds after which an unacknowledged record fails.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let connection = ConnectionSettings::parse(&arguments.bootstrap)?.with_client_id("produce-example")?;
    let mut settings = ProducerSettings::default();
    settings.delivery_timeout = Duration::from_secs(arguments.timeout);
    let producer = Producer::new(&connection, &settings)?;

    match arguments.count {
        Some(count) => generate(&producer, &arguments.topic, count).await,
        None => copy_lines(&producer, &arguments.topic).await,
    }
}

/// Many records on their way at once: enqueue them all, then await the deliveries.
async fn generate(producer: &Producer, topic: &str, count: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut deliveries: Vec<Delivery> = Vec::new();
    for number in 0..count {
        let record = Record::to(topic).with_key(format!("key-{number}")).with_payload(format!("payload {number}"));
        deliveries.push(producer.enqueue(record).await?);
    }
    let mut failed = 0u64;
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            failed += 1;
            println!("failed: {error}");
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{} records acknowledged, {failed} failed, in {seconds:.3} s", count - failed);
    anyhow::ensure!(failed == 0, "{failed} records were not acknowledged");
    Ok(())
}

/// One record at a time: `send` returns where Kafka has stored it.
async fn copy_lines(producer: &Producer, topic: &str) -> anyhow::Result<()> {
    let mut lines = std::io::stdin().lines();
    // Reading a line blocks; in an example with nothing else to do that is fine.
    while let Some(line) = lines.next().transpose()? {
        let record = match line.split_once(':') {
            Some((key, payload)) => Record::to(topic).with_key(key.to_owned()).with_payload(payload.to_owned()),
            None => Record::to(topic).with_payload(line),
        };
        let position = producer.send(record).await.context("the record was not acknowledged")?;
        println!("stored in partition {} at offset {}", position.partition, position.offset);
    }
    Ok(())
}
