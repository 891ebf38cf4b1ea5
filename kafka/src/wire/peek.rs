//! Looks at what stands at an offset without reading it: whether records do, or only the marks of transactions and what was
//! aborted. A request for each leader, however many partitions there are.
//!
//! Only the heads of batches are looked at (the message format's version 2), and the headers of one record where they are asked for. A mark is some eighty bytes, so a few kilobytes of each
//! partition show many of them. A batch that does not fit in these is not shown at all, unless it is the first of the first partition
//! that has any (KIP-74): so partitions are asked about in the caller's order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::headers::headers;
use super::{Lines, decode, outcome};
use crate::error::Result;
use crate::record::TopicPartition;
use crate::topic::{BrokerInfo, Peek, PerPartition};

/// The last version that names topics.
const FETCH: (ApiKey, i16) = (ApiKey::Fetch, 12);
const READ_COMMITTED: i8 = 1;
/// How much of each partition is looked at.
const PARTITION_BYTES: i32 = 16 << 10;
const BYTES: i32 = 8 << 20;
/// The bytes of a batch's head that are looked at.
const HEAD: usize = 61;
/// Bytes of a batch that its length does not count.
const BEFORE_LENGTH: usize = 12;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Looks at these offsets of partitions that a broker leads.
pub(crate) async fn peek(
    lines: &Lines,
    client_id: &str,
    leader: &BrokerInfo,
    offsets: &[(TopicPartition, i64)],
    headers_of: &BTreeSet<&str>,
    limit: Duration,
) -> Result<PerPartition<Peek>> {
    let mut answer = lines.ask(leader, client_id, FETCH, &question(offsets), limit).await?;
    let answer: FetchResponse = decode(&mut answer, FETCH.1)?;
    outcome(answer.error_code, None)?;
    let offsets: BTreeMap<&TopicPartition, i64> = offsets.iter().map(|(partition, offset)| (partition, *offset)).collect();
    let mut all = BTreeMap::new();
    for topic in answer.responses {
        let name = topic.topic.to_string();
        for data in topic.partitions {
            let partition = TopicPartition::new(&name, data.partition_index);
            let Some(offset) = offsets.get(&partition) else { continue };
            let seen = outcome(data.error_code, None).map(|()| look(*offset, &data, headers_of.contains(&*name)));
            all.insert(partition, seen);
        }
    }
    Ok(all)
}

