//! A client of librdkafka with a background thread: its replies, logs and errors are served there, so that no caller
//! blocks and nothing is polled. What becomes of many records may be served by who writes them instead, and errors with it.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaType;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::{Notify, oneshot};

use super::code::{self, ErrorCode};
use super::producing::Deliveries;
use super::transactions::{TRANSACTIONAL_ID, watch_answers};
use super::{ErrorText, Owned, text};
use crate::error::{Error, Result};
use crate::health::{self, Health, HealthSource, client_context};

/// A reference of our own to a queue of librdkafka.
pub(super) struct Queue(Owned<sys::rd_kafka_queue_t>);

impl Queue {
    pub(super) fn new(queue: Owned<sys::rd_kafka_queue_t>) -> Self {
        Self(queue)
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.ptr()
    }
}

// SAFETY: librdkafka's queues are documented as thread-safe; the wrapper has no other state.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// Reads a reply on the background thread and hands it to the waiting caller.
type Reader = Box<dyn FnOnce(&Event) + Send>;

pub(super) struct Context {
    health: Arc<HealthSource>,
    waiting: Mutex<HashMap<usize, Reader>>,
    next: AtomicUsize,
    /// Where the fates of records go; `None` for a client that writes none.
    deliveries: Option<Box<dyn Deliveries>>,
    /// True once a request of a transaction went without an answer.
    pub(super) unanswered: AtomicBool,
    /// There is something for the owner to serve.
    wake: Notify,
}

client_context!(Context);

impl Context {
    fn register(&self, reader: Reader) -> usize {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, reader);
        id
    }

    fn take(&self, id: usize) -> Option<Reader> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }
}

/// An event of librdkafka.
pub(super) struct Event(Owned<sys::rd_kafka_event_t>);

impl Event {
    /// Takes an event over; `None` for a null pointer.
    pub(super) fn new(event: *mut sys::rd_kafka_event_t) -> Option<Self> {
        Owned::new(event, sys::rd_kafka_event_destroy).ok().map(Self)
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.ptr()
    }

    pub(super) fn kind(&self) -> i32 {
        // SAFETY: the event is alive as long as `self`.
        unsafe { sys::rd_kafka_event_type(self.ptr()) }
    }

    pub(super) fn code(&self) -> ErrorCode {
        // SAFETY: as above.
        unsafe { code::rd_kafka_event_error(self.ptr()) }
    }

    pub(super) fn message(&self) -> String {
        // SAFETY: as above; the text lives as long as the event and is copied.
        unsafe { text(sys::rd_kafka_event_error_string(self.ptr())) }.unwrap_or_default()
    }

    /// The error of the request as a whole.
    fn check(&self) -> Result<()> {
        let code = self.code();
        if code.is_error() { Err(failed(code, self.message())) } else { Ok(()) }
    }
}

/// Why a request as a whole has failed. Without an answer its outcome is unknown, whether the time was over or the connection broke;
/// but only a request that was sent can have had an effect, and librdkafka names the state that it failed in.
fn failed(code: ErrorCode, message: String) -> Error {
    let is_unanswered = [Code::OperationTimedOut, Code::BrokerTransportFailure, Code::DestroyBroker].into_iter().any(|lost| code.is(lost));
    let is_sent = message.contains("waiting for response") || message.contains("worker request failed");
    match (is_unanswered, is_sent) {
        (true, true) => Error::Timeout { reason: message },
        (true, false) => Error::Unreachable { reason: message },
        (false, _) => code.into_error(message, None),
    }
}

/// Who serves what happens to a client besides replies: its errors, and what becomes of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The background thread, at once.
    InBackground,
    /// Who calls [`Native::serve_blocking`]: nothing happens between two calls, and no other thread takes turns with the caller's.
    ByOwner,
}

/// A librdkafka client with a background thread that serves its replies and logs, and whatever is not left to the owner.
pub(crate) struct Native {
    background: Queue,
    /// What is served by the owner.
    own: Option<Queue>,
    pub(super) messages: Option<Queue>,
    pub(super) client: Client<Context>,
}

