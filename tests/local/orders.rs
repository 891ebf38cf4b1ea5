//! Orders that come to two worker processes at the same instant. With a topic of keys, what comes with an `Idempotency-Key` is written
//! once. Without one workers do not wait for one another, so each may write an order once, until it has read it.

use std::sync::Arc;

use penstock_crds::worker::WorkerConfig;
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    local::{Answer, Brokers, WorkerOptions, WorkerProcess, debug_worker_binary, get, ports, post},
    scene::{LIMIT, Result, Waiting, until},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    front::front,
    shared,
    topic::{make, read},
};

const ROUNDS: usize = 10;

/// Two workers of one pipeline.
struct Rig {
    connection: ConnectionSettings,
    orders: String,
    ports: [u16; 2],
    _workers: Vec<WorkerProcess>,
    _brokers: Arc<Brokers>,
}

impl Rig {
    async fn new(name: &str, keeps_keys: bool) -> Result<Self> {
        let (brokers, binary) = (shared::broker().await?, debug_worker_binary().await?);
        let connection = ConnectionSettings::new(brokers.bootstrap())?;
        let (orders, keys) = (format!("{name}.orders"), format!("{name}.keys"));
        make(&connection, &[&orders, &keys].map(|topic| NewTopic::new(topic).with_partitions(2))).await?;
        let [one, other, admin_one, admin_other] = ports::free(4)?[..] else { return Err("no ports".into()) };
        let mut workers = Vec::new();
        // A worker answers before its client gives up, whatever Kafka does.
        for (pod, port, admin_port) in [("a", one, admin_one), ("b", other, admin_other)] {
            let keys = keeps_keys.then(|| keys.clone());
            let front = front(&brokers, "orders-gateway", &[("produceTimeout", "2s")], port, &orders);
            let config = WorkerConfig { table: vec![orders.clone()], keys, admin_port, ..front };
            let worker = WorkerProcess::start(&config, &WorkerOptions { pod: pod.to_owned(), ..WorkerOptions::new(&binary) })?;
            worker.wait_ready(LIMIT).await?;
            workers.push(worker);
        }
        let rig = Self { connection, orders, ports: [one, other], _workers: workers, _brokers: brokers };
        for port in rig.ports {
            // The first record of a producer takes its time.
            let first = order();
            rig.place_until_told(port, id(&first), &first.to_string()).await?;
        }
        Ok(rig)
    }

    async fn place(&self, port: u16, key: &str, order: &str) -> Result<Answer> {
        Ok(post(port, "/orders", &[("content-type", "application/json"), ("idempotency-key", key)], order).await?)
    }

    /// Places one order at each worker, at the same instant.
    async fn race(&self, key: &str, orders: [&str; 2]) -> Result<[Answer; 2]> {
        let [a, b] = self.ports;
        let (one, other) = tokio::join!(self.place(a, key, orders[0]), self.place(b, key, orders[1]));
        Ok([one?, other?])
    }

    /// Asks again and again, as a client does, until it is told what came of the order.
    async fn place_until_told(&self, port: u16, key: &str, order: &str) -> Result<Answer> {
        until("the order is decided", LIMIT, async || match self.place(port, key, order).await {
            Ok(answer) if is_open(&answer) => Err(Waiting::NotYet(format!("{answer:?}"))),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Waiting::NotYet(error.to_string())),
        })
        .await
    }

    /// Waits until both workers know an order.
    async fn known(&self, order: &Value) -> Result {
        let path = format!("/orders/{}", id(order));
        until("both workers know the order", LIMIT, async || {
            for port in self.ports {
                let answer = get(port, &path).await.map_err(|error| Waiting::from(error.to_string()))?;
                if answer.status != 200 {
                    return Err(Waiting::from(format!("{answer:?}")));
                }
            }
            Ok(())
        })
        .await
    }

    /// The data of every record of an order.
    async fn written(&self, order: &Value) -> Result<Vec<Value>> {
        let records = read(&self.connection, &self.orders).await?.into_iter();
        let own = records.filter(|record| record.key.as_deref() == Some(id(order).as_bytes()));
        let events = own.map(|record| serde_json::from_slice::<Value>(record.payload.as_deref().unwrap_or_default()));
        Ok(events.map(|event| event.map(|event| event["data"].clone())).collect::<std::result::Result<_, _>>()?)
    }
}

/// Whether nothing is decided yet: another request has the key, or Kafka has just made its own topic for transactions.
fn is_open(answer: &Answer) -> bool {
    [":idempotency-key-in-use", ":not-sent", ":unacknowledged"].iter().any(|kind| answer.body.contains(kind))
}

