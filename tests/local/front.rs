//! The configuration of a front, as its pipeline would have it.

use std::time::Duration;

use penstock_crds::worker::{Choice, PipelineId, Producing, WorkerConfig, WorkerSource};
use penstock_tests::local::Brokers;

/// A front of a built-in with these options, which listens on that port and writes to that topic.
pub fn front(brokers: &Brokers, builtin: &str, options: &[(&str, &str)], port: u16, sink: &str) -> WorkerConfig {
    WorkerConfig {
        pipeline: PipelineId { namespace: "local".into(), name: builtin.to_owned() },
        bootstrap_servers: brokers.bootstrap(),
        source: WorkerSource::Http { port, auth: None },
        processor: Choice::builtin(builtin, options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        sink: Some(sink.to_owned()),
        table: vec![],
        keys: None,
        producer: Producing::default(),
        admin_port: 0,
        drain_timeout: Duration::from_secs(10),
    }
}
