//! Polling for records, and copying them out of the C library.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::Offset;
use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use super::code::{self, ErrorCode};
use super::native::{Event, Native};
use super::{Copies, Owned, array, error_object, partition_list, text};
use crate::error::Result;
use crate::record::{ConsumedRecord, Header, TimestampType, TopicPartition};

const NO_TIMESTAMP: c_int = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as c_int;
const LOG_APPEND_TIME: c_int = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME as c_int;

/// What one poll brought.
pub(crate) enum Polled {
    Nothing,
    Record(ConsumedRecord),
    /// Everything that is committed now was read from this partition; the next record will have this offset or a later one.
    EndOfPartition(TopicPartition, i64),
    Failed {
        partition: Option<TopicPartition>,
        code: ErrorCode,
        message: String,
        /// The client cannot go on.
        fatal: bool,
    },
}

impl Native {
    /// Waits up to `timeout` for the next record or event of the assigned partitions. Blocks.
    pub(crate) fn poll_blocking(&self, timeout: Duration, copies: &mut Copies) -> Polled {
        let Some(queue) = &self.messages else { return Polled::Nothing };
        let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive. A returned event is ours to destroy; null means that the time passed.
        let event = unsafe { sys::rd_kafka_queue_poll(queue.ptr(), timeout) };
        Event::new(event).map_or(Polled::Nothing, |event| read_event(&event, copies))
    }

    /// Adds partitions to the assignment.
    pub(crate) fn assign_more(&self, partitions: &[(TopicPartition, Offset)]) -> Result<()> {
        let list = partition_list(partitions)?;
        // SAFETY: client and list are alive; librdkafka copies the list. A returned error is ours.
        error_object(unsafe { sys::rd_kafka_incremental_assign(self.client.native_ptr(), list.ptr()) })
    }

    /// Takes partitions out of the assignment.
    pub(crate) fn unassign(&self, partitions: &[(TopicPartition, Offset)]) -> Result<()> {
        let list = partition_list(partitions)?;
        // SAFETY: client and list are alive; librdkafka copies the list. A returned error is ours.
        error_object(unsafe { sys::rd_kafka_incremental_unassign(self.client.native_ptr(), list.ptr()) })
    }
}

/// Copies what an event says about a partition.
pub(super) fn read_event(event: &Event, copies: &mut Copies) -> Polled {
    match event.kind() {
        sys::RD_KAFKA_EVENT_FETCH => {
            // SAFETY: the event is alive; the message lives as long as it and is copied.
            let record = unsafe { read_message(sys::rd_kafka_event_message_next(event.ptr()), copies) };
            record.map_or(Polled::Nothing, Polled::Record)
        }
        sys::RD_KAFKA_EVENT_ERROR => {
            let code = event.code();
            // SAFETY: the event is alive.
            let fatal = unsafe { sys::rd_kafka_event_error_is_fatal(event.ptr()) } != 0;
            match event_partition(event) {
                Some((partition, offset)) if code.is(Code::PartitionEOF) => Polled::EndOfPartition(partition, offset),
                partition => Polled::Failed { partition: partition.map(|(name, _)| name), code, message: event.message(), fatal },
            }
        }
        _ => Polled::Nothing,
    }
}

fn event_partition(event: &Event) -> Option<(TopicPartition, i64)> {
    // SAFETY: the event is alive; the returned copy is ours to destroy.
    let partition = unsafe { sys::rd_kafka_event_topic_partition(event.ptr()) };
    let partition = Owned::new(partition, sys::rd_kafka_topic_partition_destroy).ok()?;
    // SAFETY: the copy lives until the end of this function; its name is copied.
    unsafe {
        let name = TopicPartition::new(text((*partition.ptr()).topic)?, (*partition.ptr()).partition);
        Some((name, (*partition.ptr()).offset))
    }
}

/// # Safety
/// The message is null or alive.
unsafe fn read_message(message: *const sys::rd_kafka_message_t, copies: &mut Copies) -> Option<ConsumedRecord> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; all texts and bytes live as long as the message and are copied. No reference is made of
    // it, because its error code may be any number.
    unsafe {
        let topic = sys::rd_kafka_topic_name((*message).rkt);
        let mut kind = NO_TIMESTAMP;
        let timestamp = code::rd_kafka_message_timestamp(message, &mut kind);
        Some(ConsumedRecord {
            topic: copies.topic(CStr::from_ptr(topic)),
            partition: (*message).partition,
            offset: (*message).offset,
            timestamp_ms: (kind != NO_TIMESTAMP).then_some(timestamp),
            timestamp_type: if kind == LOG_APPEND_TIME { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            key: bytes((*message).key, (*message).key_len, copies),
            payload: bytes((*message).payload, (*message).len, copies),
            headers: read_headers(message, copies),
        })
    }
}

/// # Safety
/// The message is alive.
unsafe fn read_headers(message: *const sys::rd_kafka_message_t, copies: &mut Copies) -> Vec<Header> {
    let mut headers = Vec::new();
    // SAFETY: the caller's promise; the list belongs to the message, and names and values are copied.
    unsafe {
        let mut list = ptr::null_mut();
        if sys::rd_kafka_message_headers(message, &mut list) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        for index in 0..sys::rd_kafka_header_cnt(list) {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            let code = sys::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size);
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            headers.push(Header { name: text(name).unwrap_or_default(), value: bytes(value, size, copies) });
        }
    }
    headers
}

/// Copies bytes; a null pointer is Kafka's null.
///
/// # Safety
/// The pointer is null or points to `length` bytes.
unsafe fn bytes(pointer: *const c_void, length: usize, copies: &mut Copies) -> Option<Bytes> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(copies.bytes(unsafe { array(pointer.cast::<u8>(), length) }))
}
