//! Where Kafka is and how to connect to it. Pure.
//!
//! A [`ConnectionSettings`] value is always valid: the constructors and the deserializer go through the same checks.
//! No property of the underlying client library can be passed through.

use std::collections::BTreeSet;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

const DEFAULT_CLIENT_ID: &str = "penstock";
const MAX_SERVERS: usize = 64;
const SERVERS: &str = "bootstrap_servers";
const MAX_CLIENT_ID: usize = 249;

/// Settings that no client can be made from; the message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid settings: {message}")]
pub struct InvalidSettings {
    field: Option<&'static str>,
    message: String,
}

impl InvalidSettings {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into() }
    }

    /// A field of the settings that breaks this rule.
    pub(crate) fn field_must(field: &'static str, rule: &str) -> Self {
        Self { field: Some(field), message: format!("{field} {rule}") }
    }

    fn about(field: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field), message: message.into() }
    }

    /// What is expected of the field, without its name.
    #[cfg(feature = "config")]
    pub(crate) fn rule(&self) -> &str {
        let rule = self.field.and_then(|field| self.message.strip_prefix(field));
        rule.unwrap_or(&self.message).trim_start()
    }

    /// The field at fault, such as `linger` of [`crate::ProducerSettings`]; `None` where it is not one field.
    pub fn field(&self) -> Option<&str> {
        self.field
    }

    /// What is wrong and what is expected, without a prefix.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// How to reach a Kafka cluster: plaintext, by a list of bootstrap servers.
///
/// ```
/// use penstock_kafka::ConnectionSettings;
///
/// let settings = ConnectionSettings::parse("kafka-0:9092,kafka-1:9092")?.with_client_id("billing")?;
/// assert_eq!(settings.bootstrap_servers().len(), 2);
/// assert!(ConnectionSettings::parse("kafka").is_err()); // a port is missing
/// # Ok::<(), penstock_kafka::InvalidSettings>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", rename_all = "camelCase")]
pub struct ConnectionSettings {
    bootstrap_servers: Vec<String>,
    client_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Unchecked {
    bootstrap_servers: Vec<String>,
    #[serde(default)]
    client_id: Option<String>,
}

impl TryFrom<Unchecked> for ConnectionSettings {
    type Error = InvalidSettings;

    fn try_from(raw: Unchecked) -> Result<Self, InvalidSettings> {
        let settings = Self::new(raw.bootstrap_servers)?;
        match raw.client_id {
            Some(id) => settings.with_client_id(id),
            None => Ok(settings),
        }
    }
}

impl ConnectionSettings {
    /// Settings for a cluster that answers at these `host:port` addresses (an IPv6 address stands in brackets).
    ///
    /// # Errors
    /// No server, more than 64, the same one twice, or one that is not `host:port`.
    pub fn new<I, S>(bootstrap_servers: I) -> Result<Self, InvalidSettings>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let bootstrap_servers: Vec<String> = bootstrap_servers.into_iter().map(Into::into).collect();
        if bootstrap_servers.is_empty() || bootstrap_servers.len() > MAX_SERVERS {
            return Err(InvalidSettings::about(SERVERS, format!("give between 1 and {MAX_SERVERS} bootstrap servers, each host:port")));
        }
        let mut seen = BTreeSet::new();
        for server in &bootstrap_servers {
            check_server(server)?;
            if !seen.insert(server) {
                return Err(InvalidSettings::about(SERVERS, format!("bootstrap server {server:?} is listed twice")));
            }
        }
        Ok(Self { bootstrap_servers, client_id: DEFAULT_CLIENT_ID.to_owned() })
    }

    /// Reads a comma-separated list of `host:port`, as environment variables carry it.
    ///
    /// # Errors
    /// As [`ConnectionSettings::new`].
    pub fn parse(list: &str) -> Result<Self, InvalidSettings> {
        Self::new(list.split(',').map(str::trim))
    }

    /// Names this client in the brokers' logs, quotas and metrics. Default `penstock`.
    ///
    /// # Errors
    /// Empty, longer than 249 characters, or with characters other than `[a-zA-Z0-9._-]`.
    pub fn with_client_id(mut self, id: impl Into<String>) -> Result<Self, InvalidSettings> {
        let id = id.into();
        if id.is_empty() || id.len() > MAX_CLIENT_ID || !id.bytes().all(is_name_byte) {
            let rule = format!("client id {id:?} must have 1 to {MAX_CLIENT_ID} characters of a-z, A-Z, 0-9, '.', '_' and '-'");
            return Err(InvalidSettings::about("client_id", rule));
        }
        self.client_id = id;
        Ok(self)
    }

