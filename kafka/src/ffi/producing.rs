//! Handing records to librdkafka and taking their fates from it.
//!
//! A record costs no allocation beyond librdkafka's own copy, unless it has headers: topics are looked up once, and what
//! the caller keeps with a record is a pointer or a number.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::IntoOpaque;
use sys::rd_kafka_vtype_t as Field;

use super::code::{self, ErrorCode};
use super::native::{Event, Native, Served};
use super::{ErrorText, Owned, c_text, text};
use crate::error::{Error, Result};
use crate::health::HealthSource;
use crate::record::{Header, RecordPosition, RecordRef};
use crate::topic::validate_topic_name;

/// How long records that were not acknowledged may hold up the end of a client. They are settled at once; this is for a
/// thread of the library that is late.
const LAST_SETTLEMENT: Duration = Duration::from_millis(500);
/// How long an owner that serves a client waits for something to happen before it looks whether anything is left.
const LOOK: Duration = Duration::from_millis(10);
const NOT_STORED: c_int = sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED as c_int;

/// What stands in place of an offset that no broker has told.
const NO_OFFSET: i64 = -1;

/// What became of a record.
pub(crate) enum Fate {
    /// All in-sync replicas have it, if it has an offset. Without one the library only concludes that.
    Stored(RecordPosition),
    Failed {
        code: ErrorCode,
        topic: String,
        /// It may be in Kafka nevertheless.
        possibly_stored: bool,
    },
}

impl Fate {
    /// The client itself has given the record up: it is dropped, or a transaction ends.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self, Self::Failed { code, .. } if code.is(Code::PurgeQueue) || code.is(Code::PurgeInflight))
    }
}

/// Takes the fates of records, on the thread that serves the client.
pub(crate) trait Settle: Send + Sync + 'static {
    /// What is kept with each record until then.
    type Ticket: IntoOpaque;

    /// Called with the records of one report, each once and in their order within a partition.
    fn settle(&self, fates: impl Iterator<Item = (Self::Ticket, Fate)>);

    /// Called after that with how many of these records are stored in a partition, once for many that follow one another there.
    fn stored(&self, topic: &str, partition: i32, count: u64);

    /// Called after these, with the number of records, once the buffer has room for as many again.
    fn settled(&self, count: usize);
}

/// [`Settle`] for tickets of any type.
pub(super) trait Deliveries: Send + Sync {
    /// Takes the records of a report and says how many they are.
    ///
    /// # Safety
    /// The event is a delivery report, and every record of its client carries a ticket of this implementation's type.
    unsafe fn take(&self, report: &Event) -> usize;

    fn settled(&self, count: usize);
}

struct Reports<S>(Arc<S>);

/// Records of a report that are stored in one partition, one after the other.
struct Run {
    topic: *mut sys::rd_kafka_topic_t,
    partition: i32,
    count: u64,
}

impl<S: Settle> Reports<S> {
    /// # Safety
    /// The topic of the run, if it has a record, is alive.
    unsafe fn tell(&self, run: &Run) {
        if run.count > 0 {
            // SAFETY: the caller's promise.
            let topic = unsafe { text(sys::rd_kafka_topic_name(run.topic)) };
            self.0.stored(&topic.unwrap_or_default(), run.partition, run.count);
        }
    }
}

impl<S: Settle> Deliveries for Reports<S> {
    unsafe fn take(&self, report: &Event) -> usize {
        let (mut count, mut is_placed) = (0, true);
        let mut runs: Vec<Run> = Vec::new();
        let mut fates = std::iter::from_fn(|| {
            // SAFETY: the event is alive, and so are its messages as long as it.
            let message = unsafe { sys::rd_kafka_event_message_next(report.ptr()) };
            if message.is_null() {
                return None;
            }
            // SAFETY: as above. Each message is met once, so that its ticket is taken back once, as the type it was given as.
            let (topic, ticket, mut fate) = unsafe { ((*message).rkt, S::Ticket::from_ptr((*message)._private), read_fate(message)) };
            // Behind the first of a batch the library counts on, also from no offset at all.
            if let Fate::Stored(RecordPosition { partition, offset }) = &mut fate {
                is_placed &= *offset >= 0;
                *offset = if is_placed { *offset } else { NO_OFFSET };
                match runs.last_mut() {
                    Some(run) if (run.topic, run.partition) == (topic, *partition) => run.count += u64::from(is_placed),
                    _ => runs.push(Run { topic, partition: *partition, count: u64::from(is_placed) }),
                }
            }
            count += 1;
            Some((ticket, fate))
        });
        self.0.settle(fates.by_ref());
        // What was left is not forgotten by the library otherwise.
        fates.for_each(drop);
        for run in &runs {
            // SAFETY: the event is alive, and so are the topics of its messages.
            unsafe { self.tell(run) };
        }
        count
    }

