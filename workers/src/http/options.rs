//! The options that every front has, read once and right ever after. Pure.

use std::time::Duration;

use http::HeaderValue;
use penstock_crds::processor::Options;
use tower_http::cors::AllowOrigin;

use crate::error::ConfigError;

/// The options that every front has.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The largest body that is read, in bytes.
    pub max_body_bytes: usize,
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
        let max_body_bytes = options.integer("maxBodyBytes").and_then(|n| usize::try_from(n).ok());
        Ok(Self {
            max_body_bytes: max_body_bytes.ok_or_else(|| missing("maxBodyBytes"))?,
            produce_timeout: options.duration("produceTimeout").ok_or_else(|| missing("produceTimeout"))?,
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
