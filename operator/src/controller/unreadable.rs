//! Tells an object that it cannot be read: its `Ready` condition says what the parser said. Lets one that is deleted go.
//!
//! The status is written only when it differs, so that telling it causes no further change. Where the apiserver takes no status,
//! because a rule of the schema cannot even be evaluated over the spec, an Event says so alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use penstock_crds::{
    condition::{ConditionType, Reason, Statement, conditions},
    name,
};
use serde_json::json;

use crate::{context::Context, events::Notice, guarded::Unreadable, watch::Watched};

/// The status of an answer: what was sent, or what it would make of the object, breaks the schema.
const INVALID: u16 = 422;

/// Writes the condition, if the object does not carry it yet; or takes our finalizer off, if the object is being deleted.
pub(super) async fn report<K: Watched>(context: &Context, error: &Unreadable) -> kube::Result<()> {
    let (Some(namespace), Some(name)) = (error.metadata.namespace.as_deref(), error.metadata.name.as_deref()) else { return Ok(()) };
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &ApiResource::erase::<K>(&()));
    let Some(object) = api.get_opt(name).await? else { return Ok(()) };
    if object.metadata.deletion_timestamp.is_some() {
        release::<K>(context, &api, &object).await
    } else {
        state::<K>(context, &api, &object, &error.error).await
    }
}

async fn state<K: Watched>(context: &Context, api: &Api<DynamicObject>, object: &DynamicObject, error: &str) -> kube::Result<()> {
    let before = object.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let before: Vec<Condition> = serde_json::from_value(before).unwrap_or_default();
    let statement = unreadable(error);
    let after = conditions(&before, &Time(jiff::Timestamp::now()), object.metadata.generation, std::slice::from_ref(&statement));
    if before == after {
        return Ok(());
    }
    let patch = json!({"status": {"conditions": after}});
    let message = match api.patch_status(&object.name_any(), &written_by_us(), &Patch::Merge(patch)).await {
        Ok(_) if statement.is_told_by(&before) => return Ok(()),
        Ok(_) => statement.message,
        Err(kube::Error::Api(status)) if status.code == INVALID => {
            format!("{}; Kubernetes lets nobody change it, its status included: delete it and make it anew", statement.message)
        }
        Err(error) => return Err(error),
    };
    let notice = Notice::warning(statement.reason.as_str(), message);
    context.events.publish::<K>(&object.metadata, "Read", notice).await;
    Ok(())
}

/// What the object owns cannot be known; nothing may wait for it for ever.
async fn release<K: Watched>(context: &Context, api: &Api<DynamicObject>, object: &DynamicObject) -> kube::Result<()> {
    let others: Vec<_> = object.finalizers().iter().filter(|finalizer| *finalizer != name::FINALIZER_TOPIC).collect();
    if others.len() == object.finalizers().len() {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": others}});
    api.patch(&object.name_any(), &written_by_us(), &Patch::Merge(patch)).await?;
    let notice = Notice::warning("Left", "the object cannot be read: what it owned was left as it is");
    context.events.publish::<K>(&object.metadata, "Delete", notice).await;
    Ok(())
}

fn unreadable(error: &str) -> Statement {
    Statement::new(ConditionType::Ready, Some(false), Reason::InvalidSpec, format!("the object cannot be read: {error}"))
}

fn written_by_us() -> PatchParams {
    PatchParams { field_manager: Some(name::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
