//! Writes the status of an object: only where it differs from what is there, and only over the version that it was
//! derived from, so that a status derived from an outdated object never replaces a newer one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use penstock_crds::name;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{context::Context, watch::Watched};

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is gone, or changed since it was read. The change itself asks for another reconcile.
    #[error("the object changed meanwhile")]
    Outdated,
    /// The apiserver refused or did not answer.
    #[error("the apiserver did not take the status: {0}")]
    Kubernetes(#[source] kube::Error),
    /// The status cannot be written as JSON.
    #[error("the status cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes `after` over `before`, the status that stands in `object`. Returns the object as it is then, or None where nothing was to write.
///
/// # Errors
/// See [`Error`].
pub async fn write<K, S>(context: &Context, object: &K, before: Option<&S>, after: &S) -> Result<Option<K>, Error>
where
    K: Watched + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    S: Serialize + Sync,
{
    let before = before.map(serde_json::to_value).transpose()?.unwrap_or(Value::Null);
    let Some(difference) = difference(&before, &serde_json::to_value(after)?) else { return Ok(None) };
    let meta = object.meta();
    let api: Api<K> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let patch = serde_json::json!({"metadata": {"resourceVersion": meta.resource_version}, "status": difference});
    let params = PatchParams { field_manager: Some(name::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(patch)).await {
        Ok(written) => {
            context.superseded.by(meta, written.meta());
            Ok(Some(written))
        }
        Err(error) => Err(refused(context, meta, error)),
    }
}

/// Why a write over this version was not done. The version is noted where there is a newer one.
pub fn refused(context: &Context, meta: &ObjectMeta, error: kube::Error) -> Error {
    if !is_outdated(&error) {
        return Error::Kubernetes(error);
    }
    if matches!(&error, kube::Error::Api(status) if status.code == 409) {
        context.superseded.refused(meta);
    }
    Error::Outdated
}

/// Whether the object is gone, or not the version that was meant.
#[must_use]
pub fn is_outdated(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// The merge patch (RFC 7386) that makes `after` of `before`; None: they are equal.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (before, after) if before == after => None,
        (Value::Object(before), Value::Object(after)) => {
            let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let changed = after.iter().filter_map(|(key, value)| {
                let before = before.get(key).unwrap_or(&Value::Null);
                difference(before, value).map(|difference| (key.clone(), difference))
            });
            Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
        }
        (_, after) => Some(after.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_holds_what_differs() {
        for (before, after, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!(null), json!({"a": 1}), Some(json!({"a": 1}))),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 3}}), Some(json!({"a": {"x": 3, "y": null}}))),
            (json!({"a": [1, 2]}), json!({"a": [2]}), Some(json!({"a": [2]}))),
            (json!({}), json!({"a": {"b": {}}}), Some(json!({"a": {"b": {}}}))),
        ] {
            assert_eq!(difference(&before, &after), patch, "{before} -> {after}");
        }
    }
}
