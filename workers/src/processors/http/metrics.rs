//! What is counted of the calls of a handler.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// 0.5 ms to the longest time-out.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// How a request ended that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// With a status of this class.
    Status(&'static str),
    /// Not in time.
    Timeout,
    /// Without a whole answer.
    Broken,
}

impl ResultKind {
    /// That of a status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        Self::Status(match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Status(class) => class,
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct HandlerMetrics {
    requests: Family<ResultLabel, Counter>,
    seconds: Histogram,
    unreachable: Counter,
    /// Records that wait until the handler takes a connection.
    pub waiting: Gauge,
}

impl HandlerMetrics {
    /// At zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Histogram::new(BUCKETS),
            unreachable: Counter::default(),
            waiting: Gauge::default(),
        };
        for result in ["2xx", "4xx", "5xx", "timeout", "broken"] {
            drop(metrics.requests.get_or_create(&ResultLabel { result }));
        }
        metrics
    }

    /// Adds them to those of `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("handler_requests", "Requests sent to the handler, by how they ended", self.requests.clone());
        registry.register("handler_seconds", "Time until the handler had answered, or did not", self.seconds.clone());
        registry.register("handler_unreachable", "Times that the handler took no connection; the record waited", self.unreachable.clone());
        registry.register("handler_waiting", "Records that wait until the handler takes a connection", self.waiting.clone());
    }

    /// A request was sent.
    pub fn called(&self, result: ResultKind, took: Duration) {
        self.requests.get_or_create(&ResultLabel { result: result.word() }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// A request could not be sent.
    pub fn not_sent(&self) {
        self.unreachable.inc();
    }

    /// How often one could not.
    #[cfg(test)]
    pub fn times_unreachable(&self) -> u64 {
        self.unreachable.get()
    }
}
