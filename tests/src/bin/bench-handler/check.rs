//! Whether each record has its output once, and nothing is a dead letter. Every output is looked at, not a sample.

use penstock_tests::bench::{PARTITIONS, Reader};
use penstock_tests::scene::Result;
use rdkafka::Message;

use crate::carts::number_of;
use crate::run::Task;

/// When the first output was written, in milliseconds since 1970.
///
/// # Errors
/// Something is not as it should be.
pub fn outputs(brokers: &str, task: &Task, records: u32) -> Result<i64> {
    let mut seen = vec![0_u8; records as usize];
    let (mut first, mut strange, mut letters) = (i64::MAX, 0_u32, 0_u32);
    Reader::new(brokers, &[&task.sink, &task.letters], PARTITIONS)?.to_the_end(|message| {
        if message.topic() == task.letters {
            letters += 1;
            return;
        }
        first = first.min(message.timestamp().to_millis().unwrap_or(i64::MAX));
        match message.key().and_then(number_of).and_then(|number| seen.get_mut(number as usize)) {
            Some(count) => *count = count.saturating_add(1),
            None => strange += 1,
        }
    })?;
    let (none, many) = (seen.iter().filter(|count| **count == 0).count(), seen.iter().filter(|count| **count > 1).count());
    if (none, many, strange, letters) == (0, 0, 0, 0) {
        return Ok(first);
    }
    Err(format!(
        "not exact: of {records} records {none} have no output and {many} several; {strange} outputs come from none; {letters} dead letters"
    )
    .into())
}
