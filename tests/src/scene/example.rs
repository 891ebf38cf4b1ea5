//! `examples/orders`, applied as its README says, and the orders that are posted to it.

use penstock_crds::EventPipeline;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{LIMIT, Result, Scene, install, until};
use crate::cluster::Tool;

/// The namespace of the example.
pub const NAMESPACE: &str = "shop";
/// The pipeline of service A.
pub const GATEWAY: &str = "orders";
/// The pipeline of service B.
pub const PAYMENTS: &str = "payments";
/// The port of service A.
pub const GATEWAY_PORT: u16 = 3001;
/// The topics of the example, by their names in Kafka.
pub const TOPICS: [&str; 3] = ["orders", "payments", "orders.DLT"];
/// The dead letter topic.
pub const DEAD_LETTERS: &str = "orders.DLT";

/// Applies the example and waits until both of its pipelines are ready.
///
/// # Errors
/// It cannot be applied, or is never ready.
pub async fn applied() -> Result<Scene> {
    let scene = Scene::at(NAMESPACE).await?;
    install::once(&scene.cluster).await?;
    let mut apply = scene.cluster.tool(Tool::Kubectl);
    // Whoever has followed the example has changed it: `kubectl scale`, `kubectl patch`.
    apply.args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(scene.cluster.repository().join("examples/orders"));
    install::run(apply).await?;
    for pipeline in [GATEWAY, PAYMENTS] {
        scene.ready::<EventPipeline>(pipeline).await?;
    }
    Ok(scene)
}

/// An order that is valid in every field.
#[must_use]
pub fn order() -> Value {
    json!({
        "orderId": Uuid::new_v4(), "userId": "user-1", "amount": 59.97, "currency": "USD",
        "items": [{"productId": "p-1", "quantity": 3, "price": 19.99}],
    })
}

/// The id of an order.
#[must_use]
pub fn id_of(order: &Value) -> &str {
    order["orderId"].as_str().unwrap_or_default()
}

impl Scene {
    /// Waits until a gateway's pod says that an order is `completed` or `failed`, and gives its answer.
    ///
    /// # Errors
    /// It never does.
    pub async fn settled(&self, pod: &str, order: &str) -> Result<Value> {
        until(&format!("order {order} settles on {pod}"), LIMIT, async || {
            let reply = self.get(pod, GATEWAY_PORT, &format!("/orders/{order}")).await?;
            match reply.body.get("status").and_then(Value::as_str) {
                Some("completed" | "failed") if reply.status == 200 => Ok(reply.body),
                _ => Err(format!("{} {}", reply.status, reply.body).into()),
            }
        })
        .await
    }
}
