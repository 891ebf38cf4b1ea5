//! Condition types and reasons: the words by which the state of an object is told, each defined once.
//!
//! Reasons are part of the API: alerts and scripts match on them, so they are never renamed. Pure: the time of a change is handed in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The declared state was seen in Kafka and Kubernetes.
    Ready,
    /// Every topic that a pipeline needs is ready.
    TopicsReady,
    /// As many workers as declared are ready.
    WorkersAvailable,
    /// The pipeline's group went on where it had stopped, in every partition.
    PositionsKept,
    /// The operator sets the number of workers by what waits.
    ScalingActive,
    /// Somebody else's change makes the topic differ from what is declared.
    Drifted,
    /// Every partition of a topic has a leader, and all its replicas are in sync.
    Healthy,
}

impl ConditionType {
    /// The word in the object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::TopicsReady => "TopicsReady",
            Self::WorkersAvailable => "WorkersAvailable",
            Self::PositionsKept => "PositionsKept",
            Self::ScalingActive => "ScalingActive",
            Self::Drifted => "Drifted",
            Self::Healthy => "Healthy",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// The word in the object.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// All is as declared.
    AsDeclared,
    /// The object could not be read, or what it says makes no sense together.
    InvalidSpec,
    /// `spec.suspend` is true: nothing is written.
    Suspended,
    /// The Kafka cluster answers.
    Connected,
    /// The Kafka cluster does not answer.
    KafkaUnreachable,
    /// Kafka refused the operator's or a worker's credentials or rights.
    KafkaUnauthorized,
    /// A `KafkaCluster` outside of the operator's namespace: it has no effect.
    WrongNamespace,
    /// No `KafkaCluster` of that name stands in the operator's namespace.
    ClusterNotFound,
    /// The `KafkaCluster` is there, but not ready.
    ClusterNotReady,
    /// The servers of a `KafkaCluster` lead to another Kafka cluster than before.
    ClusterIdChanged,
    /// The `KafkaCluster` does not allow this namespace.
    ClusterNotAllowed,
    /// An older `KafkaTopic` owns the topic.
    TopicConflict,
    /// The topic has more partitions than declared; Kafka cannot take any away.
    PartitionDecreaseRefused,
    /// Partitions move between brokers, so that each has as many copies as declared.
    Reassigning,
    /// Another tool moves the topic's partitions, or has set a throttle on the topic: nothing is done beside it.
    ReassignmentOfOthers,
    /// The spec asks for more than the `KafkaCluster` allows.
    LimitExceeded,
    /// The topic is not deleted while it is read or written.
    DeletionHeld,
    /// Somebody changed the topic behind the object's back, and it was not set back yet.
    DriftFound,
    /// Somebody changed the topic behind the object's back, and it was set back.
    DriftReverted,
    /// Every partition of the topic has a leader, and all its replicas are in sync.
    ReplicasInSync,
    /// Partitions of the topic have replicas that are not in sync.
    UnderReplicated,
    /// Partitions of the topic have fewer replicas in sync than `min.insync.replicas`.
    UnderMinIsr,
    /// Partitions of the topic have no leader.
    OfflinePartitions,
    /// The changes in `status.plan` wait until somebody approves them.
    AwaitingApproval,
    /// More partitions would move keys of a compacted topic, and the spec does not allow it.
    KeyMovesRefused,
    /// The Kafka cluster has fewer brokers than each partition shall have copies.
    NotEnoughBrokers,
    /// A policy of the Kafka cluster refused the request; the message holds its words.
    PolicyViolation,
    /// The brokers are configured to delete no topics (`delete.topic.enable=false`).
    DeletionDisabled,
    /// Kafka refuses to delete the topic now because of a quota; it is tried again.
    Throttled,
    /// Kafka refused the request; the message holds Kafka's own words.
    RefusedByKafka,
    /// Kafka does not know one of the configuration keys, or refuses its value.
    InvalidConfig,
    /// Another topic with this name stands where the one was that this object owned, or that the pipeline's group had read.
    TopicRecreated,
    /// A change was sent and is not seen yet.
    Progressing,
    /// The topic is being deleted, or waits to be.
    Deleting,
    /// A `KafkaTopic` that the pipeline names does not exist.
    TopicNotFound,
    /// A `KafkaTopic` that the pipeline names is not ready.
    TopicNotReady,
    /// A `KafkaTopic` that the pipeline names is on another Kafka cluster.
    TopicOnOtherCluster,
    /// The ConfigMap with the public keys of `source.http.auth`, or its key, does not exist.
    KeysNotFound,
    /// Every topic is ready.
    TopicsReady,
    /// The processor does not take one of the options, or refuses its value.
    InvalidOptions,
    /// The processor needs a sink, table or other source than the pipeline has.
    ProcessorMismatch,
    /// An object with the name of one that the pipeline needs exists, and is not the pipeline's.
    NameConflict,
    /// As many workers as declared are ready.
    WorkersAvailable,
    /// Fewer workers than declared are ready.
    WorkersUnavailable,
    /// New workers are replacing old ones.
    RollingOut,
    /// Workers crash, or their image cannot be started; the message says what Kubernetes reports.
    WorkersFailing,
    /// The pipeline is scaled to no workers.
    ScaledToZero,
    /// Kubernetes refused one of the objects that the pipeline needs; the message holds its words.
    RefusedByKubernetes,
    /// The pipeline's group went on where it had stopped, in every partition.
    PositionsKept,
    /// The offset at which the pipeline's group had stopped was not in the partition any more.
    OffsetOutOfRange,
    /// There are as many workers as it takes.
    AsNeeded,
    /// More workers are needed for what waits to be handled in time.
    Behind,
    /// Fewer workers have been enough for the whole window.
    FewerEnough,
    /// Fewer workers would be enough now; whether that lasts is to be seen.
    Watching,
    /// Fewer workers have been enough for the whole window, and would save less than the step costs.
    ScaleDownTooCostly,
    /// Nothing comes, so no workers run.
    Asleep,
    /// Something came while no workers ran.
    Awake,
    /// A worker must commit where the group begins.
    Beginning,
    /// The number of workers was below the minimum or above the maximum.
    OutOfBounds,
    /// The most workers that are allowed are not enough.
    AtMaximum,
    /// There are not enough partitions for as many workers as it would take.
    AtPartitions,
    /// One partition is more than a worker can handle.
    HotPartition,
    /// Partitions with much to do have met at one worker: another number of workers shares them out anew.
    Crowded,
    /// More workers did not do more: the last step up was taken back.
    ScaleUpIneffective,
    /// What waits could not be read: the number of workers stays.
    LagUnknown,
    /// The group is sharing its partitions out anew.
    Rebalancing,
    /// Workers that are declared are not ready yet.
    WorkersStarting,
    /// The last step up is still to show what it is good for.
    OnTrial,
    /// Workers have work, and commit nothing.
    NoProgress,
    /// How fast workers are is still being measured.
    Measuring,
}

