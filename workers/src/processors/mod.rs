//! The processors that are compiled into the worker, the one that calls a handler over HTTP, and which one a configuration asks for. Pure: builds them, starts nothing.

mod by_type;
mod enrich;
mod events_gateway;
mod http;
mod log;
mod orders;
mod orders_gateway;
pub mod payments;
mod pointed;
mod unambiguous;

use std::{collections::BTreeMap, fmt, sync::Arc};

use penstock_crds::{
    processor::{Choice, ChoiceError, Options},
    worker::WorkerConfig,
};

use self::by_type::ByType;

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
    match &config.processor {
        Choice::Builtin(one) => {
            let options = one.options(&config.pipeline.name).map_err(refused)?;
            construct(&one.builtin, &options, config)
        }
        Choice::ByType { by_type } => {
            let mut handlers = BTreeMap::new();
            for (kind, one) in by_type {
                let options = one.handler_options(kind).map_err(refused)?;
                match construct(&one.builtin, &options, config)? {
                    BuiltProcessor::Record(handler) => drop(handlers.insert(kind.clone(), handler)),
                    BuiltProcessor::Front(_) => return Err(ConfigError::invalid(format!("{} handles no records", one.builtin))),
                }
            }
            Ok(BuiltProcessor::Record(Arc::new(ByType::new(handlers))))
        }
        Choice::Http(call) => Ok(BuiltProcessor::Record(Arc::new(http::HttpHandler::new(call, config.sink.is_some())?))),
        Choice::Image { .. } => Err(ConfigError::invalid(
            "processor.image: this is the stock worker, which has only built-in processors; name an image whose main runs its own",
        )),
    }
}

fn construct(name: &str, options: &Options, config: &WorkerConfig) -> Result<BuiltProcessor, ConfigError> {
    Ok(match name {
        "enrich" => BuiltProcessor::Record(Arc::new(enrich::Enrich::new(options)?)),
        "events-gateway" => BuiltProcessor::Front(Box::new(events_gateway::EventsGateway::new(options, config)?)),
        "log" => BuiltProcessor::Record(Arc::new(log::Log::new(options)?)),
        "orders-gateway" => BuiltProcessor::Front(Box::new(orders_gateway::OrdersGateway::new(options, config)?)),
        "payments" => BuiltProcessor::Record(Arc::new(payments::Payments::new(options)?)),
        _ => return Err(refused(ChoiceError::Unknown { name: name.to_owned() })),
    })
}

fn refused(error: ChoiceError) -> ConfigError {
    ConfigError::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use penstock_crds::{
        processor::{self, Configured, HttpCall, SourceKind},
        worker::{PipelineId, Producing, WorkerSource},
    };

    use super::*;

    fn config(builtin: &str) -> WorkerConfig {
        WorkerConfig {
            pipeline: PipelineId { namespace: "shop".into(), name: "orders".into() },
            bootstrap_servers: vec!["localhost:9092".into()],
            source: WorkerSource::Http { port: 3001, auth: None },
            processor: Choice::builtin(builtin, BTreeMap::new()),
            sink: Some("orders".into()),
            table: if builtin == "orders-gateway" { vec!["orders".into(), "payments".into()] } else { vec![] },
            keys: None,
            producer: Producing::default(),
            admin_port: 8080,
            drain_timeout: Duration::from_secs(25),
        }
    }

    fn named(builtin: &str, options: &[(&str, &str)]) -> Choice {
        Choice::builtin(builtin, options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn by_type(builtin: &str) -> Choice {
        let handler = Configured { builtin: builtin.to_owned(), options: BTreeMap::new() };
        Choice::ByType { by_type: BTreeMap::from([("user.created".to_owned(), handler)]) }
    }

    #[test]
    fn every_built_in_can_be_built() {
        for builtin in processor::BUILTINS {
            build(&config(builtin.name)).unwrap();
            let handler = build(&WorkerConfig { processor: by_type(builtin.name), ..config(builtin.name) });
            assert_eq!(handler.is_ok(), builtin.source == SourceKind::Kafka, "{}", builtin.name);
        }
    }

    #[test]
    fn what_cannot_be_built_says_what_to_change() {
        type Change = fn(&mut WorkerConfig);
        let http = |path: &str| Choice::Http(HttpCall { port: 9000, path: path.to_owned(), timeout: Duration::from_secs(1) });
        assert!(matches!(build(&WorkerConfig { processor: http("/a"), ..config("log") }), Ok(BuiltProcessor::Record(_))));
        let why = build(&WorkerConfig { processor: http("a b"), ..config("log") }).unwrap_err().to_string();
        assert!(why.contains("`a b` is not a path"), "{why}");
        let cases: [(Change, &str); 8] = [
            (|c| c.processor = Choice::Image { options: BTreeMap::new() }, "this is the stock worker"),
            (|c| c.processor = named("sms", &[]), "this version has enrich, events-gateway, log, orders-gateway, payments"),
            (|c| c.sink = None, "needs a sink"),
            (|c| c.table = vec!["payments".into()], "must follow the topic orders"),
            (|c| c.processor = named("orders-gateway", &[("corsOrigin", "")]), "corsOrigin"),
            (|c| c.processor = named("orders-gateway", &[("speed", "9")]), "`speed` is not an option"),
            (|c| c.processor = named("events-gateway", &[]), "name the one topic in which idempotency keys are kept"),
            (|c| c.processor = by_type("orders-gateway"), "the handler of `user.created` is orders-gateway"),
        ];
        for (change, part) in cases {
            let mut config = config("orders-gateway");
            change(&mut config);
            let why = build(&config).unwrap_err().to_string();
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
