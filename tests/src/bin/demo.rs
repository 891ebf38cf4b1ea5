//! `demo`: installs Penstock on a cluster that is up, applies `examples/orders`, and shows the way of each order.
//!
//! `make demo` calls it after bringing up the cluster and Kafka. It ends with a failure unless every order that was
//! accepted has its end, every invalid one was refused, and every poison record lies in the dead letter topic. Its last line
//! is the RESULT, whatever happened.

#![allow(clippy::print_stdout, reason = "printing is what a demo is for")]
#![allow(clippy::indexing_slicing, reason = "a JSON value answers null where there is nothing, it does not panic")]

use std::{
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use futures::future::join_all;
use penstock_kafka::Record;
use penstock_tests::{
    cluster::Tool,
    scene::{LIMIT, Reply, Result, Scene, example, install, until},
};
use serde_json::{Value, json};
use uuid::Uuid;

/// How many valid orders are posted.
const ORDERS: usize = 20;

/// Shows the way of orders through the example: accepted, paid or declined, refused, or dead.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// When the whole began, in seconds since 1970; the RESULT line counts from there. Default: now.
    #[arg(long)]
    began: Option<u64>,
}

/// What became of everything that was posted.
#[derive(Clone, Copy, Default)]
struct Tally {
    accepted: usize,
    completed: usize,
    failed: usize,
    rejected: usize,
    poison: usize,
}

impl Tally {
    fn lost(&self) -> usize {
        self.accepted - self.completed - self.failed
    }

    fn is_as_it_should_be(&self) -> bool {
        self.accepted == ORDERS && self.lost() == 0 && self.rejected == invalid_orders().len() && self.poison == POISON.len()
    }
}

/// Bytes that are no order: cut short, and not even text.
const POISON: [&[u8]; 2] = [b"{\"eventType\": \"ORDER_CRE", b"\xff\xfe\x00junk"];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let before = arguments.began.map_or(0, |began| now.saturating_sub(began));
    let begin = Instant::now();
    let mut tally = Tally::default();
    let shown = show(&mut tally).await;
    if let Err(error) = &shown {
        eprintln!("demo: {error}\nLook around with `make shell`, or remove everything with `make demo-down`.");
    }
    let seconds = before + begin.elapsed().as_secs();
    let lost = tally.lost();
    let Tally { accepted, completed, failed, rejected, poison } = tally;
    println!(
        "RESULT accepted={accepted} completed={completed} failed={failed} rejected={rejected} poison={poison} lost={lost} seconds={seconds}"
    );
    if shown.is_ok() && tally.is_as_it_should_be() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn show(tally: &mut Tally) -> Result {
    println!("==> helm upgrade --install {} helm/penstock; kubectl apply -f examples/orders", install::RELEASE);
    let begin = Instant::now();
    let scene = example::applied().await?;
    let gateways = scene.ready_workers(example::GATEWAY, 2).await?;
    println!("    both pipelines are ready after {} s", begin.elapsed().as_secs());

    let gateway = gateways.first().ok_or("no gateway")?;
    let other = gateways.last().ok_or("no gateway")?;
    let orders = post_orders(&scene, gateway, tally).await?;
    post_invalid(&scene, gateway, tally).await?;
    let keys = put_poison(&scene).await?;
    println!("\n==> what became of them (asked of the other replica, {other})");
    follow_orders(&scene, other, &orders, tally).await;
    follow_poison(&scene, &keys, tally).await?;
    print_tables(&scene).await
}

async fn post_orders(scene: &Scene, gateway: &str, tally: &mut Tally) -> Result<Vec<String>> {
    println!("\n==> POST /orders, {ORDERS} times, to {gateway}");
    let mut ids = Vec::new();
    for _ in 0..ORDERS {
        let order = example::order();
        let reply = scene.post(gateway, example::GATEWAY_PORT, "/orders", &order).await?;
        println!("    {}  {} {}", example::id_of(&order), reply.status, text(&reply.body["message"]));
        if reply.status == 202 {
            tally.accepted += 1;
            ids.push(example::id_of(&order).to_owned());
        }
    }
    Ok(ids)
}

/// Three ways to be wrong.
fn invalid_orders() -> [Value; 3] {
    let changed = |change: Value| {
        let mut order = example::order();
        if let (Some(order), Some(change)) = (order.as_object_mut(), change.as_object()) {
            order.extend(change.clone());
        }
        order
    };
    [
        changed(json!({"amount": -5, "currency": "DOLLAR"})),
        changed(json!({"orderId": "17", "userId": ""})),
        changed(json!({"items": [{"productId": "p-1", "quantity": 0, "price": "free"}]})),
    ]
}

