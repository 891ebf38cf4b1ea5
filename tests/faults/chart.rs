//! The packaged chart: neither an upgrade nor an uninstall touches what it looks after.

use std::path::PathBuf;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, LogParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use penstock_crds::{EventPipeline, KafkaCluster, KafkaTopic, name};
use penstock_kafka::Record;
use penstock_tests::{
    local::Folder,
    scene::{LIMIT, Result, Scene, example, finally, install, play_alone, until},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// What must be the same before and after: the definitions, the objects, the topics in Kafka, the workers.
#[derive(Debug, PartialEq)]
struct LeftAlone {
    definitions: Vec<Option<String>>,
    /// Uid and generation of each object.
    objects: Vec<(Option<String>, Option<i64>)>,
    topics: Vec<String>,
    /// Uid of each pod, and how often its container was started again.
    workers: Vec<(Option<String>, i32)>,
}

async fn look(scene: &Scene) -> Result<LeftAlone> {
    let own = |name: &String| name.ends_with(".penstock.dev");
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let definitions = definitions.list(&ListParams::default()).await?.items;
    let clusters: Api<KafkaCluster> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let identity = |meta: &kube::api::ObjectMeta| (meta.uid.clone(), meta.generation);
    let mut objects =
        vec![identity(&clusters.get("default").await?.metadata), identity(&scene.api::<EventPipeline>().get("p").await?.metadata)];
    let mut topics = Vec::new();
    for name in ["in", "out"] {
        objects.push(identity(&scene.api::<KafkaTopic>().get(name).await?.metadata));
        let name = scene.kafka_name(name);
        topics.push(scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??.id.to_string());
    }
    let restarts = |pod: &Pod| pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).sum();
    Ok(LeftAlone {
        definitions: definitions.iter().filter(|d| own(&d.name_any())).map(ResourceExt::uid).collect(),
        objects,
        topics,
        workers: scene.workers("p").await?.iter().map(|p| (p.uid(), restarts(p))).collect(),
    })
}

async fn prepare(scene: &Scene) -> Result<LeftAlone> {
    for name in ["in", "out"] {
        scene.topic(name, json!({"partitions": 1, "replicationFactor": 1, "deletionPolicy": "Delete"})).await?;
    }
    let spec = json!({
        "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce",
        "processor": {"builtin": "payments", "options": {"successRate": "1"}}, "sink": {"kafka": {"topic": "out"}},
    });
    scene.apply::<EventPipeline>("p", spec).await?;
    scene.ready::<EventPipeline>("p").await?;
    scene.ready_workers("p", 1).await?;
    let seen = look(scene).await?;
    assert_eq!((seen.definitions.len(), seen.workers.len()), (3, 1), "{seen:?}");
    Ok(seen)
}

/// Puts an order on the pipeline's topic and waits for its payment.
async fn is_paid(scene: &Scene) -> Result {
    let order = example::order();
    let event = json!({"eventType": "ORDER_CREATED", "eventId": uuid::Uuid::new_v4(), "timestamp": "2026-01-01T00:00:00Z", "data": order});
    let id = example::id_of(&order);
    scene.produce(Record::to(scene.kafka_name("in")).with_key(id.to_owned()).with_payload(serde_json::to_vec(&event)?)).await?;
    until(&format!("order {id} is paid"), LIMIT, async || {
        let paid = scene.events(&scene.kafka_name("out"), |e| e["data"]["orderId"] == id).await?;
        if paid.len() == 1 { Ok(()) } else { Err(format!("{} payments", paid.len()).into()) }
    })
    .await
}

/// A copy of the chart as an older release may have been: its `KafkaTopic` has no column for the topic's name.
async fn older_chart(scene: &Scene, folder: &Folder) -> Result<PathBuf> {
    let chart = folder.path().join("penstock");
    let mut copy = Command::new("cp");
    copy.arg("-R").arg(scene.cluster.repository().join("helm/penstock")).arg(&chart);
    install::run(copy).await?;
    let file = chart.join("templates/crds/kafkatopics.penstock.dev.yaml");
    let text = std::fs::read_to_string(&file)?;
    let older = text.replace("    - jsonPath: .status.topicName\n      name: Topic\n      type: string\n", "");
    assert_ne!(text, older, "the column was not found");
    std::fs::write(&file, older)?;
    Ok(chart)
}

