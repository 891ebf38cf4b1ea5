//! Whether a topic that shall be deleted is still in use.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use penstock_crds::{KafkaClusterSpec, KafkaTopic, condition::Reason, name};
use penstock_kafka::{Error, TopicId};

use super::notice;
use crate::{clusters::ClusterConnection, refusal::Refusal};

/// The pause before it is looked again whether the topic is still in use, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// For how long after its last record the topic is protected; none: it is not, or somebody has said to delete it anyway.
#[must_use]
pub fn lasts(topic: &KafkaTopic, cluster: &KafkaClusterSpec) -> Option<Duration> {
    if topic.annotations().get(name::ANNOTATION_DELETE_ANYWAY).is_some_and(|said| said == "true") {
        return None;
    }
    let default = cluster.topic_defaults.as_ref().and_then(|defaults| defaults.deletion_protection_seconds);
    let seconds = topic.spec.deletion_protection_seconds.or(default)?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Why the topic with this id is not deleted now, if it is still in use.
///
/// # Errors
/// `TopicIdMismatch` when another topic has the name: nobody is asked who uses that one. Kafka does not answer, or refuses to tell.
pub async fn held(
    connection: &ClusterConnection,
    topic: &str,
    id: TopicId,
    lasts: Duration,
    now: Timestamp,
) -> Result<Option<Refusal>, Error> {
    if let Some(actual) = connection.topics.describe(topic).await?.map(|found| found.id).filter(|found| *found != id) {
        return Err(Error::TopicIdMismatch { topic: topic.to_owned(), expected: id, actual });
    }
    let admin = &connection.admin;
    let since = now.as_millisecond().saturating_sub(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
    let groups = connection.look("ListGroups", admin.groups_reading(topic)).await?;
    match connection.look("ListOffsets", admin.is_written_since(topic, since)).await {
        Ok(is_written) => Ok(why(&groups, is_written.then_some(lasts))),
        // A broker may not know of it yet; offsets go with a topic that is gone.
        Err(Error::UnknownTopic { .. }) => Ok(why(&groups, None)),
        Err(error) => Err(error),
    }
}

/// The pause before the next look at a topic that is held: as long as it has been held, so that it doubles.
#[must_use]
pub fn look_again(topic: &KafkaTopic, now: Timestamp) -> Duration {
    let begun = topic.metadata.deletion_timestamp.as_ref().map_or(now, |begun| begun.0);
    let held = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
    held.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)
}

fn why(groups: &BTreeSet<String>, written_within: Option<Duration>) -> Option<Refusal> {
    let read = (!groups.is_empty()).then(|| format!("it is read by the consumer groups {}", notice::some_of(groups)));
    let written = written_within.map(|lasts| format!("it has records of the last {} s", lasts.as_secs()));
    let reasons: Vec<String> = read.into_iter().chain(written).collect();
    (!reasons.is_empty()).then(|| {
        let anyway = name::ANNOTATION_DELETE_ANYWAY;
        let message =
            format!("the topic is not deleted: {}; to delete it anyway, set the annotation {anyway}: \"true\"", reasons.join(", and "));
        Refusal::new(Reason::DeletionHeld, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topic_is_protected_as_it_or_its_cluster_says() {
        for (own, default, anyway, seconds) in [
            (None, None, None, None),
            (None, Some(60), None, Some(60)),
            (Some(5), Some(60), None, Some(5)),
            (Some(0), Some(60), None, None),
            (Some(5), None, Some("true"), None),
            (Some(5), None, Some("yes"), Some(5)),
        ] {
            let topic: KafkaTopic = serde_json::from_value(json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
                "metadata": {"name": "orders", "annotations": anyway.map(|said| json!({"penstock.dev/delete-anyway": said}))},
                "spec": {"deletionProtectionSeconds": own},
            }))
            .unwrap();
            let cluster = json!({"bootstrapServers": ["kafka:9092"], "topicDefaults": {"deletionProtectionSeconds": default}});
            let cluster = serde_json::from_value(cluster).unwrap();
            assert_eq!(lasts(&topic, &cluster), seconds.map(Duration::from_secs), "{own:?} {default:?} {anyway:?}");
        }
    }

    #[test]
    fn what_is_held_is_looked_at_ever_less_often() {
        let topic: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic", "spec": {},
            "metadata": {"name": "orders", "deletionTimestamp": "2026-01-01T00:01:00Z"},
        }))
        .unwrap();
        for (now, seconds) in [
            ("2026-01-01T00:00:00Z", 10),
            ("2026-01-01T00:01:00Z", 10),
            ("2026-01-01T00:01:10Z", 10),
            ("2026-01-01T00:01:20Z", 20),
            ("2026-01-01T00:01:40Z", 40),
            ("2026-01-01T09:00:00Z", 60),
        ] {
            assert_eq!(look_again(&topic, now.parse().unwrap()).as_secs(), seconds, "{now}");
        }
    }

    #[test]
    fn whoever_uses_a_topic_is_named() {
        let groups = |count: usize| (0..count).map(|number| format!("g{number:02}")).collect::<BTreeSet<_>>();
        for (count, written, words) in [
            (0, None, None),
            (1, None, Some("groups g00; to delete")),
            (12, None, Some("g09 and 2 more; to delete")),
            (0, Some(5), Some("records of the last 5 s; to delete")),
            (1, Some(5), Some("g00, and it has records")),
        ] {
            let held = why(&groups(count), written.map(Duration::from_secs));
            assert_eq!(held.is_some(), words.is_some(), "{count} {written:?}");
            assert!(held.is_none_or(|held| held.message.contains(words.unwrap_or_default())), "{count} {written:?}");
        }
    }
}
