//! Kafka for applications: a producer, a group consumer, a reader of whole topics and an administrator of topics.

mod buffer;
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
mod wire;

pub use connection::{ConnectionSettings, InvalidSettings};
pub use consumer::{CommitOffsets, Consumer, ConsumerSettings, GroupOffset, RebalanceListener, StartFrom};
pub use error::{Error, Result};
pub use health::{ClientState, Health};
pub use producer::{Compression, Delivery, Producer, ProducerSettings};
pub use reader::{ReaderEvent, ReaderSettings, TopicReader};
pub use record::{ConsumedRecord, Header, Record, RecordPosition, TopicPartition};
pub use topic::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, InvalidTopicId, KafkaVersion, NewTopic, OffsetRange,
    PartitionInfo, PerTopic, TopicAdmin, TopicConfig, TopicDescription, TopicId, TopicSummary, validate_topic_name,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn usable_from_any_task<T: Send + Sync>() {}
    fn spawnable<T: Send>(_: T) {}

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
        spawnable(admin.cluster());
        let producer = Producer::new(&connection, &ProducerSettings::default()).unwrap();
        spawnable(producer.send(Record::to("t")));
        let consumer = Consumer::subscribe(&connection, &ConsumerSettings::new("g"), &["t"], ()).unwrap();
        spawnable(consumer.recv());
        spawnable(consumer.commit(&[]));
        spawnable(consumer.close());
        let reader = TopicReader::start(&connection, &ReaderSettings::default(), &["t"]).unwrap();
        spawnable(reader.next());
        spawnable(reader.close());
    }
}
