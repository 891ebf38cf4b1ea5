//! `try-examples`: runs every example end to end on a cluster that is up, as its README says.
//!
//! `make examples` calls it after bringing up the cluster and Kafka. Each example is applied, tried with its own script, and removed
//! again unless it was there before. It prints one line for each.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    process::{ExitCode, Stdio},
    time::Instant,
};

use clap::{Parser, ValueEnum};
use penstock_tests::{
    cluster::Tool,
    scene::{LIMIT, Result, Scene, example, install, until},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Applies each example, tries it with its own script, and removes it again.
#[derive(Parser)]
#[command(name = "try-examples")]
struct Arguments {
    /// Only these. Default: all.
    #[arg(value_enum)]
    only: Vec<Example>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Example {
    Orders,
    Coffee,
    Events,
    Commerce,
    Handlers,
    CustomWorker,
    KafkaPackage,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { only } = Arguments::parse();
    let chosen = Example::value_variants().iter().filter(|example| only.is_empty() || only.contains(example));
    let (mut tried, mut failed) = (0, 0);
    for example in chosen {
        let begin = Instant::now();
        let done = example.run().await;
        let seconds = begin.elapsed().as_secs();
        match done {
            Ok(said) => println!("{}: ok in {seconds} s: {said}", example.folder()),
            Err(error) => {
                failed += 1;
                println!("{}: FAILED after {seconds} s: {error}", example.folder());
            }
        }
        tried += 1;
    }
    println!("RESULT examples={tried} failed={failed}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Example {
    /// Below `examples`.
    fn folder(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Coffee => "coffee",
            Self::Events => "events",
            Self::Commerce => "commerce",
            Self::Handlers => "handlers",
            Self::CustomWorker => "custom-worker",
            Self::KafkaPackage => "kafka-package",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Orders => example::NAMESPACE,
            Self::Coffee | Self::Events | Self::Commerce | Self::Handlers | Self::KafkaPackage => self.folder(),
            Self::CustomWorker => "screening",
        }
    }

    async fn run(self) -> Result<String> {
        let scene = Scene::at(self.namespace()).await?;
        install::once(&scene.cluster).await?;
        let path = format!("examples/{}", self.folder());
        let was_there = kubectl(&scene, &["get", "namespace", self.namespace()]).await.is_ok();
        let tried = async {
            kubectl(&scene, &["apply", "-f", &path]).await?;
            let kinds = if self == Self::KafkaPackage { "kafkatopics" } else { "kafkatopics,eventpipelines" };
            let ready = ["wait", "--for=condition=Ready", kinds, "--all", "--timeout=120s", "-n", self.namespace()];
            kubectl(&scene, &ready).await?;
            self.attempt(&scene).await
        }
        .await;
        if !was_there {
            kubectl(&scene, &["delete", "-f", &path]).await?;
        }
        tried
    }

    /// Does what its README says; gives the last line that was printed.
    async fn attempt(self, scene: &Scene) -> Result<String> {
        match self {
            Self::Orders => {
                let gateways = scene.ready_workers(example::GATEWAY, 2).await?;
                let (one, other) = (gateways.first().ok_or("no gateway")?, gateways.last().ok_or("no gateway")?);
                let order = example::order();
                let reply = scene.post(one, example::GATEWAY_PORT, "/orders", &order).await?;
                let settled = scene.settled(other, example::id_of(&order)).await?;
                Ok(format!("{} on one replica, {} on the other", reply.status, settled.get("status").unwrap_or_default()))
            }
            Self::Coffee => {
                let before = lines(scene, "consumer", "\"message\":\"record\"").await?;
                let (_forward, port) = forward(scene, "gateway").await?;
                let url = format!("http://localhost:{port}/order");
                let said = script(scene, "examples/coffee/load.sh", &["--url", &url, "--count", "200", "--bad", "10"]).await?;
                let said = exactly("RESULT sent=210 accepted=200 refused=10 failed=0", said)?;
                until("200 orders are logged", LIMIT, async || {
                    let logged = lines(scene, "consumer", "\"message\":\"record\"").await? - before;
                    if logged >= 200 { Ok(()) } else { Err(format!("{logged} are").into()) }
                })
                .await?;
                Ok(said)
            }
            Self::Events => {
                exactly("RESULT posted=6 handled=5 dead_letters=1", script(scene, "examples/events/demo.sh", &[]).await?)?;
                let before = lines(scene, "handlers", "\"offset\"").await?;
                let ((_users, users), (_translations, translations)) =
                    (forward(scene, "users").await?, forward(scene, "translations").await?);
                let users = format!("http://localhost:{users}/user-events");
                let translations = format!("http://localhost:{translations}/translation-events");
                let arguments = ["--users", &users, "--translations", &translations, "--count", "1000"];
                let said = script(scene, "examples/events/load.sh", &arguments).await?;
                let said = exactly("RESULT sent=1000 accepted=1000 refused=0 failed=0", said)?;
                until("1000 events are handled", LIMIT, async || {
                    let handled = lines(scene, "handlers", "\"offset\"").await? - before;
                    if handled >= 1_000 { Ok(()) } else { Err(format!("{handled} are").into()) }
                })
                .await?;
                Ok(said)
            }
            Self::Handlers => {
                exactly("RESULT posted=21 receipts=20 dead_letters=1", script(scene, "examples/handlers/demo.sh", &[]).await?)
            }
            Self::Commerce => {
                let before = scene.records("enriched-events").await?.len();
                let (_forward, port) = forward(scene, "collector").await?;
                let url = format!("http://localhost:{port}/events");
                let said = script(scene, "examples/commerce/load.sh", &["--url", &url, "--count", "2000"]).await?;
                let said = exactly("RESULT sent=2000 accepted=2000 refused=0 failed=0", said)?;
                until("2000 events are enriched", LIMIT, async || {
                    let enriched = scene.records("enriched-events").await?.len() - before;
                    if enriched == 2_000 { Ok(()) } else { Err(format!("{enriched} are").into()) }
                })
                .await?;
                Ok(said)
            }
            Self::CustomWorker => screened(scene).await,
            Self::KafkaPackage => {
                let brokers = scene.cluster.brokers().await?.external;
                let said = script(scene, "examples/kafka-package/load.sh", &["--bootstrap", &brokers, "--count", "1000"]).await?;
                exactly("RESULT produced=1000 copied=1000 consumed=1000", said)
            }
        }
    }
}

/// Two orders, of which one is suspicious.
async fn screened(scene: &Scene) -> Result<String> {
    let intake = scene.ready_workers("intake", 1).await?;
    let intake = intake.first().ok_or("no gateway")?;
    let orders = [20, 900].map(|amount| (uuid::Uuid::new_v4().to_string(), amount));
    for (id, amount) in &orders {
        let order = serde_json::json!({"orderId": id, "userId": "anna", "amount": amount});
        let reply = scene.post(intake, 3000, "/orders", &order).await?;
        if reply.status != 202 {
            return Err(format!("{} {}", reply.status, reply.body).into());
        }
    }
    let suspicious = until("both orders are screened", LIMIT, async || {
        let mut found = Vec::new();
        for (id, _) in &orders {
            found.extend(scene.events("screening.verdicts", |verdict| verdict["orderId"] == **id).await?);
        }
        if found.len() == orders.len() { Ok(found) } else { Err(format!("{} are", found.len()).into()) }
    })
    .await?;
    let suspicious = suspicious.iter().filter(|verdict| verdict["suspicious"] == true).count();
    if suspicious == 1 { Ok("2 screened, 1 suspicious".to_owned()) } else { Err(format!("{suspicious} of 2 are suspicious").into()) }
}

async fn kubectl(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let mut command = scene.cluster.tool(Tool::Kubectl);
    command.args(arguments).current_dir(scene.cluster.repository());
    install::run(command).await
}

/// How many lines of a pipeline's logs have that text.
async fn lines(scene: &Scene, pipeline: &str, text: &str) -> Result<usize> {
    let selector = format!("penstock.dev/pipeline={pipeline}");
    let logs = kubectl(scene, &["logs", "-n", &scene.namespace, "-l", &selector, "--tail=-1"]).await?;
    Ok(logs.lines().filter(|line| line.contains(text)).count())
}

/// Runs a script of an example; gives the last line that it printed.
async fn script(scene: &Scene, path: &str, arguments: &[&str]) -> Result<String> {
    let mut command = scene.cluster.command("bash");
    command.arg(scene.cluster.repository().join(path)).args(arguments);
    let said = install::run(command).await?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

/// What a script printed last, if it is what its README says.
fn exactly(expected: &str, said: String) -> Result<String> {
    if said == expected { Ok(said) } else { Err(format!("it ends with `{said}`, not with `{expected}`").into()) }
}

/// `kubectl port-forward` to a service, until it is dropped; and the local port.
async fn forward(scene: &Scene, service: &str) -> Result<(Child, u16)> {
    let mut command: Command = scene.cluster.tool(Tool::Kubectl);
    command.args(["-n", &scene.namespace, "port-forward", &format!("service/{service}"), ":3000"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut printed = BufReader::new(child.stdout.take().ok_or("kubectl has no output")?).lines();
    while let Some(line) = printed.next_line().await? {
        if let Some(port) = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next()?.parse().ok()) {
            // It stops forwarding once nobody reads what it prints.
            tokio::spawn(async move { while let Ok(Some(_)) = printed.next_line().await {} });
            return Ok((child, port));
        }
    }
    Err(format!("kubectl port-forward of {service} ended: {}", child.wait().await?).into())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_example_is_tried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let there: BTreeSet<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let tried = Example::value_variants().iter().map(|example| example.folder().to_owned()).collect();
        assert_eq!(there, tried);
    }
}
