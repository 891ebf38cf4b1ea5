//! A Kafka of a test's own: one broker in the test's namespace, set otherwise than the one that all tests share, and removed with it.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Node, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use penstock_crds::KafkaCluster;
use penstock_kafka::{ConnectionSettings, TopicAdmin};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, LIMIT, Result, Scene, install, until};

/// Where the brokers run that all tests share, and what they are called there.
const SHARED: &str = "kafka";
const SCRIPT: &str = "start.sh";

/// A test's place at a Kafka of its own.
pub struct OwnKafka {
    /// The same namespace; its records, topics and groups are those of this Kafka.
    pub scene: Scene,
    /// The `KafkaCluster`, as a `clusterRef` names it.
    pub cluster: String,
}

impl Scene {
    /// Starts a broker with these settings, declares it, and waits until the operator has found it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn own_kafka(&self, settings: &[(&str, &str)]) -> Result<OwnKafka> {
        let port = self.own_port().await?;
        let shared: Api<ConfigMap> = Api::namespaced(self.client.clone(), SHARED);
        let files = shared.get(SHARED).await?.data.unwrap_or_default();
        self.put::<ConfigMap>(SHARED, "data", json!(self.own_files(files, port, settings)?)).await?;
        let brokers = json!({
            "clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app.kubernetes.io/name": SHARED},
            "ports": [{"name": "kafka", "port": 9092}, {"name": "controller", "port": 9093}],
        });
        self.put::<Service>("kafka-brokers", "spec", brokers).await?;
        let shared: Api<StatefulSet> = Api::namespaced(self.client.clone(), SHARED);
        let set = serde_json::to_value(shared.get(SHARED).await?.spec)?;
        self.put::<StatefulSet>(SHARED, "spec", own_set(set)?).await?;
        until("the test's own broker is ready", LIMIT, async || {
            let status = self.api::<StatefulSet>().get(SHARED).await?.status.unwrap_or_default();
            if status.ready_replicas == Some(1) { Ok(()) } else { Err(format!("{status:?}").into()) }
        })
        .await?;
        let system = Self::at(install::NAMESPACE).await?;
        let bootstrap = format!("kafka-0.kafka-brokers.{}.svc.cluster.local:9092", self.namespace);
        system.apply::<KafkaCluster>(&self.namespace, json!({"bootstrapServers": [bootstrap]})).await?;
        system.ready::<KafkaCluster>(&self.namespace).await?;

        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        let addresses = nodes.into_iter().filter_map(|node| node.status?.addresses).flatten();
        let address = addresses.into_iter().find(|address| address.type_ == "InternalIP").ok_or("no node has an address")?.address;
        let kafka = ConnectionSettings::parse(&format!("{address}:{port}"))?;
        let scene = Self { admin: TopicAdmin::new(&kafka)?, kafka, ..Self::at(&self.namespace).await? };
        Ok(OwnKafka { scene, cluster: self.namespace.clone() })
    }

    /// The port of each node at which processes beside the cluster reach the broker.
    async fn own_port(&self) -> Result<i32> {
        let spec = json!({"type": "NodePort", "selector": {"app.kubernetes.io/name": SHARED}, "ports": [{"port": 9094}]});
        let made: Service = self.put("kafka-external", "spec", spec).await?;
        let port = made.spec.and_then(|spec| spec.ports?.first()?.node_port);
        port.ok_or_else(|| "the Service has no port on nodes".into())
    }

    /// Those that the shared brokers start by, with addresses, an id and settings of its own.
    fn own_files(&self, mut files: BTreeMap<String, String>, port: i32, settings: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        let more: String = settings.iter().map(|(name, value)| format!("\n{name}={value}")).collect();
        let replaced = [
            ("kafka-brokers.kafka.svc", format!("kafka-brokers.{}.svc", self.namespace)),
            ("$((30092 + id))", port.to_string()),
            ("auto.create.topics.enable=false", format!("auto.create.topics.enable=false{more}")),
        ];
        let script = files.get_mut(SCRIPT).ok_or("the shared brokers have no start.sh")?;
        for (from, to) in replaced {
            if !script.contains(from) {
                return Err(format!("tests/kafka/kafka.yaml has no `{from}`").into());
            }
            *script = script.replace(from, &to);
        }
        Ok(files)
    }

    async fn put<K>(&self, name: &str, field: &str, value: Value) -> Result<K>
    where
        K: kube::core::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, field: value});
        Ok(self.api::<K>().patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(object)).await?)
    }
}

impl OwnKafka {
    /// Has the operator forget it. What is on it must be gone: nobody could remove it afterwards.
    ///
    /// # Errors
    /// The apiserver does not answer.
    pub async fn close(self) -> Result {
        let clusters: Api<KafkaCluster> = Api::namespaced(self.scene.client.clone(), install::NAMESPACE);
        clusters.delete(&self.cluster, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// One broker, another cluster, and nothing that outlives its pod.
fn own_set(mut spec: Value) -> Result<Value> {
    let fields = spec.as_object_mut().ok_or("the shared brokers have no spec")?;
    fields.insert("replicas".to_owned(), json!(1));
    fields.remove("volumeClaimTemplates").ok_or("the shared brokers have no volume of their own")?;
    list(&mut spec, "/template/spec/volumes")?.push(json!({"name": "data", "emptyDir": {}}));
    let environment = list(&mut spec, "/template/spec/containers/0/env")?;
    for (name, value) in [("BROKERS", "1"), ("CLUSTER_ID", "cGVuc3RvY2sta2Fma2EtMg"), ("KAFKA_HEAP_OPTS", "-Xms128m -Xmx256m")] {
        let variable = environment.iter_mut().find(|variable| variable.get("name").is_some_and(|found| found == name));
        *variable.ok_or_else(|| format!("the shared brokers have no {name}"))? = json!({"name": name, "value": value});
    }
    Ok(spec)
}

fn list<'a>(spec: &'a mut Value, path: &str) -> Result<&'a mut Vec<Value>> {
    spec.pointer_mut(path).and_then(Value::as_array_mut).ok_or_else(|| format!("the shared brokers have no {path}").into())
}
