//! What the `main` of a worker does, whatever it runs: arguments, log, configuration, and then the runtime until SIGTERM.

use std::{
    error::Error,
    ffi::OsString,
    future::Future,
    io::{self, IsTerminal},
    panic,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use penstock_crds::worker::{CONFIG_DIR, CONFIG_FILE, Choice, WorkerConfig};
use serde::de::DeserializeOwned;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};
use uuid::Uuid;

use crate::{
    config, descriptors,
    error::{ConfigError, WorkerError},
    options,
    processor::Processor,
    processors::{self, BuiltProcessor},
    runtime,
};

/// The program that a worker is, for `--help` and `--version`. [`about!`](crate::about) makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// [`About`](crate::About) the package that this is written in.
#[macro_export]
macro_rules! about {
    () => {
        $crate::About { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") }
    };
}

/// Runs one worker of a pipeline.
#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration, which the operator writes.
    #[arg(long, default_value_os_t = default_config())]
    config: PathBuf,
    /// Check the configuration and exit. The processor is not started.
    #[arg(long)]
    check: bool,
    /// Names this worker among those of its pipeline; the same after a restart, so that it takes up its own transactions.
    #[arg(long, env = "POD_NAME", default_value_t = Uuid::new_v4().to_string())]
    name: String,
    /// The form of the log lines.
    #[arg(long, env = "PENSTOCK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged, such as `info` or `penstock_workers=debug,info`.
    #[arg(long, env = "PENSTOCK_LOG", default_value = "info")]
    log: EnvFilter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

fn default_config() -> PathBuf {
    PathBuf::from(CONFIG_DIR).join(CONFIG_FILE)
}

/// The `main` of a worker with a processor of one's own, for pipelines with `processor.image`.
///
/// `build` makes the processor of its options ([`options::read`]), once the worker has its configuration. It may connect to
/// what the processor needs; should that fail, the worker ends with the error as its message, and Kubernetes starts it again.
/// The worker begins to read, and to answer on its admin port, once the processor is built, so build it in seconds.
///
/// Gives back what `main` shall: success after SIGTERM or SIGINT, once everything that was begun is finished and committed.
///
/// ```no_run
/// use std::process::ExitCode;
/// use penstock_workers::{Event, Outcome, Processor};
///
/// #[derive(serde::Deserialize)]
/// struct Options {
///     greeting: String,
/// }
///
/// struct Greet(String);
///
/// impl Greet {
///     async fn new(Options { greeting }: Options) -> std::io::Result<Self> {
///         Ok(Self(greeting))
///     }
/// }
///
/// impl Processor for Greet {
///     async fn process(&self, event: &Event) -> Outcome {
///         tracing::info!(event = event.id(), "{}", self.0);
///         Outcome::Drop
///     }
/// }
///
/// fn main() -> ExitCode {
///     penstock_workers::serve(penstock_workers::about!(), Greet::new)
/// }
/// ```
pub fn serve<O, P, E, B>(about: About, build: B) -> ExitCode
where
    O: DeserializeOwned,
    P: Processor,
    E: Into<Box<dyn Error + Send + Sync>>,
    B: AsyncFnOnce(O) -> Result<P, E>,
{
    start(about, |config| {
        let options: O = options::read(own_options(config)?)?;
        Ok(async move {
            let processor = build(options).await.map_err(|error| WorkerError::Processor(error.into()))?;
            Ok(BuiltProcessor::Record(Arc::new(processor)))
        })
    })
}

/// The `main` of the stock worker, which has the built-in processors.
#[doc(hidden)]
#[must_use]
pub fn serve_builtins(about: About) -> ExitCode {
    start(about, |config| {
        let processor = processors::build(config)?;
        Ok(async { Ok(processor) })
    })
}

fn own_options(config: &WorkerConfig) -> Result<&std::collections::BTreeMap<String, String>, ConfigError> {
    match &config.processor {
        Choice::Image { options } => Ok(options),
        other => Err(ConfigError::invalid(format!(
            "processor: this worker runs a processor of its own, not {}: name its image in spec.processor.image",
            other.name()
        ))),
    }
}

/// `prepare` checks what the processor is told, and gives back what builds it.
fn start<F>(about: About, prepare: impl FnOnce(&WorkerConfig) -> Result<F, ConfigError>) -> ExitCode
where
    F: Future<Output = Result<BuiltProcessor, WorkerError>>,
{
    let arguments = match parse(about, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(refusal) => refusal.exit(),
    };
    let log = tracing_subscriber::registry().with(arguments.log.clone());
    match arguments.log_format {
        LogFormat::Json => log.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init(),
        LogFormat::Text => log.with(fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)).init(),
    }
    panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a panic")));
    match work(arguments, prepare) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the message itself: Kubernetes keeps the last line, and the pipeline's condition shows its message.
            tracing::error!("the worker cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(about: About, arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let matches = Arguments::command().name(about.name).version(about.version).try_get_matches_from(arguments)?;
    Arguments::from_arg_matches(&matches)
}

fn work<F>(arguments: Arguments, prepare: impl FnOnce(&WorkerConfig) -> Result<F, ConfigError>) -> Result<(), WorkerError>
where
    F: Future<Output = Result<BuiltProcessor, WorkerError>>,
{
    let config = config::load(&arguments.config)?;
    let processor = prepare(&config)?;
    if arguments.check {
        tracing::info!(path = %arguments.config.display(), "the configuration is good");
        return Ok(());
    }
    descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| WorkerError::System { what: "start the runtime", source })?;
    let result = runtime.block_on(runtime::run(config, processor, arguments.name));
    // A call to a Kafka that does not answer must not hold the process.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const ABOUT: About = About { name: "shop-worker", version: "7.8.9" };

    #[test]
    fn help_and_version_name_the_program() {
        for (argument, part) in [("--version", "shop-worker 7.8.9"), ("--help", "Usage: shop-worker")] {
            let said = parse(ABOUT, ["/usr/bin/shop-worker", argument].map(OsString::from)).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(crate::about!(), About { name: "penstock-workers", version: env!("CARGO_PKG_VERSION") });
    }

    #[test]
    fn only_a_configuration_of_ones_own_is_taken() {
        let config = |processor| {
            let config = json!({
                "pipeline": {"namespace": "shop", "name": "p"}, "bootstrapServers": ["k:9092"], "source": {"http": {"port": 1}},
                "processor": processor, "adminPort": 2, "drainTimeout": "1s",
            });
            serde_json::from_value::<WorkerConfig>(config).unwrap()
        };
        let own = config(json!({"image": {"options": {"a": "b"}}}));
        assert_eq!(own_options(&own).unwrap(), &BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let why = own_options(&config(json!({"builtin": "log"}))).unwrap_err().to_string();
        assert!(why.contains("a processor of its own, not log: name its image in spec.processor.image"), "{why}");
    }
}
