//! A payment service that honours idempotency keys, and counts how often it has really paid each order.
//!
//! As a real one it sometimes fails: of the first calls with a key some are refused, and some are answered with an error
//! although the payment was made. A caller that repeats such a call with another key pays twice, and that is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

/// The header of a call that makes it safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Of so many first calls one is refused, and one more answered with an error after the payment.
const ONE_FAILS_OF: u64 = 150;

/// What the service has done.
#[derive(Debug, Default)]
struct Ledger {
    keys: BTreeSet<String>,
    effects: BTreeMap<Uuid, u64>,
    calls: u64,
}

impl Ledger {
    fn pay(&mut self, key: &str, order: Uuid) -> StatusCode {
        self.calls += 1;
        let place = place(key, self.keys.contains(key));
        if place == Some(0) && self.keys.insert(refused(key)) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        if self.keys.insert(key.to_owned()) {
            *self.effects.entry(order).or_default() += 1;
            if place == Some(1) {
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        StatusCode::NO_CONTENT
    }
}

/// Which of the fates a first call has; none for a repeated one. The same for the same key.
fn place(key: &str, repeated: bool) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (!repeated).then(|| hasher.finish() % ONE_FAILS_OF)
}

fn refused(key: &str) -> String {
    format!("refused {key}")
}

type Shared = Arc<Mutex<Ledger>>;

fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service. Dropped, it ends.
#[derive(Debug)]
pub struct PaymentService {
    address: SocketAddr,
    ledger: Shared,
    task: JoinHandle<()>,
}

impl PaymentService {
    /// Listens on a port of loopback that is free.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let ledger = Shared::default();
        let routes = Router::new().route("/payments/{order}", post(pay)).with_state(Arc::clone(&ledger));
        let task = tokio::spawn(async move {
            // It ends with the run, never by itself.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, ledger, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it has paid each order.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<Uuid, u64> {
        lock(&self.ledger).effects.clone()
    }

    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.ledger).calls
    }
}

impl Drop for PaymentService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pay(State(ledger): State<Shared>, Path(order): Path<Uuid>, headers: HeaderMap) -> StatusCode {
    match headers.get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()) {
        Some(key) => lock(&ledger).pay(key, order),
        None => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pays_once_and_another_key_again() {
        let mut ledger = Ledger::default();
        for number in 0..1_000_u128 {
            let (key, order) = (format!("orders/0/{number}"), Uuid::from_u128(number));
            let mut answers = vec![ledger.pay(&key, order)];
            while answers.last() != Some(&StatusCode::NO_CONTENT) {
                answers.push(ledger.pay(&key, order));
            }
            assert!(answers.len() <= 2, "{answers:?}");
            assert_eq!(ledger.pay(&key, order), StatusCode::NO_CONTENT);
        }
        assert_eq!(ledger.effects.len(), 1_000);
        assert!(ledger.effects.values().all(|times| *times == 1));
        assert!(ledger.calls > 2_000, "some calls had to be repeated: {}", ledger.calls);
        while ledger.pay("another key", Uuid::from_u128(5)) != StatusCode::NO_CONTENT {}
        assert_eq!(ledger.effects[&Uuid::from_u128(5)], 2);
    }

    #[tokio::test]
    async fn calls_come_by_http() {
        let service = PaymentService::start().await.unwrap();
        let client = crate::paying::Client::new(service.address());
        let order = Uuid::from_u128(7);
        while client.pay("orders/0/1", order).await.is_err() {}
        client.pay("orders/0/1", order).await.unwrap();
        assert_eq!(service.effects(), BTreeMap::from([(order, 1)]));
    }
}
