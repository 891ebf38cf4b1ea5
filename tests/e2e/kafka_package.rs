//! System 4, the kafka package: its programs run outside of the cluster, on the topics of `examples/kafka-package`.

use std::collections::BTreeSet;

use penstock_crds::KafkaTopic;
use penstock_kafka::ConsumedRecord;
use penstock_tests::{local::Examples, scene::play};

const RECORDS: usize = 500;

fn payload(record: &ConsumedRecord) -> String {
    String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned()
}

#[tokio::test]
async fn what_is_produced_is_copied_and_consumed_exactly_once() {
    play("kafka-package", async |scene| {
        scene.apply_example("kafka-package").await?;
        for topic in ["orders", "copies"] {
            scene.ready::<KafkaTopic>(topic).await?;
        }
        let examples = Examples::compiled(scene.cluster.brokers().await?.external).await?;
        let (from, to) = (scene.kafka_name("package.orders"), scene.kafka_name("package.copies"));
        // Nobody else has these names, in groups neither.
        let own = &scene.namespace;

        let printed = examples.run(&format!("produce --topic {from} --count {RECORDS}")).await?;
        assert!(printed.contains(&format!("{RECORDS} records acknowledged, 0 failed")), "{printed}");
        // Every second transaction is aborted, and what it held is copied by a later one.
        let copy = format!("exactly_once --from {from} --to {to} --group {own}-copiers --id {own}-copier-0");
        let printed = examples.run(&format!("{copy} --count {RECORDS} --gather 1 --abort-every 2")).await?;
        assert!(printed.contains("records committed"), "{printed}");
        let printed = examples.run(&format!("consume --topic {to} --group {own}-readers --count {RECORDS}")).await?;

        let expected: BTreeSet<String> = (0..RECORDS).map(|n| format!("PAYLOAD {n}")).collect();
        let consumed: Vec<&str> =
            printed.lines().filter_map(|line| line.split_once("payload=Some(\"")?.1.split_once('"')).map(|(text, _)| text).collect();
        assert_eq!(consumed.len(), RECORDS, "{printed}");
        assert_eq!(consumed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected, "each is consumed");
        let copies = scene.records(&to).await?;
        assert_eq!(copies.len(), RECORDS, "no copy is there twice");
        assert_eq!(copies.iter().map(payload).collect::<BTreeSet<_>>(), expected, "each is copied");
        Ok(())
    })
    .await;
}
