//! What the apiserver itself decides about Penstock's objects: every CEL rule and every bound of the three kinds, one
//! accepted and one refused object at least, with words that a person can act on. A rule without a case fails a test.

mod bounds;
mod rules;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective},
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic, manifest};
use penstock_tests::{
    cluster::Tool,
    scene::{Result, Scene, install, play, refusal},
};
use serde_json::{Value, json};

/// Where Kubernetes' own types stand, whose bounds are Kubernetes' to test.
const KUBERNETES_OWN: [&str; 2] = ["spec.affinity", "spec.tolerations"];
/// A cluster that does not exist, so that the operator makes nothing of objects that must really be there.
const NOWHERE: &str = "nowhere";

/// The objects of a kind, untyped: what is to be refused has often no typed form.
fn untyped(scene: &Scene, kind: &str) -> Api<DynamicObject> {
    let resource = match kind {
        "KafkaCluster" => ApiResource::erase::<KafkaCluster>(&()),
        "KafkaTopic" => ApiResource::erase::<KafkaTopic>(&()),
        _ => ApiResource::erase::<EventPipeline>(&()),
    };
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

async fn create(
    scene: &Scene,
    kind: &str,
    name: &str,
    spec: &Value,
    dry_run: bool,
) -> Result<std::result::Result<DynamicObject, kube::Error>> {
    let object = json!({"apiVersion": KafkaTopic::api_version(&()), "kind": kind, "metadata": {"name": name}, "spec": spec});
    let params = PostParams { dry_run, ..PostParams::default() };
    Ok(untyped(scene, kind).create(&params, &serde_json::from_value(object)?).await)
}

/// The smallest spec of each kind, and an HTTP front.
fn topic() -> Value {
    json!({"clusterRef": {"name": NOWHERE}})
}
fn cluster() -> Value {
    json!({"bootstrapServers": ["kafka:9092"]})
}
fn reader() -> Value {
    json!({
        "clusterRef": {"name": NOWHERE}, "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce",
        "processor": {"builtin": "payments"}, "sink": {"kafka": {"topic": "out"}},
    })
}
fn front() -> Value {
    json!({
        "clusterRef": {"name": NOWHERE}, "source": {"http": {"port": 3001}}, "processor": {"builtin": "orders-gateway"},
        "sink": {"kafka": {"topic": "out"}}, "table": {"topics": ["out"]},
    })
}

fn breaker(change: Value) -> Value {
    json!({"producer": {"circuitBreaker": change}})
}
/// A pipeline with a handler for each type, as a change of [`reader`].
fn by_type(handlers: &[Value]) -> Value {
    json!({"processor": {"builtin": null, "byType": {"handlers": handlers}}})
}
/// A pipeline with a handler over HTTP, as a change of [`reader`].
fn handled(change: Value) -> Value {
    let mut http = json!({"image": "shop/handler:1", "port": 9000});
    for (key, value) in change.as_object().into_iter().flatten() {
        http[key] = value.clone();
    }
    json!({"processor": {"builtin": null, "http": http}})
}
/// A front that asks for tokens, with a change of what it asks, as a change of [`front`].
fn guarded(change: Value) -> Value {
    let jwt = json!({"issuer": "https://login.example", "audience": "shop", "jwks": {"configMap": "login-keys"}});
    json!({"source": {"http": {"auth": {"jwt": changed(jwt, &change)}}}})
}
/// A pipeline with a worker of its own, as a change of [`reader`].
fn imaged(image: &str) -> Value {
    json!({"processor": {"builtin": null, "image": image}})
}
fn log(kind: &str) -> Value {
    json!({"type": kind, "builtin": "log"})
}

/// A pipeline that promises exactly once.
fn exactly() -> Value {
    changed(reader(), &json!({"delivery": "ExactlyOnce"}))
}

/// A value changed by a JSON merge patch (RFC 7386): a null removes.
fn changed(mut base: Value, change: &Value) -> Value {
    let Some(change) = change.as_object() else { return change.clone() };
    if !base.is_object() {
        base = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(key);
        } else {
            base[key] = changed(base[key].take(), value);
        }
    }
    base
}

/// A place in a schema, and the part of the schema that stands there.
type Place = (String, Value);

/// Every place of a kind's schema that a user writes, Kubernetes' own types left out.
fn places(definition: &CustomResourceDefinition) -> Vec<Place> {
    fn walk(path: &str, schema: &Value, found: &mut Vec<Place>) {
        if path == "status" || KUBERNETES_OWN.contains(&path) {
            return;
        }
        found.push((path.to_owned(), schema.clone()));
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&below, part, found);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(path, &schema[inner], found);
            }
        }
    }
    let mut found = Vec::new();
    let definition = serde_json::to_value(definition).unwrap();
    walk("", &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}

