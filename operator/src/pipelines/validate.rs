//! Turns an `EventPipeline` and what it refers to into a [`ValidatedPipeline`], or says why not. Pure: no I/O, no clock.
//!
//! Every rule that the schema has is checked again, for objects that are older than the schema. What is validated can be
//! built; whether it may start already is told apart, by [`Verdict::unready`].

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Affinity, Toleration},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Resource;
use penstock_crds::{
    EventPipeline, EventPipelineSpec, KafkaTopic,
    condition::Reason,
    pipeline::{HttpAuth, Jwks, KafkaSource, Resources, Scaling, SecretRef},
    processor::{Choice, ChoiceError, Need, Shape, SourceKind, TableUse},
    topic,
    worker::{self, DeadLetterTarget, KafkaInput, PipelineId, WorkerConfig, WorkerSource},
};

use super::{
    clients::{fetching, producing, session_timeout},
    keys::{self, SeenKeys},
    own_code::{OwnCode, own_code},
    quantity,
    retry::{retry_policy, tiers, waiting},
    scaled,
    topics::{self, DeadLetterChoice, FoundTopics, Surroundings, WaitsFor},
    transaction::transaction_bounds,
};
use crate::{clusters::ResolvedCluster, refusal::Refusal, watch::Guarded};

/// What a pipeline refers to, as it was observed.
pub struct References {
    /// The Kafka cluster, or why it may not be used.
    pub cluster: Result<ResolvedCluster, Refusal>,
    /// Every `KafkaTopic` of the pipeline's namespace.
    pub topics: Vec<Arc<Guarded<KafkaTopic>>>,
    /// The keys that an HTTP source checks tokens with.
    pub keys: SeenKeys,
    /// The number of workers that was decided last, where the operator sets it.
    pub decided: Option<i32>,
}

/// A pipeline that can be built: everything in it is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedPipeline {
    /// The pipeline, as the owner of what is built for it.
    pub owner: OwnerReference,
    /// What a worker does.
    pub worker: WorkerConfig,
    /// Number of workers; 0 while it is suspended.
    pub replicas: i32,
    /// What a worker may use, and where it may run.
    pub placement: Placement,
    /// What of the tenant's code runs in a worker's pod.
    pub own_code: OwnCode,
    /// Where the keys are that tokens are checked with.
    pub jwks: Option<Jwks>,
}

/// What a worker may use, and where it may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// What it may use; none: the defaults.
    pub resources: Option<Resources>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Rules that steer it to nodes.
    pub affinity: Option<Affinity>,
    /// Its PriorityClass.
    pub priority_class_name: Option<String>,
    /// Secrets with which its images are pulled.
    pub image_pull_secrets: Vec<SecretRef>,
}

/// What can be said of a pipeline before anything is built.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What became of its topics.
    pub topics: FoundTopics,
    /// Number of workers; 0 while it is suspended.
    pub replicas: i32,
    /// The pipeline, or why it cannot be built.
    pub pipeline: Result<ValidatedPipeline, Refusal>,
    /// Why it cannot start yet: its cluster or a topic is there, but not ready, or its keys are not there.
    pub unready: Option<Refusal>,
}

/// Number of workers that a spec asks for, or that was decided for it.
fn replicas(spec: &EventPipelineSpec, decided: Option<i32>) -> i32 {
    let scaling = spec.scaling.as_ref().filter(|scaling| !scaling.dry_run);
    match scaling.map(Scaling::bounds) {
        _ if spec.suspend => 0,
        Some(Ok(bounds)) => scaled::within(bounds, decided),
        // Bounds that make no sense change nothing.
        Some(Err(_)) => decided.unwrap_or_default().max(0),
        None => spec.replicas.max(0),
    }
}

/// Judges a pipeline.
#[must_use]
pub fn validate(pipeline: &EventPipeline, references: &References) -> Verdict {
    let meta = &pipeline.metadata;
    let around = Surroundings {
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        pipeline: meta.name.as_deref().unwrap_or_default(),
        uid: meta.uid.as_deref().unwrap_or_default(),
        cluster: topic::cluster_name(pipeline.spec.cluster_ref.as_ref()),
        topics: &references.topics,
    };
    let topics = topics::find(&pipeline.spec, around);
    let cluster_unready = references.cluster.as_ref().ok().and_then(|c| c.state.clone().err());
    let unready = cluster_unready.or_else(|| topics.unready.clone()).or_else(|| keys::missing(&pipeline.spec, references.keys));
    let replicas = replicas(&pipeline.spec, references.decided);
    Verdict { unready, replicas, pipeline: parse(pipeline, around, references, &topics), topics }
}

