//! What a reader needs when a test failed: its objects, events and logs, what its workers count, and what the operator said.

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};

use super::{Scene, install, workers::admin_port};
use crate::cluster::Tool;

/// The last lines of a worker's log that are shown.
const MOST_LINES: usize = 120;
/// What stands in a line about a request that was answered.
const ANSWERED: &str = "\"message\":\"answered\"";

/// Prints everything about a scene. What cannot be had is said and passed over.
#[expect(clippy::print_stdout, reason = "the test runner shows what a failing test prints")]
pub(super) async fn print(scene: &Scene) {
    let own = ["-n", scene.namespace.as_str()];
    let sections: [(&str, Vec<&str>); 4] = [
        ("objects", vec!["get", "penstock,deployments,pods", "-o", "wide"]),
        ("conditions", vec!["get", "penstock", "-o", "yaml", "--show-managed-fields=false"]),
        ("events", vec!["get", "events", "--sort-by=.lastTimestamp"]),
        ("pods", vec!["describe", "pods"]),
    ];
    for (title, arguments) in sections {
        println!("\n=== {title} of {}\n{}", scene.namespace, kubectl(scene, &[&arguments[..], &own].concat()).await);
    }
    for pod in workers(scene).await {
        let name = pod.name_any();
        let logs = kubectl(scene, &["logs", &name, "--tail=-1", own[0], own[1]]).await;
        // A test that waits for an answer asks many times.
        let lines: Vec<&str> = logs.lines().filter(|line| !line.contains(ANSWERED)).collect();
        println!("\n=== {name}: log\n{}", lines.get(lines.len().saturating_sub(MOST_LINES)..).unwrap_or_default().join("\n"));
        println!("\n=== {name}: metrics\n{}", metrics(scene, &pod).await);
    }
    let logs = ["logs", "-n", install::NAMESPACE, "-l", install::OPERATOR, "--tail=400"];
    let mine = |line: &&str| line.contains(&scene.namespace) || line.contains("ERROR") || line.contains("panic");
    let text = kubectl(scene, &logs).await;
    println!("\n=== operator\n{}", text.lines().filter(mine).collect::<Vec<_>>().join("\n"));
}

async fn workers(scene: &Scene) -> Vec<Pod> {
    let own = ListParams::default().labels("app.kubernetes.io/part-of=penstock");
    scene.api::<Pod>().list(&own).await.map(|pods| pods.items).unwrap_or_default()
}

/// What a worker counts, without what is 0 or belongs to a histogram's parts.
async fn metrics(scene: &Scene, pod: &Pod) -> String {
    let Some(port) = admin_port(pod) else { return "it has no port for them".to_owned() };
    match scene.get(&pod.name_any(), port, "/metrics").await {
        Ok(reply) => {
            let text = reply.body.as_str().unwrap_or_default();
            let told = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0") && !line.contains("_bucket{");
            text.lines().filter(told).collect::<Vec<_>>().join("\n")
        }
        Err(error) => error.to_string(),
    }
}

async fn kubectl(scene: &Scene, arguments: &[&str]) -> String {
    match scene.cluster.tool(Tool::Kubectl).args(arguments).output().await {
        Ok(output) => format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("kubectl: {error}"),
    }
}
