//! Where a group goes on, with a real broker and the real runtime: what can be read is never skipped, and whenever a group
//! does not go on where it had stopped, its notes and its metrics say so.

mod pipeline;

use std::{collections::BTreeSet, fs, ops::Range};

use penstock_crds::{
    position::{MoveReason, Moved, Note},
    worker::{Delivery, GroupProtocol, StartFrom},
};
use penstock_kafka::{ConnectionSettings, Consumer, ConsumerSettings, Held, NewTopic, Producer, ProducerSettings, Record};
use penstock_tests::{
    local::{BrokerSettings, Brokers, Folder},
    scene::{LIMIT, Result, Waiting, until},
};
use tokio::time::timeout;

use crate::{shared, topic::make};
use pipeline::{Kind, Pipeline, UNIMPORTANT};

fn moved(note: &Note) -> Option<(MoveReason, Option<i64>, i64)> {
    note.moved.as_ref().map(|Moved { reason, from, to, .. }| (*reason, *from, *to))
}

async fn records_deleted_before_they_were_read_are_told(brokers: &Brokers, kind: Kind) -> Result {
    // Even with `Latest` what is left is read.
    let pipeline = Pipeline::new(brokers, "deleted", kind, StartFrom::Latest).await?;
    let worker = pipeline.start()?;
    pipeline.commits(0, 0).await?;
    pipeline.produce(0, 10, "v").await?;
    pipeline.sees(0, 0..10).await?;
    let note = pipeline.commits(0, 10).await?;
    assert_eq!((moved(&note), note.initial), (None, 1));
    worker.stop().await?;

    pipeline.produce(0, 40, "v").await?;
    pipeline.delete_records(30).await?;
    pipeline.forget();
    let worker = pipeline.start()?;
    pipeline.sees(0, 30..50).await?;
    let note = pipeline.commits(0, 50).await?;
    assert_eq!(moved(&note), Some((MoveReason::OffsetOutOfRange, Some(10), 30)));
    pipeline.tells(&worker, MoveReason::OffsetOutOfRange, 20).await?;
    worker.stop().await?;

    // The note is carried on, and the position is not moved a second time.
    let worker = pipeline.start()?;
    pipeline.produce(0, 1, "v").await?;
    let carried = pipeline.commits(0, 51).await?;
    assert_eq!(carried, note);
    worker.stop().await
}

async fn an_overtaken_reader_handles_what_it_has_and_goes_on(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "overtaken", kind, StartFrom::Earliest).await?;
    // More than a worker holds in memory.
    const COUNT: usize = 6000;
    pipeline.produce(0, COUNT, &"v".repeat(10 << 10)).await?;
    let end = i64::try_from(COUNT)?;
    pipeline.open(false);
    let worker = pipeline.start()?;
    worker.is_full().await?;
    pipeline.delete_records(end - 10).await?;
    pipeline.open(true);
    let note = pipeline.commits(0, end).await?;
    let Some((MoveReason::OffsetOutOfRange, Some(from), to)) = moved(&note) else { return Err(format!("{note:?}").into()) };
    assert!(to == end - 10 && from > 100 && from < to, "{from} {to}");
    // What it had read by then is handled although it is not in Kafka any more.
    pipeline.sees(0, (0..from).chain(to..end)).await?;
    pipeline.tells(&worker, MoveReason::OffsetOutOfRange, u64::try_from(to - from)?).await?;
    worker.stop().await
}

async fn a_recreated_topic_is_read_from_its_start(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "recreated", kind, StartFrom::Latest).await?;
    let worker = pipeline.start()?;
    let mut expected: Range<i64> = 0..20;
    let old = pipeline.commits(0, 0).await?;
    pipeline.produce(0, 20, "v").await?;
    // While it runs: with fewer records than it had read, then with more.
    for count in [5, 40] {
        pipeline.sees(0, expected).await?;
        pipeline.forget();
        pipeline.recreate().await?;
        pipeline.produce(0, usize::try_from(count)?, "v").await?;
        expected = 0..count;
    }
    pipeline.sees(0, expected).await?;
    let note = pipeline.commits(0, 40).await?;
    assert_eq!(moved(&note).map(|(reason, _, to)| (reason, to)), Some((MoveReason::TopicRecreated, 0)));
    assert!(note.topic_id != old.topic_id && note.initial == 0, "{note:?} {old:?}");
    pipeline.counts(&worker, "penstock_worker_positions_moved_total", "TopicRecreated", 2).await?;
    worker.stop().await?;

    // While nothing runs, and the group has kept its offset.
    pipeline.recreate().await?;
    pipeline.produce(0, 60, "v").await?;
    pipeline.commit_by_hand(30, note.encode()).await?;
    pipeline.forget();
    let worker = pipeline.start()?;
    pipeline.sees(0, 0..60).await?;
    let note = pipeline.commits(0, 60).await?;
    assert_eq!(moved(&note), Some((MoveReason::TopicRecreated, Some(30), 0)));
    pipeline.tells(&worker, MoveReason::TopicRecreated, 0).await?;
    worker.stop().await
}

