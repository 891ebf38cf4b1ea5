//! `EventPipeline`: a source of events, the processor that handles each one, and where its output goes.
//!
//! It becomes a Deployment of workers. What one object can decide alone is decided by the schema and its CEL rules;
//! what depends on topics, clusters or a processor's options is decided by the operator and said in conditions.

mod auth;
mod delivery;
mod failure;
mod processor;
mod scaling;
mod source;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, Toleration},
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    auth::{HttpAuth, Jwks, Jwt},
    delivery::{Delivery, Ordering, Transaction},
    failure::{Backoff, DeadLetter, DeadLetterFormat, DeadLetterHeaders, Retry},
    processor::{ByType, Handler, HttpHandler, Processor},
    scaling::{IneffectiveStep, Scaling, ScalingBounds, ScalingStatus},
    source::{GroupProtocol, HttpSource, KafkaSource, Source, StartFrom},
};
use crate::{clients::Producer, topic::ClusterRef};

/// What a pipeline shall do.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "penstock.dev",
    version = "v1alpha1",
    kind = "EventPipeline",
    namespaced,
    status = "EventPipelineStatus",
    derive = "PartialEq",
    shortname = "epl",
    category = "penstock",
    doc = "A source of events, the processor that handles each one, and where its output goes; run by a Deployment of workers.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Processor", type_ = "string", json_path = ".status.processor"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.scaling.lag", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.source.kafka) || !(has(self.delivery) || has(self.ordering) || has(self.concurrency) || has(self.retry) || has(self.deadLetter))")
        .message("delivery, ordering, concurrency, retry and deadLetter go with source.kafka: an HTTP source answers its caller instead"),
    validation = Rule::new("!has(self.transaction) || (has(self.source.kafka) && (!has(self.delivery) || self.delivery == 'ExactlyOnce'))")
        .message("transaction goes with source.kafka and `delivery: ExactlyOnce`"),
    validation = Rule::new("has(self.source.http) || !has(self.table)")
        .message("table goes with source.http: it is what the HTTP front answers from"),
    validation = Rule::new("has(self.source.http) || !has(self.producer) || !has(self.producer.circuitBreaker)")
        .message("producer.circuitBreaker goes with source.http: a worker that reads from Kafka waits until it can write"),
    validation = Rule::new("!has(self.ordering) || self.ordering != 'None' || (has(oldSelf.ordering) && oldSelf.ordering == 'None') || !has(oldSelf.retry) || !has(oldSelf.retry.delays) || size(oldSelf.retry.delays) == 0")
        .message("ordering cannot become None while there are retry.delays: records may still be held back behind others; make a new EventPipeline"),
    validation = Rule::new("(has(self.retry) && has(self.retry.delays) ? size(self.retry.delays) : 0) >= (has(oldSelf.retry) && has(oldSelf.retry.delays) ? size(oldSelf.retry.delays) : 0)")
        .message("retry.delays may change but not become fewer: records may still wait in the topic of a delay that is taken away"),
    validation = Rule::new("!has(oldSelf.retry) || !has(oldSelf.retry.delays) || size(oldSelf.retry.delays) == 0 || !has(self.source.kafka) || !has(oldSelf.source.kafka) || oldSelf.source.kafka.topics.all(topic, topic in self.source.kafka.topics)")
        .message("source.kafka.topics may not lose a topic while there are retry.delays: records of it may still wait beside it; make a new EventPipeline"),
    validation = Rule::new("has(self.source.kafka) == has(oldSelf.source.kafka)")
        .message("source cannot change between kafka and http: make a new EventPipeline"),
    validation = Rule::new("!has(self.source.kafka) || !has(oldSelf.source.kafka) || (has(self.source.kafka.group) == has(oldSelf.source.kafka.group) && (!has(self.source.kafka.group) || self.source.kafka.group == oldSelf.source.kafka.group))")
        .message("source.kafka.group cannot change: another group would begin at startFrom again; make a new EventPipeline"),
    validation = Rule::new("(has(self.clusterRef) ? self.clusterRef.name : 'default') == (has(oldSelf.clusterRef) ? oldSelf.clusterRef.name : 'default')")
        .message("clusterRef cannot change: make a new EventPipeline for the other cluster"),
    validation = Rule::new("!has(self.source.http) || (has(self.admin) ? self.admin.port : 8080) != self.source.http.port")
        .message("admin.port (default 8080) and source.http.port must differ"),
    validation = Rule::new("has(self.source.kafka) || !(has(self.processor.byType) || has(self.processor.http) || has(self.processor.image))")
        .message("processor.byType, processor.http and processor.image go with source.kafka: they handle records"),
    validation = crate::processor::rules::source(),
    validation = crate::processor::rules::sink(),
    validation = crate::processor::rules::table(),
    validation = crate::processor::rules::sink_of_handlers(),
    validation = crate::processor::rules::table_of_answers(),
    validation = crate::processor::rules::table_of_keys(),
    validation = crate::processor::rules::keys_beside_a_table(),
    validation = Rule::new("!has(self.source.kafka) || !has(self.sink) || !(self.sink.kafka.topic in self.source.kafka.topics)")
        .message("sink.kafka.topic must not be among source.kafka.topics: the pipeline would handle its own output for ever"),
    validation = Rule::new("!has(self.source.kafka) || !has(self.deadLetter) || !has(self.deadLetter.topic) || !(self.deadLetter.topic in self.source.kafka.topics)")
        .message("deadLetter.topic must not be among source.kafka.topics: the pipeline would handle its own dead letters for ever"),
    validation = Rule::new("has(self.source.kafka) || !has(self.scaling)")
        .message("scaling goes with source.kafka: it follows what waits in topics"),
    validation = Rule::new("!has(self.scaling) || (has(self.scaling.dryRun) && self.scaling.dryRun) || self.replicas == 1")
        .message("replicas and scaling exclude each other: leave replicas out (or 1), and set scaling.minReplicas and scaling.maxReplicas instead"),
    validation = Rule::new("!has(self.processor.http) || (has(self.admin) ? self.admin.port : 8080) != self.processor.http.port")
        .message("processor.http.port and admin.port (default 8080) must differ: both are in one pod"),
)]
pub struct EventPipelineSpec {
    /// The Kafka cluster of all its topics. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// Where events come from.
    pub source: Source,
    /// The code that handles an event.
    pub processor: Processor,
    /// Where the processor's output goes. Absent: it may not produce any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Sink>,
    /// Topics that every worker follows as a whole, to answer from. Only with `source.http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// The promise about each record of `source.kafka`. Default: `ExactlyOnce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// When a transaction of `ExactlyOnce` is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Transaction>,
    /// Which records wait for one another. Default: `Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// Records in process at once in one worker. Default: 16.
    #[schemars(range(min = 1, max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u16>,
    /// What happens after a transient failure. Default: 4 attempts, 200ms to 5s apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where a record goes that cannot be handled. Default: a topic `<first topic>.DLT` is derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// How workers write to Kafka: output, retry and dead letter records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Producer>,
    /// The port for `/health`, `/healthz`, `/readyz` and `/metrics`. Default: 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Number of workers; also what `kubectl scale` and a HorizontalPodAutoscaler set. With `scaling` it is left out, and another number
    /// than 1 is refused.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "one_replica")]
    pub replicas: i32,
    /// Let the operator set the number of workers, by what waits in Kafka. Only with `source.kafka`. Absent: `replicas` is the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Run no workers, and keep everything else.
    #[serde(default)]
    pub suspend: bool,
    /// What one worker may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels that a node must have.
    #[schemars(schema_with = "crate::schema::label_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that workers tolerate.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Rules that steer workers to nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The workers' PriorityClass.
    #[schemars(schema_with = "crate::schema::object_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Secrets in the same namespace with which its images are pulled.
    #[schemars(schema_with = "crate::schema::pull_secrets")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<SecretRef>,
}

