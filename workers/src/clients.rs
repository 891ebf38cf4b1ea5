//! How the Kafka clients of a worker are set. Pure.
//!
//! A broker takes or refuses a batch as a whole. One that it refuses as too large says nothing about a record that shares it
//! with others: smaller batches follow, in the end one record in each, and only a record that is refused alone is too large.

use std::time::Duration;

use penstock_crds::{
    name,
    worker::{Breaking, Compression, GroupProtocol, KafkaInput, Producing},
};
use penstock_kafka::{BreakerSettings, ConsumerSettings, ProducerSettings, StartFrom, TransactionSettings};

/// The broker's limit is the one that counts.
pub(crate) const MAX_RECORD_BYTES: u32 = 16 << 20;
/// Records that the client has ready to be taken.
const READ_AHEAD: usize = 1_000;
/// The client itself retries for so long, in order. Only what it gives up on then is read again, with what came after it.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3600);
/// What brokers and clients agree on.
const MAX_TRANSACTIONAL_ID: usize = 255;
/// The smallest batch that records share.
const SMALLEST_SHARED: u32 = 1 << 10;
/// A batch of this size holds one record, whatever its own size.
const UNSHARED: u32 = 1;

/// A member of the pipeline's group.
pub(crate) fn consumer(input: &KafkaInput, drain_timeout: Duration) -> ConsumerSettings {
    let mut settings = ConsumerSettings::new(&input.group);
    // Where it begins in a partition is decided there, never by the library.
    settings.start_from = StartFrom::AsTold;
    settings.group_protocol = match input.group_protocol {
        GroupProtocol::Classic => penstock_kafka::GroupProtocol::Classic,
        GroupProtocol::Consumer => penstock_kafka::GroupProtocol::Consumer,
    };
    settings.buffer_records = READ_AHEAD;
    settings.prefetch_bytes = input.fetch.max_bytes;
    settings.partition_fetch_bytes = input.fetch.partition_max_bytes;
    settings.fetch_min_bytes = input.fetch.min_bytes;
    settings.fetch_wait = input.fetch.max_wait;
    settings.session_timeout = input.session_timeout;
    // What waits in retry topics is known to the worker that has them all.
    settings.co_partitioned = !input.held.is_empty();
    // So that a group that has read everything is seen to have, whatever marks of transactions follow the last record.
    settings.report_ends = true;
    // A handover may take as long as a drain, and the group must not go on without us meanwhile.
    settings.max_poll_interval = settings.max_poll_interval.max(drain_timeout * 2).max(input.session_timeout);
    settings
}

/// The producer of a pipeline that is read at least once.
pub(crate) fn bulk(producing: &Producing) -> ProducerSettings {
    let mut settings = ProducerSettings::default();
    settings.delivery_timeout = DELIVERY_TIMEOUT;
    batching(&mut settings, producing);
    settings
}

/// The producer of a front, each of whose callers waits that long at most.
pub(crate) fn front(producing: &Producing, longest: Duration) -> ProducerSettings {
    /// The least that a producer can be given.
    const SHORTEST: Duration = Duration::from_secs(1);
    let mut settings = ProducerSettings::default();
    // What was answered with an error must not turn up much later.
    settings.delivery_timeout = longest.max(SHORTEST);
    settings.circuit_breaker = producing.circuit_breaker.map(|Breaking { failures, pause }| BreakerSettings::new(failures, pause));
    batching(&mut settings, &Producing { linger: producing.linger.min(longest / 2), ..*producing });
    settings
}

/// The two producers of a pipeline that is read exactly once, which take turns.
pub(crate) fn transactional(pipeline: &str, worker: &str, producing: &Producing) -> [TransactionSettings; 2] {
    // What stands behind `/` is no worker's name.
    [worker, &format!("{worker}/2")].map(|name| {
        let mut settings = TransactionSettings::new(transactional_id(pipeline, name));
        batching(&mut settings.producer, producing);
        settings
    })
}

/// A producer of a front that writes what came with a key. A transaction lasts that long at most. Records that are not small have a
/// batch of their own, so that a topic which refuses one means that one; and none waits for others, since the request has no more.
pub(crate) fn once(pipeline: &str, name: uuid::Uuid, longest: Duration, producing: &Producing) -> TransactionSettings {
    let mut settings = TransactionSettings::new(transactional_id(pipeline, &format!("keys-{name}"))).with_timeout(longest);
    settings.start_timeout = longest;
    batching(&mut settings.producer, &Producing { linger: Duration::ZERO, batch_bytes: SMALLEST_SHARED, ..*producing });
    settings
}

fn batching(settings: &mut ProducerSettings, producing: &Producing) {
    settings.batch_bytes = producing.batch_bytes;
    settings.linger = producing.linger;
    settings.compression = match producing.compression {
        Compression::None => penstock_kafka::Compression::None,
        Compression::Gzip => penstock_kafka::Compression::Gzip,
        Compression::Snappy => penstock_kafka::Compression::Snappy,
        Compression::Lz4 => penstock_kafka::Compression::Lz4,
        Compression::Zstd => penstock_kafka::Compression::Zstd,
    };
    settings.max_record_bytes = MAX_RECORD_BYTES;
}

/// What a batch may hold after one of this size was refused.
pub(crate) fn smaller(batch_bytes: u32) -> u32 {
    if batch_bytes > SMALLEST_SHARED { (batch_bytes / 2).max(SMALLEST_SHARED) } else { UNSHARED }
}