async fn a_topic_recreated_behind_the_readers_back_is_noticed(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "unnoticed", kind, StartFrom::Earliest).await?;
    // More than a worker holds in memory, so that it asks for nothing while the topic is made anew; and fewer than there are
    // then, so that its position lies within the new topic.
    const OLD: usize = 40_000;
    const NEW: usize = 50_000;
    pipeline.produce(0, OLD, UNIMPORTANT).await?;
    pipeline.open(false);
    let worker = pipeline.start()?;
    worker.is_full().await?;
    pipeline.recreate().await?;
    pipeline.produce(0, NEW, "v").await?;
    pipeline.open(true);
    let end = i64::try_from(NEW)?;
    pipeline.sees(0, 0..end).await?;
    assert_eq!(moved(&pipeline.commits(0, end).await?).map(|(reason, _, to)| (reason, to)), Some((MoveReason::TopicRecreated, 0)));
    pipeline.tells(&worker, MoveReason::TopicRecreated, 0).await?;
    worker.stop().await
}

async fn latest_skips_nothing_once_the_group_has_begun(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "latest", kind, StartFrom::Latest).await?;
    pipeline.produce(0, 10, "v").await?;
    let worker = pipeline.start()?;
    // Without a record.
    let note = pipeline.commits(0, 10).await?;
    assert_eq!((moved(&note), note.initial), (None, 1));
    worker.stop().await?;
    pipeline.produce(0, 5, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(0, 10..15).await?;
    pipeline.commits(0, 15).await?;
    worker.stop().await?;

    // Records of a partition that was added come before anybody reads it.
    pipeline.add_partitions(2).await?;
    pipeline.produce(1, 7, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(1, 0..7).await?;
    let note = pipeline.commits(1, 7).await?;
    assert_eq!((moved(&note), note.initial), (Some((MoveReason::PartitionsAdded, None, 0)), 1));
    pipeline.tells(&worker, MoveReason::PartitionsAdded, 0).await?;
    worker.stop().await
}

async fn an_offset_that_was_reset_by_hand_is_obeyed(brokers: &Brokers, kind: Kind) -> Result {
    let pipeline = Pipeline::new(brokers, "reset", kind, StartFrom::Earliest).await?;
    pipeline.produce(0, 10, "v").await?;
    let worker = pipeline.start()?;
    pipeline.sees(0, 0..10).await?;
    pipeline.commits(0, 10).await?;
    worker.stop().await?;
    for (offset, metadata) in [(3, ""), (7, "by hand"), (9, "{\"penstock\":")] {
        pipeline.forget();
        pipeline.commit_by_hand(offset, metadata.to_owned()).await?;
        let worker = pipeline.start()?;
        pipeline.sees(0, offset..10).await?;
        assert_eq!(moved(&pipeline.commits(0, 10).await?), None);
        worker.stop().await?;
    }
    // There is no such offset: whatever there is may be new.
    pipeline.forget();
    pipeline.commit_by_hand(99, String::new()).await?;
    let worker = pipeline.start()?;
    pipeline.sees(0, 0..10).await?;
    assert_eq!(moved(&pipeline.commits(0, 10).await?), Some((MoveReason::OffsetOutOfRange, Some(99), 0)));
    worker.stop().await
}

/// Partitions that wait to be begun come and go between members like others.
async fn partitions_that_wait_can_go(brokers: &Brokers, (delivery, group_protocol): Kind) -> Result {
    let name = format!("waiting-{delivery:?}").to_lowercase();
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[NewTopic::new(&name).with_partitions(4)]).await?;
    let producer = Producer::new(&connection, &ProducerSettings::default())?;
    for partition in 0..4 {
        producer.send(Record::to(&name).with_partition(partition).with_payload("v")).await?;
    }
    let mut settings = ConsumerSettings::new(&name);
    settings.start_from = penstock_kafka::StartFrom::AsTold;
    settings.group_protocol = match group_protocol {
        GroupProtocol::Classic => penstock_kafka::GroupProtocol::Classic,
        GroupProtocol::Consumer => penstock_kafka::GroupProtocol::Consumer,
    };
    let join = || Consumer::subscribe(&connection, &settings, &[&name], ());
    let holds = async |consumer: &Consumer, count: usize| {
        until("partitions are held", LIMIT, async || {
            let held = consumer.held();
            if held.len() == count { Ok(held) } else { Err(Waiting::from(format!("{held:?} instead of {count}"))) }
        })
        .await
    };
    let reads = async |consumer: &Consumer| -> Result<BTreeSet<i32>> {
        let mut partitions = BTreeSet::new();
        while partitions.len() < 2 {
            let record = timeout(LIMIT, consumer.recv()).await??;
            assert!(record.offset == 0 && partitions.insert(record.partition), "{record:?}");
        }
        Ok(partitions)
    };
    let at_start = |held: Vec<Held>| held.into_iter().map(|held| (held, 0)).collect::<Vec<_>>();

    let first = join()?;
    let all = holds(&first, 4).await?;
    let second = join()?;
    let (kept, moved) = (holds(&first, 2).await?, holds(&second, 2).await?);
    // What has gone is left out.
    first.begin(&at_start(all.clone())).await?;
    let of = |held: &[Held]| held.iter().map(|held| held.partition.partition).collect::<BTreeSet<_>>();
    assert_eq!(reads(&first).await?, of(&kept));
    timeout(LIMIT, second.close()).await?;
    // What has come again is another time.
    let back = holds(&first, 2).await?;
    assert_eq!(of(&back), of(&moved));
    first.begin(&at_start(all)).await?;
    assert_eq!(first.held(), back);
    first.begin(&at_start(back)).await?;
    assert_eq!(reads(&first).await?, of(&moved));
    timeout(LIMIT, first.close()).await?;
    Ok(())
}

