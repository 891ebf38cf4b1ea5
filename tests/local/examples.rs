//! The examples of the kafka crate against a real broker, as one would start them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use penstock_kafka::{ConnectionSettings, TopicAdmin};
use penstock_tests::{
    local::{BrokerSettings, Brokers, Examples, Folder, Process},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::shared;

const RECORDS: usize = 20;

async fn examples(brokers: &Brokers) -> Result<Examples> {
    Ok(Examples::compiled(brokers.bootstrap().join(",")).await?)
}

#[tokio::test]
async fn each_does_what_it_says() -> Result {
    let brokers = shared::broker().await?;
    let examples = examples(&brokers).await?;
    for (arguments, line, lines) in [
        ("manage_topics create orders --partitions 3 --config retention.ms=60000", "retention.ms", 0),
        ("manage_topics create copies --partitions 1", "copies", 1),
        ("manage_topics list", "orders (3 partitions)", 1),
        ("manage_topics describe orders", "\"retention.ms\": \"60000\"", 1),
        ("produce --topic orders --count 20", "20 records acknowledged, 0 failed", 1),
        ("consume --topic orders --group readers --count 20", "payload=Some(\"payload ", RECORDS),
        ("exactly_once --from orders --to copies --group copiers --id copier-0 --count 20", "", 0),
        ("consume --topic copies --count 20", "payload=Some(\"PAYLOAD ", RECORDS),
        ("speed --records 1000 --rounds 1", "read, Consumer", 1),
    ] {
        let printed = examples.run(arguments).await?;
        let found = printed.lines().filter(|printed| printed.contains(line)).count();
        assert!(lines == 0 || found >= lines, "{arguments}: {printed}");
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_is_made_changed_filled_from_a_pipe_read_and_deleted() -> Result {
    let brokers = shared::broker().await?;
    let examples = examples(&brokers).await?;
    let printed = examples.run("manage_topics cluster").await?;
    assert!(printed.contains("running Kafka") && printed.contains("broker 0 at"), "{printed}");
    // (program, what it reads, what it prints, what is told of the topic then)
    for (arguments, input, said, told) in [
        ("manage_topics create scratch --partitions 1 --config retention.ms=3600000", "", &["scratch id"][..], "with 1 partitions"),
        ("manage_topics grow scratch 2", "", &["scratch: done"], "with 2 partitions"),
        (
            "manage_topics configure scratch --set retention.bytes=7 --unset retention.ms",
            "",
            &["done"],
            "topic: {\"retention.bytes\": \"7\"}",
        ),
        ("produce --topic scratch", "anna:{\"n\":1}\nbert:{\"n\":2}\n", &["stored in partition", "at offset"], "scratch id"),
        ("consume --topic scratch --group scratch-demo --count 2", "", &["key=Some(\"anna\")", "key=Some(\"bert\")"], "scratch id"),
        ("manage_topics delete scratch", "", &["scratch: done"], "does not exist"),
    ] {
        let printed = examples.run_with(arguments, input).await?;
        assert!(said.iter().all(|words| printed.contains(words)), "{arguments}: {printed}");
        until(told, LIMIT, async || {
            let printed = examples.run("manage_topics describe scratch").await.map_err(|error| Waiting::from(error.to_string()))?;
            if printed.contains(told) { Ok(()) } else { Err(Waiting::from(printed)) }
        })
        .await?;
    }
    Ok(())
}

/// Waits until a program has logged or printed a line with these words; all that it has by then.
async fn says(process: &Process, words: &str) -> Result<String> {
    until(words, LIMIT, async || {
        let log = std::fs::read_to_string(process.log()).map_err(|error| Waiting::from(error.to_string()))?;
        process.must_run().map_err(|error| Waiting::Never(error.into()))?;
        if log.contains(words) { Ok(log) } else { Err(Waiting::from(log.lines().last().unwrap_or("nothing").to_owned())) }
    })
    .await
}

#[tokio::test]
async fn a_service_from_a_file_survives_its_broker_and_stops_in_good_order() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    let examples = examples(&brokers).await?;
    let folder = Folder::new("from-config")?;
    let mut command = std::process::Command::new(examples.program("from_config"));
    command.arg("--config").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../kafka/examples/app.yaml")).args(["--every", "10"]);
    command.env_remove("RUST_LOG").env("PENSTOCK_KAFKA_CONNECTION_BOOTSTRAP_SERVERS", examples.bootstrap());
    for (field, value) in [
        ("PRODUCER_DELIVERY_TIMEOUT", "1s"),
        ("PRODUCER_CIRCUIT_BREAKER_PAUSE", "500ms"),
        ("CONSUMER_GROUP", "service"),
        ("CONSUMER_SESSION_TIMEOUT", "6s"),
    ] {
        command.env(format!("PENSTOCK_KAFKA_{field}"), value);
    }
    let service = Process::start("from_config", &command, &folder.path().join("log"), None)?;
    says(&service, "orders/").await?;

    brokers.kill(0)?;
    says(&service, "the circuit opens").await?;
    says(&service, "not sent: the circuit is open").await?;
    brokers.restart(0).await?;
    let log = says(&service, "the circuit closes").await?;

    // What it writes is read on, too.
    let before = log.lines().filter(|line| line.starts_with("orders/")).count();
    until("records after the outage", LIMIT, async || {
        let log = std::fs::read_to_string(service.log()).map_err(|error| Waiting::from(error.to_string()))?;
        let count = log.lines().filter(|line| line.starts_with("orders/")).count();
        if count > before { Ok(()) } else { Err(Waiting::from(format!("{count} records"))) }
    })
    .await?;

    service.terminate();
    let status = service.wait(Duration::from_secs(30)).await?;
    let log = std::fs::read_to_string(service.log())?;
    assert!(status.success(), "{log}");
    assert!(log.lines().last().is_some_and(|line| line.ends_with("handled and committed")), "{log}");
    // Everything that it has handled is committed: nobody would handle it again.
    let admin = TopicAdmin::new(&ConnectionSettings::new(brokers.bootstrap())?)?;
    let mut committed = 0;
    for offset in admin.group_offsets("service").await?.into_values() {
        committed += offset?.offset;
    }
    let handled = log.lines().filter(|line| line.starts_with("orders/")).filter_map(|line| line.split(' ').next()).collect::<BTreeSet<_>>();
    assert_eq!(usize::try_from(committed)?, handled.len(), "{log}");
    Ok(())
}
