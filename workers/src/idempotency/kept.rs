//! Where a front keeps keys, as its pipeline says.

use std::{sync::Arc, time::Duration};

use penstock_crds::{
    processor::Options,
    worker::{PipelineId, Producing, WorkerConfig},
};
use prometheus_client::registry::Registry;

use super::{Keys, Once, OnceSettings};
use crate::{error::ConfigError, front::FrontContext, table::TableSink};

/// Where a front keeps keys.
#[derive(Debug)]
pub struct Kept {
    topic: String,
    keys: Arc<Keys>,
    producing: Producing,
    pipeline: String,
}

impl Kept {
    /// In that topic, for as long as the options say.
    ///
    /// # Errors
    /// The options do not say how long a key counts.
    pub fn new(topic: &str, options: &Options, config: &WorkerConfig) -> Result<Self, ConfigError> {
        let window = options.duration("idempotencyWindow").ok_or_else(|| ConfigError::invalid("option idempotencyWindow is missing"))?;
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let PipelineId { namespace, name } = &config.pipeline;
        let pipeline = format!("{namespace}/{name}");
        Ok(Self { topic: topic.to_owned(), keys: Arc::new(Keys::new(window)), producing: config.producer, pipeline })
    }

    /// The topic of the keys.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What that topic is fed into.
    #[must_use]
    pub fn table(&self) -> Arc<dyn TableSink> {
        Arc::clone(&self.keys) as _
    }

    /// Adds the metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.keys.register(registry);
    }

    /// What writes to the topic `sink` once for each key, with so long for Kafka to answer; none where nothing writes to the topic of keys.
    #[must_use]
    pub fn once(&self, sink: &str, limit: Duration, context: &FrontContext) -> Option<Arc<Once>> {
        Some(Arc::new(Once::new(OnceSettings {
            connection: context.connection.clone(),
            producing: self.producing,
            pipeline: self.pipeline.clone(),
            sink: sink.to_owned(),
            topic: self.topic.clone(),
            publish: Arc::clone(context.keys.as_ref()?),
            keys: Arc::clone(&self.keys),
            readiness: context.readiness.clone(),
            limit,
            metrics: context.metrics.clone(),
        })))
    }
}
