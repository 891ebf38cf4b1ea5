//! The `penstock-worker` binary: reads its configuration and runs the processor that it names.

use std::{
    io::{self, IsTerminal},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use penstock_crds::worker::{CONFIG_DIR, CONFIG_FILE};
use penstock_workers::{config, error::WorkerError, processors, runtime};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};
use uuid::Uuid;

/// Runs one worker of a pipeline.
#[derive(Debug, Parser)]
#[command(name = "penstock-worker", version)]
struct Arguments {
    /// The configuration.
    #[arg(long, default_value_os_t = default_config())]
    config: PathBuf,
    /// Check the configuration and exit.
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::registry().with(arguments.log);
    match arguments.log_format {
        LogFormat::Json => log.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init(),
        LogFormat::Text => log.with(fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)).init(),
    }
    panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a panic")));
    match work(&arguments.config, arguments.name, arguments.check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the message itself: Kubernetes keeps the last line, and the pipeline's condition shows its message.
            tracing::error!("the worker cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(path: &Path, name: String, check: bool) -> Result<(), WorkerError> {
    let config = config::load(path)?;
    let processor = processors::build(&config)?;
    if check {
        tracing::info!(path = %path.display(), "the configuration is good");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| WorkerError::System { what: "start the runtime", source })?;
    let result = runtime.block_on(runtime::run(config, processor, name));
    // A call to a Kafka that does not answer must not hold the process.
    runtime.shutdown_background();
    result
}
