//! A limit that all workers share: what the brokers take from them in all, whoever sends it.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        AlterClientQuotasRequest, AlterClientQuotasResponse, ApiKey, RequestHeader, ResponseHeader,
        alter_client_quotas_request::{EntityData, EntryData, OpData},
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use penstock_crds::EventPipeline;
use penstock_kafka::Record;
use penstock_tests::scene::{Result, Scene, play};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{counted, decided, steps, topics};

/// Bytes a second: some fifteen records.
const QUOTA: f64 = 8_192.0;
/// For minutes at that rate.
const RECORDS: u32 = 3_000;
const ALTER: (ApiKey, i16) = (ApiKey::AlterClientQuotas, 1);

/// Lets the clients of that id write so many bytes a second together, or, without a number, as many as they like.
async fn limit(scene: &Scene, client: &str, bytes: Option<f64>) -> Result {
    let entity = EntityData::default()
        .with_entity_type(StrBytes::from_static_str("client-id"))
        .with_entity_name(Some(StrBytes::from_string(client.to_owned())));
    let quota = OpData::default().with_key(StrBytes::from_static_str("producer_byte_rate"));
    let quota = quota.with_value(bytes.unwrap_or_default()).with_remove(bytes.is_none());
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![quota]);
    let brokers = scene.cluster.brokers().await?.external;
    let answer = ask(brokers.split(',').next().unwrap_or_default(), &AlterClientQuotasRequest::default().with_entries(vec![entry])).await?;
    match answer.entries.iter().find(|entry| entry.error_code != 0) {
        Some(refused) => Err(format!("the quota was refused: {refused:?}").into()),
        None => Ok(()),
    }
}

async fn ask(broker: &str, question: &AlterClientQuotasRequest) -> Result<AlterClientQuotasResponse> {
    let (api, version) = ALTER;
    let header = RequestHeader::default().with_request_api_key(api as i16).with_request_api_version(version);
    let mut request = BytesMut::new();
    header.encode(&mut request, api.request_header_version(version)).map_err(|why| why.to_string())?;
    question.encode(&mut request, version).map_err(|why| why.to_string())?;
    let mut stream = TcpStream::connect(broker).await?;
    stream.write_u32(u32::try_from(request.len())?).await?;
    stream.write_all(&request).await?;
    let mut answer = vec![0; usize::try_from(stream.read_u32().await?)?];
    stream.read_exact(&mut answer).await?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, api.response_header_version(version)).map_err(|why| why.to_string())?;
    Ok(AlterClientQuotasResponse::decode(&mut answer, version).map_err(|why| why.to_string())?)
}

#[tokio::test]
async fn mistake_5_a_step_up_that_does_not_help_is_taken_back() {
    play("scaling-m5", async |scene| {
        topics(scene, 3).await?;
        // The workers of a pipeline have one client id.
        let client = format!("penstock-{}.p", scene.namespace);
        limit(scene, &client, Some(QUOTA)).await?;
        let mut spec = counted(json!({"maxReplicas": 3}), "ExactlyOnce");
        // So that it is felt by each few records, and not by all that wait at once.
        spec["transaction"] = json!({"records": 5});
        spec["producer"] = json!({"batchBytes": 1024, "compression": "None"});
        scene.apply::<EventPipeline>("p", spec).await?;
        scene.ready::<EventPipeline>("p").await?;
        decided(scene, "p", "AsNeeded", 1).await?;

        let topic = scene.kafka_name("in");
        let payload = json!({"n": 1, "pad": "x".repeat(300)}).to_string();
        scene.produce_all((0..RECORDS).map(|n| Record::to(&topic).with_key(n.to_string()).with_payload(payload.clone()))).await?;
        let status = decided(scene, "p", "ScaleUpIneffective", 1).await?;
        assert_eq!(status.limited_by.as_deref(), Some("Effect"), "{status:?}");
        scene.ready_workers("p", 1).await?;
        let steps = steps(scene, "p").await?;
        assert!(matches!(*steps, [(1, up), (back, 1)] if up > 1 && back == up), "one step up, and that is taken back: {steps:?}");
        limit(scene, &client, None).await
    })
    .await;
}
