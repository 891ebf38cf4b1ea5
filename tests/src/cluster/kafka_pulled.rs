//! Kafka's image where it can be pulled: `apache/kafka` by way of the machine's daemon, which keeps it for the next cluster, and may
//! know a mirror that the nodes do not.
//!
//! What is loaded is built from that image alone: of an image for several platforms a daemon may hold one, which `kind load` refuses.

use sha2::{Digest, Sha256};

use super::command::logged;
use super::error::Result;
use super::files;
use super::image::{self, RECIPE};
use super::layout::KAFKA;
use super::recipe::short_hex;
use super::site::Site;

/// The image that is pulled.
pub(crate) fn origin() -> String {
    format!("apache/kafka:{KAFKA}")
}

/// What it is called in the cluster.
pub(crate) fn name() -> String {
    format!("penstock/kafka:{KAFKA}")
}

/// Makes sure that the daemon has the image; its recipe.
///
/// # Errors
/// It cannot be pulled; the log of `docker build` says why.
pub(crate) async fn ensure(site: &Site) -> Result<String> {
    let dockerfile = format!("FROM {}\n", origin());
    let recipe = short_hex(&Sha256::digest(&dockerfile));
    if image::recipe_in_daemon(site, &name()).await.as_deref() == Some(&recipe) {
        return Ok(recipe);
    }
    let context = site.instance.root().join("context-kafka");
    files::write(&context.join("Dockerfile"), &dockerfile)?;
    let mut build = site.docker();
    build.args(["build", "--label", &format!("{RECIPE}={recipe}"), "--tag", &name()]).arg(&context);
    logged(&format!("docker build {} from {}", name(), origin()), build, &site.instance.log("build-kafka")).await?;
    files::remove(&context)?;
    Ok(recipe)
}
