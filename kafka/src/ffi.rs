//! The calls of librdkafka that rdkafka's safe API lacks: administrative requests with the broker's own messages and
//! topic ids, and polling with the partition an event belongs to. The only `unsafe` code of the workspace.
//!
//! Everything that leaves this file is an owned, safe value. Replies arrive on librdkafka's background thread, are read
//! there and sent through a channel: no caller blocks and nothing is polled.
#![allow(unsafe_code, reason = "the one place that speaks to the C library")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::health::{self, Health, HealthSource, client_context};
use crate::record::{ConsumedRecord, Header, TopicPartition};
use crate::topic::{
    BrokerInfo, ClusterDescription, ConfigDelta, ConfigEntry, ConfigSource, NewTopic, PartitionInfo, PerTopic, TopicConfig,
    TopicDescription, TopicId,
};

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

struct Queue(Owned<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are documented as thread-safe; the wrapper has no other state.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// Reads a reply on the background thread and hands it to the waiting caller.
type Reader = Box<dyn FnOnce(&Event) + Send>;

struct Context {
    health: HealthSource,
    waiting: Mutex<HashMap<usize, Reader>>,
    next: AtomicUsize,
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
struct Event(Owned<sys::rd_kafka_event_t>);

impl Event {
    fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0.ptr()
    }

    fn kind(&self) -> i32 {
        // SAFETY: the event is alive as long as `self`.
        unsafe { sys::rd_kafka_event_type(self.ptr()) }
    }

    fn code(&self) -> RDKafkaRespErr {
        // SAFETY: as above.
        unsafe { sys::rd_kafka_event_error(self.ptr()) }
    }

    fn message(&self) -> String {
        // SAFETY: as above; the text lives as long as the event and is copied.
        unsafe { text(sys::rd_kafka_event_error_string(self.ptr())) }.unwrap_or_default()
    }

    /// The error of the request as a whole.
    fn check(&self) -> Result<()> {
        let code = self.code();
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        let message = self.message();
        // librdkafka names the state a request timed out in. Only a request that was sent can have had an effect.
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT && !message.contains("waiting for response") {
            return Err(Error::Unreachable { reason: message });
        }
        Err(Error::from_code(code.into(), message, None))
    }
}

/// A librdkafka client with a background thread that serves its replies, logs and errors.
pub(crate) struct Native {
    background: Queue,
    messages: Option<Queue>,
    client: Client<Context>,
}

impl Native {
    /// A client for requests only.
    pub(crate) fn for_requests(config: &ClientConfig) -> Result<Self> {
        Self::new(config, RDKafkaType::RD_KAFKA_PRODUCER)
    }

    /// A client that can also read partitions.
    pub(crate) fn for_reading(config: &ClientConfig) -> Result<Self> {
        Self::new(config, RDKafkaType::RD_KAFKA_CONSUMER)
    }

    fn new(config: &ClientConfig, kind: RDKafkaType) -> Result<Self> {
        let failed = |error| Error::from_rdkafka(&error, None);
        let native = config.create_native_config().map_err(failed)?;
        // SAFETY: the configuration is alive and not yet given to a client. The callbacks' opaque is the context, which
        // `Client` sets and keeps until after the client, and with it the background thread, is destroyed.
        unsafe {
            sys::rd_kafka_conf_set_background_event_cb(native.ptr(), Some(on_event));
            sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_STATS);
            sys::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
        }
        let context = Context { health: HealthSource::new(), waiting: Mutex::new(HashMap::new()), next: AtomicUsize::new(1) };
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
        unsafe {
            sys::rd_kafka_queue_forward(main.ptr(), background.ptr());
            sys::rd_kafka_set_log_queue(rk, background.ptr());
        }
        let messages = match kind {
            RDKafkaType::RD_KAFKA_CONSUMER => {
                // SAFETY: as for the other queues.
                let queue = unsafe { sys::rd_kafka_queue_get_consumer(rk) };
                Some(Queue(Owned::new(queue, sys::rd_kafka_queue_destroy)?))
            }
            RDKafkaType::RD_KAFKA_PRODUCER => None,
        };
        Ok(Self { background: Queue(background), messages, client })
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
    async fn request<T: Send + 'static>(
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
        let call = Call { rk, options: options.ptr(), queue: self.background.0.ptr(), _native: self };
        if let Err(error) = send(&call) {
            context.take(id);
            return Err(error);
        }
        Ok(receiver)
    }
}

