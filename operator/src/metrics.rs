//! What is counted, in base units, for `/metrics`.

mod replicas;

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use penstock_crds::{EventPipeline, condition::ConditionType};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::replicas::Replicas;
use crate::{
    context::Watches,
    pipelines,
    topics::HealthBook,
    watch::{Watch, Watched},
};

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Nothing is left to do.
    Done,
    /// The object cannot be made as declared; its status says why.
    Refused,
    /// Something broke; it is in the log.
    Failed,
}

/// What became of a change that somebody made to a topic behind its object's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Drift {
    /// It is told, and stays.
    Reported,
    /// It was set back.
    Reverted,
}

/// How a request to Kafka ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answer {
    /// Kafka did it.
    Ok,
    /// Kafka refused, or did not answer.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    request: &'static str,
    answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriftLabel {
    outcome: Drift,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    kind: String,
    ready: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PipelineLabels {
    namespace: String,
    pipeline: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    namespace: String,
    pipeline: String,
    reason: String,
    /// Empty: nothing does.
    limited_by: String,
}

/// Records a second.
type Rate = Gauge<f64, AtomicU64>;

/// What the number of workers of pipelines with `scaling` follows from.
struct Scaling {
    sweeps: Histogram,
    desired: Family<PipelineLabels, Gauge>,
    lag: Family<PipelineLabels, Gauge>,
    age: Family<PipelineLabels, Gauge>,
    arrival: Family<PipelineLabels, Rate>,
    speed: Family<PipelineLabels, Rate>,
    decisions: Family<DecisionLabels, Gauge>,
}

impl Default for Scaling {
    fn default() -> Self {
        let sweeps = Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]);
        Self {
            sweeps,
            desired: Family::default(),
            lag: Family::default(),
            age: Family::default(),
            arrival: Family::default(),
            speed: Family::default(),
            decisions: Family::default(),
        }
    }
}

impl Scaling {
    fn register(&self, registry: &mut Registry) {
        let words = "How long it took to ask a Kafka cluster what waits for all pipelines on it";
        registry.register_with_unit("scaling_sweep_duration", words, Unit::Seconds, self.sweeps.clone());
        registry.register("scaling_desired_workers", "Workers that shall be", self.desired.clone());
        registry.register("scaling_lag_records", "Records that wait; missing: that is not known", self.lag.clone());
        registry.register("scaling_lag_seconds", "How long the oldest record that waits does so", self.age.clone());
        registry.register("scaling_arrival_records_per_second", "Records that come each second", self.arrival.clone());
        let words = "Records that one worker handles each second; missing: that was not measured yet";
        registry.register("scaling_worker_records_per_second", words, self.speed.clone());
        let words = "1 for why workers are as many as they are, and what keeps them from being more or fewer";
        registry.register("scaling_decision", words, self.decisions.clone());
    }

    fn count(&self, watch: &Watch<EventPipeline>) {
        // Those of pipelines that are gone, or not watched any more.
        for family in [&self.desired, &self.lag, &self.age] {
            family.clear();
        }
        self.arrival.clear();
        self.speed.clear();
        self.decisions.clear();
        for pipeline in watch.select(|pipeline| pipeline.status.as_ref().is_some_and(|status| status.scaling.is_some())) {
            let Ok(pipeline) = &pipeline.0 else { continue };
            let watched = pipeline.status.as_ref().filter(|status| pipelines::is_watched(status));
            let Some(scaling) = watched.and_then(|status| status.scaling.as_ref()) else { continue };
            let labels = || PipelineLabels {
                namespace: pipeline.metadata.namespace.clone().unwrap_or_default(),
                pipeline: pipeline.metadata.name.clone().unwrap_or_default(),
            };
            self.desired.get_or_create(&labels()).set(scaling.desired.into());
            if let Some(lag) = scaling.lag {
                self.lag.get_or_create(&labels()).set(lag);
                self.age.get_or_create(&labels()).set(scaling.lag_seconds.unwrap_or_default());
                self.arrival.get_or_create(&labels()).set(scaling.arrival_rate);
            }
            if let Some(speed) = scaling.worker_rate {
                self.speed.get_or_create(&labels()).set(speed);
            }
            let PipelineLabels { namespace, pipeline } = labels();
            let (reason, limited_by) = (scaling.reason.clone(), scaling.limited_by.clone().unwrap_or_default());
            self.decisions.get_or_create(&DecisionLabels { namespace, pipeline, reason, limited_by }).set(1);
        }
    }
}

/// Counts requests to Kafka. Clone: another handle of the same count.
#[derive(Clone, Default)]
pub struct KafkaRequests(Family<RequestLabels, Counter>);