/// The question, with the first of each topic's partitions, and topics by these, in the order in which they are given.
fn question(offsets: &[(TopicPartition, i64)]) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (partition, offset) in offsets {
        let question = FetchPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(PARTITION_BYTES);
        match topics.iter_mut().find(|topic| **topic.topic == *partition.topic) {
            Some(topic) => topic.partitions.push(question),
            None => {
                let name = TopicName(StrBytes::from_string(partition.topic.clone()));
                topics.push(FetchTopic::default().with_topic(name).with_partitions(vec![question]));
            }
        }
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(BYTES)
        .with_isolation_level(READ_COMMITTED)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// What the batches from that offset on hold. `tells_headers`: with the headers of the first record.
fn look(offset: i64, data: &PartitionData, tells_headers: bool) -> Peek {
    let mut next = offset;
    let mut bytes = data.records.clone().unwrap_or_default();
    // Where the last transaction of a producer ended: what it writes later is of another one.
    let mut ended: BTreeMap<i64, i64> = BTreeMap::new();
    let aborted = |head: &Head, ended: Option<&i64>| {
        let of_producer = data.aborted_transactions.iter().flatten().filter(|aborted| aborted.producer_id.0 == head.producer);
        let mut begun = of_producer.map(|aborted| aborted.first_offset).filter(|first| *first <= head.base);
        head.is(TRANSACTIONAL) && begun.any(|first| ended.is_none_or(|ended| first > *ended))
    };
    while let Some(head) = Head::take(&mut bytes) {
        let is_mark = head.is(CONTROL);
        let is_empty = is_mark || aborted(&head, ended.get(&head.producer));
        if is_mark {
            ended.insert(head.producer, head.last);
        }
        if head.last < next {
            continue;
        }
        if !is_empty {
            // Of a batch that is begun already the oldest record is not the one that waits.
            let timestamp_ms = if head.base >= offset { head.first_timestamp } else { head.last_timestamp };
            let headers = tells_headers.then(|| headers(head.attributes, &head.records, next.saturating_sub(head.base))).flatten();
            return Peek { empty_until: next, timestamp_ms: Some(timestamp_ms), headers: headers.unwrap_or_default() };
        }
        next = head.last.saturating_add(1);
    }
    Peek { empty_until: next, timestamp_ms: None, headers: Vec::new() }
}

/// The head of a batch, and as much of what follows as is there.
struct Head {
    base: i64,
    last: i64,
    attributes: i16,
    first_timestamp: i64,
    last_timestamp: i64,
    producer: i64,
    records: Bytes,
}

impl Head {
    /// Takes the next batch off; none: there is none whose head is whole.
    fn take(bytes: &mut Bytes) -> Option<Self> {
        if bytes.len() < HEAD {
            return None;
        }
        let mut head = bytes.slice(..HEAD);
        let base = head.get_i64();
        let length = usize::try_from(head.get_i32()).ok()?;
        let _leader_epoch = head.get_i32();
        if head.get_i8() != 2 {
            return None;
        }
        let _checksum = head.get_u32();
        let attributes = head.get_i16();
        let last = base.checked_add(i64::from(head.get_i32()))?;
        let (first_timestamp, last_timestamp, producer) = (head.get_i64(), head.get_i64(), head.get_i64());
        let batch = bytes.split_to(length.saturating_add(BEFORE_LENGTH).clamp(HEAD, bytes.len()));
        Some(Self { base, last, attributes, first_timestamp, last_timestamp, producer, records: batch.slice(HEAD..) })
    }

    fn is(&self, flag: i16) -> bool {
        self.attributes & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::ProducerId;
    use kafka_protocol::messages::fetch_response::AbortedTransaction;

    use super::*;

    fn batch(base: i64, records: i32, attributes: i16, producer: i64) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        bytes.put_i64(base);
        bytes.put_i32(60);
        bytes.put_i32(0);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(attributes);
        bytes.put_i32(records - 1);
        bytes.put_i64(1_000 + base);
        bytes.put_i64(2_000 + base);
        bytes.put_i64(producer);
        bytes.resize(72, 0);
        bytes.to_vec()
    }

    #[test]
    fn what_stands_at_an_offset() {
        let (mark, records, of_transaction) = (TRANSACTIONAL | CONTROL, 0, TRANSACTIONAL);
        let cut = |bytes: Vec<u8>| bytes[..40].to_vec();
        for (name, batches, empty_until, timestamp_ms) in [
            ("nothing", vec![], 10, None),
            ("a mark", vec![batch(10, 1, mark, 7)], 11, None),
            ("marks, then records", vec![batch(10, 1, mark, 7), batch(11, 1, mark, 7), batch(12, 5, records, -1)], 12, Some(1_012)),
            ("records", vec![batch(10, 5, records, -1)], 10, Some(1_010)),
            ("the rest of a batch", vec![batch(8, 5, records, -1)], 10, Some(2_008)),
            ("a batch before", vec![batch(5, 5, records, -1), batch(10, 1, mark, 7)], 11, None),
            ("aborted records and their mark", vec![batch(10, 5, of_transaction, 9), batch(15, 1, mark, 9)], 16, None),
            (
                "aborted records, then others of the same producer",
                vec![batch(10, 5, of_transaction, 9), batch(15, 1, mark, 9), batch(16, 2, of_transaction, 9)],
                16,
                Some(1_016),
            ),
            ("records of another transaction", vec![batch(10, 5, of_transaction, 7)], 10, Some(1_010)),
            ("a batch that is not whole", vec![batch(10, 1, mark, 7), cut(batch(11, 5, records, -1))], 11, None),
            ("no batch", vec![vec![0xff; 80]], 10, None),
        ] {
            let aborted = AbortedTransaction::default().with_producer_id(ProducerId(9)).with_first_offset(10);
            let data = PartitionData::default().with_records(Some(batches.concat().into())).with_aborted_transactions(Some(vec![aborted]));
            assert_eq!(look(10, &data, true), Peek { empty_until, timestamp_ms, headers: vec![] }, "{name}");
        }
    }

    #[test]
    fn the_headers_are_those_of_the_record_that_waits() {
        // Its length, attributes, timestamp, offset, no key, no value, and one header.
        let record = |offset: u8, value: u8| vec![20, 0, 0, 2 * offset, 1, 1, 2, 2, b'h', 2, value];
        let mut bytes = batch(10, 2, 0, -1)[..HEAD].to_vec();
        bytes.extend([record(0, b'x'), record(1, b'y')].concat());
        let length = i32::try_from(bytes.len() - BEFORE_LENGTH).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let data = PartitionData::default().with_records(Some(bytes.into()));
        for (offset, asked, value) in [(10, true, Some("x")), (11, true, Some("y")), (10, false, None)] {
            let values: Vec<_> = look(offset, &data, asked).headers.into_iter().map(|header| header.value.unwrap()).collect();
            assert_eq!(values, value.map(Bytes::from).into_iter().collect::<Vec<_>>(), "{offset} {asked}");
        }
    }

    #[test]
    fn what_is_asked_first_stands_first() {
        let offsets = [("u", 4), ("t", 2), ("u", 1), ("t", 3)].map(|(topic, partition)| (TopicPartition::new(topic, partition), 7));
        let question = question(&offsets);
        let partitions = |topic: &FetchTopic| topic.partitions.iter().map(|partition| partition.partition).collect::<Vec<_>>();
        let asked: Vec<(&str, Vec<i32>)> = question.topics.iter().map(|topic| (&**topic.topic, partitions(topic))).collect();
        assert_eq!(asked, [("u", vec![4, 1]), ("t", vec![2, 3])]);
    }

    #[tokio::test]
    async fn the_question_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let offsets = [(TopicPartition::new("t", 0), 7)];
        let asked = peek(&Lines::default(), "t", &nobody, &offsets, &BTreeSet::new(), Duration::from_secs(5)).await;
        assert!(matches!(asked, Err(crate::error::Error::Unreachable { .. })), "{asked:?}");
    }
}
