//! Readiness with a real broker and the real runtime: a worker whose dead letter topic is gone says so, whatever its delivery,
//! loses nothing, and is well again once the topic is there.

use futures::future::try_join_all;
use penstock_crds::worker::Delivery;
use penstock_kafka::{Error, NewTopic, Producer, ProducerSettings, Record, TopicAdmin};
use penstock_tests::{
    local::{get, ports},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::{
    pipeline::{PARTITIONS, Pipeline},
    shared,
};

async fn a_missing_dead_letter_topic_is_told(pipeline: &Pipeline) -> Result {
    let admin = TopicAdmin::new(&pipeline.connection)?;
    let dead = pipeline.name("dead");
    let id = admin.describe(&[&dead]).await?.remove(&dead).ok_or("no answer")??.id;
    let port = ports::free(1)?.remove(0);
    let (stop, worker) = pipeline.start_at("worker-0", port);
    let ready = async |expected: u16, words: &str| {
        until(&format!("{expected} with `{words}`"), LIMIT, async || {
            let answer = get(port, "/readyz").await.map_err(|error| Waiting::from(error.to_string()))?;
            if answer.status == expected && answer.body.contains(words) {
                return Ok(());
            }
            let (called, restarts) = (pipeline.calls.count(), metric(port, "restarts").await);
            Err(Waiting::from(format!("{answer:?}, the processor was called {called} times, ended: {}, {restarts}", worker.is_finished())))
        })
        .await
    };
    ready(200, "").await?;
    admin.delete(&[(&dead, id)]).await?.remove(&dead).ok_or("no answer")??;
    // The controller has answered; until the broker knows, too, it takes a letter that is gone with the topic.
    until("the topic is gone", LIMIT, async || match admin.describe(&[&dead]).await?.remove(&dead) {
        Some(Err(Error::UnknownTopic { .. })) => Ok(()),
        found => Err(Waiting::from(format!("{found:?}"))),
    })
    .await?;
    let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
    producer.send(Record::to(pipeline.name("in")).with_key("k").with_payload("never")).await?;
    ready(503, "dead letter topic").await?;

    admin.create(&[NewTopic::new(&dead).with_partitions(PARTITIONS)]).await?.remove(&dead).ok_or("no answer")??;
    ready(200, "").await?;
    until("the dead letter", LIMIT, async || match pipeline.read("dead").await?.len() {
        1 => Ok(()),
        letters => Err(Waiting::from(format!("{letters} letters"))),
    })
    .await?;
    stop.cancel();
    Ok(worker.await??)
}

/// The lines of the worker's metrics that have this in their name.
async fn metric(port: u16, name: &str) -> String {
    let told = get(port, "/metrics").await.map_or_else(|error| error.to_string(), |answer| answer.body);
    told.lines().filter(|line| !line.starts_with('#') && line.contains(name)).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_worker_says_what_it_cannot_write_to() -> Result {
    let brokers = shared::broker().await?;
    let both = [Delivery::ExactlyOnce, Delivery::AtLeastOnce].map(async |delivery| -> Result {
        let pipeline = Pipeline::without_delays(&brokers, "readiness", delivery).await?;
        a_missing_dead_letter_topic_is_told(&pipeline).await.map_err(|error| format!("{delivery:?}: {error}").into())
    });
    try_join_all(both).await.map(drop)
}