    fn settled(&self, count: usize) {
        self.0.settled(count);
    }
}

/// Whether the text is part of the program, and not of memory that it has asked for. The text is not read.
///
/// Of a batch in which Kafka refuses a single record, the library says of all that they are invalid (`rd_kafka_dr_msgq0` of 2.12.1).
/// The words that go with it tell them apart: those of a record that is not at fault are the library's own. The words of one that is
/// at fault were Kafka's; the memory that they were in is free by now.
fn is_constant(text: *const c_char) -> bool {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked for, and the answer, which is not read, has room.
    unsafe { libc::dladdr(text.cast(), found.as_mut_ptr()) != 0 }
}

/// # Safety
/// The message belongs to a delivery report that is alive.
unsafe fn read_fate(message: *const sys::rd_kafka_message_t) -> Fate {
    // SAFETY: the caller's promise. No reference is made of the message, because its error code may be any number.
    unsafe {
        let mut code = ErrorCode::at(&raw const (*message).err);
        if [Code::InvalidRecord, Code::InvalidTimestamp].iter().any(|of| code.is(*of))
            && is_constant(sys::rd_kafka_message_produce_errstr(message))
        {
            code = Code::InvalidDifferentRecord.into();
        }
        if !code.is_error() {
            return Fate::Stored(RecordPosition { partition: (*message).partition, offset: (*message).offset });
        }
        Fate::Failed {
            code,
            topic: text(sys::rd_kafka_topic_name((*message).rkt)).unwrap_or_default(),
            possibly_stored: code::rd_kafka_message_status(message) != NOT_STORED,
        }
    }
}

/// Why a record was not taken.
pub(crate) enum Refused {
    /// The buffer is full.
    Full,
    Failed(Error),
}

