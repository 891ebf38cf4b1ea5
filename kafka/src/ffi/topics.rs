//! Creating, growing and describing topics.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::types::RDKafkaRespErr;

use super::cluster::{node_id, node_ids};
use super::native::{Call, Native};
use super::{ErrorText, Owned, array, c_text, code, invalid_argument, pointers, text};
use crate::error::{Error, Result};
use crate::topic::{NewTopic, PartitionInfo, PerTopic, TopicDescription, TopicId};

impl Native {
    /// Creates topics, or only asks the broker whether it would.
    pub(crate) async fn create_topics(&self, topics: &[&NewTopic], validate_only: bool, timeout: Duration) -> Result<PerTopic<()>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let send = |call: &Call<'_>| {
            let topics = topics.iter().map(|topic| new_topic(topic)).collect::<Result<Vec<_>>>()?;
            let mut problem = ErrorText::new();
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_AdminOptions_set_validate_only(
                    call.options.cast_mut(),
                    c_int::from(validate_only),
                    problem.ptr(),
                    ErrorText::SIZE,
                );
                sys::rd_kafka_CreateTopics(call.rk, pointers(&topics).as_mut_ptr(), topics.len(), call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array lives as long as it.
            Ok(topic_results(unsafe {
                let result = sys::rd_kafka_event_CreateTopics_result(event.ptr());
                array(sys::rd_kafka_CreateTopics_result_topics(result, &mut count), count)
            }))
        })
        .await
    }

    /// Raises the number of partitions to a total.
    pub(crate) async fn create_partitions(&self, totals: &BTreeMap<&str, i32>, timeout: Duration) -> Result<PerTopic<()>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS;
        let send = |call: &Call<'_>| {
            let totals = totals.iter().map(|(topic, total)| new_partitions(topic, *total)).collect::<Result<Vec<_>>>()?;
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_CreatePartitions(call.rk, pointers(&totals).as_mut_ptr(), totals.len(), call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array lives as long as it.
            Ok(topic_results(unsafe {
                let result = sys::rd_kafka_event_CreatePartitions_result(event.ptr());
                array(sys::rd_kafka_CreatePartitions_result_topics(result, &mut count), count)
            }))
        })
        .await
    }

    /// Describes topics, with their ids.
    pub(crate) async fn describe_topics(&self, names: &[&str], timeout: Duration) -> Result<PerTopic<TopicDescription>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let send = |call: &Call<'_>| {
            let names = names.iter().map(|name| c_text(name)).collect::<Result<Vec<_>>>()?;
            let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
            // SAFETY: the names are alive for the call and copied by librdkafka, as is the collection.
            unsafe {
                let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
                let collection = Owned::new(collection, sys::rd_kafka_TopicCollection_destroy)?;
                sys::rd_kafka_DescribeTopics(call.rk, collection.ptr(), call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array and all it points to live as long as it.
            unsafe {
                let result = sys::rd_kafka_event_DescribeTopics_result(event.ptr());
                let topics = array(sys::rd_kafka_DescribeTopics_result_topics(result, &mut count), count);
                Ok(topics.iter().map(|topic| read_topic(*topic)).collect())
            }
        })
        .await
    }
}

fn new_topic(topic: &NewTopic) -> Result<Owned<sys::rd_kafka_NewTopic_t>> {
    let name = c_text(&topic.name)?;
    let mut problem = ErrorText::new();
    // SAFETY: the name is alive and copied; the buffer has the size that is told.
    let native = unsafe {
        sys::rd_kafka_NewTopic_new(
            name.as_ptr(),
            topic.partitions.unwrap_or(-1),
            c_int::from(topic.replication_factor.unwrap_or(-1)),
            problem.ptr(),
            ErrorText::SIZE,
        )
    };
    if native.is_null() {
        return Err(invalid_argument(problem.read()));
    }
    let native = Owned::new(native, sys::rd_kafka_NewTopic_destroy)?;
    for (key, value) in &topic.config {
        let (c_key, c_value) = (c_text(key)?, c_text(value)?);
        // SAFETY: all three are alive; the texts are copied.
        let code = unsafe { sys::rd_kafka_NewTopic_set_config(native.ptr(), c_key.as_ptr(), c_value.as_ptr()) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Error::InvalidConfig { message: format!("{key} = {value}") });
        }
    }
    Ok(native)
}

fn new_partitions(topic: &str, total: i32) -> Result<Owned<sys::rd_kafka_NewPartitions_t>> {
    let topic = c_text(topic)?;
    let mut problem = ErrorText::new();
    let total = usize::try_from(total).unwrap_or_default();
    // SAFETY: the name is alive and copied; the buffer has the size that is told.
    let native = unsafe { sys::rd_kafka_NewPartitions_new(topic.as_ptr(), total, problem.ptr(), ErrorText::SIZE) };
    if native.is_null() {
        return Err(invalid_argument(problem.read()));
    }
    Owned::new(native, sys::rd_kafka_NewPartitions_destroy)
}

fn topic_results(results: &[*const sys::rd_kafka_topic_result_t]) -> PerTopic<()> {
    let read = |result: &*const sys::rd_kafka_topic_result_t| {
        // SAFETY: the caller took the array from a reply that is still alive.
        let (name, code, message) = unsafe {
            (
                text(sys::rd_kafka_topic_result_name(*result)).unwrap_or_default(),
                code::rd_kafka_topic_result_error(*result),
                text(sys::rd_kafka_topic_result_error_string(*result)).unwrap_or_default(),
            )
        };
        let outcome = if code.is_error() { Err(code.into_error(message, Some(&name))) } else { Ok(()) };
        (name, outcome)
    };
    results.iter().map(read).collect()
}

/// # Safety
/// The description belongs to a reply that is alive.
unsafe fn read_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> (String, Result<TopicDescription>) {
    // SAFETY: the caller's promise covers the description and everything it points to.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic)).unwrap_or_default();
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = code::rd_kafka_error_code(error);
        if !error.is_null() && code.is_error() {
            let message = text(sys::rd_kafka_error_string(error)).unwrap_or_default();
            let error = code.into_error(message, Some(&name));
            return (name, Err(error));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let mut count = 0;
        let partitions = array(sys::rd_kafka_TopicDescription_partitions(topic, &mut count), count);
        let mut partitions: Vec<_> = partitions.iter().map(|partition| read_partition(*partition)).collect();
        partitions.sort_by_key(|partition| partition.id);
        let description = TopicDescription {
            id: TopicId::from_halves(sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id)),
            internal: sys::rd_kafka_TopicDescription_is_internal(topic) != 0,
            name: name.clone(),
            partitions,
        };
        (name, Ok(description))
    }
}

/// # Safety
/// The partition belongs to a reply that is alive.
unsafe fn read_partition(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> PartitionInfo {
    // SAFETY: the caller's promise covers the partition and the nodes it points to.
    unsafe {
        let (mut replicas, mut isr) = (0, 0);
        PartitionInfo {
            id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: node_id(sys::rd_kafka_TopicPartitionInfo_leader(partition)),
            replicas: node_ids(array(sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut replicas), replicas)),
            isr: node_ids(array(sys::rd_kafka_TopicPartitionInfo_isr(partition, &mut isr), isr)),
        }
    }
}