impl Native {
    /// A client for requests only.
    pub(crate) fn for_requests(config: &ClientConfig) -> Result<Self> {
        Self::new(config, RDKafkaType::RD_KAFKA_PRODUCER, Arc::default(), None, Served::InBackground)
    }

    /// A client that writes records.
    pub(super) fn for_writing(
        config: &ClientConfig,
        health: Arc<HealthSource>,
        deliveries: Box<dyn Deliveries>,
        served: Served,
    ) -> Result<Self> {
        Self::new(config, RDKafkaType::RD_KAFKA_PRODUCER, health, Some(deliveries), served)
    }

    /// A client that can also read partitions.
    pub(crate) fn for_reading(config: &ClientConfig) -> Result<Self> {
        Self::new(config, RDKafkaType::RD_KAFKA_CONSUMER, Arc::default(), None, Served::InBackground)
    }

    fn new(
        config: &ClientConfig,
        kind: RDKafkaType,
        health: Arc<HealthSource>,
        deliveries: Option<Box<dyn Deliveries>>,
        served: Served,
    ) -> Result<Self> {
        let failed = |error| Error::from_rdkafka(&error, None);
        let native = config.create_native_config().map_err(failed)?;
        let reports = if deliveries.is_some() { sys::RD_KAFKA_EVENT_DR } else { sys::RD_KAFKA_EVENT_NONE };
        // SAFETY: the configuration is alive and not yet given to a client. The callbacks' opaque is the context, which
        // `Client` sets and keeps until after the client, and with it the background thread, is destroyed.
        unsafe {
            sys::rd_kafka_conf_set_background_event_cb(native.ptr(), Some(on_event));
            sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_STATS | reports);
            sys::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
        }
        if config.get(TRANSACTIONAL_ID).is_some() {
            watch_answers(native.ptr())?;
        }
        let context = Context {
            health,
            waiting: Mutex::default(),
            next: AtomicUsize::new(1),
            deliveries,
            unanswered: AtomicBool::new(false),
            wake: Notify::new(),
        };
        let client = Client::new(config, native, kind, context).map_err(failed)?;
        let rk = client.native_ptr();
        // SAFETY: the client is alive; both functions return a reference of our own, which `Owned` gives back.
        let (background, main) = unsafe {
            (
                Owned::new(sys::rd_kafka_queue_get_background(rk), sys::rd_kafka_queue_destroy)?,
                Owned::new(sys::rd_kafka_queue_get_main(rk), sys::rd_kafka_queue_destroy)?,
            )
        };
        // SAFETY: all three are alive; librdkafka keeps references of its own to forwarded queues.
        unsafe { sys::rd_kafka_set_log_queue(rk, background.ptr()) };
        let own = match served {
            Served::InBackground => {
                // SAFETY: as above.
                unsafe { sys::rd_kafka_queue_forward(main.ptr(), background.ptr()) };
                None
            }
            Served::ByOwner => {
                // What was logged until now goes where all logs go.
                // SAFETY: as above; null ends the forwarding.
                unsafe {
                    sys::rd_kafka_queue_forward(main.ptr(), background.ptr());
                    sys::rd_kafka_queue_forward(main.ptr(), ptr::null_mut());
                }
                let context = ptr::from_ref::<Context>(client.context());
                // SAFETY: the queue is alive. The context lives until after the client, and with it all threads that call.
                unsafe { sys::rd_kafka_queue_cb_event_enable(main.ptr(), Some(on_change), context.cast_mut().cast()) };
                // Something may have happened before.
                client.context().wake.notify_one();
                Some(Queue(main))
            }
        };
        let messages = match kind {
            RDKafkaType::RD_KAFKA_CONSUMER => {
                // SAFETY: as for the other queues.
                let queue = unsafe { sys::rd_kafka_queue_get_consumer(rk) };
                Some(Queue(Owned::new(queue, sys::rd_kafka_queue_destroy)?))
            }
            RDKafkaType::RD_KAFKA_PRODUCER => None,
        };
        Ok(Self { background: Queue(background), own, messages, client })
    }

    /// Serves what has happened, on this thread. Waits that long for the first of it.
    pub(super) fn serve_blocking(&self, wait: Duration) {
        let Some(queue) = &self.own else { return };
        let mut wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive. A returned event is ours to destroy; null means that there is none.
        while let Some(event) = Event::new(unsafe { sys::rd_kafka_queue_poll(queue.ptr(), wait) }) {
            take(self.client.context(), event);
            wait = 0;
        }
    }

    /// Waits until there may be something to serve.
    pub(super) async fn changed(&self) {
        self.client.context().wake.notified().await;
    }

    pub(crate) fn health(&self) -> Health {
        self.client.context().health.watch()
    }

    /// The names and partition counts of all topics. Blocks up to `timeout`.
    pub(crate) fn list_blocking(&self, timeout: Duration) -> Result<Vec<(String, usize)>> {
        let metadata = self.client.fetch_metadata(None, timeout).map_err(|error| {
            match Error::from_rdkafka(&error, None) {
                // Reading metadata changes nothing, so there is no outcome to wonder about.
                Error::Timeout { reason } => Error::Unreachable { reason },
                other => other,
            }
        })?;
        self.client.context().health.connected();
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
    }

    /// Sends a request and waits for its reply.
    pub(super) async fn request<T: Send + 'static>(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        send: impl FnOnce(&Call<'_>) -> Result<()>,
        read: fn(&Event) -> Result<T>,
    ) -> Result<T> {
        let reply = self.begin(operation, timeout, send, read)?;
        reply.await.unwrap_or(Err(Error::Closed))
    }

    fn begin<T: Send + 'static>(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        send: impl FnOnce(&Call<'_>) -> Result<()>,
        read: fn(&Event) -> Result<T>,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        // A request that waits for a broker makes librdkafka connect without any backoff, thousands of times a second.
        // Without one it tries once a second to reach any broker, which is what ends this state.
        if let Some(reason) = self.client.context().health.reason() {
            return Err(Error::Unreachable { reason });
        }
        let rk = self.client.native_ptr();
        // SAFETY: the client is alive.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(rk, operation) };
        let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX).clamp(1, 3_600_000);
        let mut problem = ErrorText::new();
        // SAFETY: the options are alive, and the buffer has the size that is told. Operations that know no operation
        // timeout answer with an error, which leaves the options as they were.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(options.ptr(), milliseconds, problem.ptr(), ErrorText::SIZE);
            sys::rd_kafka_AdminOptions_set_operation_timeout(options.ptr(), milliseconds / 2, problem.ptr(), ErrorText::SIZE);
        }
        let (sender, receiver) = oneshot::channel();
        let context = self.client.context();
        let id = context.register(Box::new(move |event| {
            // The caller may have given up; then nobody is left to tell.
            let _ = sender.send(event.check().and_then(|()| read(event)));
        }));
        // SAFETY: the options are alive. The opaque is a number, never dereferenced.
        unsafe { sys::rd_kafka_AdminOptions_set_opaque(options.ptr(), ptr::without_provenance_mut(id)) };
        let call = Call { rk, options: options.ptr(), queue: self.background.ptr(), _native: self };
        if let Err(error) = send(&call) {
            context.take(id);
            return Err(error);
        }
        Ok(receiver)
    }
}

