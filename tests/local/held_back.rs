//! Order across delays, with a real broker and the real runtime: while a record waits in a retry topic, later ones of its key
//! wait behind it and others go on; over a restart, and shared among workers.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use penstock_crds::worker::{Delivery, GroupProtocol, Ordering};
use penstock_kafka::{Producer, ProducerSettings, Record};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};

use crate::{
    pipeline::{ATTEMPTS, Pipeline},
    shared,
};

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

#[tokio::test]
async fn what_waits_holds_back_its_key() -> Result {
    let brokers = shared::broker().await?;
    let both = [
        (Delivery::ExactlyOnce, Ordering::Key, GroupProtocol::Classic),
        (Delivery::AtLeastOnce, Ordering::Partition, GroupProtocol::Consumer),
    ]
    .map(async |(delivery, ordering, group_protocol)| -> Result {
        let pipeline = Pipeline::new(&brokers, "held", delivery, ordering, group_protocol).await?;
        let kept = keys_keep_their_order(&pipeline, ordering).await;
        kept.map_err(|error| format!("{delivery:?} {ordering:?} {group_protocol:?}: {error}").into())
    });
    try_join_all(both).await.map(drop)
}
