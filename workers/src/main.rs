//! The `penstock-worker` binary: reads its configuration and runs the built-in processor that it names.

use std::process::ExitCode;

use penstock_workers::About;

fn main() -> ExitCode {
    penstock_workers::serve_builtins(About { name: "penstock-worker", version: env!("CARGO_PKG_VERSION") })
}
