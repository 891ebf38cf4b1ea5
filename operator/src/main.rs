//! The `penstock-operator` binary.

use std::{io, process::ExitCode};

use clap::Parser;
use penstock_operator::{
    command_line::{Command, CommandLine},
    import, operator,
    settings::Settings,
    telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command {
        Some(Command::Import(asked)) => match import::run(asked, &mut io::stdout().lock(), &mut io::stderr().lock()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("penstock-operator: {error:#}");
                ExitCode::FAILURE
            }
        },
        None => run(line.settings).await,
    }
}

async fn run(settings: Settings) -> ExitCode {
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
