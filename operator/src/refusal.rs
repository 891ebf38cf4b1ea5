//! Why something cannot be as declared: a reason that scripts match on, and what a person should change. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use penstock_crds::condition::{ConditionType, Reason, Statement};
use penstock_kafka::Error as KafkaError;

/// Kafka's error codes, where the class of an error does not tell enough.
const TOPIC_DELETION_DISABLED: i32 = 73;
const THROTTLING_QUOTA_EXCEEDED: i32 = 89;

/// Why something cannot be as declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason, as it stands in a condition.
    pub reason: Reason,
    /// What to change.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// `Ready=False` for this reason.
    #[must_use]
    pub fn not_ready(&self) -> Statement {
        Statement::new(ConditionType::Ready, Some(false), self.reason, self.message.clone())
    }

    /// The same, in the words of before where Kafka stays away: those of each attempt differ, and say nothing new.
    #[must_use]
    pub fn still_not_ready(&self, before: &[Condition]) -> Statement {
        let mut statement = self.not_ready();
        let told = before.iter().find(|c| c.type_ == ConditionType::Ready.as_str() && c.reason == self.reason.as_str());
        if let (Reason::KafkaUnreachable, Some(told)) = (self.reason, told) {
            statement.message.clone_from(&told.message);
        }
        statement
    }
}

impl From<&KafkaError> for Refusal {
    fn from(error: &KafkaError) -> Self {
        let reason = match error {
            KafkaError::Unreachable { .. }
            | KafkaError::Timeout { .. }
            | KafkaError::Fatal { .. }
            | KafkaError::Closed
            | KafkaError::InvalidSettings(_) => Reason::KafkaUnreachable,
            KafkaError::Authorization { .. } => Reason::KafkaUnauthorized,
            KafkaError::InvalidTopicName { .. } => Reason::InvalidSpec,
            KafkaError::InvalidConfig { .. } => Reason::InvalidConfig,
            KafkaError::TopicIdMismatch { .. } => Reason::TopicRecreated,
            KafkaError::PolicyViolation { .. } => Reason::PolicyViolation,
            KafkaError::InvalidReplicationFactor { .. } => Reason::NotEnoughBrokers,
            KafkaError::InvalidRequest { code: TOPIC_DELETION_DISABLED, .. } => Reason::DeletionDisabled,
            KafkaError::NotReady { code: THROTTLING_QUOTA_EXCEEDED, .. } => Reason::Throttled,
            // They pass by themselves, or tell of somebody who acts at the same time: the next look says more.
            KafkaError::NotReady { .. } | KafkaError::UnknownTopic { .. } | KafkaError::TopicExists { .. } => Reason::Progressing,
            _ => Reason::RefusedByKafka,
        };
        Self { reason, message: without_times(&error.to_string()) }
    }
}

/// The words of the client library without its stop-watch (`(after 3ms in state CONNECT, 4 identical error(s) suppressed)`),
/// so that the same failure has the same words each time.
fn without_times(words: &str) -> String {
    let Some((before, after)) = words.split_once(" (after ") else { return words.to_owned() };
    let mut open = 1;
    let rest = after.split_once(|c| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        open == 0
    });
    format!("{before}{}", rest.map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_errors_have_reasons() {
        let message = || "words".to_owned();
        for (error, reason) in [
            (KafkaError::Unreachable { reason: message() }, Reason::KafkaUnreachable),
            (KafkaError::Timeout { reason: message() }, Reason::KafkaUnreachable),
            (KafkaError::Authorization { message: message() }, Reason::KafkaUnauthorized),
            (KafkaError::InvalidConfig { message: message() }, Reason::InvalidConfig),
            (KafkaError::InvalidPartitions { message: message() }, Reason::RefusedByKafka),
            (KafkaError::InvalidReplicationFactor { message: message() }, Reason::NotEnoughBrokers),
            (KafkaError::PolicyViolation { message: message() }, Reason::PolicyViolation),
            (KafkaError::InvalidRequest { code: 73, message: message() }, Reason::DeletionDisabled),
            (KafkaError::InvalidRequest { code: 42, message: message() }, Reason::RefusedByKafka),
            (KafkaError::NotReady { code: 89, message: message() }, Reason::Throttled),
            (KafkaError::NotReady { code: 5, message: message() }, Reason::Progressing),
        ] {
            let refusal = Refusal::from(&error);
            assert_eq!(refusal.reason, reason, "{error:?}");
            assert!(refusal.message.contains("words"), "{error:?}");
        }
    }

    #[test]
    fn the_same_failure_has_the_same_words() {
        let refused = "10.0.0.1:9092/0: Connect to ipv4#10.0.0.1:9092 failed: Connection refused";
        for (words, expected) in [
            (format!("{refused} (after 0ms in state CONNECT)"), refused.to_owned()),
            (format!("{refused} (after 7ms in state CONNECT, 4 identical error(s) suppressed)"), refused.to_owned()),
            (format!("{refused} (after 7ms in state CONNECT): 1/1 down"), format!("{refused}: 1/1 down")),
            ("timed out".to_owned(), "timed out".to_owned()),
        ] {
            assert_eq!(without_times(&words), expected);
        }
    }
}
