//! What decides where a group goes on: the ends of partitions, and what the group has committed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::{try_join, try_join3};

use super::{TopicAdmin, read};
use crate::connection::ConnectionSettings;
use crate::consumer::CommittedOffset;
use crate::detached::Detached;
use crate::error::{Error, Result};
use crate::ffi::{Edge, Native};
use crate::record::TopicPartition;
use crate::topic::{PartitionEdges, PerPartition, StableRange, validate_topic_name};

/// The client that reads what groups have committed, made when it is first needed. The library takes such questions only to a
/// client that names a group; this one is neither joined nor written to.
#[derive(Default)]
pub(super) struct Groups(Mutex<Option<Detached<Native>>>);

impl Groups {
    fn client(&self, connection: &ConnectionSettings) -> Result<Detached<Native>> {
        let mut client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let mut config = connection.client_config();
        config.set("group.id", format!("{}-admin", connection.client_id())).set("enable.auto.commit", "false");
        Ok(client.insert(Detached::new(Native::for_reading(&config)?)).clone())
    }
}

impl TopicAdmin {
    /// The ends of partitions, in one request per broker and end.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn edges(&self, partitions: &[TopicPartition]) -> Result<PerPartition<PartitionEdges>> {
        partitions.iter().try_for_each(|partition| validate_topic_name(&partition.topic))?;
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let native = self.native.get()?;
        let list = |edge| native.list_offsets(partitions, edge, self.timeout);
        let (starts, stable, ends) = read(try_join3(list(Edge::Start), list(Edge::StableEnd), list(Edge::End)).await)?;
        let mut starts: BTreeMap<_, _> = starts.into_iter().collect();
        let mut stable: BTreeMap<_, _> = stable.into_iter().collect();
        let edges = ends.into_iter().map(|(partition, end)| {
            let edges = together(starts.remove(&partition), stable.remove(&partition), end);
            (partition, edges)
        });
        Ok(edges.collect())
    }

    /// What readers of committed records may read of partitions, in one request per broker and end.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn stable_ranges(&self, partitions: &[TopicPartition]) -> Result<PerPartition<StableRange>> {
        partitions.iter().try_for_each(|partition| validate_topic_name(&partition.topic))?;
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let native = self.native.get()?;
        let list = |edge| native.list_offsets(partitions, edge, self.timeout);
        let (starts, ends) = read(try_join(list(Edge::Start), list(Edge::StableEnd)).await)?;
        let mut starts: BTreeMap<_, _> = starts.into_iter().collect();
        let ranges = ends.into_iter().map(|(partition, end)| {
            let start = told(starts.remove(&partition));
            (partition, start.and_then(|start| Ok(StableRange { start, end: end? })))
        });
        Ok(ranges.collect())
    }

    /// Where partitions end, records of open transactions included (their high watermarks), in one request per broker.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>> {
        partitions.iter().try_for_each(|partition| validate_topic_name(&partition.topic))?;
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        Ok(read(self.native.get()?.list_offsets(partitions, Edge::End, self.timeout).await)?.into_iter().collect())
    }

    /// All that a group has committed, with what stands beside it. Offsets in transactions that are still open do not count.
    /// Empty for a group that has committed nothing, or that does not exist. The first call opens a connection of its own.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn group_offsets(&self, group: &str) -> Result<PerPartition<CommittedOffset>> {
        let client = self.groups.client(&self.settings)?;
        let offsets = read(client.get()?.list_group_offsets(group, self.timeout).await)?;
        Ok(offsets.into_iter().filter_map(|(partition, offset)| Some((partition, offset.transpose()?))).collect())
    }
}

fn together(start: Option<Result<i64>>, stable_end: Option<Result<i64>>, end: Result<i64>) -> Result<PartitionEdges> {
    Ok(PartitionEdges { start: told(start)?, stable_end: told(stable_end)?, end: end? })
}

fn told(edge: Option<Result<i64>>) -> Result<i64> {
    edge.unwrap_or(Err(Error::Closed))
}
