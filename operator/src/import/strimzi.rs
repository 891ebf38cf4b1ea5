//! Objects for those that Strimzi's topic operator looks after. Pure.
//!
//! An object of Strimzi's that cannot be carried over as a whole is told with its name; one of another kind is not an error.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_crds::{
    KafkaTopic, Text,
    topic::{MAX_CONFIG_KEYS, MAX_PARTITIONS, MAX_REPLICATION_FACTOR, check_config_entry, check_topic_name},
};
use serde::Deserialize;
use serde_json::{Number, Value};

use super::{Imported, is_internal, names, object, place};
use crate::topics::foresight::is_of_reassignments;

/// The group of Strimzi's kinds.
pub const GROUP: &str = "kafka.strimzi.io";
/// The kind of Strimzi's topics.
pub const KIND: &str = "KafkaTopic";
const LABEL_CLUSTER: &str = "strimzi.io/cluster";
const ANNOTATION_MANAGED: &str = "strimzi.io/managed";
const ANNOTATION_PAUSED: &str = "strimzi.io/pause-reconciliation";

/// Which objects are wanted, and what the printed ones refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Those of this Strimzi cluster; none: of the only one that there is.
    pub strimzi_cluster: Option<&'a str>,
    /// The `KafkaCluster`.
    pub cluster: Option<&'a str>,
    /// The namespace; none: that of Strimzi's object.
    pub into: Option<&'a str>,
}

/// What was read is of several Strimzi clusters.
#[derive(Debug, thiserror::Error)]
#[error("the objects are of several Strimzi clusters ({}): choose one with --strimzi-cluster, and the KafkaCluster for it with --cluster", .0.join(", "))]
pub struct SeveralClusters(Vec<String>);

/// The parts of Strimzi's object that mean something to us.
#[derive(Debug, Deserialize)]
struct StrimziTopic {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    topic_name: Option<String>,
    partitions: Option<i64>,
    replicas: Option<i64>,
    #[serde(default)]
    config: Option<BTreeMap<String, Value>>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    replicas_change: Option<Value>,
}

impl StrimziTopic {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn place(&self) -> String {
        let namespace = self.metadata.namespace.as_deref();
        namespace.map_or_else(|| self.name().to_owned(), |namespace| format!("{namespace}/{}", self.name()))
    }

    fn kafka_name(&self) -> &str {
        self.spec.as_ref().and_then(|spec| spec.topic_name.as_deref()).unwrap_or_else(|| self.name())
    }

    fn cluster(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(LABEL_CLUSTER).map(String::as_str)
    }

    fn is_annotated(&self, annotation: &str, value: &str) -> bool {
        self.metadata.annotations.as_ref().and_then(|all| all.get(annotation)).is_some_and(|found| found == value)
    }

    fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }
}

/// The objects for Strimzi's, and what is to be known of them.
///
/// # Errors
/// They are of several Strimzi clusters, and none was chosen.
pub fn imported(objects: &[Value], choice: Choice<'_>) -> Result<Imported, SeveralClusters> {
    let mut imported = Imported::default();
    let mut topics = read(objects, &mut imported);
    if choice.strimzi_cluster.is_none() {
        let clusters: BTreeSet<&str> = topics.iter().filter_map(StrimziTopic::cluster).collect();
        if clusters.len() > 1 {
            return Err(SeveralClusters(clusters.into_iter().map(str::to_owned).collect()));
        }
    }
    topics.retain(|topic| choice.strimzi_cluster.is_none_or(|wanted| topic.cluster() == Some(wanted)));
    topics.retain(|topic| match why_left_out(topic) {
        None => true,
        Some(why) => {
            imported.note(topic.place(), format!("left out: {why}"));
            false
        }
    });
    for topic in without_rivals(topics, &mut imported) {
        let made = made(&topic, choice, &mut imported);
        imported.topics.push(made);
    }
    tell_apart(&mut imported);
    Ok(imported)
}

