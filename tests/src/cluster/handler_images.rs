//! The images of handlers, the examples' and the tests', built by their own Dockerfiles and loaded into the cluster.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::command::logged;
use super::error::{HarnessError, Result, at};
use super::ground::Ground;
use super::image::{self, RECIPE, Source};
use super::interpreter::{self, Interpreter};
use super::layout::repository;
use super::recipe::short_hex;
use super::site::Site;
use super::{files, kind, lock};

/// The image of a handler.
struct Handler {
    image: &'static str,
    /// Its folder in the repository, with the Dockerfile.
    folder: &'static str,
    interpreter: Interpreter,
}

const HANDLERS: [Handler; 3] = [
    Handler { image: "penstock/example-tax:dev", folder: "examples/handlers/tax", interpreter: Interpreter::Python },
    Handler { image: "penstock/example-receipts:dev", folder: "examples/handlers/receipts", interpreter: Interpreter::Node },
    Handler { image: "penstock/test-handler:dev", folder: "tests/handler", interpreter: Interpreter::Python },
];

/// Builds and loads the image of each handler; what did not change is left as it is.
///
/// # Errors
/// The step that failed, with its log; [`HarnessError::Down`] when there is no cluster to load into.
pub async fn build(site: &Site) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    if !kind::becomes_healthy(site).await {
        return Err(HarnessError::Down { name: site.instance.name().to_owned() });
    }
    for handler in &HANDLERS {
        let folder = repository().join(handler.folder);
        // Elsewhere the Dockerfile's own default is pulled.
        let base = match site.ground {
            Ground::Stock => None,
            Ground::Local => Some(interpreter::ensure(site, handler.interpreter).await?),
        };
        let recipe = recipe(&folder, base.as_deref())?;
        if image::recipe_in_daemon(site, handler.image).await.as_deref() != Some(&recipe) {
            docker_build(site, handler, &folder, base.as_deref(), &recipe).await?;
        }
        image::load(site, handler.image, &recipe, &Source::Daemon).await?;
    }
    Ok(())
}

async fn docker_build(site: &Site, handler: &Handler, folder: &Path, base: Option<&str>, recipe: &str) -> Result<()> {
    let mut command = site.docker();
    command.args(["build", "--label", &format!("{RECIPE}={recipe}"), "--tag", handler.image]);
    if let Some(base) = base {
        command.args(["--build-arg", &format!("BASE={base}")]);
    }
    command.arg(folder);
    let log: PathBuf = site.instance.log(&format!("build-{}", folder.file_name().unwrap_or_default().to_string_lossy()));
    logged(&format!("docker build {}", handler.image), command, &log).await
}

/// A hash of all that goes into the image.
fn recipe(folder: &Path, base: Option<&str>) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(base.unwrap_or_default());
    for file in files::below(folder)? {
        hash.update(file.strip_prefix(folder).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hash.update(Sha256::digest(std::fs::read(&file).map_err(at("read", &file))?));
    }
    Ok(short_hex(&hash.finalize()))
}
