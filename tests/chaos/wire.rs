//! What the client library has no call for: open transactions, coordinators.

use kafka_protocol::{
    messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, ListTransactionsRequest, ListTransactionsResponse},
    protocol::StrBytes,
};
use penstock_tests::wire::ask;

use crate::{Result, history::OpenTransaction};

/// A transaction in any other state has no end to wait for.
const OPEN: [&str; 3] = ["Ongoing", "PrepareCommit", "PrepareAbort"];

/// What has a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinated {
    /// A consumer group.
    Group = 0,
    /// A transactional id.
    Transaction = 1,
}

/// The transactions that a broker coordinates and that are neither committed nor aborted.
///
/// # Errors
/// The broker does not answer, or with an error.
pub async fn open_transactions(broker: &str) -> Result<Vec<OpenTransaction>> {
    let request = ListTransactionsRequest::default().with_state_filters(OPEN.map(StrBytes::from_static_str).to_vec());
    let answer: ListTransactionsResponse = ask(broker, ApiKey::ListTransactions, 0, &request).await?;
    if answer.error_code != 0 {
        return Err(format!("{broker} does not list its transactions: error {}", answer.error_code).into());
    }
    let open = answer
        .transaction_states
        .into_iter()
        .map(|found| OpenTransaction { transactional_id: found.transactional_id.to_string(), state: found.transaction_state.to_string() });
    Ok(open.collect())
}

/// The id of the broker that coordinates a group or the transactions of a producer.
///
/// # Errors
/// The broker does not answer, or knows none at present.
pub async fn coordinator(broker: &str, kind: Coordinated, key: &str) -> Result<i32> {
    let request =
        FindCoordinatorRequest::default().with_key_type(kind as i8).with_coordinator_keys(vec![StrBytes::from_string(key.to_owned())]);
    let answer: FindCoordinatorResponse = ask(broker, ApiKey::FindCoordinator, 4, &request).await?;
    match answer.coordinators.first() {
        Some(found) if found.error_code == 0 => Ok(*found.node_id),
        found => Err(format!("no coordinator of {key}: {:?}", found.map(|found| found.error_code)).into()),
    }
}
