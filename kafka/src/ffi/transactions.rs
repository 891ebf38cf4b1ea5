//! The calls of a transaction (KIP-98, KIP-447). Each blocks until it has an answer or its time is over.
//!
//! librdkafka repeats a request whose answer it misses. The first one may still be on its way and would then count for the
//! next transaction, because brokers tell them apart only by the producer's epoch: such a client says so
//! ([`Native::went_unanswered`]) and must not begin another transaction.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use super::code;
use super::native::{self, Native};
use super::{Owned, c_text, offset_list, text};
use crate::consumer::{GroupMetadata, GroupOffset};
use crate::error::{Error, Result};

/// The property that makes a producer transactional.
pub(crate) const TRANSACTIONAL_ID: &str = "transactional.id";
/// AddPartitionsToTxn, AddOffsetsToTxn, EndTxn and TxnOffsetCommit, by their numbers in the protocol.
const TRANSACTION_REQUESTS: [i16; 4] = [24, 25, 26, 28];
const WATCH: *const c_char = c"penstock".as_ptr();

/// Why a call of a transaction did not succeed.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// The transaction cannot be committed any more, but aborted.
    pub(crate) abortable: bool,
    /// The same call may succeed later.
    pub(crate) retriable: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, abortable: false, retriable: false }
    }
}

type Answer = std::result::Result<(), Refusal>;

impl Native {
    /// Fences earlier producers of the same transactional id and ends what they left open.
    pub(crate) fn init_transactions_blocking(&self, timeout: Duration) -> Answer {
        // SAFETY: the client is alive. A returned error is ours.
        answer(unsafe { sys::rd_kafka_init_transactions(self.client.native_ptr(), milliseconds(timeout)) })
    }

    pub(crate) fn begin_transaction_blocking(&self) -> Answer {
        // SAFETY: the client is alive. A returned error is ours.
        answer(unsafe { sys::rd_kafka_begin_transaction(self.client.native_ptr()) })
    }

    /// Whether the transaction under way has failed as a whole; if so, why. Changes nothing.
    pub(crate) fn check_transaction_blocking(&self) -> Answer {
        // Another one cannot begin meanwhile. As long as this one is well the library says no more than that.
        match self.begin_transaction_blocking() {
            Err(Refusal { error: Error::Other { code, .. }, .. }) if code == Code::State as i32 => Ok(()),
            answer => answer,
        }
    }

    /// Makes offsets of a group part of the transaction.
    pub(crate) fn send_offsets_blocking(&self, offsets: &[GroupOffset], group: &GroupMetadata, timeout: Duration) -> Answer {
        let offsets = offset_list(offsets)?;
        let group = native_group(group)?;
        // SAFETY: all arguments are alive for the call, and librdkafka copies them. A returned error is ours.
        answer(unsafe {
            let client = self.client.native_ptr();
            sys::rd_kafka_send_offsets_to_transaction(client, offsets.ptr(), group.ptr(), milliseconds(timeout))
        })
    }

