//! Consumes topics: as a member of a group that commits what it has printed, or as a follower of whole topics.
//!
//! `cargo run -p penstock-kafka --example consume -- --topic orders --group demo`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::time::Duration;

use clap::Parser;
use penstock_kafka::{
    CommitOffsets, ConnectionSettings, ConsumedRecord, Consumer, ConsumerSettings, GroupOffset, GroupProtocol, ReaderEvent, ReaderSettings,
    RebalanceListener, TopicPartition, TopicReader,
};

/// Prints the records of topics until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// Comma-separated list of host:port.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "localhost:9092")]
    bootstrap: String,
    /// A topic to read; may be given several times.
    #[arg(long, required = true)]
    topic: Vec<String>,
    /// The consumer group; without it all topics are followed from their beginning, and nothing is committed.
    #[arg(long)]
    group: Option<String>,
    /// Let the brokers share out the partitions (KIP-848, Kafka 4.0).
    #[arg(long)]
    broker_assigned: bool,
    /// Stop after so many records.
    #[arg(long)]
    count: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print only every so many-th record.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// Milliseconds of work per record.
    #[arg(long, default_value_t = 0)]
    work: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let connection = ConnectionSettings::parse(&arguments.bootstrap)?.with_client_id("consume-example")?;
    let topics: Vec<&str> = arguments.topic.iter().map(String::as_str).collect();
    match &arguments.group {
        Some(group) => {
            let mut settings = ConsumerSettings::new(group);
            if arguments.broker_assigned {
                settings.group_protocol = GroupProtocol::Consumer;
            }
            let consumer = Consumer::subscribe(&connection, &settings, &topics, Printing)?;
            let result = tokio::select! {
                result = consume(&consumer, &arguments) => result,
                () = end(arguments.seconds) => Ok(()),
            };
            // Without this the group would wait for the session timeout before others get the partitions.
            consumer.close().await;
            result
        }
        None => {
            let mut settings = ReaderSettings::default();
            settings.refresh_interval = Duration::from_secs(2);
            let reader = TopicReader::start(&connection, &settings, &topics)?;
            let result = tokio::select! {
                result = follow(&reader, &arguments) => result,
                () = end(arguments.seconds) => Ok(()),
            };
            reader.close().await;
            result
        }
    }
}

async fn consume(consumer: &Consumer, arguments: &Arguments) -> anyhow::Result<()> {
    let mut count = 0;
    while arguments.count.is_none_or(|limit| count < limit) {
        let record = match consumer.recv().await {
            Ok(record) => record,
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                println!("error: {error}");
                continue;
            }
        };
        if arguments.work > 0 {
            tokio::time::sleep(Duration::from_millis(arguments.work)).await;
        }
        count += 1;
        if count % arguments.every == 0 {
            print(&record);
            // Everything up to this record of its partition is done: Kafka has acknowledged that when this returns.
            if let Err(error) = consumer.commit(&[GroupOffset::after(&record)]).await {
                println!("not committed: {error}");
            }
        }
    }
    Ok(())
}

async fn follow(reader: &TopicReader, arguments: &Arguments) -> anyhow::Result<()> {
    let mut count = 0;
    while arguments.count.is_none_or(|limit| count < limit) {
        match reader.next().await {
            Ok(ReaderEvent::Record(record)) => {
                count += 1;
                if count % arguments.every == 0 {
                    print(&record);
                }
            }
            Ok(ReaderEvent::CaughtUp) => println!("caught up after {count} records"),
            Ok(event) => println!("{event:?}"),
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => println!("error: {error}"),
        }
    }
    Ok(())
}

async fn end(seconds: Option<u64>) {
    let limit = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = limit => {}
    }
}

fn print(record: &ConsumedRecord) {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    println!(
        "{}/{} key={:?} payload={:?} headers={:?}",
        record.topic_partition(),
        record.offset,
        text(record.key.as_deref()),
        text(record.payload.as_deref()),
        record.headers
    );
}

/// Tells when partitions come and go. A real listener would wait here for records in work and commit them.
struct Printing;

impl RebalanceListener for Printing {
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        println!("assigned {partitions:?}");
    }

    fn on_revoked(&self, partitions: &[TopicPartition], _commits: &dyn CommitOffsets) {
        println!("revoked {partitions:?}");
    }

    fn on_lost(&self, partitions: &[TopicPartition]) {
        println!("lost {partitions:?}");
    }
}
