//! `EventPipeline`: what it becomes, when its pods roll and when not, and what is left when it goes.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    apps::v1::Deployment,
    autoscaling::v1::Scale,
    core::v1::{ConfigMap, Event, Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use penstock_crds::{EventPipeline, KafkaTopic};
use penstock_kafka::{Record, TopicPartition};
use penstock_tests::{
    cluster::Tool,
    scene::{LIMIT, Result, Scene, condition, install, play, until},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use serde_json::{Value, json};

fn payments() -> Value {
    json!({
        "source": {"kafka": {"topics": ["in"]}}, "delivery": "AtLeastOnce",
        "processor": {"builtin": "payments"}, "sink": {"kafka": {"topic": "out"}},
    })
}

async fn topics(scene: &Scene) -> Result {
    for name in ["in", "out"] {
        scene.topic(name, json!({"partitions": 1, "replicationFactor": 1, "config": {"retention.ms": "3600000"}})).await?;
    }
    Ok(())
}

async fn pods_by_uid(scene: &Scene, pipeline: &str) -> Result<BTreeSet<String>> {
    Ok(scene.workers(pipeline).await?.iter().filter_map(ResourceExt::uid).collect())
}

#[tokio::test]
async fn a_changed_spec_rolls_the_pods_and_an_unchanged_one_does_not() {
    play("rolls", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        scene.ready_workers("p", 1).await?;
        let first = pods_by_uid(scene, "p").await?;
        let deployment = scene.api::<Deployment>().get("p").await?;

        let mut relabelled = scene.api::<EventPipeline>().get("p").await?;
        relabelled.labels_mut().insert("team".into(), "shop".into());
        scene.api::<EventPipeline>().replace("p", &PostParams::default(), &relabelled).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        // A change that must be seen proves that the operator has looked at the object since the two that must not.
        let mut scaled = payments();
        scaled["replicas"] = json!(2);
        scene.apply::<EventPipeline>("p", scaled.clone()).await?;
        scene.ready_workers("p", 2).await?;
        assert!(pods_by_uid(scene, "p").await?.is_superset(&first), "a pod was replaced though its configuration is the same");
        let after = scene.api::<Deployment>().get("p").await?;
        assert_eq!(after.spec.map(|s| s.template), deployment.spec.map(|s| s.template));

        scaled["processor"]["options"] = json!({"successRate": "0.5"});
        scene.apply::<EventPipeline>("p", scaled).await?;
        until("new pods", LIMIT, async || {
            let now = pods_by_uid(scene, "p").await?;
            if now.is_disjoint(&first) && now.len() == 2 { Ok(()) } else { Err(format!("{now:?}, first were {first:?}").into()) }
        })
        .await?;
        scene.ready::<EventPipeline>("p").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_that_gets_delays_keeps_running_and_gets_their_topics() {
    play("delays", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        let first = pods_by_uid(scene, "p").await?;
        // Its workers share the partitions out in another way from now on; in one group there is one way.
        let mut delayed = payments();
        delayed["retry"] = json!({"delays": ["1s", "5s"]});
        scene.apply::<EventPipeline>("p", delayed).await?;
        for name in ["p-in-retry-1", "p-in-retry-2", "p-in-held"] {
            scene.ready::<KafkaTopic>(name).await?;
        }
        until("new pods", LIMIT, async || {
            let now = pods_by_uid(scene, "p").await?;
            if now.is_disjoint(&first) && now.len() == 1 { Ok(()) } else { Err(format!("{now:?}, first were {first:?}").into()) }
        })
        .await?;
        scene.ready::<EventPipeline>("p").await?;
        let strategy = scene.api::<Deployment>().get("p").await?.spec.and_then(|spec| spec.strategy?.type_);
        assert_eq!(strategy.as_deref(), Some("Recreate"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_scale_subresource_sets_the_number_of_workers() {
    play("scale", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready_workers("p", 1).await?;
        for count in [3, 0] {
            let mut scale = scene.cluster.tool(Tool::Kubectl);
            scale.args(["-n", &scene.namespace, "scale", "eventpipeline/p", &format!("--replicas={count}")]);
            install::run(scale).await?;
            scene.ready_workers("p", count).await?;
            let shown: Scale = until("scale status", LIMIT, async || {
                let scale = scene.api::<EventPipeline>().get_scale("p").await?;
                let shown = scale.status.as_ref().map(|s| s.replicas);
                if shown == Some(i32::try_from(count).unwrap()) { Ok(scale) } else { Err(format!("{shown:?}").into()) }
            })
            .await?;
            let selector = shown.status.and_then(|s| s.selector).ok_or("no selector")?;
            let selected = scene.api::<Pod>().list(&ListParams::default().labels(&selector)).await?;
            let alive = selected.items.iter().filter(|p| p.metadata.deletion_timestamp.is_none()).count();
            assert_eq!(alive, count, "what the selector {selector} finds");
        }
        scene.told::<EventPipeline>("p", "WorkersAvailable", "True", Some("ScaledToZero")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_no_node_takes_is_said_to_be_one_and_heals() {
    play("no-room", async |scene| {
        topics(scene).await?;
        let mut large = payments();
        large["resources"] = json!({"requests": {"cpu": "900"}});
        scene.apply::<EventPipeline>("p", large).await?;
        until("the condition says that there is no room", LIMIT, async || {
            let told = scene.told::<EventPipeline>("p", "WorkersAvailable", "False", Some("WorkersUnavailable")).await?;
            let conditions = told.status.map(|status| status.conditions).unwrap_or_default();
            let message = conditions.into_iter().find(|c| c.type_ == "WorkersAvailable").map(|c| c.message).unwrap_or_default();
            if message.contains("no node takes it") && message.contains("Insufficient cpu") { Ok(()) } else { Err(message.into()) }
        })
        .await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_topic_is_said_and_heals() {
    play("waits", async |scene| {
        scene.apply::<EventPipeline>("p", payments()).await?;
        let waiting = scene.told::<EventPipeline>("p", "TopicsReady", "False", Some("TopicNotFound")).await?;
        let message = &waiting.status.unwrap().conditions.into_iter().find(|c| c.type_ == "TopicsReady").unwrap().message;
        assert!(message.contains("in") && message.contains("out"), "{message}");
        assert_eq!(scene.api::<Deployment>().list(&ListParams::default()).await?.items.len(), 0, "no pods before the topics are there");
        topics(scene).await?;
        scene.ready::<EventPipeline>("p").await?;

        // The dead letter topic was derived, like its source in partitions and retention.
        let derived = scene.ready::<KafkaTopic>("p-in-dlt").await?;
        assert_eq!(derived.kafka_name(), scene.kafka_name("in.DLT"));
        assert_eq!(derived.spec.config.get("retention.ms").map(|value| value.as_str()), Some("3600000"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn deletion_removes_all_children_and_keeps_topics() {
    play("leaves", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        scene.api::<Service>().get("p").await?;
        scene.api::<ServiceAccount>().get("p").await?;
        scene.api::<PodDisruptionBudget>().get("p").await?;
        scene.api::<ConfigMap>().get("p").await?;
        scene.produce(Record::to(scene.kafka_name("out")).with_payload("kept")).await?;

        scene.delete::<EventPipeline>("p").await?;
        scene.gone::<Deployment>("p").await?;
        scene.gone::<Service>("p").await?;
        scene.gone::<ServiceAccount>("p").await?;
        scene.gone::<PodDisruptionBudget>("p").await?;
        scene.gone::<ConfigMap>("p").await?;
        scene.gone::<KafkaTopic>("p-in-dlt").await?;
        until("no pods", LIMIT, async || {
            let left = scene.api::<Pod>().list(&ListParams::default()).await?.items.len();
            if left == 0 { Ok(()) } else { Err(format!("{left} left").into()) }
        })
        .await?;

        for name in ["in", "out", "in.DLT"] {
            let topic = scene.kafka_name(name);
            assert!(scene.admin.describe(&[&topic]).await?[&topic].is_ok(), "{topic} is gone");
        }
        assert_eq!(scene.records(&scene.kafka_name("out")).await?.len(), 1);
        assert_eq!(scene.api::<KafkaTopic>().list(&ListParams::default()).await?.items.len(), 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_named_dead_letter_topic_replaces_the_derived_one() {
    play("orphan", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        scene.topic("mine", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let mut named = payments();
        named["deadLetter"] = json!({"topic": "mine", "format": "Envelope"});
        scene.apply::<EventPipeline>("p", named).await?;
        scene.gone::<KafkaTopic>("p-in-dlt").await?;
        let ready = scene.ready::<EventPipeline>("p").await?;
        assert_eq!(ready.status.unwrap().dead_letter_topic, Some(scene.kafka_name("mine")));
        let kept = scene.kafka_name("in.DLT");
        assert!(scene.admin.describe(&[&kept]).await?[&kept].is_ok(), "{kept} is gone");

        // What another version of the operator may have left goes, too.
        let mut other = scene.api::<ConfigMap>().get("p").await?;
        let ObjectMeta { labels, owner_references, .. } = other.metadata;
        other.metadata = ObjectMeta { name: Some("p-other".into()), labels, owner_references, ..ObjectMeta::default() };
        scene.api::<ConfigMap>().create(&PostParams::default(), &other).await?;
        scene.gone::<ConfigMap>("p-other").await
    })
    .await;
}

#[tokio::test]
async fn another_first_topic_derives_another_dead_letter_topic() {
    play("refirst", async |scene| {
        topics(scene).await?;
        scene.topic("other", json!({"partitions": 1, "replicationFactor": 1})).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        let mut changed = payments();
        changed["source"]["kafka"]["topics"] = json!(["other"]);
        scene.apply::<EventPipeline>("p", changed).await?;
        let ready = scene.ready::<EventPipeline>("p").await?;
        assert_eq!(ready.status.unwrap().dead_letter_topic, Some(scene.kafka_name("other.DLT")));
        scene.ready::<KafkaTopic>("p-other-dlt").await?;
        scene.gone::<KafkaTopic>("p-in-dlt").await?;
        let kept = scene.kafka_name("in.DLT");
        assert!(scene.admin.describe(&[&kept]).await?[&kept].is_ok(), "{kept} is gone");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_an_object_cannot_decide_alone_is_a_condition() {
    play("says", async |scene| {
        topics(scene).await?;
        let cases = [
            ("bad-option", json!({"processor": {"builtin": "payments", "options": {"successRate": "2"}}}), "InvalidOptions", "successRate"),
            ("odd-option", json!({"processor": {"builtin": "payments", "options": {"speed": "9"}}}), "InvalidOptions", "speed"),
            ("no-cluster", json!({"clusterRef": {"name": "nowhere"}}), "ClusterNotFound", "nowhere"),
        ];
        for (name, change, reason, part) in cases {
            let mut spec = payments();
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            scene.apply::<EventPipeline>(name, spec).await?;
            let told = scene.told::<EventPipeline>(name, "Ready", "False", Some(reason)).await?;
            let message = told.status.unwrap().conditions.into_iter().find(|c| c.type_ == "Ready").unwrap().message;
            assert!(message.contains(part), "{name}: {message}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_foreign_object_is_never_taken_over() {
    play("foreign", async |scene| {
        topics(scene).await?;
        let mine = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"mine": "yes"}});
        scene.api::<ConfigMap>().patch("p", &PatchParams::apply("somebody"), &Patch::Apply(mine)).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.told::<EventPipeline>("p", "Ready", "False", Some("NameConflict")).await?;
        let data = scene.api::<ConfigMap>().get("p").await?.data.unwrap_or_default();
        assert_eq!(data.into_iter().collect::<Vec<_>>(), [("mine".to_owned(), "yes".to_owned())]);
        scene.delete::<ConfigMap>("p").await?;
        scene.ready::<EventPipeline>("p").await?;

        // Nor a topic, of whatever name in Kafka.
        scene.topic("q-in-retry-1", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let mut retrying = payments();
        retrying["retry"] = json!({"delays": ["1s"]});
        scene.apply::<EventPipeline>("q", retrying).await?;
        scene.told::<EventPipeline>("q", "Ready", "False", Some("NameConflict")).await?;
        scene.delete::<KafkaTopic>("q-in-retry-1").await?;
        scene.ready::<EventPipeline>("q").await?;
        Ok(())
    })
    .await;
}

/// Runs a test while an admission webhook that is down stands before the Deployments of its namespace.
async fn with_a_dead_webhook(scene: &Scene, test: impl AsyncFnOnce() -> Result) -> Result {
    let name = format!("{}.penstock.test", scene.namespace);
    let webhook = json!({
        "metadata": {"name": name},
        "webhooks": [{
            "name": name, "clientConfig": {"url": "https://127.0.0.1:1/"}, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 1,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}],
        }],
    });
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(scene.client.clone());
    webhooks.create(&PostParams::default(), &serde_json::from_value(webhook)?).await?;
    let outcome = test().await;
    webhooks.delete(&name, &DeleteParams::default()).await?;
    outcome
}

#[tokio::test]
async fn an_apiserver_that_cannot_is_told_and_heals() {
    play("unable", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        with_a_dead_webhook(scene, async || {
            let labelled = Patch::Merge(json!({"metadata": {"labels": {"team": "shop"}}}));
            let params = PatchParams { dry_run: true, ..PatchParams::default() };
            until("the webhook is asked", LIMIT, async || match scene.api::<Deployment>().patch("p", &params, &labelled).await {
                Err(kube::Error::Api(status)) if status.code == 500 => Ok(()),
                other => Err(format!("{:?}", other.map(drop)).into()),
            })
            .await?;
            let mut changed = payments();
            changed["replicas"] = json!(2);
            scene.apply::<EventPipeline>("p", changed).await?;
            scene.apply::<EventPipeline>("new", payments()).await?;
            for name in ["p", "new"] {
                let told = scene.told::<EventPipeline>(name, "Ready", "False", Some("RefusedByKubernetes")).await?;
                let conditions = told.status.map(|s| s.conditions).unwrap_or_default();
                let said = condition(&conditions, "Ready").map(|c| c.message.as_str()).unwrap_or_default();
                if !said.contains(&format!("Deployment `{name}`")) || !said.contains("webhook") {
                    return Err(said.into());
                }
            }
            Ok(())
        })
        .await?;
        scene.ready::<EventPipeline>("p").await?;
        scene.ready::<EventPipeline>("new").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_change_by_hand_is_undone_and_changes_are_told_in_events() {
    play("drift", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        let by_hand = json!({"spec": {"replicas": 3}});
        scene.api::<Deployment>().patch("p", &PatchParams::default(), &Patch::Merge(by_hand)).await?;
        until("replicas are as declared", LIMIT, async || {
            let replicas = scene.api::<Deployment>().get("p").await?.spec.and_then(|s| s.replicas);
            if replicas == Some(1) { Ok(()) } else { Err(format!("{replicas:?}").into()) }
        })
        .await?;
        let events = Api::<Event>::namespaced(scene.client.clone(), &scene.namespace);
        let expected = [
            ("Created", "Deployment `p`"),
            ("DeadLetterTopicDerived", "made KafkaTopic `p-in-dlt`"),
            ("AsDeclared", ""),
            ("Scaled", "scaled from 3 to 1 workers"),
        ];
        until("events about the pipeline", LIMIT, async || {
            let list = events.list(&ListParams::default().fields("involvedObject.kind=EventPipeline,involvedObject.name=p")).await?;
            let said = |event: &Event, (reason, words): (&str, &str)| {
                event.reason.as_deref() == Some(reason) && event.message.as_deref().unwrap_or_default().contains(words)
            };
            let missing: Vec<_> = expected.into_iter().filter(|wanted| !list.items.iter().any(|event| said(event, *wanted))).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing").into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn records_deleted_before_they_were_read_are_a_condition() {
    play("positions", async |scene| {
        topics(scene).await?;
        scene.apply::<EventPipeline>("p", payments()).await?;
        scene.ready::<EventPipeline>("p").await?;
        let topic = scene.kafka_name("in");
        scene.produce(Record::to(&topic).with_payload("{}")).await?;
        scene.told::<EventPipeline>("p", "PositionsKept", "True", Some("PositionsKept")).await?;
        let group = scene.api::<EventPipeline>().get("p").await?.status.and_then(|s| s.group).ok_or("no group")?;
        until("the record is committed", LIMIT, async || {
            let committed = scene.admin.group_offsets(&group).await?;
            match committed.get(&TopicPartition::new(&topic, 0)) {
                Some(Ok(committed)) if committed.offset == 1 => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        })
        .await?;

        let mut suspended = payments();
        suspended["suspend"] = json!(true);
        scene.apply::<EventPipeline>("p", suspended).await?;
        // One that is on its way out still reads.
        until("no pods", LIMIT, async || match scene.api::<Pod>().list(&ListParams::default()).await?.items.len() {
            0 => Ok(()),
            pods => Err(format!("{pods} pods").into()),
        })
        .await?;
        for _ in 0..9 {
            scene.produce(Record::to(&topic).with_payload("{}")).await?;
        }
        let servers = scene.admin.connection().bootstrap_servers().join(",");
        let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", servers).create()?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&topic, 0, Offset::Offset(4))?;
        client.delete_records(&offsets, &AdminOptions::new()).await?;

        scene.apply::<EventPipeline>("p", payments()).await?;
        let told = scene.told::<EventPipeline>("p", "PositionsKept", "False", Some("OffsetOutOfRange")).await?;
        let message = &told.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == "PositionsKept").unwrap().message;
        assert!(message.contains(&format!("{topic}/0 went on at 4 instead of 1")) && message.contains("up to 3 records"), "{message}");
        // Readiness speaks of now.
        scene.ready::<EventPipeline>("p").await?;
        let events = Api::<Event>::namespaced(scene.client.clone(), &scene.namespace);
        until("an event", LIMIT, async || {
            let list = events.list(&ListParams::default().fields("involvedObject.kind=EventPipeline,reason=OffsetOutOfRange")).await?;
            if list.items.len() == 1 { Ok(()) } else { Err(format!("{} events", list.items.len()).into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}
