//! How workers read from and write to Kafka: the spec with its defaults filled in. Pure.

use std::{ops::RangeInclusive, time::Duration};

use penstock_crds::{
    clients::{CircuitBreaker, Fetch, Producer},
    duration,
    pipeline::KafkaSource,
    worker::{Breaking, DEFAULT_SESSION_TIMEOUT, Fetching, GroupProtocol, Producing},
};

use super::validate::invalid;
use crate::refusal::Refusal;

const MIN_BYTES: RangeInclusive<u32> = 1..=1 << 20;
const MAX_BYTES: RangeInclusive<u32> = 1 << 20..=64 << 20;
const PARTITION_MAX_BYTES: RangeInclusive<u32> = 16 << 10..=16 << 20;
const MAX_WAIT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
const SESSION_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(6)..=Duration::from_secs(300);
const BATCH_BYTES: RangeInclusive<u32> = 1 << 10..=1 << 20;
const LINGER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
const FAILURES: RangeInclusive<u32> = 1..=10_000;
const BREAK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// How records are fetched.
///
/// # Errors
/// `InvalidSpec`, when a number or duration is out of its bounds.
pub fn fetching(declared: Option<&Fetch>) -> Result<Fetching, Refusal> {
    let mut fetching = Fetching::default();
    let Some(Fetch { min_bytes, max_bytes, partition_max_bytes, max_wait }) = declared else { return Ok(fetching) };
    set_number(&mut fetching.min_bytes, *min_bytes, &MIN_BYTES, "source.kafka.fetch.minBytes")?;
    set_number(&mut fetching.max_bytes, *max_bytes, &MAX_BYTES, "source.kafka.fetch.maxBytes")?;
    set_number(&mut fetching.partition_max_bytes, *partition_max_bytes, &PARTITION_MAX_BYTES, "source.kafka.fetch.partitionMaxBytes")?;
    set_duration(&mut fetching.max_wait, max_wait.as_deref(), &MAX_WAIT, "source.kafka.fetch.maxWait")?;
    if max_bytes.is_none() {
        fetching.max_bytes = fetching.max_bytes.max(fetching.partition_max_bytes);
    } else if fetching.partition_max_bytes > fetching.max_bytes {
        return Err(invalid("source.kafka.fetch.partitionMaxBytes must not be more than source.kafka.fetch.maxBytes"));
    }
    Ok(fetching)
}

/// After how long a silent worker is given up.
///
/// # Errors
/// `InvalidSpec`, when it is out of its bounds, or when the brokers decide.
pub fn session_timeout(source: &KafkaSource) -> Result<Duration, Refusal> {
    let mut timeout = DEFAULT_SESSION_TIMEOUT;
    if source.session_timeout.is_some() && source.group_protocol == GroupProtocol::Consumer {
        return Err(invalid("source.kafka.sessionTimeout goes with `groupProtocol: Classic`: with Consumer the brokers decide"));
    }
    set_duration(&mut timeout, source.session_timeout.as_deref(), &SESSION_TIMEOUT, "source.kafka.sessionTimeout")?;
    Ok(timeout)
}

/// How records are written.
///
/// # Errors
/// `InvalidSpec`, when a number or duration is out of its bounds.
pub fn producing(declared: Option<&Producer>) -> Result<Producing, Refusal> {
    let mut producing = Producing::default();
    let Some(Producer { batch_bytes, linger, compression, circuit_breaker }) = declared else { return Ok(producing) };
    set_number(&mut producing.batch_bytes, *batch_bytes, &BATCH_BYTES, "producer.batchBytes")?;
    set_duration(&mut producing.linger, linger.as_deref(), &LINGER, "producer.linger")?;
    producing.compression = *compression;
    producing.circuit_breaker = circuit_breaker.as_ref().map(breaking).transpose()?;
    Ok(producing)
}

fn breaking(declared: &CircuitBreaker) -> Result<Breaking, Refusal> {
    let mut breaking = Breaking::default();
    set_number(&mut breaking.failures, declared.failures, &FAILURES, "producer.circuitBreaker.failures")?;
    set_duration(&mut breaking.pause, declared.pause.as_deref(), &BREAK, "producer.circuitBreaker.pause")?;
    Ok(breaking)
}

fn set_number(number: &mut u32, declared: Option<i32>, bounds: &RangeInclusive<u32>, field: &str) -> Result<(), Refusal> {
    let Some(declared) = declared else { return Ok(()) };
    *number = u32::try_from(declared)
        .ok()
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| invalid(format!("{field} is {declared}: it must be from {} to {}", bounds.start(), bounds.end())))?;
    Ok(())
}

