//! The processors that are compiled into the worker, and which one a configuration asks for. Pure: builds them, starts nothing.

mod events_gateway;
mod log;
mod orders;
mod orders_gateway;
pub mod payments;

use std::{fmt, sync::Arc};

use penstock_crds::{
    processor::{self, Options},
    worker::WorkerConfig,
};

use crate::{error::ConfigError, front::Front, processor::DynProcessor};

/// A built-in processor, ready to be run.
pub enum BuiltProcessor {
    /// Handles the records of a Kafka source.
    Record(Arc<dyn DynProcessor>),
    /// Serves an HTTP source.
    Front(Box<dyn Front>),
}

impl fmt::Debug for BuiltProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Record(_) => "Record",
            Self::Front(_) => "Front",
        })
    }
}

/// Builds the processor that a configuration names.
///
/// # Errors
/// When there is none of that name, or it does not take its options or the rest of the configuration.
pub fn build(config: &WorkerConfig) -> Result<BuiltProcessor, ConfigError> {
    let name = config.processor.builtin.as_str();
    let known = || processor::BUILTINS.iter().map(|b| b.name).collect::<Vec<_>>().join(", ");
    let unknown = || ConfigError::invalid(format!("there is no built-in processor `{name}`; there are {}", known()));
    let builtin = processor::find(name).ok_or_else(unknown)?;
    let options =
        builtin.options(&config.processor.options, &config.pipeline.name).map_err(|problems| ConfigError::Invalid { problems })?;
    construct(name, &options, config)?.ok_or_else(unknown)
}

fn construct(name: &str, options: &Options, config: &WorkerConfig) -> Result<Option<BuiltProcessor>, ConfigError> {
    Ok(Some(match name {
        "events-gateway" => BuiltProcessor::Front(Box::new(events_gateway::EventsGateway::new(options, config)?)),
        "log" => BuiltProcessor::Record(Arc::new(log::Log::new(options)?)),
        "orders-gateway" => BuiltProcessor::Front(Box::new(orders_gateway::OrdersGateway::new(options, config)?)),
        "payments" => BuiltProcessor::Record(Arc::new(payments::Payments::new(options)?)),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use penstock_crds::worker::{PipelineId, Producing, WorkerProcessor, WorkerSource};

    use super::*;

    fn config(builtin: &str) -> WorkerConfig {
        WorkerConfig {
            pipeline: PipelineId { namespace: "shop".into(), name: "orders".into() },
            bootstrap_servers: vec!["localhost:9092".into()],
            source: WorkerSource::Http { port: 3001 },
            processor: WorkerProcessor { builtin: builtin.into(), options: BTreeMap::new() },
            sink: Some("orders".into()),
            table: vec!["orders".into(), "payments".into()],
            producer: Producing::default(),
            admin_port: 8080,
            drain_timeout: Duration::from_secs(25),
        }
    }

    #[test]
    fn every_built_in_can_be_built() {
        for builtin in processor::BUILTINS {
            build(&config(builtin.name)).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_built_says_what_to_change() {
        type Change = fn(&mut WorkerConfig);
        let cases: [(Change, &str); 5] = [
            (|c| c.processor.builtin = "sms".into(), "there are events-gateway, log, orders-gateway, payments"),
            (|c| c.sink = None, "needs a sink"),
            (|c| c.table = vec!["payments".into()], "must follow the topic orders"),
            (|c| drop(c.processor.options.insert("corsOrigin".into(), "shop".into())), "corsOrigin"),
            (|c| drop(c.processor.options.insert("speed".into(), "9".into())), "`speed` is not an option"),
        ];
        for (change, part) in cases {
            let mut config = config("orders-gateway");
            change(&mut config);
            let why = build(&config).unwrap_err().to_string();
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
