//! `penstock-operator import kafka` against a real broker: what it prints leaves the topics as they are.

use std::collections::BTreeMap;

use clap::Parser;
use penstock_crds::{KafkaClusterSpec, KafkaTopic};
use penstock_kafka::{ConnectionSettings, NewTopic, TopicAdmin};
use penstock_operator::{
    command_line::{Command, CommandLine},
    import,
    topics::foresight,
};
use penstock_tests::scene::Result;

use crate::{shared, topic::make};

/// What the command prints, and what it tells beside it.
async fn imported(words: &[&str]) -> Result<(String, String)> {
    let line = CommandLine::try_parse_from([&["penstock-operator", "import"], words].concat())?;
    let Some(Command::Import(asked)) = line.command else { return Err("no import was asked for".into()) };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    import::run(asked, &mut out, &mut notes).await?;
    Ok((String::from_utf8(out)?, String::from_utf8(notes)?))
}

#[tokio::test]
async fn what_is_printed_of_existing_topics_changes_nothing_of_them() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let bootstrap = brokers.bootstrap().join(",");
    let compacted = NewTopic::new("imp.orders").with_partitions(3).with_config("cleanup.policy", "compact,delete");
    let topics = [
        compacted.with_config("retention.ms", "604800000").with_config("min.cleanable.dirty.ratio", "0.25"),
        NewTopic::new("imp.Orders").with_partitions(1).with_config("unclean.leader.election.enable", "true"),
        NewTopic::new("imp.orders_DLT").with_partitions(2),
        NewTopic::new("else.orders").with_partitions(1),
    ];
    make(&connection, &topics).await?;

    let (printed, told) = imported(&["kafka", "--bootstrap", &bootstrap, "--match", "imp.*", "--cluster", "big", "--into", "shop"]).await?;
    let objects: Vec<KafkaTopic> = serde_saphyr::from_multiple(&printed)?;
    let mut names: Vec<_> = objects.iter().map(KafkaTopic::kafka_name).collect();
    names.sort_unstable();
    assert_eq!(names, ["imp.Orders", "imp.orders", "imp.orders_DLT"], "{printed}");
    assert!(told.starts_with("3 objects, all with `suspend: true`"), "{told}");

    let admin = TopicAdmin::new(&connection)?;
    let (mut described, mut configured) = tokio::try_join!(admin.describe(&names), admin.describe_configs(&names))?;
    for mut object in objects.clone() {
        let name = object.kafka_name().to_owned();
        assert!(object.spec.suspend && object.cluster_name() == "big" && object.metadata.namespace.as_deref() == Some("shop"), "{printed}");
        let (topic, config) = (described.remove(&name).ok_or("not described")??, configured.remove(&name).ok_or("not described")??);
        assert_eq!((object.spec.partitions, object.spec.replication_factor), (Some(topic.partition_count()), Some(1)), "{name}");
        let printed: BTreeMap<String, String> =
            object.spec.config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        assert_eq!(printed, config.overrides(), "{name}");
        object.spec.suspend = false;
        let changes = foresight::changes(&object, &KafkaClusterSpec::default(), &topic, &config).map_err(|refusal| refusal.to_string())?;
        assert_eq!(changes, [], "{name}");
    }

    let nothing = imported(&["kafka", "--bootstrap", &bootstrap, "--match", "imp.none*"]).await.unwrap_err().to_string();
    assert!(nothing.contains("has a name like imp.none*"), "{nothing}");
    Ok(())
}
