//! Retry topics with a real broker and the real runtime: a record waits as long as it is told to, over a restart of its
//! worker, keeps its identity, and ends in exactly one place; and a group that has done everything is seen to have.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use penstock_crds::worker::{Delivery, GroupProtocol, Ordering};
use penstock_kafka::{Producer, ProducerSettings, Record};
use penstock_tests::scene::{LIMIT, Result, Waiting, until};

use crate::{
    pipeline::{ATTEMPTS, DELAYS, Pipeline},
    shared,
};

async fn records_wait_and_end_once(pipeline: &Pipeline) -> Result {
    let producer = Producer::new(&pipeline.connection, &ProducerSettings::default())?;
    let mut keys = BTreeMap::new();
    // By key: after how many attempts it works.
    for (key, needs) in [("at once", 1), ("in place", 2), ("later", 3), ("much later", 4), ("never", 9)] {
        let position = producer.send(Record::to(pipeline.name("in")).with_key(key).with_payload(needs.to_string())).await?;
        keys.insert(format!("{}/{}/{}", pipeline.name("in"), position.partition, position.offset), key.to_owned());
    }
    // The first worker ends while records wait; the second one goes on with them.
    let (stop, worker) = pipeline.start("worker-0");
    until("a record waits for the second time", LIMIT, async || {
        let calls = pipeline.calls.calls("never", &keys).len();
        if calls > usize::from(ATTEMPTS) { Ok(()) } else { Err(Waiting::from(format!("{calls} attempts"))) }
    })
    .await?;
    stop.cancel();
    worker.await??;
    let (stop, worker) = pipeline.start("worker-0");
    let ended = until("every record has ended, and the group has committed it", LIMIT, async || {
        let ends = (pipeline.read("out").await?, pipeline.read("dead").await?, pipeline.lag().await?);
        if (ends.0.len(), ends.1.len(), ends.2) == (4, 1, 0) {
            return Ok(ends);
        }
        Err(Waiting::from(format!("{} outputs, {} dead letters, lag {}", ends.0.len(), ends.1.len(), ends.2)))
    })
    .await;
    stop.cancel();
    worker.await??;
    let (outputs, letters, _) = ended?;

    for output in outputs {
        let (id, key) = (String::from_utf8_lossy(&output.payload.unwrap_or_default()).into_owned(), output.key.unwrap_or_default());
        assert_eq!(keys.get(&id).map(String::as_bytes), Some(&*key), "an output names another record than its own: {id}");
    }
    let [letter] = letters.as_slice() else { return Err("not one dead letter".into()) };
    assert_eq!(letter.key.as_deref(), Some(&b"never"[..]));
    for (name, value) in
        [("original-topic", pipeline.name("in")), ("retry-count", "3".to_owned()), ("error-message", "attempt 4".to_owned())]
    {
        let header = letter.header(&format!("penstock-dlt-{name}")).and_then(|header| header.value.clone());
        assert_eq!(header.as_deref(), Some(value.as_bytes()), "{name}");
    }
    assert!(letter.headers.iter().all(|header| !header.name.starts_with("penstock-retry-")), "{:?}", letter.headers);
    for (key, attempts) in [("at once", 1), ("in place", 2), ("later", 3), ("much later", 4), ("never", 4)] {
        let calls = pipeline.calls.calls(key, &keys);
        let numbers: Vec<_> = calls.iter().map(|call| call.attempt).collect();
        assert_eq!(numbers, (1..=attempts).collect::<Vec<u16>>(), "{key}");
        for (calls, delay) in calls.windows(2).skip(1).zip(DELAYS) {
            let waited = calls[1].at - calls[0].at;
            assert!(waited >= delay, "{key} waited {waited:?} instead of {delay:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_record_waits_as_told_and_ends_once() -> Result {
    let brokers = shared::broker().await?;
    let both = [Delivery::ExactlyOnce, Delivery::AtLeastOnce].map(async |delivery| -> Result {
        let pipeline = Pipeline::new(&brokers, "retry", delivery, Ordering::None, GroupProtocol::Classic).await?;
        records_wait_and_end_once(&pipeline).await.map_err(|error| format!("{delivery:?}: {error}").into())
    });
    try_join_all(both).await.map(drop)
}
