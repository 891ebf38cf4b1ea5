//! Reads what a group has still to read beside its source topics, before anything of their families is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_crds::worker::Ordering;
use penstock_kafka::{Error, TopicPartition};

use super::{
    holds::{Family, Waits},
    tiers::{Incoming, Tiers},
    world::World,
};

/// How long no record may come: longer than a transaction that nobody ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits, by family.
pub(crate) type Unread = BTreeMap<Family, Waits>;

/// Reads what waits in these partitions, from these offsets on.
///
/// # Errors
/// Kafka cannot be reached or refuses.
pub(crate) async fn unread(
    world: &impl World,
    ordering: Ordering,
    tiers: &Arc<Tiers>,
    starts: BTreeMap<TopicPartition, i64>,
) -> Result<Unread, Error> {
    let topics: BTreeSet<&str> = starts.keys().map(|partition| partition.topic.as_str()).collect();
    let ranges = world.offsets(&topics.into_iter().collect::<Vec<_>>()).await?;
    let mut spans = BTreeMap::new();
    for (partition, start) in starts {
        let range = match ranges.get(&partition.topic) {
            Some(Ok(ranges)) => ranges.get(&partition.partition).copied(),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        let Some(range) = range else { return Err(Error::UnknownTopic { topic: partition.topic }) };
        spans.insert(partition, start.max(range.start)..range.end);
    }
    let found = Arc::new(Mutex::new(Unread::new()));
    let visit = {
        let (tiers, found) = (Arc::clone(tiers), Arc::clone(&found));
        move |record| {
            let Incoming { event, station } = tiers.read(record);
            Waits::add(ordering, &tiers, &mut found.lock().unwrap_or_else(PoisonError::into_inner), &event, station);
        }
    };
    world.read_span(spans, PATIENCE, visit).await?;
    Ok(std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)))
}
