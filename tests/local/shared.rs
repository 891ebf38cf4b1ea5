//! One broker for all tests that do nothing to it, each with topics and groups of its own names. It ends with the last of them.

use std::sync::{Arc, Weak};

use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::Result,
};
use tokio::sync::Mutex;

static SHARED: Mutex<Weak<Brokers>> = Mutex::const_new(Weak::new());

/// The broker that runs, or a new one.
pub async fn broker() -> Result<Arc<Brokers>> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(Brokers::start(1, BrokerSettings::default()).await?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}
