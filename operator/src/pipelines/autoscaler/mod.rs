//! Watches what waits for each pipeline with `scaling`, and tells its reconciler how many workers there shall be.
//!
//! One sweep for each Kafka cluster at a time, whatever the number of pipelines on it. What a sweep could not read changes nothing.
//! The number itself is written by the reconciler, as everything else of a pipeline is.

mod answers;
mod book;
mod clock;
mod looks;
mod memory;
mod renewal;
mod retention;
mod subject;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    future::join_all,
    stream::{self, FuturesUnordered},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::ObjectRef;
use penstock_crds::{EventPipeline, condition::ConditionType};
use penstock_kafka::TopicPartition;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    answers::{Seen, partitions},
    book::Told,
    looks::{Look, Looks},
    memory::{ineffective, known, rounded},
    subject::Subject,
    sweep::{Answers, sweep},
};
use self::{book::Book, clock::Clock, retention::Retentions};
use super::{children::Children, scaled};
use crate::{
    clusters::{self, ClusterConnection},
    context::Context,
    controller::Triggers,
    scaling::Workers,
    watch::Guarded,
};

/// Watches what waits.
pub struct Autoscaler {
    book: Book,
    retentions: Retentions,
    changes: UnboundedSender<ObjectRef<Guarded<EventPipeline>>>,
    clock: Clock,
}

impl Autoscaler {
    /// One that watches nothing yet, and what it asks for: reconciles of pipelines for which there is news.
    #[must_use]
    pub fn new() -> (Arc<Self>, Triggers<EventPipeline>) {
        let (changes, asked) = unbounded_channel();
        (Arc::new(Self { book: Book::default(), retentions: Retentions::default(), changes, clock: Clock::start() }), stream_of(asked))
    }

    /// Watches a pipeline from now on, or as it is now.
    pub fn follow(&self, uid: &str, subject: Subject) {
        self.book.follow(uid, subject);
    }

    /// Watches it no more.
    pub fn leave(&self, uid: &str) {
        self.book.leave(uid);
    }

    /// What was decided last for a pipeline.
    #[must_use]
    pub fn told(&self, uid: &str) -> Option<Told> {
        self.book.told(uid)
    }

    /// How much each partition of a pipeline asks for, in records a second.
    #[must_use]
    pub fn loads(&self, uid: &str) -> BTreeMap<TopicPartition, f64> {
        self.book.loads(uid, self.clock.now())
    }

    /// Looks again and again until the shutdown. A cluster that takes longer than others holds up none of them.
    pub async fn run(&self, context: &Context, children: &Children, shutdown: CancellationToken) {
        let mut ticks = interval(context.settings.scaling_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut looked_at) = (FuturesUnordered::new(), BTreeSet::new());
        // Beside the looks: a broker may have each of them wait for some seconds.
        let (mut renewals, mut renewed_at) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(looked) = looks.next() => {
                    let (cluster, asleep): (String, Option<Asleep>) = looked;
                    looked_at.remove(&cluster);
                    if let Some(asleep) = asleep && renewed_at.insert(cluster.clone()) {
                        renewals.push(async move {
                            self.renew(&cluster, &asleep).await;
                            cluster
                        });
                    }
                }
                Some(renewed) = renewals.next() => {
                    let cluster: String = renewed;
                    renewed_at.remove(&cluster);
                }
                _ = ticks.tick() => {
                    for (cluster, subjects) in self.by_cluster(context) {
                        if looked_at.insert(cluster.clone()) {
                            looks.push(async move {
                                let asleep = self.look_at(context, children, &cluster, &subjects).await;
                                (cluster, asleep)
                            });
                        }
                    }
                }
            }
        }
    }

    /// What is watched, by the cluster that is asked.
    fn by_cluster(&self, context: &Context) -> BTreeMap<String, Vec<(String, Subject)>> {
        self.book.keep(|uid, subject| {
            let found = context.watches.pipelines.get(&subject.namespace, &subject.name);
            found.is_some_and(|pipeline| kube::Resource::meta(pipeline.as_ref()).uid.as_deref() == Some(uid))
        });
        let mut by_cluster: BTreeMap<String, Vec<(String, Subject)>> = BTreeMap::new();
        for (uid, subject) in self.book.subjects() {
            by_cluster.entry(subject.cluster.clone()).or_default().push((uid, subject));
        }
        by_cluster
    }

    /// Looks, and gives those that were seen to have no workers.
    async fn look_at(&self, context: &Context, children: &Children, cluster: &str, subjects: &[(String, Subject)]) -> Option<Asleep> {
        // A cluster that is not ready is asked all the same where a connection may be had: what cannot be read is told.
        let clusters = context.watches.clusters.store();
        let resolve = |namespace: &str| clusters::resolve(&clusters, &context.settings.namespace, cluster, namespace).ok();
        let resolved = subjects.iter().find_map(|(_, subject)| resolve(&subject.namespace));
        let connection = resolved.and_then(|cluster| context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers).ok());
        let connection = connection.map(|connection| connection.with_timeout(LIMIT));
        let began = self.clock.now();
        // What takes longer is too old to decide by.
        let limit = 3 * context.settings.scaling_interval;
        let answers = match &connection {
            Some(connection) => match timeout(limit, sweep(connection, subjects, |uid| self.book.looks(uid))).await {
                Ok(Ok(answers)) => {
                    context.metrics.swept(self.clock.now().saturating_sub(began));
                    Some(answers)
                }
                Ok(Err(error)) => {
                    context.connections.failed(cluster, &error);
                    tracing::debug!(%error, cluster, "what waits could not be read");
                    None
                }
                Err(_) => {
                    tracing::debug!(cluster, "what waits could not be read in time");
                    None
                }
            },
            None => None,
        };
        let now = self.clock.now();
        let mut asleep = Vec::new();
        for (uid, subject) in subjects {
            let rebalancing = answers.as_ref().is_some_and(|answers| answers.rebalancing.contains(&subject.group));
            let deployment = children.deployment_of(&subject.namespace, &subject.name).filter(|_| !is_suspended(context, subject));
            let workers = deployment.map(|deployment| workers(&deployment, rebalancing));
            if let Some(answers) = &answers {
                self.book.seen(uid, answers.looks.get(&subject.group).cloned().unwrap_or_default());
            }
            let seen = answers.as_ref().map(|answers| partitions(subject, answers).all_or_at_least()).unwrap_or_default();
            // Workers that are not declared any more drain and commit until their pods are gone.
            if workers.is_some_and(|workers| workers.declared > 0) || children.has_workers(&subject.namespace, &subject.name) {
                self.book.awake(uid, now);
            } else {
                asleep.push((uid.clone(), subject.clone()));
            }
            if self.book.look(uid, (began, now), seen, workers.filter(|_| !subject.refused)) {
                let object = ObjectRef::new(&subject.name).within(&subject.namespace);
                // Nobody listens: the operator ends.
                let _ = self.changes.send(object);
            }
        }
        let (connection, answers) = (connection?, answers?);
        (!asleep.is_empty()).then_some(Asleep { connection, answers, pipelines: asleep, seen: now })
    }

    /// Commits again what brokers would drop otherwise.
    async fn renew(&self, cluster: &str, asleep: &Asleep) {
        let Asleep { connection, answers, pipelines, seen } = asleep;
        let retention = self.retentions.of(cluster, connection, *seen).await;
        let due: Vec<_> = pipelines.iter().filter(|(uid, _)| self.book.renewal_is_due(uid, *seen, retention)).collect();
        for some in due.chunks(RENEWALS) {
            let done = join_all(some.iter().map(|(_, subject)| renewal::renew(connection, subject, answers))).await;
            some.iter().zip(done).for_each(|((uid, _), done)| self.book.renewed(uid, *seen, done));
        }
    }
}

