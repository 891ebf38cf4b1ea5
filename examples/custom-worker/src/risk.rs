//! Asks a service over HTTP how risky a user is: `GET <service>/users/<id>` with `{"score": 0.3}` as its answer.

use std::{error::Error, future::Future, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use penstock_workers::bytes::Bytes;
use serde::Deserialize;

/// What an answer holds at most, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Knows how risky users are. A trait, so that tests can do without the service.
pub trait Lookup: Send + Sync + 'static {
    /// From 0 to 1; none for a user whom nobody knows.
    fn score(&self, user: &str) -> impl Future<Output = Result<Option<f64>, Unavailable>> + Send;
}

/// The service gives no answer now. It may later.
#[derive(Debug, thiserror::Error)]
#[error("the risk service does not answer: {0}")]
pub struct Unavailable(pub String);

/// The service.
#[derive(Debug)]
pub struct RiskService {
    /// None: nobody is asked, and no user is known.
    address: Option<String>,
    timeout: Duration,
    client: Client<HttpConnector, Empty<Bytes>>,
}

#[derive(Deserialize)]
struct Answer {
    score: f64,
}

impl RiskService {
    /// A client of it. Connects when it is asked first.
    #[must_use]
    pub fn new(address: Option<String>, timeout: Duration) -> Self {
        Self { address, timeout, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn ask(&self, address: &str, user: &str) -> Result<Option<f64>, Box<dyn Error + Send + Sync>> {
        // Whatever a user is called, it stays one segment of the path.
        let user: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let response = self.client.get(format!("{address}/users/{user}").parse()?).await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(format!("it says {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        let Answer { score } = serde_json::from_slice(&body)?;
        Ok(Some(score))
    }
}

impl Lookup for RiskService {
    async fn score(&self, user: &str) -> Result<Option<f64>, Unavailable> {
        let Some(address) = &self.address else { return Ok(None) };
        match tokio::time::timeout(self.timeout, self.ask(address, user)).await {
            Ok(answer) => answer.map_err(|error| Unavailable(error.to_string())),
            Err(_) => Err(Unavailable(format!("no answer within {:?}", self.timeout))),
        }
    }
}