/// What every request takes besides its own arguments. Lives no longer than the client and the options it points to.
pub(super) struct Call<'a> {
    pub(super) rk: *mut sys::rd_kafka_t,
    pub(super) options: *const sys::rd_kafka_AdminOptions_t,
    pub(super) queue: *mut sys::rd_kafka_queue_t,
    _native: &'a Native,
}
/// # Safety
/// The pointer is what `Client` set when it was made; it outlives the client and all its threads.
pub(super) unsafe fn context<'a>(opaque: *mut c_void) -> Option<&'a Context> {
    // SAFETY: the caller's promise.
    unsafe { opaque.cast::<Context>().as_ref() }
}

/// Takes what librdkafka's background thread is to serve.
unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, event: *mut sys::rd_kafka_event_t, opaque: *mut c_void) {
    let Some(event) = Event::new(event) else { return };
    // SAFETY: librdkafka calls with the client's opaque.
    if let Some(context) = unsafe { context(opaque) } {
        take(context, event);
    }
}

/// Hears, on a thread of librdkafka, that there is something for the owner to serve.
unsafe extern "C" fn on_change(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: librdkafka calls with the context that was given with this function.
    if let Some(context) = unsafe { context(opaque) } {
        context.wake.notify_one();
    }
}

/// Takes an error, statistics, what became of records, or the reply to a request.
fn take(context: &Context, event: Event) {
    match event.kind() {
        sys::RD_KAFKA_EVENT_ERROR => {
            context.health.error(event.code().known(), &event.message());
        }
        sys::RD_KAFKA_EVENT_DR => {
            if let Some(deliveries) = &context.deliveries {
                // SAFETY: the event is a delivery report of the client that these deliveries were given to.
                let count = unsafe { deliveries.take(&event) };
                // What the records took of the buffer is free once the event is gone, so only then is there room.
                drop(event);
                deliveries.settled(count);
            }
        }
        sys::RD_KAFKA_EVENT_STATS => {
            // SAFETY: a statistics event carries its JSON for as long as it lives.
            let json = unsafe { text(sys::rd_kafka_event_stats(event.ptr())) };
            context.stats_raw(json.unwrap_or_default().as_bytes());
        }
        _ => {
            // SAFETY: the event is alive; requests set their number as its opaque.
            let id = unsafe { sys::rd_kafka_event_opaque(event.ptr()) }.addr();
            if event.check().is_ok() {
                context.health.connected();
            }
            if let Some(reader) = context.take(id) {
                reader(&event);
            }
        }
    }
}

