//! Order across delays, with a real broker and the real runtime: while a record waits in a retry topic, later ones of its key
//! wait behind it and others go on; over a restart, and shared among workers.

use std::collections::BTreeMap;

use penstock_crds::worker::{Delivery, GroupProtocol, Ordering};
use penstock_kafka::{Producer, ProducerSettings, Record, TopicAdmin};
use penstock_tests::{
    local::{BrokerSettings, Brokers},
    scene::{LIMIT, Result, Waiting, until},
};

use crate::pipeline::{ATTEMPTS, Pipeline};

/// By key, in their order: after how many attempts each record works.
const RECORDS: [(&str, &[u16]); 4] = [("often", &[3, 1, 4, 1, 3, 1]), ("never", &[9, 1, 1]), ("well", &[1, 1, 1]), ("once", &[1, 3, 1])];

async fn keys_keep_their_order(pipeline: &Pipeline, ordering: Ordering) -> Result {
    let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
    let (mut keys, mut order) = (BTreeMap::new(), BTreeMap::<&str, Vec<String>>::new());
    for round in 0..6 {
        for (key, needs) in RECORDS {
            let Some(needs) = needs.get(round) else { continue };
            let position = producer.send(Record::to(pipeline.name("in")).with_key(key).with_payload(needs.to_string())).await?;
            let id = format!("{}/{}/{}", pipeline.name("in"), position.partition, position.offset);
            order.entry(key).or_default().push(id.clone());
            keys.insert(id, key.to_owned());
        }
    }
    let (stop, worker) = pipeline.start("worker-0");
    until("a record waits, and others behind it", LIMIT, async || {
        let (calls, held) = (pipeline.calls.calls("often", &keys).len(), pipeline.read("held").await?.len());
        if calls >= usize::from(ATTEMPTS) && held > 0 { Ok(()) } else { Err(Waiting::from(format!("{calls} attempts, {held} held back"))) }
    })
    .await?;
    stop.cancel();
    worker.await??;
    let workers = ["worker-0", "worker-1"].map(|name| pipeline.start(name));
    let ended = until("every record has ended, and the group has committed it", LIMIT, async || {
        let ends = (pipeline.read("out").await?, pipeline.read("dead").await?, pipeline.lag().await?);
        if (ends.0.len(), ends.1.len(), ends.2) == (14, 1, 0) {
            return Ok(ends.0);
        }
        Err(Waiting::from(format!("{} outputs, {} dead letters, lag {}", ends.0.len(), ends.1.len(), ends.2)))
    })
    .await;
    for (stop, worker) in workers {
        stop.cancel();
        worker.await??;
    }
    let outputs = ended?;

    for (key, order) in &order {
        let mut calls: Vec<_> = pipeline.calls.calls(key, &keys).into_iter().map(|call| call.id).collect();
        calls.dedup();
        assert_eq!(&calls, order, "the records with the key {key} were handled in another order than they came");
        let written = outputs.iter().filter(|output| output.key.as_deref() == Some(key.as_bytes()));
        let written: Vec<_> =
            written.map(|output| String::from_utf8_lossy(output.payload.as_deref().unwrap_or_default()).into_owned()).collect();
        let expected: Vec<_> = order.iter().skip(usize::from(*key == "never")).cloned().collect();
        assert_eq!(written, expected, "the outputs with the key {key} are in another order than its records");
    }
    let (first, last) = (pipeline.calls.calls("often", &keys), pipeline.calls.calls("well", &keys));
    let (first, last) = (first.last().ok_or("no call")?, last.last().ok_or("no call")?);
    if ordering == Ordering::Key {
        assert!(last.at < first.at, "records of other keys waited, too");
    }
    Ok(())
}

/// A worker goes down after it has held back the second record of a key, and before Kafka has what follows from the first.
async fn what_comes_again_keeps_its_order(pipeline: &Pipeline) -> Result {
    let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
    let (source, held) = (pipeline.name("in"), pipeline.name("held"));
    let described = TopicAdmin::new(&pipeline.connection)?.describe(&[&source]).await?;
    let topic_id = described.get(&source).ok_or("no answer")?.as_ref().map_err(Clone::clone)?.id.to_string();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let position = producer.send(Record::to(&source).with_partition(0).with_key("k").with_payload("1")).await?;
        ids.push(format!("{source}/0/{}", position.offset));
    }
    let mut copy = Record::to(&held).with_partition(0).with_key("k").with_payload("1");
    let facts =
        [("attempts", "0"), ("topic", &source), ("partition", "0"), ("offset", "1"), ("reading", &format!("{topic_id}/00000000000000ff"))];
    for (name, value) in facts {
        copy = copy.with_header(format!("penstock-retry-{name}"), value.to_owned());
    }
    producer.send(copy).await?;
    let (stop, worker) = pipeline.start("worker-0");
    let ended = until("every record has ended, and the group has committed it", LIMIT, async || {
        let (outputs, lag) = (pipeline.read("out").await?, pipeline.lag().await?);
        if outputs.len() >= ids.len() && lag == 0 {
            Ok(outputs)
        } else {
            Err(Waiting::from(format!("{} outputs, lag {lag}", outputs.len())))
        }
    })
    .await;
    stop.cancel();
    worker.await??;
    let outputs: Vec<_> =
        ended?.into_iter().map(|output| String::from_utf8_lossy(&output.payload.unwrap_or_default()).into_owned()).collect();
    assert_eq!(outputs, ids, "a record was held back behind a later one, or handled beside its source topic as well");
    Ok(())
}

#[tokio::test]
async fn what_was_put_beside_without_a_commit_comes_again() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    let pipeline = Pipeline::new(&brokers, Delivery::AtLeastOnce, Ordering::Key, GroupProtocol::Classic).await?;
    what_comes_again_keeps_its_order(&pipeline).await
}

#[tokio::test]
async fn what_waits_holds_back_its_key() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    for (delivery, ordering, group_protocol) in [
        (Delivery::ExactlyOnce, Ordering::Key, GroupProtocol::Classic),
        (Delivery::AtLeastOnce, Ordering::Partition, GroupProtocol::Consumer),
    ] {
        let pipeline = Pipeline::new(&brokers, delivery, ordering, group_protocol).await?;
        let kept = keys_keep_their_order(&pipeline, ordering).await;
        kept.map_err(|error| format!("{delivery:?} {ordering:?} {group_protocol:?}: {error}"))?;
    }
    Ok(())
}
