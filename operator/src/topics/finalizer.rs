//! Puts our finalizer on an object and takes it off.
//!
//! It stands only on an object that owns a topic which must go before it does, or is about to: where the chart's admission policy is asked,
//! a new object has it from the first moment, and one that is refused and can have no topic loses it.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use penstock_crds::{KafkaTopic, name};
use serde_json::json;

use crate::{
    context::Context,
    status::{Error, refused},
};

/// Whether our finalizer is on the object.
#[must_use]
pub fn is_on(topic: &KafkaTopic) -> bool {
    topic.finalizers().iter().any(|finalizer| finalizer == name::FINALIZER_TOPIC)
}

/// Puts it on or takes it off. Returns the object as it is then.
///
/// # Errors
/// As those of writing a status.
pub async fn set(context: &Context, topic: KafkaTopic, wanted: bool) -> Result<KafkaTopic, Error> {
    if is_on(&topic) == wanted {
        return Ok(topic);
    }
    let mut finalizers: Vec<_> = topic.finalizers().iter().filter(|finalizer| *finalizer != name::FINALIZER_TOPIC).cloned().collect();
    if wanted {
        finalizers.push(name::FINALIZER_TOPIC.to_owned());
    }
    let api: Api<KafkaTopic> = Api::namespaced(context.client.clone(), &topic.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"resourceVersion": topic.resource_version(), "finalizers": finalizers}});
    let params = PatchParams { field_manager: Some(name::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&topic.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(written) => {
            context.superseded.by(&topic.metadata, &written.metadata);
            Ok(written)
        }
        Err(error) => Err(refused(context, &topic.metadata, error)),
    }
}
