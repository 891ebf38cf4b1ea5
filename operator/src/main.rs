//! The `penstock-operator` binary.

use std::process::ExitCode;

use clap::Parser;
use penstock_operator::{operator, settings::Settings, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Settings::parse();
    let result = match telemetry::begin(&settings) {
        Ok(()) => operator::run(settings).await,
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
