//! System 5, the commerce stream, from the manifests of `examples/commerce`, with a real Prometheus for its alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use penstock_crds::{EventPipeline, KafkaTopic};
use penstock_kafka::{ConsumedRecord, Record, TransactionSettings, TransactionalProducer};
use penstock_tests::scene::{LIMIT, Prometheus, Result, Scene, play, until};
use serde_json::{Value, json};

const PORT: u16 = 3000;
const RAW: &str = "raw-events";
const ENRICHED: &str = "enriched-events";
const QUEUE: &str = "dead-letter-queue";

/// The example, running.
struct Example<'a> {
    scene: &'a Scene,
    collector: String,
    enrichers: Vec<String>,
}

impl<'a> Example<'a> {
    async fn applied(scene: &'a Scene) -> Result<Self> {
        scene.apply_example("commerce").await?;
        for pipeline in ["collector", "enricher"] {
            scene.ready::<EventPipeline>(pipeline).await?;
        }
        let collector = scene.ready_workers("collector", 1).await?.remove(0);
        Ok(Self { scene, collector, enrichers: scene.ready_workers("enricher", 2).await? })
    }

    async fn post(&self, event: &Value) -> Result<u16> {
        Ok(self.scene.post(&self.collector, PORT, "/events", event).await?.status)
    }

    async fn records(&self, topic: &str) -> Result<Vec<ConsumedRecord>> {
        self.scene.records(&self.scene.kafka_name(topic)).await
    }

    /// Waits until a topic has that many records.
    async fn has(&self, topic: &str, count: usize) -> Result<Vec<ConsumedRecord>> {
        until(&format!("{count} records in {topic}"), LIMIT, async || {
            let records = self.records(topic).await?;
            if records.len() == count { Ok(records) } else { Err(format!("{} are there", records.len()).into()) }
        })
        .await
    }

    /// Posts an event that happened an hour ago, and waits until the producer lag of the collector says so.
    async fn deliver_late(&self, prometheus: &Prometheus) -> Result {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let late = json!({
            "specversion": "1.0", "id": "1", "source": "/test", "type": "commerce.event", "time": time.to_string(), "data": event("u-1", "view"),
        });
        let reply = self.scene.post_as("application/cloudevents+json", &self.collector, PORT, "/events", late.to_string()).await?;
        assert_eq!(reply.status, 202, "{reply:?}");
        until("the producer lag is an hour", LIMIT, async || {
            let lags = prometheus.query("penstock:producer_lag:seconds{pipeline=\"collector\"}").await?;
            if lags.iter().any(|(_, lag)| (3_600.0..3_660.0).contains(lag)) { Ok(()) } else { Err(format!("{lags:?}").into()) }
        })
        .await
    }

    /// Posts events that are larger than 2,000 bytes, to a topic that takes no such records.
    async fn post_large(&self, count: usize) -> Result {
        let large: String = (0..200).map(|_| uuid::Uuid::new_v4().to_string()).collect();
        for n in 0..count {
            let status = self.post(&json!({"user_id": format!("u-{n}"), "event_type": "view", "large": large})).await?;
            assert_eq!(status, 413);
        }
        Ok(())
    }

    /// Takes a pipeline's workers away, and lets none come back.
    async fn forbid_pods(&self, pipeline: &str) -> Result {
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
        self.scene.api::<ResourceQuota>().create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
        let workers = ListParams::default().labels(&format!("penstock.dev/pipeline={pipeline}"));
        until("the quota holds", LIMIT, async || {
            let quota = self.scene.api::<ResourceQuota>().get("none").await?;
            if quota.status.and_then(|status| status.used).is_some() { Ok(()) } else { Err("nobody has counted".into()) }
        })
        .await?;
        let pods = self.scene.api::<Pod>();
        pods.delete_collection(&DeleteParams::default(), &workers).await?;
        until("no worker is left", LIMIT, async || {
            let left = pods.list(&workers).await?.items.len();
            if left == 0 { Ok(()) } else { Err(format!("{left} are").into()) }
        })
        .await
    }

