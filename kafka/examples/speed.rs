//! Measures the clients against loops by hand around rdkafka, in one run: records per second and CPU seconds per million.
//!
//! `cargo run --release -p penstock-kafka --example speed -- --bootstrap localhost:9092`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use penstock_kafka::{
    BulkProducer, ConnectionSettings, Consumer, ConsumerSettings, Enqueued, Error, NewTopic, ProducerSettings, RecordRef, TopicAdmin,
    TransactionSettings, TransactionalProducer,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

/// Writes and reads records in every way there is.
#[derive(Parser)]
struct Arguments {
    /// Comma-separated list of host:port.
    #[arg(long, env = "KAFKA_BOOTSTRAP", default_value = "localhost:9092")]
    bootstrap: String,
    /// How many records.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Bytes per record.
    #[arg(long, default_value_t = 300)]
    size: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 8)]
    partitions: i32,
    /// How often to measure each.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How many records may wait for their acknowledgement.
    #[arg(long, default_value_t = 10_000)]
    in_flight: u32,
    /// How many bytes are read ahead.
    #[arg(long, default_value_t = 16 << 20)]
    prefetch: u32,
    /// How many bytes of a partition come in one answer.
    #[arg(long, default_value_t = 1 << 20)]
    fetch: u32,
    /// The topic; without it one is made and deleted again.
    #[arg(long)]
    topic: Option<String>,
    /// Measure only what has this in its name; the topic has to be written for it to be read.
    #[arg(long, default_value = "")]
    only: String,
    /// Records per transaction.
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let connection = ConnectionSettings::parse(&arguments.bootstrap)?;
    let topic = arguments.topic.clone().unwrap_or_else(|| format!("speed-{}", std::process::id()));
    let admin = TopicAdmin::new(&connection)?;
    for (_, created) in admin.create(&[NewTopic::new(&topic).with_partitions(arguments.partitions)]).await? {
        match created {
            Ok(()) | Err(Error::TopicExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let bench = Bench { arguments, connection, topic };
    for round in 0..bench.arguments.rounds {
        bench.timed("write, by hand", async { bench.write_by_hand() }).await?;
        bench.timed("write, BulkProducer", bench.write()).await?;
        bench.timed("write, transactions", bench.write_transactions()).await?;
        bench.timed("read, by hand", async { bench.read_by_hand(round) }).await?;
        bench.timed("read, Consumer", bench.read(round)).await?;
    }
    if bench.arguments.topic.is_none() {
        let id = admin.describe(&[&bench.topic]).await?.remove(&bench.topic).context("described")??.id;
        admin.delete(&[(bench.topic.as_str(), id)]).await?;
    }
    Ok(())
}

struct Bench {
    arguments: Arguments,
    connection: ConnectionSettings,
    topic: String,
}

/// CPU seconds of this process so far, from the clock ticks that Linux counts.
fn cpu_seconds() -> anyhow::Result<f64> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

#[expect(clippy::cast_precision_loss, reason = "a count of records")]
fn report(name: &str, records: usize, begun: Instant, cpu: f64) -> anyhow::Result<()> {
    let (seconds, records) = (begun.elapsed().as_secs_f64(), records as f64);
    let cpu = (cpu_seconds()? - cpu) / records * 1e6;
    println!("{name:22} {:9.0} records/s {cpu:6.2} CPU s per million", records / seconds);
    Ok(())
}

struct ByHand(Arc<AtomicUsize>);

impl rdkafka::ClientContext for ByHand {}

impl ProducerContext for ByHand {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, _: usize) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Bench {
    async fn timed(&self, name: &str, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        if !name.contains(&self.arguments.only) {
            return Ok(());
        }
        let (begun, cpu) = (Instant::now(), cpu_seconds()?);
        work.await?;
        report(name, self.arguments.records, begun, cpu)
    }

    fn payload(&self) -> Vec<u8> {
        (0..self.arguments.size).map(|index| b'a' + u8::try_from(index * 7 % 26).unwrap_or_default()).collect()
    }

    async fn write(&self) -> anyhow::Result<()> {
        let mut settings = ProducerSettings::default();
        settings.batch_bytes = 256 << 10;
        settings.buffer_records = self.arguments.in_flight;
        let producer = BulkProducer::new(&self.connection, &settings)?;
        let payload = self.payload();
        let mut acknowledged = 0;
        for number in 0..self.arguments.records {
            let key = number.to_be_bytes();
            let record = RecordRef { key: Some(&key), payload: Some(&payload), ..RecordRef::to(&self.topic) };
            while producer.try_enqueue(record, number)? == Enqueued::NoRoom {
                producer.room().await;
                acknowledged += producer.settled().acknowledged.len();
            }
        }
        producer.flush(Duration::from_secs(60)).await?;
        acknowledged += producer.settled().acknowledged.len();
        ensure!(acknowledged == self.arguments.records, "not all records were acknowledged");
        Ok(())
    }

    fn write_by_hand(&self) -> anyhow::Result<()> {
        let count = Arc::new(AtomicUsize::new(0));
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("batch.size", "262144")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", self.arguments.in_flight.to_string());
        let producer: ThreadedProducer<ByHand> = config.create_with_context(ByHand(Arc::clone(&count)))?;
        let payload = self.payload();
        for number in 0..self.arguments.records {
            let key = number.to_be_bytes();
            let mut record = BaseRecord::with_opaque_to(&self.topic, number).key(&key).payload(&payload);
            while let Err((_, refused)) = producer.send(record) {
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        producer.flush(Duration::from_secs(60))?;
        ensure!(count.load(Ordering::Relaxed) == self.arguments.records, "not all records were acknowledged");
        Ok(())
    }

    async fn write_transactions(&self) -> anyhow::Result<()> {
        let mut settings = TransactionSettings::new(format!("{}-writer", self.topic));
        settings.producer.batch_bytes = 256 << 10;
        let mut producer = TransactionalProducer::start(&self.connection, &settings).await?;
        let payload = self.payload();
        let mut left = self.arguments.records;
        let mut times = Vec::new();
        while left > 0 {
            let transaction = producer.begin().await?;
            for number in 0..left.min(self.arguments.batch) {
                let key = number.to_be_bytes();
                transaction.enqueue(RecordRef { key: Some(&key), payload: Some(&payload), ..RecordRef::to(&self.topic) }, 0).await?;
                left -= 1;
            }
            let begun = Instant::now();
            producer = transaction.commit().await?;
            times.push(begun.elapsed());
        }
        times.sort();
        println!("  {} commits: median {:?}, longest {:?}", times.len(), times.get(times.len() / 2), times.last());
        Ok(())
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.arguments.bootstrap);
        config
    }

    async fn read(&self, round: usize) -> anyhow::Result<()> {
        let mut settings = ConsumerSettings::new(format!("{}-{round}-{}", self.topic, std::process::id()));
        settings.buffer_records = 2_000;
        settings.prefetch_bytes = self.arguments.prefetch;
        settings.partition_fetch_bytes = self.arguments.fetch;
        let consumer = Consumer::subscribe(&self.connection, &settings, &[&self.topic], ())?;
        let (mut count, mut bytes) = (0, 0);
        while count < self.arguments.records {
            let batch = consumer.recv_batch(500).await?;
            count += batch.len();
            bytes += batch.iter().filter_map(|record| record.payload.as_ref()).map(|payload| payload.len()).sum::<usize>();
        }
        ensure!(bytes >= self.arguments.records * self.arguments.size, "records are shorter than they were");
        consumer.close().await;
        Ok(())
    }

    fn read_by_hand(&self, round: usize) -> anyhow::Result<()> {
        let mut config = self.config();
        config
            .set("group.id", format!("{}-{round}-{}-by-hand", self.topic, std::process::id()))
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.message.max.bytes", self.arguments.fetch.to_string())
            .set("queued.max.messages.kbytes", (self.arguments.prefetch >> 10).to_string());
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&self.topic])?;
        let (mut count, mut bytes) = (0, 0);
        while count < self.arguments.records {
            let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
            bytes += message?.payload().map_or(0, <[u8]>::len);
            count += 1;
        }
        ensure!(bytes >= self.arguments.records * self.arguments.size, "records are shorter than they were");
        Ok(())
    }
}
