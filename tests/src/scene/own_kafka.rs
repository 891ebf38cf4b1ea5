//! A second Kafka, of three brokers, for what one broker cannot show: it goes with the test that asked for it.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use penstock_crds::KafkaCluster;
use penstock_kafka::{ConnectionSettings, TopicAdmin};
use serde_json::{Value, json};

use super::{LABEL_TEST, LIMIT, Result, Scene, Waiting, install, until};
use crate::cluster::Tool;

/// Three brokers, and the `KafkaCluster` that stands for them.
pub struct ThreeBrokers {
    /// The `KafkaCluster`'s name.
    pub cluster: String,
    system: Scene,
    namespace: String,
    bootstrap: String,
    admin: TopicAdmin,
}

impl Scene {
    /// Runs a test beside three brokers: its scene's Kafka is theirs. One such test at a time.
    ///
    /// # Errors
    /// They do not start, or what the test failed with.
    pub async fn beside_three_brokers(&self, test: impl AsyncFnOnce(&Self, &ThreeBrokers) -> Result) -> Result {
        let namespace = format!("{}-k", self.namespace);
        let (manifest, brokers) = self.cluster.another_kafka(&namespace).await?;
        let file = std::env::temp_dir().join(format!("{namespace}.yaml"));
        std::fs::write(&file, manifest)?;
        let mut apply = self.cluster.tool(Tool::Kubectl);
        apply.args(["apply", "-f"]).arg(&file);
        let applied = install::run(apply).await;
        std::fs::remove_file(&file)?;
        applied?;
        // Now it goes with the test's own namespace, whatever becomes of the test.
        let label = Patch::Merge(json!({"metadata": {"labels": {LABEL_TEST: self.namespace}}}));
        Api::<Namespace>::all(self.client.clone()).patch(&namespace, &PatchParams::default(), &label).await?;

        let kafka = ConnectionSettings::parse(&brokers.external)?;
        let admin = TopicAdmin::new(&kafka)?;
        let system = Self::at(install::NAMESPACE).await?;
        let three = ThreeBrokers { cluster: self.namespace.clone(), system, namespace, bootstrap: brokers.internal, admin: admin.clone() };
        three.are_up(3).await?;
        three.declare(json!({})).await?;
        let scene = Self { cluster: self.cluster.clone(), client: self.client.clone(), namespace: self.namespace.clone(), admin, kafka };
        let outcome = test(&scene, &three).await;
        if outcome.is_err() {
            scene.report().await;
        }
        let clusters: Api<KafkaCluster> = three.system.api();
        clusters.delete(&three.cluster, &DeleteParams::default()).await?;
        outcome
    }
}

impl ThreeBrokers {
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
        let mut spec = json!({"bootstrapServers": [self.bootstrap]});
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
        until(&format!("{count} brokers are up"), LIMIT, async || {
            let up = self.admin.live_brokers().await?.len();
            if up == count { Ok(()) } else { Err(Waiting::from(format!("{up}"))) }
        })
        .await
    }
}
