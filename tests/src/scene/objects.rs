//! Acting like a user of the API: apply, change, delete, and read what the status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{NamespaceResourceScope, PartialObjectMeta, Resource},
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, LIMIT, Result, Scene, Waiting, until};

/// The condition of that type.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// What the apiserver says when it refuses; an error if it did not refuse.
///
/// # Errors
/// The request was accepted, or failed for another reason than its content.
pub fn refusal<T>(answer: std::result::Result<T, kube::Error>) -> Result<String> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(status.message),
        Err(other) => Err(format!("refused for another reason than its content: {other}").into()),
        Ok(_) => Err("it was accepted".into()),
    }
}

/// Objects whose conditions tests wait for.
pub trait HasConditions {
    /// The generation that the status speaks of, and its conditions.
    fn observed(&self) -> Option<(Option<i64>, &[Condition])>;
}

impl HasConditions for KafkaCluster {
    fn observed(&self) -> Option<(Option<i64>, &[Condition])> {
        self.status.as_ref().map(|s| (s.observed_generation, s.conditions.as_slice()))
    }
}

impl HasConditions for KafkaTopic {
    fn observed(&self) -> Option<(Option<i64>, &[Condition])> {
        self.status.as_ref().map(|s| (s.observed_generation, s.conditions.as_slice()))
    }
}

impl HasConditions for EventPipeline {
    fn observed(&self) -> Option<(Option<i64>, &[Condition])> {
        self.status.as_ref().map(|s| (s.observed_generation, s.conditions.as_slice()))
    }
}

impl Scene {
    /// The objects of a kind in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object of one of Penstock's kinds, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// The apiserver refuses it.
    pub async fn apply<K>(&self, name: &str, spec: Value) -> std::result::Result<K, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec});
        self.api::<K>().patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await
    }

    /// Asks the apiserver whether it would create such an object, without doing so.
    ///
    /// # Errors
    /// It would refuse.
    pub async fn would_create<K>(&self, name: &str, spec: Value) -> std::result::Result<K, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec});
        let object: K = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        self.api::<K>().create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
    }

    /// Applies a `KafkaTopic` whose topic has a name of this test's own, and waits until it is ready.
    ///
    /// # Errors
    /// It is refused, or never ready.
    pub async fn topic(&self, name: &str, mut spec: Value) -> Result<KafkaTopic> {
        self.own_topic_name(name, &mut spec);
        self.apply::<KafkaTopic>(name, spec).await?;
        self.ready::<KafkaTopic>(name).await
    }

    /// Gives a `KafkaTopic`'s spec a topic name of this test's own, unless it has one.
    pub fn own_topic_name(&self, name: &str, spec: &mut Value) {
        if let Some(spec) = spec.as_object_mut() {
            spec.entry("topicName").or_insert_with(|| json!(self.kafka_name(name)));
        }
    }

    /// Waits until an object is ready as it is declared now.
    ///
    /// # Errors
    /// It never is.
    pub async fn ready<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + HasConditions,
    {
        self.told::<K>(name, "Ready", "True", None).await
    }

    /// Waits until a condition of an object, as it is declared now, has this status and (if given) reason.
    ///
    /// # Errors
    /// It never has.
    pub async fn told<K>(&self, name: &str, kind: &str, status: &str, reason: Option<&str>) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + HasConditions,
    {
        let what = format!("{} {name}: {kind}={status} {}", K::kind(&()), reason.unwrap_or_default());
        until(&what, LIMIT, async || {
            let object = self.api::<K>().get(name).await?;
            let (generation, conditions) = object.observed().ok_or("no status")?;
            if generation != object.meta().generation {
                return Err(format!("status speaks of generation {generation:?}, not {:?}", object.meta().generation).into());
            }
            let found = condition(conditions, kind).ok_or("no such condition")?;
            if found.status == status && reason.is_none_or(|r| r == found.reason) {
                return Ok(object.clone());
            }
            Err(format!("{}={} {}: {}", found.type_, found.status, found.reason, found.message).into())
        })
        .await
    }

    /// Deletes an object and waits until it is gone. Somebody else may have made another of that name since.
    ///
    /// # Errors
    /// It cannot be deleted, or stays.
    pub async fn delete<K>(&self, name: &str) -> Result
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let uid = self.api::<K>().get_metadata(name).await?.uid();
        self.api::<K>().delete(name, &DeleteParams::background()).await?;
        self.until_gone::<K>(name, |object| object.uid() != uid).await
    }

    /// Waits until there is no such object.
    ///
    /// # Errors
    /// It stays.
    pub async fn gone<K>(&self, name: &str) -> Result
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.until_gone::<K>(name, |_| false).await
    }

    async fn until_gone<K>(&self, name: &str, is_another: impl Fn(&PartialObjectMeta<K>) -> bool) -> Result
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        until(&format!("{} {name} is gone", K::kind(&())), LIMIT, async || match self.api::<K>().get_metadata_opt(name).await? {
            Some(object) if !is_another(&object) => Err(Waiting::NotYet(format!("finalizers {:?}", object.finalizers()))),
            None | Some(_) => Ok(()),
        })
        .await
    }
}
