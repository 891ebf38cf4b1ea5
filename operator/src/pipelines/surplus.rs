//! Finds what somebody added to an object where everything is ours: a key of a Service's selector, an environment variable of
//! a worker. Pure.
//!
//! Server-side apply leaves alone what others added. Elsewhere that is right (`kubectl rollout restart` adds an annotation),
//! but here it changes what a worker is, or whether it is reached at all.

use serde_json::{Value, json};

use super::{child::ChildKind, handler, pod};

/// Where everything is ours, as JSON pointers (RFC 6901). None of these gets a default from the apiserver.
fn ours(kind: ChildKind) -> &'static [&'static str] {
    match kind {
        ChildKind::ConfigMap => &["/data", "/binaryData"],
        ChildKind::Service => &["/spec/selector"],
        ChildKind::Deployment => &[
            "/spec/template/spec/containers",
            "/spec/template/spec/initContainers",
            "/spec/template/spec/volumes",
            "/spec/template/spec/nodeSelector",
            "/spec/template/spec/tolerations",
            "/spec/template/spec/affinity",
            "/spec/template/spec/imagePullSecrets",
        ],
        ChildKind::KafkaTopic | ChildKind::ServiceAccount | ChildKind::PodDisruptionBudget => &[],
    }
}

/// Our containers, and the list that each stands in.
const CONTAINERS: &[(&str, &str)] =
    &[("/spec/template/spec/containers", pod::CONTAINER), ("/spec/template/spec/initContainers", handler::CONTAINER)];
/// The fields of our containers where everything is ours.
const IN_CONTAINER: &[&str] = &["command", "args", "env", "envFrom", "resources", "volumeMounts"];

/// What is in `live` and not in `desired` where everything is ours, as pointers into `live`; the last of a list first.
#[must_use]
pub fn surplus(kind: ChildKind, live: &Value, desired: &Value) -> Vec<String> {
    let mut found = vec![];
    for pointer in ours(kind) {
        compare(live.pointer(pointer), desired.pointer(pointer), pointer, &mut found);
    }
    for (list, container) in CONTAINERS {
        let (Some(here), Some(there)) = (find(live, list, container), find(desired, list, container)) else { continue };
        for field in IN_CONTAINER {
            let (here, there) = (format!("{here}/{field}"), format!("{there}/{field}"));
            compare(live.pointer(&here), desired.pointer(&there), &here, &mut found);
        }
    }
    found.sort_by_key(|pointer| std::cmp::Reverse(order(pointer)));
    found
}

/// The JSON patch (RFC 6902) that takes these away, if the object is still the version that was looked at.
#[must_use]
pub fn removal(pointers: &[String], version: Option<&str>) -> Value {
    let unchanged = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version});
    let removals = pointers.iter().map(|pointer| json!({"op": "remove", "path": pointer}));
    std::iter::once(unchanged).chain(removals).collect()
}

fn find(object: &Value, list: &str, container: &str) -> Option<String> {
    let at = object.pointer(list)?.as_array()?.iter().position(|c| name(c) == Some(container))?;
    Some(format!("{list}/{at}"))
}

fn compare(live: Option<&Value>, desired: Option<&Value>, pointer: &str, found: &mut Vec<String>) {
    match (live, desired) {
        (Some(live), None) if !is_empty(live) => found.push(pointer.to_owned()),
        (Some(Value::Object(live)), Some(Value::Object(desired))) => {
            for (key, value) in live {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (desired.get(key), value) {
                    (None, value) => compare(Some(value), None, &pointer, found),
                    (Some(desired), Value::Object(_)) => compare(Some(value), Some(desired), &pointer, found),
                    _ => {}
                }
            }
        }
        (Some(Value::Array(live)), Some(Value::Array(desired))) => {
            let added = live.iter().enumerate().filter(|(_, l)| name(l).is_some() && desired.iter().all(|d| name(d) != name(l)));
            found.extend(added.map(|(at, _)| format!("{pointer}/{at}")));
        }
        _ => {}
    }
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        value => value.is_null(),
    }
}

/// In descending order: what is deep before an element above it moves up in its list, and later elements before earlier ones.
fn order(pointer: &str) -> (usize, Vec<usize>) {
    (pointer.matches('/').count(), pointer.split('/').map(|part| part.parse().unwrap_or_default()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    #[test]
    fn additions_where_everything_is_ours() {
        let worker = json!({"name": "worker", "image": "i", "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "1"}}});
        let desired = deployment(json!({"containers": [worker], "volumes": [{"name": "config"}]}));
        let pod = "/spec/template/spec";
        let rows = [
            // What the apiserver fills in, and what others may add.
            (
                json!({
                    "containers": [{"name": "worker", "image": "i", "tty": false, "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "1"}}}],
                    "volumes": [{"name": "config", "configMap": {"defaultMode": 420}}], "dnsPolicy": "ClusterFirst", "initContainers": [],
                }),
                vec![],
            ),
            (
                json!({
                    "containers": [
                        {"name": "other"},
                        {"name": "worker", "env": [{"name": "X"}, {"name": "A"}, {"name": "Y"}], "command": ["sh"], "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}},
                    ],
                    "nodeSelector": {"a": "b"},
                }),
                vec![
                    format!("{pod}/containers/1/env/2"),
                    format!("{pod}/containers/1/env/0"),
                    format!("{pod}/containers/1/resources/limits"),
                    format!("{pod}/containers/1/command"),
                    format!("{pod}/containers/0"),
                    format!("{pod}/nodeSelector"),
                ],
            ),
        ];
        for (live, expected) in rows {
            let (mut got, mut expected) = (surplus(ChildKind::Deployment, &deployment(live.clone()), &desired), expected);
            let in_list: Vec<_> = got.iter().filter(|p| p.contains("/env/")).cloned().collect();
            assert!(in_list.is_sorted_by(|a, b| a > b), "{in_list:?}");
            assert!(
                got.iter().position(|p| p.ends_with("containers/0")).is_none_or(|at| got[at..].iter().all(|p| !p.contains("containers/1")))
            );
            got.sort();
            expected.sort();
            assert_eq!(got, expected, "{live}");
        }
    }

    #[test]
    fn additions_to_a_handler() {
        let handler = json!({"name": "handler", "env": [{"name": "PORT"}]});
        let desired = deployment(json!({"containers": [{"name": "worker"}], "initContainers": [handler]}));
        let added = json!([{"name": "first"}, {"name": "handler", "env": [{"name": "PORT"}, {"name": "X"}], "args": ["x"], "tty": false}]);
        let mut got =
            surplus(ChildKind::Deployment, &deployment(json!({"containers": [{"name": "worker"}], "initContainers": added})), &desired);
        got.sort();
        assert_eq!(got, ["0", "1/args", "1/env/1"].map(|at| format!("/spec/template/spec/initContainers/{at}")));
    }

    #[test]
    fn keys_with_slashes() {
        let (live, desired) = (json!({"spec": {"selector": {"a/b~": "x", "c": "y"}}}), json!({"spec": {"selector": {"c": "z"}}}));
        let found = surplus(ChildKind::Service, &live, &desired);
        assert_eq!(found, ["/spec/selector/a~1b~0"]);
        assert_eq!(
            removal(&found, Some("7")),
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "remove", "path": "/spec/selector/a~1b~0"},
            ])
        );
    }
}
