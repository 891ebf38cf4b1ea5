//! Processors in other languages: the handlers of `examples/handlers`, and one that fails in every way it is told to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use penstock_crds::{EventPipeline, KafkaTopic};
use penstock_kafka::{ConsumedRecord, Record};
use penstock_tests::scene::{HANDLER, LIMIT, Result, Scene, little, play, until};
use serde_json::{Value, json};

const EVENT: &str = "application/cloudevents+json";

fn header(record: &ConsumedRecord, name: &str) -> String {
    let value = record.header(name).and_then(|header| header.value.clone()).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

fn key(record: &ConsumedRecord) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}

fn payload(record: &ConsumedRecord) -> String {
    String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned()
}

/// Waits until so many records lie on a topic of this test.
async fn lie_on(scene: &Scene, topic: &str, count: usize) -> Result<Vec<ConsumedRecord>> {
    until(&format!("{count} records on {topic}"), LIMIT, async || {
        let records = scene.records(&scene.kafka_name(topic)).await?;
        if records.len() == count {
            Ok(records)
        } else {
            Err(format!("{}: {:?}", records.len(), records.iter().map(payload).collect::<Vec<_>>()).into())
        }
    })
    .await
}

/// What the handler said of each record.
fn said(records: &[ConsumedRecord]) -> Result<Vec<Value>> {
    records.iter().map(|record| Ok(serde_json::from_str(&payload(record))?)).collect()
}

/// Waits for so many dead letters; key and error type of each, sorted.
async fn dead(scene: &Scene, count: usize) -> Result<Vec<(String, String)>> {
    let letters = lie_on(scene, "in.DLT", count).await?;
    let mut told: Vec<_> = letters.iter().map(|letter| (key(letter), header(letter, "penstock-dlt-error-type"))).collect();
    told.sort();
    Ok(told)
}

/// How a handler of a test is declared, with what a busy node has left.
pub(crate) fn http(image: &str, timeout: &str) -> Value {
    json!({"image": image, "port": 8081, "timeout": timeout, "resources": little()})
}

