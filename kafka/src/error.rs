//! What can go wrong between an application and Kafka, by what the caller can do about it. Pure.
//!
//! A variant says whether to retry, to wait, to refuse the input or to rebuild the client; the message of the broker is
//! kept word for word, because it names the offending key or rule.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::connection::InvalidSettings;
use crate::topic::TopicId;

/// The result of everything in this crate that talks to Kafka.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call to Kafka failed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No broker could be asked; nothing was sent. Retry with backoff.
    #[error("Kafka is unreachable: {reason}")]
    Unreachable {
        /// The last reason the client gave.
        reason: String,
    },
    /// The request was sent, and no answer came in time, before the connection broke or before the client was dropped: it may have
    /// taken effect. Look before repeating it.
    #[error("no answer from Kafka in time; the outcome is unknown: {reason}")]
    Timeout {
        /// What was waited for.
        reason: String,
    },
    /// The topic, or that partition of it, does not exist (or is not visible to this principal).
    #[error("topic {topic} does not exist")]
    UnknownTopic {
        /// The topic's name; empty where Kafka did not say which one.
        topic: String,
    },
    /// A topic of this name exists already.
    #[error("topic {topic} exists already")]
    TopicExists {
        /// The topic's name.
        topic: String,
    },
    /// The topic of this name is another one than the caller meant: it was deleted and created again.
    #[error("topic {topic} has id {actual}, expected {expected}: it was recreated by somebody else")]
    TopicIdMismatch {
        /// The topic's name.
        topic: String,
        /// The id the caller gave.
        expected: TopicId,
        /// The id seen in Kafka.
        actual: TopicId,
    },
    /// The principal lacks a permission, or authentication failed. Retrying helps only after somebody grants it.
    #[error("Kafka refused the access: {message}")]
    Authorization {
        /// The broker's own words.
        message: String,
    },
    /// The name breaks Kafka's rules for topic names.
    #[error("invalid topic name: {message}")]
    InvalidTopicName {
        /// Which rule.
        message: String,
    },
    /// The partition count is not possible (for example lower than the current one).
    #[error("invalid partition count: {message}")]
    InvalidPartitions {
        /// The broker's own words.
        message: String,
    },
    /// The replication factor is not possible (for example more than there are brokers).
    #[error("invalid replication factor: {message}")]
    InvalidReplicationFactor {
        /// The broker's own words.
        message: String,
    },
    /// A configuration key or value was refused.
    #[error("invalid configuration: {message}")]
    InvalidConfig {
        /// The broker's own words, which name the key.
        message: String,
    },
    /// A policy of the cluster (for example a `create.topic.policy`) refused the request.
    #[error("refused by a policy of the cluster: {message}")]
    PolicyViolation {
        /// The broker's own words.
        message: String,
    },
    /// Any other request that can never succeed as it is.
    #[error("Kafka refused the request ({code}): {message}")]
    InvalidRequest {
        /// Kafka's error code; negative for an error of the client library.
        code: i32,
        /// The broker's own words.
        message: String,
    },
    /// The record is larger than the client or the topic accepts.
    #[error("record too large: {message}")]
    RecordTooLarge {
        /// The limit that was hit, as far as known.
        message: String,
    },
    /// The record was not stored because another one of its batch was refused: nothing is wrong with this one.
    #[error("not stored, because another record of its batch was refused: {message}")]
    BatchRefused {
        /// The library's own words.
        message: String,
    },
    /// The offset asked for is not in the partition: deleted by retention, or the topic was recreated.
    #[error("offset out of range: {message}")]
    OffsetOutOfRange {
        /// Where.
        message: String,
    },
    /// Another member or producer took over; what this one still wants to write or commit no longer counts.
    #[error("fenced: {message}")]
    Fenced {
        /// What fenced it.
        message: String,
    },
    /// The transaction has failed and takes no more records. Its commit says why, and aborts it.
    #[error("the transaction has failed and takes no more records; its commit says why")]
    TransactionFailed,
    /// The client cannot go on; drop it and make a new one.
    #[error("the client failed and must be rebuilt: {message}")]
    Fatal {
        /// Why.
        message: String,
    },
    /// A passing condition of the cluster (leader election, coordinator loading, throttling). Retry with backoff.
    #[error("Kafka is not ready ({code}): {message}")]
    NotReady {
        /// Kafka's error code.
        code: i32,
        /// The broker's own words.
        message: String,
    },
    /// The producer refuses records for a while, because too many have failed in a row. Nothing was sent.
    #[error("the circuit is open after too many failures in a row: nothing is sent for another {} ms", .retry_after.as_millis())]
    CircuitOpen {
        /// How long to wait before the next attempt.
        retry_after: std::time::Duration,
    },
    /// The settings of the client are wrong.
    #[error(transparent)]
    InvalidSettings(#[from] InvalidSettings),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// An error of the cluster or the client library that fits nowhere else.
    #[error("Kafka error {code}: {message}")]
    Other {
        /// Kafka's error code; negative for an error of the client library.
        code: i32,
        /// The words that came with it.
        message: String,
    },
}