fn parse(
    pipeline: &EventPipeline,
    around: Surroundings<'_>,
    references: &References,
    topics: &FoundTopics,
) -> Result<ValidatedPipeline, Refusal> {
    let spec = &pipeline.spec;
    let processor = processor(spec, around.pipeline)?;
    let (admin_port, placement) = (admin_port(spec)?, placement(spec)?);
    let own_code = own_code(spec, &processor, admin_port)?;
    if spec.source.http.is_none() && spec.producer.as_ref().is_some_and(|producer| producer.circuit_breaker.is_some()) {
        return Err(invalid("producer.circuitBreaker goes with source.http: a worker that reads from Kafka waits until it can write"));
    }
    check_scaling(spec)?;
    let cluster = references.cluster.as_ref().map_err(Clone::clone)?;
    if let Some(refusal) = &topics.refusal {
        return Err(refusal.clone());
    }
    let sink = spec.sink.as_ref().map(|s| kafka_name(topics, &s.kafka.topic)).transpose()?;
    let worker = WorkerConfig {
        pipeline: PipelineId { namespace: around.namespace.to_owned(), name: around.pipeline.to_owned() },
        bootstrap_servers: sorted(cluster.spec.bootstrap_servers.iter().cloned()),
        source: source(spec, around, topics, sink.as_deref())?,
        processor,
        sink,
        table: kafka_names(topics, spec.table.iter().flat_map(|t| &t.topics))?,
        keys: spec.table.iter().find_map(|t| t.keys.as_ref()).map(|name| kafka_name(topics, name)).transpose()?,
        producer: producing(spec.producer.as_ref())?,
        admin_port,
        drain_timeout: worker::DRAIN_TIMEOUT,
    };
    let owner = pipeline.controller_owner_ref(&()).ok_or_else(|| invalid("the object has no name or uid yet"))?;
    Ok(ValidatedPipeline {
        owner,
        worker,
        replicas: replicas(spec, references.decided),
        placement,
        own_code,
        jwks: keys::named(spec).cloned(),
    })
}

fn check_scaling(spec: &EventPipelineSpec) -> Result<(), Refusal> {
    let Some(scaling) = &spec.scaling else { return Ok(()) };
    scaling.bounds().map_err(invalid)?;
    if spec.source.kafka.is_none() {
        return Err(invalid("scaling goes with source.kafka: it follows what waits in topics"));
    }
    Ok(())
}

fn processor(spec: &EventPipelineSpec, pipeline: &str) -> Result<Choice, Refusal> {
    let choice = spec.processor.choice().map_err(invalid)?;
    check_shape(spec, &choice)?;
    // The file names every option, so that one that is given at its default runs as if it were not given.
    choice.with_every_option(pipeline).map_err(refused_choice)
}

fn refused_choice(error: ChoiceError) -> Refusal {
    let reason = match error {
        ChoiceError::Unknown { .. } => Reason::InvalidSpec,
        ChoiceError::NoHandler { .. } => Reason::ProcessorMismatch,
        ChoiceError::Options(_) => Reason::InvalidOptions,
    };
    Refusal::new(reason, error.to_string())
}

fn check_shape(spec: &EventPipelineSpec, choice: &Choice) -> Result<(), Refusal> {
    let Shape { source, sink, table } = choice.shape().map_err(refused_choice)?;
    let mut problems = vec![];
    match (source, spec.source.kafka.is_some()) {
        (SourceKind::Kafka, false) => problems.push("source.kafka: it handles records"),
        (SourceKind::Http, true) => problems.push("source.http: it answers requests"),
        _ => {}
    }
    match (sink, spec.sink.is_some()) {
        (Need::Required, false) => problems.push("sink: it produces records"),
        (Need::Forbidden, true) => problems.push("no sink: it produces nothing"),
        _ => {}
    }
    let written = spec.sink.as_ref().map(|sink| &sink.kafka.topic);
    match (table, &spec.table) {
        (TableUse::Answers, None) => problems.push("table: it answers from topics"),
        (TableUse::Answers, Some(table)) if written.is_some_and(|topic| !table.topics.contains(topic)) => {
            problems.push("the topic of sink.kafka.topic in table.topics: it answers with what it has written");
        }
        (TableUse::Keys, Some(table)) if table.topics.len() != 1 || written.is_some_and(|topic| table.topics.contains(topic)) => {
            problems.push("one topic in table.topics, and not that of sink.kafka.topic: it keeps idempotency keys there");
        }
        (TableUse::Keys, Some(table)) if table.keys.is_some() => problems.push("no table.keys: its table is the topic of keys"),
        (TableUse::Answers, Some(table)) if table.keys.as_ref().is_some_and(|keys| table.topics.contains(keys)) => {
            problems.push("a topic of its own in table.keys: nothing but idempotency keys is kept there");
        }
        (TableUse::Nothing, Some(_)) => problems.push("no table: it answers nothing"),
        _ => {}
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(Reason::ProcessorMismatch, format!("processor `{}` needs {}", choice.name(), problems.join("; and "))))
}

fn admin_port(spec: &EventPipelineSpec) -> Result<u16, Refusal> {
    let port = spec.admin.as_ref().map_or(worker::DEFAULT_ADMIN_PORT, |a| a.port);
    if spec.source.http.as_ref().is_some_and(|http| http.port == port) {
        return Err(invalid(format!("source.http.port and admin.port are both {port}: change one of them")));
    }
    Ok(port)
}