    /// The addresses, each `host:port`.
    pub fn bootstrap_servers(&self) -> &[String] {
        &self.bootstrap_servers
    }

    /// The name this client gives itself.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What every kind of client shares.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("client.id", &self.client_id)
            .set("socket.keepalive.enable", "true")
            // The default of 10 s would leave a client without a connection long after the broker is back.
            .set("reconnect.backoff.ms", "200")
            .set("reconnect.backoff.max.ms", "1000")
            // A broker that has just started may answer with an empty list of brokers. librdkafka forgets every broker that
            // is not in the answer, the configured ones too: without this it would never find its way back.
            .set("metadata.recovery.strategy", "rebootstrap")
            .set("socket.connection.setup.timeout.ms", "10000")
            // Recreated topics and new partitions are noticed by this refresh; the default is five minutes.
            .set("topic.metadata.refresh.interval.ms", "30000")
            // The only sign that a connection is back while nothing is sent; see `health`.
            .set("statistics.interval.ms", "1000")
            .set("log.connection.close", "false");
        config
    }
}

/// Logs those of these settings that a client is given, as the library understands them.
pub(crate) fn tell(client: &str, config: &ClientConfig, settings: &[&str], own: Option<String>) {
    let Ok(native) = config.create_native_config() else { return };
    let value = |name: &&str| Some(format!("{name}={}", config.get(name).and_then(|_| native.get(name).ok())?));
    let settings: Vec<String> = settings.iter().filter_map(value).chain(own).collect();
    tracing::info!(client, settings = settings.join(" "), "a Kafka client starts");
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn check_server(server: &str) -> Result<(), InvalidSettings> {
    let wrong = |why: &str| InvalidSettings::about(SERVERS, format!("bootstrap server {server:?} {why}; expected host:port"));
    let (host, port) = server.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => {}
        _ => return Err(wrong("has no port between 1 and 65535")),
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("has no port between 1 and 65535"));
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(wrong("has no IPv6 address in its brackets")),
        };
    }
    if host.is_empty() || host.len() > 253 {
        return Err(wrong("has no host of 1 to 253 characters"));
    }
    if !host.bytes().all(is_name_byte) {
        return Err(wrong("has a host with characters other than letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_host_and_port() {
        let table = [
            ("localhost:9092", true),
            ("kafka-0.kafka.ns.svc.cluster.local:9092", true),
            ("127.0.0.1:1", true),
            ("[::1]:9092", true),
            ("a:9092, b:9093", true),
            ("", false),
            ("kafka", false),
            ("kafka:", false),
            ("kafka:0", false),
            ("kafka:65536", false),
            ("kafka:+92", false),
            (":9092", false),
            ("ka fka:9092", false),
            ("http://kafka:9092", false),
            ("::1:9092", false),
            ("[::1:9092", false),
            ("a:9092,,b:9092", false),
            ("a:9092,a:9092", false),
            ("kafka:9092\nsasl.password", false),
        ];
        for (list, valid) in table {
            assert_eq!(ConnectionSettings::parse(list).is_ok(), valid, "{list:?}");
        }
    }

    #[test]
    fn client_ids_are_names() {
        let settings = ConnectionSettings::parse("a:1").unwrap();
        for (id, valid) in [("worker-1", true), ("a.b_c", true), ("", false), ("a b", false), ("a\0", false)] {
            assert_eq!(settings.clone().with_client_id(id).is_ok(), valid, "{id:?}");
        }
        assert!(settings.with_client_id("x".repeat(250)).is_err());
    }

    #[test]
    fn the_deserializer_checks_too() {
        let read = serde_json::from_str::<ConnectionSettings>;
        assert_eq!(read(r#"{"bootstrapServers": ["a:1"]}"#).unwrap(), ConnectionSettings::parse("a:1").unwrap());
        for bad in [
            r#"{"bootstrapServers": []}"#,
            r#"{"bootstrapServers": ["a"]}"#,
            r#"{"bootstrapServers": ["a:1"], "clientId": "a b"}"#,
            r#"{"bootstrapServers": ["a:1"], "sasl.password": "x"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let settings = ConnectionSettings::parse("a:1,b:2").unwrap().with_client_id("x").unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<ConnectionSettings>(&json).unwrap(), settings);
    }
}