impl Error {
    /// The same call may succeed later without a change. After [`Error::outcome_unknown`] look before repeating.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::Timeout { .. }
                | Error::NotReady { .. }
                | Error::CircuitOpen { .. }
                | Error::BatchRefused { .. }
        )
    }

    /// The topic does not take this record for what it is, whatever its size: one without a key in a compacted topic, say.
    pub fn is_of_record(&self) -> bool {
        let codes = [Code::InvalidRecord as i32, Code::InvalidTimestamp as i32];
        matches!(self, Error::InvalidRequest { code, .. } if codes.contains(code))
    }

    /// The client object is of no use any more: drop it and build a new one.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Error::Fatal { .. } | Error::Closed | Error::InvalidSettings(_))
    }

    /// The request may have taken effect although it failed.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Error::Timeout { .. })
    }

    /// Classifies an error code of Kafka or librdkafka. `topic` is what the call was about, if one topic.
    pub(crate) fn from_code(code: Code, message: impl fmt::Display, topic: Option<&str>) -> Error {
        let message = message.to_string();
        let topic = || topic.unwrap_or_default().to_owned();
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Error::UnknownTopic { topic: topic() },
            Code::TopicAlreadyExists => Error::TopicExists { topic: topic() },
            Code::InvalidTopic => Error::InvalidTopicName { message },
            Code::InvalidPartitions => Error::InvalidPartitions { message },
            Code::InvalidReplicationFactor | Code::InvalidReplicaAssignment => Error::InvalidReplicationFactor { message },
            Code::InvalidConfig => Error::InvalidConfig { message },
            Code::PolicyViolation => Error::PolicyViolation { message },
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Error::RecordTooLarge { message },
            Code::InvalidDifferentRecord => Error::BatchRefused { message },
            Code::OffsetOutOfRange | Code::AutoOffsetReset => Error::OffsetOutOfRange { message },
            Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::NetworkException | Code::BrokerNotAvailable => {
                Error::Unreachable { reason: message }
            }
            Code::OperationTimedOut | Code::MessageTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
                Error::Timeout { reason: message }
            }
            _ if is_authorization(code) => Error::Authorization { message },
            _ if is_fencing(code) => Error::Fenced { message },
            _ if is_fatal(code) => Error::Fatal { message },
            _ if is_passing(code) => Error::NotReady { code: code as i32, message },
            Code::InvalidRequest
            | Code::InvalidArgument
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::DuplicateResource
            | Code::TopicDeletionDisabled
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature => Error::InvalidRequest { code: code as i32, message },
            _ => Error::Other { code: code as i32, message },
        }
    }

    /// Classifies an error of rdkafka.
    pub(crate) fn from_rdkafka(error: &KafkaError, topic: Option<&str>) -> Error {
        match error {
            KafkaError::MessageConsumptionFatal(code) => Error::Fatal { message: code.to_string() },
            KafkaError::Canceled => Error::Closed,
            KafkaError::ClientConfig(_, message, key, value) => {
                Error::InvalidSettings(InvalidSettings::new(format!("{message} ({key} = {value})")))
            }
            KafkaError::ClientCreation(message) => Error::InvalidSettings(InvalidSettings::new(message.clone())),
            _ => match error.rdkafka_error_code() {
                Some(code) => Error::from_code(code, code, topic),
                None => Error::Other { code: Code::Unknown as i32, message: error.to_string() },
            },
        }
    }
}

fn is_authorization(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::SSL
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
    )
}

fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::AssignmentLost
    )
}

fn is_fatal(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::GaplessGuarantee
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::InvalidProducerIdMapping
            | Code::CriticalSystemResource
    )
}

fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::RebalanceInProgress
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::ListenerNotFound
            | Code::OffsetNotAvailable
            | Code::ReassignmentInProgress
            | Code::ThrottlingQuotaExceeded
            | Code::ConcurrentTransactions
            | Code::UnstableOffsetCommit
            | Code::StaleMemberEpoch
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::QueueFull
            | Code::InProgress
            | Code::PreviousInProgress
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_the_class_a_caller_acts_on() {
        // (code, retriable, outcome unknown, fatal)
        let table = [
            (Code::AllBrokersDown, true, false, false),
            (Code::OperationTimedOut, true, true, false),
            (Code::MessageTimedOut, true, true, false),
            (Code::NotController, true, false, false),
            (Code::ThrottlingQuotaExceeded, true, false, false),
            (Code::UnknownTopicOrPartition, false, false, false),
            (Code::TopicAlreadyExists, false, false, false),
            (Code::InvalidConfig, false, false, false),
            (Code::PolicyViolation, false, false, false),
            (Code::TopicAuthorizationFailed, false, false, false),
            (Code::ProducerFenced, false, false, false),
            (Code::Fatal, false, false, true),
            (Code::InvalidRequest, false, false, false),
            (Code::InvalidRecord, false, false, false),
            (Code::InvalidDifferentRecord, true, false, false),
        ];
        let of_record = |code| Error::from_code(code, code, Some("t")).is_of_record();
        assert_eq!([Code::InvalidRecord, Code::InvalidDifferentRecord, Code::InvalidRequest].map(of_record), [true, false, false]);
        for (code, retriable, unknown, fatal) in table {
            let error = Error::from_code(code, code, Some("t"));
            assert_eq!((error.is_retriable(), error.outcome_unknown(), error.is_fatal()), (retriable, unknown, fatal), "{code:?}: {error}");
        }
    }

    #[test]
    fn the_brokers_words_and_the_topic_are_kept() {
        let table = [
            (Code::InvalidConfig, "Unknown topic config name: x", "invalid configuration: Unknown topic config name: x"),
            (Code::UnknownTopicOrPartition, "whatever", "topic orders does not exist"),
            (Code::InvalidPartitions, "currently 3", "invalid partition count: currently 3"),
            (Code::InvalidRequest, "no", "Kafka refused the request (42): no"),
        ];
        for (code, message, text) in table {
            assert_eq!(Error::from_code(code, message, Some("orders")).to_string(), text);
        }
    }
}
