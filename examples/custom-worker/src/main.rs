//! The worker of the pipeline `screening`: see `30-screening.yaml`.

use std::process::ExitCode;

use order_screening::Screening;

fn main() -> ExitCode {
    penstock_workers::serve(penstock_workers::about!(), Screening::new)
}
