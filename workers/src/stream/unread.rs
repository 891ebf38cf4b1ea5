//! Reads what a group has still to read beside its source topics, before anything of their families is taken.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use penstock_kafka::{ConnectionSettings, Consumer, Error, TopicAdmin, TopicPartition, read_span};

use super::{
    holds::{Family, Look},
    tiers::{Incoming, Station, Tiers},
};
use crate::processor::Event;

/// How long no record may come: longer than a transaction that nobody ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits, by family.
pub(crate) type Unread = BTreeMap<Family, Vec<(Station, Event)>>;

/// Reads what waits in these families.
///
/// # Errors
/// Kafka cannot be reached or refuses.
pub(crate) async fn unread(
    connection: &ConnectionSettings,
    consumer: &Consumer,
    tiers: &Arc<Tiers>,
    looks: &[Look],
) -> Result<Unread, Error> {
    let beside = |family: &Family| -> Vec<TopicPartition> {
        tiers.beside(&family.source).map(|topic| TopicPartition::new(topic, family.partition)).collect()
    };
    let partitions: Vec<TopicPartition> = looks.iter().flat_map(|look| beside(&look.family)).collect();
    let topics: Vec<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
    let admin = TopicAdmin::new(connection)?;
    let (committed, ranges) = tokio::try_join!(consumer.committed(&partitions), admin.offsets(&topics))?;
    let mut spans = BTreeMap::new();
    for partition in partitions {
        let range = match ranges.get(&partition.topic) {
            Some(Ok(ranges)) => ranges.get(&partition.partition).copied(),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        let Some(range) = range else { return Err(Error::UnknownTopic { topic: partition.topic }) };
        let start = committed.get(&partition).copied().flatten().map_or(range.start, |committed| committed.max(range.start));
        spans.insert(partition, start..range.end);
    }
    let found = Arc::new(Mutex::new(Unread::new()));
    let visit = {
        let (tiers, found) = (Arc::clone(tiers), Arc::clone(&found));
        move |record| {
            let Incoming { event, station } = tiers.read(record);
            let family = Family { source: Arc::clone(&event.topic), partition: event.partition };
            // Only the key counts, and many may wait: nothing else is kept, nor the batch that it came in.
            let key = event.key.map(|key| Bytes::copy_from_slice(&key));
            let event = Event { key, payload: None, headers: Vec::new(), ..event };
            found.lock().unwrap_or_else(PoisonError::into_inner).entry(family).or_default().push((station, event));
        }
    };
    read_span(connection, spans, PATIENCE, visit).await?;
    Ok(std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)))
}
