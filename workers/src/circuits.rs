//! Whether the circuits of a front are open, looked up each time that it is asked for.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::metrics::TopicLabel;

/// Says whether a circuit is open; nothing where there is none, or none any more.
type Look = Box<dyn Fn() -> Option<bool> + Send + Sync>;

/// Every circuit, with the topic that is written to.
#[derive(Clone, Default)]
pub(crate) struct Circuits(Arc<Mutex<Vec<(String, Look)>>>);

impl Circuits {
    /// Tells of `writer` for as long as it is there.
    pub fn watch<W: Send + Sync + 'static>(&self, topic: &str, writer: &Arc<W>, is_open: fn(&W) -> Option<bool>) {
        let writer = Arc::downgrade(writer);
        let look: Look = Box::new(move || is_open(&*writer.upgrade()?));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((topic.to_owned(), look));
    }
}

impl fmt::Debug for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits").finish_non_exhaustive()
    }
}

impl Collector for Circuits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "1 while the circuit is open: records are refused at once, or one is tried";
        let mut gauges = encoder.encode_descriptor("circuit_open", help, None, MetricType::Gauge)?;
        for (topic, look) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(is_open) = look() {
                ConstGauge::new(i64::from(is_open)).encode(gauges.encode_family(&TopicLabel { topic: topic.clone() })?)?;
            }
        }
        Ok(())
    }
}
