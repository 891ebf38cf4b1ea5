//! Handlers as processes of their own, beside Kafka.

use std::fmt;
use std::path::Path;
use std::process::Command;

use penstock_tests::local::{Folder, Process, get, ports};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};
use tokio::net::TcpStream;

use crate::floor::{COUNTS, Counts};

/// How long the slow one waits before each answer, in milliseconds.
const SLOW: &str = "5";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Does next to nothing.
    Floor,
    /// The same, 5 ms later.
    Slow,
    /// examples/handlers/tax.
    Python,
    /// examples/handlers/receipts, which takes 5 ms for each.
    Node,
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "handler in Rust",
            Self::Slow => "the same, 5 ms later",
            Self::Python => "handler in Python (tax)",
            Self::Node => "handler in Node (receipts, 5 ms)",
        })
    }
}

impl Handler {
    fn command(self, port: u16) -> Result<Command> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/handlers");
        let floor = |pause| -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["floor", "--port", &port.to_string(), "--pause", pause]);
            Ok(command)
        };
        let mut command = match self {
            Self::Floor => floor("0")?,
            Self::Slow => floor(SLOW)?,
            Self::Python => program("python3", &examples.join("tax/handler.py")),
            Self::Node => program("node", &examples.join("receipts/handler.js")),
        };
        // As many printers as there can be records in process.
        command.env("PORT", port.to_string()).env("PRINTERS", "1000");
        Ok(command)
    }
}

fn program(name: &str, script: &Path) -> Command {
    let mut command = Command::new(name);
    command.arg(script);
    command
}

/// A handler that runs.
pub struct RunningHandler {
    who: Handler,
    process: Process,
    pub port: u16,
    // Last, because it must outlive the process that writes to it.
    _log: Folder,
}

impl RunningHandler {
    /// Starts one on that core and waits until it takes connections.
    pub async fn start(who: Handler, core: usize) -> Result<Self> {
        let port = *ports::free(1)?.first().ok_or("no port")?;
        let log = Folder::new("handler")?;
        let process = Process::start("the handler", &who.command(port)?, &log.path().join("log"), Some(core))?;
        until("the handler takes connections", LIMIT, async || {
            process.must_run().map_err(|error| Waiting::Never(error.into()))?;
            TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| Waiting::from(error.to_string()))
        })
        .await?;
        Ok(Self { who, process, port, _log: log })
    }

    /// The processor time that it has used, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        Ok(self.process.usage()?.cpu.as_secs_f64())
    }

    /// What it has counted, if it counts.
    pub async fn counts(&self) -> Result<Option<Counts>> {
        match self.who {
            Handler::Floor | Handler::Slow => Ok(Some(serde_json::from_str(&get(self.port, COUNTS).await?.body)?)),
            Handler::Python | Handler::Node => Ok(None),
        }
    }
}
