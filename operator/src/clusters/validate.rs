//! Turns a `KafkaCluster` into one that can be connected to, or says what is wrong with it. Pure.

use penstock_crds::{KafkaCluster, condition::Reason};
use penstock_kafka::ConnectionSettings;

use crate::refusal::Refusal;

/// A `KafkaCluster` that can be connected to.
#[derive(Debug, PartialEq, Eq)]
pub struct ValidatedCluster<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is, each as `host:port`.
    pub bootstrap_servers: &'a [String],
}

/// Checks a `KafkaCluster`.
///
/// # Errors
/// `WrongNamespace`, `InvalidSpec`.
pub fn validate<'a>(cluster: &'a KafkaCluster, operator_namespace: &str) -> Result<ValidatedCluster<'a>, Refusal> {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    if namespace != operator_namespace {
        return Err(Refusal::new(
            Reason::WrongNamespace,
            format!("has no effect in namespace `{namespace}`: a KafkaCluster counts only in the operator's own, `{operator_namespace}`"),
        ));
    }
    let bootstrap_servers = cluster.spec.bootstrap_servers.as_slice();
    ConnectionSettings::new(bootstrap_servers)
        .map_err(|e| Refusal::new(Reason::InvalidSpec, format!("spec.bootstrapServers: {}", e.message())))?;
    Ok(ValidatedCluster { name: cluster.metadata.name.as_deref().unwrap_or_default(), bootstrap_servers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operators_namespace_and_real_addresses_count() {
        for (namespace, servers, expected) in [
            ("penstock-system", &["kafka:9092"][..], None),
            ("shop", &["kafka:9092"], Some((Reason::WrongNamespace, "`penstock-system`"))),
            ("penstock-system", &["kafka:99999"], Some((Reason::InvalidSpec, "spec.bootstrapServers"))),
            ("penstock-system", &[], Some((Reason::InvalidSpec, "spec.bootstrapServers"))),
        ] {
            let cluster: KafkaCluster = serde_json::from_value(serde_json::json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaCluster",
                "metadata": {"name": "default", "namespace": namespace},
                "spec": {"bootstrapServers": servers},
            }))
            .unwrap();
            match (validate(&cluster, "penstock-system"), expected) {
                (Ok(valid), None) => assert_eq!(valid.bootstrap_servers, servers),
                (Err(refusal), Some((reason, part))) => {
                    assert_eq!(refusal.reason, reason);
                    assert!(refusal.message.contains(part), "{}", refusal.message);
                }
                (got, _) => panic!("{namespace} {servers:?}: {got:?}"),
            }
        }
    }
}