#[tokio::test]
async fn null_means_absent() {
    play("api-null", async |scene| {
        for (kind, base) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader()), ("EventPipeline", front())]
        {
            let without = create(scene, kind, "case", &base, true).await??.data;
            let definition = manifest::definitions()?.into_iter().find(|d| d.spec.names.kind == kind).ok_or("no such kind")?;
            let mut with_nulls = base.clone();
            let fields: Vec<String> =
                places(&definition).into_iter().filter_map(|(path, _)| Some(path.strip_prefix("spec.")?.to_owned())).collect();
            let absent: Vec<&String> = fields.iter().filter(|f| !f.contains('.') && base[f.as_str()].is_null()).collect();
            assert!(!absent.is_empty(), "{kind} has no optional field");
            for field in absent {
                with_nulls[field.as_str()] = Value::Null;
            }
            let with = create(scene, kind, "case", &with_nulls, true).await?.map_err(|e| format!("{with_nulls}: {e}"))?.data;
            assert_eq!(with["spec"], without["spec"], "{kind}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_as_kubectl_asks() {
    play("api-unknown", async |scene| {
        let params = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("penstock-tests").force()
        };
        for (kind, base) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader())] {
            let object = json!({
                "apiVersion": KafkaTopic::api_version(&()), "kind": kind, "metadata": {"name": "case"},
                "spec": changed(base, &json!({"speed": "fast"})),
            });
            match untyped(scene, kind).patch("case", &params, &Patch::Apply(object)).await {
                Err(kube::Error::Api(status)) => assert!(status.message.contains("speed"), "{}", status.message),
                other => return Err(format!("{kind}: not refused by the apiserver: {other:?}").into()),
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_has_a_scale() {
    play("api-scale", async |scene| {
        create(scene, "EventPipeline", "p", &reader(), false).await??;
        let api = scene.api::<EventPipeline>();
        assert_eq!(api.get_scale("p").await?.spec.and_then(|s| s.replicas), Some(1));
        let scale = async |replicas: i32| {
            api.patch_scale("p", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await
        };
        scale(0).await?;
        assert_eq!(api.get("p").await?.spec.replicas, 0);
        let said = refusal(scale(1001).await)?;
        assert!(said.contains("1000"), "{said}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn kubectl_knows_the_category_the_short_names_and_the_columns() {
    play("api-kubectl", async |scene| {
        for (kind, spec) in [("KafkaTopic", topic()), ("KafkaCluster", cluster()), ("EventPipeline", reader())] {
            create(scene, kind, "case", &spec, false).await??;
        }
        let kubectl = async |arguments: &[&str]| {
            let mut command = scene.cluster.tool(Tool::Kubectl);
            command.args(["-n", &scene.namespace, "get"]).args(arguments);
            install::run(command).await
        };
        let listed = kubectl(&["penstock", "-o", "name"]).await?;
        for name in ["kafkatopic", "kafkacluster", "eventpipeline"] {
            assert!(listed.contains(&format!("{name}.penstock.dev/case")), "{listed}");
        }
        let definitions = manifest::definitions()?;
        for (kind, columns) in [
            ("KafkaTopic", &["NAME", "READY", "TOPIC", "PARTITIONS", "REPLICATION", "REASON", "AGE", "HEALTHY", "MESSAGE"][..]),
            ("KafkaCluster", &["NAME", "READY", "BROKERS", "VERSION", "REASON", "AGE", "MESSAGE"]),
            ("EventPipeline", &["NAME", "READY", "PROCESSOR", "WORKERS", "DESIRED", "LAG", "REASON", "AGE", "MESSAGE"]),
        ] {
            let short = definitions.iter().find(|d| d.spec.names.kind == kind).and_then(|d| d.spec.names.short_names.clone());
            let short = short.and_then(|names| names.into_iter().next()).ok_or_else(|| format!("{kind} has no short name"))?;
            let wide = kubectl(&[&short, "-o", "wide"]).await?;
            let header: Vec<&str> = wide.lines().next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(header, columns, "{short} must mean {kind}, and nothing else: {wide}");
            let narrow = kubectl(&[&short]).await?;
            assert!(!narrow.contains("MESSAGE"), "{narrow}");
        }
        Ok(())
    })
    .await;
}
