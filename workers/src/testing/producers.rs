//! Producers in memory. What was not acknowledged when one is dropped is in its topic or is not, up to some record, as the dice say. A
//! transaction is aborted when its time-out is over, whether its producer lives or not, and one that lives is fenced by that; or
//! when a producer of the same transactional id starts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::{
    CommitError, Error, GroupOffset, ProducerSettings, Record, RecordRef, Result, Settled, TopicPartition, TransactionSettings,
};
use rand::RngExt;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{log::TransactionNumber, member::MemoryMember, world::Memory};
use crate::{
    readiness::Need,
    stream::world::{Bulk, Producer, Transaction, World},
};

/// What no client sends.
fn check_size(record: &RecordRef<'_>, max: u32) -> Result<()> {
    if record.size() > max as usize {
        return Err(Error::RecordTooLarge { message: format!("the client takes {max} bytes") });
    }
    Ok(())
}

fn owned(record: RecordRef<'_>) -> Record {
    Record {
        topic: record.topic.to_owned(),
        partition: record.partition,
        key: record.key.map(|key| key.to_vec().into()),
        payload: record.payload.map(|payload| payload.to_vec().into()),
        headers: record.headers.to_vec(),
        timestamp_ms: record.timestamp_ms,
    }
}

/// Writes at once.
pub(crate) struct MemoryBulk {
    memory: Memory,
    max_record_bytes: u32,
    /// What is on its way, and when it arrives.
    pending: Mutex<VecDeque<(Instant, Record, usize)>>,
}

impl MemoryBulk {
    pub fn new(memory: Memory, settings: &ProducerSettings) -> Self {
        Self { memory, max_record_bytes: settings.max_record_bytes, pending: Mutex::default() }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<(Instant, Record, usize)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bulk for MemoryBulk {
    async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        check_size(&record, self.max_record_bytes)?;
        let arrival = Instant::now() + self.memory.latency();
        let arrival = self.memory.see(|cluster| cluster.slow_until).map_or(arrival, |until| arrival.max(until));
        let mut pending = self.pending();
        // Nothing overtakes.
        let arrival = pending.back().map_or(arrival, |(last, ..)| arrival.max(*last));
        let record = Record { timestamp_ms: record.timestamp_ms.or(Some(self.memory.now().as_millisecond())), ..owned(record) };
        pending.push_back((arrival, record, token));
        Ok(())
    }

    fn settled(&self) -> Settled {
        let (mut pending, now, mut settled) = (self.pending(), Instant::now(), Settled::default());
        let arrived: Vec<_> = std::iter::from_fn(|| pending.pop_front_if(|(arrival, ..)| *arrival <= now)).collect();
        // What arrives together is one batch, and taken or refused as a whole.
        let is_refused = |record: &Record| self.memory.see(|cluster| cluster.refuses(&RecordRef::from(record)));
        let refused: BTreeSet<String> =
            arrived.iter().filter(|(_, record, _)| is_refused(record)).map(|(_, r, _)| r.topic.clone()).collect();
        for (_, record, token) in arrived {
            if refused.contains(&record.topic) && !is_refused(&record) {
                settled.failed.push((token, Error::BatchRefused { message: "another record".to_owned() }));
                continue;
            }
            match self.memory.change(|cluster| cluster.append(RecordRef::from(&record), self.memory.now(), None)) {
                Ok(position) => {
                    *settled.stored.entry(TopicPartition::new(record.topic, position.partition)).or_default() += 1;
                    settled.acknowledged.push(token);
                }
                Err(error) => settled.failed.push((token, error)),
            }
        }
        settled
    }

    fn in_flight(&self) -> usize {
        self.pending().len()
    }

    /// Nothing waits for company here.
    async fn push(&self) {}

    async fn changed(&self) {
        let arrival = self.pending().front().map(|(arrival, ..)| *arrival);
        match arrival {
            Some(arrival) => sleep_until(arrival).await,
            None => std::future::pending().await,
        }
    }

    fn watch(&self, need: Need, _: &CancellationToken) {
        need.met();
    }
}

impl Drop for MemoryBulk {
    fn drop(&mut self) {
        let (pending, now) = (std::mem::take(&mut *self.pending()), self.memory.now());
        if pending.is_empty() {
            return;
        }
        self.memory.change(|cluster| {
            let arrived = cluster.chance.random_range(0..=pending.len());
            for (_, record, _) in pending.iter().take(arrived) {
                // Nobody is there to be told that it was refused.
                let _ = cluster.append(RecordRef::from(record), now, None);
            }
        });
    }
}

/// Writes in transactions.
pub(crate) struct MemoryProducer {
    memory: Memory,
    transactional_id: String,
    epoch: u64,
    timeout: Duration,
    max_record_bytes: u32,
    stored: BTreeMap<TopicPartition, u64>,
}

impl MemoryProducer {
    pub fn start(memory: Memory, settings: &TransactionSettings) -> Self {
        let epoch = memory.change(|cluster| cluster.start_producer(&settings.transactional_id));
        let (timeout, max_record_bytes) = (settings.timeout, settings.producer.max_record_bytes);
        let transactional_id = settings.transactional_id.clone();
        Self { memory, transactional_id, epoch, timeout, max_record_bytes, stored: BTreeMap::new() }
    }

    fn fenced(&self) -> Option<Error> {
        let is_latest = self.memory.see(|cluster| cluster.is_latest(&self.transactional_id, self.epoch));
        let why = "a producer with the same transactional id has started, or a transaction has timed out";
        (!is_latest).then(|| Error::Fenced { message: why.to_owned() })
    }
}

impl Producer for MemoryProducer {
    type Member = MemoryMember;
    type Transaction = MemoryTransaction;