    /// Sends at once what waits for company, and waits until whoever serves the client has told of every record. False: the
    /// time was over before.
    pub(crate) fn flush_blocking(&self, timeout: Duration) -> bool {
        // SAFETY: the client is alive.
        let flushed = unsafe { sys::rd_kafka_flush(self.client.native_ptr(), milliseconds(timeout)) };
        flushed == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Waits until all records are acknowledged, then commits. The background thread serves the reports meanwhile.
    pub(crate) fn commit_transaction_blocking(&self, timeout: Duration) -> Answer {
        // SAFETY: the client is alive. A returned error is ours.
        answer(unsafe { sys::rd_kafka_commit_transaction(self.client.native_ptr(), milliseconds(timeout)) })
    }

    /// Drops what was not sent yet, waits for the rest and aborts.
    pub(crate) fn abort_transaction_blocking(&self, timeout: Duration) -> Answer {
        // SAFETY: the client is alive. A returned error is ours.
        answer(unsafe { sys::rd_kafka_abort_transaction(self.client.native_ptr(), milliseconds(timeout)) })
    }

    /// True if any request of any transaction so far got no answer, even if it was repeated with success.
    pub(crate) fn went_unanswered(&self) -> bool {
        self.client.context().unanswered.load(Ordering::Acquire)
    }
}

fn milliseconds(timeout: Duration) -> c_int {
    // A negative number would mean for ever.
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

/// Takes over an error object; null is success.
fn answer(error: *mut sys::rd_kafka_error_t) -> Answer {
    let Ok(error) = Owned::new(error, sys::rd_kafka_error_destroy) else { return Ok(()) };
    // SAFETY: the error is alive; its text is copied.
    let (code, message, fatal, retriable, abortable) = unsafe {
        (
            code::rd_kafka_error_code(error.ptr()),
            text(sys::rd_kafka_error_string(error.ptr())).unwrap_or_default(),
            sys::rd_kafka_error_is_fatal(error.ptr()) != 0,
            sys::rd_kafka_error_is_retriable(error.ptr()) != 0,
            sys::rd_kafka_error_txn_requires_abort(error.ptr()) != 0,
        )
    };
    let error = match code.into_error(message, None) {
        error @ (Error::Fenced { .. } | Error::Authorization { .. }) => error,
        error if fatal => Error::Fatal { message: error.to_string() },
        error => error,
    };
    Err(Refusal { error, abortable: abortable && !fatal && !retriable, retriable })
}

fn native_group(group: &GroupMetadata) -> Result<Owned<sys::rd_kafka_consumer_group_metadata_t>> {
    let (id, member) = (c_text(&group.group)?, c_text(&group.member)?);
    let instance = group.instance.as_deref().map(c_text).transpose()?;
    let instance = instance.as_ref().map_or(ptr::null(), |instance| instance.as_ptr());
    // SAFETY: the texts are alive and copied.
    let native = unsafe { sys::rd_kafka_consumer_group_metadata_new_with_genid(id.as_ptr(), group.generation, member.as_ptr(), instance) };
    Owned::new(native, sys::rd_kafka_consumer_group_metadata_destroy)
}

/// What a consumer knows about its membership. Blocks for a moment.
pub(crate) fn group_metadata<C: ClientContext>(consumer: &Client<C>) -> Result<GroupMetadata> {
    // SAFETY: the client is alive; the returned copy is ours.
    let native = unsafe { sys::rd_kafka_consumer_group_metadata(consumer.native_ptr()) };
    let native = Owned::new(native, sys::rd_kafka_consumer_group_metadata_destroy).map_err(|_| Error::Closed)?;
    // SAFETY: the copy lives until the end of this function; its texts are copied.
    unsafe {
        Ok(GroupMetadata {
            group: text(sys::rd_kafka_consumer_group_metadata_group_id(native.ptr())).unwrap_or_default(),
            member: text(sys::rd_kafka_consumer_group_metadata_member_id(native.ptr())).unwrap_or_default(),
            instance: text(sys::rd_kafka_consumer_group_metadata_group_instance_id(native.ptr())),
            generation: sys::rd_kafka_consumer_group_metadata_generation_id(native.ptr()),
        })
    }
}

/// Watches for requests of transactions that get no answer.
pub(super) fn watch_answers(config: *mut sys::rd_kafka_conf_t) -> Result<()> {
    // SAFETY: the configuration is alive and not yet given to a client.
    match unsafe { sys::rd_kafka_conf_interceptor_add_on_new(config, WATCH, Some(on_new), ptr::null_mut()) } {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(Error::Fatal { message: format!("cannot watch the requests of transactions: {code:?}") }),
    }
}

unsafe extern "C" fn on_new(
    client: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    _: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> RDKafkaRespErr {
    // SAFETY: librdkafka calls with the client that is being made.
    unsafe { code::rd_kafka_interceptor_add_on_response_received(client, WATCH, on_response, ptr::null_mut()) };
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Is called with an answer, or with a size of zero for a request that has failed without one.
unsafe extern "C" fn on_response(
    client: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    api_key: i16,
    _: i16,
    _: i32,
    size: usize,
    _: i64,
    _: c_int,
    _: *mut c_void,
) -> c_int {
    if size == 0 && TRANSACTION_REQUESTS.contains(&api_key) {
        // SAFETY: librdkafka calls with a client that is alive, whose opaque is its context.
        if let Some(context) = unsafe { native::context(sys::rd_kafka_opaque(client)) } {
            context.unanswered.store(true, Ordering::Release);
        }
    }
    0
}
