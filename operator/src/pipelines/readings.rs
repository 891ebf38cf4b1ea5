//! Reads what the groups of pipelines have noted beside their offsets, each about once per resync, however often a pipeline
//! is looked at.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use penstock_crds::{EventPipeline, position::Note};
use penstock_kafka::{CommittedOffset, Error, PerPartition};

use super::{positions::Moves, status::group};
use crate::{clusters::ResolvedCluster, context::Context};

/// How long a group's coordinator may take. A pipeline does not wait for it longer.
const LIMIT: Duration = Duration::from_secs(3);

/// What was read last of each pipeline, by its uid.
#[derive(Default)]
pub struct Readings(Mutex<HashMap<String, Reading>>);

struct Reading {
    at: Instant,
    moves: Option<Moves>,
}

impl Readings {
    /// The last move in each partition. None: the pipeline has no group, or it could not be read.
    pub async fn moves(&self, context: &Context, pipeline: &EventPipeline, cluster: Option<&ResolvedCluster>) -> Option<Moves> {
        let (group, uid) = (group(pipeline)?, pipeline.metadata.uid.as_ref()?);
        let cluster = cluster.filter(|cluster| cluster.is_ready())?;
        // A reconcile that a resync asked for may come a little early.
        let lasts = context.settings.resync.mul_f64(0.8);
        if let Some(reading) = self.lock().get(uid).filter(|reading| reading.at.elapsed() < lasts) {
            return reading.moves.clone();
        }
        let moves = match read(context, cluster, &group).await {
            Ok(offsets) => Some(noted(&offsets)),
            Err(error) => {
                context.connections.failed(&cluster.name, &error);
                tracing::debug!(%error, group, "what a group has committed could not be read");
                None
            }
        };
        let mut readings = self.lock();
        // Those of pipelines that are gone.
        readings.retain(|_, reading| reading.at.elapsed() < context.settings.resync * 10);
        readings.insert(uid.clone(), Reading { at: Instant::now(), moves: moves.clone() });
        moves
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(context: &Context, cluster: &ResolvedCluster, group: &str) -> Result<PerPartition<CommittedOffset>, Error> {
    let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?.with_timeout(LIMIT);
    connection.look("ListConsumerGroupOffsets", connection.admin.group_offsets(group)).await
}

fn noted(offsets: &PerPartition<CommittedOffset>) -> Moves {
    let moved = |offset: &CommittedOffset| Note::decode(&offset.metadata)?.moved;
    offsets.iter().filter_map(|(partition, offset)| Some((partition.clone(), moved(offset.as_ref().ok()?)?))).collect()
}

#[cfg(test)]
mod tests {
    use penstock_crds::position::{MoveReason, Moved};
    use penstock_kafka::TopicPartition;

    use super::*;

    #[test]
    fn only_notes_with_a_move_count() {
        let moved = Moved { reason: MoveReason::TopicRecreated, from: Some(3), to: 0, at: "2026-01-02T03:04:05Z".parse().unwrap() };
        let note = |moved| Note { topic_id: None, initial: 1, moved }.encode();
        let offset = |metadata: String| Ok(CommittedOffset { offset: 1, metadata });
        let offsets = [
            offset(note(Some(moved.clone()))),
            offset(note(None)),
            offset("by another tool".to_owned()),
            Err(Error::Unreachable { reason: "away".to_owned() }),
        ];
        let offsets = (0..).zip(offsets).map(|(partition, offset)| (TopicPartition::new("t", partition), offset)).collect();
        assert_eq!(noted(&offsets), Moves::from([(TopicPartition::new("t", 0), moved)]));
    }
}