    /// Sets one more key of a topic's configuration.
    async fn configure(&self, topic: &str, key: &str, value: &str) -> Result {
        let patch = Patch::Merge(json!({"spec": {"config": {key: value}}}));
        self.scene.api::<KafkaTopic>().patch(topic, &PatchParams::default(), &patch).await?;
        let name = self.scene.kafka_name(topic);
        until(&format!("{key}={value} on {topic}"), LIMIT, async || {
            let set = self.scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
            if set.get(key).is_some_and(|found| found == value) { Ok(()) } else { Err(format!("{set:?}").into()) }
        })
        .await
    }

    /// What the clients of a worker say that they are set to.
    async fn settings(&self, pod: &str, client: &str) -> Result<String> {
        let lines = self.scene.log(pod).await?;
        let own = lines.iter().filter(|line| line["message"] == "a Kafka client starts" && line["client"] == client);
        let settings: Vec<&str> = own.filter_map(|line| line["settings"].as_str()).collect();
        Ok(format!("{} ", settings.join(" ")))
    }
}

fn event(user: &str, kind: &str) -> Value {
    json!({"user_id": user, "event_type": kind, "price": 1.5})
}

fn key_of(record: &ConsumedRecord) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}

fn value_of(record: &ConsumedRecord) -> Value {
    serde_json::from_slice(record.payload.as_deref().unwrap_or_default()).unwrap_or_default()
}

