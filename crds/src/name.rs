//! Labels, annotations, finalizers and field managers, and the names of the objects that a pipeline owns. Pure.

use sha2::{Digest, Sha256};

/// On a `KafkaTopic` that is being deleted, with the value `true`: its topic is deleted although it is protected.
pub const ANNOTATION_DELETE_ANYWAY: &str = "penstock.dev/delete-anyway";
/// On a `KafkaTopic` with `approval: Manual`: the generation whose changes are approved.
pub const ANNOTATION_APPROVE: &str = "penstock.dev/approve";
/// On every object that the operator made.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "penstock-operator";
/// What an object is: `worker`.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// The value of [`LABEL_COMPONENT`] on what belongs to a pipeline.
pub const COMPONENT_WORKER: &str = "worker";
/// `penstock`.
pub const LABEL_PART_OF: &str = "app.kubernetes.io/part-of";
/// The value of [`LABEL_PART_OF`].
pub const PART_OF: &str = "penstock";
/// The processor that a worker runs.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// The pipeline that an object belongs to, by its (possibly shortened) name.
pub const LABEL_PIPELINE: &str = "penstock.dev/pipeline";
/// On a pod: the hash of the configuration that it runs with. A change of it rolls the pods.
pub const ANNOTATION_CONFIG_HASH: &str = "penstock.dev/config-hash";
/// On a `KafkaTopic` with `deletionPolicy: Delete`: the topic in Kafka goes before the object does.
pub const FINALIZER_TOPIC: &str = "penstock.dev/topic";
/// The field manager of the reconcilers.
pub const FIELD_MANAGER: &str = "penstock-operator";
/// The suffix of a derived dead letter topic.
pub const DEAD_LETTER_SUFFIX: &str = ".DLT";

/// The longest name that a label value, a Service and a pod's host name may have.
const MAX_LABEL: usize = 63;
/// The longest name of an object.
const MAX_OBJECT: usize = 253;
/// The longest name that Kafka allows for a topic.
const MAX_TOPIC: usize = 249;
/// What a shortened name ends with: a dash and eight hexadecimal digits.
const HASH_LENGTH: usize = 9;

/// The name of the Deployment, Service, ServiceAccount, ConfigMap and PodDisruptionBudget of a pipeline, and the value of
/// [`LABEL_PIPELINE`]: the pipeline's own name where it is a DNS label of 1 to 63 characters that begins with a letter,
/// else a shortened form of it with a hash of the whole.
#[must_use]
pub fn owned_name(pipeline: &str) -> String {
    if is_service_name(pipeline) {
        return pipeline.to_owned();
    }
    let mut stem: String = pipeline
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(MAX_LABEL - HASH_LENGTH)
        .collect();
    if !stem.starts_with(|c: char| c.is_ascii_lowercase()) {
        stem = format!("p-{stem}").chars().take(MAX_LABEL - HASH_LENGTH).collect();
    }
    format!("{}-{}", stem.trim_end_matches('-'), short_hash(pipeline.as_bytes()))
}

/// What a topic is for that a pipeline derives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Records that could not be handled.
    DeadLetters,
    /// Records that wait for another attempt.
    Retries,
    /// Records that wait behind others.
    HeldBack,
}

/// How the name of the object of a derived topic ends.
const DEAD_LETTERS: &str = "-dlt";
const HELD_BACK: &str = "-held";

/// What the derived topic is for whose object has this name.
#[must_use]
pub fn purpose(object: &str) -> Purpose {
    if object.ends_with(DEAD_LETTERS) {
        Purpose::DeadLetters
    } else if object.ends_with(HELD_BACK) {
        Purpose::HeldBack
    } else {
        Purpose::Retries
    }
}

/// The name of the `KafkaTopic` object of the dead letter topic that a pipeline derives from this source topic. Another
/// source topic gives another object, since an object's topic cannot change.
#[must_use]
pub fn dead_letter_object(pipeline: &str, source: &str) -> String {
    bounded(format!("{pipeline}-{source}"), DEAD_LETTERS, MAX_OBJECT)
}

/// The name of the `KafkaTopic` object of the retry topic, counted from 1, that a pipeline derives from this source topic.
#[must_use]
pub fn retry_object(pipeline: &str, source: &str, tier: usize) -> String {
    bounded(format!("{pipeline}-{source}"), &format!("-retry-{tier}"), MAX_OBJECT)
}

