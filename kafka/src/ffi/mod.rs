//! The calls of librdkafka that rdkafka's safe API lacks. The only `unsafe` code of the workspace is in this folder.
//!
//! Everything that leaves it is an owned, safe value. Numbers that brokers send are read as numbers: a Rust enum that holds
//! a value it does not know is undefined behaviour.
#![allow(unsafe_code, reason = "the one place that speaks to the C library")]

mod cluster;
mod code;
mod configs;
mod copies;
#[cfg(librdkafka_mended)]
mod heartbeat;
#[cfg(librdkafka_mended)]
mod leader_discovery;
mod membership;
mod native;
mod offsets;
mod producing;
mod reading;
mod topics;
mod transactions;

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::record::TopicPartition;

pub(crate) use cluster::Edge;
pub(crate) use code::ErrorCode;
pub(crate) use copies::Copies;
pub(crate) use membership::{Member, MemberQueue, Move, is_cooperative, rebalance_at_close};
pub(crate) use native::{Native, Served};
pub(crate) use offsets::{committed_blocking, offset_list};
pub(crate) use producing::{Fate, Producing, Refused, Settle};
pub(crate) use reading::Polled;
pub(crate) use transactions::{Refusal, TRANSACTIONAL_ID, group_metadata};

/// A C object that is destroyed exactly once, when this value is dropped.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self> {
        match NonNull::new(pointer) {
            Some(pointer) => Ok(Self { pointer, destroy }),
            None => Err(Error::Fatal { message: "librdkafka could not allocate an object".to_owned() }),
        }
    }

    fn ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` took the object over together with its own destructor, and nothing else destroys it.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

/// The pointers of some objects, in the form that librdkafka takes arrays.
fn pointers<T>(objects: &[Owned<T>]) -> Vec<*mut T> {
    objects.iter().map(Owned::ptr).collect()
}

struct ErrorText([c_char; Self::SIZE]);

impl ErrorText {
    const SIZE: usize = 512;

    fn new() -> Self {
        Self([0; Self::SIZE])
    }

    fn ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr()
    }

    fn read(&self) -> String {
        // SAFETY: the buffer is zeroed at first and librdkafka always ends its text with a zero within the size.
        unsafe { text(self.0.as_ptr()) }.unwrap_or_default()
    }
}

/// Copies a C text; `None` for a null pointer.
///
/// # Safety
/// The pointer is null or points to a text that ends with a zero.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// A C array of `count` elements.
///
/// # Safety
/// The pointer is null or points to `count` elements that live for `'a`.
unsafe fn array<'a, T>(pointer: *const T, count: usize) -> &'a [T] {
    if pointer.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

fn c_text(value: &str) -> Result<CString> {
    CString::new(value)
        .map_err(|_| Error::InvalidRequest { code: Code::InvalidArgument as i32, message: format!("{value:?} contains a zero byte") })
}

fn invalid_argument(message: String) -> Error {
    Error::InvalidRequest { code: Code::InvalidArgument as i32, message }
}

fn partition_list(partitions: &[(TopicPartition, Offset)]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, offset) in partitions {
        c_text(&partition.topic)?;
        list.add_partition_offset(&partition.topic, partition.partition, *offset)
            .map_err(|error| Error::from_rdkafka(&error, Some(&partition.topic)))?;
    }
    Ok(list)
}

/// Takes over an error object; null is success.
fn error_object(error: *mut sys::rd_kafka_error_t) -> Result<()> {
    let Ok(error) = Owned::new(error, sys::rd_kafka_error_destroy) else { return Ok(()) };
    // SAFETY: the error is alive; its text is copied.
    let (code, message) = unsafe { (code::rd_kafka_error_code(error.ptr()), text(sys::rd_kafka_error_string(error.ptr()))) };
    Err(code.into_error(message.unwrap_or_default(), None))
}
