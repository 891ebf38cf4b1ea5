//! Partitions whose replicas are not as they should be: the sum for each cluster, and a topic while something is wrong with it.

use penstock_kafka::ReplicaHealth;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::topics::HealthBook;

/// What is wrong with a partition. One that lacks more counts for less, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Problem {
    UnderReplicated,
    UnderMinIsr,
    Offline,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    namespace: String,
    topic: String,
    problem: Problem,
}

/// Partitions whose replicas are not as they should be.
#[derive(Default)]
pub(super) struct Replicas {
    clusters: Family<ClusterLabels, Gauge>,
    topics: Family<TopicLabels, Gauge>,
}

impl Replicas {
    pub(super) fn register(&self, registry: &mut Registry) {
        let words = "Partitions of all topics that are declared on a KafkaCluster, by what is wrong with them; missing: that is not known";
        registry.register("unhealthy_partitions", words, self.clusters.clone());
        let words = "Partitions of the topic of a KafkaTopic, by what is wrong with them; missing: nothing is";
        registry.register("topic_unhealthy_partitions", words, self.topics.clone());
    }

    pub(super) fn count(&self, book: &HealthBook) {
        // Those that are well again, or gone.
        self.clusters.clear();
        self.topics.clear();
        for (cluster, health) in book.sums() {
            for (problem, count) in by_problem(&health) {
                self.clusters.get_or_create(&ClusterLabels { cluster: cluster.clone(), problem }).set(count.into());
            }
        }
        for ((namespace, topic), health) in book.unwell() {
            for (problem, count) in by_problem(&health).into_iter().filter(|(_, count)| *count > 0) {
                self.topics.get_or_create(&TopicLabels { namespace: namespace.clone(), topic: topic.clone(), problem }).set(count.into());
            }
        }
    }
}

fn by_problem(health: &ReplicaHealth) -> [(Problem, i32); 3] {
    [(Problem::UnderReplicated, health.under_replicated), (Problem::UnderMinIsr, health.under_min_isr), (Problem::Offline, health.offline)]
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_topic_is_counted_while_something_is_wrong_with_it() {
        let (mut registry, replicas, book) = (Registry::with_prefix("p"), Replicas::default(), HealthBook::default());
        replicas.register(&mut registry);
        let told = |book: &HealthBook| {
            replicas.count(book);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let mut told: Vec<_> = text.lines().filter(|line| line.contains("_partitions{")).map(str::to_owned).collect();
            told.sort();
            told
        };
        assert_eq!(told(&book), [""; 0]);
        let health = ReplicaHealth { under_replicated: 3, under_min_isr: 1, ..ReplicaHealth::default() };
        let object = ("shop".to_owned(), "orders".to_owned());
        book.note("default", &object, Some(&health), Instant::now());
        book.swept("default");
        assert_eq!(
            told(&book),
            [
                r#"p_topic_unhealthy_partitions{namespace="shop",topic="orders",problem="UnderMinIsr"} 1"#,
                r#"p_topic_unhealthy_partitions{namespace="shop",topic="orders",problem="UnderReplicated"} 3"#,
                r#"p_unhealthy_partitions{cluster="default",problem="Offline"} 0"#,
                r#"p_unhealthy_partitions{cluster="default",problem="UnderMinIsr"} 1"#,
                r#"p_unhealthy_partitions{cluster="default",problem="UnderReplicated"} 3"#,
            ]
        );
        book.note("default", &object, None, Instant::now());
        assert_eq!(told(&book).len(), 3);
    }
}
