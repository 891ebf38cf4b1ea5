//! The rate that is set for all brokers while copies are made: who needs it, and whether it is ours.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use penstock_crds::KafkaTopic;
use penstock_kafka::Error;

use super::{Ground, is_throttled, record, throttle};
use crate::{
    clusters::{self, ClusterIds, ResolvedCluster},
    context::Context,
};

/// The rate that counts for topics of a `KafkaCluster` with a throttle: of several that lead to one Kafka, the least of those for whose topics
/// something is throttled now. Each object comes to the same, so that none overwrites what another has set.
#[must_use]
pub fn shared_rate(context: &Context, cluster: &ResolvedCluster) -> Option<i64> {
    let own = cluster.throttle()?;
    let (store, namespace) = (context.watches.clusters.store(), context.settings.namespace.as_str());
    let ids = ClusterIds::known(&store, namespace);
    let throttled = context.watches.topics.select(is_throttled);
    let names: BTreeSet<&str> = throttled.iter().filter_map(|object| Some(object.0.as_ref().ok()?.cluster_name())).collect();
    let same = names.into_iter().filter(|name| ids.are_same(name, &cluster.name));
    let others = same.filter_map(|name| clusters::find(&store, namespace, name).ok()?.throttle());
    others.chain([own]).min()
}

/// The rates that objects tell to have set on the Kafka cluster of this one.
pub(super) struct Rates {
    ours: BTreeSet<i64>,
    /// Whether this one tells of a rate.
    has_own: bool,
}

impl Rates {
    /// What the statuses tell.
    pub(super) fn told(context: &Context, topic: &KafkaTopic) -> Self {
        let own = told(topic);
        let others = others(context, topic).into_iter().map(|(_, rate)| rate);
        Self { ours: others.chain(own).collect(), has_own: own.is_some() }
    }

    /// The rates that we may have set. One that takes the place of another of ours, which is `next`, is set before it is written down; where
    /// none of ours stands there, whoever has set that one is another tool.
    pub(super) fn may_be_ours(&self, next: Option<i64>) -> BTreeSet<i64> {
        self.ours.iter().copied().chain(next.filter(|_| self.has_own)).collect()
    }
}

/// The uids of the others that tell to have set one there.
pub(super) fn other_holders(context: &Context, topic: &KafkaTopic) -> Vec<String> {
    others(context, topic).into_iter().map(|(uid, _)| uid).collect()
}

fn others(context: &Context, topic: &KafkaTopic) -> Vec<(String, i64)> {
    let ids = ClusterIds::known(&context.watches.clusters.store(), &context.settings.namespace);
    let is_other = |other: &KafkaTopic| other.uid() != topic.uid() && ids.are_same(other.cluster_name(), topic.cluster_name());
    let objects = context.watches.topics.select(is_throttled);
    let readable = objects.iter().filter_map(|object| object.0.as_ref().ok());
    readable.filter(|other| is_other(other)).filter_map(|other| Some((other.uid()?, told(other)?))).collect()
}

fn told(topic: &KafkaTopic) -> Option<i64> {
    record(topic)?.throttle.as_ref()?.bytes_per_second
}

/// What is set for all brokers now.
pub(super) async fn found(ground: Ground<'_>) -> Result<BTreeMap<String, String>, Error> {
    ground.connection.look("DescribeConfigs", ground.connection.admin.broker_defaults(&throttle::RATES)).await
}

/// Sets it.
pub(super) async fn set(ground: Ground<'_>, rate: i64) -> Result<(), Error> {
    let set = throttle::RATES.into_iter().map(|key| (key, rate.to_string())).collect();
    let none = BTreeSet::new();
    ground.connection.ask("IncrementalAlterConfigs", ground.connection.admin.change_broker_defaults(&set, &none)).await
}

/// Takes it away, if it is ours.
pub(super) async fn lift(ground: Ground<'_>, ours: &BTreeSet<i64>) -> Result<(), Error> {
    let lifted = throttle::rates_to_lift(&found(ground).await?, ours);
    let none = BTreeMap::new();
    ground.connection.ask("IncrementalAlterConfigs", ground.connection.admin.change_broker_defaults(&none, &lifted)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_that_is_asked_for_is_ours_only_where_one_of_ours_stood() {
        for (name, ours, has_own, next, expected) in [
            ("none", &[][..], false, Some(1000), &[][..]),
            ("ours", &[1000], true, Some(1000), &[1000]),
            ("a changed one", &[1000], true, Some(2000), &[1000, 2000]),
            ("that of another object", &[1000], false, Some(2000), &[1000]),
            ("not throttled any more", &[1000], true, None, &[1000]),
        ] {
            let rates = Rates { ours: ours.iter().copied().collect(), has_own };
            assert_eq!(rates.may_be_ours(next), expected.iter().copied().collect(), "{name}");
        }
    }
}
