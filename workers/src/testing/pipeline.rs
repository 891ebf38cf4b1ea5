//! The pipeline that a test runs, as an `EventPipeline` would declare it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use penstock_crds::worker::{DeadLetterFormat, Delivery, Ordering};
use penstock_crds::{
    name,
    worker::{
        DEFAULT_SESSION_TIMEOUT, DRAIN_TIMEOUT, DeadLetterTarget, Fetching, GroupProtocol, KafkaInput, Producing, RetryPolicy, StartFrom,
        Tier, TransactionBounds,
    },
};

const NAMESPACE: &str = "test";
const NAME: &str = "pipeline";
const PARTITIONS: i32 = 3;
/// What topics take by default, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_048_588;

/// What an `EventPipeline` says about its worker. What is not said is as in one that does not say it.
///
/// ```
/// use std::time::Duration;
/// use penstock_workers::testing::{Delivery, Pipeline};
///
/// let pipeline = Pipeline::reading(&["orders"])
///     .writing("payments")
///     .with_delivery(Delivery::AtLeastOnce)
///     .with_delays(&[Duration::from_secs(60), Duration::from_secs(600)]);
/// assert_eq!(pipeline.dead_letters(), "orders.DLT");
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(super) input: KafkaInput,
    /// The sink's topic.
    #[doc(hidden)]
    pub sink: Option<String>,
    pub(super) options: BTreeMap<String, String>,
    partitions: i32,
    limits: BTreeMap<String, usize>,
    delays: Vec<Duration>,
}

/// A topic that a test needs.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// `max.message.bytes`.
    pub max_bytes: usize,
}

impl Pipeline {
    /// `spec.source.kafka.topics`.
    #[must_use]
    pub fn reading(topics: &[&str]) -> Self {
        let first = topics.first().copied().unwrap_or_default();
        let input = KafkaInput {
            topics: topics.iter().map(ToString::to_string).collect(),
            group: format!("{NAMESPACE}.{NAME}"),
            start_from: StartFrom::Earliest,
            group_protocol: GroupProtocol::Classic,
            session_timeout: DEFAULT_SESSION_TIMEOUT,
            fetch: Fetching::default(),
            delivery: Delivery::ExactlyOnce,
            transaction: TransactionBounds::default(),
            ordering: Ordering::Key,
            concurrency: 16,
            retry: RetryPolicy::default(),
            tiers: vec![],
            held: BTreeMap::new(),
            dead_letter: DeadLetterTarget { topic: format!("{first}.DLT"), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
        };
        Self { input, sink: None, options: BTreeMap::new(), partitions: PARTITIONS, limits: BTreeMap::new(), delays: vec![] }
    }

    /// `spec.sink.kafka.topic`.
    #[must_use]
    pub fn writing(self, topic: &str) -> Self {
        Self { sink: Some(topic.to_owned()), ..self }
    }

    /// One of `spec.processor.options`.
    #[must_use]
    pub fn with_option(mut self, name: &str, value: &str) -> Self {
        self.options.insert(name.to_owned(), value.to_owned());
        self
    }

    /// How many partitions each topic has. Default 3.
    #[must_use]
    pub fn with_partitions(self, partitions: i32) -> Self {
        Self { partitions: partitions.max(1), ..self }
    }

    /// `max.message.bytes` of a topic. Nothing is compressed here. Default 1,048,588.
    #[must_use]
    pub fn with_limit(mut self, topic: &str, bytes: usize) -> Self {
        self.limits.insert(topic.to_owned(), bytes);
        self
    }

    /// `spec.delivery`.
    #[must_use]
    pub fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.input.delivery = delivery;
        self
    }

    /// `spec.ordering`.
    #[must_use]
    pub fn with_ordering(mut self, ordering: Ordering) -> Self {
        self.input.ordering = ordering;
        self
    }

    /// `spec.concurrency`.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: u16) -> Self {
        self.input.concurrency = concurrency;
        self
    }

    /// `spec.retry.attempts`.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u16) -> Self {
        self.input.retry.attempts = attempts;
        self
    }

    /// `spec.retry.backoff`.
    #[must_use]
    pub fn with_backoff(mut self, initial: Duration, max: Duration) -> Self {
        (self.input.retry.initial_backoff, self.input.retry.max_backoff) = (initial, max);
        self
    }

    /// `spec.retry.delays`.
    #[must_use]
    pub fn with_delays(self, delays: &[Duration]) -> Self {
        Self { delays: delays.to_vec(), ..self }
    }

    /// `spec.deadLetter`.
    #[must_use]
    pub fn with_dead_letters(mut self, topic: &str, format: DeadLetterFormat) -> Self {
        (self.input.dead_letter.topic, self.input.dead_letter.format) = (topic.to_owned(), format);
        self
    }

    /// The name of the dead letter topic.
    #[must_use]
    pub fn dead_letters(&self) -> &str {
        &self.input.dead_letter.topic
    }

    /// The name of the retry topic of a source topic, counted from 1 as the delays are.
    #[must_use]
    pub fn retry_topic(&self, source: &str, number: usize) -> String {
        name::retry_topic(source, &self.input.group, number)
    }

    /// The name of the topic in which records wait behind others of their key that are in a retry topic.
    #[must_use]
    pub fn held_topic(&self, source: &str) -> String {
        name::held_topic(source, &self.input.group)
    }

    /// What the worker gets, as the operator would write it.
    #[doc(hidden)]
    #[must_use]
    pub fn input(&self) -> KafkaInput {
        let beside = |topic: &dyn Fn(&str) -> String| self.input.topics.iter().map(|source| (source.clone(), topic(source))).collect();
        let tier = |(number, delay): (usize, &Duration)| Tier { delay: *delay, topics: beside(&|source| self.retry_topic(source, number)) };
        let holds_back = !self.delays.is_empty() && self.input.ordering != Ordering::None;
        KafkaInput {
            tiers: (1..).zip(&self.delays).map(tier).collect(),
            held: if holds_back { beside(&|source| self.held_topic(source)) } else { BTreeMap::new() },
            ..self.input.clone()
        }
    }

    /// How it writes.
    pub(super) fn producing() -> Producing {
        Producing::default()
    }

    /// How long a worker may take to finish.
    pub(super) fn drain_timeout() -> Duration {
        DRAIN_TIMEOUT
    }

    /// The pipeline's name, as `namespace/name`.
    pub(super) fn name() -> String {
        format!("{NAMESPACE}/{NAME}")
    }

    /// Every topic that is read or written.
    #[doc(hidden)]
    #[must_use]
    pub fn topics(&self) -> Vec<Needed> {
        let input = self.input();
        let read = self.read();
        let all: BTreeSet<&str> =
            read.iter().map(String::as_str).chain([input.dead_letter.topic.as_str()]).chain(self.sink.as_deref()).collect();
        let needed = |name: &str| Needed {
            name: name.to_owned(),
            partitions: self.partitions,
            max_bytes: self.limits.get(name).copied().unwrap_or(MAX_MESSAGE_BYTES),
        };
        all.into_iter().map(needed).collect()
    }

    /// Every topic that is read: the source topics and those beside them.
    pub(super) fn read(&self) -> Vec<String> {
        let input = self.input();
        let beside = input.tiers.iter().flat_map(|tier| tier.topics.values()).chain(input.held.values());
        input.topics.iter().chain(beside).cloned().collect()
    }
}
