//! Takes away what was set in Kafka while partitions move, where nobody tends it any more: the object goes, or may not keep its topic.
//!
//! Only what is ours is taken away, and only from our topic. The partitions go on to move.

use penstock_crds::KafkaTopic;
use penstock_kafka::Error as KafkaError;

use super::{
    observe::observe,
    plan::foreign_to,
    reassignment::{self, Ground, Outcome},
    status::history,
};
use crate::{
    clusters::{self, ResolvedCluster},
    context::Context,
    refusal::Refusal,
    status::Error,
};

/// What became of it.
pub(super) struct Released {
    /// The object as it is now.
    pub(super) topic: KafkaTopic,
    /// Whether nothing of it is left.
    pub(super) done: Result<(), Refusal>,
}

/// Takes it away, if there is anything, and then writes down that it is gone.
///
/// # Errors
/// Kubernetes did not take it.
pub(super) async fn release(context: &Context, topic: KafkaTopic) -> Result<Released, Error> {
    if !reassignment::is_throttled(&topic) {
        return Ok(Released { topic, done: Ok(()) });
    }
    // Also from a cluster that the object may not use any more.
    let cluster = match clusters::find(&context.watches.clusters.store(), &context.settings.namespace, topic.cluster_name()) {
        Ok(cluster) => cluster,
        Err(refusal) => return Ok(Released { topic, done: Err(refusal) }),
    };
    // What was set stands in the Kafka that the KafkaCluster was seen to be.
    if let Err(refusal) = cluster.state {
        return Ok(Released { topic, done: Err(refusal) });
    }
    let Outcome { topic, done } = from(context, &cluster, topic).await?;
    let done = done.map_err(|error| {
        context.connections.failed(&cluster.name, &error);
        Refusal::from(&error)
    });
    Ok(Released { topic, done })
}

async fn from(context: &Context, cluster: &ResolvedCluster, topic: KafkaTopic) -> Result<Outcome, Error> {
    let look = async {
        let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?;
        let observed = observe(&connection, topic.kafka_name()).await?;
        Ok::<_, KafkaError>((connection, observed))
    };
    let (connection, observed) = match look.await {
        Ok(found) => found,
        Err(error) => return Ok(Outcome { topic, done: Err(error) }),
    };
    let mut own = observed.filter(|observed| foreign_to(&history(&topic), observed).is_none());
    let ground = Ground { context, connection: &connection, rate: reassignment::shared_rate(context, cluster) };
    reassignment::unthrottle(ground, topic, own.as_mut().map(|own| &mut own.config)).await
}
