//! A member of a consumer group that hands out records and commits exactly what it is told.
//!
//! A thread of its own polls Kafka, so the group is never lost because a record takes long; a bounded buffer between the
//! thread and `recv` keeps memory in bounds, by pausing the partitions when nobody takes records.

mod group;
mod held;
mod polling;
mod rebalance;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;

use crate::buffer::Buffer;
use crate::connection::{ConnectionSettings, InvalidSettings, tell};
use crate::error::{Error, Result};
use crate::ffi;
use crate::health::Health;
use crate::record::{ConsumedRecord, TopicPartition};
use crate::topic::validate_topic_name;

use polling::{Command, Polling};
use rebalance::{Context, commit_blocking};

pub use group::{GroupMember, GroupMetadata};
pub use held::Held;
pub use rebalance::{CommitOffsets, CommittedOffset, GroupOffset, RebalanceListener};
use settings::TOLD;
pub(crate) use settings::reading;
pub use settings::{ConsumerSettings, GroupProtocol, Isolation, StartFrom};

/// What a member of a group reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A record.
    Record(ConsumedRecord),
    /// For now there is nothing more in a partition.
    End {
        /// The partition.
        partition: TopicPartition,
        /// The next record will have this offset or a later one: everything before it was handed out, or is none for the
        /// reader, such as the marks of transactions.
        offset: i64,
    },
    /// The next record to be read is not there any more, or not yet: deleted by retention, or the log was cut, or the topic
    /// is another one. The partition is read no further until it is assigned anew. Only with [`StartFrom::AsTold`].
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The client library's words.
        reason: String,
        /// Where the log was cut, if that is known: what lies before it is what was read.
        cut_at: Option<i64>,
    },
}

impl Received {
    fn into_record(self) -> Option<ConsumedRecord> {
        match self {
            Self::Record(record) => Some(record),
            Self::End { .. } | Self::OutOfRange { .. } => None,
        }
    }
}

/// A member of a consumer group, for at-least-once processing by hand. Share it in an `Arc` for use from several tasks.
///
/// Reads only what is committed unless told otherwise, takes partitions one by one (cooperative-sticky, or as the brokers
/// say) and never commits by itself. Dropped without [`Consumer::close`] it leaves the group too, a moment later.
///
/// ```no_run
/// # async fn example() -> penstock_kafka::Result<()> {
/// use penstock_kafka::{ConnectionSettings, Consumer, ConsumerSettings, GroupOffset};
///
/// let connection = ConnectionSettings::parse("localhost:9092")?;
/// let consumer = Consumer::subscribe(&connection, &ConsumerSettings::new("billing"), &["orders"], ())?;
/// loop {
///     let record = consumer.recv().await?;
///     // ... process it, and only then:
///     consumer.commit(&[GroupOffset::after(&record)]).await?;
/// }
/// # }
/// ```
pub struct Consumer {
    // The polling thread owns the client: closing it calls the listener, which belongs on that thread.
    client: Weak<BaseConsumer<Context>>,
    context: Arc<Context>,
    polling: Polling,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("assignment", &self.assignment()).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Starts a member and lets it join its group. Does not wait for Kafka.
    ///
    /// # Errors
    /// [`Error::InvalidSettings`] or [`Error::InvalidTopicName`].
    pub fn subscribe(
        connection: &ConnectionSettings,
        settings: &ConsumerSettings,
        topics: &[impl AsRef<str>],
        listener: impl RebalanceListener,
    ) -> Result<Self> {
        settings.validate()?;
        if topics.is_empty() {
            return Err(InvalidSettings::new("give at least one topic to consume").into());
        }
        let topics: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        topics.iter().try_for_each(|topic| validate_topic_name(topic))?;
        let mut config = connection.client_config();
        settings.apply(&mut config);
        tell("consumer", &config, &TOLD, None);
        let buffer = Buffer::new(settings.buffer_records, settings.prefetch_bytes as usize);
        let context = Context::new(buffer, Box::new(listener), settings.start_from == StartFrom::AsTold);
        let client: BaseConsumer<Context> = config.create_with_context(context).map_err(|error| Error::from_rdkafka(&error, None))?;
        client.subscribe(&topics).map_err(|error| Error::from_rdkafka(&error, None))?;
        let context = Arc::clone(client.context());
        let client = Arc::new(client);
        let weak = Arc::downgrade(&client);
        let polling = Polling::start(client)?;
        Ok(Self { client: weak, context, polling })
    }

    /// The next record of any assigned partition, in order within each. Cancel-safe.
    ///
    /// # Errors
    /// After an error the consumer goes on by itself, unless [`Error::is_fatal`]; [`Error::UnknownTopic`] comes again
    /// for as long as a topic is not there. [`Error::Closed`] ends the stream.
    pub async fn recv(&self) -> Result<ConsumedRecord> {
        loop {
            match self.context.buffer.pop().await.unwrap_or(Err(Error::Closed))? {
                Received::Record(record) => return Ok(record),
                Received::End { .. } | Received::OutOfRange { .. } => {}
            }
        }
    }

