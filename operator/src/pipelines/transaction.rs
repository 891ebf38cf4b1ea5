//! When a transaction is ended: the spec with its defaults filled in. Pure.

use std::{ops::RangeInclusive, time::Duration};

use penstock_crds::{duration, pipeline::Transaction, worker::TransactionBounds};

use super::validate::invalid;
use crate::refusal::Refusal;

const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
const RECORDS: RangeInclusive<u32> = 1..=100_000;

/// The bounds that a spec means.
///
/// # Errors
/// `InvalidSpec`, when a number or duration is out of its bounds.
pub fn transaction_bounds(declared: Option<&Transaction>) -> Result<TransactionBounds, Refusal> {
    let mut bounds = TransactionBounds::default();
    let Some(Transaction { interval, records }) = declared else { return Ok(bounds) };
    if let Some(interval) = interval {
        let (shortest, longest) = INTERVAL;
        let parsed = duration::parse_bounded(interval, shortest, longest);
        bounds.interval = parsed.map_err(|why| invalid(format!("transaction.interval: {why}")))?;
    }
    if let Some(records) = records {
        let wanted = u32::try_from(*records).ok().filter(|records| RECORDS.contains(records));
        bounds.records = wanted.ok_or_else(|| {
            invalid(format!("transaction.records is {records}: it must be from {} to {}", RECORDS.start(), RECORDS.end()))
        })?;
    }
    Ok(bounds)
}
