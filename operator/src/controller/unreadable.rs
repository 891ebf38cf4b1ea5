//! Tells an object that it cannot be read: its `Ready` condition says what the parser said.
//!
//! The status is written only when it differs, so that telling it causes no further change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::error_boundary::InvalidObject,
};
use penstock_crds::condition::{ConditionType, Reason, Statement, conditions};

use crate::{
    context::Context,
    events::{Importance, Notice},
    watch::Watched,
};

/// Writes the condition, if the object does not carry it yet.
pub(super) async fn report<K: Watched>(context: &Context, error: &InvalidObject) -> kube::Result<()> {
    let (Some(namespace), Some(name)) = (error.metadata.namespace.as_deref(), error.metadata.name.as_deref()) else { return Ok(()) };
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &ApiResource::erase::<K>(&()));
    let Some(object) = api.get_opt(name).await? else { return Ok(()) };
    let before = object.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let before: Vec<Condition> = serde_json::from_value(before).unwrap_or_default();
    let after = stated(&before, &Time(jiff::Timestamp::now()), object.metadata.generation, &error.error);
    if before == after {
        return Ok(());
    }
    let patch = serde_json::json!({"status": {"conditions": after}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    let notice = Notice { importance: Importance::Warning, reason: Reason::InvalidSpec.as_str(), message: error.error.clone() };
    context.events.publish::<K>(&error.metadata, "Read", notice).await;
    Ok(())
}

fn stated(before: &[Condition], now: &Time, generation: Option<i64>, error: &str) -> Vec<Condition> {
    let message = format!("the object cannot be read: {error}");
    let statement = Statement::new(ConditionType::Ready, Some(false), Reason::InvalidSpec, message);
    conditions(before, now, generation, &[statement])
}
