//! Why Kafka did not do what was planned, with what a person can change. Pure.
//!
//! A number of partitions that Kafka does not take cannot simply be lowered: the apiserver lets it only grow, and does not
//! know whether there is a topic yet.

use penstock_kafka::Error as KafkaError;

use super::plan::TopicAction;
use crate::refusal::Refusal;

/// Why an action was not done.
#[must_use]
pub fn refused(action: &TopicAction, error: &KafkaError) -> Refusal {
    let mut refusal = Refusal::from(error);
    let may_be_the_number = matches!(error, KafkaError::InvalidPartitions { .. } | KafkaError::PolicyViolation { .. });
    if !may_be_the_number {
        return refusal;
    }
    let advice = match action {
        TopicAction::Create(new) if new.partitions.is_some() => {
            "if these are too many partitions, delete this KafkaTopic and apply it with fewer: there is no topic yet".to_owned()
        }
        TopicAction::AddPartitions { from, .. } => format!(
            "if these are too many partitions, delete this KafkaTopic with `deletionPolicy: Retain` and apply it with {from}: it adopts the topic as it is"
        ),
        _ => return refusal,
    };
    refusal.message = format!("{}; {advice}", refusal.message.trim_end_matches('.'));
    refusal
}

#[cfg(test)]
mod tests {
    use penstock_kafka::NewTopic;

    use super::*;

    #[test]
    fn too_many_partitions_can_be_taken_back() {
        let create = || TopicAction::Create(NewTopic::new("orders").with_partitions(90_000));
        let grow = || TopicAction::AddPartitions { from: 3, total: 90_000 };
        let policy = || KafkaError::PolicyViolation { message: "too many.".into() };
        let partitions = || KafkaError::InvalidPartitions { message: "too many.".into() };
        for (action, error, advice) in [
            (create(), policy(), Some("too many; if these are too many partitions, delete this KafkaTopic and apply it with fewer")),
            (create(), partitions(), Some("apply it with fewer")),
            (grow(), partitions(), Some("with `deletionPolicy: Retain` and apply it with 3")),
            (TopicAction::Create(NewTopic::new("orders")), policy(), None),
            (create(), KafkaError::Timeout { reason: "no answer".into() }, None),
        ] {
            let refusal = refused(&action, &error);
            match advice {
                Some(words) => assert!(refusal.message.contains(words), "{action:?} {error:?}: {}", refusal.message),
                None => assert_eq!(refusal, Refusal::from(&error), "{action:?}"),
            }
        }
    }
}
