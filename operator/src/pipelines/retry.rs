//! What happens after a transient failure: the spec with its defaults filled in. Pure.

use std::{collections::BTreeMap, time::Duration};

use penstock_crds::{
    duration,
    pipeline::Retry,
    worker::{RetryPolicy, Tier},
};

use super::{
    topics::{FoundTopics, WaitsFor},
    validate::invalid,
};
use crate::refusal::Refusal;

const MIN_BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u16 = 100;
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(3_600);
const MAX_DELAYS: usize = 5;

/// The tiers that a spec means.
///
/// # Errors
/// `InvalidSpec`, when a delay is out of its bounds.
pub fn tiers(retry: Option<&Retry>, found: &FoundTopics) -> Result<Vec<Tier>, Refusal> {
    let delays = retry.map_or(&[][..], |retry| &retry.delays);
    if delays.len() > MAX_DELAYS {
        return Err(invalid(format!("retry.delays has {} delays: at most {MAX_DELAYS} are allowed", delays.len())));
    }
    let tier = |(tier, text): (usize, &String)| {
        let delay = duration::parse_bounded(text, MIN_DELAY, MAX_DELAY).map_err(|why| invalid(format!("retry.delays: {why}")))?;
        Ok(Tier { delay, topics: waiting(found, WaitsFor::Delay(tier)) })
    };
    delays.iter().enumerate().map(tier).collect()
}

/// The topics in which records wait for that, by source topic.
pub fn waiting(found: &FoundTopics, what: WaitsFor) -> BTreeMap<String, String> {
    let topics = found.retries.iter().filter(|topic| topic.waits_for == what);
    topics.filter_map(|topic| Some((topic.source.clone(), found.kafka_name(&topic.object)?))).collect()
}

/// The policy that a spec means.
///
/// # Errors
/// `InvalidSpec`, when a number or duration is out of its bounds.
pub fn retry_policy(retry: Option<&Retry>) -> Result<RetryPolicy, Refusal> {
    let defaults = RetryPolicy::default();
    let backoff = retry.and_then(|r| r.backoff.as_ref());
    let pause = |given: Option<&String>, field: &str, default| match given {
        None => Ok(default),
        Some(text) => {
            duration::parse_bounded(text, MIN_BACKOFF, MAX_BACKOFF).map_err(|why| invalid(format!("retry.backoff.{field}: {why}")))
        }
    };
    let policy = RetryPolicy {
        attempts: retry.and_then(|r| r.attempts).unwrap_or(defaults.attempts),
        initial_backoff: pause(backoff.and_then(|b| b.initial.as_ref()), "initial", defaults.initial_backoff)?,
        max_backoff: pause(backoff.and_then(|b| b.max.as_ref()), "max", defaults.max_backoff)?,
    };
    if !(1..=MAX_ATTEMPTS).contains(&policy.attempts) {
        return Err(invalid(format!("retry.attempts must be from 1 to {MAX_ATTEMPTS}")));
    }
    if policy.initial_backoff > policy.max_backoff {
        return Err(invalid("retry.backoff.initial must not be longer than retry.backoff.max"));
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use penstock_crds::pipeline::Backoff;

    use super::*;

    #[test]
    fn defaults_and_bounds() {
        let retry = |attempts, initial: Option<&str>, max: Option<&str>| Retry {
            attempts,
            backoff: Some(Backoff { initial: initial.map(str::to_owned), max: max.map(str::to_owned) }),
            delays: Vec::new(),
        };
        let ms = Duration::from_millis;
        for (given, expected) in [
            (None, Ok((4, ms(200), ms(5_000)))),
            (Some(Retry::default()), Ok((4, ms(200), ms(5_000)))),
            (Some(retry(Some(1), Some("1ms"), None)), Ok((1, ms(1), ms(5_000)))),
            (Some(retry(None, None, Some("1m"))), Ok((4, ms(200), ms(60_000)))),
            (Some(retry(Some(0), None, None)), Err("retry.attempts")),
            (Some(retry(None, Some("0s"), None)), Err("retry.backoff.initial")),
            (Some(retry(None, None, Some("2m"))), Err("retry.backoff.max")),
            (Some(retry(None, Some("soon"), None)), Err("with a unit")),
            (Some(retry(None, Some("6s"), None)), Err("longer than")),
        ] {
            match (retry_policy(given.as_ref()), expected) {
                (Ok(p), Ok(e)) => assert_eq!((p.attempts, p.initial_backoff, p.max_backoff), e, "{given:?}"),
                (Err(problem), Err(part)) => assert!(problem.message.contains(part), "{given:?}: {problem}"),
                (got, _) => panic!("{given:?}: {got:?}"),
            }
        }
    }
}
