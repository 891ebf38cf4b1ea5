//! Single requests in Kafka's own protocol, for what the client library has no call for: open transactions, coordinators.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, ListTransactionsRequest, ListTransactionsResponse, RequestHeader,
        ResponseHeader,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{PATIENCE, Result, history::OpenTransaction};

/// No answer to these questions is near to it.
const MAX_ANSWER: usize = 16 << 20;
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

async fn ask<A: Decodable>(broker: &str, api: ApiKey, version: i16, body: &impl Encodable) -> Result<A> {
    let header = RequestHeader::default().with_request_api_key(api as i16).with_request_api_version(version).with_correlation_id(1);
    let mut request = BytesMut::new();
    header.encode(&mut request, api.request_header_version(version)).map_err(|error| error.to_string())?;
    body.encode(&mut request, version).map_err(|error| error.to_string())?;
    let mut answer = Bytes::from(timeout(PATIENCE, exchange(broker, &request)).await.map_err(|_| format!("{broker} does not answer"))??);
    ResponseHeader::decode(&mut answer, api.response_header_version(version)).map_err(|error| error.to_string())?;
    Ok(A::decode(&mut answer, version).map_err(|error| error.to_string())?)
}

async fn exchange(broker: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(broker).await?;
    stream.write_u32(u32::try_from(request.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(request).await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(std::io::Error::other("an answer that is too large"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
