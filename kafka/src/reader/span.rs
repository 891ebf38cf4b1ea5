//! Reads a stretch of some partitions once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::Offset;

use super::reading_client;
use crate::connection::ConnectionSettings;
use crate::error::{Error, Result};
use crate::ffi::{Copies, Native, Polled};
use crate::record::{ConsumedRecord, TopicPartition};

const POLL: Duration = Duration::from_millis(50);
/// Read ahead, over all partitions.
const PREFETCH_BYTES: u32 = 4 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// Reads what is committed at these offsets of these partitions, and hands each record to `visit`: in order within a
/// partition. Ends once everything before the ends of the ranges was read, or once it is known to be no record (deleted, or of
/// an aborted transaction). A transaction that is still open is waited for.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use std::{collections::BTreeMap, time::Duration};
/// use penstock_kafka::{ConnectionSettings, TopicPartition, read_span};
///
/// let connection = ConnectionSettings::parse("localhost:9092")?;
/// let spans = BTreeMap::from([(TopicPartition::new("orders", 0), 100..200)]);
/// read_span(&connection, spans, Duration::from_secs(10), |record| println!("{}", record.offset)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Timeout`]: no record came for as long as `patience`. Kafka cannot be reached or refuses. Records may have been
/// handed out before.
pub async fn read_span(
    connection: &ConnectionSettings,
    spans: BTreeMap<TopicPartition, Range<i64>>,
    patience: Duration,
    mut visit: impl FnMut(ConsumedRecord) + Send + 'static,
) -> Result<()> {
    let mut pending = Pending::new(spans);
    if pending.is_over() {
        return Ok(());
    }
    let mut config = reading_client(connection, PREFETCH_BYTES, FETCH_WAIT);
    config.set("auto.offset.reset", "earliest");
    let native = Native::for_reading(&config)?;
    let read = move || {
        native.assign_more(&pending.starts())?;
        let mut copies = Copies::shared();
        let mut latest = Instant::now();
        while !pending.is_over() {
            match native.poll_blocking(POLL, &mut copies) {
                Polled::Record(record) => {
                    latest = Instant::now();
                    if pending.read(&record) {
                        visit(record);
                    }
                }
                Polled::EndOfPartition(partition, offset) => pending.reached(&partition, offset),
                Polled::Failed { partition, code, message, fatal } => {
                    let error = code.into_error(message, partition.as_ref().map(|partition| partition.topic.as_str()));
                    if fatal || !error.is_retriable() {
                        return Err(error);
                    }
                }
                Polled::Nothing if latest.elapsed() > patience => {
                    return Err(Error::Timeout { reason: format!("no record came for {patience:?}") });
                }
                Polled::Nothing => {}
            }
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| Error::Fatal { message: error.to_string() })?
}

/// What is still to be read.
struct Pending(BTreeMap<TopicPartition, Range<i64>>);

impl Pending {
    fn new(mut spans: BTreeMap<TopicPartition, Range<i64>>) -> Self {
        spans.retain(|_, span| !span.is_empty());
        Self(spans)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn starts(&self) -> Vec<(TopicPartition, Offset)> {
        self.0.iter().map(|(partition, span)| (partition.clone(), Offset::Offset(span.start))).collect()
    }

    /// Takes a record in. False: it does not belong to what is read.
    fn read(&mut self, record: &ConsumedRecord) -> bool {
        let partition = record.topic_partition();
        let belongs = self.0.get(&partition).is_some_and(|span| span.contains(&record.offset));
        self.reached(&partition, record.offset + 1);
        belongs
    }

    /// The next record of the partition has this offset or a later one.
    fn reached(&mut self, partition: &TopicPartition, offset: i64) {
        if self.0.get(partition).is_some_and(|span| span.end <= offset) {
            self.0.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TimestampType;

    fn record(offset: i64) -> ConsumedRecord {
        ConsumedRecord {
            topic: "t".into(),
            partition: 0,
            offset,
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            key: None,
            payload: None,
            headers: vec![],
        }
    }

    #[test]
    fn a_span_is_over_once_its_end_was_passed() {
        let name = TopicPartition::new("t", 0);
        let spans = |span| BTreeMap::from([(name.clone(), span), (TopicPartition::new("t", 1), 3..3)]);
        assert!(Pending::new(spans(7..7)).is_over());
        let mut pending = Pending::new(spans(5..8));
        assert_eq!(pending.starts(), [(name.clone(), Offset::Offset(5))]);
        // (offset, belongs, over)
        for (offset, belongs, over) in [(4, false, false), (5, true, false), (7, true, true), (8, false, true)] {
            assert_eq!((pending.read(&record(offset)), pending.is_over()), (belongs, over), "{offset}");
        }
        let mut pending = Pending::new(spans(5..8));
        pending.reached(&name, 7);
        assert!(!pending.is_over());
        pending.reached(&name, 8);
        assert!(pending.is_over());
        let mut pending = Pending::new(spans(5..8));
        assert!(!pending.read(&record(9)) && pending.is_over());
    }
}
