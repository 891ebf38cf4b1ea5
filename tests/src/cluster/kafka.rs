//! Kafka in the cluster: one broker or three, as pods of one StatefulSet in the namespace `kafka`.

use std::time::Duration;

use super::command::{logged, output, succeeds, wait_until};
use super::error::{HarnessError, Result, at};
use super::ground::Ground;
use super::image::{self, Source};
use super::layout::repository;
use super::progress::Step;
use super::site::Site;
use super::{files, kafka_image, kafka_pulled, kind, lock};

/// The namespace that belongs to Kafka.
pub(crate) const NAMESPACE: &str = "kafka";
/// The StatefulSet's annotation that tells for how many brokers it was made.
pub(crate) const BROKERS: &str = "penstock.dev/brokers";
/// Broker N listens for processes beside the cluster on this port plus N, on every node.
pub(crate) const FIRST_NODE_PORT: u16 = 30092;
/// With which the node ports of another Kafka begin, and its first one.
pub(crate) const OTHER_PORTS: (&str, u16) = ("301", 30192);
const PORTS: &str = "300";

const SHORT: Duration = Duration::from_secs(15);

/// How many brokers there are. A KRaft quorum needs an odd number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaSize {
    /// One broker; every topic has one replica.
    One,
    /// Three brokers; Kafka's own topics have three replicas.
    Three,
}

impl KafkaSize {
    /// The number of brokers.
    #[must_use]
    pub fn brokers(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// Starts Kafka, or finds it running in this size; another size replaces it, with its data.
///
/// # Errors
/// [`HarnessError::Down`] without a cluster, else the step that failed.
pub async fn kafka_up(site: &Site, size: KafkaSize) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    if !kind::is_healthy(site).await {
        return Err(HarnessError::Down { name: site.instance.name().to_owned() });
    }
    let image = prepare_image(site).await?;
    if installed_size(site).await?.is_some_and(|brokers| brokers != size.brokers()) {
        remove(site).await?;
    }
    apply(site, &image, size).await?;
    let mut rollout = site.command("kubectl");
    rollout.args(["-n", NAMESPACE, "rollout", "status", "statefulset/kafka", "--timeout=240s"]);
    logged(&format!("Kafka with {} broker(s)", size.brokers()), rollout, &site.instance.log("kafka-rollout")).await?;
    reachable(site, size).await
}

/// Removes Kafka with its data. Does nothing where it is not.
///
/// # Errors
/// [`HarnessError::Down`] without a cluster, else the command that failed.
pub async fn kafka_down(site: &Site) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    if !kind::is_healthy(site).await {
        return Err(HarnessError::Down { name: site.instance.name().to_owned() });
    }
    remove(site).await
}

async fn remove(site: &Site) -> Result<()> {
    let mut delete = site.command("kubectl");
    delete.args(["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=120s"]);
    logged("removing Kafka and its data", delete, &site.instance.log("kafka-delete")).await
}

/// The name of the image that the brokers run, which the nodes have then.
async fn prepare_image(site: &Site) -> Result<String> {
    if site.ground == Ground::Stock {
        let (name, recipe) = (kafka_pulled::name(), kafka_pulled::ensure(site).await?);
        image::load(site, &name, &recipe, &Source::Daemon).await?;
        return Ok(name);
    }
    let made = {
        let cache = lock::acquire(&site.cache.lock(), "the cache").await?;
        kafka_image::ensure(site, &cache).await?
    };
    image::load(site, &made.name, &made.recipe, &Source::Archive(&made.archive)).await?;
    Ok(made.name)
}

/// For how many brokers the StatefulSet in the cluster was made; none without one.
pub(crate) async fn installed_size(site: &Site) -> Result<Option<u16>> {
    let path = format!("jsonpath={{.metadata.annotations.{}}}", BROKERS.replace('.', "\\."));
    let mut get = site.command("kubectl");
    get.args(["-n", NAMESPACE, "get", "statefulset", "kafka", "--ignore-not-found", "-o", &path]);
    Ok(output(&mut get, SHORT).await?.trim().parse().ok())
}

async fn apply(site: &Site, image: &str, size: KafkaSize) -> Result<()> {
    let filled = site.instance.root().join("kafka.yaml");
    files::write(&filled, &manifest(NAMESPACE, PORTS, image, size)?)?;
    let mut command = site.command("kubectl");
    command.args(["apply", "-f"]).arg(&filled);
    logged("applying Kafka's manifest", command, &site.instance.log("kafka-apply")).await
}

/// What makes a Kafka in a namespace of its own, whose node ports begin with these digits.
pub(crate) fn manifest(namespace: &str, ports: &str, image: &str, size: KafkaSize) -> Result<String> {
    let template = repository().join("tests/kafka/kafka.yaml");
    let text = std::fs::read_to_string(&template).map_err(at("read", &template))?;
    let brokers = size.brokers().to_string();
    let values = [("{{IMAGE}}", image), ("{{BROKERS}}", &brokers), ("{{NAMESPACE}}", namespace), ("{{PORTS}}", ports)];
    Ok(values.into_iter().fold(text, |filled, (name, value)| filled.replace(name, value)))
}

/// A node port may refuse connections until kube-proxy has seen that the broker is ready.
async fn reachable(site: &Site, size: KafkaSize) -> Result<()> {
    let step = Step::start("brokers reachable from beside the cluster");
    let address = node_address(site).await?;
    for port in (FIRST_NODE_PORT..).take(size.brokers().into()) {
        let what = format!("nothing listens on {address}:{port}");
        let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
        let advice = "Look at: kubectl -n kafka get pods,services";
        wait_until(&what, Duration::from_secs(30), advice, async || succeeds(site.command("bash").args(["-c", &connect]), SHORT).await)
            .await?;
    }
    step.done();
    Ok(())
}

/// The address of the first node.
pub(crate) async fn node_address(site: &Site) -> Result<String> {
    let mut get = site.command("kubectl");
    get.args(["get", "nodes", "-o", r#"jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}"#]);
    let text = output(&mut get, SHORT).await?;
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| HarnessError::Late {
        what: "the node has no address".into(),
        seconds: 0,
        advice: "Look at: kubectl get nodes -o wide".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_no_parameter_left() {
        let filled = manifest("other", "301", "apache/kafka:1", KafkaSize::Three).unwrap();
        assert!(!filled.contains("{{"), "{filled}");
        assert!(filled.contains("image: apache/kafka:1"));
        assert!(filled.contains("replicas: 3"));
        assert!(filled.contains("nodePort: 30194") && filled.contains("$((30192 + id))"));
        assert!(!filled.contains("namespace: kafka") && filled.contains("kafka-brokers.other.svc"), "{filled}");
    }
}
