//! What there is, for a person to read.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::command::output;
use super::error::Result;
use super::ground::{self, Ground};
use super::images::{PRODUCTS, megabytes};
use super::kafka::{self, FIRST_NODE_PORT, NAMESPACE};
use super::site::Site;
use super::{daemon, image, kind};

const SHORT: Duration = Duration::from_secs(20);

/// A table of the cluster's parts and the cache.
///
/// # Errors
/// Only an instance whose record cannot be read; a part that does not answer is a line of the table.
pub async fn report(site: &Site) -> Result<String> {
    let mut table = Table::default();
    let exists = ground::recorded(&site.instance)?.is_some();
    table.row(
        "cluster",
        &format!(
            "{} ({}), {}",
            site.instance.name(),
            site.ground,
            if exists { site.instance.root().display().to_string() } else { "not up".into() }
        ),
    );
    if exists {
        table.row("daemon", &daemon_line(site).await);
        let healthy = kind::is_healthy(site).await;
        table.row("apiserver", if healthy { "answers, all nodes ready" } else { "does not answer, or a node is not ready" });
        if healthy {
            in_cluster(site, &mut table).await;
        }
        table.row("disk", &disk(site.instance.root()).await);
    }
    table.row("cache", &disk(site.cache.root()).await);
    Ok(table.0)
}

async fn in_cluster(site: &Site, table: &mut Table) {
    let nodes = kubectl(site, &["get", "nodes", "-o", "wide", "--no-headers"]).await;
    table.rows("nodes", &nodes);
    let brokers = kubectl(site, &["-n", NAMESPACE, "get", "pods", "--no-headers", "--ignore-not-found"]).await;
    table.rows("kafka", if brokers.trim().is_empty() { "none: cluster kafka up" } else { &brokers });
    if let (Ok(Some(count)), Ok(address)) = (kafka::installed_size(site).await, kafka::node_address(site).await) {
        let outside: Vec<_> = (FIRST_NODE_PORT..).take(count.into()).map(|port| format!("{address}:{port}")).collect();
        table.row("bootstrap", &format!("{} beside the cluster; kafka.kafka.svc:9092 for pods", outside.join(",")));
    }
    let node = kind::nodes(site).await.ok().and_then(|nodes| nodes.into_iter().next()).unwrap_or_default();
    for product in &PRODUCTS {
        let built = image::recipe_in_daemon(site, &product.latest()).await;
        let line = match (&built, image::size(site, &product.latest()).await) {
            (Some(recipe), Some(size)) => {
                let loaded = image::recipe_on_node(site, &node, &product.tagged(recipe)).await.as_ref() == Some(recipe);
                format!(
                    "{} {:.1} MB, {}",
                    product.tagged(recipe),
                    megabytes(size),
                    if loaded { "loaded" } else { "not loaded: cluster build" }
                )
            }
            _ => format!("{} not built: cluster build", product.latest()),
        };
        table.row("image", &line);
    }
}

async fn daemon_line(site: &Site) -> String {
    match site.ground {
        Ground::Stock => "the machine's own".into(),
        Ground::Local if daemon::answers(site).await => {
            let pid = std::fs::read_to_string(site.instance.pid_file()).unwrap_or_default();
            format!("pid {}, unix://{}, network namespace {}", pid.trim(), site.instance.socket().display(), site.instance.netns())
        }
        Ground::Local => "does not answer: cluster up".into(),
    }
}

async fn kubectl(site: &Site, arguments: &[&str]) -> String {
    output(site.command("kubectl").args(arguments), SHORT).await.unwrap_or_else(|e| e.to_string())
}

async fn disk(folder: &Path) -> String {
    let text = output(Command::new("du").arg("-sh").arg(folder), Duration::from_secs(60)).await;
    let size = text.ok().and_then(|t| t.split_whitespace().next().map(str::to_owned));
    format!("{} in {}", size.as_deref().unwrap_or("?"), folder.display())
}

/// Rows of a name and a value, in two columns.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<10} {value}");
    }

    fn rows(&mut self, name: &str, lines: &str) {
        for (index, line) in lines.lines().enumerate() {
            self.row(if index == 0 { name } else { "" }, line.trim_end());
        }
    }
}