/// Strimzi's topics among objects of any kind; lists hold more of them.
fn read(objects: &[Value], imported: &mut Imported) -> Vec<StrimziTopic> {
    let (mut topics, mut others) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut waiting: Vec<&Value> = objects.iter().rev().collect();
    while let Some(object) = waiting.pop() {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let is_ours = text("apiVersion").split_once('/').is_some_and(|(group, _)| group == GROUP) && text("kind") == KIND;
        match object.get("items").and_then(Value::as_array) {
            Some(items) => waiting.extend(items.iter().rev()),
            None if object.is_null() => {}
            None if is_ours => match StrimziTopic::deserialize(object) {
                Ok(topic) => topics.push(topic),
                Err(why) => {
                    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("an object without a name");
                    imported.note(name, format!("left out: it cannot be read ({why})"));
                }
            },
            None => *others.entry(text("kind").to_owned()).or_default() += 1,
        }
    }
    if !others.is_empty() {
        let kinds: Vec<String> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        imported.note("objects of other kinds", format!("left out: {}", kinds.join(", ")));
    }
    topics
}

fn why_left_out(topic: &StrimziTopic) -> Option<String> {
    if topic.spec.is_none() {
        return Some("it has no spec, so Strimzi does nothing about it either".to_owned());
    }
    if topic.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted, and with it its topic".to_owned());
    }
    if is_internal(topic.kafka_name()) {
        return Some(format!("`{}` belongs to Kafka or Strimzi itself", topic.kafka_name()));
    }
    check_topic_name(topic.kafka_name()).err()
}

/// Of several objects for one topic the oldest counts, as it does for Strimzi.
fn without_rivals(topics: Vec<StrimziTopic>, imported: &mut Imported) -> Vec<StrimziTopic> {
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    for (number, topic) in topics.iter().enumerate() {
        let age = |number: usize| topics.get(number).map(|topic| (topic.created().is_none(), topic.created()));
        let owner = owners.entry(topic.kafka_name().to_owned()).or_insert(number);
        if age(number) < age(*owner) {
            *owner = number;
        }
    }
    let (owning, losing): (Vec<_>, Vec<_>) =
        topics.into_iter().enumerate().partition(|(number, topic)| owners.get(topic.kafka_name()) == Some(number));
    for (_, topic) in losing {
        let says = format!("left out: an older object, or an earlier one, is for the topic `{}` too", topic.kafka_name());
        imported.note(topic.place(), says);
    }
    owning.into_iter().map(|(_, topic)| topic).collect()
}

/// The object for one of Strimzi's.
fn made(theirs: &StrimziTopic, choice: Choice<'_>, imported: &mut Imported) -> KafkaTopic {
    let mut notes = Vec::new();
    let namespace = choice.into.or(theirs.metadata.namespace.as_deref());
    let labels = labels(theirs, &mut notes);
    let mut topic = object(theirs.name(), namespace, choice.cluster, theirs.kafka_name(), labels);
    if let Some(spec) = &theirs.spec {
        topic.spec.partitions = bounded(spec.partitions, MAX_PARTITIONS, "partitions", &mut notes);
        topic.spec.replication_factor = bounded(spec.replicas, MAX_REPLICATION_FACTOR, "replicas", &mut notes);
        topic.spec.config = config(spec, &mut notes);
        notes.extend(spec.others.keys().map(|field| format!("the field `spec.{field}` is not known here and is left out")));
    }
    if theirs.is_annotated(ANNOTATION_MANAGED, "false") {
        notes.push(format!(
            "Strimzi does not look after it ({ANNOTATION_MANAGED}: \"false\"): what it declares may never have been applied"
        ));
    }
    if theirs.is_annotated(ANNOTATION_PAUSED, "true") {
        notes.push(format!("Strimzi is paused for it ({ANNOTATION_PAUSED}: \"true\"): its latest changes may not have been applied"));
    }
    if theirs.status.as_ref().is_some_and(|status| status.replicas_change.is_some()) {
        notes.push("Strimzi is changing its replication factor: wait until that is done before you take it over".to_owned());
    }
    if theirs.cluster().is_none() {
        notes.push(format!("it has no label {LABEL_CLUSTER}, so Strimzi does not look after it"));
    }
    for says in notes {
        imported.note(place(&topic), says);
    }
    topic
}