/// The name in Kafka of the retry topic, counted from 1, that a group has for a source topic.
#[must_use]
pub fn retry_topic(source: &str, group: &str, tier: usize) -> String {
    bounded(format!("{source}.{group}"), &format!(".retry.{tier}"), MAX_TOPIC)
}

/// The name of the `KafkaTopic` object of the topic in which records wait behind others, that a pipeline derives from this
/// source topic.
#[must_use]
pub fn held_object(pipeline: &str, source: &str) -> String {
    bounded(format!("{pipeline}-{source}"), HELD_BACK, MAX_OBJECT)
}

/// The name in Kafka of the topic in which records of a source topic wait behind others of a group.
#[must_use]
pub fn held_topic(source: &str, group: &str) -> String {
    bounded(format!("{source}.{group}"), ".held", MAX_TOPIC)
}

/// The name with the suffix; where that is too long, shortened with a hash of the whole name.
fn bounded(name: String, suffix: &str, max: usize) -> String {
    if name.len() + suffix.len() <= max {
        return name + suffix;
    }
    let stem: String = name.chars().take(max - HASH_LENGTH - suffix.len()).collect();
    format!("{}-{}{suffix}", stem.trim_end_matches(['-', '.']), short_hash(name.as_bytes()))
}

/// The consumer group of a pipeline that names none.
#[must_use]
pub fn default_group(namespace: &str, pipeline: &str) -> String {
    bounded(format!("{namespace}.{pipeline}"), "", MAX_TOPIC)
}

/// Eight hexadecimal digits that keep names apart which are otherwise the same.
#[must_use]
pub fn short_hash(bytes: &[u8]) -> String {
    hex(bytes, 4)
}

/// 32 hexadecimal digits that stand for these bytes: no other content has the same ones, not even on purpose.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    hex(bytes, 16)
}

fn hex(bytes: &[u8], length: usize) -> String {
    let digits = Sha256::digest(bytes).into_iter().take(length).flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_LABEL
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_names_are_dns_labels_and_differ() {
        let long = "x".repeat(64);
        let longer = "x".repeat(65);
        assert_eq!(owned_name("payments"), "payments");
        for name in ["a.b", "a-b.", "1st", long.as_str(), longer.as_str(), "9.9", "-"] {
            let owned = owned_name(name);
            assert!(is_service_name(&owned), "{name} -> {owned}");
            assert_ne!(owned, name);
        }
        assert_ne!(owned_name(&long), owned_name(&longer));
        assert_ne!(owned_name("a.b"), owned_name("a_b"));
    }

    #[test]
    fn long_names_stay_within_their_bounds() {
        let name = "n".repeat(253);
        assert!(dead_letter_object(&name, "orders").len() <= 253);
        assert!(default_group(&"s".repeat(63), &name).len() <= 249);
        assert!(retry_object(&name, "orders", 5).len() <= 253);
        assert!(retry_topic(&"t".repeat(249), "g", 1).len() <= 249);
        assert_ne!(retry_topic(&"t".repeat(249), "g", 1), retry_topic(&"t".repeat(249), "h", 1));
        assert_eq!(retry_topic("orders", "shop.payments", 2), "orders.shop.payments.retry.2");
        assert_eq!(retry_object("payments", "orders", 2), "payments-orders-retry-2");
        assert_eq!(held_topic("orders", "shop.payments"), "orders.shop.payments.held");
        assert_eq!(held_object("payments", "orders"), "payments-orders-held");
        assert_eq!(default_group("shop", "payments"), "shop.payments");
        assert_eq!(dead_letter_object("payments", "orders"), "payments-orders-dlt");
    }

    #[test]
    fn a_name_tells_what_a_derived_topic_is_for() {
        for pipeline in ["p", &"n".repeat(253)] {
            let objects = [dead_letter_object(pipeline, "in-held"), retry_object(pipeline, "in-dlt", 2), held_object(pipeline, "in-dlt")];
            assert_eq!(objects.map(|object| purpose(&object)), [Purpose::DeadLetters, Purpose::Retries, Purpose::HeldBack]);
        }
    }

    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        assert_eq!(short_hash(b"abc"), "ba7816bf");
        assert_eq!(fingerprint(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
    }
}