async fn post_invalid(scene: &Scene, gateway: &str, tally: &mut Tally) -> Result {
    println!("\n==> POST /orders with invalid bodies");
    for order in invalid_orders() {
        let Reply { status, body } = scene.post(gateway, example::GATEWAY_PORT, "/orders", &order).await?;
        let faults = body["errors"].as_array().into_iter().flatten();
        let named: Vec<String> = faults.map(|fault| format!("{}: {}", text(&fault["pointer"]), text(&fault["detail"]))).collect();
        println!("    {status}  {}", named.join("; "));
        tally.rejected += usize::from(status == 400 && !named.is_empty());
    }
    Ok(())
}

async fn put_poison(scene: &Scene) -> Result<Vec<String>> {
    println!("\n==> {} poison records, put straight on the topic", POISON.len());
    let mut keys = Vec::new();
    for bytes in POISON {
        let key = format!("poison-{}", Uuid::new_v4());
        let position = scene.produce(Record::to("orders").with_key(key.clone()).with_payload(bytes)).await?;
        println!("    orders/{}/{}  {}", position.partition, position.offset, String::from_utf8_lossy(bytes));
        keys.push(key);
    }
    Ok(keys)
}

/// An order without an end is lost: it is told, and counted as what is missing in the tally.
async fn follow_orders(scene: &Scene, gateway: &str, orders: &[String], tally: &mut Tally) {
    // All have the same time, however many are lost.
    let ends = orders.iter().map(|id| async move { (id, end(scene, gateway, id).await) });
    for (id, end) in join_all(ends).await {
        match end {
            Ok(End::Completed(payment)) => {
                tally.completed += 1;
                println!("    {id}  accepted -> completed, payment {payment}");
            }
            Ok(End::Failed(letter)) => {
                tally.failed += 1;
                println!("    {id}  accepted -> failed, dead letter: {letter}");
            }
            Err(why) => println!("    {id}  accepted -> LOST: {why}"),
        }
    }
}

/// How an order ends.
enum End {
    /// With this payment.
    Completed(String),
    /// With a dead letter that says this.
    Failed(String),
}

async fn end(scene: &Scene, gateway: &str, id: &str) -> Result<End> {
    let order = scene.settled(gateway, id).await?;
    if order["status"] == "completed" {
        return Ok(End::Completed(text(&order["paymentId"])));
    }
    let letter = letter(scene, id).await?;
    Ok(End::Failed(format!("{}: {}", text(&letter["errorType"]), text(&letter["errorMessage"]))))
}

async fn follow_poison(scene: &Scene, keys: &[String], tally: &mut Tally) -> Result {
    for key in keys {
        let letter = letter(scene, key).await?;
        tally.poison += 1;
        println!("    {key}  -> dead letter: {}: {}", text(&letter["errorType"]), text(&letter["errorMessage"]));
    }
    Ok(())
}

/// The one dead letter with this key.
async fn letter(scene: &Scene, key: &str) -> Result<Value> {
    until(&format!("a dead letter for {key}"), LIMIT, async || {
        let mut letters = scene.events(example::DEAD_LETTERS, |e| e["originalKey"] == key).await?;
        letters.pop().ok_or_else(|| "none yet".into())
    })
    .await
}

async fn print_tables(scene: &Scene) -> Result {
    for arguments in [vec!["get", "penstock", "-A"], vec!["get", "pods", "-n", &scene.namespace]] {
        let mut get = scene.cluster.tool(Tool::Kubectl);
        get.args(&arguments);
        println!("\n$ kubectl {}\n{}", arguments.join(" "), install::run(get).await?.trim_end());
    }
    println!(
        "\nLook around: `make shell` opens a shell beside the cluster. There:\n\
         \x20 kubectl -n {ns} describe eventpipeline {gateway}\n\
         \x20 kubectl -n {ns} logs -l penstock.dev/pipeline={payments} --prefix\n\
         \x20 kubectl -n {ns} port-forward service/{gateway} {port} &   then   curl localhost:{port}/health\n\
         \x20 kubectl -n {ns} scale eventpipeline/{payments} --replicas=3\n\
         Remove everything with `make demo-down`.\n",
        ns = example::NAMESPACE,
        gateway = example::GATEWAY,
        payments = example::PAYMENTS,
        port = example::GATEWAY_PORT,
    );
    Ok(())
}

/// A JSON string without its quotes; anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
