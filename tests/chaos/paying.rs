//! The processor of the rig's workers: Penstock's `payments`, and a call of the payment service for each order that it accepts.
//!
//! The event's id is the idempotency key of that call, so that a repeated event pays nothing. The payment gets the key of the
//! order's record, so that an order within keys is there to be checked, and names that record.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use penstock_workers::processor::{DynProcessor, Event, Failure, Header, Outcome, Processor};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{history::SOURCE, order::BEHAVIOUR, stub::IDEMPOTENCY_KEY};

/// The processor.
pub struct Paying {
    payments: Arc<dyn DynProcessor>,
    service: Client,
    /// Whether slow orders are slow: a loop that takes one order after the other has no time for that.
    takes_time: bool,
}

impl Paying {
    /// Around the processor that judges orders.
    pub fn new(payments: Arc<dyn DynProcessor>, service: SocketAddr, takes_time: bool) -> Self {
        Self { payments, service: Client::new(service), takes_time }
    }
}

impl Processor for Paying {
    async fn process(&self, event: &Event) -> Outcome {
        match event.header(BEHAVIOUR).map(AsRef::as_ref) {
            Some(b"flaky") if event.attempt == 1 => return Outcome::Retry(Failure::new("Flaky", "it works the second time")),
            Some(b"late") if event.attempt <= 2 => return Outcome::Retry(Failure::new("Late", "it works the third time")),
            Some(b"hopeless") => return Outcome::Retry(Failure::new("Hopeless", "it never works")),
            Some(b"slow") if self.takes_time => tokio::time::sleep(slowness(event.offset)).await,
            _ => {}
        }
        let mut outputs = match Arc::clone(&self.payments).handle(Arc::new(event.clone())).await {
            Outcome::Emit(outputs) => outputs,
            other => return other,
        };
        for output in &mut outputs {
            let order = output.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
            let Some(order) = order else { return Outcome::Reject(Failure::new("NoOrder", "the payment names no order")) };
            if let Err(error) = self.service.pay(&event.id(), order).await {
                return Outcome::Retry(Failure::new("PaymentService", error.to_string()));
            }
            output.key.clone_from(&event.key);
            output.headers.push(Header { name: SOURCE.to_owned(), value: Some(event.id().into()) });
        }
        Outcome::Emit(outputs)
    }
}

/// How long a slow order takes: around the time that a worker has to hand its partition over, and beyond.
fn slowness(offset: i64) -> Duration {
    Duration::from_secs(2 + offset.unsigned_abs() % 12)
}

/// Calls the payment service, over connections that are kept.
pub struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<http1::SendRequest<String>>>,
}

/// Why a call has failed. The payment may have been made.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens.
    #[error("the payment service cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    /// The connection broke.
    #[error("the call of the payment service broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It is no valid call.
    #[error("the call of the payment service is not valid: {0}")]
    Invalid(#[from] http::Error),
    /// It answered with an error.
    #[error("the payment service answered {0}")]
    Refused(http::StatusCode),
}

impl Client {
    /// For the service at that address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Pays an order.
    ///
    /// # Errors
    /// See [`CallError`]; the call may be repeated with the same key.
    pub async fn pay(&self, key: &str, order: Uuid) -> Result<(), CallError> {
        let mut connection = self.connection().await?;
        let request =
            Request::post(format!("/payments/{order}")).header("host", "payments").header(IDEMPOTENCY_KEY, key).body(String::new())?;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        if answer.status().is_success() { Ok(()) } else { Err(CallError::Refused(answer.status())) }
    }

    async fn connection(&self) -> Result<http1::SendRequest<String>, CallError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(kept) = kept.filter(|kept| !kept.is_closed()) {
            return Ok(kept);
        }
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // A broken connection fails the call that waits on it.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