fn is_reused(answer: &Answer) -> bool {
    answer.status == 409 && answer.body.contains(":idempotency-key-reused")
}

fn order() -> Value {
    json!({
        "orderId": Uuid::new_v4().to_string(), "userId": "anna", "amount": 9.5, "currency": "EUR",
        "items": [{"productId": "mug", "quantity": 1, "price": 9.5}],
    })
}

fn id(order: &Value) -> &str {
    order["orderId"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn with_a_topic_of_keys_one_record_is_written_for_each_key() -> Result {
    let rig = Rig::new("kept", true).await?;
    let [a, b] = rig.ports;
    for round in 0..ROUNDS {
        // The same order, with its numbers written in two ways.
        let (key, order) = (format!("k-{round}"), order());
        let texts = [order.to_string(), order.to_string().replace("9.5", "9.50")];
        for answer in rig.race(&key, [&texts[0], &texts[1]]).await? {
            assert!(answer.status == 202 || is_open(&answer), "{answer:?}");
        }
        let (one, other) = (rig.place_until_told(a, &key, &texts[1]).await?, rig.place_until_told(b, &key, &texts[0]).await?);
        assert_eq!((one.status, &one.body), (202, &other.body), "{one:?} {other:?}");
        assert_eq!(rig.written(&order).await?, std::slice::from_ref(&order), "one record");
        rig.known(&order).await?;

        // Two orders with one key: one of them is written, and both workers say which.
        let (key, orders) = (format!("two-{round}"), [self::order(), self::order()]);
        let texts = orders.each_ref().map(Value::to_string);
        rig.race(&key, [&texts[0], &texts[1]]).await?;
        let mut written = 0;
        for (order, text) in orders.iter().zip(&texts) {
            let (one, other) = (rig.place_until_told(a, &key, text).await?, rig.place_until_told(b, &key, text).await?);
            assert_eq!(one.status, other.status, "{one:?} {other:?}");
            assert!(one.status == 202 || is_reused(&one), "{one:?}");
            let found = rig.written(order).await?.len();
            assert_eq!(found, usize::from(one.status == 202), "{one:?}");
            written += found;
        }
        assert_eq!(written, 1, "of two orders with one key");
    }
    Ok(())
}

#[tokio::test]
async fn each_worker_writes_an_order_once_at_most_and_none_that_it_has_read() -> Result {
    let rig = Rig::new("raced", false).await?;
    let mut doubled = 0;
    for round in 0..ROUNDS {
        let (key, order) = (format!("k-{round}"), order());
        let text = order.to_string();
        let [one, other] = rig.race(&key, [&text, &text]).await?;
        assert_eq!((one.status, &one.body), (202, &other.body), "{one:?} {other:?}");
        rig.known(&order).await?;
        let written = rig.written(&order).await?;
        assert!([1, 2].contains(&written.len()) && written.iter().all(|data| *data == order), "{written:?}");
        doubled += written.len() - 1;

        for port in rig.ports {
            assert_eq!(rig.place(port, &key, &text).await?.body, one.body, "the same answer");
            let mut changed = order.clone();
            changed["orderId"] = Uuid::new_v4().to_string().into();
            let refused = rig.place(port, &key, &changed.to_string()).await?;
            assert!(is_reused(&refused), "{refused:?}");
            assert_eq!(rig.written(&changed).await?, Vec::<Value>::new(), "another order with the key");
        }
        assert_eq!(rig.written(&order).await?, written, "nothing more is written");
    }
    println!("{doubled} of {ROUNDS} orders were written by both");
    Ok(())
}

#[tokio::test]
async fn of_two_orders_with_one_key_each_that_is_accepted_is_one_order() -> Result {
    let rig = Rig::new("raced-two", false).await?;
    for round in 0..ROUNDS {
        let (key, orders) = (format!("two-{round}"), [order(), order()]);
        let texts = orders.each_ref().map(Value::to_string);
        let answers = rig.race(&key, [&texts[0], &texts[1]]).await?;
        for (order, answer) in orders.iter().zip(&answers) {
            let written = rig.written(order).await?;
            match answer.status {
                202 => assert_eq!(written, std::slice::from_ref(order), "what is accepted is written once"),
                409 => assert_eq!(written, Vec::<Value>::new(), "what is refused is not"),
                _ => panic!("{answer:?}"),
            }
        }
        assert!(answers.iter().any(|answer| answer.status == 202), "{answers:?}");
    }
    Ok(())
}
