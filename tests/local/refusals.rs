//! Topics that refuse some of what a pipeline writes, while much more waits to be written: what is refused is a dead letter, and
//! nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use penstock_crds::worker::{
    DeadLetterFormat, DeadLetterTarget, Delivery, Fetching, GroupProtocol, KafkaInput, Ordering, RetryPolicy, StartFrom, TransactionBounds,
    WorkerSource,
};
use penstock_kafka::{ConnectionSettings, ConsumedRecord, Producer, ProducerSettings, Record};
use penstock_tests::{
    local::Brokers,
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{
    processor::{Event, Outcome, Output, Processor},
    processors::BuiltProcessor,
};

use crate::{
    shared,
    small_topics::{config, make_topic, start},
    topic::{header, read},
};

const RECORDS: usize = 5_000;

/// Emits everything as it is.
struct Same;

impl Processor for Same {
    async fn process(&self, event: &Event) -> Outcome {
        let Event { key, payload, headers, .. } = event.clone();
        Outcome::Emit(vec![Output { key, payload, headers }])
    }
}

/// Some of it has no key, which a compacted topic does not take, or is larger than a small topic takes.
fn record(topic: String, number: usize) -> Record {
    let text = format!("{number} ");
    match number % 1_000 {
        300 => Record::to(topic).with_payload(text),
        // Of no use to a compression.
        600 => {
            let numbers = std::iter::successors(Some(u32::try_from(number).unwrap() | 1), |n| {
                Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
            });
            Record::to(topic)
                .with_key("k")
                .with_payload(text.bytes().chain(numbers.map(|n| (n >> 24) as u8)).take(200_000).collect::<Vec<_>>())
        }
        _ => Record::to(topic).with_key("k").with_payload(text),
    }
}

fn number(payload: Option<&[u8]>) -> Option<usize> {
    String::from_utf8_lossy(payload?.split(|byte| *byte == b' ').next()?).parse().ok()
}

/// How many dead letters there are of each kind and reason.
fn whys(letters: &[ConsumedRecord]) -> BTreeMap<String, usize> {
    let mut whys = BTreeMap::new();
    for letter in letters {
        let told = ["penstock-dlt-error-type", "penstock-dlt-error-message"]
            .map(|name| String::from_utf8_lossy(header(letter, name).unwrap_or_default()));
        *whys.entry(told.join(": ")).or_default() += 1;
    }
    whys
}

async fn what_is_refused_is_a_letter(brokers: &Brokers, delivery: Delivery, out: (&str, &str), refused: usize) -> Result {
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    let prefix = format!("{delivery:?}.{}", out.0).to_lowercase();
    let name = |suffix: &str| format!("{prefix}.{suffix}");
    for (topic, config) in [("in", ("max.message.bytes", "1048588")), ("out", out), ("dead", ("max.message.bytes", "1048588"))] {
        make_topic(&connection, &name(topic), config).await?;
    }
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    for number in 0..RECORDS {
        drop(producer.enqueue(record(name("in"), number)).await?);
    }
    producer.flush(LIMIT).await?;
    let input = KafkaInput {
        topics: vec![name("in")],
        group: name("group"),
        start_from: StartFrom::Earliest,
        group_protocol: GroupProtocol::Classic,
        session_timeout: Duration::from_secs(6),
        fetch: Fetching::default(),
        delivery,
        transaction: TransactionBounds::default(),
        ordering: Ordering::None,
        concurrency: 4,
        retry: RetryPolicy::default(),
        tiers: vec![],
        held: BTreeMap::new(),
        dead_letter: DeadLetterTarget { topic: name("dead"), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
    };
    let config = config(brokers, &prefix.replace('.', "-"), WorkerSource::Kafka(Box::new(input)), name("out"));
    let (stop, worker) = start(config, BuiltProcessor::Record(Arc::new(Same)));
    let ended = until("every record has ended", LIMIT, async || {
        let (outputs, letters) = (read(&connection, &name("out")).await?, read(&connection, &name("dead")).await?);
        let written: BTreeSet<_> = outputs.iter().filter_map(|record| number(record.payload.as_deref())).collect();
        let dead: BTreeSet<_> = letters.iter().filter_map(|record| number(record.payload.as_deref())).collect();
        if written.len() + dead.len() >= RECORDS {
            return Ok((written, dead, outputs.len() + letters.len(), whys(&letters)));
        }
        Err(Waiting::from(format!("{} outputs, {} dead letters", written.len(), dead.len())))
    })
    .await;
    stop.cancel();
    worker.await??;
    let (written, dead, all, whys) = ended?;
    let (expected, rest): (BTreeSet<_>, BTreeSet<_>) = (0..RECORDS).partition(|number| number % 1_000 == refused);
    assert!(dead == expected, "{} dead letters: {whys:#?}", dead.len());
    assert!(written == rest, "{} outputs", written.len());
    assert!(delivery == Delivery::AtLeastOnce || all == RECORDS, "{all}");
    Ok(())
}

#[tokio::test]
async fn what_a_topic_refuses_under_backlog_is_a_dead_letter() -> Result {
    let brokers = shared::broker().await?;
    for (out, refused) in [(("cleanup.policy", "compact"), 300), (("max.message.bytes", "100000"), 600)] {
        for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
            what_is_refused_is_a_letter(&brokers, delivery, out, refused)
                .await
                .map_err(|error| format!("{delivery:?} {out:?}: {error}"))?;
        }
    }
    Ok(())
}
