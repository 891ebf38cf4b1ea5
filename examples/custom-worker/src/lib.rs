//! Screens orders for fraud: reads orders, asks how risky their users are, and writes a verdict for each.
//!
//! A library beside the program, so that `tests/` can run the processor.

mod order;
mod risk;
mod screening;

pub use order::{Order, Verdict};
pub use risk::{Lookup, RiskService, Unavailable};
pub use screening::{Options, Screening};
