//! Deletes topics by their ids: only the controller's word counts on whether they are there.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::TopicAdmin;
use crate::error::{Error, Result};
use crate::topic::request::{Checked, check};
use crate::topic::{PerTopic, TopicDescription, TopicId};
use crate::wire;

type Answers = BTreeMap<TopicId, Result<()>>;

impl TopicAdmin {
    /// Deletes the topics with these ids. The names say what the answers are about: a topic that is gone is
    /// [`Error::UnknownTopic`], and where another has its name by now [`Error::TopicIdMismatch`]; that one is not touched.
    ///
    /// The controller itself compares the id (DeleteTopics v6, KIP-516, Kafka 2.8), so a topic that somebody recreates
    /// meanwhile is safe, and a broker that does not know of a topic yet hides none. librdkafka has no such request: it goes
    /// over a short plaintext connection of its own.
    ///
    /// # Errors
    /// The call as a whole failed; see [`TopicAdmin`].
    pub async fn delete(&self, topics: &[(&str, TopicId)]) -> Result<PerTopic<()>> {
        let Checked { send, mut refused } = check(topics.iter().copied(), valid_id);
        if send.is_empty() {
            return Ok(refused);
        }
        let answers = self.delete_by_id(&send).await?;
        let gone: Vec<&str> = send.iter().filter(|(_, id)| is_gone(&answers, id)).map(|(name, _)| *name).collect();
        // It is known that they are gone: where their names cannot be looked at, less is told.
        let found = if gone.is_empty() { PerTopic::new() } else { self.describe(&gone).await.unwrap_or_default() };
        refused.extend(named(&send, &answers, &found));
        Ok(refused)
    }

    async fn delete_by_id(&self, topics: &BTreeMap<&str, TopicId>) -> Result<Answers> {
        let cluster = self.brokers_up().await?;
        let broker = cluster.entry_point().ok_or_else(|| Error::Unreachable { reason: "the cluster shows no broker".to_owned() })?;
        let ids: BTreeSet<TopicId> = topics.values().copied().collect();
        let ids: Vec<TopicId> = ids.into_iter().collect();
        Ok(wire::delete_topics(broker, self.settings.client_id(), &ids, self.timeout).await?.into_iter().collect())
    }
}

fn valid_id(id: &TopicId) -> Result<()> {
    if id.is_zero() {
        return Err(Error::InvalidRequest {
            code: Code::InvalidArgument as i32,
            message: "a topic without an id is not deleted".to_owned(),
        });
    }
    Ok(())
}

fn is_gone(answers: &Answers, id: &TopicId) -> bool {
    matches!(answers.get(id), Some(Err(Error::UnknownTopic { .. })))
}

/// The answers by the topics' names. `found`: what has the names of those that are gone, which a broker may still take for them.
fn named(topics: &BTreeMap<&str, TopicId>, answers: &Answers, found: &PerTopic<TopicDescription>) -> PerTopic<()> {
    let answer = |(name, id): (&&str, &TopicId)| {
        let (name, expected) = ((*name).to_owned(), *id);
        let told = answers.get(id)?.clone();
        let other = found.get(&name).and_then(|found| found.as_ref().ok()).map(|found| found.id).filter(|actual| *actual != expected);
        let told = told.map_err(|error| match (error, other) {
            (Error::UnknownTopic { .. }, Some(actual)) => Error::TopicIdMismatch { topic: name.clone(), expected, actual },
            (Error::UnknownTopic { .. }, None) => Error::UnknownTopic { topic: name.clone() },
            (error, _) => error,
        });
        Some((name, told))
    };
    topics.iter().filter_map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> TopicId {
        TopicId::from_halves(0, number)
    }

    fn seen(name: &str, number: i64) -> (String, Result<TopicDescription>) {
        let description = TopicDescription { name: name.to_owned(), id: id(number), internal: false, partitions: Vec::new() };
        (name.to_owned(), Ok(description))
    }

    #[test]
    fn only_the_controller_says_that_a_topic_is_gone() {
        let unknown = || Error::UnknownTopic { topic: String::new() };
        let unknown_by_name = || Error::UnknownTopic { topic: "t".to_owned() };
        let mismatch = Error::TopicIdMismatch { topic: "t".to_owned(), expected: id(1), actual: id(2) };
        let disabled = || Error::InvalidRequest { code: 73, message: "no".to_owned() };
        for (name, answer, found, told) in [
            ("deleted", Ok(()), None, Ok(())),
            ("deleted, and made again since", Ok(()), Some(seen("t", 2)), Ok(())),
            ("gone", Err(unknown()), None, Err(unknown_by_name())),
            ("gone, and a broker does not know yet", Err(unknown()), Some(seen("t", 1)), Err(unknown_by_name())),
            ("gone, and the name cannot be looked at", Err(unknown()), Some(("t".to_owned(), Err(Error::Closed))), Err(unknown_by_name())),
            ("made again by others", Err(unknown()), Some(seen("t", 2)), Err(mismatch)),
            ("refused", Err(disabled()), Some(seen("t", 2)), Err(disabled())),
        ] {
            let answers: Answers = [(id(1), answer)].into();
            assert_eq!(is_gone(&answers, &id(1)), matches!(answers[&id(1)], Err(Error::UnknownTopic { .. })), "{name}");
            let told_by_name = named(&[("t", id(1))].into(), &answers, &found.into_iter().collect());
            assert_eq!(told_by_name, [("t".to_owned(), told)].into(), "{name}");
        }
        assert_eq!(named(&[("t", id(1))].into(), &Answers::new(), &PerTopic::new()), PerTopic::new(), "no answer is none");
        assert!(valid_id(&id(1)).is_ok() && valid_id(&id(0)).is_err());
    }
}
