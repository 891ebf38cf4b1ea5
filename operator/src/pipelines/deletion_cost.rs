//! Decides in which order workers go when there shall be fewer: who has the least to do goes first. Pure: no I/O, no clock.
//!
//! Kubernetes takes pods that are not ready first, and of the others those with the lowest `pod-deletion-cost`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use penstock_kafka::{GroupMember, TopicPartition};

/// The annotation that a ReplicaSet orders its pods by.
pub const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods whose cost is another than it shall be, and what it shall be. A pod that no member of the group runs in has nothing to do;
/// where that is all of them, nobody knows who has, and none is told.
#[must_use]
pub fn costs<'a>(pods: &[&'a Pod], members: &[GroupMember], loads: &BTreeMap<TopicPartition, f64>) -> Vec<(&'a str, i32)> {
    let runs_in = |member: &GroupMember, pod: &Pod| Some(member.host.as_str()) == pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
    if !members.iter().any(|member| pods.iter().any(|pod| runs_in(member, pod))) {
        return Vec::new();
    }
    let mut order: Vec<(f64, usize, &str, &Pod)> = Vec::new();
    for pod in pods {
        let Some(name) = pod.metadata.name.as_deref() else { continue };
        let own = || members.iter().filter(|member| runs_in(member, pod)).flat_map(|member| &member.partitions);
        let load = own().filter_map(|partition| loads.get(partition)).sum();
        order.push((load, own().count(), name, pod));
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(b.2)));
    let ranked = (0..).zip(order);
    ranked.filter(|(cost, (.., pod))| current(pod) != *cost).map(|(cost, (_, _, name, _))| (name, cost)).collect()
}

/// What Kubernetes takes the cost for: 0 without an annotation.
fn current(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, address: &str, cost: Option<&str>) -> Pod {
        let annotations = cost.map(|cost| json!({ANNOTATION: cost})).unwrap_or_default();
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}, "status": {"podIP": address}})).unwrap()
    }

    fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|n| TopicPartition::new("orders", *n)).collect()
    }

    #[test]
    fn who_has_the_least_to_do_goes_first() {
        let loads = BTreeMap::from([(0, 50.0), (1, 5.0), (2, 10.0), (3, 0.0)].map(|(n, load)| (TopicPartition::new("orders", n), load)));
        let members = [
            GroupMember::new("10.0.0.1", partitions(&[0])),
            GroupMember::new("10.0.0.2", partitions(&[1, 2])),
            GroupMember::new("10.0.0.3", partitions(&[3])),
        ];
        let (busy, medium, quiet, idle) = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4");
        for (name, pods, expected) in [
            ("none has a cost yet", vec![pod("a", busy, None), pod("b", medium, None), pod("c", quiet, None)], vec![("b", 1), ("a", 2)]),
            ("one without partitions is the first to go", vec![pod("a", quiet, None), pod("b", idle, None)], vec![("a", 1)]),
            ("as they are already", vec![pod("a", busy, Some("1")), pod("b", medium, Some("0"))], vec![]),
            ("what somebody wrote there", vec![pod("a", busy, Some("junk")), pod("b", medium, Some("7"))], vec![("b", 0), ("a", 1)]),
            ("as much to do: by name", vec![pod("b", idle, None), pod("a", "10.0.0.5", None), pod("c", busy, Some("2"))], vec![("b", 1)]),
            ("none runs a member", vec![pod("b", idle, None), pod("a", "10.0.0.5", Some("7"))], vec![]),
        ] {
            let pods: Vec<&Pod> = pods.iter().collect();
            assert_eq!(costs(&pods, &members, &loads), expected, "{name}");
        }
    }
}
