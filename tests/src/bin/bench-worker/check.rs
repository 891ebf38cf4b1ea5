//! Whether everything came out as it should: each valid order one payment, each other one dead letter, and nothing else.
//!
//! Reads only what is committed. Every output is looked at, not a sample.

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use penstock_tests::bench::{PARTITIONS, Reader};
use penstock_tests::scene::Result;

use crate::contestant::Task;
use crate::orders::{Fate, event, fate, number_of};

/// What came out.
pub struct Outcome {
    /// When the first output was written, in milliseconds since 1970.
    pub first_output: i64,
    /// What is wrong; at most a handful.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment<'a> {
    event_type: &'a str,
    #[serde(borrow)]
    data: Paid<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paid<'a> {
    order_id: Uuid,
    payment_id: Uuid,
    payment_status: &'a str,
    #[serde(borrow)]
    amount: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter<'a> {
    original_topic: &'a str,
    original_key: &'a str,
    #[serde(borrow)]
    original_value: &'a RawValue,
    error_type: &'a str,
}

/// Reads all outputs of a task that was given the orders `0..orders`.
pub fn outputs(brokers: &str, task: &Task, orders: u32) -> Result<Outcome> {
    let mut seen = vec![0_u8; orders as usize];
    let mut outcome = Outcome { first_output: i64::MAX, problems: Vec::new() };
    Reader::new(brokers, &task.outputs(), PARTITIONS)?.to_the_end(|message| {
        outcome.first_output = outcome.first_output.min(message.timestamp().to_millis().unwrap_or(i64::MAX));
        let number = message.key().and_then(number_of);
        let count = number.and_then(|number| seen.get_mut(number as usize));
        match (number, count) {
            (Some(number), Some(count)) => {
                *count = count.saturating_add(1);
                if let Err(wrong) = judge(task, number, message) {
                    outcome.note(number, &wrong);
                }
            }
            _ => outcome.problems.push(format!("a record that comes from no order: {:?}", message.key())),
        }
    })?;
    for (number, count) in (0..orders).zip(seen).filter(|(_, count)| *count != 1) {
        outcome.note(number, &format!("{count} outputs"));
    }
    Ok(outcome)
}

impl Outcome {
    fn note(&mut self, number: u32, wrong: &str) {
        if self.problems.len() < 10 {
            self.problems.push(format!("order {number} ({:?}): {wrong}", fate(number)));
        }
    }
}

fn judge(task: &Task, number: u32, message: &BorrowedMessage<'_>) -> std::result::Result<(), String> {
    let payload = message.payload().unwrap_or_default();
    let good = match (fate(number), message.topic() == task.payments) {
        (Fate::Paid(id), true) => {
            let Payment { event_type, data } = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            let said = (event_type, number_of(data.order_id.to_string().as_bytes()), data.payment_id, data.payment_status);
            said == ("PAYMENT_COMPLETED", Some(number), id, "completed") && data.amount.get() == "19.99"
        }
        (Fate::Dead(kind), false) => {
            let letter: Letter<'_> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            let said = (letter.original_topic, number_of(letter.original_key.as_bytes()), letter.error_type);
            said == (task.source.as_str(), Some(number), kind) && is_value(letter.original_value.get(), &event(number))
        }
        _ => return Err(format!("an output in {}", message.topic())),
    };
    if good { Ok(()) } else { Err(String::from_utf8_lossy(payload).into_owned()) }
}

/// JSON is embedded as it is, anything else as a string.
fn is_value(embedded: &str, event: &str) -> bool {
    embedded == event || serde_json::from_str::<&str>(embedded).is_ok_and(|text| text == event)
}
