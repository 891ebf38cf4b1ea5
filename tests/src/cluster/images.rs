//! Penstock's own two images, and that of the example with a worker of its own: compiled here, built by their Dockerfiles, loaded
//! into the cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::command::{logged, output};
use super::error::{HarnessError, Result, at};
use super::ground::Ground;
use super::image::{self, RECIPE, Source};
use super::layout::repository;
use super::progress::note;
use super::recipe::short_hex;
use super::site::Site;
use super::{compile, files, kind, lock, rootfs};

/// A target of a Dockerfile, the binary in it, and the image that it makes.
pub(crate) struct Product {
    dockerfile: &'static str,
    target: &'static str,
    binary: &'static str,
    repository: &'static str,
    /// Whether manifests name the image that was built last, and not that of one recipe.
    is_named_by_manifests: bool,
}

impl Product {
    /// The image that was built last.
    pub(crate) fn latest(&self) -> String {
        self.tagged("dev")
    }

    /// The image of one recipe: pods that name it are replaced when something else is built.
    pub(crate) fn tagged(&self, tag: &str) -> String {
        format!("{}:{tag}", self.repository)
    }

    fn dockerfile(&self) -> PathBuf {
        repository().join(self.dockerfile)
    }
}

/// What `cluster build` makes; first operator and worker.
pub(crate) const PRODUCTS: [Product; 3] = [
    Product {
        dockerfile: "Dockerfile",
        target: "operator",
        binary: "penstock-operator",
        repository: "penstock/operator",
        is_named_by_manifests: false,
    },
    Product {
        dockerfile: "Dockerfile",
        target: "worker",
        binary: "penstock-worker",
        repository: "penstock/worker",
        is_named_by_manifests: false,
    },
    Product {
        dockerfile: "examples/custom-worker/Dockerfile",
        target: "worker",
        binary: "order-screening",
        repository: "penstock/example-custom-worker",
        is_named_by_manifests: true,
    },
];

/// The tags of the two images that were loaded into this cluster last: operator and worker. The daemon may have built others since, for
/// another cluster.
///
/// # Errors
/// [`HarnessError::Input`] when none were.
pub(crate) fn tags(site: &Site) -> Result<Vec<String>> {
    let noted = std::fs::read_to_string(site.instance.tags());
    let noted = noted.map_err(|_| HarnessError::Input("the operator's image is not built: run `cluster build`".into()))?;
    Ok(noted.split_whitespace().map(str::to_owned).collect())
}

const SCRATCH: &str = "scratch";
/// The C library of the Dockerfiles' own base.
const DISTROLESS_LIBC: (u32, u32) = (2, 36);
const SHORT: Duration = Duration::from_secs(10);

/// The user that the images run as, the same as distroless' `nonroot`.
const NONROOT: u32 = 65532;

/// Compiles, builds and loads all images; what did not change is left as it is.
///
/// # Errors
/// The step that failed, with its log; [`HarnessError::Down`] when there is no cluster to load into.
pub async fn build(site: &Site) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    if !kind::becomes_healthy(site).await {
        return Err(HarnessError::Down { name: site.instance.name().to_owned() });
    }
    let binaries: Vec<_> = PRODUCTS.iter().map(|product| product.binary).collect();
    // cargo runs outside of the daemon's namespace: it may need the registry.
    let binaries = compile::release(&binaries, &site.instance.log("cargo-build")).await?;
    let context = site.instance.root().join("context");
    let base = base(site).await;
    stage(base.as_deref(), &binaries, &context).await?;
    let mut tags = Vec::new();
    for product in &PRODUCTS {
        let recipe = recipe(base.as_deref(), product, &context)?;
        if image::recipe_in_daemon(site, &product.latest()).await.as_deref() != Some(&recipe) {
            docker_build(site, product, base.as_deref(), &recipe, &context).await?;
        }
        image::load(site, &product.tagged(&recipe), &recipe, &Source::Daemon).await?;
        if product.is_named_by_manifests {
            image::load(site, &product.latest(), &recipe, &Source::Daemon).await?;
        }
        let size = image::size(site, &product.latest()).await.unwrap_or_default();
        note(&format!("{}: {:.1} MB", product.tagged(&recipe), megabytes(size)));
        tags.push(recipe);
    }
    tags.truncate(2);
    files::write(&site.instance.tags(), &tags.join("\n"))
}

