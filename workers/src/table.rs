//! State that is read from whole topics: every worker has all of it, and is ready once it has read to the end.

use std::{sync::Arc, time::Duration};

use penstock_kafka::{ConnectionSettings, ConsumedRecord, Error, ReaderEvent, ReaderSettings, TopicReader};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{Metrics, TopicLabel},
    readiness::Need,
    stream::retry,
};

const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The state. It is fed in the order of each partition; between partitions and topics there is no order.
pub trait TableSink: Send + Sync + 'static {
    /// Takes in one record. The same record may come again, and its bytes may be anything: this never fails.
    fn apply(&self, record: &ConsumedRecord);

    /// Forgets what came from that topic: it was deleted and created again, and its records come anew.
    fn forget(&self, topic: &str);
}

/// Feeds a table from its topics.
pub(crate) struct TableFollower {
    pub connection: ConnectionSettings,
    pub topics: Vec<String>,
    pub table: Arc<dyn TableSink>,
    /// Met while the table has been read to its end.
    pub need: Need,
    pub metrics: Metrics,
}

impl TableFollower {
    /// Follows the topics until `end`. A reader that fails for good is replaced; the table then sees all records again.
    ///
    /// # Errors
    /// The settings are such that no reader can be made.
    pub async fn run(self, end: CancellationToken) -> Result<(), Error> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let mut failures = 0;
        loop {
            let reader = TopicReader::start(&self.connection, &ReaderSettings::default(), &topics)?;
            let Some(error) = end.run_until_cancelled(self.feed(&reader, &mut failures)).await else {
                reader.close().await;
                return Ok(());
            };
            self.behind(&error.to_string());
            failures += 1;
            let (initial, max) = RESTART_BACKOFF;
            let pause = retry::pause(initial, max, failures, rand::random());
            tracing::error!(%error, ?pause, "the table's reader failed; it is started anew");
            self.metrics.restarts.inc();
            if end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn feed(&self, reader: &TopicReader, failures: &mut u32) -> Error {
        self.behind("reading");
        loop {
            match reader.next().await {
                Ok(event) => {
                    self.apply(event);
                    *failures = 0;
                }
                Err(error) if error.is_fatal() => return error,
                Err(error) => self.behind(&error.to_string()),
            }
            // A long topic that is all in the buffer must not keep the thread from everybody else.
            tokio::task::consume_budget().await;
        }
    }

    fn apply(&self, event: ReaderEvent) {
        match event {
            ReaderEvent::Record(record) => {
                self.metrics.table_records.get_or_create(&TopicLabel { topic: record.topic.to_string() }).inc();
                self.table.apply(&record);
            }
            ReaderEvent::CaughtUp => {
                self.metrics.table_caught_up.set(1);
                self.need.met();
            }
            ReaderEvent::TopicRecreated { topic } => {
                tracing::warn!(topic, "a topic of the table was deleted and created again: what came from it is forgotten");
                self.table.forget(&topic);
                self.behind(&format!("reading {topic} anew"));
            }
            ReaderEvent::RecordsLost { partition } => {
                tracing::warn!(%partition, "records of the table were deleted before they were read");
                self.metrics.table_records_lost.inc();
                self.behind(&format!("reading what is left of {partition}"));
            }
        }
    }

    fn behind(&self, why: &str) {
        self.metrics.table_caught_up.set(0);
        self.need.missing(why);
    }
}
