//! System 3, user and translation events, from the manifests of `examples/events`.

use penstock_crds::EventPipeline;
use penstock_kafka::{ConsumedRecord, Record};
use penstock_tests::scene::{LIMIT, Result, Scene, play, until};
use serde_json::{Value, json};

const PORT: u16 = 3000;
const EVENT: &str = "application/cloudevents+json";
/// Each type: the producer and the topic of it, and what its handler says.
const TYPES: [(&str, &str, &str, &str); 5] = [
    ("user.created", "users", "user-events", "a user was created"),
    ("user.updated", "users", "user-events", "a user was updated"),
    ("user.deleted", "users", "user-events", "a user was deleted"),
    ("translation.requested", "translations", "translation-events", "a translation was requested"),
    ("translation.completed", "translations", "translation-events", "a translation was completed"),
];

/// The example, running.
struct Example<'a> {
    scene: &'a Scene,
    handlers: Vec<String>,
}

impl<'a> Example<'a> {
    async fn applied(scene: &'a Scene) -> Result<Self> {
        scene.apply_example("events").await?;
        for pipeline in ["users", "translations", "handlers"] {
            scene.ready::<EventPipeline>(pipeline).await?;
        }
        Ok(Self { scene, handlers: scene.ready_workers("handlers", 2).await? })
    }

    /// A producer call: posts one event.
    async fn produce(&self, producer: &str, topic: &str, event: &Value) -> Result {
        let pods = self.scene.ready_workers(producer, 1).await?;
        let reply = self.scene.post_as(EVENT, &pods[0], PORT, &format!("/{topic}"), event.to_string()).await?;
        assert_eq!((reply.status, &reply.body["ids"][0]), (202, &event["id"]), "{reply:?}");
        Ok(())
    }

    /// A producer call with an event whose subject is not as it should be.
    async fn refuses(&self, producer: &str, topic: &str, event: &Value) -> Result {
        let pods = self.scene.ready_workers(producer, 1).await?;
        let reply = self.scene.post_as(EVENT, &pods[0], PORT, &format!("/{topic}"), event.to_string()).await?;
        assert_eq!((reply.status, &reply.body["errors"][0]["pointer"]), (422, &json!("/subject")), "{reply:?}");
        Ok(())
    }

    /// What the handlers have said of records: message, topic, key and value of each.
    async fn handled(&self) -> Result<Vec<(String, String, String, Value)>> {
        let mut handled = Vec::new();
        for pod in &self.handlers {
            for line in self.scene.log(pod).await? {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                if line["offset"].is_i64() && text("topic").starts_with(&self.scene.namespace) && line["level"] == "INFO" {
                    handled.push((text("message"), text("topic"), text("key"), serde_json::from_str(&text("value"))?));
                }
            }
        }
        handled.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(handled)
    }
}

fn event(kind: &str, subject: &str) -> Value {
    json!({"specversion": "1.0", "id": uuid::Uuid::new_v4(), "source": "/test", "type": kind, "subject": subject, "data": {"of": kind}})
}

fn header(record: &ConsumedRecord, name: &str) -> String {
    let value = record.header(name).and_then(|header| header.value.clone()).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

#[tokio::test]
async fn each_type_is_handled_by_its_own_handler_in_one_group_and_an_unknown_one_is_a_dead_letter() {
    play("events", async |scene| {
        let example = Example::applied(scene).await?;
        let subject = |topic: &str| if topic == "user-events" { "john@doe.example" } else { "text-7" };
        example.produce("users", "user-events", &event("user.moved", "john@doe.example")).await?;
        scene.produce(Record::to(scene.kafka_name("translation-events")).with_payload("poison")).await?;
        let mut expected = Vec::new();
        for (kind, producer, topic, message) in TYPES {
            example.produce(producer, topic, &event(kind, subject(topic))).await?;
            expected.push((message.to_owned(), scene.kafka_name(topic), subject(topic).to_owned(), json!({"of": kind})));
        }
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        example.refuses("users", "user-events", &event("user.created", "text-7")).await?;
        for (kind, producer, topic, _) in TYPES {
            let mut event = event(kind, "");
            event.as_object_mut().and_then(|members| members.remove("subject"));
            example.refuses(producer, topic, &event).await?;
        }
        until("every event is handled by its handler", LIMIT, async || {
            let handled = example.handled().await?;
            if handled == expected { Ok(()) } else { Err(format!("{handled:?}").into()) }
        })
        .await?;

        let letters = until("both others are dead letters", LIMIT, async || {
            let letters = scene.records(&scene.kafka_name("events.DLT")).await?;
            if letters.len() == 2 { Ok(letters) } else { Err(format!("{} are", letters.len()).into()) }
        })
        .await?;
        let mut told: Vec<_> = letters
            .iter()
            .map(|letter| ["original-topic", "error-type", "error-message"].map(|name| header(letter, &format!("penstock-dlt-{name}"))))
            .collect();
        told.sort();
        let [[of_poison, no_type, _], [of_unknown, unknown, why]] = told.as_slice() else { return Err(format!("{told:?}").into()) };
        assert_eq!((of_poison, no_type.as_str()), (&scene.kafka_name("translation-events"), "NoType"));
        assert_eq!((of_unknown, unknown.as_str()), (&scene.kafka_name("user-events"), "UnknownType"));
        assert!(why.contains("`user.moved`") && why.contains("user.created"), "{why}");

        until("the one group has handled both topics", LIMIT, async || {
            let offsets = scene.admin.group_offsets("godev-kit-group").await?;
            let handled = |topic: &str| {
                let own = offsets.iter().filter(|(at, _)| at.topic == scene.kafka_name(topic));
                own.filter_map(|(_, committed)| Some(committed.as_ref().ok()?.offset)).sum::<i64>()
            };
            // The three of users and user.moved; the two of translations and what is no event.
            let handled = (handled("user-events"), handled("translation-events"));
            if handled == (4, 3) { Ok(()) } else { Err(format!("{handled:?}").into()) }
        })
        .await?;

        let metrics = &mut String::new();
        for pod in &example.handlers {
            metrics.push_str(scene.get(pod, 8080, "/metrics").await?.body.as_str().unwrap_or_default());
        }
        for (kind, ..) in TYPES {
            let line = format!("penstock_worker_events_by_type_total{{type=\"{kind}\"}} 1");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        Ok(())
    })
    .await;
}
