//! Reads a worker's configuration and checks what its types cannot say.

use std::{fs, path::Path, time::Duration};

use penstock_crds::{
    processor::{Choice, Need, SourceKind, TableUse},
    worker::{KafkaInput, WorkerConfig, WorkerSource},
};
use penstock_kafka::{ConnectionSettings, validate_topic_name};

use crate::error::ConfigError;

/// More records in process at once than this is a mistake.
const MAX_CONCURRENCY: u16 = 1_024;
/// The names of a pipeline may be longer than what Kafka takes for the name of a client.
const MAX_CLIENT_ID: usize = 200;
const DRAIN_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));

/// Reads and checks the file.
///
/// # Errors
/// It cannot be read, is no configuration, or asks for something that cannot be; the message tells what to change.
pub fn load(path: &Path) -> Result<WorkerConfig, ConfigError> {
    let text = fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let config = serde_json::from_slice(&text).map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })?;
    check(&config)?;
    Ok(config)
}

/// Checks what the types cannot say.
///
/// # Errors
/// [`ConfigError::Invalid`] with everything that is wrong.
pub fn check(config: &WorkerConfig) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    if let Err(error) = connection(config) {
        problems.push(format!("bootstrapServers: {error}"));
    }
    let (shortest, longest) = DRAIN_BOUNDS;
    if !(shortest..=longest).contains(&config.drain_timeout) {
        problems.push("drainTimeout must be from 1s to 1h".to_owned());
    }
    if config.admin_port == 0 {
        problems.push("adminPort must be from 1 to 65535".to_owned());
    }
    for topic in config.table.iter().chain(&config.keys).chain(&config.sink) {
        check_topic(topic, &mut problems);
    }
    match &config.source {
        WorkerSource::Kafka(input) => check_input(input, &mut problems),
        WorkerSource::Http { port, .. } if *port == 0 || *port == config.admin_port => {
            problems.push("source.http.port must be from 1 to 65535 and not adminPort".to_owned());
        }
        WorkerSource::Http { .. } => {}
    }
    check_processor(config, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
}

/// How to reach Kafka.
///
/// # Errors
/// What is wrong with the list of brokers.
pub(crate) fn connection(config: &WorkerConfig) -> Result<ConnectionSettings, penstock_kafka::InvalidSettings> {
    let id: String = format!("penstock-{}", pipeline(config).replace('/', ".")).chars().take(MAX_CLIENT_ID).collect();
    ConnectionSettings::new(&config.bootstrap_servers)?.with_client_id(id)
}

/// The pipeline, as `namespace/name`.
pub(crate) fn pipeline(config: &WorkerConfig) -> String {
    format!("{}/{}", config.pipeline.namespace, config.pipeline.name)
}

/// The name that `/health` answers with.
pub(crate) fn service(config: &WorkerConfig) -> String {
    let options = match &config.processor {
        Choice::Builtin(one) => one.options(&config.pipeline.name).ok(),
        Choice::ByType { .. } | Choice::Http(_) | Choice::Image { .. } => None,
    };
    options.and_then(|options| options.text("serviceName").map(str::to_owned)).unwrap_or_else(|| config.pipeline.name.clone())
}

fn check_topic(topic: &str, problems: &mut Vec<String>) {
    if let Err(error) = validate_topic_name(topic) {
        problems.push(error.to_string());
    }
}

fn check_input(input: &KafkaInput, problems: &mut Vec<String>) {
    for topic in input.topics.iter().chain([&input.dead_letter.topic]) {
        check_topic(topic, problems);
    }
    let retry = input.retry;
    for (wrong, problem) in [
        (input.topics.is_empty(), "source.kafka.topics must name at least one topic"),
        (input.topics.contains(&input.dead_letter.topic), "source.kafka.deadLetter.topic must not be a source: it would feed itself"),
        (input.group.is_empty() || input.group.len() > 255, "source.kafka.group must have 1 to 255 characters"),
        (!(1..=MAX_CONCURRENCY).contains(&input.concurrency), "source.kafka.concurrency must be from 1 to 1024"),
        (retry.attempts == 0, "source.kafka.retry.attempts must be at least 1"),
        (retry.initial_backoff > retry.max_backoff, "source.kafka.retry.initialBackoff must not be longer than maxBackoff"),
    ] {
        if wrong {
            problems.push(problem.to_owned());
        }
    }
}

