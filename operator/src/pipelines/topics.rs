//! Finds the topics that a pipeline names, and chooses its dead letter topic. Pure: no I/O, no clock.
//!
//! A topic belongs to a pipeline only through a `KafkaTopic` object in the same namespace and on the same Kafka cluster.
//! At most one pipeline of a namespace derives the dead letter topic of a source topic; the others use that one.

use std::{collections::BTreeMap, sync::Arc};

use kube::Resource;
use penstock_crds::{
    EventPipelineSpec, KafkaTopic, KafkaTopicSpec,
    condition::{ConditionType, Reason},
    name,
    pipeline::{Ordering, Table},
    topic::{self, Approval, ClusterRef, DeletionPolicy},
};

use crate::{refusal::Refusal, watch::Guarded};

/// The configuration keys that a derived topic takes over from its source: how long it keeps records, and which it takes.
const RETENTION: &str = "retention.ms";
const LARGEST: &str = "max.message.bytes";
/// The most that Kafka takes for it.
const LARGEST_EVER: u32 = i32::MAX as u32;
/// What a record that waits may have more than in its source topic, in bytes: the worker's headers, at most 640, and those of a batch.
const RETRY_HEADERS: u32 = 4_096;

/// A day: a retry topic keeps its records at least that long.
const MIN_RETRY_RETENTION_MS: i64 = 86_400_000;

/// Who asks for topics, and what there is.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The pipeline's namespace.
    pub namespace: &'a str,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The pipeline's uid: what it controls is its own.
    pub uid: &'a str,
    /// The `KafkaCluster` that the pipeline is on.
    pub cluster: &'a str,
    /// Every `KafkaTopic` of the namespace.
    pub topics: &'a [Arc<Guarded<KafkaTopic>>],
}

/// Where a pipeline's dead letters go.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetterChoice {
    /// To a topic whose object somebody else made: a user, or another pipeline.
    Use {
        /// The name of the `KafkaTopic` object.
        object: String,
    },
    /// To a topic whose object this pipeline makes.
    Derive {
        /// The name of the `KafkaTopic` object.
        object: String,
        /// The topic's name in Kafka.
        topic: String,
        /// What the object shall say; none while the source topic's partitions are unknown.
        spec: Option<KafkaTopicSpec>,
    },
}

impl DeadLetterChoice {
    /// The name of the `KafkaTopic` object.
    #[must_use]
    pub fn object(&self) -> &str {
        match self {
            Self::Use { object } | Self::Derive { object, .. } => object,
        }
    }
}

/// What records wait for in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// This delay, counted from 0.
    Delay(usize),
    /// Earlier records that wait for a delay.
    Others,
}

/// A topic in which records wait, whose object this pipeline makes.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryTopic {
    /// The name of the `KafkaTopic` object.
    pub object: String,
    /// The name in Kafka of the topic that its records were read from first.
    pub source: String,
    /// What for.
    pub waits_for: WaitsFor,
    /// What the object shall say; none while the source topic's partitions are unknown.
    pub spec: Option<KafkaTopicSpec>,
}

/// What became of the names in a spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundTopics {
    kafka_names: BTreeMap<String, String>,
    /// Where dead letters go; none for a pipeline that has none, or whose source topic is not there.
    pub dead_letter: Option<DeadLetterChoice>,
    /// Where records wait for another attempt, or for others that do.
    pub retries: Vec<RetryTopic>,
    /// Why the pipeline cannot be built.
    pub refusal: Option<Refusal>,
    /// Why the pipeline cannot start yet.
    pub unready: Option<Refusal>,
}

impl FoundTopics {
    /// The name in Kafka of the topic with this object name, where it was found.
    #[must_use]
    pub fn kafka_name(&self, object: &str) -> Option<String> {
        self.kafka_names.get(object).cloned()
    }
}

