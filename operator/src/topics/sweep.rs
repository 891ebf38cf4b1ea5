//! Compares what stands in Kafka with what the objects' statuses tell, and asks for a reconcile of those that differ.
//!
//! One sweep per Kafka cluster and period, of some hundred topics at a time, spread over the period. Nothing is asked of the apiserver, and
//! what does not differ costs nothing more.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use kube::runtime::reflector::ObjectRef;
use penstock_crds::{KafkaCluster, KafkaTopic};
use penstock_kafka::Error as KafkaError;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    news::{differs, is_followed},
    observe::observe_many,
};
use crate::{context::Context, controller::Triggers, watch::Guarded};

type TopicRef = ObjectRef<Guarded<KafkaTopic>>;

/// How many topics are looked at together.
const CHUNK: usize = 200;

/// Asks for each topic that Kafka shows otherwise than its status, until the shutdown.
pub fn differences(context: &Arc<Context>, shutdown: &CancellationToken) -> Triggers<KafkaTopic> {
    let (found, differing) = unbounded_channel();
    let (context, shutdown) = (Arc::clone(context), shutdown.clone());
    let sweeping = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = shutdown.run_until_cancelled(sweep(&context, &found)).await;
    }));
    stream::unfold((differing, sweeping), |(mut differing, sweeping)| async move {
        let object = differing.recv().await?;
        Some((object, (differing, sweeping)))
    })
    .boxed()
}

async fn sweep(context: &Context, found: &UnboundedSender<TopicRef>) {
    loop {
        let end = Instant::now() + context.settings.resync;
        let clusters = context.watches.clusters.store().state();
        let own = clusters.iter().filter_map(|object| object.0.as_ref().ok()).filter(|cluster| counts(context, cluster));
        // A cluster that does not answer holds up none of the others.
        join_all(own.map(|cluster| timeout_at(end, sweep_cluster(context, cluster, end, found)))).await;
        sleep_until(end).await;
    }
}

fn counts(context: &Context, cluster: &KafkaCluster) -> bool {
    cluster.metadata.namespace.as_deref() == Some(context.settings.namespace.as_str())
}

async fn sweep_cluster(context: &Context, cluster: &KafkaCluster, end: Instant, found: &UnboundedSender<TopicRef>) {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let topics = context.watches.topics.select(|topic| topic.cluster_name() == name && is_followed(topic));
    let (begin, chunks) = (Instant::now(), topics.chunks(CHUNK));
    let pause = pause(end.saturating_duration_since(begin), chunks.len());
    let mut turn = begin;
    for chunk in chunks {
        turn += pause;
        sleep_until(turn).await;
        if let Err(error) = compare(context, cluster, chunk, found).await {
            context.connections.failed(name, &error);
            return;
        }
    }
}

/// The pause before each of so many looks, so that the last one ends within the period too.
fn pause(period: Duration, looks: usize) -> Duration {
    period / u32::try_from(looks).unwrap_or(u32::MAX).saturating_add(1)
}

async fn compare(
    context: &Context,
    cluster: &KafkaCluster,
    topics: &[Arc<Guarded<KafkaTopic>>],
    found: &UnboundedSender<TopicRef>,
) -> Result<(), KafkaError> {
    let connection = context.connections.to(cluster.metadata.name.as_deref().unwrap_or_default(), &cluster.spec.bootstrap_servers)?;
    let topics: Vec<_> = topics.iter().filter_map(|object| Some((TopicRef::from_obj(object.as_ref()), object.0.as_ref().ok()?))).collect();
    let names: Vec<&str> = topics.iter().map(|(_, topic)| topic.kafka_name()).collect();
    let seen = observe_many(&connection, &names).await?;
    for (object, topic) in topics {
        // What Kafka cannot tell at present is looked at the next time.
        let Some(Ok(observed)) = seen.get(topic.kafka_name()) else { continue };
        let latest = context.watches.topics.store().get(&object);
        let is_news =
            latest.is_some_and(|latest| latest.0.as_ref().is_ok_and(|topic| is_followed(topic) && differs(topic, observed.as_ref())));
        if is_news {
            // Nobody listens: the operator ends.
            let _ = found.send(object);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_over_the_period() {
        let period = Duration::from_secs(30);
        for (looks, seconds) in [(0, 30), (1, 15), (4, 6), (59, 0)] {
            assert_eq!(pause(period, looks).as_secs(), seconds, "{looks}");
        }
    }
}
