//! What an end-to-end test stands on: a namespace and topic names of its own on a cluster that is up, ways to act like a
//! user, waiting on conditions, and a report of everything a reader needs when the test fails.

mod copies;
pub mod example;
mod faults;
mod forward;
mod handler;
pub mod install;
mod manifests;
mod objects;
mod own_kafka;
mod prometheus;
mod records;
mod report;
mod volumes;
mod wait;
mod workers;

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use penstock_kafka::{ConnectionSettings, TopicAdmin};
use serde_json::json;
use tokio::sync::RwLock;

use crate::cluster::Cluster;

pub use copies::RATES;
pub use faults::{DoomedOperator, Operator};
pub use handler::{HANDLER, little};
pub use objects::{condition, refusal};
pub use own_kafka::OwnKafka;
pub use prometheus::Prometheus;
pub use wait::{LIMIT, Waiting, until, until_every};
pub use workers::Reply;

/// What any step of a test may fail with; tests print it and fail.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The result of a step of a test.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// The field manager of everything that tests apply.
const FIELD_MANAGER: &str = "penstock-tests";
/// On every namespace of a test: the name of its first one.
const LABEL_TEST: &str = "penstock.dev/test";

/// The cluster, which tests of one process share; one that disturbs the others has it to itself.
static GROUND: RwLock<()> = RwLock::const_new(());

/// One test's place in the cluster.
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    /// Kubernetes, with all rights.
    pub client: Client,
    /// The namespace, which begins the name of every topic of the test too.
    pub namespace: String,
    /// Kafka's administration.
    pub admin: TopicAdmin,
    /// How the test process reaches Kafka.
    pub kafka: ConnectionSettings,
}

impl Scene {
    /// The place of a test in a namespace that exists or will be made.
    ///
    /// # Errors
    /// The cluster, the apiserver or Kafka cannot be reached.
    pub async fn at(namespace: impl Into<String>) -> Result<Self> {
        let cluster = Cluster::current().await?;
        let client = cluster.client().await?;
        let kafka = ConnectionSettings::parse(&cluster.brokers().await?.external)?;
        let admin = TopicAdmin::new(&kafka)?;
        Ok(Self { cluster, client, namespace: namespace.into(), admin, kafka })
    }

    /// A topic's name in Kafka that no other test has.
    #[must_use]
    pub fn kafka_name(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    /// The same cluster, in another namespace.
    fn within(&self, namespace: &str) -> Self {
        let Self { cluster, client, admin, kafka, .. } = self;
        let (cluster, client, admin, kafka) = (cluster.clone(), client.clone(), admin.clone(), kafka.clone());
        Self { cluster, client, namespace: namespace.to_owned(), admin, kafka }
    }

    /// Prints what a reader needs when the test failed.
    pub async fn report(&self) {
        report::print(self).await;
    }

    /// A second namespace of the same test, removed with the first.
    ///
    /// # Errors
    /// The apiserver or Kafka cannot be reached.
    pub async fn neighbour(&self) -> Result<Self> {
        let neighbour = Self::at(format!("{}-b", self.namespace)).await?;
        neighbour.open(&self.namespace).await?;
        Ok(neighbour)
    }

    /// Makes the namespace, as one of those that the test `owner` has.
    async fn open(&self, owner: &str) -> Result {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", LABEL_TEST: owner});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}});
        let params = PatchParams::apply(FIELD_MANAGER);
        Api::<Namespace>::all(self.client.clone()).patch(&self.namespace, &params, &Patch::Apply(namespace)).await?;
        Ok(())
    }

    /// Starts the removal of everything the test made. What is left of the namespace is Kubernetes' to finish.
    async fn close(&self) -> Result {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for namespace in namespaces.list(&ListParams::default().labels(&format!("{LABEL_TEST}={}", self.namespace))).await? {
            namespaces.delete(&namespace.name_any(), &DeleteParams::background()).await?;
        }
        let own = format!("{}.", self.namespace);
        let topics: Vec<String> = self.admin.list().await?.into_iter().map(|t| t.name).filter(|n| n.starts_with(&own)).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let described = self.admin.describe(&names).await?;
        let ids: Vec<_> = described.iter().filter_map(|(name, d)| d.as_ref().ok().map(|d| (name.as_str(), d.id))).collect();
        self.admin.delete(&ids).await?;
        Ok(())
    }
}

/// Runs a test in a namespace of its own with the operator installed; prints a report if it fails.
///
/// # Panics
/// When the test fails: that is how a test says so.
pub async fn play(name: &str, test: impl AsyncFnOnce(&Scene) -> Result) {
    let _shared = GROUND.read().await;
    perform(name, test).await;
}

/// The same, while no other test of this process runs: for one that takes away what all stand on, and not only for a moment.
///
/// # Panics
/// The same as of [`play`].
pub async fn play_alone(name: &str, test: impl AsyncFnOnce(&Scene) -> Result) {
    let _alone = GROUND.write().await;
    perform(name, test).await;
}

async fn perform(name: &str, test: impl AsyncFnOnce(&Scene) -> Result) {
    let scene = match prepare(name).await {
        Ok(scene) => scene,
        Err(error) => fail(&format!("{name} could not begin: {error}")),
    };
    let outcome = AssertUnwindSafe(test(&scene)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        scene.report().await;
    }
    let closed = scene.close().await;
    match outcome {
        Err(panic) => resume_unwind(panic),
        Ok(Err(error)) => fail(&format!("{name}: {error}")),
        Ok(Ok(())) => {
            if let Err(error) = closed {
                fail(&format!("{name} could not clean up: {error}"));
            }
        }
    }
}

/// Runs a test, and then what is to be done however it ended.
///
/// # Errors
/// What the test failed with, or what is done afterwards.
pub async fn finally<T>(test: impl Future<Output = Result<T>>, afterwards: impl Future<Output = Result>) -> Result<T> {
    let outcome = AssertUnwindSafe(test).catch_unwind().await;
    let done = afterwards.await;
    match outcome {
        Err(panic) => resume_unwind(panic),
        Ok(outcome) => outcome.and_then(|found| done.map(|()| found)),
    }
}

/// Runs a benchmark in a namespace of its own with the operator installed.
///
/// # Errors
/// The cluster is not up, or what the benchmark failed with.
pub async fn bench<T>(name: &str, measure: impl AsyncFnOnce(&Scene) -> Result<T>) -> Result<T> {
    let scene = prepare(name).await?;
    let measured = measure(&scene).await;
    let closed = scene.close().await;
    let measured = measured?;
    closed.map(|()| measured)
}

async fn prepare(name: &str) -> Result<Scene> {
    let tail = uuid::Uuid::new_v4().simple().to_string();
    let scene = Scene::at(format!("{name}-{}", tail.get(..5).unwrap_or_default())).await?;
    install::once(&scene.cluster).await?;
    scene.open(&scene.namespace).await?;
    Ok(scene)
}

/// Ends the test as failed, with the whole text on lines of its own.
#[expect(clippy::panic, reason = "a test fails by panicking")]
fn fail(text: &str) -> ! {
    panic!("{text}")
}
