//! The number of workers, where the operator sets it by what waits in Kafka.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How old a waiting record may become, where a pipeline does not say, in seconds.
const DRAIN_SECONDS: i32 = 30;
const DRAIN_BOUNDS: (i32, i32) = (5, 3_600);
/// For how long nothing must have come before the last worker goes, where a pipeline does not say, in seconds.
const IDLE_SECONDS: i32 = 300;
const IDLE_BOUNDS: (i32, i32) = (10, 86_400);
const MOST: i32 = 1_000;

/// The number of workers, set by what waits in Kafka and how fast workers are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas")
        .message("scaling.minReplicas (default 1) must not be above scaling.maxReplicas"),
)]
pub struct Scaling {
    /// The fewest workers. 0: none run while nothing comes. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// The most workers. More than the source has partitions run only where `minReplicas` says so.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// How old a waiting record may become, in seconds: workers are as many as that takes. Default: 30.
    #[schemars(range(min = 5, max = 3600))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<i32>,
    /// For how long nothing must have come and nothing have waited before the last worker goes, in seconds. Only with
    /// `minReplicas: 0`. Default: 300.
    #[schemars(range(min = 10, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<i32>,
    /// Only say in the status how many workers it would be; `replicas` is the number.
    #[serde(default)]
    pub dry_run: bool,
}

/// What [`Scaling`] says, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingBounds {
    /// The fewest workers.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// How old a waiting record may become, in seconds.
    pub drain_seconds: u32,
    /// For how long nothing must have come before the last worker goes, in seconds.
    pub idle_seconds: u32,
}

impl Scaling {
    /// What it says, with its defaults.
    ///
    /// # Errors
    /// A rule that the schema has too, for objects that are older than the schema.
    pub fn bounds(&self) -> Result<ScalingBounds, String> {
        let (min, max) = (self.min_replicas.unwrap_or(1), self.max_replicas);
        let (drain, idle) = (self.drain_seconds.unwrap_or(DRAIN_SECONDS), self.idle_seconds.unwrap_or(IDLE_SECONDS));
        for (field, value, (least, most)) in [
            ("minReplicas", min, (0, MOST)),
            ("maxReplicas", max, (1, MOST)),
            ("drainSeconds", drain, DRAIN_BOUNDS),
            ("idleSeconds", idle, IDLE_BOUNDS),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("scaling.{field} is {value}: it must be from {least} to {most}"));
            }
        }
        if min > max {
            return Err(format!("scaling.minReplicas is {min}, above scaling.maxReplicas, which is {max}"));
        }
        Ok(ScalingBounds {
            min: min.unsigned_abs(),
            max: max.unsigned_abs(),
            drain_seconds: drain.unsigned_abs(),
            idle_seconds: idle.unsigned_abs(),
        })
    }
}

/// What the number of workers follows from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// The number of workers that shall be.
    pub desired: i32,
    /// Why; the same as that of the condition `ScalingActive`.
    pub reason: String,
    /// Records that wait. Absent: that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// How long the oldest of them waits, in seconds. Absent: none waits, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Records that come each second.
    pub arrival_rate: f64,
    /// Records that one worker handles each second. Absent: that was not measured yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_rate: Option<f64>,
    /// What keeps the number from being another: `Minimum`, `Maximum`, `Partitions`, `HotPartition` or `Effect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<String>,
    /// The last step up that did not help. Absent: the last one that was judged did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ineffective: Option<IneffectiveStep>,
}

/// A step up that did not help, and was taken back.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IneffectiveStep {
    /// The number of workers that did as much as more.
    pub workers: i32,
    /// Records a second that all of them handled.
    pub rate: f64,
    /// How many steps in a row did not help.
    pub times: i32,
    /// When more workers may be tried again.
    pub until: Time,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn bounds_and_defaults() {
        let bounds = |spec: Value| serde_json::from_value::<Scaling>(spec).unwrap().bounds();
        let all = ScalingBounds { min: 0, max: 6, drain_seconds: 60, idle_seconds: 10 };
        assert_eq!(bounds(json!({"minReplicas": 0, "maxReplicas": 6, "drainSeconds": 60, "idleSeconds": 10})), Ok(all));
        let defaults = ScalingBounds { min: 1, max: 1, drain_seconds: 30, idle_seconds: 300 };
        assert_eq!(bounds(json!({"maxReplicas": 1})), Ok(defaults));
        for (spec, part) in [
            (json!({"minReplicas": 4, "maxReplicas": 3}), "minReplicas is 4, above scaling.maxReplicas, which is 3"),
            (json!({"maxReplicas": 0}), "maxReplicas is 0: it must be from 1"),
            (json!({"minReplicas": -1, "maxReplicas": 3}), "minReplicas is -1"),
            (json!({"maxReplicas": 3, "drainSeconds": 4}), "drainSeconds is 4: it must be from 5 to 3600"),
            (json!({"maxReplicas": 3, "idleSeconds": 9}), "idleSeconds is 9"),
        ] {
            let why = bounds(spec.clone()).unwrap_err();
            assert!(why.contains(part), "{spec}: {why}");
        }
    }
}
