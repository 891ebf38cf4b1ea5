//! Reads what is imported: from the apiserver, from files, from Kafka.

use std::{collections::BTreeSet, io::Read, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    discovery,
};
use penstock_crds::{KafkaCluster, KafkaClusterSpec};
use penstock_kafka::{ConnectionSettings, Error as KafkaError, TopicAdmin, TopicConfig, TopicDescription, TopicPartition};
use serde_json::Value;

use super::{
    Note,
    existing::Existing,
    strimzi::{GROUP, KIND},
};
use crate::clusters::matches;

/// How long one request to Kafka may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many objects or topics are asked for at once.
const AT_ONCE: u32 = 200;
/// The file name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Strimzi's `KafkaTopic` objects.
pub async fn strimzi(client: Client, namespace: Option<&str>, in_all: bool) -> anyhow::Result<Vec<Value>> {
    let unknown =
        || format!("the apiserver knows no {KIND} of {GROUP}: is this the cluster with Strimzi? Otherwise give YAML with --filename");
    let group = discovery::group(&client, GROUP).await.with_context(unknown)?;
    let (resource, _) = group.recommended_kind(KIND).with_context(unknown)?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
    let api: Api<DynamicObject> =
        if in_all { Api::all_with(client, &resource) } else { Api::namespaced_with(client, &namespace, &resource) };
    let (mut objects, mut page) = (Vec::new(), ListParams::default().limit(AT_ONCE));
    loop {
        let list = api.list(&page).await.context("Strimzi's KafkaTopic objects cannot be listed")?;
        for object in list.items {
            let mut object = serde_json::to_value(object)?;
            // Items of a list do not tell what they are.
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
                fields.insert("kind".to_owned(), KIND.into());
            }
            objects.push(object);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// What stands in YAML files.
pub fn files(names: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for name in names {
        let text = text(name).with_context(|| format!("{} cannot be read", name.display()))?;
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| anyhow!("{} is no YAML: {error}", name.display()))?;
        objects.extend(read);
    }
    Ok(objects)
}

fn text(name: &Path) -> std::io::Result<String> {
    if name.as_os_str() != STANDARD_INPUT {
        return std::fs::read_to_string(name);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// What a `KafkaCluster` declares.
pub async fn cluster(client: Client, namespace: &str, name: &str) -> anyhow::Result<KafkaClusterSpec> {
    let found = Api::<KafkaCluster>::namespaced(client, namespace).get_opt(name).await.context("the KafkaCluster cannot be read")?;
    found.map(|cluster| cluster.spec).with_context(|| {
        format!("there is no KafkaCluster `{name}` in namespace `{namespace}`: name another, or the operator's namespace with --operator-namespace")
    })
}

/// A cluster of which nothing is known but its servers.
pub fn bare(servers: &[String]) -> KafkaClusterSpec {
    KafkaClusterSpec { bootstrap_servers: servers.to_vec(), ..KafkaClusterSpec::default() }
}

/// The topics of a Kafka cluster whose names fit one of the patterns, and what is told of those that cannot be read.
pub async fn kafka(servers: &[String], patterns: &[String]) -> anyhow::Result<(Vec<Existing>, Vec<Note>)> {
    let settings = ConnectionSettings::new(servers)?.with_client_id("penstock-import")?;
    let admin = TopicAdmin::new(&settings)?.with_timeout(PATIENCE);
    let listed = admin.list().await.with_context(|| format!("the topics at {} cannot be listed", servers.join(",")))?;
    let mut wanted: Vec<(String, i32)> = listed.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    wanted.retain(|(name, _)| patterns.iter().any(|pattern| matches(pattern, name)));
    wanted.sort();
    if wanted.is_empty() {
        bail!("no topic at {} has a name like {}", servers.join(","), patterns.join(" or "));
    }
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for chunk in wanted.chunks(usize::try_from(AT_ONCE)?) {
        let partitions = chunk.iter().flat_map(|(name, count)| (0..*count).map(move |partition| TopicPartition::new(name, partition)));
        let partitions: Vec<TopicPartition> = partitions.collect();
        // First: what ends after this is told as moving, never with the replicas of its move.
        let moving = admin.reassignments(&partitions).await.context("what moves between brokers cannot be told")?;
        let moving: BTreeSet<&str> = moving.keys().map(|partition| partition.topic.as_str()).collect();
        let chunk: Vec<&str> = chunk.iter().map(|(name, _)| name.as_str()).collect();
        let (described, mut configured) = tokio::try_join!(admin.describe(&chunk), admin.describe_configs_in_brief(&chunk))?;
        for (name, topic) in described {
            let is_moving = moving.contains(name.as_str());
            match read(topic, configured.remove(&name)) {
                Ok((topic, config)) => found.push(Existing { topic, config, is_moving }),
                Err(error) => unread.push(Note { says: format!("it cannot be read and is left out: {error}"), about: name }),
            }
        }
    }
    Ok((found, unread))
}

/// What is known of one topic; it may have gone since it was listed, or may not be seen.
fn read(
    topic: Result<TopicDescription, KafkaError>,
    config: Option<Result<TopicConfig, KafkaError>>,
) -> Result<(TopicDescription, TopicConfig), KafkaError> {
    let untold = || KafkaError::NotReady { code: 0, message: "Kafka does not tell its configuration".to_owned() };
    Ok((topic?, config.ok_or_else(untold)??))
}

#[cfg(test)]
mod tests {
    use penstock_kafka::TopicId;

    use super::*;

    #[test]
    fn only_what_kafka_tells_in_full_is_read() {
        let topic = || Ok(TopicDescription::new("t", TopicId::from_bytes([1; 16])));
        let gone = || KafkaError::UnknownTopic { topic: "t".to_owned() };
        for (name, topic, config, is_read) in [
            ("all of it", topic(), Some(Ok(TopicConfig::default())), true),
            ("gone since it was listed", Err(gone()), Some(Err(gone())), false),
            ("its configuration may not be seen", topic(), Some(Err(KafkaError::Authorization { message: "no".to_owned() })), false),
            ("nothing of its configuration", topic(), None, false),
        ] {
            assert_eq!(read(topic, config).is_ok(), is_read, "{name}");
        }
    }
}
