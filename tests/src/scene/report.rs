//! What a reader needs when a test failed: its objects, events and logs, and what the operator said.

use super::{Scene, install};
use crate::cluster::Tool;

/// Prints everything about a scene. What cannot be had is said and passed over.
#[expect(clippy::print_stdout, reason = "the test runner shows what a failing test prints")]
pub(super) async fn print(scene: &Scene) {
    let own = ["-n", scene.namespace.as_str()];
    let sections: [(&str, Vec<&str>); 5] = [
        ("objects", vec!["get", "penstock,deployments,pods", "-o", "wide"]),
        ("conditions", vec!["get", "penstock", "-o", "yaml", "--show-managed-fields=false"]),
        ("events", vec!["get", "events", "--sort-by=.lastTimestamp"]),
        ("pods", vec!["describe", "pods"]),
        ("workers' logs", vec!["logs", "-l", "app.kubernetes.io/part-of=penstock", "--tail=60", "--prefix", "--all-containers"]),
    ];
    for (title, arguments) in sections {
        println!("\n=== {title} of {}\n{}", scene.namespace, kubectl(scene, &[&arguments[..], &own].concat()).await);
    }
    let logs = ["logs", "-n", install::NAMESPACE, "-l", install::OPERATOR, "--tail=400"];
    let mine = |line: &&str| line.contains(&scene.namespace) || line.contains("ERROR") || line.contains("panic");
    let text = kubectl(scene, &logs).await;
    println!("\n=== operator\n{}", text.lines().filter(mine).collect::<Vec<_>>().join("\n"));
}

async fn kubectl(scene: &Scene, arguments: &[&str]) -> String {
    match scene.cluster.tool(Tool::Kubectl).args(arguments).output().await {
        Ok(output) => format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("kubectl: {error}"),
    }
}