/// Finds every topic that a spec names.
#[must_use]
pub fn find(spec: &EventPipelineSpec, around: Surroundings<'_>) -> FoundTopics {
    let (dead_letter, name_problem) = match choose_dead_letter(spec, around) {
        Ok(choice) => (choice, None),
        Err(problem) => (None, Some(problem)),
    };
    let mut found = FoundTopics::default();
    let (mut missing, mut elsewhere, mut unreadable, mut unready) = (vec![], vec![], vec![], vec![]);
    for object in named(spec) {
        match around.get(object) {
            None if around.holds(object) => unreadable.push(format!("`{object}`")),
            None => missing.push(format!("`{object}`")),
            Some(topic) if topic.cluster_name() != around.cluster => {
                elsewhere.push(format!("`{object}` is on KafkaCluster `{}`", topic.cluster_name()));
            }
            Some(topic) => {
                found.kafka_names.insert(object.to_owned(), topic.kafka_name().to_owned());
                unready.extend(why_unready(topic).map(|why| format!("`{object}` is not ready ({why})")));
            }
        }
    }
    // A dead letter topic that the spec names has been looked at above.
    if let Some(choice) = dead_letter.as_ref().filter(|c| !named(spec).any(|n| n == c.object())) {
        match (around.get(choice.object()), choice) {
            (Some(topic), _) => {
                found.kafka_names.insert(choice.object().to_owned(), topic.kafka_name().to_owned());
                unready
                    .extend(why_unready(topic).map(|why| format!("the dead letter topic `{}` is not ready ({why})", topic.kafka_name())));
            }
            (None, DeadLetterChoice::Derive { object, topic, .. }) => {
                found.kafka_names.insert(object.clone(), topic.clone());
                unready.push(format!("the dead letter topic `{topic}` is being made"));
            }
            (None, DeadLetterChoice::Use { .. }) => {}
        }
    }
    let mut name_problem = name_problem;
    for retry in retry_topics(spec, around) {
        match retry {
            Ok((topic, retry)) => {
                let why = match around.get(&retry.object) {
                    Some(made) => why_unready(made).map(|why| format!("is not ready ({why})")),
                    None => Some("is being made".to_owned()),
                };
                unready.extend(why.map(|why| format!("the retry topic `{topic}` {why}")));
                found.kafka_names.insert(retry.object.clone(), topic);
                found.retries.push(retry);
            }
            Err(problem) => name_problem = name_problem.or(Some(problem)),
        }
    }
    found.refusal = name_problem.or_else(|| refusal(around, &missing, &elsewhere, &unreadable));
    found.unready = (!unready.is_empty()).then(|| Refusal::new(Reason::TopicNotReady, unready.join("; ")));
    found.dead_letter = dead_letter;
    found
}

/// Every object name that stands in a spec, each once.
pub fn named(spec: &EventPipelineSpec) -> impl Iterator<Item = &str> {
    let sources = spec.source.kafka.iter().flat_map(|s| &s.topics);
    let tables = spec.table.iter().flat_map(Table::followed);
    let sink = spec.sink.iter().map(|s| &s.kafka.topic);
    let dead_letter = spec.dead_letter.iter().filter_map(|d| d.topic.as_ref());
    let mut names: Vec<&str> = vec![];
    for name in sources.chain(sink).chain(tables).chain(dead_letter) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.into_iter()
}

/// The names of the objects that a pipeline derives topics under, whether or not these can be.
pub fn derived(pipeline: &str, spec: &EventPipelineSpec) -> Vec<String> {
    let sources = spec.source.kafka.iter().flat_map(|s| &s.topics);
    let waits = waits_for(spec);
    let retries = sources.clone().flat_map(|source| waits.iter().map(|waits| object_of(pipeline, source, *waits)));
    let names_one = spec.dead_letter.as_ref().is_some_and(|d| d.topic.is_some());
    let letters = sources.clone().take(usize::from(!names_one)).map(|source| name::dead_letter_object(pipeline, source));
    retries.chain(letters).collect()
}

fn refusal(around: Surroundings<'_>, missing: &[String], elsewhere: &[String], unreadable: &[String]) -> Option<Refusal> {
    let mut parts = vec![];
    if !missing.is_empty() {
        parts.push(format!(
            "namespace `{}` has no KafkaTopic {}: create what is missing, or correct the name",
            around.namespace,
            missing.join(", ")
        ));
    }
    if !elsewhere.is_empty() {
        parts.push(format!("{}, but the pipeline is on `{}`", elsewhere.join(", "), around.cluster));
    }
    if !unreadable.is_empty() {
        parts.push(format!("KafkaTopic {} cannot be read: see the object's own conditions", unreadable.join(", ")));
    }
    let reason = match (missing.is_empty(), elsewhere.is_empty()) {
        (false, _) => Reason::TopicNotFound,
        (true, false) => Reason::TopicOnOtherCluster,
        (true, true) => Reason::TopicNotReady,
    };
    (!parts.is_empty()).then(|| Refusal::new(reason, parts.join("; ")))
}

