//! The public keys by which the tokens of an HTTP source are checked: whether they are where the pipeline says. Pure, but for
//! [`look`].
//!
//! What the keys are is the workers' business, and so is what becomes of them later: a worker that runs has read them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use penstock_crds::{EventPipelineSpec, condition::Reason, pipeline::Jwks};

use crate::refusal::Refusal;

/// What was seen of the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeenKeys {
    /// They are there, none are asked for, or the apiserver could not be asked: Kubernetes itself starts no pod without them.
    #[default]
    Fine,
    /// There is no such ConfigMap.
    NoConfigMap,
    /// The ConfigMap has no such key.
    NoKey,
}

/// Where a pipeline's keys are; none: it asks for no tokens.
#[must_use]
pub fn named(spec: &EventPipelineSpec) -> Option<&Jwks> {
    spec.source.http.as_ref()?.auth.as_ref().map(|auth| &auth.jwt.jwks)
}

/// Asks for the ConfigMap that a pipeline names.
pub async fn look(client: &Client, namespace: &str, spec: &EventPipelineSpec) -> SeenKeys {
    let Some(jwks) = named(spec) else { return SeenKeys::Fine };
    match Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(&jwks.config_map).await {
        Ok(found) => judge(found.as_ref(), jwks.key()),
        Err(error) => {
            tracing::warn!(%error, "the ConfigMap of a pipeline's keys could not be looked at");
            SeenKeys::Fine
        }
    }
}

fn judge(found: Option<&ConfigMap>, key: &str) -> SeenKeys {
    let Some(config_map) = found else { return SeenKeys::NoConfigMap };
    let has = config_map.data.as_ref().is_some_and(|data| data.contains_key(key))
        || config_map.binary_data.as_ref().is_some_and(|data| data.contains_key(key));
    if has { SeenKeys::Fine } else { SeenKeys::NoKey }
}

/// Why a pipeline cannot start without them.
#[must_use]
pub fn missing(spec: &EventPipelineSpec, seen: SeenKeys) -> Option<Refusal> {
    let jwks = named(spec)?;
    let (name, key) = (&jwks.config_map, jwks.key());
    let message = match seen {
        SeenKeys::Fine => return None,
        SeenKeys::NoConfigMap => {
            format!("there is no ConfigMap `{name}`: source.http.auth.jwt.jwks needs the issuer's public keys in its key `{key}`")
        }
        SeenKeys::NoKey => format!(
            "ConfigMap `{name}` has no key `{key}`: put the issuer's public keys (JWKS) there, or correct source.http.auth.jwt.jwks"
        ),
    };
    Some(Refusal::new(Reason::KeysNotFound, message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_key_is_there_or_it_is_said_what_is_missing() {
        let auth = json!({"jwt": {"issuer": "i", "audience": "a", "jwks": {"configMap": "login-keys", "key": "set"}}});
        let spec: EventPipelineSpec = serde_json::from_value(json!({
            "source": {"http": {"port": 3001, "auth": auth}}, "processor": {"builtin": "events-gateway"},
        }))
        .unwrap();
        let open: EventPipelineSpec =
            serde_json::from_value(json!({"source": {"http": {"port": 3001}}, "processor": {"builtin": "events-gateway"}})).unwrap();
        let config_map = |value: Value| serde_json::from_value::<ConfigMap>(value).unwrap();
        for (found, part) in [
            (None, Some("there is no ConfigMap `login-keys`")),
            (Some(config_map(json!({}))), Some("ConfigMap `login-keys` has no key `set`")),
            (Some(config_map(json!({"data": {"jwks.json": "{}"}}))), Some("has no key `set`")),
            (Some(config_map(json!({"data": {"set": "{}"}}))), None),
            (Some(config_map(json!({"binaryData": {"set": "e30="}}))), None),
        ] {
            let seen = judge(found.as_ref(), "set");
            let told = missing(&spec, seen).map(|refusal| refusal.message);
            assert_eq!(told.is_some(), part.is_some(), "{found:?}: {told:?}");
            assert!(told.as_deref().unwrap_or_default().contains(part.unwrap_or_default()), "{found:?}: {told:?}");
            assert_eq!(missing(&open, seen), None);
        }
    }
}