    async fn begin(self) -> Result<MemoryTransaction> {
        if let Some(fenced) = self.fenced() {
            return Err(fenced);
        }
        let number = self.memory.change(|cluster| cluster.begin(&self.transactional_id));
        let (memory, timeout) = (self.memory.clone(), self.timeout);
        let time_out = tokio::spawn(async move {
            sleep(timeout).await;
            memory.change(|cluster| cluster.time_out(number));
        });
        let producer = Self { stored: BTreeMap::new(), ..self };
        Ok(MemoryTransaction { producer, number, time_out: time_out.abort_handle(), records: Mutex::default() })
    }

    fn stored(&self) -> &BTreeMap<TopicPartition, u64> {
        &self.stored
    }

    fn watch(&self, need: Need, _: &CancellationToken) {
        need.met();
    }
}

/// A transaction under way. Dropped, it stays open until its time is over.
pub(crate) struct MemoryTransaction {
    producer: MemoryProducer,
    number: TransactionNumber,
    /// Ends it when its time is over.
    time_out: AbortHandle,
    records: Mutex<Records>,
}

/// What became of the records of a transaction.
#[derive(Default)]
struct Records {
    stored: BTreeMap<TopicPartition, u64>,
    /// Why the first that was not stored was not, and which were not.
    failed: Option<(Error, Vec<usize>)>,
}

impl Transaction for MemoryTransaction {
    type Producer = MemoryProducer;
    type Member = MemoryMember;

    async fn enqueue(&self, record: RecordRef<'_>, token: usize) -> Result<()> {
        check_size(&record, self.producer.max_record_bytes)?;
        if self.records.lock().unwrap_or_else(PoisonError::into_inner).failed.is_some() {
            return Err(Error::TransactionFailed);
        }
        let memory = &self.producer.memory;
        let stored = memory.change(|cluster| cluster.append(record, memory.now(), Some(self.number)));
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        match stored {
            Ok(position) => *records.stored.entry(TopicPartition::new(record.topic, position.partition)).or_default() += 1,
            Err(error) => {
                records.failed.get_or_insert((error, vec![token]));
            }
        }
        Ok(())
    }

    async fn commit(
        self,
        offsets: &[GroupOffset],
        member: &MemoryMember,
    ) -> std::result::Result<MemoryProducer, CommitError<MemoryProducer>> {
        let Self { producer, number, time_out, records } = self;
        let memory = producer.memory.clone();
        let Some(generation) = memory.see(|cluster| member.generation(cluster)) else {
            return Err(CommitError::ProducerLost { reason: Error::Fenced { message: "not a member of the group".to_owned() } });
        };
        memory.round_trip().await;
        if let Some(reason) = producer.fenced() {
            return Err(CommitError::ProducerLost { reason });
        }
        time_out.abort();
        let Records { stored, failed } = records.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (failed, at_fault) = failed.unzip();
        let reason = memory.change(|cluster| {
            let gone = || Error::Fenced { message: "the group went on without this member".to_owned() };
            let reason = failed.or_else(|| (member.generation(cluster) != Some(generation)).then(gone));
            cluster.end(number, reason.is_none());
            if reason.is_none() {
                cluster.commit(member.group(), offsets);
            }
            reason
        });
        // The transaction has ended, and its producer does not know yet.
        memory.round_trip().await;
        match reason {
            None => Ok(MemoryProducer { stored, ..producer }),
            Some(reason) => Err(CommitError::Aborted { reason, records: at_fault.unwrap_or_default(), producer: Box::new(producer) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::ConsumerSettings;

    use super::*;
    use crate::stream::handover::{Handover, Patience};

    /// As with a broker: see `tests/local/transactions.rs`.
    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_lasts_too_long_is_aborted_and_its_producer_fenced() {
        let (memory, settings) = (Memory::new(1), TransactionSettings::new("slow"));
        memory.change(|cluster| cluster.create("t", 1, 1_000));
        let (handover, _decisions) = Handover::new(Patience::new(Duration::ZERO));
        let member = MemoryMember::join(memory.clone(), &ConsumerSettings::new("g"), &["t"], handover);
        let is_settled = || memory.see(|cluster| cluster.is_settled());
        for (lasts, is_committed) in [(settings.timeout - Duration::from_secs(1), true), (settings.timeout + Duration::from_secs(1), false)]
        {
            let transaction = MemoryProducer::start(memory.clone(), &settings).begin().await.unwrap();
            transaction.enqueue(RecordRef { payload: Some(b"x"), ..RecordRef::to("t") }, 0).await.unwrap();
            sleep(lasts).await;
            assert_eq!(is_settled(), !is_committed);
            match transaction.commit(&[], &member).await {
                Ok(_) => assert!(is_committed),
                Err(CommitError::ProducerLost { reason: Error::Fenced { .. } }) => assert!(!is_committed),
                Err(error) => panic!("{error}"),
            }
            // Nothing of one that has ended is left to time out.
            sleep(settings.timeout * 2).await;
            assert!(is_settled());
            assert!(is_committed || MemoryProducer::start(memory.clone(), &settings).begin().await.is_ok());
        }
        let stored = memory.see(|cluster| cluster.logs("t").unwrap().flat_map(|(_, log)| log.read(0..i64::MAX)).count());
        assert_eq!(stored, 1);
    }
}
