//! The handler of `tests/handler`, which does as each record tells it.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{LIMIT, Result, Scene, until};

/// Its image.
pub const HANDLER: &str = "penstock/test-handler:dev";
/// Where the one listens that all workers share.
const SHARED_PORT: u16 = 9000;

/// What a container asks for where others wait for what is left.
#[must_use]
pub fn little() -> Value {
    json!({"requests": {"cpu": "10m", "memory": "32Mi"}})
}

impl Scene {
    /// Starts one that workers share, as they would a database, and gives its address.
    ///
    /// # Errors
    /// It is refused, or never ready.
    pub async fn shared_handler(&self) -> Result<String> {
        let spec = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "shared", "image": HANDLER, "imagePullPolicy": "Never", "resources": little(),
                "env": [{"name": "PORT", "value": SHARED_PORT.to_string()}],
                "readinessProbe": {"tcpSocket": {"port": SHARED_PORT}, "periodSeconds": 1},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        });
        self.apply::<Pod>("shared", spec).await?;
        until("what is shared is ready", LIMIT, async || {
            let status = self.api::<Pod>().get("shared").await?.status.unwrap_or_default();
            let is_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            status.pod_ip.as_ref().filter(|_| is_ready).map(|ip| format!("{ip}:{SHARED_PORT}")).ok_or_else(|| format!("{status:?}").into())
        })
        .await
    }
}