/// A Secret in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Its name.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub name: String,
}

fn one_replica() -> i32 {
    1
}

/// Where the processor's output goes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// A topic.
    pub kafka: KafkaSink,
}

/// A topic that output goes to.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSink {
    /// The name of a `KafkaTopic` object in the same namespace.
    #[schemars(schema_with = "crate::schema::object_name")]
    pub topic: String,
}

/// Topics that every worker follows as a whole.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.keys) || !(self.keys in self.topics)")
        .message("table.keys must not be among table.topics: nothing but idempotency keys is kept there"),
)]
pub struct Table {
    /// Names of `KafkaTopic` objects in the same namespace. A worker is ready once it has read them to their end.
    #[schemars(schema_with = "crate::schema::topic_refs")]
    pub topics: Vec<String>,
    /// The name of another `KafkaTopic` object in the same namespace, in which a front that answers from `topics` keeps idempotency
    /// keys. Workers follow it as well. Absent: a key is known once the order that came with it has been read.
    #[schemars(schema_with = "crate::schema::object_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
}

impl Table {
    /// Every topic that is followed.
    pub fn followed(&self) -> impl Iterator<Item = &String> {
        self.topics.iter().chain(&self.keys)
    }
}

/// The port for health and metrics.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// The port of `/health`, `/healthz`, `/readyz` and `/metrics`.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: u16,
}

/// What one worker may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    /// What it never gets more of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// In cores, for example `250m`.
    #[schemars(schema_with = "crate::schema::amount")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// In bytes, for example `64Mi`.
    #[schemars(schema_with = "crate::schema::amount")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// What was seen of a pipeline.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPipelineStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Workers that shall be.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Workers that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Workers that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// What handles events: the name of a built-in processor, `by-type`, `http` or `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The label selector of the workers, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The consumer group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The name in Kafka of the dead letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// What the number of workers follows from, where the operator sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// `Ready`, `TopicsReady`, `WorkersAvailable`, `PositionsKept` where records come from Kafka, and `ScalingActive` with `scaling`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
