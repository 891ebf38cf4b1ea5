//! The offsets that groups have committed, with what stands beside them.
//!
//! What stands there may be anything: it is read as bytes, and whatever is no text becomes one that nobody wrote.

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::{Offset, TopicPartitionList};

use super::code::ErrorCode;
use super::native::{Call, Native};
use super::{Owned, array, c_text, error_object, text};
use crate::consumer::{CommittedOffset, GroupOffset};
use crate::error::{Error, Result};
use crate::record::TopicPartition;

/// What a group has in one partition; `None` where it has nothing.
pub(crate) type Committed = (TopicPartition, Result<Option<CommittedOffset>>);

impl Native {
    /// All that a group has committed. Offsets in transactions that are still open do not count.
    ///
    /// Only for a client that names a group of its own: without one the library follows a null pointer when the answer is that
    /// the group's coordinator has moved (`rd_kafka_handle_OffsetFetch`).
    pub(crate) async fn list_group_offsets(&self, group: &str, timeout: Duration) -> Result<Vec<Committed>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let send = |call: &Call<'_>| {
            let group = c_text(group)?;
            // SAFETY: the name is alive and copied; null stands for all partitions.
            let question = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null()) };
            let question = Owned::new(question, sys::rd_kafka_ListConsumerGroupOffsets_destroy)?;
            // SAFETY: all arguments are alive for the call; librdkafka copies the question.
            unsafe { sys::rd_kafka_ListConsumerGroupOffsets(call.rk, &mut question.ptr(), 1, call.options, call.queue) };
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; what it points to lives as long as it.
            unsafe {
                let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
                let groups = array(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count), count);
                let Some(group) = groups.first() else { return Ok(Vec::new()) };
                // The error belongs to the group, which is not ours to destroy.
                let error = sys::rd_kafka_group_result_error(*group);
                let code = super::code::rd_kafka_error_code(error);
                if !error.is_null() && code.is_error() {
                    let message = text(sys::rd_kafka_error_string(error)).unwrap_or_default();
                    return Err(code.into_error(message, None));
                }
                Ok(read_committed(sys::rd_kafka_group_result_partitions(*group)))
            }
        })
        .await
    }
}

/// Asks the group's coordinator for the offsets of these partitions, those in open transactions not counted: waits for
/// their end. Blocks.
pub(crate) fn committed_blocking<C: rdkafka::consumer::ConsumerContext>(
    consumer: &rdkafka::consumer::BaseConsumer<C>,
    partitions: &TopicPartitionList,
    timeout: Duration,
) -> Result<Vec<Committed>> {
    let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: client and list are alive; librdkafka fills the list in.
    let code = unsafe {
        let client = rdkafka::consumer::Consumer::client(consumer).native_ptr();
        super::code::rd_kafka_committed(client, partitions.ptr(), milliseconds)
    };
    if code.is_error() {
        return Err(match code.into_error(code.to_string(), None) {
            // Reading changes nothing: without an answer it is as good as not asked.
            Error::Timeout { .. } => {
                let reason = "the group's coordinator did not tell the committed offsets in time; a transaction may still be open";
                Error::Unreachable { reason: reason.to_owned() }
            }
            error => error,
        });
    }
    // SAFETY: the list is alive.
    Ok(unsafe { read_committed(partitions.ptr()) })
}

/// Offsets in the form in which they are committed.
pub(crate) fn offset_list(offsets: &[GroupOffset]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for offset in offsets {
        // rdkafka panics on a name with a zero byte.
        c_text(&offset.topic)?;
        let mut element = list.add_partition(&offset.topic, offset.partition);
        element.set_offset(Offset::Offset(offset.next_offset)).map_err(|error| Error::from_rdkafka(&error, Some(&offset.topic)))?;
        if let Some(metadata) = &offset.metadata {
            element.set_metadata(metadata);
        }
    }
    Ok(list)
}

/// # Safety
/// The list is null or alive.
unsafe fn read_committed(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Committed> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise; the list has as many elements as it says, of which no reference is made: their error
    // codes may be any number.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or_default();
        (0..count).filter_map(|index| read_element((*list).elems.add(index))).collect()
    }
}

/// # Safety
/// The element belongs to a list that is alive.
unsafe fn read_element(element: *const sys::rd_kafka_topic_partition_t) -> Option<Committed> {
    // SAFETY: the caller's promise; the name is copied, and the metadata has the size that is told.
    unsafe {
        let partition = TopicPartition::new(text((*element).topic)?, (*element).partition);
        let code = ErrorCode::at(&raw const (*element).err);
        if code.is_error() {
            let error = code.into_error(code.to_string(), Some(&partition.topic));
            return Some((partition, Err(error)));
        }
        let bytes = array((*element).metadata.cast::<u8>(), (*element).metadata_size);
        let metadata = String::from_utf8_lossy(bytes).into_owned();
        let offset = (*element).offset;
        Some((partition, Ok((offset >= 0).then_some(CommittedOffset { offset, metadata }))))
    }
}

/// Takes over what a setter of options answers. The options stay as they were if it failed.
pub(super) fn option_set(error: *mut sys::rd_kafka_error_t) {
    if let Err(error) = error_object(error) {
        tracing::warn!(%error, "an option of a request was not taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_an_offset_is_read_back() {
        let offset = |partition, next_offset, metadata: Option<&str>| GroupOffset {
            metadata: metadata.map(Into::into),
            ..GroupOffset::new("t", partition, next_offset)
        };
        let list = offset_list(&[offset(0, 7, Some("né\0te")), offset(1, 8, Some("")), offset(2, 9, None)]).unwrap();
        // SAFETY: the list is alive.
        let read = unsafe { read_committed(list.ptr()) };
        let read: Vec<_> = read.into_iter().map(|(partition, read)| (partition.partition, read.unwrap().unwrap())).collect();
        let expected = |offset, metadata: &str| CommittedOffset { offset, metadata: metadata.to_owned() };
        assert_eq!(read, [(0, expected(7, "né\0te")), (1, expected(8, "")), (2, expected(9, ""))]);
        assert!(offset_list(&[GroupOffset::new("a\0", 0, 1)]).is_err());
    }

    #[test]
    fn what_is_no_text_is_read_without_harm() {
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        // SAFETY: the list is alive and has one element, which takes over what was allocated.
        unsafe {
            let element = (*list.ptr()).elems;
            (*element).offset = 3;
            (*element).metadata = sys::rd_kafka_mem_calloc(ptr::null_mut(), 2, 1);
            (*element).metadata_size = 2;
            (*element).metadata.cast::<u8>().write(0xff);
            let read = read_committed(list.ptr());
            assert_eq!(read, [(TopicPartition::new("t", 0), Ok(Some(CommittedOffset { offset: 3, metadata: "\u{fffd}\0".to_owned() })))]);
        }
    }
}
