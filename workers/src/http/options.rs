//! The options that every front has, read once and right ever after. Pure.

use std::time::Duration;

use http::HeaderValue;
use penstock_crds::processor::Options;
use tower_http::cors::AllowOrigin;

use super::{body::GateBounds, patience::Patience, server::ServerBounds};
use crate::error::ConfigError;

/// The options that every front has.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// What connections may take.
    pub server: ServerBounds,
    /// What requests may take.
    pub gate: GateBounds,
    /// How long a request waits for Kafka's acknowledgement.
    pub produce_timeout: Duration,
    /// Who may call from a browser.
    pub cors_origin: AllowOrigin,
}

impl HttpOptions {
    /// Reads options that the processor's own table has checked.
    ///
    /// # Errors
    /// When `corsOrigin` is not what a browser would send as an origin.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let missing = |name: &str| ConfigError::invalid(format!("option {name} is missing"));
        let number = |name: &str| options.integer(name).and_then(|n| usize::try_from(n).ok());
        let count = |name: &str| number(name).ok_or_else(|| missing(name));
        let duration = |name: &str| options.duration(name).ok_or_else(|| missing(name));
        let connections = count("maxConnections")?;
        Ok(Self {
            server: ServerBounds {
                connections,
                connections_of_one: number("maxConnectionsPerPeer").unwrap_or(connections),
                head_bytes: count("maxHeadBytes")?,
                patience: Patience { idle: duration("idleTimeout")?, head: duration("headTimeout")?, answer: duration("answerTimeout")? },
            },
            gate: GateBounds {
                body_bytes: count("maxBodyBytes")?,
                body_timeout: duration("bodyTimeout")?,
                body_idle_timeout: duration("bodyIdleTimeout")?,
                memory_bytes: count("bodyMemoryBytes")?,
                requests: count("maxRequests")?,
            },
            produce_timeout: duration("produceTimeout")?,
            cors_origin: cors_origin(options.text("corsOrigin").ok_or_else(|| missing("corsOrigin"))?)?,
        })
    }
}

fn cors_origin(text: &str) -> Result<AllowOrigin, ConfigError> {
    if text == "*" {
        return Ok(AllowOrigin::any());
    }
    let is_origin = text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.path() == "/" && uri.query().is_none());
    match HeaderValue::from_str(text) {
        // A browser sends no path, not even the root: `https://shop.example/` would never match.
        Ok(value) if is_origin && !text.ends_with('/') => Ok(AllowOrigin::exact(value)),
        _ => Err(ConfigError::invalid(format!("option corsOrigin: `{text}` is not an origin such as https://shop.example, or *"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (text, allowed) in [
            ("*", true),
            ("https://shop.example", true),
            ("http://localhost:3000", true),
            ("https://shop.example/", false),
            ("https://shop.example/app", false),
            ("https://shop.example?x=1", false),
            ("shop.example", false),
            ("https://*.example\u{e4}", false),
        ] {
            assert_eq!(cors_origin(text).is_ok(), allowed, "{text}");
        }
    }
}