fn set_duration(set: &mut Duration, declared: Option<&str>, bounds: &RangeInclusive<Duration>, field: &str) -> Result<(), Refusal> {
    let Some(declared) = declared else { return Ok(()) };
    let parsed = duration::parse_bounded(declared, *bounds.start(), *bounds.end());
    *set = parsed.map_err(|why| invalid(format!("{field}: {why}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use penstock_crds::clients::Compression;
    use serde_json::{Value, json};

    use super::*;

    fn said<T: PartialEq + std::fmt::Debug>(found: Result<T, Refusal>, expected: Result<T, &str>, given: &Value) {
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{given}"),
            (Err(refusal), Err(part)) => assert!(refusal.message.contains(part), "{given}: {refusal}"),
            (found, _) => panic!("{given}: {found:?}"),
        }
    }

    #[test]
    fn fetching_has_defaults_and_bounds() {
        let defaults = Fetching { min_bytes: 1, max_bytes: 4 << 20, partition_max_bytes: 512 << 10, max_wait: Duration::from_millis(500) };
        for (given, expected) in [
            (json!({}), Ok(defaults)),
            (
                json!({"minBytes": 65_536, "maxWait": "2s"}),
                Ok(Fetching { min_bytes: 65_536, max_wait: Duration::from_secs(2), ..defaults }),
            ),
            (json!({"maxBytes": 1_048_576}), Ok(Fetching { max_bytes: 1 << 20, ..defaults })),
            (json!({"partitionMaxBytes": 16_777_216}), Ok(Fetching { max_bytes: 16 << 20, partition_max_bytes: 16 << 20, ..defaults })),
            (json!({"minBytes": 0}), Err("fetch.minBytes is 0: it must be from 1 to 1048576")),
            (json!({"minBytes": -1}), Err("fetch.minBytes is -1")),
            (json!({"maxBytes": 1_048_575}), Err("fetch.maxBytes")),
            (json!({"maxBytes": 67_108_865}), Err("fetch.maxBytes")),
            (json!({"partitionMaxBytes": 1}), Err("fetch.partitionMaxBytes")),
            (json!({"partitionMaxBytes": 2_097_152, "maxBytes": 1_048_576}), Err("must not be more than")),
            (json!({"maxWait": "9ms"}), Err("fetch.maxWait: `9ms` is out of bounds")),
            (json!({"maxWait": "11s"}), Err("fetch.maxWait")),
        ] {
            said(fetching(Some(&serde_json::from_value(given.clone()).unwrap())), expected, &given);
        }
        assert_eq!(fetching(None), Ok(defaults));
    }

    #[test]
    fn a_session_has_bounds_unless_the_brokers_decide() {
        for (given, expected) in [
            (json!({}), Ok(20)),
            (json!({"groupProtocol": "Consumer"}), Ok(20)),
            (json!({"sessionTimeout": "6s"}), Ok(6)),
            (json!({"sessionTimeout": "5m", "groupProtocol": "Classic"}), Ok(300)),
            (json!({"sessionTimeout": "5s"}), Err("sessionTimeout: `5s` is out of bounds: it must be from 6s to 5m")),
            (json!({"sessionTimeout": "6m"}), Err("sessionTimeout")),
            (json!({"sessionTimeout": "20s", "groupProtocol": "Consumer"}), Err("the brokers decide")),
        ] {
            let mut source = given.clone();
            source["topics"] = json!(["orders"]);
            let timeout = session_timeout(&serde_json::from_value(source).unwrap());
            said(timeout, expected.map(Duration::from_secs), &given);
        }
    }

    #[test]
    fn producing_has_defaults_and_bounds() {
        let defaults =
            Producing { batch_bytes: 1_000_000, linger: Duration::from_millis(10), compression: Compression::Lz4, circuit_breaker: None };
        let breaking = |failures, seconds| {
            let pause = Duration::from_secs(seconds);
            Producing { circuit_breaker: Some(Breaking { failures, pause }), ..defaults }
        };
        for (given, expected) in [
            (json!({}), Ok(defaults)),
            (json!({"batchBytes": 16_384}), Ok(Producing { batch_bytes: 16_384, ..defaults })),
            (
                json!({"linger": "0ms", "compression": "None"}),
                Ok(Producing { linger: Duration::ZERO, compression: Compression::None, ..defaults }),
            ),
            (json!({"linger": "1s"}), Ok(Producing { linger: Duration::from_secs(1), ..defaults })),
            (json!({"batchBytes": 1023}), Err("producer.batchBytes is 1023: it must be from 1024 to 1048576")),
            (json!({"batchBytes": 1_048_577}), Err("producer.batchBytes")),
            (json!({"linger": "1001ms"}), Err("producer.linger: `1001ms` is out of bounds")),
            (json!({"circuitBreaker": {}}), Ok(breaking(5, 10))),
            (json!({"circuitBreaker": {"failures": 1, "pause": "5m"}}), Ok(breaking(1, 300))),
            (json!({"circuitBreaker": {"failures": 0}}), Err("producer.circuitBreaker.failures is 0: it must be from 1 to 10000")),
            (json!({"circuitBreaker": {"pause": "500ms"}}), Err("producer.circuitBreaker.pause")),
        ] {
            said(producing(Some(&serde_json::from_value(given.clone()).unwrap())), expected, &given);
        }
        assert_eq!(producing(None), Ok(defaults));
    }
}