/// Takes a log line, which librdkafka does not offer as an event to a background thread.
unsafe extern "C" fn on_log(_: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, message: *const c_char) {
    // SAFETY: librdkafka calls with texts or null.
    let (facility, message) = unsafe { (text(facility), text(message)) };
    health::log(log_level(level), &facility.unwrap_or_default(), &message.unwrap_or_default());
}

pub(super) fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        0..=2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 | 6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_was_sent_has_an_unknown_outcome() {
        // (code, librdkafka's words, retriable, outcome unknown)
        for (code, words, retriable, unknown) in [
            (Code::OperationTimedOut, "Failed while waiting for controller: Local: Timed out", true, false),
            (Code::OperationTimedOut, "Failed while waiting for response from broker: Local: Timed out", true, true),
            (Code::OperationTimedOut, "Timed out waiting for response from broker", true, true),
            (Code::BrokerTransportFailure, "Failed while waiting for response from broker: Local: Broker transport failure", true, true),
            (Code::BrokerTransportFailure, "CREATETOPICS worker request failed: Local: Broker transport failure", true, true),
            (Code::BrokerTransportFailure, "Failed while waiting for broker: Local: Broker transport failure", true, false),
            (Code::DestroyBroker, "Failed while waiting for response from broker: Local: Broker handle destroyed", true, true),
            (Code::NotController, "Failed while waiting for response from broker: Broker: Not controller", true, false),
            (Code::ClusterAuthorizationFailed, "CREATETOPICS worker request failed: Broker: Cluster authorization failed", false, false),
        ] {
            let error = failed(code.into(), words.to_owned());
            assert_eq!((error.is_retriable(), error.outcome_unknown()), (retriable, unknown), "{code:?} {words}: {error:?}");
        }
    }
}
