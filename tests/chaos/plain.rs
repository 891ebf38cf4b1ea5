//! A worker as one writes it by hand on top of the client library, in as few lines as correctness takes.
//!
//! It is the rig's measure of itself: without a mistake its runs must have no anomaly, in either delivery, and with each
//! mistake of [`Bug`] they must have one. Every failure ends its session; the next one has new clients and begins at the
//! committed offsets.

mod clients;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use penstock_crds::worker::{DeadLetterFormat, DeadLetterTarget};
use penstock_kafka::{Header, Record, TimestampType};
use penstock_workers::{
    processor::{DynProcessor, Event, Failure, Outcome, Output},
    stream::dead_letter::{DeadLetter, Extent, Sender, Step},
};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    message::{BorrowedMessage, Headers},
    producer::Producer,
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use self::clients::{Reader, Writer};
use crate::{
    Result,
    history::Delivery,
    order::OVERSIZE,
    seeded::Bug,
    worker::{Topics, WorkerSpec},
};

/// How many records are handled as one.
const BATCH: usize = 100;
/// How long a batch waits for its records.
const LINGER: Duration = Duration::from_millis(50);
const ATTEMPTS: u16 = 4;
/// How long a call of the cluster may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(30);
/// With [`Bug::NoRewind`], every so many batches fail.
const ONE_FAILS_OF: u64 = 5;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The process cannot be set up.
pub async fn run(spec: &WorkerSpec, bug: Option<Bug>, processor: Arc<dyn DynProcessor>) -> Result {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let worker = Plain { spec: spec.clone(), topics: Topics::of(&spec.prefix), bug, processor, runtime: Handle::current() };
    let stopped = stop.clone();
    let working = tokio::task::spawn_blocking(move || worker.work(&stopped));
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
        tokio::time::sleep(FAREWELL).await;
        // The client library may wait for an answer that never comes.
        std::process::exit(1);
    });
    Ok(working.await?)
}

struct Plain {
    spec: WorkerSpec,
    topics: Topics,
    bug: Option<Bug>,
    processor: Arc<dyn DynProcessor>,
    runtime: Handle,
}

/// What is to be written because of a record.
enum Decided {
    Emit(Vec<Output>),
    Bury(Failure),
}