/// What every request takes besides its own arguments. Lives no longer than the client and the options it points to.
struct Call<'a> {
    rk: *mut sys::rd_kafka_t,
    options: *const sys::rd_kafka_AdminOptions_t,
    queue: *mut sys::rd_kafka_queue_t,
    _native: &'a Native,
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

/// The context of a client, from the opaque pointer its callbacks get.
///
/// # Safety
/// The pointer is what `Client` set when it was made; it outlives the client and all its threads.
unsafe fn context<'a>(opaque: *mut c_void) -> Option<&'a Context> {
    // SAFETY: the caller's promise.
    unsafe { opaque.cast::<Context>().as_ref() }
}

/// Takes an error, statistics or the reply to a request on librdkafka's background thread.
unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, event: *mut sys::rd_kafka_event_t, opaque: *mut c_void) {
    let Ok(event) = Owned::new(event, sys::rd_kafka_event_destroy).map(Event) else {
        return;
    };
    // SAFETY: librdkafka calls with the client's opaque.
    let Some(context) = (unsafe { context(opaque) }) else {
        return;
    };
    match event.kind() {
        sys::RD_KAFKA_EVENT_ERROR => {
            context.health.error(Some(event.code().into()), &event.message());
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
    let level = match level {
        0..=2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 | 6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    };
    // SAFETY: librdkafka calls with texts or null.
    let (facility, message) = unsafe { (text(facility), text(message)) };
    health::log(level, &facility.unwrap_or_default(), &message.unwrap_or_default());
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

// Topics

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

fn invalid_argument(message: String) -> Error {
    Error::InvalidRequest { code: Code::InvalidArgument as i32, message }
}

fn topic_results(results: &[*const sys::rd_kafka_topic_result_t]) -> PerTopic<()> {
    let read = |result: &*const sys::rd_kafka_topic_result_t| {
        // SAFETY: the caller took the array from a reply that is still alive.
        let (name, code, message) = unsafe {
            (
                text(sys::rd_kafka_topic_result_name(*result)).unwrap_or_default(),
                sys::rd_kafka_topic_result_error(*result),
                text(sys::rd_kafka_topic_result_error_string(*result)).unwrap_or_default(),
            )
        };
        let outcome = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Error::from_code(code.into(), message, Some(&name))),
        };
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
        let code = sys::rd_kafka_error_code(error);
        if !error.is_null() && code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let message = text(sys::rd_kafka_error_string(error)).unwrap_or_default();
            let error = Error::from_code(code.into(), message, Some(&name));
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

/// # Safety
/// The node is null or belongs to a reply that is alive.
unsafe fn node_id(node: *const sys::rd_kafka_Node_t) -> Option<i32> {
    if node.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { sys::rd_kafka_Node_id(node) }).filter(|id| *id >= 0)
}

/// # Safety
/// The nodes belong to a reply that is alive.
unsafe fn node_ids(nodes: &[*const sys::rd_kafka_Node_t]) -> Vec<i32> {
    // SAFETY: the caller's promise.
    nodes.iter().filter_map(|node| unsafe { node_id(*node) }).collect()
}

// Configuration

impl Native {
    /// Reads the configuration of topics.
    pub(crate) async fn describe_configs(&self, names: &[&str], timeout: Duration) -> Result<PerTopic<TopicConfig>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let send = |call: &Call<'_>| {
            let resources = names.iter().map(|name| topic_resource(name)).collect::<Result<Vec<_>>>()?;
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_DescribeConfigs(call.rk, pointers(&resources).as_mut_ptr(), resources.len(), call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array and all it points to live as long as it.
            unsafe {
                let result = sys::rd_kafka_event_DescribeConfigs_result(event.ptr());
                let resources = array(sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count), count);
                Ok(resources.iter().map(|resource| read_resource(*resource, read_entries)).collect())
            }
        })
        .await
    }

    /// Sets and removes single configuration keys (KIP-339); all other keys keep their values.
    pub(crate) async fn alter_configs(&self, deltas: &[&ConfigDelta], timeout: Duration) -> Result<PerTopic<()>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let send = |call: &Call<'_>| {
            let resources = deltas.iter().map(|delta| delta_resource(delta)).collect::<Result<Vec<_>>>()?;
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_IncrementalAlterConfigs(
                    call.rk,
                    pointers(&resources).as_mut_ptr(),
                    resources.len(),
                    call.options,
                    call.queue,
                );
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array and all it points to live as long as it.
            unsafe {
                let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
                let resources = array(sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count), count);
                Ok(resources.iter().map(|resource| read_resource(*resource, |_| ())).collect())
            }
        })
        .await
    }
}

