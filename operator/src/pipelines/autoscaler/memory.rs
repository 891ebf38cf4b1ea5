//! What a pipeline's status keeps for the operator that is started next. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use penstock_crds::pipeline::{IneffectiveStep, ScalingStatus};

use crate::scaling::{Ceiling, Known};

/// What was known of a pipeline, as its status says.
#[must_use]
pub fn known(status: Option<&ScalingStatus>) -> Known {
    let Some(status) = status else { return Known::default() };
    Known { speed: status.worker_rate, ceiling: status.ineffective.as_ref().map(ceiling) }
}

fn ceiling(step: &IneffectiveStep) -> Ceiling {
    Ceiling {
        workers: step.workers.unsigned_abs(),
        until: Duration::try_from(step.until.0.as_duration()).unwrap_or_default(),
        total: step.rate,
        failures: step.times.unsigned_abs(),
    }
}

/// How a step that did not help stands in the status; none: its time is beyond every calendar.
#[must_use]
pub fn ineffective(ceiling: &Ceiling) -> Option<IneffectiveStep> {
    let until = Timestamp::from_duration(SignedDuration::from_secs(i64::try_from(ceiling.until.as_secs()).ok()?)).ok()?;
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    Some(IneffectiveStep {
        workers: number(ceiling.workers),
        rate: rounded(ceiling.total),
        times: number(ceiling.failures),
        until: Time(until),
    })
}

/// To three digits that count, however slow workers are: what is less is noise.
#[must_use]
pub fn rounded(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_keeps_three_digits() {
        for (rate, expected) in
            [(0.0, "0.0"), (0.003_333, "0.00333"), (1.26, "1.26"), (9.996, "10.0"), (100.04, "100.0"), (52_341.7, "52300.0")]
        {
            assert_eq!(format!("{:?}", rounded(rate)), expected);
        }
    }

    #[test]
    fn a_step_that_did_not_help_outlives_the_operator() {
        let ceiling = Ceiling { workers: 2, until: Duration::from_secs(1_800_000_000), total: 40.5, failures: 3 };
        let ineffective = ineffective(&ceiling);
        let until = ineffective.as_ref().map(|step| step.until.0.to_string());
        assert_eq!(until.as_deref(), Some("2027-01-15T08:00:00Z"));
        let status = ScalingStatus { ineffective, worker_rate: Some(20.0), ..ScalingStatus::default() };
        assert_eq!(known(Some(&status)), Known { speed: Some(20.0), ceiling: Some(ceiling) });
        assert_eq!(known(None), Known::default());
    }
}
