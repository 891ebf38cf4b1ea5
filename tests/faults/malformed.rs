//! Objects that the operator cannot parse, as an older or newer version of the API leaves them behind: each is told what
//! is wrong, and none of its neighbours notices.

use k8s_openapi::{api::events::v1::Event, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition};
use kube::{
    Api, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic};
use penstock_tests::scene::{LIMIT, Result, Scene, Waiting, install, play_alone, until};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The definitions whose schemas are opened, as they were before.
struct Loosened {
    api: Api<CustomResourceDefinition>,
    before: Vec<(String, Value, Value)>,
}

impl Loosened {
    /// Lets the apiserver accept anything as a spec.
    async fn begin(scene: &Scene) -> Result<Self> {
        let mut loosened = Self { api: Api::all(scene.client.clone()), before: Vec::new() };
        for name in ["kafkaclusters.penstock.dev", "kafkatopics.penstock.dev", "eventpipelines.penstock.dev"] {
            if let Err(error) = loosened.open(name).await {
                loosened.end().await?;
                return Err(error);
            }
        }
        Ok(loosened)
    }

    async fn open(&mut self, name: &str) -> Result {
        let definition = self.api.get(name).await?;
        let versions = serde_json::to_value(&definition.spec.versions)?;
        let fields = serde_json::to_value(&definition.metadata.managed_fields)?;
        let mut open = versions.clone();
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        open[0]["schema"]["openAPIV3Schema"] =
            json!({"type": "object", "properties": {"spec": {"x-kubernetes-preserve-unknown-fields": true}, "status": anything}});
        self.before.push((name.to_owned(), versions, fields));
        self.api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"versions": open}}))).await?;
        Ok(())
    }

    /// Puts the schemas back, and the record of who manages which field with them, so that Helm still owns its own.
    async fn end(self) -> Result {
        for (name, versions, fields) in self.before {
            self.api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"versions": versions}}))).await?;
            let fields = json!({"metadata": {"managedFields": fields}});
            self.api.patch(&name, &PatchParams::default(), &Patch::Merge(fields)).await?;
        }
        Ok(())
    }
}

/// The objects of a kind, whatever stands in them.
fn untyped<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(scene: &Scene) -> Api<DynamicObject> {
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &ApiResource::erase::<K>(&()))
}

fn object<K: Resource<DynamicType = ()>>(name: &str, spec: &Value) -> Result<DynamicObject> {
    let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec});
    Ok(serde_json::from_value(object)?)
}

/// Creates an object as soon as the apiserver goes by the open schema.
async fn create<K>(scene: &Scene, name: &str, spec: Value) -> Result
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let object = object::<K>(name, &spec)?;
    until(&format!("the broken {name} is accepted"), LIMIT, async || {
        untyped::<K>(scene).create(&PostParams::default(), &object).await.map(drop).map_err(Into::into)
    })
    .await
}

/// Waits until the schema is back: what was accepted would be refused now.
async fn refused_again<K>(scene: &Scene, spec: Value) -> Result
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let (object, params) = (object::<K>("probe", &spec)?, PostParams { dry_run: true, ..PostParams::default() });
    until("the schema is back", LIMIT, async || match untyped::<K>(scene).create(&params, &object).await {
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
        other => Err(format!("{other:?}").into()),
    })
    .await
}

/// Waits until an object that cannot be parsed is told so, with these words of the parser.
async fn told_invalid<K>(scene: &Scene, name: &str, words: &str) -> Result
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    until(&format!("{name} is told that it cannot be read"), LIMIT, async || {
        let object = untyped::<K>(scene).get(name).await?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|c| c["type"] == "Ready").ok_or("no condition")?;
        let generation = json!(object.metadata.generation);
        let told = ready["status"] == "False" && ready["reason"] == "InvalidSpec" && ready["observedGeneration"] == generation;
        let said = ready["message"].as_str().unwrap_or_default();
        if told && said.contains(words) { Ok(()) } else { Err(ready.to_string().into()) }
    })
    .await
}

/// Waits for an Event on an object with these words.
async fn event_says(scene: &Scene, object: &str, words: &str) -> Result {
    until(&format!("an Event on {object}"), LIMIT, async || {
        let events = scene.api::<Event>().list(&ListParams::default()).await?.items;
        let own = events.into_iter().filter(|event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(object));
        let notes: Vec<String> = own.filter_map(|event| event.note).collect();
        if notes.iter().any(|note| note.contains(words)) { Ok(()) } else { Err(format!("{notes:?}").into()) }
    })
    .await
}

