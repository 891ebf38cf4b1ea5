//! The status of a `KafkaCluster`. Pure: the time is handed in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::{
    KafkaCluster, KafkaClusterStatus,
    cluster::BrokerStatus,
    condition::{ConditionType, Reason, Statement, conditions},
};
use penstock_kafka::ClusterDescription;

use crate::refusal::Refusal;

/// The status that says what was seen, or why nothing could be.
#[must_use]
pub fn status(cluster: &KafkaCluster, seen: Result<&ClusterDescription, &Refusal>, now: &Time) -> KafkaClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let statement = match seen {
        Ok(seen) => connected(seen),
        Err(refusal) => refusal.still_not_ready(&before.conditions),
    };
    let conditions = conditions(&before.conditions, now, generation, &[statement]);
    let Ok(seen) = seen else {
        // Which brokers are up is not known; what the cluster is does not change.
        return KafkaClusterStatus {
            observed_generation: generation,
            broker_count: None,
            brokers: Vec::new(),
            controller_id: None,
            conditions,
            ..before
        };
    };
    KafkaClusterStatus {
        observed_generation: generation,
        bootstrap_servers: cluster.spec.bootstrap_servers.clone(),
        cluster_id: Some(seen.cluster_id.clone()),
        controller_id: seen.controller,
        kafka_version: seen.version.map(|version| version.to_string()).or(before.kafka_version),
        broker_count: i32::try_from(seen.brokers.len()).ok(),
        brokers: brokers(seen),
        conditions,
    }
}

fn connected(seen: &ClusterDescription) -> Statement {
    let brokers = match seen.brokers.len() {
        1 => "1 broker is up".to_owned(),
        n => format!("{n} brokers are up"),
    };
    Statement::new(ConditionType::Ready, Some(true), Reason::Connected, brokers)
}

fn brokers(seen: &ClusterDescription) -> Vec<BrokerStatus> {
    let mut brokers: Vec<_> = seen
        .brokers
        .iter()
        .map(|b| BrokerStatus { id: b.id, host: b.host.clone(), port: i32::from(b.port), rack: b.rack.clone() })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    brokers
}

#[cfg(test)]
mod tests {
    use penstock_crds::KafkaClusterSpec;
    use penstock_kafka::{BrokerInfo, KafkaVersion};

    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn seen(ids: &[i32], controller: i32) -> ClusterDescription {
        let mut seen = ClusterDescription::new("id");
        seen.controller = Some(controller);
        seen.brokers = ids.iter().map(|id| BrokerInfo { id: *id, host: format!("kafka-{id}"), port: 9092, rack: None }).collect();
        seen.version = Some(KafkaVersion { major: 4, minor: 3 });
        seen
    }

    fn cluster() -> KafkaCluster {
        let spec = KafkaClusterSpec {
            bootstrap_servers: vec!["kafka:9092".into()],
            access: None,
            topic_defaults: None,
            topic_limits: None,
            reassignment: None,
        };
        let mut cluster = KafkaCluster::new("default", spec);
        cluster.metadata.generation = Some(1);
        cluster
    }

    #[test]
    fn an_outage_is_told_once_and_keeps_the_identity() {
        let mut cluster = cluster();
        cluster.status = Some(status(&cluster, Ok(&seen(&[1, 0], 1)), &at(1)));
        let up = cluster.status.clone().unwrap();
        assert_eq!((up.broker_count, up.brokers[0].id, up.conditions[0].reason.as_str()), (Some(2), 0, "Connected"));
        assert_eq!((up.controller_id, up.kafka_version.as_deref()), (Some(1), Some("4.3")));
        let mut untold = seen(&[0, 1], 1);
        untold.version = None;
        assert_eq!(status(&cluster, Ok(&untold), &at(1)).kafka_version, up.kafka_version, "a version that is not told stays");

        let first = Refusal::new(Reason::KafkaUnreachable, "refused");
        cluster.status = Some(status(&cluster, Err(&first), &at(2)));
        let down = cluster.status.clone().unwrap();
        assert_eq!((down.cluster_id.as_deref(), down.broker_count, down.conditions[0].status.as_str()), (Some("id"), None, "False"));

        let second = Refusal::new(Reason::KafkaUnreachable, "timed out");
        assert_eq!(status(&cluster, Err(&second), &at(3)), down);
    }
}
