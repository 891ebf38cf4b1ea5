//! Strimzi's objects in the apiserver: `import strimzi` prints ours for them, and the apiserver takes these.
//!
//! Its definition has the name `kafkatopics` too, which is why this does not run beside the other tests.

use clap::Parser;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use penstock_crds::KafkaTopic;
use penstock_operator::{
    command_line::{Command, CommandLine},
    import,
};
use penstock_tests::scene::{LIMIT, Result, Scene, finally, play_alone, until};
use serde_json::{Value, json};

const DEFINITION: &str = "kafkatopics.kafka.strimzi.io";

/// As much of Strimzi's definition as matters here.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": DEFINITION},
        "spec": {
            "group": "kafka.strimzi.io", "scope": "Namespaced",
            "names": {"kind": "KafkaTopic", "listKind": "KafkaTopicList", "plural": "kafkatopics", "singular": "kafkatopic"},
            "versions": [{
                "name": "v1beta2", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
}

async fn theirs(scene: &Scene) -> Result {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kafka.strimzi.io", "v1beta2", "KafkaTopic"));
    let api: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource);
    for (name, spec) in [
        (
            "orders",
            json!({"topicName": scene.kafka_name("orders"), "partitions": 2, "replicas": 1, "config": {"retention.ms": 86_400_000}}),
        ),
        ("offsets", json!({"topicName": "__consumer_offsets"})),
    ] {
        let metadata = json!({"name": name, "labels": {"strimzi.io/cluster": "prod"}});
        let object = json!({"apiVersion": "kafka.strimzi.io/v1beta2", "kind": "KafkaTopic", "metadata": metadata, "spec": spec});
        until("the apiserver takes Strimzi's objects", LIMIT, async || {
            api.patch(name, &PatchParams::apply("strimzi").force(), &Patch::Apply(object.clone())).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn imported(namespace: &str) -> Result<(Vec<Value>, String)> {
    let line = CommandLine::try_parse_from(["penstock-operator", "import", "strimzi", "--namespace", namespace])?;
    let Some(Command::Import(asked)) = line.command else { return Err("no import was asked for".into()) };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    import::run(asked, &mut out, &mut notes).await?;
    Ok((serde_saphyr::from_multiple(&String::from_utf8(out)?)?, String::from_utf8(notes)?))
}

#[tokio::test]
async fn strimzis_objects_become_suspended_ones_of_ours() {
    play_alone("t-strimzi", async |scene| {
        let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
        definitions.patch(DEFINITION, &PatchParams::apply("strimzi").force(), &Patch::Apply(definition())).await?;
        let imports = async {
            theirs(scene).await?;
            let (objects, told) = imported(&scene.namespace).await?;
            assert!(told.contains("offsets: left out: `__consumer_offsets`"), "{told}");
            let [object] = objects.as_slice() else { return Err(format!("{} objects", objects.len()).into()) };
            assert_eq!(object["metadata"], json!({"name": "orders", "namespace": scene.namespace}));
            let applied = scene.apply::<KafkaTopic>("orders", object["spec"].clone()).await?;
            assert!(applied.spec.suspend && applied.name_any() == "orders");
            scene.told::<KafkaTopic>("orders", "Ready", "False", Some("Suspended")).await?;
            Ok(())
        };
        finally(imports, async { Ok(definitions.delete(DEFINITION, &DeleteParams::default()).await.map(drop)?) }).await
    })
    .await;
}