#[tokio::test]
async fn positions_are_kept_or_told() -> Result {
    let brokers = shared::broker().await?;
    for kind in [(Delivery::ExactlyOnce, GroupProtocol::Classic), (Delivery::AtLeastOnce, GroupProtocol::Consumer)] {
        let cases = async {
            tokio::try_join!(
                latest_skips_nothing_once_the_group_has_begun(&brokers, kind),
                an_offset_that_was_reset_by_hand_is_obeyed(&brokers, kind),
                records_deleted_before_they_were_read_are_told(&brokers, kind),
                a_recreated_topic_is_read_from_its_start(&brokers, kind),
                a_topic_recreated_behind_the_readers_back_is_noticed(&brokers, kind),
                an_overtaken_reader_handles_what_it_has_and_goes_on(&brokers, kind),
                partitions_that_wait_can_go(&brokers, kind),
            )
        };
        cases.await.map_err(|error| format!("{kind:?}: {error}"))?;
    }
    Ok(())
}

/// The broker loses what a worker has read and not handled yet. By the time that the worker begins anew others have written more than
/// there was, so that its offset is in the log again.
#[tokio::test]
async fn what_is_written_in_the_place_of_a_lost_log_is_read() -> Result {
    let folder = Folder::new("lost-log")?;
    let data = folder.path().join("data");
    let brokers = Brokers::start(1, BrokerSettings { data: vec![data.clone()], ..BrokerSettings::default() }).await?;
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let pipeline = Pipeline::new(&brokers, "lost", (delivery, GroupProtocol::Classic), StartFrom::Earliest).await?.patient();
        // Fewer than a worker has in process at once, so that it takes what comes behind them.
        pipeline.produce(0, 3, UNIMPORTANT).await?;
        pipeline.open(false);
        let worker = pipeline.start()?;
        worker.is_full().await?;
        brokers.stop(0).await?;
        fs::remove_dir_all(pipeline.folder(&data))?;
        brokers.restart(0).await?;
        pipeline.notes_a_cut().await?;
        pipeline.produce(0, 150, "v").await?;
        pipeline.open(true);
        pipeline.sees(0, 0..150).await?;
        let note = pipeline.commits(0, 150).await?;
        assert_eq!(moved(&note), Some((MoveReason::OffsetOutOfRange, Some(3), 0)), "{delivery:?}");
        pipeline.tells(&worker, MoveReason::OffsetOutOfRange, 0).await?;
        worker.stop().await?;
    }
    Ok(())
}
