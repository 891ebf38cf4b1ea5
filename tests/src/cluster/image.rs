//! Images in the daemon and on the nodes. Each image of ours carries a label with the hash of what it was made from, so that
//! nothing is built or loaded a second time.

use std::path::Path;
use std::time::Duration;

use super::command::{logged, output};
use super::error::Result;
use super::kind;
use super::site::Site;

/// The label with the hash of what an image was made from.
pub(crate) const RECIPE: &str = "penstock.dev/recipe";

const SHORT: Duration = Duration::from_secs(20);

/// Where an image comes from.
pub(crate) enum Source<'a> {
    Daemon,
    Archive(&'a Path),
}

/// The recipe of an image in the daemon; none when the image is not there.
pub(crate) async fn recipe_in_daemon(site: &Site, image: &str) -> Option<String> {
    let format = format!("{{{{index .Config.Labels \"{RECIPE}\"}}}}");
    let text = output(site.docker().args(["image", "inspect", "-f", &format, image]), SHORT).await.ok()?;
    Some(text.trim().to_owned())
}

/// The size of an image in the daemon, in bytes.
pub(crate) async fn size(site: &Site, image: &str) -> Option<u64> {
    let text = output(site.docker().args(["image", "inspect", "-f", "{{.Size}}", image]), SHORT).await.ok()?;
    text.trim().parse().ok()
}

/// The recipe of an image on one node; none when the image is not there.
pub(crate) async fn recipe_on_node(site: &Site, node: &str, image: &str) -> Option<String> {
    let text = output(site.docker().args(["exec", node, "crictl", "inspecti", "-o", "json", image]), SHORT).await.ok()?;
    let inspected: serde_json::Value = serde_json::from_str(&text).ok()?;
    let labels = inspected.pointer("/info/imageSpec/config/Labels")?;
    Some(labels.get(RECIPE)?.as_str()?.to_owned())
}

/// Loads an image onto every node that does not have it as made from `recipe`.
pub(crate) async fn load(site: &Site, image: &str, recipe: &str, source: &Source<'_>) -> Result<()> {
    let mut lacking = Vec::new();
    for node in kind::nodes(site).await? {
        if recipe_on_node(site, &node, image).await.as_deref() != Some(recipe) {
            lacking.push(node);
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let mut command = site.command("kind");
    command.args(["load", if matches!(source, Source::Daemon) { "docker-image" } else { "image-archive" }]);
    match source {
        Source::Daemon => command.arg(image),
        Source::Archive(file) => command.arg(file),
    };
    command.args(["--name", site.instance.name(), "--nodes", &lacking.join(",")]);
    logged(&format!("loading {image} into the cluster"), command, &site.instance.log("kind-load")).await
}
