//! Reads what a group has still to read beside its source topics, before anything of their families is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_crds::worker::Ordering;
use penstock_kafka::{ConsumedRecord, Error, TopicPartition};

use super::{
    books::Left,
    holds::{Family, Waits},
    tiers::{Incoming, Tiers},
    world::World,
};

/// How long no record may come: longer than a transaction that nobody ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits, by family.
pub(crate) type Unread = BTreeMap<Family, Waits>;

/// Reads what waits in these partitions, of what is left to be read of them, besides what is known to wait.
///
/// # Errors
/// Kafka cannot be reached or refuses.
pub(crate) async fn unread(
    world: &impl World,
    ordering: Ordering,
    tiers: &Arc<Tiers>,
    left: BTreeMap<TopicPartition, Left>,
    known: Unread,
) -> Result<Unread, Error> {
    let topics: BTreeSet<&str> = left.keys().map(|partition| partition.topic.as_str()).collect();
    let ranges = world.offsets(&topics.into_iter().collect::<Vec<_>>()).await?;
    let (mut spans, mut settled) = (BTreeMap::new(), BTreeMap::new());
    for (partition, Left { from, settled: ahead }) in left {
        let range = match ranges.get(&partition.topic) {
            Some(Ok(ranges)) => ranges.get(&partition.partition).copied(),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        let Some(range) = range else { return Err(Error::UnknownTopic { topic: partition.topic }) };
        spans.insert(partition.clone(), from.max(range.start)..range.end);
        settled.insert(partition, ahead);
    }
    let found = Arc::new(Mutex::new(known));
    let visit = {
        let (tiers, found) = (Arc::clone(tiers), Arc::clone(&found));
        move |record: ConsumedRecord| {
            if settled.get(&record.topic_partition()).is_some_and(|settled| settled.contains(&record.offset)) {
                return;
            }
            let Incoming { event, station } = tiers.read(record);
            Waits::add(ordering, &tiers, &mut found.lock().unwrap_or_else(PoisonError::into_inner), &event, station);
        }
    };
    world.read_span(spans, PATIENCE, visit).await?;
    Ok(std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)))
}