/// Bytes as the megabytes that `docker images` shows.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Lays the build context out outside of the checkout: `bin/` and, for an image from nothing, `rootfs/`.
async fn stage(base: Option<&str>, binaries: &Path, context: &Path) -> Result<()> {
    files::fresh(context)?;
    let root = context.join("rootfs");
    std::fs::create_dir_all(&root).map_err(at("create", &root))?;
    let programs: Vec<_> = PRODUCTS.iter().map(|product| binaries.join(product.binary)).collect();
    for program in &programs {
        files::copy(program, &context.join("bin").join(program.file_name().unwrap_or_default()))?;
    }
    if base == Some(SCRATCH) {
        rootfs::libraries(&programs, &root, None).await?;
        rootfs::identity(&root, "nonroot", NONROOT)?;
    }
    Ok(())
}

/// The base given to the Dockerfile; none leaves it at its own default, distroless. What was compiled here runs only with a C library
/// that is as new as this machine's, which then goes into the image.
async fn base(site: &Site) -> Option<String> {
    let given = std::env::var("PENSTOCK_BASE").ok().filter(|v| !v.is_empty());
    if given.is_some() {
        return given;
    }
    let is_newer = output(Command::new("getconf").arg("GNU_LIBC_VERSION"), SHORT).await.is_ok_and(|said| is_newer_than_distroless(&said));
    (site.ground == Ground::Local || is_newer).then(|| SCRATCH.to_owned())
}

/// Of what `getconf` says, such as `glibc 2.39`.
fn is_newer_than_distroless(said: &str) -> bool {
    let version = said.split_whitespace().nth(1).and_then(|version| version.split_once('.'));
    version.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))).is_some_and(|it| it > DISTROLESS_LIBC)
}

async fn docker_build(site: &Site, product: &Product, base: Option<&str>, recipe: &str, context: &Path) -> Result<()> {
    let mut command = site.docker();
    command.args(["build", "--target", product.target, "--label", &format!("{RECIPE}={recipe}")]);
    command.args(["--tag", &product.latest(), "--tag", &product.tagged(recipe)]);
    if let Some(base) = base {
        command.args(["--build-arg", &format!("BASE={base}")]);
    }
    command.arg("--file").arg(product.dockerfile()).arg(context);
    logged(&format!("docker build {}", product.latest()), command, &site.instance.log(&format!("build-{}", product.binary))).await
}

/// A hash of all that goes into one image; the other images' binaries are not part of it.
fn recipe(base: Option<&str>, product: &Product, context: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(base.unwrap_or_default());
    let others: Vec<_> = PRODUCTS.iter().map(|p| p.binary).filter(|name| *name != product.binary).map(OsStr::new).collect();
    for file in std::iter::once(product.dockerfile()).chain(files::below(context)?) {
        if file.file_name().is_some_and(|name| others.contains(&name)) {
            continue;
        }
        hash.update(file.strip_prefix(context).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hash.update(Sha256::digest(std::fs::read(&file).map_err(at("read", &file))?));
    }
    Ok(short_hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::is_newer_than_distroless;

    #[test]
    fn a_c_library_that_distroless_cannot_stand_in_for_is_told() {
        for (said, newer) in
            [("glibc 2.36\n", false), ("glibc 2.35", false), ("glibc 2.39", true), ("glibc 2.4", false), ("glibc 3.0", true), ("", false)]
        {
            assert_eq!(is_newer_than_distroless(said), newer, "{said}");
        }
    }
}
