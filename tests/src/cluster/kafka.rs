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
/// How many brokers the manifest has node ports for.
pub(crate) const MOST_BROKERS: usize = 3;
/// What a broker that whole suites use asks the node for.
pub(crate) const CPU: &str = "100m";
/// Its heap.
pub(crate) const HEAP: &str = "-Xms256m -Xmx384m";
const CLUSTER_ID: &str = "cGVuc3RvY2sta2Fma2EtMQ";

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
    if !kind::becomes_healthy(site).await {
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
    if !kind::becomes_healthy(site).await {
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
    let mut ports = [0; MOST_BROKERS];
    ports.iter_mut().zip(FIRST_NODE_PORT..).for_each(|(port, number)| *port = number);
    let kafka = Manifest {
        namespace: NAMESPACE,
        labels: &[],
        image,
        size,
        cluster_id: CLUSTER_ID,
        cpu: CPU,
        heap: HEAP,
        settings: &[],
        storage_class: None,
        ports: Some(ports),
    };
    files::write(&filled, &kafka.text()?)?;
    let mut command = site.command("kubectl");
    command.args(["apply", "-f"]).arg(&filled);
    logged("applying Kafka's manifest", command, &site.instance.log("kafka-apply")).await
}

/// What is filled into the manifest of a Kafka in a namespace of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manifest<'a> {
    pub namespace: &'a str,
    /// What the namespace is labelled with beside what all are.
    pub labels: &'a [(&'a str, &'a str)],
    pub image: &'a str,
    pub size: KafkaSize,
    /// By which clients tell one Kafka from another.
    pub cluster_id: &'a str,
    /// What each broker asks the node for.
    pub cpu: &'a str,
    /// The options of Java for its heap.
    pub heap: &'a str,
    /// What the brokers are set to beside what all are, or otherwise.
    pub settings: &'a [(&'a str, &'a str)],
    /// The class of its volumes; none: the cluster's default.
    pub storage_class: Option<&'a str>,
    /// The node port of each broker; none: the apiserver is to give some.
    pub ports: Option<[u16; MOST_BROKERS]>,
}

impl Manifest<'_> {
    /// # Errors
    /// The template cannot be read.
    pub(crate) fn text(&self) -> Result<String> {
        let template = repository().join("tests/kafka/kafka.yaml");
        let text = std::fs::read_to_string(&template).map_err(at("read", &template))?;
        let lines = |pairs: &[(&str, &str)], between: &str| pairs.iter().map(|(name, value)| format!("{name}{between}{value}")).collect();
        let (labels, settings): (Vec<String>, Vec<String>) = (lines(self.labels, ": "), lines(self.settings, "="));
        let ports = self.ports.map_or_else(Vec::new, Vec::from);
        let values = [
            ("{{NAMESPACE}}", self.namespace.to_owned()),
            ("{{LABELS}}", labels.join("\n    ")),
            ("{{IMAGE}}", self.image.to_owned()),
            ("{{BROKERS}}", self.size.brokers().to_string()),
            ("{{CLUSTER_ID}}", self.cluster_id.to_owned()),
            ("{{CPU}}", self.cpu.to_owned()),
            ("{{HEAP}}", self.heap.to_owned()),
            ("{{SETTINGS}}", settings.join("\n    ")),
            ("{{STORAGE_CLASS}}", self.storage_class.map_or_else(String::new, |class| format!("storageClassName: '{class}'"))),
            ("{{NODE_PORTS}}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        ];
        let filled = values.into_iter().fold(text, |filled, (name, value)| filled.replace(name, &value));
        Ok((0..MOST_BROKERS).fold(filled, |filled, broker| {
            let port = ports.get(broker).map_or_else(String::new, |port| format!(", nodePort: {port}"));
            filled.replace(&format!("{{{{NODE_PORT_{broker}}}}}"), &port)
        }))
    }
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
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_manifest_has_no_parameter_left() {
        let other = Manifest {
            namespace: "other",
            labels: &[("of", "a-test")],
            image: "apache/kafka:1",
            size: KafkaSize::Three,
            cluster_id: "id",
            cpu: "1m",
            heap: "-Xmx1m",
            settings: &[("offsets.retention.minutes", "1"), ("log.segment.bytes", "2")],
            storage_class: Some("slow"),
            ports: Some([31001, 31007, 31003]),
        };
        for ports in [other.ports, None] {
            let filled = Manifest { ports, ..other }.text().unwrap();
            assert!(!filled.contains("{{"), "{filled}");
            let objects: Vec<Value> = serde_saphyr::from_multiple(&filled).unwrap();
            let field = |kind: &str, name: &str, path: &str| {
                let object = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap();
                object.pointer(path).cloned()
            };
            assert_eq!(field("Namespace", "other", "/metadata/labels/of"), Some("a-test".into()));
            let script = field("ConfigMap", "kafka", "/data/start.sh").unwrap();
            let script = script.as_str().unwrap();
            assert!(
                script.contains("\noffsets.retention.minutes=1\nlog.segment.bytes=2\n\"") && script.contains("kafka-brokers.other.svc")
            );
            for (broker, port) in [31001, 31007, 31003].into_iter().enumerate() {
                let found = field("Service", &format!("kafka-{broker}"), "/spec/ports/0/nodePort");
                assert_eq!(found, ports.map(|_| Value::from(port)));
            }
            let environment = field("StatefulSet", "kafka", "/spec/template/spec/containers/0/env").unwrap();
            let set = |name: &str| environment.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["value"].clone();
            assert_eq!([set("BROKERS"), set("CLUSTER_ID"), set("KAFKA_HEAP_OPTS")], ["3", "id", "-Xmx1m"].map(Value::from));
            let class = field("StatefulSet", "kafka", "/spec/volumeClaimTemplates/0/spec/storageClassName");
            assert_eq!(class, Some("slow".into()));
            assert_eq!(set("NODE_PORTS"), if ports.is_some() { "31001 31007 31003" } else { "" });
        }
    }
}
