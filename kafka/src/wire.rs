//! Single requests in Kafka's own protocol, for what librdkafka has no call for, or none that can be used: who is in the cluster, deleting a topic by its id, asking
//! a broker which release it runs and who is the controller, moving partitions to other brokers, and asking about many topics, groups or partitions
//! at once.
//!
//! Plaintext, bounded in time and size. A request that changes something has a short connection of its own, and says whether it
//! was sent if it failed. Questions that are asked again and again share a few connections for each broker ([`Lines`]).

mod cluster;
mod configs;
mod coordinators;
mod groups;
mod headers;
mod lines;
mod members;
mod peek;
mod readers;
mod reassignments;
mod settings;
mod visit;

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    TopicName, delete_topics_request::DeleteTopicState, describe_quorum_request,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::topic::{BrokerInfo, TopicId};
pub(crate) use cluster::{Entrances, cluster};
pub(crate) use configs::configs_in_brief;
pub(crate) use coordinators::{Asking, Coordinators};
pub(crate) use groups::{KNOWN, REBALANCING, commit, in_states, offsets, stable_offsets};
pub(crate) use lines::Lines;
pub(crate) use members::members;
pub(crate) use peek::peek;
pub(crate) use readers::live_readers;
pub(crate) use reassignments::{reassign, reassignments};
pub(crate) use settings::{broker_defaults, broker_setting, change_broker_defaults};
pub(crate) use visit::visit;

