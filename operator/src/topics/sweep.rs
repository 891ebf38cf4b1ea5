//! Compares what stands in Kafka with what the objects' statuses tell, and asks for a reconcile of those that differ.
//!
//! One sweep per Kafka cluster and period, of some hundred topics at a time, spread over the period. Nothing is asked of the apiserver, and
//! what does not differ costs nothing more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use penstock_crds::{KafkaCluster, KafkaTopic};
use penstock_kafka::Error as KafkaError;
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    health::{self, Place, Trouble},
    news::{differs, is_followed, is_refused_anew},
    observe::{ObservedTopic, observe_many},
};
use crate::{context::Context, controller::Triggers, watch::Guarded};

type TopicRef = ObjectRef<Guarded<KafkaTopic>>;
type ClusterRef = ObjectRef<Guarded<KafkaCluster>>;

/// How many topics are looked at together.
const CHUNK: usize = 200;

/// Asks for each topic that Kafka shows otherwise than its status, until the shutdown. A sweep that breaks off begins anew.
pub fn differences(context: &Arc<Context>, shutdown: &CancellationToken) -> Triggers<KafkaTopic> {
    let (found, differing) = unbounded_channel();
    let (context, shutdown) = (Arc::clone(context), shutdown.clone());
    let sweeping = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = shutdown.run_until_cancelled(sweep_for_ever(&context, &found)).await;
    }));
    stream::unfold((differing, sweeping), |(mut differing, sweeping)| async move {
        let object = differing.recv().await?;
        Some((object, (differing, sweeping)))
    })
    .boxed()
}

async fn sweep_for_ever(context: &Arc<Context>, found: &UnboundedSender<TopicRef>) {
    loop {
        let (sweeping, found) = (Arc::clone(context), found.clone());
        let attempt = AbortOnDropHandle::new(tokio::spawn(async move { sweep(&sweeping, &found).await }));
        if let Err(error) = attempt.await {
            tracing::error!(%error, "the sweep of topics broke off; it begins anew");
        }
        sleep(context.settings.resync).await;
    }
}

async fn sweep(context: &Context, found: &UnboundedSender<TopicRef>) {
    let mut stopped: HashMap<String, Place> = HashMap::new();
    loop {
        let end = Instant::now() + context.settings.resync;
        let clusters = context.watches.clusters.select(|cluster| counts(context, cluster));
        context.health_of_topics.keep_clusters(|name| clusters.iter().any(|cluster| cluster.as_ref().name_any() == name));
        let mut sweeps: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                let name = cluster.as_ref().name_any();
                let place = stopped.remove(&name);
                (ClusterRef::from_obj(cluster.as_ref()), name, place)
            })
            .collect();
        // A cluster that does not answer holds up none of the others.
        join_all(sweeps.iter_mut().map(|(cluster, _, place)| timeout_at(end, sweep_cluster(context, cluster, place, end, found)))).await;
        stopped = sweeps.into_iter().filter_map(|(_, name, place)| Some((name, place?))).collect();
        sleep_until(end).await;
    }
}

fn counts(context: &Context, cluster: &KafkaCluster) -> bool {
    cluster.metadata.namespace.as_deref() == Some(context.settings.namespace.as_str())
}

/// Looks at the topics of a cluster. `place`: the last one that was looked at, where the sweep before was cut, and where this one is.
async fn sweep_cluster(
    context: &Context,
    cluster: &ClusterRef,
    place: &mut Option<Place>,
    end: Instant,
    found: &UnboundedSender<TopicRef>,
) {
    let is_swept = |topic: &KafkaTopic| topic.cluster_name() == cluster.name && is_followed(topic);
    context.health_of_topics.keep(&cluster.name, |(namespace, name)| {
        context.watches.topics.get(namespace, name).is_some_and(|object| object.0.as_ref().is_ok_and(is_swept))
    });
    let topics = in_turn(context.watches.topics.select(is_swept), place.as_ref());
    let (begin, chunks) = (Instant::now(), topics.chunks(CHUNK));
    let pause = pause(end.saturating_duration_since(begin), chunks.len());
    let mut turn = begin;
    for chunk in chunks {
        turn += pause;
        sleep_until(turn).await;
        // It may have gone, or lead elsewhere by now.
        let latest = context.watches.clusters.store().get(cluster);
        let Some(latest) = latest.as_deref().and_then(|object| object.0.as_ref().ok()) else { return };
        // Before the look: one that never ends must not keep the others from their turn.
        *place = chunk.last().map(|topic| place_of(topic.as_ref()));
        if let Err(error) = compare(context, latest, chunk, found).await {
            context.connections.failed(&cluster.name, &error);
            context.health_of_topics.forget(&cluster.name);
            return;
        }
    }
    *place = None;
    context.health_of_topics.swept(&cluster.name);
}

