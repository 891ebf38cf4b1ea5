//! Up and down as a whole. Both are idempotent; `up` replaces what is broken, `down` removes whatever it finds.

use super::error::{HarnessError, Result, at};
use super::ground::{self, Ground};
use super::lock;
use super::progress::note;
use super::site::Site;
use super::{daemon, files, kind, node_image, orphans, packages, tools};

/// Brings the cluster up, or finds it well. Sets `began` before it starts anything: a caller that stops waiting after that
/// calls [`down`].
///
/// # Errors
/// Whatever step failed, with its log. What was started so far stays for a look; `up` again replaces it.
pub async fn up(site: &Site, began: &mut bool) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    if ground::recorded(&site.instance)?.is_some() && kind::becomes_healthy(site).await {
        note(&format!("cluster {} is up already", site.instance.name()));
        return Ok(());
    }
    orphans::end_all();
    packages::ensure(site).await?;
    *began = true;
    record(site)?;
    let node_image = {
        let cache = lock::acquire(&site.cache.lock(), "the cache").await?;
        tools::ensure(site, &cache).await?;
        match site.ground {
            Ground::Stock => node_image::given(),
            Ground::Local => {
                node_image::refuse_given()?;
                daemon::start(site).await?;
                Some(node_image::ensure(site, &cache).await?)
            }
        }
    };
    if !kind::nodes(site).await?.is_empty() {
        note("the cluster that is there is not well: replacing it");
        kind::delete(site).await?;
    }
    files::remove_file(&site.instance.tags())?;
    kind::create(site, node_image.as_deref()).await
}

/// Removes the cluster and all that belongs to it; keeps the cache.
///
/// # Errors
/// What could not be removed. Calling it again is safe.
pub async fn down(site: &Site) -> Result<()> {
    let _mine = lock::acquire(&site.instance.lock(), &format!("cluster {}", site.instance.name())).await?;
    orphans::end_all();
    match site.ground {
        Ground::Local => {
            if daemon::answers(site).await && site.cache.programs().join("kind").exists() {
                // The daemon removes the containers if this cannot.
                let _ = kind::delete(site).await;
            }
            daemon::stop(site).await?;
        }
        Ground::Stock => {
            if ground::recorded(&site.instance)?.is_some() {
                kind::delete(site).await?;
            } else if kind::is_in(site).await {
                let name = site.instance.name();
                return Err(HarnessError::Input(format!(
                    "a kind cluster {name} is there, but no note that it was made by this. If it may go: docker rm -f -v {name}-control-plane"
                )));
            }
        }
    }
    files::remove(site.instance.root())?;
    note(&format!("cluster {} is down", site.instance.name()));
    Ok(())
}

/// Notes what `down` must know, before anything is started.
fn record(site: &Site) -> Result<()> {
    let (root, file) = (site.instance.root(), site.instance.ground_file());
    std::fs::create_dir_all(root).map_err(at("create", root))?;
    std::fs::write(&file, site.ground.to_string()).map_err(at("write", &file))
}
