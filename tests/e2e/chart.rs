//! What the packaged chart refuses, and what it grants to the operator. Nothing is installed for it.

use penstock_tests::{cluster::Cluster, scene::install};

/// What makes objects of the Prometheus Operator.
const MONITORING: [&str; 3] =
    ["monitoring.rules.create=true", "monitoring.podMonitor.create=true", "monitoring.podMonitor.labels.release=x"];

#[tokio::test]
async fn the_chart_passes_lint_and_refuses_what_it_does_not_know() {
    let cluster = Cluster::current().await.unwrap();
    let brokers = "kafkaCluster.bootstrapServers={kafka:9092}";
    for values in
        [&[][..], &["kafkaCluster.create=true", brokers], &["crds.install=false", "rbac.create=false", "log.format=text"], &MONITORING]
    {
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
        (&["kafkaCluster.password=secret"], "password"),
        (&["kafkaCluster.topicDefaults.partitions=0"], "partitions"),
        (&["kafkaCluster.topicLimits.partitions=3"], "topicLimits"),
        (&["log.format=xml"], "format"),
        (&["rbac.secrets=true"], "secrets"),
        (&["crds.keep=true"], "keep"),
        (&["metrics.service.port=80"], "port"),
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

#[tokio::test]
async fn the_operator_may_do_nothing_with_secrets_and_nothing_by_wildcard() {
    let cluster = Cluster::current().await.unwrap();
    let role = install::helm(&cluster, &["template", "x", "CHART", "--show-only", "templates/rbac.yaml"]).await.unwrap();
    assert!(role.contains("kind: ClusterRole\n") && role.contains("kafkatopics"), "{role}");
    let granted: Vec<&str> = role.lines().map(str::trim).filter(|l| !l.starts_with('#')).collect();
    assert!(!granted.iter().any(|l| l.contains("secrets") || l.contains('*')), "{role}");
}