fn place_of(object: &impl Resource) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The objects in their order, from the first one after the place on.
fn in_turn<K: Resource>(mut objects: Vec<Arc<K>>, after: Option<&Place>) -> Vec<Arc<K>> {
    objects.sort_by_cached_key(|object| place_of(object.as_ref()));
    if let Some(after) = after {
        let looked_at = objects.partition_point(|object| place_of(object.as_ref()) <= *after);
        objects.rotate_left(looked_at);
    }
    objects
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
    let cluster_name = cluster.metadata.name.as_deref().unwrap_or_default();
    let connection = context.connections.to(cluster_name, &cluster.spec.bootstrap_servers)?;
    let topics: Vec<_> = topics.iter().filter_map(|object| Some((TopicRef::from_obj(object.as_ref()), object.0.as_ref().ok()?))).collect();
    let names: Vec<&str> = topics.iter().map(|(_, topic)| topic.kafka_name()).collect();
    let mut seen = observe_many(&connection, &names).await?;
    let (now, mut unwell) = (Time(Timestamp::now()), Vec::new());
    for (object, topic) in topics {
        let latest = context.watches.topics.store().get(&object);
        let readable = latest.as_deref().and_then(|latest| latest.0.as_ref().ok());
        let Some(latest) = readable.filter(|latest| is_followed(latest)) else { continue };
        let observed = match seen.get_mut(topic.kafka_name()) {
            Some(Ok(observed)) => observed,
            Some(Err(error)) if is_refused_anew(latest, error) => {
                let _ = found.send(object);
                continue;
            }
            // What Kafka cannot tell at present is looked at the next time.
            _ => continue,
        };
        let lasting = note_health(context, cluster_name, latest, observed.as_ref());
        if differs(latest, observed.as_ref()) {
            // Nobody listens: the operator ends.
            let _ = found.send(object);
        } else if let Some(observed) = observed.as_mut().filter(|observed| is_own(latest, observed)) {
            observed.lasting = lasting;
            let asked = context.health_of_topics.asked(cluster_name, &place_of(latest));
            match health::news(latest, observed, &now) {
                Some(news) => unwell.push(((asked, news), object)),
                None => context.health_of_topics.has_told(cluster_name, &place_of(latest)),
            }
        }
    }
    for object in health::in_turn(unwell) {
        context.health_of_topics.ask(cluster_name, (object.namespace.clone().unwrap_or_default(), object.name.clone()));
        let _ = found.send(object);
    }
    Ok(())
}

/// Notes how the replicas of an object's topic are, and returns the worst of what lasts.
fn note_health(context: &Context, cluster: &str, topic: &KafkaTopic, observed: Option<&ObservedTopic>) -> Trouble {
    let own = observed.filter(|observed| is_own(topic, observed));
    context.health_of_topics.note(cluster, &place_of(topic), own.map(|own| &own.health), Instant::now())
}

/// Whether it is the object's topic, and not another that has the name now.
fn is_own(topic: &KafkaTopic, observed: &ObservedTopic) -> bool {
    let owned = topic.status.as_ref().and_then(|status| status.topic_id.as_ref());
    owned.is_some_and(|owned| *owned == observed.id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_was_cut_is_taken_up_where_it_stopped() {
        let object = |(namespace, name): (&str, &str)| {
            let mut object = KafkaTopic::new(name, serde_json::from_value(serde_json::json!({})).unwrap());
            object.metadata.namespace = Some(namespace.to_owned());
            Arc::new(object)
        };
        for (after, names) in [
            (None, ["a/x", "a/z", "b/a"]),
            (Some(("a", "x")), ["a/z", "b/a", "a/x"]),
            // The one that was looked at last is gone.
            (Some(("a", "y")), ["a/z", "b/a", "a/x"]),
            (Some(("b", "a")), ["a/x", "a/z", "b/a"]),
            (Some(("c", "")), ["a/x", "a/z", "b/a"]),
        ] {
            let after = after.map(|(namespace, name): (&str, &str)| (namespace.to_owned(), name.to_owned()));
            let turn = in_turn([("b", "a"), ("a", "z"), ("a", "x")].map(object).to_vec(), after.as_ref());
            let turn: Vec<_> =
                turn.iter().map(|topic| place_of(topic.as_ref())).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
            assert_eq!(turn, names, "{after:?}");
        }
    }

    #[test]
    fn looks_are_spread_over_the_period() {
        let period = Duration::from_secs(30);
        for (looks, seconds) in [(0, 30), (1, 15), (4, 6), (59, 0)] {
            assert_eq!(pause(period, looks).as_secs(), seconds, "{looks}");
        }
    }
}
