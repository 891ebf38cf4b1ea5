#![cfg_attr(feature = "config", doc = include_str!("../README.md"))]
//! # Types
//!
//! | type | what it does | what it promises |
//! |---|---|---|
//! | [`Producer`] | writes records | `Ok` only once all in-sync replicas have the record; no duplicates or reordering by retries |
//! | [`BulkProducer`] | writes many records | as [`Producer`], with one list of what became of records in place of a future for each |
//! | [`TransactionalProducer`] | writes records and offsets in transactions | all of a transaction counts or nothing; a doubt ends the producer |
//! | [`Consumer`] | reads topics as a member of a group | commits exactly what it is told; drains before partitions go; never loses the group over a slow record |
//! | [`TopicReader`] | follows whole topics, for state in memory | every partition from its first record on; says when it has caught up and when it must start over |
//! | [`TopicAdmin`] | describes, creates, changes and deletes topics | many topics per call, one answer each, with the broker's own words |
//!
//! None blocks the async runtime: what blocks in the C library runs on threads of its own. A client starts without waiting for Kafka.
//! Properties of librdkafka cannot be passed through. [`Health`] tells whether a client has a connection, [`Error`] what to do about a
//! failure: retry ([`Error::is_retriable`]), look before repeating ([`Error::outcome_unknown`]) or rebuild the client ([`Error::is_fatal`]).

mod buffer;
#[cfg(feature = "config")]
mod config;
mod connection;
mod consumer;
mod detached;
mod error;
mod ffi;
mod health;
mod producer;
mod reader;
mod record;
mod thread;
mod topic;
mod transaction;
mod wire;

#[cfg(feature = "config")]
pub use config::{ConfigError, ConfigLayers, ConsumerConfig, KafkaConfig, ReaderConfig};
pub use connection::{ConnectionSettings, InvalidSettings};
pub use consumer::{
    CommitOffsets, CommittedOffset, Consumer, ConsumerSettings, GroupMember, GroupMetadata, GroupOffset, GroupProtocol, Held, Isolation,
    RebalanceListener, Received, StartFrom,
};
pub use error::{Error, Result};
pub use health::{ClientState, Health};
pub use producer::{BreakerSettings, BulkProducer, CircuitState, Compression, Delivery, Enqueued, Producer, ProducerSettings, Settled};
pub use reader::{ReaderEvent, ReaderSettings, TopicReader, read_span};
pub use record::{ConsumedRecord, Header, Record, RecordPosition, RecordRef, TimestampType, TopicPartition};
pub use topic::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, InvalidTopicId, KafkaVersion, NewTopic, OffsetRange,
    OngoingReassignment, PartitionEdges, PartitionInfo, Peek, PerPartition, PerTopic, ReplicaHealth, StableRange, TopicAdmin, TopicConfig,
    TopicDescription, TopicId, TopicSummary, validate_topic_name,
};
pub use transaction::{CommitError, Transaction, TransactionSettings, TransactionalProducer};

#[cfg(test)]
mod tests {
    use super::*;

    fn usable_from_any_task<T: Send + Sync>() {}
    fn spawnable<T: Send>(_: T) {}

    async fn write_and_commit(transaction: Transaction, group: GroupMetadata) -> std::result::Result<TransactionalProducer, CommitError> {
        let _ = transaction.enqueue(RecordRef::to("t"), 0).await;
        transaction.commit_with_offsets(&[], &group).await
    }

    #[tokio::test]
    async fn clients_and_their_futures_move_between_threads() {
        usable_from_any_task::<Producer>();
        usable_from_any_task::<Consumer>();
        usable_from_any_task::<TopicReader>();
        usable_from_any_task::<TopicAdmin>();
        let connection = ConnectionSettings::parse("localhost:1").unwrap();
        let admin = TopicAdmin::new(&connection).unwrap();
        spawnable(admin.describe(&["t"]));
        spawnable(admin.describe_configs(&["t"]));
        spawnable(admin.create(&[]));
        spawnable(admin.add_partitions(&[]));
        spawnable(admin.alter_configs_incremental(&[]));
        spawnable(admin.delete(&[]));
        spawnable(admin.list());
        spawnable(admin.offsets(&["t"]));
        spawnable(admin.edges(&[]));
        spawnable(admin.stable_ranges(&[]));
        spawnable(admin.group_offsets("g"));
        spawnable(admin.offsets_of_groups(&["g"]));
        spawnable(admin.offsets_of_groups_via(&[], &["g"]));
        spawnable(admin.stable_offsets("g", None));
        spawnable(admin.groups());
        spawnable(admin.rebalancing_groups(&[]));
        spawnable(async { admin.offsets_since(&std::collections::BTreeMap::new()).await });
        spawnable(async { admin.peek(&[], &std::collections::BTreeMap::new(), &[], &std::collections::BTreeSet::new()).await });
        spawnable(admin.commit_for_idle_group("g", &[]));
        spawnable(admin.renew_idle_group("g", &[]));
        spawnable(admin.cluster());
        spawnable(admin.reassignments(&[]));
        spawnable(async { admin.reassign(&std::collections::BTreeMap::new()).await });
        spawnable(admin.cancel_reassignments(&[]));
        let producer = Producer::new(&connection, &ProducerSettings::default()).unwrap();
        spawnable(producer.send(Record::to("t")));
        let consumer = Consumer::subscribe(&connection, &ConsumerSettings::new("g"), &["t"], ()).unwrap();
        usable_from_any_task::<TransactionalProducer>();
        spawnable(TransactionalProducer::start(&connection, &TransactionSettings::new("t")));
        let _ = |transaction, group| spawnable(write_and_commit(transaction, group));
        spawnable(consumer.group_metadata());
        spawnable(consumer.recv());
        spawnable(consumer.commit(&[]));
        spawnable(consumer.begin(&[]));
        spawnable(consumer.close());
        let reader = TopicReader::start(&connection, &ReaderSettings::default(), &["t"]).unwrap();
        spawnable(reader.next());
        spawnable(reader.close());
    }
}