fn check_processor(config: &WorkerConfig, problems: &mut Vec<String>) {
    let choice = &config.processor;
    let shape = match choice.shape() {
        Ok(shape) => shape,
        Err(error) => return problems.push(format!("processor: {error}")),
    };
    let source = match config.source {
        WorkerSource::Kafka(_) => SourceKind::Kafka,
        WorkerSource::Http { .. } => SourceKind::Http,
    };
    if matches!(choice, Choice::Http(call) if call.port == config.admin_port) {
        problems.push("processor.http.port must not be adminPort".to_owned());
    }
    let name = choice.name();
    if shape.source != source {
        problems.push(format!("source: {name} handles {:?}, not {source:?}", shape.source));
    }
    for (part, need, given) in [("sink", shape.sink, config.sink.is_some()), ("table", shape.table.need(), !config.table.is_empty())] {
        let fits = match need {
            Need::Required => given,
            Need::Optional => true,
            Need::Forbidden => !given,
        };
        if !fits {
            let verb = if given { "takes no" } else { "needs a" };
            problems.push(format!("{part}: {name} {verb} {part}"));
        }
    }
    if config.keys.is_some() && shape.table != TableUse::Answers {
        problems.push(format!("keys: {name} takes no keys beside a table"));
    }
    if let Err(error) = choice.with_every_option(&config.pipeline.name) {
        problems.push(format!("processor: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn payments() -> Value {
        json!({
            "pipeline": {"namespace": "shop", "name": "payments"},
            "bootstrapServers": ["kafka:9092"],
            "source": {"kafka": {
                "topics": ["orders"], "group": "g", "startFrom": "Earliest", "delivery": "AtLeastOnce", "ordering": "Key",
                "concurrency": 16, "retry": {"attempts": 4, "initialBackoff": "200ms", "maxBackoff": "5s"},
                "deadLetter": {"topic": "orders.DLT", "format": "Envelope"},
            }},
            "processor": {"builtin": "payments", "options": {"serviceName": "service-b"}},
            "sink": "payments",
            "adminPort": 3002,
            "drainTimeout": "25s",
        })
    }

    #[test]
    fn what_cannot_be_says_what_to_change() {
        for (pointer, value, problem) in [
            ("/adminPort", json!(3002), None),
            ("/adminPort", json!(0), Some("adminPort")),
            ("/bootstrapServers", json!([]), Some("bootstrapServers")),
            ("/bootstrapServers/0", json!("kafka"), Some("has no port")),
            ("/drainTimeout", json!("10ms"), Some("drainTimeout")),
            ("/source/kafka/topics", json!([]), Some("at least one topic")),
            ("/source/kafka/topics/0", json!("a b"), Some("topic name")),
            ("/source/kafka/group", json!(""), Some("group")),
            ("/source/kafka/concurrency", json!(0), Some("concurrency")),
            ("/source/kafka/retry/attempts", json!(0), Some("attempts")),
            ("/source/kafka/retry/initialBackoff", json!("6s"), Some("initialBackoff")),
            ("/source/kafka/deadLetter/topic", json!("orders"), Some("feed itself")),
            ("/processor/builtin", json!("nothing"), Some("`nothing` is not a built-in processor")),
            ("/processor/builtin", json!("orders-gateway"), Some("source: orders-gateway handles Http")),
            ("/processor/options", json!({"speed": "fast"}), Some("`speed` is not an option")),
            ("/processor", json!({"byType": {"a": {"builtin": "payments"}}}), None),
            ("/processor", json!({"byType": {"a": {"builtin": "log"}}}), Some("sink: by-type takes no sink")),
            ("/processor", json!({"byType": {"a": {"builtin": "orders-gateway"}}}), Some("the handler of `a` is orders-gateway")),
            ("/processor", json!({"http": {"port": 9000, "path": "/", "timeout": "10s"}}), None),
            (
                "/processor",
                json!({"http": {"port": 3002, "path": "/", "timeout": "10s"}}),
                Some("processor.http.port must not be adminPort"),
            ),
            ("/processor", json!({"image": {"options": {"a": "b"}}}), None),
            ("/sink", json!(null), Some("sink: payments needs a sink")),
            ("/source", json!({"http": {"port": 3002}}), Some("not adminPort")),
        ] {
            let mut config = payments();
            *config.pointer_mut(pointer).unwrap() = value;
            let found = check(&serde_json::from_value(config).unwrap()).map_err(|error| error.to_string());
            match (found, problem) {
                (Ok(()), None) => {}
                (Err(found), Some(part)) if found.contains(part) => {}
                (found, _) => panic!("{pointer}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.json");
        assert!(matches!(load(&path), Err(ConfigError::Unreadable { .. })));
        fs::write(&path, r#"{"speed": 1}"#).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("worker.json is not a worker configuration: unknown field `speed`"));
        fs::write(&path, payments().to_string()).unwrap();
        let config = load(&path).unwrap();
        assert_eq!((pipeline(&config), service(&config)), ("shop/payments".to_owned(), "service-b".to_owned()));
    }

    #[test]
    fn a_long_name_still_gives_a_client_id() {
        let mut config = payments();
        config["pipeline"]["name"] = json!("p".repeat(253));
        assert!(connection(&serde_json::from_value(config).unwrap()).is_ok());
    }
}
