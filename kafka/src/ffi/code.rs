//! Error codes and other numbers that brokers send, read as numbers.
//!
//! librdkafka passes on what it does not know. The generated bindings declare these functions with Rust enums, which must
//! never hold an unknown value, so they are declared here once more.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use crate::error::Error;

/// An error code of Kafka (positive) or of librdkafka (negative), known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ErrorCode(c_int);

impl ErrorCode {
    /// Reads the code field of a C structure.
    ///
    /// # Safety
    /// The pointer is valid for reads.
    pub(super) unsafe fn at(field: *const RDKafkaRespErr) -> Self {
        // SAFETY: the caller's promise; the enum has the size of an int, and an int may hold any value.
        Self(unsafe { field.cast::<c_int>().read() })
    }

    pub(crate) fn is_error(self) -> bool {
        self.0 != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as c_int
    }

    /// True if it is this one.
    pub(crate) fn is(self, code: Code) -> bool {
        self.0 == code as c_int
    }

    /// `None` for a code that is newer than the library.
    pub(crate) fn known(self) -> Option<Code> {
        RDKafkaRespErr::try_from(self.0).ok().map(Code::from)
    }

    /// The error of this code. `topic` is what the call was about, if one topic.
    pub(crate) fn into_error(self, message: String, topic: Option<&str>) -> Error {
        match self.known() {
            Some(code) => Error::from_code(code, message, topic),
            None => Error::Other { code: self.0, message },
        }
    }
}

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        Self(code as c_int)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => code.fmt(f),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// Is called with every answer, and for every request that goes without one. Its error code may be any number.
pub(super) type OnResponse = unsafe extern "C" fn(
    client: *mut sys::rd_kafka_t,
    socket: c_int,
    broker: *const c_char,
    broker_id: i32,
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    size: usize,
    round_trip: i64,
    error: c_int,
    opaque: *mut c_void,
) -> c_int;

unsafe extern "C" {
    pub(super) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> ErrorCode;
    pub(super) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> ErrorCode;
    pub(super) fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> ErrorCode;
    pub(super) fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> ErrorCode;
    pub(super) fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
    pub(super) fn rd_kafka_message_timestamp(message: *const sys::rd_kafka_message_t, kind: *mut c_int) -> i64;
    pub(super) fn rd_kafka_assign(client: *mut sys::rd_kafka_t, partitions: *const sys::rd_kafka_topic_partition_list_t) -> ErrorCode;
    pub(super) fn rd_kafka_committed(
        client: *mut sys::rd_kafka_t,
        partitions: *mut sys::rd_kafka_topic_partition_list_t,
        timeout: c_int,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_producev(client: *mut sys::rd_kafka_t, ...) -> ErrorCode;
    pub(super) fn rd_kafka_fatal_error(client: *mut sys::rd_kafka_t, text: *mut c_char, size: usize) -> ErrorCode;
    pub(super) fn rd_kafka_interceptor_add_on_response_received(
        client: *mut sys::rd_kafka_t,
        name: *const c_char,
        on_response_received: OnResponse,
        opaque: *mut c_void,
    ) -> ErrorCode;
    pub(super) fn rd_kafka_message_status(message: *const sys::rd_kafka_message_t) -> c_int;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_a_code() {
        let table =
            [(0, false, Some(Code::NoError)), (3, true, Some(Code::UnknownTopicOrPartition)), (32_000, true, None), (-9_999, true, None)];
        for (number, is_error, known) in table {
            let code = ErrorCode(number);
            assert_eq!((code.is_error(), code.known()), (is_error, known), "{number}");
        }
    }

    #[test]
    fn an_unknown_code_is_reported_as_the_number_it_is() {
        let error = ErrorCode(32_000).into_error("new in Kafka 9".to_owned(), Some("t"));
        assert_eq!(error, Error::Other { code: 32_000, message: "new in Kafka 9".to_owned() });
        let error = ErrorCode(3).into_error(String::new(), Some("t"));
        assert_eq!(error, Error::UnknownTopic { topic: "t".to_owned() });
    }
}