/// What a condition shall say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it speaks of.
    pub kind: ConditionType,
    /// True, False, or (None) Unknown.
    pub status: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// What a person should know or do.
    pub message: String,
}

impl Statement {
    /// A statement.
    #[must_use]
    pub fn new(kind: ConditionType, status: Option<bool>, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    /// Whether these conditions say the same already, whatever their status.
    #[must_use]
    pub fn is_told_by(&self, conditions: &[Condition]) -> bool {
        let told = conditions.iter().find(|condition| condition.type_ == self.kind.as_str());
        told.is_some_and(|told| told.reason == self.reason.as_str() && told.message == shortened(&self.message))
    }
}

/// The longest message that a condition carries, in bytes (the schema of Kubernetes allows 32 KiB).
const MAX_MESSAGE: usize = 4 * 1024;

/// Turns statements into conditions, keeping the transition time of each whose status did not change.
#[must_use]
pub fn conditions(previous: &[Condition], now: &Time, generation: Option<i64>, statements: &[Statement]) -> Vec<Condition> {
    statements
        .iter()
        .map(|s| {
            let status = match s.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let since = previous
                .iter()
                .find(|p| p.type_ == s.kind.as_str() && p.status == status)
                .map_or_else(|| now.clone(), |p| p.last_transition_time.clone());
            Condition {
                type_: s.kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: s.reason.as_str().to_owned(),
                message: shortened(&s.message),
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect()
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    message.get(..end).map(|m| format!("{m}…")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: &str) -> Time {
        serde_json::from_value(serde_json::json!(format!("2026-01-01T00:00:{second}Z"))).unwrap()
    }

    #[test]
    fn transition_time_changes_only_with_status() {
        let ready = |status, reason| [Statement::new(ConditionType::Ready, status, reason, "m")];
        let first = conditions(&[], &at("01"), Some(1), &ready(Some(false), Reason::KafkaUnreachable));
        let other_reason = conditions(&first, &at("02"), Some(1), &ready(Some(false), Reason::TopicConflict));
        let other_status = conditions(&other_reason, &at("03"), Some(2), &ready(Some(true), Reason::AsDeclared));
        assert_eq!(other_reason[0].last_transition_time, at("01"));
        assert_eq!(other_reason[0].reason, "TopicConflict");
        assert_eq!(other_status[0].last_transition_time, at("03"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ü".repeat(MAX_MESSAGE);
        let cut = shortened(&long);
        assert!(cut.len() <= MAX_MESSAGE + '…'.len_utf8() && cut.ends_with('…'));
        let statement = Statement::new(ConditionType::Ready, Some(false), Reason::RefusedByKafka, long);
        let told = conditions(&[], &at("01"), None, std::slice::from_ref(&statement));
        assert!(statement.is_told_by(&told) && !statement.is_told_by(&[]));
        assert!(!Statement { reason: Reason::InvalidConfig, ..statement }.is_told_by(&told));
    }
}
