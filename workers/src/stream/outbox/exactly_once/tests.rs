use std::collections::BTreeSet;

use penstock_crds::worker::{DeadLetterFormat, DeadLetterTarget, Ordering, Producing};
use penstock_kafka::{ConsumedRecord, ConsumerSettings, TimestampType, TopicPartition};

use super::*;
use crate::{
    processor::Output,
    stream::{
        bounds::Bounds,
        dead_letter::Sender,
        handover::{Handover, Patience},
        refused::Refused,
        tiers::Tiers,
    },
    testing::Memory,
};

async fn outbox(memory: &Memory) -> ExactlyOnce<Memory> {
    let (handover, _) = Handover::new(Patience::new(Duration::ZERO));
    let member = memory.join(&ConsumerSettings::new("g"), &["t"], handover).unwrap();
    let [first, second] = clients::transactional("a/b", "w", &Producing::default());
    let producers = [memory.transactional(&first).await.unwrap(), memory.transactional(&second).await.unwrap()];
    let addresses = Addresses {
        sink: Some("s".into()),
        dead_letter: DeadLetterTarget { topic: "d".into(), format: DeadLetterFormat::Record, headers: BTreeSet::new() },
        tiers: Arc::default(),
        refused: Refused::default(),
        sender: Sender { pipeline: "a/b".into(), group: "g".into(), processor: "p".into() },
    };
    let cut = Cut { interval: Duration::from_millis(100), records: 1_000, batch_bytes: 1_000_000 };
    ExactlyOnce::new(memory.clone(), producers, Arc::new(member), addresses, cut, |_, _| ())
}

fn record(offset: i64) -> ConsumedRecord {
    let (topic, timestamp_type) = ("t".into(), TimestampType::default());
    ConsumedRecord { topic, partition: 0, offset, timestamp_ms: None, timestamp_type, key: None, payload: None, headers: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_waits_for_the_one_before_the_last_at_most() {
    let memory = Memory::new(1).with_topic("t").with_topic("s");
    let mut outbox = outbox(&memory).await;
    let mut books = Books::new(Ordering::None, Emission::InOrder, Bounds { records: 9, bytes: 999 });
    books.assign(&[TopicPartition::new("t", 0)]);
    let (mut opened, mut committed) = (Vec::new(), Vec::new());
    for offset in 0..3 {
        let ticket = books.take(record(offset), &Tiers::default()).unwrap();
        let event = books.begin(ticket).unwrap();
        books.decide(ticket, Verdict::Emit(vec![Output::default()]));
        outbox.take_in(&mut books).unwrap();
        while !outbox.is_open() {
            outbox.wait().await;
            outbox.take_in(&mut books).unwrap();
        }
        opened.push(Instant::now());
        let (ticket, verdict) = books.next_emittable().unwrap();
        outbox.write(ticket, &event, &verdict).await.unwrap();
        books.emitted(ticket, 1, None);
        outbox.commit(&mut books, None, Instant::now() + REST * 10).await.unwrap();
        committed.push(Instant::now());
    }
    assert_eq!(opened[1], committed[0], "the other producer need not rest");
    let waited = opened[2].duration_since(committed[0]);
    assert!((REST..REST + Duration::from_millis(2)).contains(&waited), "it is the turn of the first again, which rests: {waited:?}");
}
