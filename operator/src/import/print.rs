//! Writes objects as a person would: without what goes without saying. Pure.

use penstock_crds::{KafkaTopic, KafkaTopicSpec};
use serde_json::Value;

/// Why objects cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// As JSON.
    #[error("an object cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error("an object cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser_error::Error),
}

/// The objects as one YAML text.
///
/// # Errors
/// One of them cannot be written.
pub fn yaml(topics: &[KafkaTopic]) -> Result<String, PrintError> {
    let mut text = String::new();
    for topic in topics {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&brief(topic)?)?);
    }
    Ok(text)
}

/// The object without fields that say what their defaults do.
fn brief(topic: &KafkaTopic) -> Result<Value, serde_json::Error> {
    let (mut object, defaults) = (serde_json::to_value(topic)?, serde_json::to_value(KafkaTopicSpec::default())?);
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, value| defaults.get(field) != Some(value));
    }
    Ok(object)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::import::object;

    /// The objects that a text holds, where it says nothing else than they do.
    pub fn strictly(text: &str) -> Vec<KafkaTopic> {
        let values: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let read = |value: Value| -> KafkaTopic {
            let topic: KafkaTopic = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(brief(&topic).unwrap(), value, "a field that is not known");
            topic
        };
        values.into_iter().map(read).collect()
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        let mut topic = object("orders.dlt", Some("shop"), Some("big"), "orders.DLT", [("team".to_owned(), "yes".to_owned())].into());
        topic.spec.partitions = Some(3);
        // Words that YAML takes for something else.
        for (key, value) in
            [("a", "604800000"), ("b", "true"), ("c", "1e3"), ("d", ""), ("e", "compact,delete"), ("f", "0x10"), ("g", "no")]
        {
            topic.spec.config.insert(key.into(), value.into());
        }
        let other = object("plain", None, Some("default"), "plain", [].into());
        let text = yaml(&[topic.clone(), other.clone()]).unwrap();
        assert_eq!(strictly(&text), [topic, other]);
        for absent in ["status", "deletionPolicy", "approval", "clusterRef: default", "labels: {}"] {
            assert!(!text.contains(absent), "{text}");
        }
        assert!(text.ends_with("spec:\n  suspend: true\n"), "{text}");
    }
}
