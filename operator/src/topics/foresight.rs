//! What the operator would do about a topic that exists, without doing it, but for the number of its copies: that is declared as it is,
//! or not at all. Pure.

use penstock_crds::{KafkaClusterSpec, KafkaTopic, topic::PlannedChange};
use penstock_kafka::{TopicConfig, TopicDescription};

use super::{
    approval,
    observe::observed,
    plan::{History, plan},
    reassignment::REPLICAS,
    validate::validate,
};
use crate::refusal::Refusal;

/// What would change of a topic that looks like this, once the object is not suspended any more.
///
/// # Errors
/// Why the topic would not become as declared.
pub fn changes(
    topic: &KafkaTopic,
    cluster: &KafkaClusterSpec,
    description: &TopicDescription,
    config: &TopicConfig,
) -> Result<Vec<PlannedChange>, Refusal> {
    let desired = validate(topic, cluster)?;
    let plan = plan(&desired, &History::default(), Some(&observed(description, config)));
    plan.refusal.map_or_else(|| Ok(approval::changes(&plan.actions)), Err)
}

/// Whether a configuration key belongs to whoever moves replicas, and is never set.
#[must_use]
pub fn is_of_reassignments(key: &str) -> bool {
    REPLICAS.contains(&key)
}