/// Whether `kubectl get kafkatopics` shows the topic's name.
async fn has_the_column(scene: &Scene) -> Result<bool> {
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let versions = definitions.get("kafkatopics.penstock.dev").await?.spec.versions;
    Ok(versions.into_iter().flat_map(|version| version.additional_printer_columns.unwrap_or_default()).any(|c| c.name == "Topic"))
}

/// The operator's pods that are not on their way out.
async fn operators(scene: &Scene) -> Result<Vec<Option<String>>> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let pods = pods.list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    Ok(pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()).map(ResourceExt::uid).collect())
}

/// The operator that stays.
async fn operator(scene: &Scene) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    let found = pods.list(&ListParams::default().labels(install::OPERATOR)).await?.items;
    Ok(found.into_iter().find(|p| p.metadata.deletion_timestamp.is_none()).ok_or("there is no operator")?)
}

/// What it has logged.
async fn log_of_the_operator(scene: &Scene) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
    Ok(pods.logs(&operator(scene).await?.name_any(), &LogParams::default()).await?)
}

/// Runs a test that changes the installation, and leaves it as the others expect it, whatever happens.
async fn reinstalled_after(scene: &Scene, test: impl AsyncFnOnce() -> Result) -> Result {
    finally(test(), install::install(&scene.cluster, &[])).await
}

/// Runs a test while a definition is not there, and puts it back as it was, whatever happens.
async fn without_definition(scene: &Scene, name: &str, test: impl AsyncFnOnce() -> Result) -> Result {
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let definition = definitions.get(name).await?;
    definitions.delete(name, &DeleteParams::default()).await?;
    finally(test(), restore(&definitions, name, definition)).await
}

/// With the record of who manages which field, so that Helm still owns its own.
async fn restore(definitions: &Api<CustomResourceDefinition>, name: &str, before: CustomResourceDefinition) -> Result {
    until(
        &format!("{name} is gone"),
        LIMIT,
        async || {
            if definitions.get_opt(name).await?.is_none() { Ok(()) } else { Err("it is there".into()) }
        },
    )
    .await?;
    let ObjectMeta { labels, annotations, managed_fields, .. } = before.metadata;
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, annotations, ..ObjectMeta::default() };
    definitions.create(&PostParams::default(), &CustomResourceDefinition { metadata, spec: before.spec, status: None }).await?;
    let fields = Patch::Merge(json!({"metadata": {"managedFields": managed_fields}}));
    definitions.patch(name, &PatchParams::default(), &fields).await?;
    until(&format!("{name} is served"), LIMIT, async || {
        let conditions = definitions.get(name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
        let is_served = conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True");
        if is_served { Ok(()) } else { Err(format!("{conditions:?}").into()) }
    })
    .await
}

