//! What the operator is started with: flags, each with an environment variable behind it.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Makes and keeps what `KafkaCluster`, `KafkaTopic` and `EventPipeline` objects declare.
#[derive(Clone, Debug, Parser)]
#[command(name = "penstock-operator", version, about, after_help = AFTER_HELP)]
pub struct Settings {
    /// The operator's own namespace: only the `KafkaCluster` objects in it have an effect.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "penstock-system")]
    pub namespace: String,
    /// The image that workers run.
    #[arg(long, env = "PENSTOCK_WORKER_IMAGE", value_name = "IMAGE", default_value = "penstock/worker:0.1.0")]
    pub worker_image: String,
    /// How log lines are written.
    #[arg(long, env = "PENSTOCK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or directives such as `info,penstock_operator=debug`.
    #[arg(long, env = "PENSTOCK_LOG_LEVEL", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log_level: EnvFilter,
    /// Where `/livez`, `/readyz` and `/metrics` are served. Where there is no IPv6, `[::]` means `0.0.0.0`.
    #[arg(long, env = "PENSTOCK_HTTP_ADDR", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub http_addr: SocketAddr,
    /// How often each topic is compared with what stands in Kafka, to find drift (1s to 1h).
    #[arg(long, env = "PENSTOCK_RESYNC", value_name = "DURATION", default_value = "25s", value_parser = resync)]
    pub resync: Duration,
    /// How often it is looked at what waits for pipelines with `scaling` (1s to 5m).
    #[arg(long, env = "PENSTOCK_SCALING_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    pub scaling_interval: Duration,
    /// How long one request to Kafka may take (1s to 5m).
    #[arg(long, env = "PENSTOCK_KAFKA_TIMEOUT", value_name = "DURATION", default_value = "15s", value_parser = timeout)]
    pub kafka_timeout: Duration,
    /// For how long all attempts to delete a topic must fail before its `KafkaTopic` goes without it (0s to 1h).
    #[arg(long, env = "PENSTOCK_DELETION_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = deletion_timeout)]
    pub deletion_timeout: Duration,
    /// How long the operator may take to finish what it has begun after SIGTERM (1s to 5m).
    #[arg(long, env = "PENSTOCK_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "20s", value_parser = timeout)]
    pub shutdown_timeout: Duration,
}

const AFTER_HELP: &str = "Connects to the cluster that its pod runs in, else to the one of the current kubeconfig context.\n\
Exits 0 after SIGTERM or SIGINT, and 1 when it could not start or one of its parts ended.";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// A bare word that is no level would be read as a target, and silence all others.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    for word in text.split(',').filter(|directive| !directive.contains(['=', '['])) {
        word.parse::<LevelFilter>()
            .map_err(|_| format!("`{word}` is not a level: write off, error, warn, info, debug, trace, or TARGET=LEVEL"))?;
    }
    EnvFilter::try_new(text).map_err(|why| why.to_string())
}

fn resync(text: &str) -> Result<Duration, String> {
    penstock_crds::duration::parse_bounded(text, SECOND, HOUR)
}

fn timeout(text: &str) -> Result<Duration, String> {
    penstock_crds::duration::parse_bounded(text, SECOND, 300 * SECOND)
}

fn deletion_timeout(text: &str) -> Result<Duration, String> {
    penstock_crds::duration::parse_bounded(text, Duration::ZERO, HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked() {
        let parse = |args: &[&str]| Settings::try_parse_from([&["penstock-operator"], args].concat());
        for (args, expected) in [
            (&["--resync", "5s"][..], Ok(())),
            (&["--resync", "0s"], Err("from 1s to 1h")),
            (&["--kafka-timeout", "soon"], Err("not a duration")),
            (&["--log-format", "xml"], Err("possible values")),
            (&["--log-level", "info,penstock_operator=debug"], Ok(())),
            (&["--log-level", "WARN,penstock_operator[reconcile{name=orders}]=debug"], Ok(())),
            (&["--log-level", "warning"], Err("`warning` is not a level")),
            (&["--log-level", "info,penstock_operator"], Err("`penstock_operator` is not a level")),
            (&["--log-level", "penstock_operator=loud"], Err("--log-level")),
            (&["--http-addr", "8080"], Err("invalid socket address")),
            (&["--speed", "1"], Err("unexpected argument")),
        ] {
            match (parse(args), expected) {
                (Ok(_), Ok(())) => {}
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{args:?}: {e}"),
                (got, _) => panic!("{args:?}: {got:?}"),
            }
        }
    }
}