    /// The next records, up to `max` of those that are there, at least one; in order within each partition. One wait and one
    /// wake-up serve them all. Cancel-safe: records are taken in the moment this returns.
    ///
    /// Records of a batch share memory: to keep one for long, copy it.
    ///
    /// # Errors
    /// As [`Consumer::recv`]. An error never hides records: those before it come first.
    pub async fn recv_batch(&self, max: usize) -> Result<Vec<ConsumedRecord>> {
        loop {
            let received = self.recv_all(max).await?.into_iter();
            let records: Vec<_> = received.filter_map(Received::into_record).collect();
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// As [`Consumer::recv_batch`], with the ends of partitions among the records, where
    /// [`ConsumerSettings::report_ends`] asks for them.
    ///
    /// # Errors
    /// As there.
    pub async fn recv_all(&self, max: usize) -> Result<Vec<Received>> {
        let taken = self.context.buffer.pop_many(max.max(1), Result::is_ok).await;
        if taken.is_empty() { Err(Error::Closed) } else { taken.into_iter().collect() }
    }

    /// Commits offsets and waits until Kafka has acknowledged them.
    ///
    /// # Errors
    /// [`Error::Fenced`]: the partition is with another member now, its records will be processed there again.
    /// [`Error::NotReady`]: a rebalance is under way, commit again or in `on_revoked`.
    pub async fn commit(&self, offsets: &[GroupOffset]) -> Result<()> {
        let offsets = offsets.to_vec();
        self.blocking(move |client| commit_blocking(client, &offsets)).await
    }

    /// What the group knows this member as, for [`crate::Transaction::commit_with_offsets`]. Ask again after each rebalance;
    /// where the brokers share out the partitions (KIP-848) it can change at any time, so ask for each commit.
    ///
    /// # Errors
    /// [`Error::NotReady`]: not a member yet, or not any more. [`Error::Closed`].
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        let metadata = self.blocking(|client| ffi::group_metadata(client.client())).await?;
        if metadata.is_member() {
            return Ok(metadata);
        }
        Err(Error::NotReady { code: Code::UnknownMemberId as i32, message: "this consumer is not a member of its group now".to_owned() })
    }

    /// Whether the group has gone on without this member at any time since it was made, or before it was done
    /// ([`CommitOffsets::let_go_unfinished`]). Once it has joined again the group takes
    /// offsets from it as from any other, also those of partitions that it has lost. Asked after [`Consumer::group_metadata`], it tells
    /// whether that is of a later membership than what was read before a loss.
    pub fn has_lost_partitions(&self) -> bool {
        self.context.has_lost()
    }

    /// The group's committed offsets; `None` where it has none. Where a transaction with offsets is still open, waits for
    /// its end (KIP-447), at most that long.
    ///
    /// # Errors
    /// Kafka cannot be reached or refuses.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = rebalance::list(partitions)?;
        let committed = self.blocking(move |client| ffi::committed_blocking(client, &list, timeout)).await?;
        committed.into_iter().map(|(partition, offset)| Ok((partition, offset?))).collect()
    }

    /// The partitions that stand still until [`Consumer::begin`]; none without [`StartFrom::AsTold`].
    pub fn held(&self) -> Vec<Held> {
        self.context.holding.as_ref().map(held::Holding::all).unwrap_or_default()
    }

    /// Lets partitions go on, each from that offset. What was taken away meanwhile is left out, also where it has come again.
    /// With [`ConsumerSettings::co_partitioned`] and [`GroupProtocol::Classic`] all go on together, once the last was told.
    ///
    /// # Errors
    /// [`Error::Closed`], or a partition cannot be read: the consumer is of no use for it.
    pub async fn begin(&self, places: &[(Held, i64)]) -> Result<()> {
        self.polling.run(|done| Command::Begin(places.to_vec(), done)).await
    }

    /// Stops handing out records of these partitions, except those that are buffered already.
    ///
    /// # Errors
    /// [`Error::Closed`], or a partition is not assigned.
    pub async fn pause(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.polling.run(|done| Command::Pause(partitions.to_vec(), done)).await
    }

    /// Takes partitions up again where they were paused.
    ///
    /// # Errors
    /// [`Error::Closed`], or a partition is not assigned.
    pub async fn resume(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.polling.run(|done| Command::Resume(partitions.to_vec(), done)).await
    }

    /// Goes on with another offset in an assigned partition. After this returns, the next record of the partition is
    /// the one at `offset` (or the first one after it).
    ///
    /// # Errors
    /// [`Error::Closed`], or the partition is not assigned.
    pub async fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.polling.run(|done| Command::Seek(partition.clone(), offset, done)).await
    }

    /// The partitions this member has now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.context.assignment().iter().cloned().collect()
    }

    /// Watches the connection.
    pub fn health(&self) -> Health {
        self.context.health.watch()
    }

    /// Leaves the group at once: `on_revoked` is called with everything that is assigned, then the partitions are free
    /// for others. `recv` ends with [`Error::Closed`].
    pub async fn close(&self) {
        self.polling.stop().await;
    }

    async fn blocking<T: Send + 'static>(&self, call: impl FnOnce(&BaseConsumer<Context>) -> Result<T> + Send + 'static) -> Result<T> {
        let client = Weak::clone(&self.client);
        tokio::task::spawn_blocking(move || match client.upgrade() {
            Some(client) => call(&client),
            None => Err(Error::Closed),
        })
        .await
        .map_err(|error| Error::Fatal { message: error.to_string() })?
    }
}
