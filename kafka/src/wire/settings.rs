//! What brokers are set to, each by itself and all of them by default.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    ApiKey, DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Asking, Lines, decode, exchange, outcome};
use crate::error::Result;
use crate::topic::BrokerInfo;

pub(super) const DESCRIBE: (ApiKey, i16) = (ApiKey::DescribeConfigs, 4);
/// The kind of resource that a broker is (KIP-226).
const BROKER: i8 = 4;
/// The name that stands for all brokers: what is set there counts for each that is not set otherwise by itself (KIP-226).
const ALL_BROKERS: StrBytes = StrBytes::from_static_str("");
const ALTER: (ApiKey, i16) = (ApiKey::IncrementalAlterConfigs, 1);
const SET: i8 = 0;
const DELETE: i8 = 1;

/// What a broker is set to, as it says itself; none: it does not know such a key.
pub(crate) async fn broker_setting(
    lines: &Lines,
    client_id: &str,
    broker: &BrokerInfo,
    key: &'static str,
    limit: Duration,
) -> Result<Option<String>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_string(broker.id.to_string()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str(key)]));
    let question = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let mut answer = lines.ask(broker, client_id, DESCRIBE, &question, limit).await?;
    value(decode(&mut answer, DESCRIBE.1)?, key)
}

/// What all brokers are set to by default at run time, of these keys. One that is not set is not among the answers.
pub(crate) async fn broker_defaults(asking: &Asking<'_>, keys: &[&'static str]) -> Result<BTreeMap<String, String>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(ALL_BROKERS)
        .with_configuration_keys(Some(keys.iter().map(|key| StrBytes::from_static_str(key)).collect()));
    let question = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let mut answer = asking.ask(asking.broker, DESCRIBE, &question).await?;
    values(decode(&mut answer, DESCRIBE.1)?)
}

fn values(answer: DescribeConfigsResponse) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for result in answer.results {
        outcome(result.error_code, result.error_message.map(|message| message.to_string()))?;
        all.extend(result.configs.into_iter().filter_map(|config| Some((config.name.to_string(), config.value?.to_string()))));
    }
    Ok(all)
}

/// Sets and un-sets what all brokers have by default; all other keys keep their values (KIP-339).
pub(crate) async fn change_broker_defaults(
    broker: &BrokerInfo,
    client_id: &str,
    set: &BTreeMap<&str, String>,
    unset: &BTreeSet<&str>,
    limit: Duration,
) -> Result<()> {
    let change = |key: &str, operation, value: Option<&String>| {
        AlterableConfig::default()
            .with_name(StrBytes::from_string(key.to_owned()))
            .with_config_operation(operation)
            .with_value(value.map(|value| StrBytes::from_string(value.clone())))
    };
    let set = set.iter().map(|(key, value)| change(key, SET, Some(value)));
    let changes = set.chain(unset.iter().map(|key| change(key, DELETE, None))).collect();
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_resource_name(ALL_BROKERS).with_configs(changes);
    let body = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut answer = exchange(broker, client_id, ALTER.0, ALTER.1, &body, limit).await?;
    let answer: IncrementalAlterConfigsResponse = decode(&mut answer, ALTER.1)?;
    answer.responses.into_iter().try_for_each(|told| outcome(told.error_code, told.error_message.map(|message| message.to_string())))
}

fn value(answer: DescribeConfigsResponse, key: &str) -> Result<Option<String>> {
    for result in answer.results {
        outcome(result.error_code, result.error_message.map(|message| message.to_string()))?;
        if let Some(found) = result.configs.into_iter().find(|config| &*config.name == key) {
            return Ok(found.value.map(|value| value.to_string()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};

    use super::*;

    #[test]
    fn the_value_of_a_key() {
        let config = |name, value: Option<&'static str>| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(value.map(StrBytes::from_static_str))
        };
        let answer = |code: i16, configs| {
            let result = DescribeConfigsResult::default().with_error_code(code).with_configs(configs);
            DescribeConfigsResponse::default().with_results(vec![result])
        };
        let both = vec![config("a", Some("1")), config("b", None)];
        for (key, found) in [("a", Some("1")), ("b", None), ("c", None)] {
            assert_eq!(value(answer(0, both.clone()), key), Ok(found.map(str::to_owned)), "{key}");
        }
        assert!(value(answer(29, vec![]), "a").is_err(), "no right to know is no answer");
    }

    /// What cannot be written down fails otherwise than what nobody answers.
    #[tokio::test]
    async fn the_question_can_be_written_down() {
        let nobody = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: 1, rack: None };
        let asked = broker_setting(&Lines::default(), "t", &nobody, "a", Duration::from_secs(5)).await;
        assert!(matches!(asked, Err(crate::Error::Unreachable { .. })), "{asked:?}");
    }
}