/// Whether a record of that size shares its batch with no other.
pub(crate) fn is_alone(record: usize, batch_bytes: u32) -> bool {
    batch_bytes <= UNSHARED || record >= batch_bytes as usize
}

/// The name under which the brokers know the transactions of this worker.
fn transactional_id(pipeline: &str, worker: &str) -> String {
    let id = format!("penstock.{}.{worker}", pipeline.replace('/', "."));
    if id.len() <= MAX_TRANSACTIONAL_ID {
        return id;
    }
    let mark = name::fingerprint(id.as_bytes());
    let stem: String = id.chars().take(MAX_TRANSACTIONAL_ID - mark.len() - 1).collect();
    format!("{stem}-{mark}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(change: serde_json::Value) -> KafkaInput {
        let mut input = json!({
            "topics": ["orders"], "group": "g", "startFrom": "Latest", "delivery": "AtLeastOnce", "ordering": "Key", "concurrency": 1,
            "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"}, "deadLetter": {"topic": "d", "format": "Record"},
        });
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(input).unwrap()
    }

    #[test]
    fn a_consumer_is_set_as_declared() {
        let (drain, ms) = (Duration::from_secs(25), Duration::from_millis);
        let fetch = json!({"minBytes": 100, "maxBytes": 2_097_152, "partitionMaxBytes": 65_536, "maxWait": "2s"});
        // (change) -> ahead, of a partition, least, wait, session
        for (change, expected) in [
            (json!({}), (4 << 20, 512 << 10, 1, ms(500), ms(20_000))),
            (json!({"fetch": fetch}), (2 << 20, 64 << 10, 100, ms(2_000), ms(20_000))),
            (json!({"sessionTimeout": "5m"}), (4 << 20, 512 << 10, 1, ms(500), ms(300_000))),
        ] {
            let settings = consumer(&input(change.clone()), drain);
            let found = (
                settings.prefetch_bytes,
                settings.partition_fetch_bytes,
                settings.fetch_min_bytes,
                settings.fetch_wait,
                settings.session_timeout,
            );
            assert_eq!(found, expected, "{change}");
            assert_eq!((settings.start_from, settings.report_ends), (StartFrom::AsTold, true));
            assert!(settings.max_poll_interval >= settings.session_timeout && settings.max_poll_interval >= drain * 2);
        }
        let brokers = consumer(&input(json!({"groupProtocol": "Consumer"})), drain);
        assert_eq!(brokers.group_protocol, penstock_kafka::GroupProtocol::Consumer);
    }

    #[test]
    fn every_producer_is_set_as_declared() {
        let (failures, pause) = (3, Duration::from_secs(20));
        let declared = Producing {
            batch_bytes: 16_384,
            linger: Duration::from_millis(50),
            compression: Compression::Snappy,
            circuit_breaker: Some(Breaking { failures, pause }),
        };
        let longest = Duration::from_secs(5);
        assert_eq!(front(&declared, longest).circuit_breaker, Some(BreakerSettings::new(failures, pause)));
        assert_eq!(
            (front(&Producing::default(), longest).circuit_breaker, bulk(&declared).circuit_breaker),
            (None, None),
            "who reads Kafka waits"
        );
        for (producing, compression) in
            [(declared, penstock_kafka::Compression::Snappy), (Producing::default(), penstock_kafka::Compression::Lz4)]
        {
            let [first, second] = transactional("a/b", "w", &producing);
            assert_ne!(first.transactional_id, second.transactional_id, "they would fence each other");
            for settings in [bulk(&producing), front(&producing, longest), first.producer, second.producer] {
                let found = (settings.batch_bytes, settings.linger, settings.compression, settings.max_record_bytes);
                assert_eq!(found, (producing.batch_bytes, producing.linger, compression, MAX_RECORD_BYTES));
                assert!(settings.delivery_timeout > settings.linger);
            }
            let once = once("a/b", uuid::Uuid::nil(), longest, &producing).producer;
            let found = (once.batch_bytes, once.linger, once.compression, once.max_record_bytes, once.delivery_timeout);
            assert_eq!(found, (SMALLEST_SHARED, Duration::ZERO, compression, MAX_RECORD_BYTES, longest));
        }
        for (longest, linger, delivery) in [(100, 50, 1_000), (5_000, 1_000, 5_000)] {
            let slow = Producing { linger: Duration::from_secs(1), ..declared };
            let settings = front(&slow, Duration::from_millis(longest));
            let expected = (Duration::from_millis(linger), Duration::from_millis(delivery));
            assert_eq!((settings.linger, settings.delivery_timeout), expected, "{longest}");
        }
    }

    #[test]
    fn batches_shrink_until_each_record_is_alone() {
        let sizes: Vec<u32> = std::iter::successors(Some(5_000), |bytes| Some(smaller(*bytes))).take(6).collect();
        assert_eq!(sizes, [5_000, 2_500, 1_250, 1_024, 1, 1]);
        for (record, batch, expected) in [(0, 1_024, false), (1_023, 1_024, false), (1_024, 1_024, true), (0, 1, true)] {
            assert_eq!(is_alone(record, batch), expected, "{record} {batch}");
        }
    }

    #[test]
    fn a_long_name_still_gives_a_transactional_id() {
        let long = transactional_id(&format!("shop/{}", "p".repeat(253)), "worker-0");
        assert_eq!((long.len(), transactional_id("shop/payments", "worker-0").as_str()), (255, "penstock.shop.payments.worker-0"));
        assert_ne!(long, transactional_id(&format!("shop/{}", "p".repeat(253)), "worker-1"));
    }
}
