//! Kafka's side of a test: what lies on a topic, and putting records there past the gateway.

use futures::future::try_join_all;
use penstock_kafka::{ConsumedRecord, Producer, ProducerSettings, ReaderEvent, ReaderSettings, Record, RecordPosition, TopicReader};
use serde_json::Value;

use super::{Result, Scene};

impl Scene {
    /// Every record that lies on a topic now.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub async fn records(&self, topic: &str) -> Result<Vec<ConsumedRecord>> {
        let reader = TopicReader::start(&self.kafka, &ReaderSettings::default(), &[topic])?;
        let mut records = Vec::new();
        loop {
            match reader.next().await? {
                ReaderEvent::Record(record) => records.push(record),
                ReaderEvent::CaughtUp => break,
                other => return Err(format!("{topic} changed while it was read: {other:?}").into()),
            }
        }
        reader.close().await;
        Ok(records)
    }

    /// Every record on a topic whose value is JSON that satisfies `wanted`.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub async fn events(&self, topic: &str, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let records = self.records(topic).await?;
        let values = records.iter().filter_map(|r| serde_json::from_slice(r.payload.as_deref()?).ok());
        Ok(values.filter(wanted).collect())
    }

    /// Puts a record on a topic and waits for its acknowledgement.
    ///
    /// # Errors
    /// Kafka does not take it.
    pub async fn produce(&self, record: Record) -> Result<RecordPosition> {
        let producer = Producer::new(&self.kafka, &ProducerSettings::default())?;
        Ok(producer.send(record).await?)
    }

    /// Writes many records, each as [`Scene::produce`] does, and waits until Kafka has acknowledged all.
    ///
    /// # Errors
    /// Kafka does not take one.
    pub async fn produce_all(&self, records: impl IntoIterator<Item = Record>) -> Result {
        let producer = Producer::new(&self.kafka, &ProducerSettings::default())?;
        try_join_all(records.into_iter().map(|record| producer.send(record))).await?;
        Ok(())
    }
}
