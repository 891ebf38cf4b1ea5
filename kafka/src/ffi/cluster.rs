//! The ends of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;

use super::code::ErrorCode;
use super::native::{Call, Native};
use super::offsets::option_set;
use super::{array, c_text, text};
use crate::error::{Error, Result};
use crate::record::TopicPartition;

impl Native {
    /// One of the ends of partitions. A partition that failed carries its error.
    pub(crate) async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        edge: Edge,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Result<i64>)>> {
        let wanted: Vec<_> = partitions.iter().map(|partition| (partition, edge.number())).collect();
        let found = self.look_up_offsets(&wanted, edge.isolation(), timeout).await?;
        let checked = |(partition, offset): (TopicPartition, Result<i64>)| {
            let offset = offset.and_then(|offset| known(&partition, offset));
            (partition, offset)
        };
        Ok(found.into_iter().map(checked).collect())
    }

    /// The first offset in each partition that is not older than this, in milliseconds since 1970; none: all are. A partition that
    /// failed carries its error.
    pub(crate) async fn offsets_since(
        &self,
        partitions: &BTreeMap<TopicPartition, i64>,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Result<Option<i64>>)>> {
        // A negative number would be another question.
        let wanted: Vec<_> = partitions.iter().map(|(partition, timestamp)| (partition, (*timestamp).max(0))).collect();
        let isolation = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED;
        let found = self.look_up_offsets(&wanted, isolation, timeout).await?;
        let checked = |(partition, offset): (TopicPartition, Result<i64>)| {
            let offset = offset.and_then(|offset| if offset == NO_RECORD { Ok(None) } else { known(&partition, offset).map(Some) });
            (partition, offset)
        };
        Ok(found.into_iter().map(checked).collect())
    }

    /// Asks for each of these partitions what the protocol has that number for.
    async fn look_up_offsets(
        &self,
        wanted: &[(&TopicPartition, i64)],
        isolation: sys::rd_kafka_IsolationLevel_t,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Result<i64>)>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let send = |call: &Call<'_>| {
            let mut list = TopicPartitionList::with_capacity(wanted.len());
            for (partition, _) in wanted {
                c_text(&partition.topic)?;
                list.add_partition(&partition.topic, partition.partition);
            }
            // SAFETY: the options are alive; a returned error is ours. The list is alive and has the number of elements it says, in the
            // order in which they were added; librdkafka copies it.
            unsafe {
                option_set(sys::rd_kafka_AdminOptions_set_isolation_level(call.options.cast_mut(), isolation));
                let native = &mut *list.ptr();
                let count = usize::try_from(native.cnt).unwrap_or_default();
                if !native.elems.is_null() {
                    for (element, (_, number)) in std::slice::from_raw_parts_mut(native.elems, count).iter_mut().zip(wanted) {
                        element.offset = *number;
                    }
                }
                sys::rd_kafka_ListOffsets(call.rk, native, call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; what it points to lives as long as it.
            unsafe {
                let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
                let infos = array(sys::rd_kafka_ListOffsets_result_infos(result, &mut count), count);
                Ok(infos.iter().filter_map(|info| read_offset(*info)).collect::<Vec<_>>())
            }
        })
        .await
    }
}

/// Which end of a partition.
#[derive(Clone, Copy)]
pub(crate) enum Edge {
    Start,
    /// Where the first transaction begins that is still open, or the end.
    StableEnd,
    End,
}

impl Edge {
    /// The number that the protocol has for it.
    fn number(self) -> i64 {
        match self {
            Self::Start => -2,
            Self::StableEnd | Self::End => -1,
        }
    }

    fn isolation(self) -> sys::rd_kafka_IsolationLevel_t {
        match self {
            Self::StableEnd => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            Self::Start | Self::End => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        }
    }
}

/// # Safety
/// The info belongs to a reply that is alive.
unsafe fn read_offset(info: *const sys::rd_kafka_ListOffsetsResultInfo_t) -> Option<(TopicPartition, Result<i64>)> {
    // SAFETY: the caller's promise covers the info and the partition it points to, of which no reference is made: its error
    // code may be any number.
    unsafe {
        let native = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        if native.is_null() {
            return None;
        }
        let topic = text((*native).topic)?;
        let code = ErrorCode::at(&raw const (*native).err);
        let error = code.is_error().then(|| code.into_error(code.to_string(), Some(&topic)));
        let partition = TopicPartition::new(topic, (*native).partition);
        let outcome = error.map_or_else(|| Ok((*native).offset), Err);
        Some((partition, outcome))
    }
}

/// What a leader says where no record is as young as was asked for.
const NO_RECORD: i64 = -1;

/// A partition whose leader has not answered has neither an error nor an offset.
fn known(partition: &TopicPartition, offset: i64) -> Result<i64> {
    if offset >= 0 {
        return Ok(offset);
    }
    Err(Error::Unreachable { reason: format!("the leader of {partition} did not answer") })
}

/// # Safety
/// The node is null or belongs to a reply that is alive.
pub(super) unsafe fn node_id(node: *const sys::rd_kafka_Node_t) -> Option<i32> {
    if node.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { sys::rd_kafka_Node_id(node) }).filter(|id| *id >= 0)
}

/// # Safety
/// The nodes belong to a reply that is alive.
pub(super) unsafe fn node_ids(nodes: &[*const sys::rd_kafka_Node_t]) -> Vec<i32> {
    // SAFETY: the caller's promise.
    nodes.iter().filter_map(|node| unsafe { node_id(*node) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_nobody_told_is_none() {
        let partition = TopicPartition::new("t", 0);
        for (offset, is_known) in [(0, true), (7, true), (-1, false), (-1001, false)] {
            assert_eq!(known(&partition, offset).ok(), is_known.then_some(offset));
        }
        assert!(known(&partition, -1001).is_err_and(|error| error.is_retriable()));
    }
}
