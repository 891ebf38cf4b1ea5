//! Volumes of kind's provisioner, which may stand still for good.
//!
//! It takes a lock for reading that it has already; where its look at its settings, one each 30 s, comes in between, nothing gets a
//! volume any more (`getPathOnNode` and `isSharedFilesystem` of rancher/local-path-provisioner 0.0.30). Another one of it goes on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};

use super::Result;

const NAMESPACE: &str = "local-path-storage";
const PROVISIONER: &str = "app=local-path-provisioner";
/// A volume takes some seconds.
const STANDS_STILL: Duration = Duration::from_secs(60);

/// Replaces the provisioner if a claim of this namespace has waited for too long. True: it has.
///
/// # Errors
/// Kubernetes does not answer.
pub async fn unblock(client: &Client, namespace: &str) -> Result<bool> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
    let since = Timestamp::now().checked_sub(SignedDuration::try_from(STANDS_STILL)?)?;
    let waits = |claim: &PersistentVolumeClaim| {
        let is_pending = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
        is_pending && claim.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 < since)
    };
    if !claims.iter().any(waits) {
        return Ok(false);
    }
    eprintln!("    no volume for {namespace} within {} s: another provisioner takes over", STANDS_STILL.as_secs());
    let provisioners = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    provisioners.delete_collection(&DeleteParams::default(), &ListParams::default().labels(PROVISIONER)).await?;
    Ok(true)
}