fn topic_resource(name: &str) -> Result<Owned<sys::rd_kafka_ConfigResource_t>> {
    let name = c_text(name)?;
    // SAFETY: the name is alive and copied.
    let resource = unsafe { sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr()) };
    Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)
}

fn delta_resource(delta: &ConfigDelta) -> Result<Owned<sys::rd_kafka_ConfigResource_t>> {
    use sys::rd_kafka_AlterConfigOpType_t as Op;
    let resource = topic_resource(&delta.topic)?;
    let set = delta.set.iter().map(|(key, value)| (key, Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(value)));
    let unset = delta.unset.iter().map(|key| (key, Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None));
    for (key, operation, value) in set.chain(unset) {
        let c_key = c_text(key)?;
        let c_value = value.map(|value| c_text(value)).transpose()?;
        let value = c_value.as_ref().map_or(ptr::null(), |value| value.as_ptr());
        // SAFETY: everything is alive; the texts are copied. A returned error is ours to destroy.
        let problem = unsafe { sys::rd_kafka_ConfigResource_add_incremental_config(resource.ptr(), c_key.as_ptr(), operation, value) };
        if let Ok(problem) = Owned::new(problem, sys::rd_kafka_error_destroy) {
            // SAFETY: the error lives until the end of this block; its text is copied.
            let message = unsafe { text(sys::rd_kafka_error_string(problem.ptr())) }.unwrap_or_default();
            return Err(Error::InvalidConfig { message: format!("{key}: {message}") });
        }
    }
    Ok(resource)
}

/// # Safety
/// The resource belongs to a reply that is alive.
unsafe fn read_resource<T>(
    resource: *const sys::rd_kafka_ConfigResource_t,
    read: unsafe fn(*const sys::rd_kafka_ConfigResource_t) -> T,
) -> (String, Result<T>) {
    // SAFETY: the caller's promise covers the resource and what it points to.
    unsafe {
        let name = text(sys::rd_kafka_ConfigResource_name(resource)).unwrap_or_default();
        match sys::rd_kafka_ConfigResource_error(resource) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => (name, Ok(read(resource))),
            code => {
                let message = text(sys::rd_kafka_ConfigResource_error_string(resource)).unwrap_or_default();
                let error = Error::from_code(code.into(), message, Some(&name));
                (name, Err(error))
            }
        }
    }
}

/// # Safety
/// The resource belongs to a reply that is alive.
unsafe fn read_entries(resource: *const sys::rd_kafka_ConfigResource_t) -> TopicConfig {
    let mut count = 0;
    // SAFETY: the caller's promise covers the resource and its entries.
    let entries = unsafe { array(sys::rd_kafka_ConfigResource_configs(resource, &mut count), count) };
    let read = |entry: &*const sys::rd_kafka_ConfigEntry_t| {
        // SAFETY: as above.
        unsafe {
            let name = text(sys::rd_kafka_ConfigEntry_name(*entry)).unwrap_or_default();
            let value = ConfigEntry {
                value: text(sys::rd_kafka_ConfigEntry_value(*entry)),
                source: config_source(sys::rd_kafka_ConfigEntry_source(*entry)),
                is_default: sys::rd_kafka_ConfigEntry_is_default(*entry) == 1,
                is_sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(*entry) == 1,
                is_read_only: sys::rd_kafka_ConfigEntry_is_read_only(*entry) == 1,
            };
            (name, value)
        }
    };
    TopicConfig { entries: entries.iter().map(read).collect() }
}

