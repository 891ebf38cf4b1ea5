//! `EventPipeline`: makes a Deployment of workers with everything around it, and keeps it as declared.
//!
//! A reconcile has five steps, one file each: observe, validate, plan with build, apply, status. Workers that run are
//! never taken away because something they need is not ready any more.

mod apply;
pub mod autoscaler;
mod build;
mod child;
mod children;
mod clients;
mod deletion_cost;
mod handler;
mod keys;
mod observe;
mod own_code;
mod parting;
mod plan;
mod pod;
mod positions;
mod quantity;
mod readings;
mod report;
mod retry;
mod scaled;
mod status;
mod surplus;
#[cfg(test)]
mod testing;
mod topics;
mod transaction;
mod validate;
mod workers;

use std::{pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{EventPipeline, condition::Reason};
use tokio_util::sync::CancellationToken;

use self::{
    apply::{Stopped, apply},
    autoscaler::{Autoscaler, Subject},
    children::Children,
    observe::observe,
    plan::plan,
    readings::Readings,
    status::{Findings, status, unready_for},
    validate::{References, Verdict, validate},
    workers::{Workers, judge},
};
pub use self::{scaled::is_watched, status::group};
use crate::{
    backoff::with_jitter,
    context::Context,
    controller::{self, ControllerEnded, Next},
    status as written,
};

/// How long workers may take to start before it is told that nothing is wrong with them but the time that they take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("an object cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Stopped(Stopped),
    #[error(transparent)]
    Status(written::Error),
}

/// Reconciles every `EventPipeline` until the shutdown.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) -> Result<(), ControllerEnded> {
    let children = Children::watch(&context);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = children.synced(&context.watches) => {}
    }
    let (watch, mut triggers) = (context.watches.pipelines.clone(), children.triggers(&context));
    let readings = Arc::new(Readings::default());
    let (autoscaler, decisions) = Autoscaler::new();
    triggers.push(decisions);
    let looks = {
        let (autoscaler, context, children, shutdown) = (Arc::clone(&autoscaler), Arc::clone(&context), children.clone(), shutdown.clone());
        async move { autoscaler.run(&context, &children, shutdown).await }
    };
    let reconcile = move |pipeline: Arc<EventPipeline>, context: Arc<Context>| {
        let (children, readings, autoscaler) = (children.clone(), Arc::clone(&readings), Arc::clone(&autoscaler));
        async move { reconcile(&pipeline, &context, &children, (&readings, &autoscaler)).await }
    };
    let mut controller = pin!(controller::run(context, &watch, triggers, controller::FEW, reconcile, shutdown));
    tokio::select! {
        ended = &mut controller => ended,
        // Reconciles that are under way at a shutdown go on to their end.
        () = looks => controller.await,
    }
}

async fn reconcile(
    pipeline: &EventPipeline,
    context: &Context,
    children: &Children,
    (readings, autoscaler): (&Readings, &Autoscaler),
) -> Result<Next, Error> {
    let meta = &pipeline.metadata;
    let (Some(namespace), Some(uid)) = (meta.namespace.as_deref(), meta.uid.as_deref()) else { return Ok(Next::AwaitChange) };
    // Kubernetes removes what the pipeline owns; nothing may be made anew meanwhile.
    if meta.deletion_timestamp.is_some() {
        return Ok(Next::AwaitChange);
    }
    let now = Time(Timestamp::now());
    let seen = observe(context, children, (readings, autoscaler), pipeline).await?;
    let verdict = validate(pipeline, &seen.references);
    follow(pipeline, &verdict, &seen.references, context, autoscaler);
    let plan = plan(&verdict, &seen.owned, seen.deployment.as_ref(), &context.settings.worker_image)?;
    parting::mark(context, autoscaler, pipeline, &verdict, &seen).await;
    let applied = apply(&context.client, namespace, uid, plan, seen.deployment).await;
    tell(context, pipeline, report::of_changes(&applied.changes)).await;
    let (refused, failure) = match applied.stopped {
        None => (None, None),
        Some(Stopped::Refused(refusal)) => (Some(refusal), None),
        Some(Stopped::Unable(refusal)) => (Some(refusal.clone()), Some(Stopped::Unable(refusal))),
        Some(Stopped::NamespaceGoes) => return Ok(Next::AwaitChange),
        Some(stopped) => return Err(Error::Stopped(stopped)),
    };
    let workers = judge(Workers {
        deployment: applied.deployment.as_ref(),
        pods: &seen.pods,
        wanted: verdict.replicas,
        overdue: left_to_start(pipeline, &now).is_zero(),
    });
    let findings = Findings {
        verdict: &verdict,
        refused: refused.as_ref(),
        deployment: applied.deployment.as_ref(),
        workers: &workers,
        told: seen.told.as_ref(),
        moves: seen.moves.as_ref(),
    };
    let next = until_read(next(pipeline, &findings, &now), &verdict, context);
    let written = report(context, pipeline, &status(pipeline, &findings, &now)).await?;
    match failure {
        Some(failure) => Err(Error::Stopped(failure)),
        None if written => Ok(next),
        None => Ok(Next::Outdated),
    }
}

