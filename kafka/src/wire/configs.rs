//! What is set on topics. The library also asks what each value would be otherwise, and keeps all of the some forty values of a topic, of
//! which few are set on it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::settings::DESCRIBE;
use super::{Entrances, Lines, decode, is_too_large, outcome};
use crate::error::{Error, Result};
use crate::topic::{ConfigEntry, ConfigSource, PerTopic, TopicConfig};

/// The kind of resource that a topic is.
const TOPIC: i8 = 2;
/// How many topics one request names: an answer has some 2 KiB for each.
const TOPICS: usize = 500;
/// The inherited keys that tell how a topic stores its records.
const IN_BRIEF: [&str; 2] = ["cleanup.policy", "min.insync.replicas"];

/// What is set on topics themselves, and [`IN_BRIEF`] wherever their values come from. Any broker can tell.
pub(crate) async fn configs_in_brief(
    lines: &Lines,
    entrances: &Entrances,
    bootstrap: &[String],
    client_id: &str,
    names: &[&str],
    limit: Duration,
) -> Result<PerTopic<TopicConfig>> {
    let deadline = Instant::now() + limit;
    let (mut all, mut left) = (PerTopic::new(), names.chunks(TOPICS).collect::<Vec<_>>());
    while let Some(some) = left.pop() {
        let resource = |name: &&str| {
            let name = StrBytes::from_string((*name).to_owned());
            DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(name).with_configuration_keys(None)
        };
        let question = DescribeConfigsRequest::default().with_resources(some.iter().map(resource).collect());
        match ask_any(lines, entrances, bootstrap, client_id, &question, deadline).await {
            Ok(mut answer) => {
                let answer: DescribeConfigsResponse = decode(&mut answer, DESCRIBE.1)?;
                all.extend(answer.results.into_iter().map(read));
            }
            Err(error) if is_too_large(&error) && some.len() > 1 => {
                let (one, other) = some.split_at(some.len() / 2);
                left.extend([one, other]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Asks one broker after the other until one answers.
async fn ask_any(
    lines: &Lines,
    entrances: &Entrances,
    bootstrap: &[String],
    client_id: &str,
    question: &DescribeConfigsRequest,
    deadline: Instant,
) -> Result<Bytes> {
    let mut failed = Error::Unreachable { reason: "there is no bootstrap server".to_owned() };
    for (broker, limit) in entrances.in_turn(bootstrap, deadline) {
        match lines.ask(&broker, client_id, DESCRIBE, question, limit).await {
            Err(error @ Error::Unreachable { .. }) => failed = error,
            Err(error) => return Err(error),
            Ok(answer) => {
                entrances.answers(broker);
                return Ok(answer);
            }
        }
    }
    Err(failed)
}

fn read(told: DescribeConfigsResult) -> (String, Result<TopicConfig>) {
    let name = told.resource_name.to_string();
    let result = outcome(told.error_code, told.error_message.map(|message| message.to_string())).map_err(|error| match error {
        Error::UnknownTopic { .. } => Error::UnknownTopic { topic: name.clone() },
        error => error,
    });
    let config = result.map(|()| TopicConfig { entries: told.configs.into_iter().filter_map(entry).collect::<BTreeMap<_, _>>() });
    (name, config)
}

fn entry(told: DescribeConfigsResourceResult) -> Option<(String, ConfigEntry)> {
    let source = source(told.config_source);
    let is_wanted = source == ConfigSource::DynamicTopic || IN_BRIEF.contains(&&*told.name);
    let entry = || ConfigEntry {
        value: told.value.as_ref().map(|value| value.to_string()),
        source,
        is_default: source == ConfigSource::Default,
        is_sensitive: told.is_sensitive,
        is_read_only: told.read_only,
    };
    is_wanted.then(|| (told.name.to_string(), entry()))
}

/// By Kafka's number for it (`DescribeConfigsResponse.ConfigSource`).
fn source(number: i8) -> ConfigSource {
    match number {
        1 => ConfigSource::DynamicTopic,
        2 => ConfigSource::DynamicBroker,
        3 => ConfigSource::DynamicDefaultBroker,
        4 => ConfigSource::StaticBroker,
        5 => ConfigSource::Default,
        _ => ConfigSource::Other,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::RequestHeader;
    use kafka_protocol::protocol::Decodable;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn of_what_is_inherited_little_is_kept() {
        let told = |name, value: Option<&'static str>, source| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(value.map(StrBytes::from_static_str))
                .with_config_source(source)
        };
        let answer = |code| {
            DescribeConfigsResult::default().with_resource_name(StrBytes::from_static_str("orders")).with_error_code(code).with_configs(
                vec![
                    told("retention.ms", Some("1"), 1),
                    told("min.insync.replicas", Some("2"), 4),
                    told("cleanup.policy", Some("delete"), 5),
                    told("segment.bytes", Some("3"), 4),
                    told("hidden", None, 1),
                ],
            )
        };
        let (name, config) = read(answer(0));
        let config = config.unwrap();
        let seen: Vec<_> = config.entries.iter().map(|(key, entry)| (key.as_str(), entry.value.as_deref(), entry.source)).collect();
        let expected = [
            ("cleanup.policy", Some("delete"), ConfigSource::Default),
            ("hidden", None, ConfigSource::DynamicTopic),
            ("min.insync.replicas", Some("2"), ConfigSource::StaticBroker),
            ("retention.ms", Some("1"), ConfigSource::DynamicTopic),
        ];
        assert_eq!((name.as_str(), seen.as_slice()), ("orders", &expected[..]));
        for (code, error) in
            [(3, Error::UnknownTopic { topic: "orders".to_owned() }), (29, Error::Authorization { message: String::new() })]
        {
            let read = read(answer(code)).1.unwrap_err();
            assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(&error), "{read:?}");
            assert!(!matches!(error, Error::UnknownTopic { .. }) || read == error, "{read:?}");
        }
    }

    /// One that does not answer, in the way of others, costs its part of the time and is not asked first again.
    #[tokio::test]
    async fn whoever_answers_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let well = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(size) = stream.read_i32().await {
                let mut request = vec![0; usize::try_from(size).unwrap()];
                stream.read_exact(&mut request).await.unwrap();
                let asked = RequestHeader::decode(&mut Bytes::from(request), 2).unwrap();
                let mut answer = asked.correlation_id.to_be_bytes().to_vec();
                // The header's end, no throttle, one result without an error or a message, of a topic that has this name and no keys.
                answer.extend([0, 0, 0, 0, 0, 2, 0, 0, 0, TOPIC.cast_unsigned(), 7]);
                answer.extend(b"orders\x01\0\0");
                stream.write_i32(i32::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        let (lines, entrances) = (Lines::default(), Entrances::default());
        let nobody = "127.0.0.1:1".to_owned();
        let ask =
            async |bootstrap: &[String]| configs_in_brief(&lines, &entrances, bootstrap, "t", &["orders"], Duration::from_secs(5)).await;
        assert!(matches!(ask(std::slice::from_ref(&nobody)).await, Err(Error::Unreachable { .. })));
        for _ in 0..2 {
            let told = ask(&[nobody.clone(), well.clone()]).await.unwrap();
            assert_eq!(told.into_iter().collect::<Vec<_>>(), [("orders".to_owned(), Ok(TopicConfig { entries: BTreeMap::new() }))]);
            let first = entrances.in_turn(&[], Instant::now()).next().unwrap().0;
            assert_eq!(format!("{}:{}", first.host, first.port), well);
        }
    }
}