/// The topic of the cluster's metadata, of one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";
const CORRELATION: i32 = 1;
const MAX_RESPONSE: usize = 16 << 20;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// The level of `metadata.version` that a broker supports at most. KIP-584: `None` from a broker that tells no features.
pub(crate) async fn metadata_version(broker: &BrokerInfo, client_id: &str, limit: Duration) -> Result<Option<i16>> {
    let body = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("penstock-kafka"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let mut answer = exchange(broker, client_id, ApiKey::ApiVersions, 3, &body, limit).await?;
    let answer: ApiVersionsResponse = decode(&mut answer, 3)?;
    let mut features = answer.supported_features.iter();
    Ok(features.find(|feature| &*feature.name == "metadata.version").map(|feature| feature.max_version))
}

/// The leader of the quorum that keeps the cluster's metadata (KIP-595): the active controller. None while there is none.
pub(crate) async fn metadata_leader(broker: &BrokerInfo, client_id: &str, limit: Duration) -> Result<Option<i32>> {
    let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    let body = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let mut answer = exchange(broker, client_id, ApiKey::DescribeQuorum, 0, &body, limit).await?;
    let answer: DescribeQuorumResponse = decode(&mut answer, 0)?;
    outcome(answer.error_code, None)?;
    let Some(partition) = answer.topics.into_iter().flat_map(|topic| topic.partitions).next() else { return Ok(None) };
    outcome(partition.error_code, None)?;
    Ok(Some(*partition.leader_id).filter(|id| *id >= 0))
}

/// Deletes topics by id (KIP-516). An id that no topic has is [`Error::UnknownTopic`], with the name left empty.
pub(crate) async fn delete_topics(
    broker: &BrokerInfo,
    client_id: &str,
    ids: &[TopicId],
    limit: Duration,
) -> Result<Vec<(TopicId, Result<()>)>> {
    let topic = |id: &TopicId| DeleteTopicState::default().with_topic_id(Uuid::from_bytes(id.to_bytes()));
    let body = DeleteTopicsRequest::default()
        .with_topics(ids.iter().map(topic).collect())
        .with_timeout_ms(i32::try_from(limit.as_millis() / 2).unwrap_or(i32::MAX));
    let mut answer = exchange(broker, client_id, ApiKey::DeleteTopics, 6, &body, limit).await?;
    let answer: DeleteTopicsResponse = decode(&mut answer, 6)?;
    let results = answer.responses.into_iter().map(|result| {
        let message = result.error_message.map(|message| message.to_string());
        let id = TopicId::from_bytes(*result.topic_id.as_bytes());
        (id, outcome(result.error_code, message))
    });
    Ok(results.collect())
}

fn outcome(code: i16, message: Option<String>) -> Result<()> {
    match code {
        0 => Ok(()),
        UNKNOWN_TOPIC_ID => Err(Error::UnknownTopic { topic: String::new() }),
        code => match RDKafkaRespErr::try_from(i32::from(code)) {
            Ok(native) => {
                let native = Code::from(native);
                Err(Error::from_code(native, message.unwrap_or_else(|| native.to_string()), None))
            }
            Err(_) => Err(Error::Other { code: i32::from(code), message: message.unwrap_or_default() }),
        },
    }
}

/// Sends one request and returns the body of its response.
async fn exchange(
    broker: &BrokerInfo,
    client_id: &str,
    api: ApiKey,
    version: i16,
    body: &impl Encodable,
    limit: Duration,
) -> Result<Bytes> {
    let request = encode(client_id, api, version, body)?;
    let address = format!("{}:{}", broker.host, broker.port);
    let unreachable = |reason: String| Error::Unreachable { reason: format!("{address}: {reason}") };
    let deadline = tokio::time::Instant::now() + limit;
    let mut stream = timeout(limit, TcpStream::connect((broker.host.as_str(), broker.port)))
        .await
        .map_err(|_| unreachable("no connection in time".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?;
    // From here on the broker may act on the request even if no answer comes.
    let unknown = |reason: String| Error::Timeout { reason: format!("{address}: {reason}") };
    let answer = tokio::time::timeout_at(deadline, converse(&mut stream, &request));
    let answer = answer.await.map_err(|_| unknown("no answer in time".to_owned()))?.map_err(|error| failure(&error, unknown))?;
    body_of(answer, api, version)
}

/// Sends a request and waits for what comes back.
async fn converse(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Bytes> {
    stream.write_all(request).await?;
    let size = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if size > MAX_RESPONSE {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, format!("a response of {size} bytes is too large")));
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

/// What a conversation failed of; `otherwise`, unless the response is too large.
fn failure(error: &std::io::Error, otherwise: impl FnOnce(String) -> Error) -> Error {
    match error.kind() {
        ErrorKind::FileTooLarge => Error::InvalidRequest { code: Code::MessageSizeTooLarge as i32, message: error.to_string() },
        _ => otherwise(error.to_string()),
    }
}

/// Whether less must be asked for at once.
fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::InvalidRequest { code, .. } if *code == Code::MessageSizeTooLarge as i32)
}

/// A response without its header.
fn body_of(mut answer: Bytes, api: ApiKey, version: i16) -> Result<Bytes> {
    let header: ResponseHeader = decode(&mut answer, api.response_header_version(version))?;
    if header.correlation_id != CORRELATION {
        return Err(protocol(&format!("unexpected correlation id {}", header.correlation_id)));
    }
    Ok(answer)
}

fn encode(client_id: &str, api: ApiKey, version: i16, body: &impl Encodable) -> Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(CORRELATION)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
    let mut message = BytesMut::new();
    header
        .encode(&mut message, api.request_header_version(version))
        .and_then(|()| body.encode(&mut message, version))
        .map_err(|error| protocol(&error))?;
    let size = i32::try_from(message.len()).map_err(|error| protocol(&error))?;
    Ok([Bytes::copy_from_slice(&size.to_be_bytes()), message.freeze()].concat().into())
}

fn decode<T: Decodable>(answer: &mut Bytes, version: i16) -> Result<T> {
    T::decode(answer, version).map_err(|error| protocol(&error))
}

fn protocol(error: &impl std::fmt::Display) -> Error {
    Error::Other { code: Code::BadMessage as i32, message: format!("not a valid Kafka message: {error}") }
}
