//! System 2, coffee orders, from the manifests of `examples/coffee`.

use penstock_crds::EventPipeline;
use penstock_kafka::{ConsumedRecord, Record};
use penstock_tests::scene::{LIMIT, Reply, Result, Scene, play, until};
use serde_json::Value;

const PORT: u16 = 3000;
const JSON: &str = "application/json";
const BATCH: &str = "application/cloudevents-batch+json";

/// The example, running.
struct Example<'a> {
    scene: &'a Scene,
    topic: String,
    dead_letters: String,
    gateways: Vec<String>,
    consumers: Vec<String>,
}

impl<'a> Example<'a> {
    async fn applied(scene: &'a Scene) -> Result<Self> {
        scene.apply_example("coffee").await?;
        Self::ready(scene).await
    }

    async fn ready(scene: &'a Scene) -> Result<Self> {
        scene.ready::<EventPipeline>("gateway").await?;
        let consumer = scene.ready::<EventPipeline>("consumer").await?;
        Ok(Self {
            scene,
            topic: scene.kafka_name("coffee_orders"),
            dead_letters: consumer.status.and_then(|status| status.dead_letter_topic).ok_or("the consumer has no dead letter topic")?,
            gateways: scene.ready_workers("gateway", 2).await?,
            consumers: scene.ready_workers("consumer", 2).await?,
        })
    }

    async fn post(&self, gateway: &str, media: &str, body: &str) -> Result<Reply> {
        self.scene.post_as(media, gateway, PORT, "/order", body).await
    }

    /// What the consumers have logged with this message, one list for each of them.
    async fn logged(&self, message: &str) -> Result<Vec<Vec<Value>>> {
        let mut logs = Vec::new();
        for consumer in &self.consumers {
            let mut lines = self.scene.log(consumer).await?;
            lines.retain(|line| line["message"] == message && line["topic"] == self.topic);
            logs.push(lines);
        }
        Ok(logs)
    }

    async fn values(&self) -> Result<Vec<String>> {
        let records = self.scene.records(&self.topic).await?;
        Ok(records.iter().map(text_of).collect())
    }
}