fn reader(input: &str) -> Value {
    json!({
        "source": {"kafka": {"topics": [input]}}, "delivery": "AtLeastOnce",
        "processor": {"builtin": "payments"}, "sink": {"kafka": {"topic": "out"}},
    })
}

/// A topic that was made while no operator ran. Once the schema is back, the apiserver takes no status for it: it cannot evaluate
/// whether the partitions have grown.
const UNSEEN: &str = "broken-unseen";

/// A spec that cannot be parsed, and how it is.
struct Broken {
    name: &'static str,
    spec: Value,
    /// A word of the parser's message.
    word: &'static str,
    /// Whether the spec may be replaced in place. Where a field has the wrong type that may not change or only grow, the
    /// apiserver cannot compare it with the new one: such an object is deleted and made anew.
    in_place: bool,
}

fn broken_topics(scene: &Scene) -> Vec<Broken> {
    let named = |name: &str| scene.kafka_name(name);
    vec![
        Broken {
            name: "broken-number",
            spec: json!({"topicName": named("broken-number"), "replicationFactor": "many"}),
            word: "many",
            in_place: true,
        },
        Broken {
            name: "broken-choice",
            spec: json!({"topicName": named("broken-choice"), "deletionPolicy": "Explode"}),
            word: "Explode",
            in_place: true,
        },
        Broken { name: "broken-partitions", spec: json!({"partitions": "many"}), word: "many", in_place: false },
        Broken { name: "broken-spec", spec: json!(["not", "a", "map"]), word: "expected struct", in_place: false },
    ]
}

fn broken_pipelines() -> Vec<Broken> {
    let mut fast = reader("before");
    fast["concurrency"] = json!("fast");
    let seven = json!({"source": 7, "processor": {"builtin": "payments"}});
    vec![
        Broken { name: "broken-number", spec: fast, word: "fast", in_place: true },
        Broken { name: "broken-source", spec: seven, word: "7", in_place: false },
        Broken { name: "broken-missing", spec: json!({"replicas": 1}), word: "source", in_place: false },
    ]
}

/// `KafkaCluster`s in the operator's namespace, named after the test.
fn broken_clusters() -> Vec<Broken> {
    let servers = json!(["kafka:9092"]);
    vec![
        Broken { name: "servers", spec: json!({"bootstrapServers": 7}), word: "7", in_place: true },
        Broken {
            name: "limit",
            spec: json!({"bootstrapServers": servers, "topicLimits": {"maxPartitions": "many"}}),
            word: "many",
            in_place: true,
        },
    ]
}

fn cluster_name(scene: &Scene, broken: &Broken) -> String {
    format!("{}-{}", scene.namespace, broken.name)
}

async fn all_told(scene: &Scene, system: &Scene) -> Result {
    for broken in broken_clusters() {
        told_invalid::<KafkaCluster>(system, &cluster_name(scene, &broken), broken.word).await?;
    }
    for broken in broken_topics(scene) {
        told_invalid::<KafkaTopic>(scene, broken.name, broken.word).await?;
    }
    for broken in broken_pipelines() {
        told_invalid::<EventPipeline>(scene, broken.name, broken.word).await?;
    }
    Ok(())
}

async fn create_all(scene: &Scene, system: &Scene) -> Result {
    for broken in broken_clusters() {
        create::<KafkaCluster>(system, &cluster_name(scene, &broken), broken.spec).await?;
    }
    for broken in broken_topics(scene) {
        create::<KafkaTopic>(scene, broken.name, broken.spec).await?;
    }
    for broken in broken_pipelines() {
        create::<EventPipeline>(scene, broken.name, broken.spec).await?;
    }
    Ok(())
}

#[tokio::test]
async fn broken_objects_are_told_and_their_neighbours_do_not_notice() {
    play_alone("malformed", async |scene| {
        let system = Scene::at(install::NAMESPACE).await?;
        let outcome = among_broken_objects(scene, &system).await;
        let mut removed: Result = Ok(());
        for broken in broken_clusters() {
            let deleted = untyped::<KafkaCluster>(&system).delete(&cluster_name(scene, &broken), &DeleteParams::default()).await;
            removed = removed.and(deleted.map(drop).map_err(Into::into));
        }
        outcome.and(removed)
    })
    .await;
}

