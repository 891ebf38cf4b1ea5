//! Producers in memory. What was not acknowledged when one is dropped was never sent; a transaction that is left open is aborted
//! when its time-out is over, or when a producer of the same transactional id starts.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::{CommitError, Error, GroupOffset, ProducerSettings, Record, RecordRef, Result, Settled, TransactionSettings};
use tokio::{
    runtime::Handle,
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
        let mut pending = self.pending();
        // Nothing overtakes.
        let arrival = pending.back().map_or(arrival, |(last, ..)| arrival.max(*last));
        let record = Record { timestamp_ms: record.timestamp_ms.or(Some(self.memory.now().as_millisecond())), ..owned(record) };
        pending.push_back((arrival, record, token));
        Ok(())
    }

    fn settled(&self) -> Settled {
        let (mut pending, now, mut settled) = (self.pending(), Instant::now(), Settled::default());
        while let Some((_, record, token)) = pending.pop_front_if(|(arrival, ..)| *arrival <= now) {
            match self.memory.change(|cluster| cluster.append(RecordRef::from(&record), self.memory.now(), None)) {
                Ok(_) => settled.acknowledged.push(token),
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

/// Writes in transactions.
pub(crate) struct MemoryProducer {
    memory: Memory,
    transactional_id: String,
    epoch: u64,
    timeout: Duration,
    max_record_bytes: u32,
}

impl MemoryProducer {
    pub fn start(memory: Memory, settings: &TransactionSettings) -> Self {
        let epoch = memory.change(|cluster| cluster.start_producer(&settings.transactional_id));
        let (timeout, max_record_bytes) = (settings.timeout, settings.producer.max_record_bytes);
        Self { memory, transactional_id: settings.transactional_id.clone(), epoch, timeout, max_record_bytes }
    }

    fn fenced(&self) -> Option<Error> {
        let is_latest = self.memory.see(|cluster| cluster.is_latest(&self.transactional_id, self.epoch));
        (!is_latest).then(|| Error::Fenced { message: "a producer with the same transactional id has started".to_owned() })
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
        let open = Open { memory: self.memory.clone(), number, timeout: self.timeout };
        Ok(MemoryTransaction { producer: self, open, failed: Mutex::new(None) })
    }

    fn watch(&self, need: Need, _: &CancellationToken) {
        need.met();
    }
}

/// Ends a transaction whose producer is gone.
struct Open {
    memory: Memory,
    number: TransactionNumber,
    timeout: Duration,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (memory, number, timeout) = (self.memory.clone(), self.number, self.timeout);
        if memory.see(|cluster| cluster.is_open(number)) {
            runtime.spawn(async move {
                sleep(timeout).await;
                memory.change(|cluster| cluster.end(number, false));
            });
        }
    }
}

/// A transaction under way.
pub(crate) struct MemoryTransaction {
    producer: MemoryProducer,
    open: Open,
    /// The first record that was not stored.
    failed: Mutex<Option<Error>>,
}

impl Transaction for MemoryTransaction {
    type Producer = MemoryProducer;
    type Member = MemoryMember;

    async fn enqueue(&self, record: RecordRef<'_>) -> Result<()> {
        check_size(&record, self.producer.max_record_bytes)?;
        let memory = &self.open.memory;
        let stored = memory.change(|cluster| cluster.append(record, memory.now(), Some(self.open.number)));
        if let Err(error) = stored {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        Ok(())
    }

    async fn commit(
        self,
        offsets: &[GroupOffset],
        member: &MemoryMember,
    ) -> std::result::Result<MemoryProducer, CommitError<MemoryProducer>> {
        let Self { producer, open, failed } = self;
        let (memory, number) = (open.memory.clone(), open.number);
        memory.round_trip().await;
        if let Some(reason) = producer.fenced() {
            return Err(CommitError::ProducerLost { reason });
        }
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let reason = memory.change(|cluster| {
            let gone = || Error::Fenced { message: "the group went on without this member".to_owned() };
            let reason = failed.or_else(|| (!member.is_current(cluster)).then(gone));
            cluster.end(number, reason.is_none());
            if reason.is_none() {
                cluster.commit(member.group(), offsets);
            }
            reason
        });
        // The transaction has ended, and its producer does not know yet.
        memory.round_trip().await;
        match reason {
            None => Ok(producer),
            Some(reason) => Err(CommitError::Aborted { reason, record: None, producer: Box::new(producer) }),
        }
    }
}
