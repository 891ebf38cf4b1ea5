//! Mends a defect of librdkafka: <https://github.com/confluentinc/librdkafka/issues/5280>, there up to 2.12.1 at least.
//!
//! An answer to a fetch may name the new leaders of partitions (KIP-951), and say of some that they have none. The library makes room
//! for all that are named and fills in only those with a leader. What is left is whatever was in that memory: a partition of any
//! number, whose leader and epoch are written far outside of the cache, which ends the process, or over those of another partition,
//! which is then never read again. It happens when a broker has just come back.
//!
//! The linker puts `__wrap_…` in the place of the function that makes the room (`--wrap`, see `.cargo/config.toml`). It marks each
//! partition as one that does not exist; the library passes over such a one, with a line in its log, unless it fills it in.

use std::ffi::{c_char, c_int, c_void};

use rdkafka::bindings as sys;

/// More than any topic has: what the library compares with the number of partitions.
const NO_PARTITION: i32 = i32::MAX;

/// `rd_kafka_Uuid_t`, which is passed by value.
#[derive(Clone, Copy)]
#[repr(C)]
struct TopicId {
    high: i64,
    low: i64,
    base64: [c_char; 23],
}

unsafe extern "C" {
    /// The library's own function.
    fn __real_rd_kafkap_leader_discovery_set_topic(
        memory: *mut c_void,
        metadata: *mut sys::rd_kafka_metadata,
        topic_index: c_int,
        topic_id: TopicId,
        topic_name: *mut c_char,
        partition_count: c_int,
    );
}

/// Makes room for the partitions of a topic, and marks each as one that does not exist.
///
/// # Safety
/// Only the library calls it, as it would the function that it stands for: `metadata`, whose public part comes first, has a topic of
/// that index.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafkap_leader_discovery_set_topic(
    memory: *mut c_void,
    metadata: *mut sys::rd_kafka_metadata,
    topic_index: c_int,
    topic_id: TopicId,
    topic_name: *mut c_char,
    partition_count: c_int,
) {
    // SAFETY: what was given is passed on. After that the topic has room for as many partitions.
    unsafe {
        __real_rd_kafkap_leader_discovery_set_topic(memory, metadata, topic_index, topic_id, topic_name, partition_count);
        let topic = (*metadata).topics.offset(topic_index as isize);
        for number in 0..partition_count {
            (&raw mut (*(*topic).partitions.offset(number as isize)).id).write(NO_PARTITION);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    unsafe extern "C" {
        fn rd_kafkap_leader_discovery_set_topic(
            memory: *mut c_void,
            metadata: *mut sys::rd_kafka_metadata,
            topic_index: c_int,
            topic_id: TopicId,
            topic_name: *mut c_char,
            partition_count: c_int,
        );
    }

    /// `rd_tmpabuf_t`: memory that is handed out piece by piece.
    #[repr(C)]
    struct Memory {
        size: usize,
        used: usize,
        bytes: *mut u8,
        failed: c_int,
        assert: c_char,
    }

    /// `rd_kafka_metadata_internal_t`.
    #[repr(C)]
    struct Metadata {
        public: sys::rd_kafka_metadata,
        brokers_sorted: *mut c_void,
        brokers: *mut c_void,
        topics: *mut c_void,
    }

    #[test]
    fn no_partition_is_left_as_it_was_in_memory() {
        // Aligned, and full of what was there before.
        let mut room = [0xaaaa_aaaa_aaaa_aaaa_u64; 512];
        let mut topics = [0_u64; 64];
        // SAFETY: zero is a value of each of these structures.
        let mut public: [sys::rd_kafka_metadata_topic; 2] = unsafe { std::mem::zeroed() };
        let mut memory = Memory { size: 4_096, used: 0, bytes: room.as_mut_ptr().cast(), failed: 0, assert: 1 };
        // SAFETY: as above; the public part and the internal one have room for two topics each.
        let mut metadata = Metadata {
            public: unsafe { std::mem::zeroed() },
            brokers_sorted: ptr::null_mut(),
            brokers: ptr::null_mut(),
            topics: topics.as_mut_ptr().cast(),
        };
        (metadata.public.topic_cnt, metadata.public.topics) = (2, public.as_mut_ptr());
        let topic_id = TopicId { high: 1, low: 2, base64: [0; 23] };
        // SAFETY: the library's own call, with structures laid out as its own.
        let numbers: Vec<i32> = unsafe {
            let (memory, metadata) = (ptr::from_mut(&mut memory).cast(), ptr::from_mut(&mut metadata).cast());
            rd_kafkap_leader_discovery_set_topic(memory, metadata, 1, topic_id, ptr::null_mut(), 3);
            (0..3).map(|number| (*public[1].partitions.offset(number)).id).collect()
        };
        assert_eq!((public[1].partition_cnt, numbers), (3, vec![NO_PARTITION; 3]), "built without the flags of .cargo/config.toml?");
    }
}