impl KafkaRequests {
    /// Counts a request.
    pub fn answered(&self, request: &'static str, answer: Answer) {
        self.0.get_or_create(&RequestLabels { request, answer }).inc();
    }

    /// Waits for the answer to a request, and counts it.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn count<T, E>(&self, request: &'static str, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let answer = answer.await;
        self.answered(request, if answer.is_ok() { Answer::Ok } else { Answer::Error });
        answer
    }
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<KindLabel, Histogram>,
    requests: KafkaRequests,
    objects: Family<ObjectLabels, Gauge>,
    scaling: Scaling,
    drifts: Family<DriftLabel, Counter>,
    replicas: Replicas,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("penstock_operator");
        let reconciles = Family::<ReconcileLabels, Counter>::default();
        let durations = Family::<KindLabel, Histogram>::new_with_constructor(|| Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]));
        let requests = KafkaRequests::default();
        let objects = Family::<ObjectLabels, Gauge>::default();
        registry.register("reconciles", "Reconciles, by kind and how they ended", reconciles.clone());
        registry.register_with_unit("reconcile_duration", "How long a reconcile took", Unit::Seconds, durations.clone());
        registry.register("kafka_requests", "Requests to Kafka, by what was asked and how it ended", requests.0.clone());
        registry.register("objects", "Objects, by kind and the status of their Ready condition", objects.clone());
        let scaling = Scaling::default();
        scaling.register(&mut registry);
        let drifts = Family::<DriftLabel, Counter>::default();
        registry.register("topic_drifts", "Changes of topics behind their objects' back, by what became of them", drifts.clone());
        let replicas = Replicas::default();
        replicas.register(&mut registry);
        Self { registry, reconciles, durations, requests, objects, scaling, drifts, replicas }
    }
}

impl Metrics {
    /// Counts a reconcile.
    pub fn reconciled(&self, kind: &str, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { kind: kind.to_owned(), outcome }).inc();
        self.durations.get_or_create(&KindLabel { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a look at what waits for all pipelines on a Kafka cluster.
    pub fn swept(&self, took: Duration) {
        self.scaling.sweeps.observe(took.as_secs_f64());
    }

    /// Counts a change that somebody made to a topic behind its object's back.
    pub fn drifted(&self, outcome: Drift) {
        self.drifts.get_or_create(&DriftLabel { outcome }).inc();
    }

    /// The count of requests to Kafka.
    #[must_use]
    pub fn kafka_requests(&self) -> KafkaRequests {
        self.requests.clone()
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a value cannot be written as text.
    pub fn text(&self, watches: &Watches, health_of_topics: &HealthBook) -> Result<String, fmt::Error> {
        self.count(&watches.clusters, |c| c.status.as_ref().map(|s| s.conditions.as_slice()));
        self.count(&watches.topics, |t| t.status.as_ref().map(|s| s.conditions.as_slice()));
        self.count(&watches.pipelines, |p| p.status.as_ref().map(|s| s.conditions.as_slice()));
        self.scaling.count(&watches.pipelines);
        self.replicas.count(health_of_topics);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn count<K: Watched>(&self, watch: &Watch<K>, conditions: impl Fn(&K) -> Option<&[Condition]>) {
        let mut counts = [("True", 0), ("False", 0), ("Unknown", 0)];
        for object in watch.store().state() {
            let ready = object.0.as_ref().map_or("False", |k| readiness(conditions(k).unwrap_or_default()));
            if let Some((_, count)) = counts.iter_mut().find(|(status, _)| *status == ready) {
                *count += 1;
            }
        }
        for (ready, count) in counts {
            self.objects.get_or_create(&ObjectLabels { kind: K::kind(&()).into_owned(), ready }).set(count);
        }
    }
}

fn readiness(conditions: &[Condition]) -> &'static str {
    match conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str()).map(|c| c.status.as_str()) {
        Some("True") => "True",
        Some("False") => "False",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units() {
        let metrics = Metrics::default();
        metrics.reconciled("KafkaTopic", Outcome::Done, Duration::from_millis(10));
        metrics.kafka_requests().answered("DescribeTopics", Answer::Ok);
        metrics.swept(Duration::from_millis(10));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            r#"penstock_operator_reconciles_total{kind="KafkaTopic",outcome="Done"} 1"#,
            r#"penstock_operator_reconcile_duration_seconds_count{kind="KafkaTopic"} 1"#,
            "penstock_operator_scaling_sweep_duration_seconds_count 1",
            r#"penstock_operator_kafka_requests_total{request="DescribeTopics",answer="Ok"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