fn order() -> String {
    format!(r#"{{"customer_name": "John Doe {}",  "coffee_type": "Latte"}}"#, uuid::Uuid::new_v4())
}

fn text_of(record: &ConsumedRecord) -> String {
    String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn values_of(lines: &[Vec<Value>]) -> Vec<String> {
    lines.iter().flatten().map(|line| line["value"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_order_is_on_the_topic_to_the_byte_and_two_consumers_log_each_once() {
    play("coffee", async |scene| {
        let example = Example::applied(scene).await?;
        let mut sent = Vec::new();
        until("both consumers have logged orders", LIMIT, async || {
            for gateway in &example.gateways {
                for _ in 0..5 {
                    let order = order();
                    let reply = example.post(gateway, JSON, &order).await?;
                    assert_eq!((reply.status, reply.body["ids"].as_array().map(Vec::len)), (200, Some(1)), "{reply:?}");
                    sent.push(order);
                }
            }
            let counts: Vec<usize> = example.logged("record").await?.iter().map(Vec::len).collect();
            if counts.iter().all(|count| *count > 0) { Ok(()) } else { Err(format!("{counts:?} lines").into()) }
        })
        .await?;
        let batched: Vec<String> = (0..3).map(|_| order()).collect();
        let event = |(n, data)| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/till","type":"t","data":{data}}}"#);
        let batch = batched.iter().enumerate().map(event).collect::<Vec<_>>().join(",");
        let reply = example.post(&example.gateways[0], BATCH, &format!("[{batch}]")).await?;
        assert_eq!((reply.status, reply.body["ids"].as_array().map(Vec::len)), (200, Some(3)), "{reply:?}");
        sent.extend(batched);

        let sent = sorted(sent);
        assert_eq!(sorted(example.values().await?), sent, "what was accepted is on the topic, and nothing else");
        let records = scene.records(&example.topic).await?;
        let types: Vec<_> = records.iter().filter_map(|r| r.header("ce_type")?.value.clone()).collect();
        assert_eq!(types.iter().filter(|kind| **kind == "coffee.order.placed").count(), sent.len() - 3);
        let logged = until("every order is logged", LIMIT, async || {
            let logged = values_of(&example.logged("record").await?);
            if logged.len() >= sent.len() { Ok(logged) } else { Err(format!("{} of {}", logged.len(), sent.len()).into()) }
        })
        .await?;
        assert_eq!(sorted(logged), sent, "each order once");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_comes_later_begins_with_the_oldest_order() {
    play("coffee-oldest", async |scene| {
        for file in ["coffee/10-topics.yaml", "coffee/20-gateway.yaml"] {
            scene.apply_example_file(file).await?;
        }
        scene.ready::<EventPipeline>("gateway").await?;
        let gateways = scene.ready_workers("gateway", 2).await?;
        let sent: Vec<String> = (0..6).map(|_| order()).collect();
        for (n, order) in sent.iter().enumerate() {
            let reply = scene.post_as(JSON, &gateways[n % 2], PORT, "/order", order.as_str()).await?;
            assert_eq!(reply.status, 200, "{reply:?}");
        }

        scene.apply_example_file("coffee/30-consumer.yaml").await?;
        let example = Example::ready(scene).await?;
        until("every order is logged", LIMIT, async || {
            let logged = sorted(values_of(&example.logged("record").await?));
            if logged == sorted(sent.clone()) { Ok(()) } else { Err(format!("{logged:?}").into()) }
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_bad_order_is_refused_and_poison_holds_up_nobody() {
    play("coffee-bad", async |scene| {
        let example = Example::applied(scene).await?;
        let gateway = &example.gateways[0];
        let event = r#"{"specversion":"1.0","id":"1","source":"/till","type":"t","data":{"customer_name":"J"}}"#;
        let batch = format!("[{}, {event}]", event.replace("}}", r#","coffee_type":"Latte"}}"#));
        for (media, body, status, pointers) in [
            (JSON, r#"{"customer_name": "John Doe"}"#, 422, &["/coffee_type"][..]),
            (JSON, "{}", 422, &["/coffee_type", "/customer_name"]),
            (JSON, r#"{"customer_name": "", "coffee_type": "Latte"}"#, 422, &["/customer_name"]),
            (JSON, r#"{"customer_name": "John Doe", "coffee_type": 7}"#, 422, &["/coffee_type"]),
            (JSON, "[]", 422, &[""]),
            (JSON, "{\"customer_name\": ", 400, &[]),
            (JSON, "", 400, &[]),
            (BATCH, &batch, 422, &["/1/data/coffee_type"]),
            (BATCH, "[{}]", 400, &["/0/id", "/0/source", "/0/specversion", "/0/type"]),
            ("text/plain", "{}", 415, &[]),
        ] {
            let reply = example.post(gateway, media, body).await?;
            let errors = reply.body["errors"].as_array().into_iter().flatten();
            let told = sorted(errors.map(|error| error["pointer"].as_str().unwrap_or("none").to_owned()).collect());
            assert_eq!((reply.status, told), (status, pointers.iter().map(ToString::to_string).collect()), "{body}: {reply:?}");
        }
        assert_eq!(example.values().await?, Vec::<String>::new(), "nothing is produced");

        let poison = r#"{"customer_name": "Joh"#;
        scene.produce(Record::to(&example.topic).with_payload(poison)).await?;
        let order = order();
        let reply = example.post(gateway, JSON, &order).await?;
        assert_eq!(reply.status, 200, "{reply:?}");
        until("the order is logged and the poison is a dead letter", LIMIT, async || {
            let letters: Vec<String> = scene.records(&example.dead_letters).await?.iter().map(text_of).collect();
            let (logged, complaints) = (example.logged("record").await?, example.logged("a record is not JSON").await?);
            let found = (letters, values_of(&logged), values_of(&complaints));
            let expected = (vec![poison.to_owned()], vec![order.clone()], vec![poison.to_owned()]);
            if found == expected { Ok(()) } else { Err(format!("{found:?}").into()) }
        })
        .await?;
        Ok(())
    })
    .await;
}
