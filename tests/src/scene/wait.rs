//! Waiting on a condition: asks again until it holds, and says what was still missing when it never does.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, Result};

/// How long a test waits for what should take seconds. Generous: a machine may be busy, and a wait ends as soon as it may.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(400);

/// Why a condition does not hold yet.
#[derive(Debug)]
pub enum Waiting {
    /// Look again; the text says what is missing.
    NotYet(String),
    /// It never will hold.
    Never(Failure),
}

impl From<String> for Waiting {
    fn from(why: String) -> Self {
        Self::NotYet(why)
    }
}

impl From<&str> for Waiting {
    fn from(why: &str) -> Self {
        Self::NotYet(why.to_owned())
    }
}

impl From<kube::Error> for Waiting {
    fn from(error: kube::Error) -> Self {
        Self::NotYet(error.to_string())
    }
}

impl From<Failure> for Waiting {
    fn from(error: Failure) -> Self {
        Self::NotYet(error.to_string())
    }
}

impl From<penstock_kafka::Error> for Waiting {
    fn from(error: penstock_kafka::Error) -> Self {
        Self::NotYet(error.to_string())
    }
}

/// Looks until `probe` finds what it looks for.
///
/// # Errors
/// It does not hold within `limit`: with `what`, and what was missing at the last look.
pub async fn until<T>(what: &str, limit: Duration, probe: impl AsyncFnMut() -> std::result::Result<T, Waiting>) -> Result<T> {
    until_every(PAUSE, what, limit, probe).await
}

/// The same with another pause between two looks: for who measures how long something takes.
///
/// # Errors
/// As of [`until`].
pub async fn until_every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> std::result::Result<T, Waiting>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        let why = match probe().await {
            Ok(found) => return Ok(found),
            Err(Waiting::Never(error)) => return Err(format!("{what}: {error}").into()),
            Err(Waiting::NotYet(why)) => why,
        };
        if begin.elapsed() >= limit {
            return Err(format!("{what}: not within {} s; last seen: {why}", limit.as_secs()).into());
        }
        sleep(pause).await;
    }
}
