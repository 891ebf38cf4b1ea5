//! Puts orders on their topic, past the proxy, and writes down what became of each attempt.
//!
//! Most are sent by a plain idempotent producer. Now and then a few are written in a transaction that is then aborted: to a
//! reader of committed records they were never there. Unless told otherwise, a partition does not end with the marks of those.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use penstock_kafka::{ConnectionSettings, Error, Producer, ProducerSettings, Record, RecordPosition};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    PATIENCE, Result,
    history::{Attempt, Fate, Position},
    order::{Order, Orders},
};

const TICK: Duration = Duration::from_millis(20);
/// How long an order may wait for its acknowledgement.
const DELIVERY: Duration = Duration::from_secs(20);
/// How often some orders are written and taken back.
const GHOSTS: Duration = Duration::from_secs(2);
const GHOSTS_AT_ONCE: usize = 5;
/// Ghosts count from here, so that numbers are not given twice.
const FIRST_GHOST: u64 = 1 << 40;

/// What is put on the topic.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the brokers are.
    pub bootstrap: Vec<String>,
    /// The topic.
    pub topic: String,
    /// What the orders are made from.
    pub seed: u64,
    /// How many in a second.
    pub rate: u32,
    /// Whether the last thing in a partition may be a mark of the client library's and no record.
    pub trailing_marks: bool,
    /// While it is true, most orders are poison.
    pub poison: Arc<AtomicBool>,
}

impl Load {
    /// Puts orders on the topic until told to stop; then waits for what is under way.
    ///
    /// # Errors
    /// No client can be made.
    pub async fn run(self, stop: CancellationToken) -> Result<Vec<Attempt>> {
        let over = CancellationToken::new();
        let haunting = async {
            let (load, stop, over) = (self.clone(), stop, over.clone());
            let attempts = tokio::task::spawn_blocking(move || load.haunt(&stop)).await;
            over.cancel();
            attempts
        };
        let (sent, ghosts) = tokio::join!(self.send(&over), haunting);
        let mut attempts = sent?;
        attempts.extend(ghosts?);
        Ok(attempts)
    }

    async fn send(&self, stop: &CancellationToken) -> Result<Vec<Attempt>> {
        let connection = ConnectionSettings::new(&self.bootstrap)?;
        let mut settings = ProducerSettings::default();
        settings.delivery_timeout = DELIVERY;
        let mut producer = Producer::new(&connection, &settings)?;
        let mut orders = Orders::new(self.seed, 0);
        let (mut attempts, mut under_way) = (Vec::new(), FuturesUnordered::new());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (begun, mut sent) = (Instant::now(), 0_u128);
        loop {
            let is_over = stop.is_cancelled();
            tokio::select! {
                _ = ticks.tick() => {}
                Some(attempt) = under_way.next(), if !under_way.is_empty() => {
                    attempts.push(attempt);
                    continue;
                }
            }
            let due = begun.elapsed().as_millis() * u128::from(self.rate) / 1_000;
            orders.poison = self.poison.load(Ordering::Relaxed);
            let mut next: Vec<Order> = (sent..due).map(|_| orders.next()).collect();
            sent = sent.max(due);
            if is_over && !self.trailing_marks {
                next.extend(orders.of_every_key());
            }
            for order in next {
                match producer.enqueue(self.record(&order)).await {
                    Ok(delivery) => under_way.push(async move { Attempt { order, fate: fate(delivery.await) } }),
                    Err(error) => {
                        if error.is_fatal() {
                            producer = Producer::new(&connection, &settings)?;
                        }
                        attempts.push(Attempt { order, fate: fate(Err(error)) });
                    }
                }
            }
            if is_over {
                break;
            }
        }
        // Longer than an order may wait: each of them has its fate.
        let rest = async {
            while let Some(attempt) = under_way.next().await {
                attempts.push(attempt)
            }
        };
        timeout(DELIVERY * 2, rest).await.map_err(|_| "orders were under way for longer than they may be")?;
        Ok(attempts)
    }

    fn record(&self, order: &Order) -> Record {
        let Order { key, payload, headers, .. } = order.clone();
        Record { key: Some(key), payload, headers, ..Record::to(&self.topic) }
    }

    /// Writes orders and takes them back, until told to stop.
    fn haunt(&self, stop: &CancellationToken) -> Vec<Attempt> {
        let mut orders = Orders::new(!self.seed, FIRST_GHOST);
        let mut attempts = Vec::new();
        let mut next = std::time::Instant::now();
        while !stop.is_cancelled() {
            if std::time::Instant::now() < next {
                std::thread::sleep(TICK);
                continue;
            }
            next += GHOSTS;
            let ghosts: Vec<Order> = (0..GHOSTS_AT_ONCE).map(|_| orders.next()).collect();
            if let Err(error) = self.write_and_abort(&ghosts) {
                tracing::debug!(%error, "a transaction that was not aborted is, when its time is over");
            }
            // Nobody ever asks for its commit.
            attempts.extend(ghosts.into_iter().map(|order| Attempt { order, fate: Fate::Rejected }));
        }
        attempts
    }

    fn write_and_abort(&self, ghosts: &[Order]) -> Result {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap.join(","))
            .set("transactional.id", format!("{}-ghosts", self.topic))
            .set("transaction.timeout.ms", "5000")
            .create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        for order in ghosts {
            let headers = order
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, header| headers.insert(Header { key: &header.name, value: header.value.as_deref() }));
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).headers(headers).key(&order.key);
            record.payload = order.payload.as_deref();
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        Ok(producer.abort_transaction(PATIENCE)?)
    }
}

fn fate(answer: std::result::Result<RecordPosition, Error>) -> Fate {
    match answer {
        Ok(RecordPosition { partition, offset }) => Fate::Acknowledged(Position { partition, offset }),
        // These say that the record is not stored.
        Err(Error::Unreachable { .. } | Error::RecordTooLarge { .. } | Error::UnknownTopic { .. } | Error::InvalidRequest { .. }) => {
            Fate::Rejected
        }
        Err(_) => Fate::Unknown,
    }
}