struct Topic(Owned<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's topic handles are reference-counted and locked inside; the wrapper has no other state.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// A client that writes records. Destroying it blocks; what is not acknowledged then fails as purged.
pub(crate) struct Producing<S: Settle> {
    // Before the client, which must not be destroyed while there are handles.
    topics: RwLock<BTreeMap<Box<str>, Topic>>,
    native: Native,
    settle: PhantomData<fn(S)>,
}

impl<S: Settle> Producing<S> {
    pub(crate) fn start(config: &ClientConfig, health: Arc<HealthSource>, settle: Arc<S>, served: Served) -> Result<Self> {
        let native = Native::for_writing(config, health, Box::new(Reports(settle)), served)?;
        Ok(Self { topics: RwLock::default(), native, settle: PhantomData })
    }

    pub(crate) fn native(&self) -> &Native {
        &self.native
    }

    /// Takes the fates that are known, on this thread, where the owner is to serve the client.
    pub(crate) fn serve(&self) {
        self.native.serve_blocking(Duration::ZERO);
    }

    /// Waits until there may be something to serve.
    pub(crate) async fn changed(&self) {
        self.native.changed().await;
    }

    /// Hands a record over. Does not block. A record that is refused gives its ticket back.
    pub(crate) fn produce(&self, record: &RecordRef<'_>, ticket: S::Ticket) -> std::result::Result<(), (Refused, S::Ticket)> {
        let headers = match native_headers(record.headers) {
            Ok(headers) => headers,
            Err(error) => return Err((Refused::Failed(error), ticket)),
        };
        let ticket = ticket.into_ptr();
        let code = match self.with_topic(record.topic, |topic| self.hand_over(topic, record, headers.as_ref(), ticket)) {
            Ok(code) if !code.is_error() => {
                // The record owns its headers now.
                std::mem::forget(headers);
                return Ok(());
            }
            Ok(code) if code.is(Code::QueueFull) => Refused::Full,
            Ok(code) => Refused::Failed(self.refusal(code, record.topic)),
            Err(error) => Refused::Failed(error),
        };
        // SAFETY: the record was not taken, so this is the only copy of the pointer that the ticket became above.
        Err((code, unsafe { S::Ticket::from_ptr(ticket) }))
    }

    fn hand_over(
        &self,
        topic: &Topic,
        record: &RecordRef<'_>,
        headers: Option<&Owned<sys::rd_kafka_headers_t>>,
        ticket: *mut c_void,
    ) -> ErrorCode {
        let parts = |bytes: Option<&[u8]>| bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
        let (payload, payload_size) = parts(record.payload);
        let (key, key_size) = parts(record.key);
        // SAFETY: client and topic are alive. The fields are given with the types that librdkafka reads for each; key and
        // payload are alive for the call and copied, and a null pointer stands for Kafka's null.
        unsafe {
            code::rd_kafka_producev(
                self.native.client.native_ptr(),
                Field::RD_KAFKA_VTYPE_RKT as c_uint,
                topic.0.ptr(),
                Field::RD_KAFKA_VTYPE_PARTITION as c_uint,
                record.partition.unwrap_or(-1),
                Field::RD_KAFKA_VTYPE_MSGFLAGS as c_uint,
                sys::RD_KAFKA_MSG_F_COPY,
                Field::RD_KAFKA_VTYPE_VALUE as c_uint,
                payload,
                payload_size,
                Field::RD_KAFKA_VTYPE_KEY as c_uint,
                key,
                key_size,
                Field::RD_KAFKA_VTYPE_OPAQUE as c_uint,
                ticket,
                Field::RD_KAFKA_VTYPE_TIMESTAMP as c_uint,
                record.timestamp_ms.unwrap_or(0),
                Field::RD_KAFKA_VTYPE_HEADERS as c_uint,
                headers.map_or(ptr::null_mut(), Owned::ptr),
                Field::RD_KAFKA_VTYPE_END as c_uint,
            )
        }
    }

    fn with_topic<T>(&self, name: &str, work: impl FnOnce(&Topic) -> T) -> Result<T> {
        {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(topic) = topics.get(name) {
                return Ok(work(topic));
            }
        }
        validate_topic_name(name)?;
        let c_name = c_text(name)?;
        // SAFETY: client and name are alive; the name is copied. The handle is a reference of our own.
        let handle = unsafe { sys::rd_kafka_topic_new(self.native.client.native_ptr(), c_name.as_ptr(), ptr::null_mut()) };
        let topic = Topic(Owned::new(handle, sys::rd_kafka_topic_destroy)?);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        Ok(work(topics.entry(name.into()).or_insert(topic)))
    }

    fn refusal(&self, code: ErrorCode, topic: &str) -> Error {
        self.fatal_error().unwrap_or_else(|| code.into_error(code.to_string(), Some(topic)))
    }

    /// Why the client has failed for good, if it has.
    pub(crate) fn fatal_error(&self) -> Option<Error> {
        let mut words = ErrorText::new();
        // SAFETY: the client is alive, and the buffer has the size that is told.
        let code = unsafe { code::rd_kafka_fatal_error(self.native.client.native_ptr(), words.ptr(), ErrorText::SIZE) };
        code.is_error().then(|| match code.into_error(words.read(), None) {
            error @ (Error::Fenced { .. } | Error::Authorization { .. }) => error,
            error => Error::Fatal { message: error.to_string() },
        })
    }
}

impl<S: Settle> Drop for Producing<S> {
    fn drop(&mut self) {
        let client = self.native.client.native_ptr();
        let deadline = Instant::now() + LAST_SETTLEMENT;
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_purge(client, sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT) };
        // SAFETY: as above. What is not served by the owner, the background thread takes meanwhile.
        while unsafe { sys::rd_kafka_flush(client, 1) } != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && Instant::now() < deadline {
            self.native.serve_blocking(LOOK);
        }
    }
}

fn native_headers(headers: &[Header]) -> Result<Option<Owned<sys::rd_kafka_headers_t>>> {
    if headers.is_empty() {
        return Ok(None);
    }
    // SAFETY: no argument is a pointer; the list is ours.
    let list = Owned::new(unsafe { sys::rd_kafka_headers_new(headers.len()) }, sys::rd_kafka_headers_destroy)?;
    for header in headers {
        if header.name.contains('\0') {
            let message = format!("header name {:?} contains a zero byte", header.name);
            return Err(Error::InvalidRequest { code: Code::InvalidArgument as i32, message });
        }
        let (value, size) = header.value.as_deref().map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
        let length = |size: usize| isize::try_from(size).unwrap_or(isize::MAX);
        // SAFETY: name and value are alive, have these lengths and are copied.
        unsafe {
            sys::rd_kafka_header_add(list.ptr(), header.name.as_ptr().cast(), length(header.name.len()), value.cast(), length(size));
        }
    }
    Ok(Some(list))
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn the_words_of_the_library_are_told_from_those_of_kafka() {
        let (own, kafkas) = (c"part of a batch".as_ptr(), CString::new("part of a batch").unwrap());
        // SAFETY: the library says what a code means in a text of its own.
        let librarys = unsafe { sys::rd_kafka_err2str(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) };
        assert_eq!([own, librarys, kafkas.as_ptr(), ptr::null()].map(is_constant), [true, true, false, false]);
    }
}
