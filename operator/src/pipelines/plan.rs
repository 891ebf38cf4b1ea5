//! Decides which objects of a pipeline are written and removed. Pure: no I/O, no clock.
//!
//! Workers are never started before their topics were ready once; those that run are never taken away because a topic or
//! the cluster is not ready any more, or because the spec no longer makes sense: then only their number is kept as declared.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::Value;

use super::{
    build,
    child::{ChildKind, Manifest},
    topics::DeadLetterChoice,
    validate::{ValidatedPipeline, Verdict},
};

/// An object that the pipeline controls, as the cache has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name, uid, labels and so on.
    pub metadata: ObjectMeta,
    /// All of it.
    pub body: Value,
}

/// What is written and removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What does not say what it shall, in the order in which it is applied.
    pub apply: Vec<Manifest>,
    /// The number of workers, where nothing else of the Deployment may be touched.
    pub scale: Option<i32>,
    /// What is no longer needed.
    pub remove: Vec<Owned>,
}

/// Plans what brings a pipeline's objects to where they shall be.
///
/// # Errors
/// When an object cannot be written as JSON.
pub fn plan(verdict: &Verdict, owned: &[Owned], deployment: Option<&Deployment>, image: &str) -> Result<Plan, serde_json::Error> {
    let Ok(valid) = &verdict.pipeline else {
        return Ok(Plan { scale: scale(verdict, deployment), ..Plan::default() });
    };
    let workers = build::build(valid, image, deployment)?;
    let held = verdict.unready.is_some() && !runs_already(&workers, owned);
    let mut desired = derived_topics(valid, verdict)?;
    if !held {
        desired.extend(workers);
    }
    Ok(Plan {
        scale: if held { scale(verdict, deployment) } else { None },
        remove: owned.iter().filter(|o| is_orphan(o, &desired, verdict, held)).cloned().collect(),
        apply: desired.into_iter().filter(|m| !owned.iter().any(|o| is_same(o, m) && m.is_met_by(&o.body))).collect(),
    })
}

/// The dead letter topic and the retry topics whose objects this pipeline makes.
fn derived_topics(valid: &ValidatedPipeline, verdict: &Verdict) -> Result<Vec<Manifest>, serde_json::Error> {
    let dead_letter = match &verdict.topics.dead_letter {
        Some(DeadLetterChoice::Derive { object, spec: Some(spec), .. }) => Some((object, spec)),
        _ => None,
    };
    let retries = verdict.topics.retries.iter().filter_map(|retry| Some((&retry.object, retry.spec.as_ref()?)));
    let derived = dead_letter.into_iter().chain(retries);
    derived.map(|(object, spec)| build::derived_topic(&valid.owner, &valid.worker.pipeline, object, spec.clone())).collect()
}

/// Whether the pods that are declared are those that run: then nothing is started anew by applying them again.
fn runs_already(workers: &[Manifest], owned: &[Owned]) -> bool {
    let desired = workers.iter().find(|m| m.kind == ChildKind::Deployment);
    desired.is_some_and(|d| owned.iter().any(|o| is_same(o, d) && d.runs_the_same_pods(&o.body)))
}

fn scale(verdict: &Verdict, deployment: Option<&Deployment>) -> Option<i32> {
    let wanted = verdict.replicas;
    let has = deployment?.spec.as_ref()?.replicas;
    (has != Some(wanted)).then_some(wanted)
}

/// A derived topic goes once the pipeline has no use for it, even while its successor is not ready: that one may be waiting
/// for this one to let go of the topic. Anything else waits until what replaces it may be applied.
fn is_orphan(owned: &Owned, desired: &[Manifest], verdict: &Verdict, held: bool) -> bool {
    if owned.metadata.deletion_timestamp.is_some() || desired.iter().any(|m| is_same(owned, m)) {
        return false;
    }
    match owned.kind {
        ChildKind::KafkaTopic => {
            let dead_letter = verdict.topics.dead_letter.as_ref().map(DeadLetterChoice::object);
            let in_use = dead_letter.into_iter().chain(verdict.topics.retries.iter().map(|retry| retry.object.as_str()));
            !in_use.into_iter().any(|object| owned.metadata.name.as_deref() == Some(object))
        }
        _ => !held,
    }
}

fn is_same(owned: &Owned, manifest: &Manifest) -> bool {
    owned.kind == manifest.kind && owned.metadata.name.as_deref() == Some(manifest.name.as_str())
}

#[cfg(test)]
mod tests;
