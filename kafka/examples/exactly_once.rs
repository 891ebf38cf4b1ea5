//! Reads a topic, changes each record and writes it to another, each batch in one transaction with its offsets.
//!
//! `cargo run -p penstock-kafka --example exactly_once -- --from orders --to payments --group demo --id demo-0`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser;
use penstock_kafka::{
    CommitError, ConnectionSettings, ConsumedRecord, Consumer, ConsumerSettings, Error, GroupOffset, GroupProtocol, Header, RecordRef,
    TopicPartition, TransactionSettings, TransactionalProducer,
};

/// How long to wait for the committed offsets at once.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);

/// Copies records in upper case, exactly once, until Ctrl-C.
#[derive(Parser)]
struct Arguments {
    /// Comma-separated list of host:port.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "localhost:9092")]
    bootstrap: String,
    /// The topic to read.
    #[arg(long)]
    from: String,
    /// The topic to write.
    #[arg(long)]
    to: String,
    /// The consumer group.
    #[arg(long)]
    group: String,
    /// The transactional id: the same after a restart, another one for each process that runs beside this one.
    #[arg(long)]
    id: String,
    /// Let the brokers share out the partitions (KIP-848, Kafka 4.0).
    #[arg(long)]
    broker_assigned: bool,
    /// How many milliseconds a transaction gathers records.
    #[arg(long, default_value_t = 100)]
    gather: u64,
    /// Stop after so many records.
    #[arg(long)]
    count: Option<u64>,
    /// Abort every so many-th transaction instead of committing it.
    #[arg(long)]
    abort_every: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let connection = ConnectionSettings::parse(&arguments.bootstrap)?.with_client_id("exactly-once-example")?;
    let mut settings = ConsumerSettings::new(&arguments.group);
    if arguments.broker_assigned {
        settings.group_protocol = GroupProtocol::Consumer;
    }
    let consumer = Consumer::subscribe(&connection, &settings, &[&arguments.from], ())?;
    let copier = Copier { connection, consumer, arguments };
    let result = tokio::select! {
        result = copier.run() => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    copier.consumer.close().await;
    result
}

struct Copier {
    connection: ConnectionSettings,
    consumer: Consumer,
    arguments: Arguments,
}

impl Copier {
    async fn run(&self) -> anyhow::Result<()> {
        let mut producer = self.start().await?;
        let (mut transactions, mut copied) = (0, 0);
        while self.arguments.count.is_none_or(|count| copied < count) {
            let batch = self.gather().await?;
            transactions += 1;
            let begun = Instant::now();
            let aborting = self.arguments.abort_every.is_some_and(|every| transactions % every == 0);
            let outcome = if aborting { self.aborted(producer, &batch).await } else { self.committed(producer, &batch).await };
            producer = match outcome {
                Ok(producer) => {
                    copied += if aborting { 0 } else { batch.len() as u64 };
                    println!("{} records {} in {:?}", batch.len(), if aborting { "aborted" } else { "committed" }, begun.elapsed());
                    if aborting {
                        self.rewind(&batch).await?;
                    }
                    producer
                }
                Err(error) => self.recover(error, &batch).await?,
            };
        }
        Ok(())
    }

    async fn start(&self) -> anyhow::Result<TransactionalProducer> {
        let settings = TransactionSettings::new(&self.arguments.id);
        loop {
            match TransactionalProducer::start(&self.connection, &settings).await {
                Err(error) if error.is_retriable() => println!("not started yet: {error}"),
                result => return Ok(result?),
            }
        }
    }

    /// Waits for a record and takes what else comes in a while.
    async fn gather(&self) -> anyhow::Result<Vec<ConsumedRecord>> {
        let mut batch = Vec::new();
        let mut end = None;
        loop {
            let next = self.consumer.recv();
            let received = match end {
                None => next.await,
                Some(end) => match tokio::time::timeout_at(end, next).await {
                    Ok(received) => received,
                    Err(_) => return Ok(batch),
                },
            };
            match received {
                Ok(record) => batch.push(record),
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => println!("error: {error}"),
            }
            end.get_or_insert_with(|| tokio::time::Instant::now() + Duration::from_millis(self.arguments.gather));
        }
    }

    async fn committed(&self, producer: TransactionalProducer, batch: &[ConsumedRecord]) -> Result<TransactionalProducer, CommitError> {
        let lost = |reason| CommitError::ProducerLost { reason };
        let group = self.consumer.group_metadata().await.map_err(lost)?;
        let transaction = producer.begin().await.map_err(lost)?;
        for record in batch {
            self.write(&transaction, record).await.map_err(lost)?;
        }
        transaction.commit_with_offsets(&offsets_after(batch), &group).await
    }

    async fn aborted(&self, producer: TransactionalProducer, batch: &[ConsumedRecord]) -> Result<TransactionalProducer, CommitError> {
        let lost = |reason| CommitError::ProducerLost { reason };
        let transaction = producer.begin().await.map_err(lost)?;
        for record in batch {
            self.write(&transaction, record).await.map_err(lost)?;
        }
        transaction.abort().await.map_err(lost)
    }

    async fn write(&self, transaction: &penstock_kafka::Transaction, record: &ConsumedRecord) -> Result<(), Error> {
        let payload = record.payload.as_ref().map(|payload| payload.to_ascii_uppercase());
        let origin = [Header { name: "origin".to_owned(), value: Some(format!("{}/{}", record.topic_partition(), record.offset).into()) }];
        let copy =
            RecordRef { key: record.key.as_deref(), payload: payload.as_deref(), headers: &origin, ..RecordRef::to(&self.arguments.to) };
        transaction.enqueue(copy, 0).await
    }

    /// Gets a producer again, and reads again what is not committed.
    async fn recover(&self, error: CommitError, batch: &[ConsumedRecord]) -> anyhow::Result<TransactionalProducer> {
        println!("{error}");
        if matches!(error, CommitError::ProducerLost { reason: Error::Fenced { .. } }) {
            return Err(error.into());
        }
        let producer = match error.into_producer() {
            Some(producer) => producer,
            // Only after this are the committed offsets final.
            None => self.start().await?,
        };
        self.rewind(batch).await?;
        Ok(producer)
    }

    async fn rewind(&self, batch: &[ConsumedRecord]) -> anyhow::Result<()> {
        let mut first = BTreeMap::new();
        for record in batch {
            first.entry(record.topic_partition()).or_insert(record.offset);
        }
        let partitions: Vec<TopicPartition> = first.keys().cloned().collect();
        let committed = loop {
            match self.consumer.committed(&partitions, COMMITTED_TIMEOUT).await {
                Err(error) if error.is_retriable() => println!("committed offsets are not known yet: {error}"),
                result => break result?,
            }
        };
        for (partition, offset) in first {
            let next = committed.get(&partition).and_then(|committed| committed.as_ref()).map_or(offset, |committed| committed.offset);
            println!("{partition} is read again from {next}");
            // A partition that went to another member in the meantime is that member's.
            if let Err(error) = self.consumer.seek(&partition, next).await {
                println!("{error}");
            }
        }
        Ok(())
    }
}

fn offsets_after(batch: &[ConsumedRecord]) -> Vec<GroupOffset> {
    let mut next = BTreeMap::new();
    for record in batch {
        next.insert(record.topic_partition(), record.offset + 1);
    }
    let offset = |(at, next_offset): (TopicPartition, i64)| GroupOffset::new(at.topic, at.partition, next_offset);
    next.into_iter().map(offset).collect()
}
