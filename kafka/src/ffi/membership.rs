//! Polling for a member of a group: its records, and the moves of its partitions.
//!
//! Does what rdkafka's own poll does, for less: a record needs neither the time nor an allocation, and an error keeps its
//! words. A move takes effect after the member has heard of it, on the thread that polls.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use super::native::{Event, Queue, log_level};
use super::reading::{Polled, read_event};
use super::{Copies, ErrorCode, Owned, c_text, error_object, text};
use crate::error::Result;
use crate::record::TopicPartition;

/// Where partitions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// To this member.
    Assign,
    /// Away from it.
    Revoke,
}

/// Hears of a member's partitions.
pub(crate) trait Member: ConsumerContext + 'static {
    /// These partitions move once this returns.
    fn moving(&self, consumer: &BaseConsumer<Self>, what: Move, partitions: &[TopicPartition]);

    /// Whether the partition is this member's, but waits to be told where to begin. The library does not have it yet: it
    /// would look for a place by itself, or begin to read before it could be paused.
    fn holds(&self, partition: &TopicPartition) -> bool;
}

/// Where everything that happens to a member comes from. To be dropped before its client.
pub(crate) struct MemberQueue(Queue);

impl MemberQueue {
    pub(crate) fn of<C: Member>(consumer: &BaseConsumer<C>) -> Result<Self> {
        // SAFETY: the client is alive; the function returns a reference of our own, which `Owned` gives back.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Ok(Self(Queue::new(Owned::new(queue, sys::rd_kafka_queue_destroy)?)))
    }

    /// Waits up to `timeout` for the next record or event. Blocks, and calls the member.
    pub(crate) fn poll_blocking<C: Member>(&self, consumer: &BaseConsumer<C>, timeout: Duration, copies: &mut Copies) -> Polled {
        let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive. A returned event is ours to destroy; null means that the time passed.
        let event = unsafe { sys::rd_kafka_queue_poll(self.0.ptr(), timeout) };
        let Some(event) = Event::new(event) else { return Polled::Nothing };
        match event.kind() {
            sys::RD_KAFKA_EVENT_REBALANCE => rebalance(consumer, &event),
            sys::RD_KAFKA_EVENT_STATS => {
                // SAFETY: a statistics event carries its JSON for as long as it lives.
                let json = unsafe { text(sys::rd_kafka_event_stats(event.ptr())) };
                consumer.context().stats_raw(json.unwrap_or_default().as_bytes());
            }
            sys::RD_KAFKA_EVENT_LOG => log(consumer, &event),
            _ => return read_event(&event, copies),
        }
        Polled::Nothing
    }
}

fn rebalance<C: Member>(consumer: &BaseConsumer<C>, event: &Event) {
    // SAFETY: the event is alive, and the list lives as long as it and is nobody else's.
    unsafe { move_all(consumer, event.code(), sys::rd_kafka_event_topic_partition_list(event.ptr())) };
}

/// The same for a rebalance that rdkafka has polled, as it does while it closes a consumer.
pub(crate) fn rebalance_at_close<C: Member>(consumer: &BaseConsumer<C>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
    // SAFETY: the list is alive and borrowed for nobody else.
    unsafe { move_all(consumer, Code::from(code).into(), list.ptr()) };
}

/// # Safety
/// The list is null, or alive and nobody else's.
unsafe fn move_all<C: Member>(consumer: &BaseConsumer<C>, code: ErrorCode, list: *mut sys::rd_kafka_topic_partition_list_t) {
    let what = match code {
        code if code.is(Code::AssignPartitions) => Move::Assign,
        code if code.is(Code::RevokePartitions) => Move::Revoke,
        code => return tracing::warn!(%code, "a rebalance that is neither an assignment nor a revocation"),
    };
    // SAFETY: the caller's promise.
    let partitions = unsafe { names(list) };
    let member = consumer.context();
    let held = |partitions: &[TopicPartition]| partitions.iter().filter(|name| member.holds(name)).cloned().collect::<Vec<_>>();
    // Those that go are held no more once the member has heard of it, those that come are only then.
    let held_before = held(&partitions);
    if !partitions.is_empty() {
        member.moving(consumer, what, &partitions);
    }
    let absent = if what == Move::Assign { held(&partitions) } else { held_before };
    let client = consumer.client().native_ptr();
    // SAFETY: client and list are alive; librdkafka copies the list, which carries more than names. Errors are ours.
    let moved = unsafe {
        absent.iter().for_each(|partition| leave_out(list, partition));
        match (is_cooperative(consumer), what) {
            (true, Move::Assign) => error_object(sys::rd_kafka_incremental_assign(client, list)),
            (true, Move::Revoke) => error_object(sys::rd_kafka_incremental_unassign(client, list)),
            (false, Move::Assign) => answered(super::code::rd_kafka_assign(client, list)),
            (false, Move::Revoke) => answered(super::code::rd_kafka_assign(client, ptr::null())),
        }
    };
    if let Err(error) = moved {
        // The library gives such partitions back by itself, or has lost them already.
        tracing::warn!(%error, ?what, "partitions were not moved");
    }
}

/// # Safety
/// The list is null, or alive and nobody else's.
unsafe fn leave_out(list: *mut sys::rd_kafka_topic_partition_list_t, partition: &TopicPartition) {
    let Ok(topic) = c_text(&partition.topic) else { return };
    if !list.is_null() {
        // SAFETY: the caller's promise; the name is alive for the call.
        unsafe { sys::rd_kafka_topic_partition_list_del(list, topic.as_ptr(), partition.partition) };
    }
}

fn answered(code: ErrorCode) -> Result<()> {
    if code.is_error() { Err(code.into_error(code.to_string(), None)) } else { Ok(()) }
}

/// Whether partitions come and go one by one.
pub(crate) fn is_cooperative<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    // SAFETY: the client is alive; the library returns null or a constant.
    unsafe {
        let protocol = sys::rd_kafka_rebalance_protocol(consumer.client().native_ptr());
        !protocol.is_null() && CStr::from_ptr(protocol) == c"COOPERATIVE"
    }
}

/// # Safety
/// The list is null or alive.
unsafe fn names(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise; the list has as many elements as it says, of which no reference is made: their error
    // codes may be any number.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or_default();
        let name = |index| {
            let element = (*list).elems.add(index);
            Some(TopicPartition::new(text((*element).topic)?, (*element).partition))
        };
        (0..count).filter_map(name).collect()
    }
}

fn log<C: Member>(consumer: &BaseConsumer<C>, event: &Event) {
    let (mut facility, mut words, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the event is alive; the texts live as long as it and are copied.
    let (facility, words) = unsafe {
        if sys::rd_kafka_event_log(event.ptr(), &mut facility, &mut words, &mut level) != 0 {
            return;
        }
        (text(facility).unwrap_or_default(), text(words).unwrap_or_default())
    };
    let level: RDKafkaLogLevel = log_level(level);
    consumer.context().log(level, facility.trim(), words.trim());
}
