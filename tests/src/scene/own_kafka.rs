//! A Kafka of a test's own, for what the one that all share cannot show: other settings, or more brokers. It goes with the test that
//! asked for it. Several may run side by side.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Service};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use penstock_crds::KafkaCluster;
use penstock_kafka::{ConnectionSettings, TopicAdmin};
use serde_json::{Value, json};

use super::{LABEL_TEST, Result, Scene, Waiting, install, until};
use crate::cluster::{
    KafkaSize, Tool,
    kafka::{HEAP, MOST_BROKERS, Manifest},
};

/// Another one than that of the Kafka that all share.
const CLUSTER_ID: &str = "cGVuc3RvY2sta2Fma2EtMg";
/// What such a broker asks the node for: others wait for what is left.
const CPU: &str = "30m";
/// Its heap.
const SMALL_HEAP: &str = "-Xms128m -Xmx256m";

/// How long brokers may take to start: three Javas at once, beside other tests on a busy machine.
const START: Duration = Duration::from_secs(300);

/// A test's place at a Kafka of its own.
pub struct OwnKafka {
    /// The test's namespace; its records, topics and groups are those of this Kafka.
    pub scene: Scene,
    /// The `KafkaCluster`, as a `clusterRef` names it.
    pub cluster: String,
    system: Scene,
    namespace: String,
}

impl Scene {
    /// Runs a test beside brokers with these settings. Once it has ended, however it did, the operator forgets them: what they have that
    /// only the operator can remove must be gone by then.
    ///
    /// # Errors
    /// They do not start, or what the test failed with.
    pub async fn beside_own_kafka(
        &self,
        size: KafkaSize,
        settings: &[(&str, &str)],
        test: impl AsyncFnOnce(&OwnKafka) -> Result,
    ) -> Result {
        let own = self.own_kafka(size, settings).await?;
        let run = async {
            own.are_up(size.brokers().into()).await?;
            own.declare(json!({})).await?;
            test(&own).await
        };
        let outcome = AssertUnwindSafe(run).catch_unwind().await;
        if !matches!(outcome, Ok(Ok(()))) {
            own.scene.report().await;
            Self::at(&own.namespace).await?.report().await;
        }
        let forgotten = own.forget().await.and(self.clear_volumes_of_brokers(&own.namespace, size.brokers()).await);
        match outcome {
            Err(panic) => resume_unwind(panic),
            Ok(outcome) => outcome.and(forgotten),
        }
    }

    /// Makes the brokers, in a namespace that goes with the test's own, whatever becomes of the test.
    async fn own_kafka(&self, size: KafkaSize, settings: &[(&str, &str)]) -> Result<OwnKafka> {
        let namespace = format!("{}-k", self.namespace);
        let (image, address) = self.cluster.kafka_ground().await?;
        let heap = if size == KafkaSize::One { SMALL_HEAP } else { HEAP };
        let labels = &[(LABEL_TEST, self.namespace.as_str())];
        let manifest = Manifest {
            namespace: &namespace,
            labels,
            image: &image,
            size,
            cluster_id: CLUSTER_ID,
            cpu: CPU,
            heap,
            settings,
            storage_class: Some(""),
            ports: None,
        };
        let mut addresses = objects(&manifest)?;
        addresses.retain(|object| object["kind"] == "Namespace" || object["kind"] == "Service");
        self.apply_all(&namespace, &addresses).await?;
        // Brokers advertise the ports that they are reached at, so these come first.
        let ports = self.ports_given(&namespace).await?;
        self.volumes_of_brokers(&namespace, size.brokers()).await?;
        self.apply_all(&namespace, &objects(&Manifest { ports: Some(ports), ..manifest })?).await?;

        let external: Vec<_> = ports.iter().take(size.brokers().into()).map(|port| format!("{address}:{port}")).collect();
        let kafka = ConnectionSettings::parse(&external.join(","))?;
        let admin = TopicAdmin::new(&kafka)?;
        let scene = Self { cluster: self.cluster.clone(), client: self.client.clone(), namespace: self.namespace.clone(), admin, kafka };
        Ok(OwnKafka { scene, cluster: self.namespace.clone(), system: self.within(install::NAMESPACE), namespace })
    }

    async fn apply_all(&self, name: &str, objects: &[Value]) -> Result {
        let file = std::env::temp_dir().join(format!("{name}.json"));
        std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
        let mut apply = self.cluster.tool(Tool::Kubectl);
        apply.args(["apply", "-f"]).arg(&file);
        let applied = install::run(apply).await;
        std::fs::remove_file(&file)?;
        applied.map(drop)
    }

    /// The ports of each node that the apiserver has given to the brokers.
    async fn ports_given(&self, namespace: &str) -> Result<[u16; MOST_BROKERS]> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let mut ports = [0; MOST_BROKERS];
        for (broker, port) in ports.iter_mut().enumerate() {
            let service = services.get(&format!("kafka-{broker}")).await?;
            let given = service.spec.and_then(|spec| spec.ports?.first()?.node_port);
            *port = given.ok_or_else(|| format!("the Service kafka-{broker} has no port on nodes"))?.try_into()?;
        }
        Ok(ports)
    }
}

fn objects(manifest: &Manifest<'_>) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(&manifest.text()?)?)
}

impl OwnKafka {
    /// Declares the `KafkaCluster` with these fields more, and waits until it is ready.
    ///
    /// # Errors
    /// It is refused, or never ready.
    pub async fn declare(&self, fields: Value) -> Result {
        self.apply(fields).await?;
        self.system.ready::<KafkaCluster>(&self.cluster).await.map(drop)
    }

    /// Declares it, and leaves it to the operator when it looks.
    ///
    /// # Errors
    /// It is refused.
    pub async fn apply(&self, fields: Value) -> Result {
        let mut spec = json!({"bootstrapServers": [format!("kafka.{}.svc.cluster.local:9092", self.namespace)]});
        if let (Some(spec), Some(fields)) = (spec.as_object_mut(), fields.as_object()) {
            spec.extend(fields.clone());
        }
        self.system.apply::<KafkaCluster>(&self.cluster, spec).await?;
        Ok(())
    }

    /// Stops those of the brokers that have the highest numbers, or starts them again, until so many are left; their data stays.
    ///
    /// # Errors
    /// They do not stop or start.
    pub async fn leave(&self, count: usize) -> Result {
        let sets: Api<StatefulSet> = Api::namespaced(self.system.client.clone(), &self.namespace);
        let scale = Patch::Merge(json!({"spec": {"replicas": count}}));
        sets.patch_scale("kafka", &PatchParams::default(), &scale).await?;
        self.are_up(count).await
    }

    async fn are_up(&self, count: usize) -> Result {
        until(&format!("{count} brokers are up"), START, async || {
            // Where none is left, none answers.
            let up = self.scene.admin.live_brokers().await.map_or(0, |brokers| brokers.len());
            if up != count {
                return Err(Waiting::from(format!("{up}")));
            }
            // The client that asks for most else sees a second later that it can reach one.
            if up > 0 {
                self.scene.admin.list().await?;
            }
            Ok(())
        })
        .await
    }

    /// Has the operator forget it.
    async fn forget(&self) -> Result {
        match self.system.api::<KafkaCluster>().delete(&self.cluster, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }
}