#[tokio::test]
async fn an_upgrade_rolls_the_operator_and_renews_the_definitions_and_nothing_else() {
    play_alone("chart-upgrade", async |scene| {
        let before = prepare(scene).await?;
        let first = operators(scene).await?;
        reinstalled_after(scene, async || {
            let folder = Folder::new("chart")?;
            install::install_from(&scene.cluster, &older_chart(scene, &folder).await?, &[]).await?;
            assert!(!has_the_column(scene).await?, "this is no older definition");
            install::install(&scene.cluster, &["resync=20s", "log.format=text"]).await?;
            assert!(has_the_column(scene).await?, "the definition was not upgraded");
            let rolled = operators(scene).await?;
            assert!(rolled.len() == 1 && rolled != first, "{first:?} -> {rolled:?}");
            // A change that must be seen proves that the new operator has looked around.
            scene.topic("later", json!({"partitions": 1, "replicationFactor": 1})).await?;
            scene.ready::<EventPipeline>("p").await?;
            assert_eq!(look(scene).await?, before);
            let log = log_of_the_operator(scene).await?;
            let is_json = |line: &str| serde_json::from_str::<Value>(line).is_ok();
            assert!(log.contains("started") && !log.lines().any(is_json), "this is no text for people: {log}");

            let clusters: Api<KafkaCluster> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
            let uid = clusters.get("default").await?.uid();
            install::install(&scene.cluster, &["kafkaCluster.topicLimits.maxPartitions=900"]).await?;
            let limited = clusters.get("default").await?;
            let limits = limited.spec.topic_limits.as_ref().and_then(|limits| limits.max_partitions);
            assert_eq!((limited.uid(), limits), (uid, Some(900)), "values do not reach the object that is there");
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn without_a_definition_the_operator_is_not_ready_names_it_and_goes_on_once_it_is_there() {
    play_alone("chart-definition", async |scene| {
        let declared = |partitions: i32| json!({"partitions": partitions, "replicationFactor": 1});
        let id = scene.topic("t", declared(1)).await?.status.and_then(|status| status.topic_id);
        let is_missed = async || {
            let (system, pod) = (Scene::at(install::NAMESPACE).await?, operator(scene).await?);
            until("it is not ready, and says why", LIMIT, async || {
                let ready = system.get(&pod.name_any(), 8080, "/readyz").await?;
                let names = ready.body.to_string().contains("kafkaclusters.penstock.dev is not installed");
                if ready.status == 503 && names { Ok(()) } else { Err(format!("{ready:?}").into()) }
            })
            .await?;
            let alive = system.get(&pod.name_any(), 8080, "/livez").await?;
            assert_eq!(alive.status, 200, "{alive:?}");
            Ok(())
        };
        reinstalled_after(scene, async || without_definition(scene, "kafkaclusters.penstock.dev", is_missed).await).await?;
        let grown = scene.topic("t", declared(2)).await?.status.ok_or("no status")?;
        assert_eq!((grown.topic_id, grown.partitions), (id, Some(2)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn with_its_admission_policy_the_finalizer_comes_with_the_object() {
    play_alone("chart-policy", async |scene| {
        let ours = name::FINALIZER_TOPIC;
        let declared =
            |policy: &str, suspend: bool| json!({"partitions": 1, "replicationFactor": 1, "deletionPolicy": policy, "suspend": suspend});
        reinstalled_after(scene, async || {
            install::install_with_policy(scene, &[]).await?;
            for (spec, before, after) in [
                (declared("Delete", false), vec![], vec![ours]),
                (declared("Delete", true), vec![], vec![ours]),
                (declared("Delete", false), vec!["example.com/other"], vec!["example.com/other", ours]),
                (declared("Delete", false), vec![ours], vec![ours]),
                (declared("Retain", false), vec![], vec![]),
                (json!({}), vec!["example.com/other"], vec!["example.com/other"]),
            ] {
                let mut topic = KafkaTopic::new("t", serde_json::from_value(spec.clone())?);
                topic.metadata.finalizers = Some(before.iter().map(ToString::to_string).collect());
                let would = PostParams { dry_run: true, ..PostParams::default() };
                let made = scene.api::<KafkaTopic>().create(&would, &topic).await?;
                assert_eq!(made.finalizers(), after, "{spec} {before:?}");
            }

            let mut nowhere = declared("Delete", false);
            nowhere["clusterRef"] = json!({"name": "nowhere"});
            let refused = scene.apply::<KafkaTopic>("refused", nowhere).await?;
            assert_eq!(refused.finalizers(), [ours]);
            scene.told::<KafkaTopic>("refused", "Ready", "False", Some("ClusterNotFound")).await?;
            scene.delete::<KafkaTopic>("refused").await?;

            scene.topic("t", declared("Delete", false)).await?;
            scene.delete::<KafkaTopic>("t").await?;
            let name = scene.kafka_name("t");
            until("its topic goes", LIMIT, async || match scene.admin.describe(&[&name]).await?.remove(&name) {
                Some(Err(penstock_kafka::Error::UnknownTopic { .. })) => Ok(()),
                answer => Err(format!("{answer:?}").into()),
            })
            .await
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_uninstall_leaves_everything_and_a_new_install_takes_it_up() {
    play_alone("chart-uninstall", async |scene| {
        let before = prepare(scene).await?;
        reinstalled_after(scene, async || {
            install::helm(
                &scene.cluster,
                &["uninstall", install::RELEASE, "--namespace", install::NAMESPACE, "--wait", "--timeout", "60s"],
            )
            .await?;
            let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), install::NAMESPACE);
            assert!(deployments.get_opt(install::RELEASE).await?.is_none(), "the operator is still there");
            assert_eq!(operators(scene).await?, Vec::<Option<String>>::new());
            assert_eq!(look(scene).await?, before);
            is_paid(scene).await?;
            // Declared while nobody looks.
            let mut late = json!({"partitions": 1, "replicationFactor": 1});
            scene.own_topic_name("late", &mut late);
            scene.apply::<KafkaTopic>("late", late).await?;

            install::install(&scene.cluster, &[]).await?;
            scene.ready::<KafkaTopic>("late").await?;
            scene.ready::<EventPipeline>("p").await?;
            for name in ["in", "out"] {
                scene.ready::<KafkaTopic>(name).await?;
            }
            assert_eq!(look(scene).await?, before);
            is_paid(scene).await
        })
        .await
    })
    .await;
}