#[tokio::test]
async fn raw_events_are_enriched_and_keyed_by_type() {
    play("commerce", async |scene| {
        let example = Example::applied(scene).await?;
        let sent: Vec<Value> = (0..12).map(|n| event(&format!("u-{}", n % 4), ["view", "cart", "buy"][n % 3])).collect();
        for event in &sent {
            assert_eq!(example.post(event).await?, 202);
        }
        assert_eq!(example.post(&json!({"event_type": "view"})).await?, 422);
        scene.produce(Record::to(scene.kafka_name(RAW)).with_payload("poison")).await?;

        let enriched = example.has(ENRICHED, sent.len()).await?;
        let raw = example.has(RAW, sent.len() + 1).await?;
        let mut partitions = BTreeMap::<String, BTreeSet<i32>>::new();
        for record in &raw {
            partitions.entry(key_of(record)).or_default().insert(record.partition);
            let value = value_of(record);
            assert!(value.is_null() || value["user_id"] == key_of(record), "{value}");
        }
        assert!(partitions.iter().all(|(user, of)| user.is_empty() || of.len() == 1), "a session in one partition: {partitions:?}");
        for record in &enriched {
            let mut value = value_of(record);
            let metadata = value.as_object_mut().and_then(|members| members.remove("metadata")).ok_or("no metadata")?;
            assert!(sent.contains(&value) && value["event_type"] == key_of(record), "{value}");
            let (source, session) = (&metadata["source"], &metadata["session"]);
            let of =
                raw.iter().find(|raw| raw.partition == source["partition"] && raw.offset == source["offset"]).ok_or("no such raw event")?;
            assert_eq!((value_of(of), &source["topic"]), (value.clone(), &json!(scene.kafka_name(RAW))));
            assert_eq!(session, &json!({"id": value["user_id"], "partition": of.partition}));
            assert!(metadata["processedAt"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()), "{metadata}");
        }
        let letters = example.has(QUEUE, 1).await?;
        assert_eq!(letters[0].payload.as_deref(), Some(&b"poison"[..]));

        scene.told::<EventPipeline>("enricher", "ScalingActive", "True", None).await?;

        let days = |days: u64| (days * 24 * 60 * 60 * 1_000).to_string();
        for (topic, partitions, retention) in [(RAW, 3, days(7)), (ENRICHED, 3, days(30)), (QUEUE, 1, days(90))] {
            let name = scene.kafka_name(topic);
            let described = scene.admin.describe(&[&name]).await?.remove(&name).ok_or("no answer")??;
            let config = scene.admin.describe_configs(&[&name]).await?.remove(&name).ok_or("no answer")??.overrides();
            assert_eq!((described.partitions.len(), config.get("retention.ms")), (partitions, Some(&retention)), "{topic}");
        }
        let producer = [
            "acks=-1 ",
            "enable.idempotence=true ",
            "message.send.max.retries=2147483647 ",
            "batch.size=16384 ",
            "linger.ms=5 ",
            "compression.type=snappy ",
        ];
        let consumer = [
            "session.timeout.ms=30000 ",
            "enable.auto.commit=false ",
            "isolation.level=read_committed ",
            "fetch.max.bytes=1048576 ",
            "fetch.message.max.bytes=1048576 ",
        ];
        let breaker = ["circuit_breaker.failures=5 ", "circuit_breaker.pause=10s "];
        for (pod, client, expected) in [
            (&example.collector, "producer", &breaker[..]),
            (&example.collector, "producer", &producer[..]),
            (&example.enrichers[0], "producer", &producer),
            (&example.enrichers[0], "consumer", &consumer),
        ] {
            let settings = example.settings(pod, client).await?;
            for setting in expected {
                assert!(settings.contains(setting), "{client} of {pod}: {setting} in {settings}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_alert_fires_when_it_should_and_not_before() {
    play("commerce-alerts", async |scene| {
        let example = Example::applied(scene).await?;
        let prometheus = Prometheus::start(scene).await?;
        until("Prometheus has seen everything that the alerts are about", LIMIT, async || {
            // Only what goes on has a rate.
            assert_eq!(example.post(&event("u-1", "view")).await?, 202);
            let mut missing = Vec::new();
            for (series, pipeline) in [
                ("penstock:producer_lag:seconds", "collector"),
                ("penstock:producer_lag:seconds", "enricher"),
                ("penstock:consumer_lag:records", "enricher"),
                ("penstock:events:per_second", "enricher"),
                ("penstock:errors:per_minute", "enricher"),
                ("penstock:errors:per_minute", "collector"),
                ("penstock:error_rate:ratio_rate5m", "enricher"),
                ("penstock:producer_send_failures:per_minute", "collector"),
            ] {
                if prometheus.query(&format!("{series}{{pipeline=\"{pipeline}\"}}")).await?.is_empty() {
                    missing.push(series);
                }
            }
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing").into()) }
        })
        .await?;
        assert_eq!(prometheus.firing().await?, Vec::<Value>::new(), "all is well");
        example.deliver_late(&prometheus).await?;

        // Of a single dead letter, the first of its partition, there is a rate: both workers have told of 0 before.
        let queue = format!("pipeline=\"enricher\",topic=\"{}\"", scene.kafka_name(QUEUE));
        until("what is written is counted from 0", LIMIT, async || {
            let written = prometheus.query(&format!("penstock_worker_records_produced_total{{{queue}}}")).await?;
            let is_new = written.len() == 2 && written.iter().all(|(_, count)| *count == 0.0);
            if is_new { Ok(()) } else { Err(format!("{written:?}").into()) }
        })
        .await?;
        scene.produce(Record::to(scene.kafka_name(RAW)).with_payload("poison")).await?;
        example.has(QUEUE, 1).await?;
        let rate = format!("penstock:events:per_second{{{queue},direction=\"written\"}}");
        reaches(&prometheus, &rate, f64::MIN_POSITIVE..1.0).await?;
        // A rate is an estimate: it is a little more than what was seen within the minute.
        let errors = "penstock:errors:per_minute{pipeline=\"enricher\"}";
        reaches(&prometheus, errors, 0.9..1.5).await?;

        // Below one in a hundred, then above.
        let (raw, good) = (scene.kafka_name(RAW), event("u-1", "view").to_string());
        let poison = |count: usize| vec![Record::to(&raw).with_payload("poison"); count];
        let well = (0..1_500).map(|n| Record::to(&raw).with_key(format!("u-{n}")).with_payload(good.clone()));
        scene.produce_all(well.chain(poison(11))).await?;
        example.has(QUEUE, 12).await?;
        reaches(&prometheus, errors, 10.5..14.0).await?;
        reaches(&prometheus, "penstock:error_rate:ratio_rate5m{pipeline=\"enricher\"}", 0.006..0.0099).await?;
        assert!(!prometheus.is_active("PenstockErrorRate").await?, "not at 0.8 %");
        scene.produce_all(poison(12)).await?;
        fires(scene, &prometheus, "PenstockErrorRate", "enricher").await?;
        until("events per second are told of every topic", LIMIT, async || {
            let told: BTreeSet<[String; 3]> = prometheus.query("penstock:events:per_second").await?.iter().map(of_series).collect();
            let expected = [
                ("collector", RAW, "written"),
                ("enricher", ENRICHED, "written"),
                ("enricher", QUEUE, "written"),
                ("enricher", RAW, "read"),
            ];
            let expected = expected.map(|(pipeline, topic, direction)| [pipeline.into(), scene.kafka_name(topic), direction.into()]);
            if told == BTreeSet::from(expected) { Ok(()) } else { Err(format!("{told:?}").into()) }
        })
        .await?;

        // What is larger than the topic takes is not acknowledged.
        example.configure(RAW, "max.message.bytes", "2000").await?;
        example.post_large(8).await?;
        reaches(&prometheus, "penstock:producer_send_failures:per_minute{pipeline=\"collector\"}", 8.0..8.1).await?;
        assert!(!prometheus.is_active("PenstockProducerSendFailures").await?, "not at 8 a minute");
        reaches(&prometheus, "penstock:errors:per_minute{pipeline=\"collector\"}", 0.0..f64::MIN_POSITIVE).await?;
        example.post_large(12).await?;
        fires(scene, &prometheus, "PenstockProducerSendFailures", "collector").await?;
        example.configure(RAW, "max.message.bytes", "1048588").await?;

        // What is not committed is written, and nobody who reads only what is committed gets past it.
        let settings = TransactionSettings::new(format!("{}.test", scene.namespace)).with_timeout(LIMIT * 2);
        let transaction = TransactionalProducer::start(&scene.kafka, &settings).await?.begin().await?;
        let lag = async |from: usize, to: usize| -> Result {
            for n in from..to {
                transaction.enqueue(&Record::to(&raw).with_key(format!("u-{n}")).with_payload(good.clone()), n).await?;
            }
            Ok(())
        };
        lag(0, 950).await?;
        reaches(&prometheus, "sum(penstock:consumer_lag:records{pipeline=\"enricher\"})", 900.0..1_000.1).await?;
        assert!(!prometheus.is_active("PenstockConsumerLag").await?, "not at 950 records");
        lag(950, 1_100).await?;
        fires(scene, &prometheus, "PenstockConsumerLag", "enricher").await?;
        transaction.abort().await?;

        // Nor does it take a worker to tell of it.
        until("nothing is waiting", LIMIT, async || {
            let active = prometheus.is_active("PenstockConsumerLag").await?;
            if active { Err("the alert still fires".into()) } else { Ok(()) }
        })
        .await?;
        example.forbid_pods("enricher").await?;
        scene.produce_all((0..1_100).map(|n| Record::to(&raw).with_key(format!("u-{n}")).with_payload(good.clone()))).await?;
        fires(scene, &prometheus, "PenstockConsumerLag", "enricher").await?;
        assert_eq!(prometheus.query("penstock:consumer_lag:records{pipeline=\"enricher\"}").await?, [], "no worker tells");
        Ok(())
    })
    .await;
}

/// Waits until the one series of an expression is within a range.
async fn reaches(prometheus: &Prometheus, expression: &str, range: Range<f64>) -> Result {
    until(&format!("{expression} is in {range:?}"), LIMIT, async || {
        let found = prometheus.query(expression).await?;
        if matches!(found.as_slice(), [(_, value)] if range.contains(value)) { Ok(()) } else { Err(format!("{found:?}").into()) }
    })
    .await
}

/// Which pipeline reads or writes there; the partition left out.
fn of_series((labels, _): &(Value, f64)) -> [String; 3] {
    assert!(labels["partition"].is_string(), "{labels}");
    ["pipeline", "topic", "direction"].map(|name| labels[name].as_str().unwrap_or_default().to_owned())
}

/// Waits until an alert fires for a pipeline of the scene.
async fn fires(scene: &Scene, prometheus: &Prometheus, alert: &str, pipeline: &str) -> Result {
    until(&format!("{alert} fires for {pipeline}"), LIMIT, async || {
        let firing = prometheus.firing().await?;
        let is_it = |labels: &Value| {
            labels["alertname"] == alert && labels["pipeline"] == pipeline && labels["namespace"].as_str() == Some(&scene.namespace)
        };
        if firing.iter().any(is_it) { Ok(()) } else { Err(format!("{firing:?}").into()) }
    })
    .await
}
