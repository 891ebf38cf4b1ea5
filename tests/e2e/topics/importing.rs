//! Topics that exist before their objects do: what `import kafka` prints of them is taken by the apiserver, and changes nothing.

use clap::Parser;
use penstock_crds::KafkaTopic;
use penstock_kafka::NewTopic;
use penstock_operator::{
    command_line::{Command, CommandLine},
    import,
};
use penstock_tests::scene::{Result, play};
use serde_json::Value;

use super::{DAY, HOUR, described, make, overrides, status};

async fn imported(words: &[&str]) -> Result<Vec<Value>> {
    let line = CommandLine::try_parse_from([&["penstock-operator", "import", "kafka"], words].concat())?;
    let Some(Command::Import(asked)) = line.command else { return Err("no import was asked for".into()) };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    import::run(asked, &mut out, &mut notes).await?;
    Ok(serde_saphyr::from_multiple(&String::from_utf8(out)?)?)
}

#[tokio::test]
async fn what_is_imported_is_adopted_as_it_is() {
    play("t-import", async |scene| {
        let (plain, renamed) = (scene.kafka_name("orders"), scene.kafka_name("orders_DLT"));
        let topic = |name: &str| NewTopic::new(name).with_replication_factor(1);
        make(scene, topic(&plain).with_partitions(3).with_config("retention.ms", DAY), 3).await?;
        make(scene, topic(&renamed).with_partitions(1).with_config("cleanup.policy", "compact,delete").with_config("segment.ms", HOUR), 0)
            .await?;
        let before = (described(scene, &plain).await?, overrides(scene, &plain).await?, overrides(scene, &renamed).await?);

        let brokers = scene.cluster.brokers().await?.external;
        let pattern = format!("{}.*", scene.namespace);
        let objects = imported(&["--bootstrap", &brokers, "--match", &pattern]).await?;
        assert_eq!(objects.len(), 2);
        for object in objects {
            let name = object["metadata"]["name"].as_str().ok_or("no name")?.to_owned();
            scene.apply::<KafkaTopic>(&name, object["spec"].clone()).await?;
            scene.told::<KafkaTopic>(&name, "Ready", "True", Some("Suspended")).await?;
            let mut spec = object["spec"].clone();
            spec.as_object_mut().ok_or("no spec")?.remove("suspend");
            scene.apply::<KafkaTopic>(&name, spec).await?;
            let told = status(scene.told::<KafkaTopic>(&name, "Ready", "True", Some("AsDeclared")).await?)?;
            assert_eq!(told.drift, None);
        }
        let after = (described(scene, &plain).await?, overrides(scene, &plain).await?, overrides(scene, &renamed).await?);
        assert_eq!(after, before);
        assert_eq!(scene.records(&plain).await?.len(), 3);
        Ok(())
    })
    .await;
}