fn why_unready(topic: &KafkaTopic) -> Option<String> {
    if topic.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".to_owned());
    }
    if topic.status.as_ref().is_some_and(|status| status.observed_generation != topic.metadata.generation) {
        return Some("it was changed, and not looked at since".to_owned());
    }
    let conditions = topic.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    match conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str()) {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(format!("{}: {}", ready.reason, ready.message)),
        None => Some("it has no status yet".to_owned()),
    }
}

/// Chooses where dead letters go: to the topic that the spec names, else to `<first topic>.DLT`, for which an object is
/// derived only where nobody else has one.
fn choose_dead_letter(spec: &EventPipelineSpec, around: Surroundings<'_>) -> Result<Option<DeadLetterChoice>, Refusal> {
    if let Some(object) = spec.dead_letter.as_ref().and_then(|d| d.topic.clone()) {
        return Ok(Some(DeadLetterChoice::Use { object }));
    }
    let first = spec.source.kafka.as_ref().and_then(|s| s.topics.first());
    let Some(source) = first.and_then(|object| around.get(object)) else {
        return Ok(None);
    };
    let topic = format!("{}{}", source.kafka_name(), name::DEAD_LETTER_SUFFIX);
    let object = name::dead_letter_object(around.pipeline, source.metadata.name.as_deref().unwrap_or_default());
    match around.declaring(&topic) {
        Some(declared) if !around.is_own(declared) => {
            Ok(Some(DeadLetterChoice::Use { object: declared.metadata.name.clone().unwrap_or_default() }))
        }
        _ => derive(source, topic, object, around).map(Some),
    }
}

fn derive(source: &KafkaTopic, topic: String, object: String, around: Surroundings<'_>) -> Result<DeadLetterChoice, Refusal> {
    topic::check_topic_name(&topic).map_err(|why| {
        Refusal::new(Reason::InvalidSpec, format!("no dead letter topic can be derived ({why}): name one in deadLetter.topic"))
    })?;
    let existing = around.get(&object);
    if existing.is_some_and(|e| !around.is_own(e)) {
        let message = format!("KafkaTopic `{object}` is not this pipeline's: rename it, or name a topic in deadLetter.topic");
        return Err(Refusal::new(Reason::NameConflict, message));
    }
    let spec = derived_spec(source, existing, &topic);
    Ok(DeadLetterChoice::Derive { object, topic, spec })
}

/// The retry topics of each source topic that is there, with their names in Kafka.
fn retry_topics(spec: &EventPipelineSpec, around: Surroundings<'_>) -> Vec<Result<(String, RetryTopic), Refusal>> {
    let Some(kafka) = &spec.source.kafka else { return Vec::new() };
    let group = kafka.group.clone().unwrap_or_else(|| name::default_group(around.namespace, around.pipeline));
    let waits = waits_for(spec);
    let sources = kafka.topics.iter().filter_map(|object| around.get(object));
    sources.flat_map(|source| waits.iter().map(|waits| retry_topic(source, &group, *waits, around)).collect::<Vec<_>>()).collect()
}

/// What records of a source topic may wait for, each in a topic of its own.
fn waits_for(spec: &EventPipelineSpec) -> Vec<WaitsFor> {
    let delays = spec.retry.as_ref().map_or(0, |retry| retry.delays.len());
    let holds_back = delays > 0 && spec.ordering != Some(Ordering::None);
    (0..delays).map(WaitsFor::Delay).chain(holds_back.then_some(WaitsFor::Others)).collect()
}

fn object_of(pipeline: &str, source: &str, waits_for: WaitsFor) -> String {
    match waits_for {
        WaitsFor::Delay(tier) => name::retry_object(pipeline, source, tier + 1),
        WaitsFor::Others => name::held_object(pipeline, source),
    }
}

