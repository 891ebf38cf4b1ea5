//! The two clients of a plain worker.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use penstock_kafka::Record;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
    types::RDKafkaErrorCode as Code,
};

use crate::{
    Result,
    history::Delivery,
    worker::{Topics, WorkerSpec},
};

/// More than the library has to say in one transaction.
const EVENTS: usize = 1_000;
/// How long records may take.
const WRITING: Duration = Duration::from_secs(30);

fn common(spec: &WorkerSpec) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", spec.bootstrap.join(","))
        .set("client.id", "chaos-plain")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.timeout.ms", "10000")
        .set("metadata.recovery.strategy", "rebootstrap")
        .set("log.connection.close", "false");
    config
}

/// Remembers which partitions went away.
#[derive(Default)]
pub struct Assigned {
    revoked: Mutex<BTreeSet<i32>>,
}

impl Assigned {
    /// The partitions that went away since it was asked last.
    pub fn take_revoked(&self) -> BTreeSet<i32> {
        std::mem::take(&mut self.revoked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let gone = partitions.elements().into_iter().map(|element| element.partition());
            self.revoked.lock().unwrap_or_else(PoisonError::into_inner).extend(gone);
        }
    }
}

/// Reads the orders.
pub struct Reader {
    pub client: BaseConsumer<Assigned>,
}

impl Reader {
    /// A member of the group.
    pub fn new(spec: &WorkerSpec, topics: &Topics, uncommitted: bool) -> Result<Self> {
        let mut config = common(spec);
        config
            .set("group.id", &topics.group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", if uncommitted { "read_uncommitted" } else { "read_committed" })
            .set("fetch.queue.backoff.ms", "5");
        if spec.next_generation {
            config.set("group.protocol", "consumer");
        } else {
            config
                .set("session.timeout.ms", spec.session_timeout_ms.to_string())
                .set("heartbeat.interval.ms", (spec.session_timeout_ms / 4).to_string())
                .set("partition.assignment.strategy", "cooperative-sticky");
        }
        let client: BaseConsumer<Assigned> = config.create_with_context(Assigned::default())?;
        client.subscribe(&[&topics.orders])?;
        Ok(Self { client })
    }

    /// A consumer that names the group and has never joined it: what it says about itself fences nobody.
    pub fn stranger(spec: &WorkerSpec, topics: &Topics) -> Result<BaseConsumer<Assigned>> {
        Ok(common(spec).set("group.id", &topics.group).create_with_context(Assigned::default())?)
    }
}

/// Remembers what went wrong with a producer.
#[derive(Default)]
pub struct Mishaps {
    undelivered: AtomicUsize,
    cut_off: AtomicBool,
}

impl ClientContext for Mishaps {
    // Errors of connections are told to `error` only now and then, but each of them is logged. What ends a transaction goes to
    // its coordinator.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "STATE" && message.contains("TxnCoordinator") && message.contains("UP -> DOWN") {
            self.cut_off.store(true, Ordering::Release);
        }
        if !matches!(level, RDKafkaLogLevel::Debug) {
            tracing::info!(facility, message, "the producer");
        }
    }
}

impl ProducerContext for Mishaps {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            tracing::warn!(%error, "a record was not written");
            self.undelivered.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Writes payments and dead letters.
pub struct Writer {
    pub client: BaseProducer<Mishaps>,
}

impl Writer {
    /// A producer, with a transactional id of the worker's own if it needs one.
    pub fn new(spec: &WorkerSpec, topics: &Topics) -> Result<Self> {
        let mut config = common(spec);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("batch.size", "100000")
            .set("partitioner", "murmur2_random")
            .set("debug", "broker");
        config.set_log_level(RDKafkaLogLevel::Debug);
        if spec.delivery == Delivery::ExactlyOnce {
            config
                .set("transactional.id", format!("{}-{}", topics.group, spec.number))
                .set("transaction.timeout.ms", spec.transaction_timeout.as_millis().to_string());
        }
        Ok(Self { client: config.create_with_context(Mishaps::default())? })
    }

    /// Writes the records and waits until Kafka has them all.
    ///
    /// # Errors
    /// Not all of them arrived.
    pub fn write(&self, records: &[Record]) -> Result {
        for record in records {
            self.send(record)?;
        }
        let deadline = Instant::now() + WRITING;
        while self.client.in_flight_count() > 0 {
            if Instant::now() > deadline {
                return Err("records were not written in time".into());
            }
            self.client.poll(Duration::from_millis(1));
        }
        match self.client.context().undelivered.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            some => Err(format!("{some} records were not written").into()),
        }
    }

    fn send(&self, record: &Record) -> Result {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, header| headers.insert(Header { key: &header.name, value: header.value.as_deref() }));
        let mut native: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&record.topic).headers(headers);
        native.key = record.key.as_deref();
        native.payload = record.payload.as_deref();
        loop {
            match self.client.send(native) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    self.client.poll(Duration::from_millis(5));
                    native = back;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Whether a connection broke since it was asked last.
    pub fn was_cut_off(&self) -> bool {
        // What the library logs waits in a queue, and a call serves one entry.
        (0..EVENTS).for_each(|_| self.client.poll(Duration::ZERO));
        self.client.context().cut_off.swap(false, Ordering::AcqRel)
    }
}