impl Plain {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.session(stop) {
                tracing::warn!(%error, "the session is over; the next one begins at the committed offsets");
            }
        }
    }

    fn session(&self, stop: &CancellationToken) -> Result {
        let reader = Reader::new(&self.spec, &self.topics, self.has(Bug::ReadUncommitted))?;
        let writer = Writer::new(&self.spec, &self.topics)?;
        if self.spec.delivery == Delivery::ExactlyOnce {
            writer.client.init_transactions(PATIENCE * 3)?;
        }
        let mut batches = 0;
        while !stop.is_cancelled() {
            let mut events = collect(&reader)?;
            if events.is_empty() {
                continue;
            }
            batches += 1;
            let records = self.records(&mut events);
            let fails = self.has(Bug::NoRewind) && batches % ONE_FAILS_OF == 0;
            match self.spec.delivery {
                Delivery::AtLeastOnce => self.acknowledge(&reader, &writer, &events, &records)?,
                Delivery::ExactlyOnce if fails => abort(&writer, &records)?,
                Delivery::ExactlyOnce => self.transact(&reader, &writer, &events, &records)?,
            }
        }
        Ok(())
    }

    fn acknowledge(&self, reader: &Reader, writer: &Writer, events: &[Event], records: &[Record]) -> Result {
        let offsets = self.offsets(events)?;
        if self.has(Bug::CommitBeforeAck) {
            reader.client.commit(&offsets, CommitMode::Sync)?;
        }
        writer.write(records)?;
        if !self.has(Bug::CommitBeforeAck) {
            reader.client.commit(&offsets, CommitMode::Sync)?;
        }
        Ok(())
    }

    fn transact(&self, reader: &Reader, writer: &Writer, events: &[Event], records: &[Record]) -> Result {
        let offsets = self.offsets(events)?;
        writer.client.begin_transaction()?;
        writer.write(records)?;
        if !self.has(Bug::OffsetsOutside) {
            let stranger = self.has(Bug::NoFencing).then(|| Reader::stranger(&self.spec, &self.topics)).transpose()?;
            let member = stranger.as_ref().unwrap_or(&reader.client);
            let metadata = member.group_metadata().ok_or("the consumer is not in its group")?;
            writer.client.send_offsets_to_transaction(&offsets, &metadata, PATIENCE)?;
        }
        if self.has(Bug::ReuseProducer) {
            // Until it works: what many do with an error that says that it may be repeated.
            while let Err(error) = writer.client.commit_transaction(PATIENCE) {
                tracing::warn!(%error, "the commit is repeated with the same producer");
            }
        } else {
            writer.client.commit_transaction(PATIENCE)?;
            if writer.was_cut_off() {
                // The client library may have repeated the request by itself. Then the first one may still arrive, in the next
                // transaction of this producer; a new epoch refuses it.
                return Err("the connection broke during a transaction: the producer cannot be used again".into());
            }
        }
        if self.has(Bug::OffsetsOutside) {
            reader.client.commit(&offsets, CommitMode::Sync)?;
        }
        Ok(())
    }

    /// The offsets after these events.
    fn offsets(&self, events: &[Event]) -> Result<TopicPartitionList> {
        let mut next = BTreeMap::new();
        for event in events {
            next.insert(event.partition, event.offset + if self.has(Bug::OffsetPlusTwo) { 2 } else { 1 });
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in next {
            offsets.add_partition_offset(&self.topics.orders, partition, Offset::Offset(offset))?;
        }
        Ok(offsets)
    }

    /// What follows from the events, in their order.
    fn records(&self, events: &mut [Event]) -> Vec<Record> {
        let mut lanes: BTreeMap<Option<Bytes>, Vec<(usize, &mut Event)>> = BTreeMap::new();
        for (place, event) in events.iter_mut().enumerate() {
            lanes.entry(event.key.clone()).or_default().push((place, event));
        }
        let all = lanes.into_values().map(|lane| async {
            let mut written = Vec::new();
            for (place, event) in lane {
                let decided = self.decide(event).await;
                written.push((place, self.written(event, decided)));
            }
            written
        });
        let mut written: Vec<(usize, Vec<Record>)> = self.runtime.block_on(join_all(all)).into_iter().flatten().collect();
        written.sort_by_key(|(place, _)| *place);
        if self.has(Bug::KeyOrder) {
            written.reverse();
        }
        written.into_iter().flat_map(|(_, records)| records).collect()
    }

    async fn decide(&self, event: &mut Event) -> Decided {
        loop {
            let mut asked = event.clone();
            if self.has(Bug::UnstableId) {
                asked.topic = format!("{}-{}", event.topic, event.attempt).into();
            }
            match Arc::clone(&self.processor).handle(Arc::new(asked)).await {
                Outcome::Emit(outputs) => return Decided::Emit(outputs),
                Outcome::Drop => return Decided::Emit(vec![]),
                Outcome::Reject(failure) => return Decided::Bury(failure),
                Outcome::Retry(failure) if event.attempt >= ATTEMPTS => return Decided::Bury(failure),
                Outcome::Retry(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    event.attempt += 1;
                }
            }
        }
    }

    fn written(&self, event: &Event, decided: Decided) -> Vec<Record> {
        // One record of a key: a mistake that happens now and then.
        let now_and_then = event.offset % 40 == 7;
        match decided {
            Decided::Emit(outputs) => {
                let times = match self.bug {
                    Some(Bug::DropOutput) if now_and_then => 0,
                    Some(Bug::EmitTwice) if now_and_then => 2,
                    _ => 1,
                };
                let record = |Output { key, payload, headers }| Record { key, payload, headers, ..Record::to(&self.topics.payments) };
                outputs.into_iter().map(record).flat_map(|record| std::iter::repeat_n(record, times)).collect()
            }
            Decided::Bury(_) if self.has(Bug::LoseLetter) && event.offset % 5 == 0 => vec![],
            Decided::Bury(failure) => vec![self.letter(event, &failure)],
        }
    }

    fn letter(&self, event: &Event, failure: &Failure) -> Record {
        let format = if self.spec.envelope { DeadLetterFormat::Envelope } else { DeadLetterFormat::Record };
        let is_large = event.payload.as_ref().is_some_and(|payload| payload.len() >= OVERSIZE);
        let extent = if is_large { Extent::Pointer } else { Extent::Whole };
        let prefix = &self.spec.prefix;
        let sender = Sender { pipeline: prefix.clone(), group: prefix.clone(), processor: prefix.clone() };
        let letter = DeadLetter { event, failure, step: Step::Processing, failed_at: Timestamp::now(), sender: &sender };
        let target = DeadLetterTarget { topic: self.topics.letters.clone(), format, headers: BTreeSet::new() };
        let mut record = letter.write(&target, extent);
        if self.has(Bug::AlterLetter) {
            record.payload = record.payload.map(|payload| String::from_utf8_lossy(&payload).into_owned().into());
        }
        if self.has(Bug::LetterWithoutHeaders) {
            record.headers.retain(|header| header.name.starts_with("penstock-dlt-"));
        }
        record
    }
}

/// Gives the transaction up, as after an error; with what had been written.
fn abort(writer: &Writer, records: &[Record]) -> Result {
    writer.client.begin_transaction()?;
    writer.write(records)?;
    Ok(writer.client.abort_transaction(PATIENCE)?)
}

/// Records of partitions that are still this worker's.
fn collect(reader: &Reader) -> Result<Vec<Event>> {
    let deadline = Instant::now() + LINGER;
    let mut events: Vec<Event> = Vec::with_capacity(BATCH);
    while events.len() < BATCH && Instant::now() < deadline {
        let polled = reader.client.poll(LINGER / 5);
        let gone = reader.client.context().take_revoked();
        events.retain(|event| !gone.contains(&event.partition));
        if let Some(message) = polled {
            events.push(event_of(&message?));
        }
    }
    Ok(events)
}

fn event_of(message: &BorrowedMessage<'_>) -> Event {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) }).collect()
    });
    Event {
        topic: message.topic().into(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis(),
        timestamp_type: TimestampType::default(),
        attempt: 1,
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("spec", &self.spec).field("bug", &self.bug).finish_non_exhaustive()
    }
}