fn source(spec: &EventPipelineSpec, around: Surroundings<'_>, topics: &FoundTopics, sink: Option<&str>) -> Result<WorkerSource, Refusal> {
    match (&spec.source.kafka, &spec.source.http) {
        (Some(kafka), None) => kafka_input(spec, kafka, around, topics, sink).map(|input| WorkerSource::Kafka(Box::new(input))),
        (None, Some(http)) => {
            let auth = http.auth.as_ref().map(HttpAuth::check).transpose().map_err(invalid)?;
            Ok(WorkerSource::Http { port: http.port, auth })
        }
        _ => Err(invalid("source needs exactly one of kafka and http")),
    }
}

fn kafka_input(
    spec: &EventPipelineSpec,
    source: &KafkaSource,
    around: Surroundings<'_>,
    topics: &FoundTopics,
    sink: Option<&str>,
) -> Result<KafkaInput, Refusal> {
    if source.topics.is_empty() {
        return Err(invalid("source.kafka.topics is empty: name at least one KafkaTopic"));
    }
    let names = kafka_names(topics, &source.topics)?;
    let object = topics.dead_letter.as_ref().map(DeadLetterChoice::object).unwrap_or_default();
    let dead_letter = kafka_name(topics, object)?;
    for (target, field) in [(Some(dead_letter.as_str()), "deadLetter.topic"), (sink, "sink.kafka.topic")] {
        if let Some(topic) = target.filter(|t| names.iter().any(|n| n == t)) {
            return Err(invalid(format!(
                "{field} is `{topic}`, which is also a source topic: the pipeline would handle its own output for ever"
            )));
        }
    }
    let concurrency = spec.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
    if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
        return Err(invalid(format!("concurrency must be from 1 to {MAX_CONCURRENCY}")));
    }
    let declared = spec.dead_letter.clone().unwrap_or_default();
    Ok(KafkaInput {
        topics: names,
        group: source.group.clone().unwrap_or_else(|| penstock_crds::name::default_group(around.namespace, around.pipeline)),
        start_from: source.start_from,
        group_protocol: source.group_protocol,
        session_timeout: session_timeout(source)?,
        fetch: fetching(source.fetch.as_ref())?,
        delivery: spec.delivery.unwrap_or_default(),
        transaction: transaction_bounds(spec.transaction.as_ref())?,
        ordering: spec.ordering.unwrap_or_default(),
        concurrency,
        retry: retry_policy(spec.retry.as_ref())?,
        tiers: tiers(spec.retry.as_ref(), topics)?,
        held: waiting(topics, WaitsFor::Others),
        dead_letter: DeadLetterTarget { topic: dead_letter, format: declared.format, headers: declared.headers },
    })
}

/// Records in process at once in one worker, where the spec says nothing.
const DEFAULT_CONCURRENCY: u16 = 16;
const MAX_CONCURRENCY: u16 = 256;

fn placement(spec: &EventPipelineSpec) -> Result<Placement, Refusal> {
    check_amounts(spec.resources.as_ref(), "resources")?;
    Ok(Placement {
        resources: spec.resources.clone(),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        affinity: spec.affinity.clone(),
        priority_class_name: spec.priority_class_name.clone(),
        image_pull_secrets: spec.image_pull_secrets.clone(),
    })
}

/// The apiserver answers an amount that it cannot read as if it had broken itself.
pub(super) fn check_amounts(resources: Option<&Resources>, of: &str) -> Result<(), Refusal> {
    let (requests, limits) = (resources.and_then(|r| r.requests.as_ref()), resources.and_then(|r| r.limits.as_ref()));
    for (field, amounts) in [("requests", requests), ("limits", limits)] {
        let given = amounts.into_iter().flat_map(|a| [("cpu", &a.cpu), ("memory", &a.memory)]);
        for (name, amount) in given.filter_map(|(name, amount)| amount.as_ref().map(|a| (name, &a.0))) {
            if !quantity::is_amount(amount) {
                return Err(invalid(format!("{of}.{field}.{name}: `{amount}` is not an amount: write one such as `250m` or `64Mi`")));
            }
        }
    }
    Ok(())
}

fn kafka_name(topics: &FoundTopics, object: &str) -> Result<String, Refusal> {
    topics.kafka_name(object).ok_or_else(|| Refusal::new(Reason::TopicNotFound, format!("there is no KafkaTopic `{object}`")))
}

fn kafka_names<'a>(topics: &FoundTopics, objects: impl IntoIterator<Item = &'a String>) -> Result<Vec<String>, Refusal> {
    let names: Vec<String> = objects.into_iter().map(|object| kafka_name(topics, object)).collect::<Result<_, _>>()?;
    Ok(sorted(names.into_iter()))
}

/// In an order that does not depend on how the spec was written: another order is no other configuration.
fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidSpec, message)
}

#[cfg(test)]
mod tests;
