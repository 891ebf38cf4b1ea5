//! Brings the objects of a pipeline to where the plan wants them. All writes but that of the status are here.
//!
//! Each object is looked at before it is written: what is not controlled by this pipeline is never touched, and what is as
//! it shall be already is not written again.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use penstock_crds::{KafkaTopic, condition::Reason, name};
use serde_json::{Value, json};

use super::{
    child::{ChildKind, Manifest, is_controlled_by},
    plan::{Owned, Plan},
    report::{Change, Verb},
    surplus::{removal, surplus},
};
use crate::{refusal::Refusal, status::is_outdated};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// What was written and removed.
    pub changes: Vec<Change>,
    /// The Deployment as it is now, if there is one.
    pub deployment: Option<Deployment>,
    /// Why not all of it was done.
    pub stopped: Option<Stopped>,
}

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Something is in the way that only a person can change.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The namespace is being deleted, and the pipeline with it.
    #[error("the namespace is being deleted")]
    NamespaceGoes,
    /// The apiserver answers that it cannot, be it broken or one that it asks: told as a refusal is, and tried again.
    #[error("{0}")]
    Unable(Refusal),
    /// The apiserver did not answer, or has changed its mind meanwhile: to be tried again.
    #[error("the apiserver could not be asked: {0}")]
    Failed(#[source] kube::Error),
    /// An object cannot be written as JSON.
    #[error("an object cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where the objects are.
struct Place<'a> {
    client: &'a Client,
    namespace: &'a str,
    uid: &'a str,
}

/// Carries out a plan for the pipeline with this uid, which has this Deployment already.
pub async fn apply(client: &Client, namespace: &str, uid: &str, plan: Plan, deployment: Option<Deployment>) -> Applied {
    let mut applied = Applied { deployment, ..Applied::default() };
    let place = Place { client, namespace, uid };
    applied.stopped = place.carry_out(plan, &mut applied).await.err();
    applied
}

impl Place<'_> {
    async fn carry_out(&self, plan: Plan, applied: &mut Applied) -> Result<(), Stopped> {
        for manifest in &plan.apply {
            self.bring_about(manifest, applied).await?;
        }
        if let Some(replicas) = plan.scale {
            self.scale(replicas, applied).await?;
        }
        for orphan in &plan.remove {
            self.remove(orphan, applied).await?;
        }
        Ok(())
    }

    async fn bring_about(&self, manifest: &Manifest, applied: &mut Applied) -> Result<(), Stopped> {
        let api = self.api(manifest.kind);
        let found = api.get_opt(&manifest.name).await.map_err(|e| stopped(e, manifest.kind, &manifest.name))?;
        let before = match found {
            Some(found) if !is_controlled_by(&found.metadata, self.uid) => return Err(conflict(manifest).into()),
            Some(found) => Some(serde_json::to_value(found)?),
            None => None,
        };
        if before.as_ref().is_some_and(|before| manifest.is_met_by(before)) {
            return Ok(());
        }
        if let Some(before) = &before {
            self.take_away(manifest, before).await?;
        }
        let params = PatchParams::apply(name::FIELD_MANAGER).force();
        let after = api.patch(&manifest.name, &params, &Patch::Apply(&manifest.body)).await;
        let after = serde_json::to_value(after.map_err(|e| stopped(e, manifest.kind, &manifest.name))?)?;
        // Kubernetes may see no difference where we do: nothing has happened then.
        if before.as_ref().map(version) != Some(version(&after)) {
            applied.changes.push(Change { kind: manifest.kind, name: manifest.name.clone(), verb: verb(manifest, before.as_ref()) });
        }
        if manifest.kind == ChildKind::Deployment {
            applied.deployment = Some(serde_json::from_value(after)?);
        }
        Ok(())
    }

    /// Removes what somebody added where everything is ours; server-side apply would leave it.
    async fn take_away(&self, manifest: &Manifest, live: &Value) -> Result<(), Stopped> {
        let added = surplus(manifest.kind, live, &manifest.body);
        if added.is_empty() {
            return Ok(());
        }
        let patch = Patch::<DynamicObject>::Json(serde_json::from_value(removal(&added, version(live)))?);
        let taken = self.api(manifest.kind).patch(&manifest.name, &own_params(), &patch).await;
        taken.map(drop).map_err(|e| stopped(e, manifest.kind, &manifest.name))
    }

    /// Sets the number of workers and nothing else.
    async fn scale(&self, replicas: i32, applied: &mut Applied) -> Result<(), Stopped> {
        let Some(deployment) = &applied.deployment else { return Ok(()) };
        let name = deployment.name_any();
        let from = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        let patch = json!({"metadata": {"uid": deployment.metadata.uid}, "spec": {"replicas": replicas}});
        let scaled = api.patch(&name, &own_params(), &Patch::Merge(patch)).await.map_err(|e| stopped(e, ChildKind::Deployment, &name))?;
        applied.deployment = Some(scaled);
        applied.changes.push(Change { kind: ChildKind::Deployment, name, verb: Verb::Scaled { from, to: replicas } });
        Ok(())
    }

    async fn remove(&self, orphan: &Owned, applied: &mut Applied) -> Result<(), Stopped> {
        let name = orphan.metadata.name.clone().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: orphan.metadata.uid.clone(), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match self.api(orphan.kind).delete(&name, &params).await {
            Ok(_) => applied.changes.push(Change { kind: orphan.kind, name, verb: Verb::Removed }),
            Err(error) if is_outdated(&error) => {}
            Err(error) => return Err(stopped(error, orphan.kind, &name)),
        }
        Ok(())
    }

    fn api(&self, kind: ChildKind) -> Api<DynamicObject> {
        let resource = match kind {
            ChildKind::KafkaTopic => ApiResource::erase::<KafkaTopic>(&()),
            ChildKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            ChildKind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            ChildKind::Service => ApiResource::erase::<Service>(&()),
            ChildKind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            ChildKind::Deployment => ApiResource::erase::<Deployment>(&()),
        };
        Api::namespaced_with(self.client.clone(), self.namespace, &resource)
    }
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

