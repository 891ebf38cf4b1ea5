//! Single requests in Kafka's own protocol, for what the client library has no call for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::scene::Result;

/// No answer to these questions is near to it.
const MAX_ANSWER: usize = 16 << 20;
/// How long a broker may take for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the broker at `host:port`, on a connection of its own.
///
/// # Errors
/// The broker does not answer, or something else than was asked for.
pub async fn ask<A: Decodable>(broker: &str, api: ApiKey, version: i16, body: &impl Encodable) -> Result<A> {
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
