//! What a reconcile found, before it changes anything and after.

use std::time::Duration;

use penstock_crds::KafkaTopic;
use penstock_kafka::Error as KafkaError;
use tokio::time::{Instant, sleep};

use super::{
    apply::settle,
    approval,
    observe::ObservedTopic,
    plan::{Plan, TopicAction, plan},
    reassignment::{self, Ground, Outcome, Step},
    status::history,
    validate::ValidatedTopic,
};
use crate::{
    clusters::{ClusterConnection, ResolvedCluster},
    context::Context,
    controller::Next,
    status::Error,
};

/// How long it may take until brokers know where partitions are.
const SETTLE: Duration = Duration::from_secs(3);
/// The pause between two looks at that.
const PAUSE: Duration = Duration::from_millis(100);

/// What a reconcile found before it changes anything.
pub struct Found {
    /// The cluster.
    pub cluster: ResolvedCluster,
    /// The connection to it.
    pub connection: ClusterConnection,
    /// The topic, if there is one.
    pub observed: Option<ObservedTopic>,
    /// What is to be done.
    pub plan: Plan,
    /// Where the copies are, if they are not where they shall be, or were not.
    pub copies: Option<reassignment::Seen>,
    /// Whether a change of their number has come to its end.
    pub has_ended: bool,
}

impl Found {
    /// What was found, without a look at the copies.
    #[must_use]
    pub fn new(cluster: ResolvedCluster, connection: ClusterConnection, observed: Option<ObservedTopic>, plan: Plan) -> Self {
        Self { cluster, connection, observed, plan, copies: None, has_ended: false }
    }

    /// Looks at where the copies are, and plans what is to be done about it.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn look_at_copies(&mut self, topic: &KafkaTopic, desired: &ValidatedTopic) -> Result<(), KafkaError> {
        let Some(observed) = self.observed.as_mut().filter(|_| !self.plan.is_of_another_topic()) else {
            self.copies = None;
            return Ok(());
        };
        self.copies = reassignment::look(&self.connection, topic, desired, self.cluster.throttle(), observed).await?;
        if let Some(copies) = &self.copies {
            let differs = |declared| Some(approval::replication_factor(copies.replication.other_than(declared)?, declared));
            self.plan = std::mem::take(&mut self.plan).with(&copies.step, desired.replication_factor.and_then(differs));
        }
        Ok(())
    }

    /// Looks at what has become of what was `done`, until it is seen, or for as long as that may take.
    ///
    /// # Errors
    /// When Kafka does not answer or refuses.
    pub async fn look_again(&mut self, topic: &KafkaTopic, desired: &ValidatedTopic, done: &[TopicAction]) -> Result<(), KafkaError> {
        let deadline = Instant::now() + SETTLE;
        let history = history(topic);
        loop {
            self.observed = settle(&self.connection, desired, &history).await?;
            self.plan = plan(desired, &history, self.observed.as_ref());
            self.look_at_copies(topic, desired).await?;
            // A broker may not know yet of what has ended at once.
            let is_unseen = self.copies.as_ref().is_some_and(|copies| done.iter().any(|action| copies.contradicts(action)));
            if !is_unseen || Instant::now() >= deadline {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// For how many partitions a change of ours has not ended.
    #[must_use]
    pub fn remaining(&self) -> Option<usize> {
        self.copies.as_ref().and_then(reassignment::Seen::remaining)
    }

    /// When to look again, if nothing concerns the object before. What changes in Kafka otherwise is found by the sweep.
    #[must_use]
    pub fn next(&self, context: &Context) -> Next {
        let pause = self.copies.as_ref().and_then(|copies| copies.pause(context.settings.resync));
        pause.map_or(Next::AwaitChange, Next::After)
    }

    /// Whether what is to begin is what the status tells of already: Kafka refused it before, or has not told of it yet.
    fn goes_on(&self, context: &Context, topic: &KafkaTopic) -> bool {
        let Some(reassignment::Seen { replication, step: Step::Begin(assignment) }) = &self.copies else { return false };
        approval::is_given(topic) && reassignment::goes_on(self.ground(context), topic, assignment, replication)
    }

    /// Where partitions move.
    #[must_use]
    pub fn ground<'a>(&'a self, context: &'a Context) -> Ground<'a> {
        Ground { context, connection: &self.connection, rate: reassignment::shared_rate(context, &self.cluster) }
    }
}

/// Sees to it that partitions that move are throttled, and takes everything away that was set for it once they do not any more.
///
/// # Errors
/// Kubernetes did not take what was to be written down.
pub async fn tend(context: &Context, topic: KafkaTopic, found: &mut Found) -> Result<Outcome, Error> {
    if reassignment::record(&topic).is_none() {
        return Ok(Outcome { topic, done: Ok(()) });
    }
    let is_under_way = found.remaining().is_some();
    if !is_under_way && found.goes_on(context, &topic) {
        return Ok(Outcome { topic, done: Ok(()) });
    }
    let is_of_another = found.plan.is_of_another_topic();
    let mut observed = found.observed.take();
    let ground = found.ground(context);
    let outcome = match &mut observed {
        Some(observed) if is_under_way => reassignment::keep_up(ground, topic, &mut observed.config).await,
        observed => reassignment::end(ground, topic, observed.as_mut().filter(|_| !is_of_another)).await,
    };
    found.has_ended = found.has_ended || !is_under_way;
    found.observed = observed;
    outcome
}