/// Has what waits for the pipeline watched, or no more. While it is refused its group keeps its place, and what was measured stays;
/// nothing is done on a cluster that it may not use.
fn follow(pipeline: &EventPipeline, verdict: &Verdict, references: &References, context: &Context, autoscaler: &Autoscaler) {
    let meta = &pipeline.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let uid = meta.uid.as_deref().unwrap_or_default();
    let bounds = pipeline.spec.scaling.as_ref().filter(|_| !pipeline.spec.suspend).and_then(|scaling| scaling.bounds().ok());
    let is_allowed = !matches!(&references.cluster, Err(refusal) if refusal.reason == Reason::ClusterNotAllowed);
    let (Some(bounds), Some(group), true) = (bounds, group(pipeline), is_allowed) else { return autoscaler.leave(uid) };
    let cluster = penstock_crds::topic::cluster_name(pipeline.spec.cluster_ref.as_ref());
    let known = autoscaler::known(pipeline.status.as_ref().and_then(|status| status.scaling.as_ref()));
    let (id, interval) = ((namespace, name), context.settings.scaling_interval);
    let subject = match positions::input(verdict) {
        Some(input) => Subject::new(id, cluster, input, bounds, interval),
        None => Subject::refused(id, cluster, &group, bounds, interval),
    };
    let dry_run = pipeline.spec.scaling.as_ref().is_some_and(|scaling| scaling.dry_run);
    autoscaler.follow(uid, Subject { dry_run, known, ..subject });
}

/// When to look again: what is refused is told to nobody when it goes away, and nor is it that time has passed.
fn next(pipeline: &EventPipeline, findings: &Findings<'_>, now: &Time) -> Next {
    if findings.refused.is_some() {
        return Next::Backoff;
    }
    if findings.deployment.is_none() || findings.workers.settled {
        return Next::AwaitChange;
    }
    match left_to_start(pipeline, now) {
        Duration::ZERO => Next::AwaitChange,
        left => Next::After(left),
    }
}

/// How long the workers of a pipeline that is not ready have before they are overdue.
fn left_to_start(pipeline: &EventPipeline, now: &Time) -> Duration {
    PATIENCE.saturating_sub(unready_for(pipeline, now).unwrap_or_default())
}

/// What a group notes in Kafka is told to nobody, nor is a ConfigMap that is not ours: each is looked at again at the latest after
/// the usual time, the latter while it is missing.
fn until_read(next: Next, verdict: &Verdict, context: &Context) -> Next {
    let waits_for_keys = verdict.unready.as_ref().is_some_and(|unready| unready.reason == Reason::KeysNotFound);
    if positions::input(verdict).is_none() && !waits_for_keys {
        return next;
    }
    let resync = with_jitter(context.settings.resync, &mut rand::rng());
    match next {
        Next::AwaitChange => Next::After(resync),
        Next::After(pause) => Next::After(pause.min(resync)),
        Next::Backoff | Next::Outdated => next,
    }
}

/// Writes the status and tells of a change of readiness. False: the object has changed meanwhile.
async fn report(context: &Context, pipeline: &EventPipeline, after: &penstock_crds::EventPipelineStatus) -> Result<bool, Error> {
    let before = pipeline.status.as_ref();
    match written::write(context, pipeline, before, after).await {
        Ok(_) => {
            tell(context, pipeline, report::of_readiness(before, after)).await;
            tell(context, pipeline, report::of_positions(before, after)).await;
            tell(context, pipeline, scaled::notices(before, after)).await;
            Ok(true)
        }
        Err(written::Error::Outdated) => Ok(false),
        Err(error) => Err(Error::Status(error)),
    }
}

async fn tell(context: &Context, pipeline: &EventPipeline, notices: impl IntoIterator<Item = crate::events::Notice>) {
    for notice in notices {
        context.events.publish::<EventPipeline>(&pipeline.metadata, "Reconcile", notice).await;
    }
}