fn config_source(source: sys::rd_kafka_ConfigSource_t) -> ConfigSource {
    use sys::rd_kafka_ConfigSource_t as Source;
    match source {
        Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => ConfigSource::DynamicTopic,
        Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG => ConfigSource::DynamicBroker,
        Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG => ConfigSource::DynamicDefaultBroker,
        Source::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG => ConfigSource::StaticBroker,
        Source::RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG => ConfigSource::Default,
        _ => ConfigSource::Other,
    }
}

// Cluster and offsets

impl Native {
    /// Asks a broker for the cluster. The version is not part of that answer.
    pub(crate) async fn describe_cluster(&self, timeout: Duration) -> Result<ClusterDescription> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let send = |call: &Call<'_>| {
            // SAFETY: all arguments are alive for the call.
            unsafe { sys::rd_kafka_DescribeCluster(call.rk, call.options, call.queue) };
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; what it points to lives as long as it.
            unsafe {
                let result = sys::rd_kafka_event_DescribeCluster_result(event.ptr());
                let nodes = array(sys::rd_kafka_DescribeCluster_result_nodes(result, &mut count), count);
                let mut brokers: Vec<_> = nodes.iter().map(|node| read_broker(*node)).collect();
                brokers.sort_by_key(|broker| broker.id);
                Ok(ClusterDescription {
                    cluster_id: text(sys::rd_kafka_DescribeCluster_result_cluster_id(result)).unwrap_or_default(),
                    controller: node_id(sys::rd_kafka_DescribeCluster_result_controller(result)),
                    brokers,
                    version: None,
                })
            }
        })
        .await
    }

    /// The first or the next offset of partitions. A partition that failed carries its error.
    pub(crate) async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        edge: Edge,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Result<i64>)>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let send = |call: &Call<'_>| {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for partition in partitions {
                c_text(&partition.topic)?;
                list.add_partition(&partition.topic, partition.partition);
            }
            // SAFETY: the list is alive and has the number of elements it says; librdkafka copies it.
            unsafe {
                let native = &mut *list.ptr();
                let count = usize::try_from(native.cnt).unwrap_or_default();
                if !native.elems.is_null() {
                    for element in std::slice::from_raw_parts_mut(native.elems, count) {
                        element.offset = edge as i64;
                    }
                }
                sys::rd_kafka_ListOffsets(call.rk, native, call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; what it points to lives as long as it.
            unsafe {
                let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
                let infos = array(sys::rd_kafka_ListOffsets_result_infos(result, &mut count), count);
                Ok(infos.iter().filter_map(|info| read_offset(*info)).collect())
            }
        })
        .await
    }
}

/// Which end of a partition, by the number that the protocol has for it.
#[derive(Clone, Copy)]
pub(crate) enum Edge {
    Start = -2,
    End = -1,
}

/// # Safety
/// The node belongs to a reply that is alive.
unsafe fn read_broker(node: *const sys::rd_kafka_Node_t) -> BrokerInfo {
    // SAFETY: the caller's promise.
    unsafe {
        BrokerInfo {
            id: sys::rd_kafka_Node_id(node),
            host: text(sys::rd_kafka_Node_host(node)).unwrap_or_default(),
            port: sys::rd_kafka_Node_port(node),
            rack: text(sys::rd_kafka_Node_rack(node)).filter(|rack| !rack.is_empty()),
        }
    }
}

/// # Safety
/// The info belongs to a reply that is alive.
unsafe fn read_offset(info: *const sys::rd_kafka_ListOffsetsResultInfo_t) -> Option<(TopicPartition, Result<i64>)> {
    // SAFETY: the caller's promise covers the info and the partition it points to.
    let (topic, partition) = unsafe {
        let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info).as_ref()?;
        (text(partition.topic)?, partition)
    };
    let outcome = match partition.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(partition.offset),
        code => {
            let code = Code::from(code);
            Err(Error::from_code(code, code, Some(&topic)))
        }
    };
    Some((TopicPartition::new(topic, partition.partition), outcome))
}

