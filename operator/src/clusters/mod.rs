//! `KafkaCluster`: keeps one connection to each Kafka cluster, tells how it is, and says who may use it.
//!
//! A cluster is asked on an interval, and at once when its connection comes or goes. One that was ready is told to be away only once it stays
//! away.

mod connection;
mod identity;
mod observe;
mod outage;
mod racks;
mod requests;
mod resolve;
mod status;
mod validate;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use penstock_crds::{KafkaCluster, KafkaClusterStatus, condition::Reason};
use penstock_kafka::{ClusterDescription, Error as KafkaError};
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use tokio_util::sync::CancellationToken;

pub use connection::{ClusterConnection, ClusterConnections};
pub use identity::ClusterIds;
pub use requests::if_known;
pub use resolve::{ResolvedCluster, changed_uses, find, matches, resolve};

use self::{
    observe::observe,
    resolve::state,
    validate::{ValidatedCluster, validate},
};
pub use crate::refusal::Refusal as ClusterRefusal;
use crate::{
    backoff::with_jitter,
    context::Context,
    controller::{self, ControllerEnded, Next, Triggers},
    events::Notice,
    refusal::Refusal,
    status as written,
};

/// How often a cluster that answers is asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// How often a cluster that does not answer is asked.
const OUTAGE_INTERVAL: Duration = Duration::from_secs(3);

/// Reconciles every `KafkaCluster` until the shutdown.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) -> Result<(), ControllerEnded> {
    let watch = context.watches.clusters.clone();
    let triggers = vec![controller::own_changes(&watch), connection_changes(&context), departures(&context)];
    controller::run(context, &watch, triggers, controller::FEW, reconcile, shutdown).await
}

async fn reconcile(cluster: Arc<KafkaCluster>, context: Arc<Context>) -> Result<Next, written::Error> {
    match check(&cluster, &context).await {
        Err(written::Error::Outdated) => Ok(Next::Outdated),
        result => result,
    }
}

async fn check(cluster: &KafkaCluster, context: &Context) -> Result<Next, written::Error> {
    let valid = match validate(cluster, &context.settings.namespace) {
        Ok(valid) => valid,
        Err(refusal) => return report(context, cluster, Err(&refusal)).await.map(|()| Next::AwaitChange),
    };
    let (seen, interval) = match ask(context, cluster, &valid).await {
        Ok(None) => return Ok(Next::After(with_jitter(OUTAGE_INTERVAL, &mut rand::rng()))),
        Ok(Some(seen)) => (identity::identify(cluster, &seen).map(|()| seen), CHECK_INTERVAL),
        Err(error) => (Err(unanswered(&valid, &error)), OUTAGE_INTERVAL),
    };
    report(context, cluster, seen.as_ref()).await?;
    Ok(Next::After(with_jitter(interval, &mut rand::rng())))
}

fn unanswered(cluster: &ValidatedCluster<'_>, error: &KafkaError) -> Refusal {
    let refusal = Refusal::from(error);
    Refusal { message: format!("{} (spec.bootstrapServers: {})", refusal.message, cluster.bootstrap_servers.join(", ")), ..refusal }
}

/// Asks the cluster. None: it did not answer now, and its status stays until that lasts.
async fn ask(context: &Context, cluster: &KafkaCluster, valid: &ValidatedCluster<'_>) -> Result<Option<ClusterDescription>, KafkaError> {
    let connection = context.connections.to(valid.name, valid.bootstrap_servers)?;
    let begun = Instant::now();
    match observe(&connection).await {
        Ok(seen) => {
            connection.outage.ends();
            connection.racks.seen(&seen.brokers);
            Ok(Some(seen))
        }
        Err(error) => {
            if error.is_fatal() {
                context.connections.forget(valid.name);
            }
            let stays_away = connection.outage.goes_on(begun, Instant::now());
            if !stays_away && error.is_retriable() && state(cluster).is_ok() {
                tracing::info!(%error, cluster = valid.name, "the Kafka cluster does not answer; it is asked again");
                return Ok(None);
            }
            Err(error)
        }
    }
}

/// Writes the status, and publishes an event when the cluster came, went, or has another trouble than before.
async fn report(context: &Context, cluster: &KafkaCluster, seen: Result<&ClusterDescription, &Refusal>) -> Result<(), written::Error> {
    let status = status::status(cluster, seen, &Time(Timestamp::now()));
    written::write(context, cluster, cluster.status.as_ref(), &status).await?;
    let reason = |status: Option<&KafkaClusterStatus>| status.and_then(|s| s.conditions.first()).map(|c| c.reason.clone());
    if reason(cluster.status.as_ref()) != reason(Some(&status)) {
        let notice = match seen {
            Ok(seen) => Notice::normal(Reason::Connected.as_str(), format!("connected to Kafka cluster {}", seen.cluster_id)),
            Err(refusal) => Notice::warning(refusal.reason.as_str(), refusal.message.clone()),
        };
        context.events.publish::<KafkaCluster>(&cluster.metadata, "Connect", notice).await;
    }
    Ok(())
}

/// Asks for a check of each cluster whose connection comes or goes.
fn connection_changes(context: &Context) -> Triggers<KafkaCluster> {
    let namespace = context.settings.namespace.clone();
    stream::unfold(context.connections.checks(), |mut checks| async move {
        loop {
            match checks.recv().await {
                Ok(cluster) => return Some((cluster, checks)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
    .map(move |cluster| ObjectRef::new(&cluster).within(&namespace))
    .boxed()
}

/// Drops the connection of each `KafkaCluster` that goes; asks for nothing.
fn departures(context: &Arc<Context>) -> Triggers<KafkaCluster> {
    let departed = Arc::clone(context);
    controller::related_changes(&context.watches.clusters, move |change| {
        if let (Some(gone), None) = (&change.before, &change.after)
            && gone.namespace().as_deref() == Some(departed.settings.namespace.as_str())
        {
            departed.connections.forget(&gone.name_any());
        }
        Vec::new()
    })
}
