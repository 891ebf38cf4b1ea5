//! A front that asks for tokens: its keys are a ConfigMap of the namespace, which the operator mounts and misses, and which may change
//! under the workers.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use penstock_crds::EventPipeline;
use penstock_tests::{
    issuer::{AUDIENCE, ISSUER, Issuer},
    local::post,
    scene::{LIMIT, Result, Scene, play, until},
};
use serde_json::{Value, json};

const PORT: u16 = 3000;

fn front() -> Value {
    let auth = json!({"jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": {"configMap": "login-keys", "key": "set"}}});
    json!({
        "source": {"http": {"port": PORT, "auth": auth}},
        "processor": {"builtin": "events-gateway", "options": {"defaultType": "t", "defaultSource": "/e2e"}},
        "sink": {"kafka": {"topic": "events"}},
    })
}

async fn keys(scene: &Scene, data: Value) -> Result {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "login-keys"}, "data": data});
    scene.api::<ConfigMap>().patch("login-keys", &PatchParams::apply("login").force(), &Patch::Apply(object)).await?;
    Ok(())
}

async fn message(scene: &Scene) -> Result<String> {
    let told = scene.told::<EventPipeline>("front", "Ready", "False", Some("KeysNotFound")).await?;
    let ready = told.status.and_then(|status| status.conditions.into_iter().find(|condition| condition.type_ == "Ready"));
    Ok(ready.map(|condition| condition.message).unwrap_or_default())
}

#[tokio::test]
async fn a_front_asks_for_tokens_of_keys_that_are_mounted() {
    play("tokens", async |scene| {
        scene.topic("events", json!({"partitions": 1, "replicationFactor": 1})).await?;
        scene.apply::<EventPipeline>("front", front()).await?;
        assert!(message(scene).await?.contains("there is no ConfigMap `login-keys`"));
        assert_eq!(scene.api::<Pod>().list(&Default::default()).await?.items.len(), 0, "no pods before the keys are there");
        keys(scene, json!({"other": "{}"})).await?;
        until("the key is missed", LIMIT, async || match message(scene).await? {
            told if told.contains("has no key `set`") => Ok(()),
            told => Err(told.into()),
        })
        .await?;
        let (first, second) = (Issuer::new("1")?, Issuer::new("2")?);
        keys(scene, json!({"set": first.set()})).await?;
        scene.ready::<EventPipeline>("front").await?;
        let pod = scene.ready_workers("front", 1).await?.remove(0);
        let way = scene.forward(&pod, PORT).await?;

        let ask = async |token: Option<String>| -> Result<u16> {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let json = ("content-type", "application/json");
            let headers: Vec<_> = [json].into_iter().chain(bearer.as_deref().map(|bearer| ("authorization", bearer))).collect();
            Ok(post(way.port, "/events", &headers, "{}").await?.status)
        };
        assert_eq!(ask(Some(first.token("alice"))).await?, 202);
        assert_eq!((ask(None).await?, ask(Some(second.token("bob"))).await?), (401, 401));
        assert_eq!(scene.get(&pod, PORT, "/health").await?.status, 200);
        assert_eq!(scene.records(&scene.kafka_name("events")).await?.len(), 1);

        // The kubelet takes its time.
        keys(scene, json!({"set": second.set()})).await?;
        until("the new key is in use", LIMIT, async || match ask(Some(second.token("bob"))).await? {
            202 => Ok(()),
            status => Err(status.to_string().into()),
        })
        .await?;
        assert_eq!(ask(Some(first.token("alice"))).await?, 401);
        assert_eq!(scene.ready_workers("front", 1).await?, std::slice::from_ref(&pod), "no pod is replaced for it");

        // A worker that has keys goes on without the ConfigMap.
        scene.api::<ConfigMap>().delete("login-keys", &DeleteParams::default()).await?;
        assert_eq!(ask(Some(second.token("bob"))).await?, 202);
        Ok(())
    })
    .await;
}