/// Pipelines without workers, and what a look saw of them.
struct Asleep {
    connection: ClusterConnection,
    answers: Answers,
    /// By their uid.
    pipelines: Vec<(String, Subject)>,
    /// When.
    seen: Duration,
}

/// How many groups' offsets are committed again at once.
const RENEWALS: usize = 16;

/// How long one question to Kafka may take.
const LIMIT: Duration = Duration::from_secs(3);

fn stream_of(asked: UnboundedReceiver<ObjectRef<Guarded<EventPipeline>>>) -> Triggers<EventPipeline> {
    stream::unfold(asked, |mut asked| async move { asked.recv().await.map(|object| (object, asked)) }).boxed()
}

/// Whether a pipeline is suspended, or was until a moment ago: its Deployment may still have the number of workers from then.
fn is_suspended(context: &Context, subject: &Subject) -> bool {
    let found = context.watches.pipelines.get(&subject.namespace, &subject.name);
    let pipeline = found.as_ref().and_then(|pipeline| pipeline.0.as_ref().ok());
    pipeline.is_some_and(|pipeline| pipeline.spec.suspend || scaled::was_suspended(pipeline, ConditionType::Ready))
}

/// The workers of a Deployment.
fn workers(deployment: &Deployment, rebalancing: bool) -> Workers {
    let number = |n: Option<i32>| u32::try_from(n.unwrap_or_default()).unwrap_or_default();
    let declared = number(deployment.spec.as_ref().and_then(|spec| spec.replicas));
    let Some(status) = &deployment.status else { return Workers { declared, rolling_out: true, rebalancing, ..Workers::default() } };
    let (all, updated) = (number(status.replicas), number(status.updated_replicas));
    // Old ones stand beside new ones. While the number alone changes, all are of one kind.
    let rolling_out = status.observed_generation < deployment.metadata.generation || updated < all;
    Workers { declared, ready: number(status.ready_replicas).min(declared), rolling_out, rebalancing }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn workers_are_those_of_the_deployment() {
        let of = |generation: i64, replicas: i32, status: Value| {
            let deployment = json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
                "status": status,
            });
            let seen = workers(&serde_json::from_value(deployment).unwrap(), false);
            (seen.declared, seen.ready, seen.rolling_out)
        };
        let status = |all: i32, updated: i32, ready: i32| json!({"observedGeneration": 2, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready});
        assert_eq!(of(2, 3, status(3, 3, 3)), (3, 3, false));
        assert_eq!(of(2, 6, status(6, 6, 3)), (6, 3, false), "new ones start");
        assert_eq!(of(2, 3, status(4, 1, 3)), (3, 3, true), "new ones replace old ones");
        assert_eq!(of(3, 3, status(3, 3, 3)), (3, 3, true), "nobody has looked at it yet");
        assert_eq!(of(2, 1, status(3, 3, 3)), (1, 1, false), "some are about to go");
        assert_eq!(of(2, 0, json!({"observedGeneration": 2})), (0, 0, false));
    }
}