fn own_params() -> PatchParams {
    PatchParams { field_manager: Some(name::FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What a write means to a reader of events: a Deployment of which only the number of workers differs was scaled.
fn verb(manifest: &Manifest, before: Option<&Value>) -> Verb {
    let Some(before) = before else { return Verb::Created };
    let replicas = |v: &Value| v.pointer("/spec/replicas").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    match (replicas(before), replicas(&manifest.body)) {
        (Some(from), Some(to)) if from != to && manifest.runs_the_same_pods(before) => Verb::Scaled { from, to },
        _ => Verb::Updated,
    }
}

fn conflict(manifest: &Manifest) -> Refusal {
    let (kind, name) = (manifest.kind.as_str(), &manifest.name);
    let message = format!("a {kind} `{name}` exists that is not this pipeline's: delete or rename it, or give the pipeline another name");
    Refusal::new(Reason::NameConflict, message)
}

/// What an error means: whether Kubernetes will not have the object, or could not be asked.
fn stopped(error: kube::Error, kind: ChildKind, name: &str) -> Stopped {
    let outdated = is_outdated(&error);
    match error {
        kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated") => Stopped::NamespaceGoes,
        kube::Error::Api(status) if !outdated => {
            let refusal = Refusal::new(Reason::RefusedByKubernetes, format!("{} `{name}`: {}", kind.as_str(), status.message));
            if matches!(status.code, 400 | 403 | 413 | 415 | 422) { Stopped::Refused(refusal) } else { Stopped::Unable(refusal) }
        }
        error => Stopped::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_the_apiserver_answers_is_told() {
        for (code, words, expected) in [
            (422, "Invalid value", "refused Deployment `p`: Invalid value"),
            (403, "exceeded quota", "refused Deployment `p`: exceeded quota"),
            (403, "unable to create new content in namespace shop because it is being terminated", "the namespace goes"),
            (500, "failed calling webhook", "unable Deployment `p`: failed calling webhook"),
            (429, "too many requests", "unable Deployment `p`: too many requests"),
            (503, "not yet", "unable Deployment `p`: not yet"),
            // The next look sees the object as it is by then.
            (409, "the object has been modified", "failed"),
            (404, "not found", "failed"),
        ] {
            let error = kube::Error::Api(Status::failure(words, "").with_code(code).boxed());
            let told = match stopped(error, ChildKind::Deployment, "p") {
                Stopped::Refused(refusal) => format!("refused {refusal}"),
                Stopped::Unable(refusal) => format!("unable {refusal}"),
                Stopped::NamespaceGoes => "the namespace goes".to_owned(),
                Stopped::Failed(_) | Stopped::Json(_) => "failed".to_owned(),
            };
            assert_eq!(told, expected, "{code}");
        }
    }
}