// Reading

/// What one poll brought.
pub(crate) enum Polled {
    Nothing,
    Record(ConsumedRecord),
    /// Everything that is committed now was read from this partition.
    EndOfPartition(TopicPartition),
    Failed {
        partition: Option<TopicPartition>,
        code: Code,
        message: String,
    },
}

impl Native {
    /// Waits up to `timeout` for the next record or event of the assigned partitions. Blocks.
    pub(crate) fn poll_blocking(&self, timeout: Duration) -> Polled {
        let Some(queue) = &self.messages else { return Polled::Nothing };
        let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is alive. A returned event is ours to destroy; null means that the time passed.
        let event = unsafe { sys::rd_kafka_queue_poll(queue.0.ptr(), timeout) };
        let Ok(event) = Owned::new(event, sys::rd_kafka_event_destroy).map(Event) else { return Polled::Nothing };
        match event.kind() {
            sys::RD_KAFKA_EVENT_FETCH => {
                // SAFETY: the event is alive; the message lives as long as it and is copied.
                let record = unsafe { read_message(sys::rd_kafka_event_message_next(event.ptr())) };
                record.map_or(Polled::Nothing, Polled::Record)
            }
            sys::RD_KAFKA_EVENT_ERROR => {
                let code = Code::from(event.code());
                match (code, event_partition(&event)) {
                    (Code::PartitionEOF, Some(partition)) => Polled::EndOfPartition(partition),
                    (code, partition) => Polled::Failed { partition, code, message: event.message() },
                }
            }
            _ => Polled::Nothing,
        }
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
    let (code, message) = unsafe { (sys::rd_kafka_error_code(error.ptr()), text(sys::rd_kafka_error_string(error.ptr()))) };
    Err(Error::from_code(code.into(), message.unwrap_or_default(), None))
}

fn event_partition(event: &Event) -> Option<TopicPartition> {
    // SAFETY: the event is alive; the returned copy is ours to destroy.
    let partition = unsafe { sys::rd_kafka_event_topic_partition(event.ptr()) };
    let partition = Owned::new(partition, sys::rd_kafka_topic_partition_destroy).ok()?;
    // SAFETY: the copy lives until the end of this function; its name is copied.
    unsafe { Some(TopicPartition::new(text((*partition.ptr()).topic)?, (*partition.ptr()).partition)) }
}

/// Copies a message of rdkafka. Its own accessors panic on header names that are not UTF-8, which any producer can send.
pub(crate) fn consumed_record(message: &BorrowedMessage<'_>) -> Option<ConsumedRecord> {
    // SAFETY: the message is alive for the call.
    unsafe { read_message(message.ptr()) }
}

/// # Safety
/// The message is null or alive.
unsafe fn read_message(message: *const sys::rd_kafka_message_t) -> Option<ConsumedRecord> {
    // SAFETY: the caller's promise; all texts and bytes live as long as the message and are copied.
    unsafe {
        let native = message.as_ref()?;
        let topic = sys::rd_kafka_topic_name(native.rkt);
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp = sys::rd_kafka_message_timestamp(message, &mut kind);
        Some(ConsumedRecord {
            topic: CStr::from_ptr(topic).to_string_lossy().into(),
            partition: native.partition,
            offset: native.offset,
            timestamp_ms: (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(timestamp),
            key: bytes(native.key, native.key_len),
            payload: bytes(native.payload, native.len),
            headers: read_headers(message),
        })
    }
}

/// # Safety
/// The message is alive.
unsafe fn read_headers(message: *const sys::rd_kafka_message_t) -> Vec<Header> {
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
            headers.push(Header { name: text(name).unwrap_or_default(), value: bytes(value, size) });
        }
    }
    headers
}

/// True if a record that failed to be delivered may still be in Kafka.
pub(crate) fn possibly_stored(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is alive for the call.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Copies bytes; a null pointer is Kafka's null.
///
/// # Safety
/// The pointer is null or points to `length` bytes.
unsafe fn bytes(pointer: *const c_void, length: usize) -> Option<Bytes> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(Bytes::copy_from_slice(unsafe { array(pointer.cast::<u8>(), length) }))
}
