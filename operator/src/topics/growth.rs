//! Decides where groups begin in partitions that a topic gets, and which read it. Pure: no I/O; the time is handed in.
//!
//! A group with `startFrom: Latest` that has begun with the topic reads new partitions from their start: what comes into them came
//! after it had begun. One that has not begun yet is left alone: it begins at the end everywhere, as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{Timestamp, Unit};
use kube::Resource;
use penstock_crds::{
    EventPipeline, KafkaTopic,
    pipeline::StartFrom,
    position::{MoveReason, Moved, Note},
    topic,
};
use penstock_kafka::{CommittedOffset, Error, GroupOffset, PerPartition, TopicId};

use super::{observe::ObservedTopic, plan::TopicAction};
use crate::{pipelines, watch::Guarded};

/// The groups that read a topic and would skip what it holds where they have no offset.
#[must_use]
pub fn groups(object: &KafkaTopic, pipelines: &[Arc<Guarded<EventPipeline>>]) -> Vec<String> {
    let (namespace, name) = (&object.metadata.namespace, object.metadata.name.as_ref());
    let reads = |pipeline: &EventPipeline| {
        let source = pipeline.spec.source.kafka.as_ref().filter(|source| source.start_from == StartFrom::Latest);
        pipeline.meta().namespace == *namespace
            && topic::cluster_name(pipeline.spec.cluster_ref.as_ref()) == object.cluster_name()
            && source.is_some_and(|source| source.topics.iter().any(|topic| Some(topic) == name))
    };
    let readable = pipelines.iter().filter_map(|pipeline| pipeline.0.as_ref().ok());
    let mut groups: Vec<String> = readable.filter(|pipeline| reads(pipeline)).filter_map(pipelines::group).collect();
    groups.sort();
    groups.dedup();
    groups
}

/// Those of the groups that have committed something in the topic. One of which that cannot be told is left out.
#[must_use]
pub fn readers(topic: &str, committed: BTreeMap<String, Result<PerPartition<CommittedOffset>, Error>>) -> BTreeSet<String> {
    let reads = |offsets: PerPartition<CommittedOffset>| offsets.keys().any(|partition| partition.topic == topic);
    committed.into_iter().filter_map(|(group, offsets)| offsets.is_ok_and(reads).then_some(group)).collect()
}

/// A topic that got partitions.
#[derive(Clone, Copy, Debug)]
pub struct Grown<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it had.
    pub from: i32,
    /// How many it has.
    pub to: i32,
}

/// How the topic has grown by what was done; none: it has not, or that is not seen yet.
#[must_use]
pub fn grown<'a>(done: &[TopicAction], topic: &'a str, seen: Option<&ObservedTopic>) -> Option<Grown<'a>> {
    let seen = seen?;
    let from = done.iter().find_map(|action| match action {
        TopicAction::AddPartitions { from, .. } => Some(*from),
        _ => None,
    })?;
    Some(Grown { topic, id: seen.id, from, to: seen.partitions })
}

/// What a group shall have committed in the new partitions, with the note that a worker would leave. Nothing where it has
/// committed already.
#[must_use]
pub fn first_offsets(grown: Grown<'_>, committed: &PerPartition<CommittedOffset>, now: Timestamp) -> Vec<GroupOffset> {
    let mut known = BTreeMap::new();
    for (partition, found) in committed.iter().filter(|(partition, _)| partition.topic == grown.topic) {
        // What could not be read may be an offset.
        let Ok(found) = found else { return Vec::new() };
        known.insert(partition.partition, Note::decode(&found.metadata));
    }
    let own = grown.id.to_string();
    let is_other = |note: &Note| note.topic_id.as_ref().is_some_and(|id| *id != own);
    // A group of a topic that had the name before reads this one from its start, with or without us.
    if known.is_empty() || known.values().flatten().any(is_other) {
        return Vec::new();
    }
    let initial = known.values().map(|note| note.as_ref().map_or(0, |note| note.initial)).min().unwrap_or_default();
    let moved = Moved { reason: MoveReason::PartitionsAdded, from: None, to: 0, at: now.round(Unit::Second).unwrap_or(now) };
    let note = Note { topic_id: Some(own), initial, moved: Some(moved) }.encode();
    let new = (grown.from..grown.to).filter(|partition| !known.contains_key(partition));
    new.map(|partition| GroupOffset { metadata: Some(note.as_str().into()), ..GroupOffset::new(grown.topic, partition, 0) }).collect()
}

#[cfg(test)]
mod tests;