async fn among_broken_objects(scene: &Scene, system: &Scene) -> Result {
    for name in ["before", "out"] {
        scene.topic(name, json!({"partitions": 1, "replicationFactor": 1})).await?;
    }
    let operator = scene.operator().await;
    let loosened = Loosened::begin(scene).await?;
    let told = async {
        create_all(scene, system).await?;
        all_told(scene, system).await
    };
    if let Err(error) = told.await {
        return loosened.end().await.and(Err(error));
    }
    let unseen = async || {
        let created = create::<KafkaTopic>(scene, UNSEEN, json!({"partitions": "many"})).await;
        loosened.end().await?;
        created?;
        refused_again::<KafkaTopic>(scene, json!({"partitions": "many"})).await?;
        refused_again::<EventPipeline>(scene, json!({"replicas": 1})).await?;
        refused_again::<KafkaCluster>(scene, json!({"bootstrapServers": 7})).await
    };
    operator.while_stopped(unseen).await?;
    event_says(scene, UNSEEN, "delete it and make it anew").await?;
    untyped::<KafkaTopic>(scene).delete(UNSEEN, &DeleteParams::default()).await?;
    all_told(scene, system).await?;
    for broken in broken_clusters() {
        let mut lost = json!({"clusterRef": {"name": cluster_name(scene, &broken)}, "replicationFactor": 1});
        scene.own_topic_name(broken.name, &mut lost);
        scene.apply::<KafkaTopic>(broken.name, lost).await?;
        scene.told::<KafkaTopic>(broken.name, "Ready", "False", Some("ClusterNotReady")).await?;
    }

    let good = async |name: &str| -> Result {
        scene.topic(name, json!({"partitions": 1, "replicationFactor": 1})).await?;
        let changed = json!({"partitions": 2, "replicationFactor": 1});
        scene.topic("before", changed).await?;
        scene.apply::<EventPipeline>(name, reader(name)).await?;
        scene.ready::<EventPipeline>(name).await?;
        scene.ready_workers(name, 1).await.map(drop)
    };
    good("after").await?;
    // What it claims stays its own, although it cannot be read.
    scene.apply::<KafkaTopic>("rival", json!({"topicName": scene.kafka_name("broken-choice"), "deletionPolicy": "Delete"})).await?;
    scene.told::<KafkaTopic>("rival", "Ready", "False", Some("TopicConflict")).await?;
    scene.delete::<KafkaTopic>("rival").await?;
    operator.kill().await?;
    good("restarted").await?;
    all_told(scene, system).await?;
    repair_all(scene, system).await
}

/// Repairs each object, and waits until it is ready, and what meant it too.
async fn repair_all(scene: &Scene, system: &Scene) -> Result {
    for broken in broken_topics(scene) {
        let mut repaired = json!({"partitions": 1, "replicationFactor": 1});
        scene.own_topic_name(broken.name, &mut repaired);
        repair::<KafkaTopic>(scene, broken.name, broken.in_place, &repaired).await?;
        scene.ready::<KafkaTopic>(broken.name).await?;
    }
    for broken in broken_pipelines() {
        repair::<EventPipeline>(scene, broken.name, broken.in_place, &reader("before")).await?;
        scene.ready::<EventPipeline>(broken.name).await?;
    }
    let servers = json!({"bootstrapServers": [scene.cluster.brokers().await?.internal]});
    for broken in broken_clusters() {
        repair::<KafkaCluster>(system, &cluster_name(scene, &broken), broken.in_place, &servers).await?;
        scene.ready::<KafkaTopic>(broken.name).await?;
    }
    Ok(())
}

/// Replaces a broken object's spec, as `kubectl replace` does, with `--force` where it must be.
async fn repair<K>(scene: &Scene, name: &str, in_place: bool, spec: &Value) -> Result
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api = untyped::<K>(scene);
    if !in_place {
        scene.delete::<K>(name).await?;
        api.create(&PostParams::default(), &object::<K>(name, spec)?).await?;
        return Ok(());
    }
    until(&format!("{name} is repaired"), LIMIT, async || {
        let mut object = api.get(name).await?;
        object.data["spec"] = spec.clone();
        match api.replace(name, &PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            // The operator wrote the status in between.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(status.message.into()),
            Err(error) => Err(Waiting::Never(error.into())),
        }
    })
    .await
}
