//! What the packaged chart refuses, and what it grants to the operator. Nothing is installed for it.

use penstock_tests::{cluster::Cluster, scene::install};
use serde_json::{Value, json};

/// What makes objects of the Prometheus Operator.
const MONITORING: [&str; 3] =
    ["monitoring.rules.create=true", "monitoring.podMonitor.create=true", "monitoring.podMonitor.labels.release=x"];

#[tokio::test]
async fn the_chart_passes_lint_and_refuses_what_it_does_not_know() {
    let cluster = Cluster::current().await.unwrap();
    let brokers = "kafkaCluster.bootstrapServers={kafka:9092}";
    for values in [
        &[][..],
        &["kafkaCluster.create=true", brokers, "kafkaCluster.topicDefaults.deletionProtectionSeconds=600"],
        &["crds.install=false", "rbac.create=false", "log.format=text", "log.level=info\\,penstock_operator=debug"],
        &["resync=1h", "scalingInterval=5m", "kafkaTimeout=5m", "deletionTimeout=0s"],
        &MONITORING,
    ] {
        let flags: Vec<&str> = values.iter().flat_map(|v| ["--set", v]).collect();
        install::helm(&cluster, &[&["lint", "--strict", "CHART"], &flags[..]].concat()).await.unwrap();
        install::helm(&cluster, &[&["template", "x", "CHART"], &flags[..]].concat()).await.unwrap();
    }
    for (values, named) in [
        (&["replicas=2"][..], "replicas"),
        (&["image.name=x"], "name"),
        (&["image.pullPolicy=Sometimes"], "pullPolicy"),
        (&["workerImage.digest=latest"], "digest"),
        (&["kafkaCluster.create=yes"], "create"),
        (&["kafkaCluster.create=true"], "bootstrapServers"),
        (&["kafkaCluster.create=true", "kafkaCluster.bootstrapServers={kafka}"], "bootstrapServers"),
        (&["kafkaCluster.create=true", "kafkaCluster.bootstrapServers={http://kafka:9092}"], "bootstrapServers"),
        (&["kafkaCluster.password=secret"], "password"),
        (&["kafkaCluster.topicDefaults.partitions=0"], "partitions"),
        (&["kafkaCluster.topicLimits.partitions=3"], "topicLimits"),
        (&["kafkaCluster.reassignment.throttleBytesPerSecond=1"], "throttleBytesPerSecond"),
        (&["log.format=xml"], "format"),
        (&["log.level=warning"], "level"),
        (&["log.level=penstock_operator=loud"], "level"),
        (&["resync=2h"], "resync"),
        (&["resync=500ms"], "resync"),
        (&["scalingInterval=6m"], "scalingInterval"),
        (&["kafkaTimeout=10m"], "kafkaTimeout"),
        (&["deletionTimeout=61m"], "deletionTimeout"),
        (&["rbac.secrets=true"], "secrets"),
        (&["crds.keep=true"], "keep"),
        (&["metrics.service.port=80"], "port"),
        (&["topicFinalizer.admissionPolicy=yes"], "admissionPolicy"),
        (&["topicFinalizer.create=true"], "create"),
        (&["serviceAccount.name=Not_A_Name"], "name"),
        (&["monitoring.rules.enabled=true"], "enabled"),
        (&["monitoring.podMonitor.create=yes"], "create"),
        (&["monitoring.podMonitor.interval=1m"], "interval"),
        (&["env.A=b"], "env"),
    ] {
        let flags: Vec<&str> = values.iter().flat_map(|v| ["--set", v]).collect();
        let said = install::helm(&cluster, &[&["template", "x", "CHART"], &flags[..]].concat()).await;
        let said = said.map(drop).expect_err(&format!("{values:?} is accepted")).to_string();
        assert!(said.contains("schema") && said.contains(named), "{values:?}: {said}");
    }
}

/// What the operator may do: whoever adds a right says so here too. Nothing with Secrets, nothing by wildcard.
fn rights() -> Value {
    let keep = ["get", "list", "watch", "create", "patch", "delete"];
    json!([
        {"apiGroups": ["penstock.dev"], "resources": ["kafkaclusters", "eventpipelines"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["penstock.dev"], "resources": ["kafkatopics"], "verbs": keep},
        {
            "apiGroups": ["penstock.dev"], "verbs": ["patch"],
            "resources": ["kafkaclusters/status", "kafkatopics/status", "eventpipelines/status"],
        },
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": keep},
        {"apiGroups": [""], "resources": ["configmaps", "services", "serviceaccounts"], "verbs": keep},
        {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": keep},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ])
}

#[tokio::test]
async fn the_operator_may_do_what_it_must_and_nothing_else() {
    let cluster = Cluster::current().await.unwrap();
    let rendered = install::helm(&cluster, &["template", "x", "CHART", "--show-only", "templates/rbac.yaml"]).await.unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let roles: Vec<&Value> = objects.iter().filter(|object| !object["rules"].is_null()).collect();
    let [role] = roles.as_slice() else { panic!("one object has rules: {rendered}") };
    assert_eq!((&role["kind"], &role["rules"]), (&json!("ClusterRole"), &rights()));
}