/// A pipeline from `in` to `out` with the handler that does as it is told, and what else its spec says.
async fn told(scene: &Scene, more: Value) -> Result {
    let one = json!({"partitions": 1, "replicationFactor": 1});
    for topic in ["in", "out"] {
        scene.topic(topic, one.clone()).await?;
    }
    let mut dead_letters = one;
    dead_letters["topicName"] = json!(scene.kafka_name("in.DLT"));
    scene.apply::<KafkaTopic>("dlt", dead_letters).await?;
    let mut spec = json!({
        "source": {"kafka": {"topics": ["in"]}},
        "processor": {"http": http(HANDLER, "2s")},
        "resources": little(),
        "sink": {"kafka": {"topic": "out"}},
        "deadLetter": {"topic": "dlt"},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    scene.apply::<EventPipeline>("told", spec).await?;
    scene.ready::<EventPipeline>("told").await?;
    Ok(())
}

fn order(scene: &Scene, key: &str, id: &str, things: &[&str]) -> Record {
    Record::to(scene.kafka_name("in")).with_key(key.to_owned()).with_payload(json!({"id": id, "do": things}).to_string())
}

#[tokio::test]
async fn carts_get_their_tax_from_python_and_their_receipt_from_node() {
    play("handlers", async |scene| {
        scene.apply_example("handlers").await?;
        for pipeline in ["checkout", "tax", "receipts", "desk"] {
            scene.ready::<EventPipeline>(pipeline).await?;
        }
        let front = &scene.ready_workers("checkout", 1).await?[0];
        let cart = |number: usize, country: &str| {
            json!({
                "specversion": "1.0", "id": number.to_string(), "source": "/test", "type": "cart.checkedout",
                "subject": format!("customer-{}", number % 3),
                "data": {"cartId": number.to_string(), "country": country, "items": [{"sku": "mug", "quantity": 2, "price": 4.5}]},
            })
        };
        for number in 0..30 {
            let country = if number == 7 { "ATLANTIS" } else { "DE" };
            let reply = scene.post_as(EVENT, front, 3000, "/carts", cart(number, country).to_string()).await?;
            assert_eq!(reply.status, 202, "{reply:?}");
        }

        let receipts = lie_on(scene, "receipts", 29).await?;
        let mut of_customers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for receipt in &receipts {
            let text = payload(receipt);
            let number = text.lines().next().and_then(|line| line.strip_prefix("cart ")?.parse().ok());
            let number = number.ok_or_else(|| format!("no receipt: {text}"))?;
            assert_eq!(text, format!("cart {number}\n2 x mug  4.50\nnet 9.00\ntax 1.71\ntotal 10.71\n"));
            assert_eq!((header(receipt, "ce_type").as_str(), key(receipt)), ("receipt.printed", format!("customer-{}", number % 3)));
            of_customers.entry(key(receipt)).or_default().push(number);
        }
        for (customer, numbers) in of_customers {
            assert!(numbers.is_sorted(), "{customer} got receipts in the order {numbers:?}");
        }
        let letters = lie_on(scene, "carts.DLT", 1).await?;
        let why = ["error-type", "error-message"].map(|name| header(&letters[0], &format!("penstock-dlt-{name}")));
        assert_eq!(why[0], "Http422");
        assert!(why[1].ends_with("country: no tax rate is known, only for AT, CH, DE, FR"), "{why:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_fails_loses_nothing_and_keeps_the_order() {
    play("told", async |scene| {
        told(scene, json!({"retry": {"attempts": 4, "backoff": {"initial": "50ms", "max": "200ms"}}})).await?;
        let things: [(&str, &[&str]); 5] = [
            ("hangs", &["hang"]),
            ("is busy", &["503", "503"]),
            ("comes later", &["429:3"]),
            ("refuses", &["400"]),
            ("never can", &["500", "500", "500", "500", "500"]),
        ];
        let mut records = Vec::new();
        for (key, things) in things {
            records.push(order(scene, key, "first", things));
            records.push(order(scene, key, "second", &[]));
        }
        scene.produce_all(records).await?;

        let out = lie_on(scene, "out", 8).await?;
        let mut of_keys: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (record, said) in out.iter().zip(said(&out)?) {
            let (id, attempt) = (said["id"].as_str().unwrap_or_default(), said["attempt"].as_u64().unwrap_or_default());
            of_keys.entry(key(record)).or_default().push((id.to_owned(), attempt));
        }
        let expected = [
            ("comes later", vec![("first", 2), ("second", 1)]),
            ("hangs", vec![("first", 2), ("second", 1)]),
            ("is busy", vec![("first", 3), ("second", 1)]),
            ("never can", vec![("second", 1)]),
            ("refuses", vec![("second", 1)]),
        ];
        let expected = expected.map(|(key, handled)| (key.to_owned(), handled.iter().map(|(id, nth)| ((*id).to_owned(), *nth)).collect()));
        assert_eq!(of_keys, BTreeMap::from(expected));
        assert_eq!(
            dead(scene, 2).await?,
            [("never can", "Http500"), ("refuses", "Http400")].map(|(key, kind)| (key.to_owned(), kind.to_owned()))
        );

        let written = |id: &str, records: &[ConsumedRecord]| {
            let of = records.iter().find(|record| key(record) == "comes later" && payload(record).contains(id));
            of.and_then(|record| record.timestamp_ms).unwrap_or_default()
        };
        let asked = written("first", &scene.records(&scene.kafka_name("in")).await?);
        let answered = written("first", &out);
        assert!(answered - asked >= 3_000, "it came again after {} ms, and had said Retry-After: 3", answered - asked);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_record_that_kills_its_handler_comes_again_and_takes_no_other_along() {
    play("killed", async |scene| {
        told(scene, json!({"retry": {"attempts": 2}})).await?;
        // Kubernetes waits longer before each start: of one key, so that nothing else is in process meanwhile.
        let things: [(&str, &[&str]); 4] = [("once", &["crash"]), ("after it", &[]), ("always", &["crash", "crash"]), ("last", &[])];
        scene.produce_all(things.map(|(id, things)| order(scene, "k", id, things))).await?;
        let out = lie_on(scene, "out", 3).await?;
        let said = said(&out)?;
        let said: Vec<_> = said.iter().map(|said| (said["id"].as_str().unwrap_or_default(), said["attempt"].as_u64())).collect();
        assert_eq!(said, [("once", Some(2)), ("after it", Some(1)), ("last", Some(1))]);
        assert_eq!(dead(scene, 1).await?, [("k".to_owned(), "HandlerGone".to_owned())]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_gets_as_many_records_at_once_as_the_pipeline_says() {
    play("at-once", async |scene| {
        told(scene, json!({"concurrency": 4, "ordering": "None"})).await?;
        scene.produce_all((0..40).map(|number| order(scene, &number.to_string(), &number.to_string(), &["slow:0.2"]))).await?;
        let out = lie_on(scene, "out", 40).await?;
        let most = said(&out)?.iter().filter_map(|said| said["atOnce"].as_u64()).max();
        assert_eq!(most, Some(4), "the most that were in process at once");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_finishes_its_record_before_its_handler_ends() {
    play("stopped", async |scene| {
        told(scene, json!({"processor": {"http": http(HANDLER, "20s")}})).await?;
        let pod = scene.ready_workers("told", 1).await?.remove(0);
        scene.produce(order(scene, "k", "slow", &["slow:4"])).await?;
        until("the handler has the record", LIMIT, async || {
            let log = scene.api::<Pod>().logs(&pod, &LogParams { container: Some("handler".into()), ..LogParams::default() }).await?;
            if log.contains("/0/0 1\n") { Ok(()) } else { Err(log.into()) }
        })
        .await?;
        scene.api::<Pod>().delete(&pod, &DeleteParams::default()).await?;
        let out = lie_on(scene, "out", 1).await?;
        let said = &said(&out)?[0];
        assert_eq!((said["attempt"].as_u64(), said["pod"].as_str()), (Some(1), Some(pod.as_str())), "{said}");
        scene.ready_workers("told", 1).await?;
        let again = scene.records(&scene.kafka_name("out")).await?.len();
        assert_eq!((again, scene.records(&scene.kafka_name("in.DLT")).await?.len()), (1, 0));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_cannot_be_started_is_named_in_the_condition() {
    play("no-handler", async |scene| {
        scene.topic("in", json!({"partitions": 1, "replicationFactor": 1})).await?;
        let spec = json!({
            "source": {"kafka": {"topics": ["in"]}},
            // A registry that refuses connections at once.
            "processor": {"http": http("localhost:1/there-is-none:dev", "2s")},
            "resources": little(),
        });
        scene.apply::<EventPipeline>("told", spec).await?;
        until("the condition names the image", LIMIT, async || {
            let pipeline = scene.told::<EventPipeline>("told", "Ready", "False", None).await?;
            let conditions = pipeline.status.map(|status| status.conditions).unwrap_or_default();
            let message = conditions.iter().find(|c| c.type_ == "WorkersAvailable").map(|c| c.message.clone()).unwrap_or_default();
            if message.contains("handler") && message.contains("there-is-none") { Ok(()) } else { Err(message.into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}