fn retry_topic(source: &KafkaTopic, group: &str, waits_for: WaitsFor, around: Surroundings<'_>) -> Result<(String, RetryTopic), Refusal> {
    let object = object_of(around.pipeline, source.metadata.name.as_deref().unwrap_or_default(), waits_for);
    let topic = match waits_for {
        WaitsFor::Delay(tier) => name::retry_topic(source.kafka_name(), group, tier + 1),
        WaitsFor::Others => name::held_topic(source.kafka_name(), group),
    };
    let existing = around.get(&object);
    if existing.is_some_and(|existing| !around.is_own(existing)) {
        let message = format!("KafkaTopic `{object}` is not this pipeline's: rename it, so that a retry topic can be derived");
        return Err(Refusal::new(Reason::NameConflict, message));
    }
    let spec = derived_spec(source, existing, &topic).map(|mut spec| {
        // What waits here must not be deleted because the source keeps its own records for a short time only.
        let declared = spec.config.get(RETENTION).and_then(|text| text.parse::<i64>().ok());
        if declared.is_some_and(|declared| (0..MIN_RETRY_RETENTION_MS).contains(&declared)) {
            spec.config.insert(RETENTION.into(), MIN_RETRY_RETENTION_MS.to_string().into());
        }
        // Nor must what the source takes be too large here, with our headers beside it.
        if let Some(largest) = spec.config.get(LARGEST).and_then(|text| text.parse::<u32>().ok()) {
            spec.config.insert(LARGEST.into(), largest.saturating_add(RETRY_HEADERS).min(LARGEST_EVER).to_string().into());
        }
        spec
    });
    Ok((topic, RetryTopic { object, source: source.kafka_name().to_owned(), waits_for, spec }))
}

/// What the derived object shall say. What Kafka already has is never contradicted: a topic left over from an earlier
/// pipeline may have more partitions, and somebody may have given it another replication factor on purpose.
fn derived_spec(source: &KafkaTopic, existing: Option<&KafkaTopic>, topic: &str) -> Option<KafkaTopicSpec> {
    let seen = source.status.as_ref();
    let declared = existing.map(|e| &e.spec);
    let own = existing.and_then(|e| e.status.as_ref());
    let known = [seen.and_then(|s| s.partitions), declared.and_then(|d| d.partitions), own.and_then(|s| s.partitions)];
    let partitions = known.into_iter().flatten().max()?;
    let replication_factor = own
        .and_then(|s| s.replication_factor)
        .or_else(|| declared.and_then(|d| d.replication_factor))
        .or_else(|| seen.and_then(|s| s.replication_factor));
    Some(KafkaTopicSpec {
        cluster_ref: Some(ClusterRef { name: source.cluster_name().to_owned() }),
        topic_name: Some(topic.to_owned()),
        partitions: Some(partitions),
        replication_factor,
        config: source
            .spec
            .config
            .iter()
            .filter(|(k, _)| [RETENTION, LARGEST].contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        deletion_policy: DeletionPolicy::Retain,
        suspend: false,
        deletion_protection_seconds: None,
        config_policy: BTreeMap::new(),
        allow_key_moves: false,
        approval: Approval::Automatic,
    })
}

impl Surroundings<'_> {
    fn get(&self, object: &str) -> Option<&KafkaTopic> {
        self.readable().find(|t| t.metadata.name.as_deref() == Some(object))
    }

    fn readable(&self) -> impl Iterator<Item = &KafkaTopic> {
        self.topics.iter().filter_map(|t| t.0.as_ref().ok())
    }

    /// Whether there is an object of that name, readable or not.
    fn holds(&self, object: &str) -> bool {
        self.topics.iter().any(|t| t.meta().name.as_deref() == Some(object))
    }

    /// The object that speaks for a topic: one that a user made, else the oldest derived one. So two pipelines that derived
    /// the same topic at once agree on which of their objects stays.
    fn declaring(&self, topic: &str) -> Option<&KafkaTopic> {
        self.readable()
            .filter(|t| t.kafka_name() == topic && t.cluster_name() == self.cluster && t.metadata.deletion_timestamp.is_none())
            .min_by_key(|t| (is_derived(t), t.metadata.creation_timestamp.as_ref().map(|at| at.0), t.metadata.name.clone()))
    }

    fn is_own(&self, topic: &KafkaTopic) -> bool {
        super::child::is_controlled_by(&topic.metadata, self.uid)
    }
}

fn is_derived(topic: &KafkaTopic) -> bool {
    topic.metadata.owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.kind == "EventPipeline")
}
