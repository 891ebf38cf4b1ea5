//! An object as it was read, or what is left of one that could not be read.
//!
//! kube's own guard keeps only the metadata. What an unreadable object claims must still be known, so that nobody else
//! takes it: its raw content is kept too.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// An object, or why it could not be read.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// The parser's words.
    pub error: String,
    /// The object's metadata.
    pub metadata: ObjectMeta,
    /// The whole object as JSON.
    pub content: Value,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Value::deserialize(deserializer)?;
        Ok(Self(K::deserialize(&content).map_err(|error| Unreadable {
            error: error.to_string(),
            metadata: content.get("metadata").and_then(|metadata| ObjectMeta::deserialize(metadata).ok()).unwrap_or_default(),
            content,
        })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use penstock_crds::KafkaTopic;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unreadable_object_keeps_its_metadata_and_content() {
        for (spec, readable) in [(json!({"partitions": 3}), true), (json!({"partitions": "many", "topicName": "orders"}), false)] {
            let object: Guarded<KafkaTopic> =
                serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": spec})).unwrap();
            assert_eq!(object.meta().name.as_deref(), Some("a"));
            assert_eq!(object.0.is_ok(), readable);
            if let Err(unreadable) = object.0 {
                assert_eq!(unreadable.content["spec"], spec);
                assert!(unreadable.error.contains("many"), "{unreadable}");
            }
        }
        let nothing: Guarded<KafkaTopic> = serde_json::from_value(json!({"metadata": 5})).unwrap();
        assert_eq!((nothing.meta().name.as_deref(), nothing.0.is_err()), (None, true));
    }
}
