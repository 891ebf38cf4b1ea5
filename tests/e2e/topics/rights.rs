//! Brokers that forbid, and brokers that put off: told by reasons of their own, and over once they do so no more.

use kafka_protocol::{
    messages::{
        AlterClientQuotasRequest, AlterClientQuotasResponse, ApiKey, CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest,
        DeleteAclsResponse,
        alter_client_quotas_request::{EntityData, EntryData, OpData},
        create_acls_request::AclCreation,
        delete_acls_request::DeleteAclsFilter,
    },
    protocol::StrBytes,
};
use kube::api::DeleteParams;
use penstock_crds::KafkaTopic;
use penstock_tests::{
    cluster::KafkaSize,
    scene::{Result, Scene, play},
    wire::ask,
};
use serde_json::json;

use super::{DAY, HOUR, goes, map, message, overrides, spec};

/// Values of Kafka's protocol; see `ResourceType`, `PatternType`, `AclOperation` and `AclPermissionType` of its clients.
const TOPIC: i8 = 2;
const ANY: i8 = 1;
const LITERAL: i8 = 3;
const ALL: i8 = 2;
const DESCRIBE: i8 = 8;
const ALTER_CONFIGS: i8 = 11;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

fn word(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn broker(scene: &Scene) -> Result<&str> {
    Ok(scene.kafka.bootstrap_servers().first().ok_or("no broker")?)
}

/// Everybody may do everything with the topic but this.
async fn forbid(scene: &Scene, topic: &str, operation: i8) -> Result {
    let rule = |operation, permission| {
        AclCreation::default()
            .with_resource_type(TOPIC)
            .with_resource_name(word(topic))
            .with_resource_pattern_type(LITERAL)
            .with_principal(word("User:*"))
            .with_host(word("*"))
            .with_operation(operation)
            .with_permission_type(permission)
    };
    let request = CreateAclsRequest::default().with_creations(vec![rule(ALL, ALLOW), rule(operation, DENY)]);
    let answer: CreateAclsResponse = ask(broker(scene)?, ApiKey::CreateAcls, 3, &request).await?;
    let refused: Vec<_> = answer.results.iter().filter(|result| result.error_code != 0).collect();
    if refused.is_empty() { Ok(()) } else { Err(format!("{refused:?}").into()) }
}

async fn permit(scene: &Scene, topic: &str) -> Result {
    let all = DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC)
        .with_resource_name_filter(Some(word(topic)))
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let answer: DeleteAclsResponse =
        ask(broker(scene)?, ApiKey::DeleteAcls, 3, &DeleteAclsRequest::default().with_filters(vec![all])).await?;
    let removed: usize = answer.filter_results.iter().map(|result| result.matching_acls.len()).sum();
    if removed == 2 { Ok(()) } else { Err(format!("{removed} rules were removed: {answer:?}").into()) }
}

/// How many partitions a second everybody may create or delete, together with those of the seconds before; none: as many as one likes.
async fn mutations_a_second(scene: &Scene, rate: Option<f64>) -> Result {
    let everybody = EntityData::default().with_entity_type(word("user")).with_entity_name(None);
    let quota =
        OpData::default().with_key(word("controller_mutation_rate")).with_value(rate.unwrap_or_default()).with_remove(rate.is_none());
    let entry = EntryData::default().with_entity(vec![everybody]).with_ops(vec![quota]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let answer: AlterClientQuotasResponse = ask(broker(scene)?, ApiKey::AlterClientQuotas, 1, &request).await?;
    match answer.entries.first() {
        Some(entry) if entry.error_code == 0 => Ok(()),
        entry => Err(format!("{entry:?}").into()),
    }
}

#[tokio::test]
async fn what_brokers_forbid_or_put_off_is_told_and_done_once_they_let_it() {
    let settings =
        [("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"), ("allow.everyone.if.no.acl.found", "true")];
    play("t-rights", async |scene| {
        scene
            .beside_own_kafka(KafkaSize::One, &settings, async |own| {
                let scene = &own.scene;
                let declared = |topic: &str, retention: &str| {
                    let fields = json!({
                        "topicName": scene.kafka_name(topic), "partitions": 1, "deletionPolicy": "Delete",
                        "config": {"retention.ms": retention}, "clusterRef": {"name": own.cluster},
                    });
                    spec(scene, fields)
                };
                let (first, second) = (scene.kafka_name("first"), scene.kafka_name("second"));
                scene.topic("first", declared("first", DAY)).await?;
                scene.topic("second", declared("second", DAY)).await?;

                forbid(scene, &first, ALTER_CONFIGS).await?;
                scene.apply::<KafkaTopic>("first", declared("first", HOUR)).await?;
                let told = scene.told::<KafkaTopic>("first", "Ready", "False", Some("KafkaUnauthorized")).await?;
                assert!(message(&told).to_lowercase().contains("authorization"), "{}", message(&told));
                assert_eq!(overrides(scene, &first).await?, map(&[("retention.ms", DAY)]));
                permit(scene, &first).await?;
                scene.ready::<KafkaTopic>("first").await?;
                assert_eq!(overrides(scene, &first).await?, map(&[("retention.ms", HOUR)]));

                // Nothing concerns the object then: the sweep finds it.
                forbid(scene, &first, DESCRIBE).await?;
                scene.told::<KafkaTopic>("first", "Ready", "False", Some("KafkaUnauthorized")).await?;
                permit(scene, &first).await?;
                scene.ready::<KafkaTopic>("first").await?;

                // One partition is a hundred seconds of this quota.
                mutations_a_second(scene, Some(0.01)).await?;
                scene.delete::<KafkaTopic>("first").await?;
                goes(scene, &first).await?;
                scene.api::<KafkaTopic>().delete("second", &DeleteParams::background()).await?;
                scene.told::<KafkaTopic>("second", "Ready", "False", Some("Throttled")).await?;
                mutations_a_second(scene, None).await?;
                scene.gone::<KafkaTopic>("second").await?;
                goes(scene, &second).await
            })
            .await
    })
    .await;
}