/// Labels of one's own. Those with a prefix are tools', which would take a copy for the object that they look after.
fn labels(theirs: &StrimziTopic, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let all = theirs.metadata.labels.clone().unwrap_or_default();
    let (tools, own): (BTreeMap<_, _>, BTreeMap<_, _>) = all.into_iter().partition(|(label, _)| label.contains('/'));
    let told: Vec<&str> = tools.keys().map(String::as_str).filter(|label| !label.starts_with("strimzi.io/")).collect();
    if !told.is_empty() {
        notes.push(format!("labels of tools are left out: {}", told.join(", ")));
    }
    own
}

/// A number that may stand in an object.
fn bounded<T: TryFrom<i64> + PartialOrd + From<u8> + Copy + std::fmt::Display>(
    number: Option<i64>,
    most: T,
    field: &str,
    notes: &mut Vec<String>,
) -> Option<T> {
    let number = number?;
    let fits = T::try_from(number).ok().filter(|number| *number >= T::from(1) && *number <= most);
    if fits.is_none() {
        notes.push(format!("`spec.{field}` is {number} and is left out: it must be from 1 to {most}"));
    }
    fits
}

/// The configuration as texts, which Kafka takes it for anyway.
fn config(spec: &Spec, notes: &mut Vec<String>) -> BTreeMap<Text, Text> {
    let mut kept = BTreeMap::new();
    for (key, value) in spec.config.iter().flatten() {
        let checked = match text(value) {
            _ if is_of_reassignments(key) => Err("it belongs to whoever moves replicas".to_owned()),
            None => Err("its value is neither text, number, boolean nor a list of them".to_owned()),
            Some(_) if kept.len() >= MAX_CONFIG_KEYS => Err(format!("an object holds {MAX_CONFIG_KEYS} keys at most")),
            Some(text) => check_config_entry(key, &text).map(|()| text),
        };
        match checked {
            Ok(text) => {
                kept.insert(key.into(), text.into());
            }
            Err(why) => notes.push(format!("the configuration key `{key}` is left out: {why}")),
        }
    }
    kept
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(digits(number)),
        Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        Value::Null | Value::Object(_) => None,
    }
}

/// A number as Kafka reads it: `1e9` and `5.0` are whole numbers.
fn digits(number: &Number) -> String {
    let is_fraction = !number.is_i64() && !number.is_u64();
    match number.as_f64() {
        Some(value) if is_fraction && value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}

/// Gives objects other names where two of them would have one, in a namespace that they did not share before.
fn tell_apart(imported: &mut Imported) {
    let mut places = BTreeMap::<String, usize>::new();
    for topic in &imported.topics {
        *places.entry(place(topic)).or_default() += 1;
    }
    let Imported { topics, notes } = imported;
    for topic in topics.iter_mut().filter(|topic| places.get(&place(topic)).is_some_and(|count| *count > 1)) {
        let (before, kafka_name) = (place(topic), topic.kafka_name().to_owned());
        let name = names::told_apart(topic.metadata.name.as_deref().unwrap_or_default(), &kafka_name);
        topic.spec.topic_name = Some(kafka_name.clone()).filter(|kafka_name| *kafka_name != name);
        topic.metadata.name = Some(name);
        let says = format!("several objects would have this name: the one of the topic `{kafka_name}` is now {}", place(topic));
        notes.push(super::Note { about: before, says });
    }
}

#[cfg(test)]
mod tests;
