use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use super::*;
use crate::{Event, Failure, Outcome, Output, Processor, unbegun};

const KEYS: u32 = 5;
const RECORDS: u32 = 40;

/// Needs as many attempts as a record's value says, and some time for each.
#[derive(Clone, Default)]
struct Slow {
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    ids: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Processor for Slow {
    async fn process(&self, event: &Event) -> Outcome {
        let own = event.header("number").map(|number| String::from_utf8_lossy(number).into_owned()).unwrap();
        assert_eq!(self.ids.lock().unwrap().entry(own.clone()).or_insert_with(|| event.id()), &event.id(), "an event keeps its id");
        let now = self.at_once.fetch_add(1, SeqCst) + 1;
        self.most_at_once.fetch_max(now, SeqCst);
        tokio::time::sleep(Duration::from_millis(u64::from(event.attempt) * 3)).await;
        self.at_once.fetch_sub(1, SeqCst);
        let needs: u16 = std::str::from_utf8(event.payload.as_deref().unwrap()).unwrap().parse().unwrap();
        if event.attempt < needs {
            return Outcome::Retry(Failure::new("NotYet", "later"));
        }
        Outcome::Emit(vec![Output { key: event.key.clone(), payload: Some(own.into()), ..Output::default() }])
    }
}

fn pipeline(delivery: Delivery, ordering: Ordering) -> Pipeline {
    let delays = [Duration::from_secs(10), Duration::from_secs(60)];
    Pipeline::reading(&["in"]).writing("out").with_delivery(delivery).with_ordering(ordering).with_attempts(2).with_delays(&delays)
}

fn test(pipeline: Pipeline, seed: u64, slow: &Slow) -> TestRuntime {
    let slow = slow.clone();
    let test = TestRuntime::new(pipeline, seed, async move |(): ()| Ok::<_, TestError>(slow.clone())).unwrap();
    for number in 0..RECORDS {
        // Most work at once, some later, and one never.
        let needs = if number == 7 { 9 } else { [1, 1, 1, 2, 1, 3][number as usize % 6] };
        let record = Record::to("in").with_key(format!("key-{}", number % KEYS)).with_payload(needs.to_string());
        test.produce(record.with_header("number", number.to_string())).unwrap();
    }
    test
}

fn numbers(records: &[ConsumedRecord]) -> Vec<u32> {
    records.iter().map(|record| std::str::from_utf8(record.payload.as_deref().unwrap()).unwrap().parse().unwrap()).collect()
}

/// Everything that lies anywhere, to the millisecond.
fn everything(test: &TestRuntime, pipeline: &Pipeline) -> Vec<ConsumedRecord> {
    pipeline.topics().iter().flat_map(|topic| test.records(&topic.name).unwrap()).collect()
}

#[test]
fn the_same_seed_is_the_same_run() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let pipeline = pipeline(delivery, Ordering::Key);
        let run = |seed| {
            let mut test = test(pipeline.clone(), seed, &Slow::default());
            test.start("one").unwrap();
            test.run_for(Duration::from_millis(40));
            test.start("two").unwrap();
            test.run_until_idle().unwrap();
            (everything(&test, &pipeline), test.committed("in"))
        };
        let runs: Vec<_> = (0..4).map(run).collect();
        assert!(runs.iter().enumerate().all(|(seed, first)| *first == run(seed as u64)), "{delivery:?}");
        assert!(runs.windows(2).any(|two| two[0] != two[1]), "{delivery:?}: all seeds are one run");
    }
}

/// Workers come, go and crash while records are handled and while they wait.
fn disturbed(delivery: Delivery, ordering: Ordering, seed: u64) -> TestRuntime {
    let mut test = test(pipeline(delivery, ordering).with_concurrency(3), seed, &Slow::default());
    test.start("one").unwrap();
    test.run_for(Duration::from_millis(seed * 7 % 300));
    test.start("two").unwrap();
    test.run_for(Duration::from_millis(seed * 13 % 200));
    test.crash("one").unwrap();
    test.run_for(Duration::from_millis(seed * 500 % 45_000));
    test.start("one").unwrap();
    test.run_for(Duration::from_millis(seed * 31 % 400));
    test.stop("two").unwrap();
    test.run_until_idle().unwrap();
    test
}

#[test]
fn whatever_happens_every_record_ends_in_one_place_and_keys_keep_their_order() {
    for (delivery, ordering) in
        [(Delivery::ExactlyOnce, Ordering::Key), (Delivery::ExactlyOnce, Ordering::None), (Delivery::AtLeastOnce, Ordering::Key)]
    {
        for seed in 0..30 {
            let test = disturbed(delivery, ordering, seed);
            let what = format!("{delivery:?} {ordering:?}, seed {seed}");
            let (written, letters) = (test.records("out").unwrap(), test.dead_letters().unwrap());
            let mut all = numbers(&written);
            let all_once: BTreeSet<_> = all.iter().copied().collect();
            assert_eq!(all_once, (0..RECORDS).filter(|number| *number != 7).collect(), "{what}");
            let dead: BTreeSet<_> = letters.iter().map(|letter| letter.key.clone()).collect();
            assert_eq!(dead, BTreeSet::from([Some("key-2".into())]), "{what}");
            if delivery == Delivery::ExactlyOnce {
                assert_eq!((all.len(), letters.len()), (all_once.len(), 1), "{what}: {all:?}");
            }
            if ordering == Ordering::Key {
                let mut seen = BTreeSet::new();
                all.retain(|number| seen.insert(*number));
                for key in 0..KEYS {
                    let own: Vec<_> = all.iter().filter(|number| **number % KEYS == key).collect();
                    assert!(own.is_sorted(), "{what}: {own:?}");
                }
            }
        }
    }
}

#[test]
fn so_many_records_are_in_process_at_once_and_no_more() {
    for (ordering, concurrency, most) in [(Ordering::None, 4, 4), (Ordering::Key, 16, KEYS as usize), (Ordering::Partition, 16, 3)] {
        let slow = Slow::default();
        let mut test = test(pipeline(Delivery::AtLeastOnce, ordering).with_concurrency(concurrency), 3, &slow);
        test.start("one").unwrap();
        test.run_until_idle().unwrap();
        assert_eq!(slow.most_at_once.load(SeqCst), most, "{ordering:?}");
    }
}

#[test]
fn what_never_ends_is_told() {
    let mut test = test(pipeline(Delivery::ExactlyOnce, Ordering::Key), 1, &Slow::default());
    let why = test.run_until_idle().unwrap_err().to_string();
    assert!(why.contains("no worker runs") && why.contains("in/0 from 0 to "), "{why}");
    for (refused, part) in [
        (test.stop("one"), "no worker one runs"),
        (test.produce(Record::to("elsewhere")).map(drop), "topic elsewhere does not exist"),
        (test.run_until("pigs fly", |_| false), "still waiting for pigs fly"),
        (test.start("one").and_then(|()| test.start("one")), "runs already"),
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
}

/// Pauses for a minute with the first record, answers every other at once with 1 MB, and counts its calls.
#[derive(Clone, Default)]
struct Generous(Arc<AtomicUsize>);

impl Processor for Generous {
    async fn process(&self, event: &Event) -> Outcome {
        self.0.fetch_add(1, SeqCst);
        if (event.offset, event.attempt) == (0, 1) {
            return Outcome::Retry(Failure::new("Busy", "later").with_retry_after(Duration::from_secs(60)));
        }
        Outcome::Emit(vec![Output { payload: Some(vec![b'x'; 1_000_000].into()), ..Output::default() }])
    }
}

#[test]
fn outputs_that_wait_for_an_earlier_record_are_bounded() {
    let (generous, pipeline) = (Generous::default(), Pipeline::reading(&["in"]).writing("out").with_partitions(1));
    let made = generous.clone();
    let mut test = TestRuntime::new(pipeline, 5, async move |(): ()| Ok::<_, TestError>(made.clone())).unwrap();
    for _ in 0..40 {
        test.produce(Record::to("in").with_payload("x")).unwrap();
    }
    test.start("one").unwrap();
    test.run_for(Duration::from_secs(30));
    // Eight are less than 8 MiB.
    assert_eq!(generous.0.load(SeqCst), 1 + 9);
    test.run_until_idle().unwrap();
    assert_eq!((generous.0.load(SeqCst), test.records("out").unwrap().len()), (41, 40));
}

/// Writes each record again, and counts its calls.
#[derive(Clone, Default)]
struct Echo(Arc<AtomicUsize>);

impl Processor for Echo {
    async fn process(&self, event: &Event) -> Outcome {
        self.0.fetch_add(1, SeqCst);
        Outcome::Emit(vec![Output { payload: event.payload.clone(), ..Output::default() }])
    }
}

#[test]
fn what_was_written_and_not_acknowledged_is_there_after_a_crash_or_is_not() {
    let arrives_late = |seed| {
        let (echo, pipeline) = (Echo::default(), Pipeline::reading(&["in"]).writing("out").with_partitions(1));
        let made = echo.clone();
        let pipeline = pipeline.with_delivery(Delivery::AtLeastOnce);
        let mut test = TestRuntime::new(pipeline, seed, async move |(): ()| Ok::<_, TestError>(made.clone())).unwrap();
        for number in 0..RECORDS {
            test.produce(Record::to("in").with_payload(number.to_string())).unwrap();
        }
        test.start("one").unwrap();
        test.run_until("a record is handled", |_| echo.0.load(SeqCst) > 0).unwrap();
        let acknowledged = test.records("out").unwrap().len();
        test.crash("one").unwrap();
        let there = numbers(&test.records("out").unwrap());
        assert_eq!(there, (0..there.len()).map(|number| u32::try_from(number).unwrap()).collect::<Vec<_>>(), "nothing is left out");
        test.start("one").unwrap();
        test.run_until_idle().unwrap();
        let all: BTreeSet<_> = numbers(&test.records("out").unwrap()).into_iter().collect();
        assert_eq!(all.len(), RECORDS as usize);
        there.len() - acknowledged
    };
    let all: BTreeSet<_> = (0..20).map(arrives_late).collect();
    assert!(all.len() > 2, "{all:?}");
}

/// Never answers, and counts the records that it is at.
#[derive(Clone, Default)]
struct Stuck {
    at: Arc<Mutex<BTreeSet<String>>>,
    /// After how long it waits as one that has not begun.
    unbegun_after: Option<Duration>,
}

struct At(Stuck, String);

impl Drop for At {
    fn drop(&mut self) {
        self.0.at.lock().unwrap().remove(&self.1);
    }
}

impl Processor for Stuck {
    async fn process(&self, event: &Event) -> Outcome {
        self.at.lock().unwrap().insert(event.id());
        let _at = At(self.clone(), event.id());
        match self.unbegun_after {
            Some(begun) => {
                tokio::time::sleep(begun).await;
                unbegun(std::future::pending()).await
            }
            None => std::future::pending().await,
        }
    }
}

/// Two partitions, and a worker that is at a record of one of them.
fn stuck_test(stuck: &Stuck, seed: u64) -> TestRuntime {
    let made = stuck.clone();
    let pipeline = Pipeline::reading(&["in"]).with_partitions(2).with_concurrency(1);
    let mut test = TestRuntime::new(pipeline, seed, async move |(): ()| Ok::<_, TestError>(made.clone())).unwrap();
    for number in 0..20 {
        test.produce(Record::to("in").with_key(number.to_string()).with_payload("x")).unwrap();
    }
    test.start("one").unwrap();
    test.run_until("the first worker is at a record", |_| stuck.at.lock().unwrap().len() == 1).unwrap();
    test
}

#[test]
fn what_is_under_way_of_a_partition_that_went_away_is_given_up() {
    for seed in 0..6 {
        let stuck = Stuck::default();
        let mut test = stuck_test(&stuck, seed);
        test.start("two").unwrap();
        test.run_until("each worker is at a record of its own partition", |_| stuck.at.lock().unwrap().len() == 2).unwrap();
    }
}

#[test]
fn nobody_waits_for_what_has_not_begun() {
    let seconds = Duration::from_secs;
    for (unbegun_after, rebalance, end) in [
        (None, seconds(20)..seconds(40), seconds(15)..seconds(40)),
        (Some(seconds(0)), seconds(0)..seconds(5), seconds(0)..seconds(2)),
        // What had begun may still turn out to wait.
        (Some(seconds(4)), seconds(0)..seconds(9), seconds(0)..seconds(6)),
    ] {
        let mut slowest = Duration::ZERO;
        for seed in 0..20 {
            let stuck = Stuck { unbegun_after, ..Stuck::default() };
            let mut test = stuck_test(&stuck, seed);
            let since = |test: &TestRuntime, begun| Duration::try_from(test.now().duration_since(begun)).unwrap();
            let begun = test.now();
            test.start("two").unwrap();
            test.run_until("each worker is at a record of its own partition", |_| stuck.at.lock().unwrap().len() == 2).unwrap();
            // Where the partition goes that nothing is under way of, nobody waits in any case.
            slowest = slowest.max(since(&test, begun));
            let begun = test.now();
            test.stop("two").unwrap();
            let took = since(&test, begun);
            assert!(end.contains(&took), "{unbegun_after:?}, seed {seed}: the end took {took:?}");
            assert_eq!(test.committed("in").values().sum::<i64>(), 0, "nothing was done");
        }
        assert!(rebalance.contains(&slowest), "{unbegun_after:?}: the slowest rebalance took {slowest:?}");
    }
}

/// Takes that long for its first record, and no time for others.
#[derive(Clone)]
struct SlowAtFirst {
    first: Duration,
    calls: Arc<AtomicUsize>,
}

impl Processor for SlowAtFirst {
    async fn process(&self, event: &Event) -> Outcome {
        if self.calls.fetch_add(1, SeqCst) == 0 {
            tokio::time::sleep(self.first).await;
        }
        Outcome::Emit(vec![Output { payload: event.payload.clone(), ..Output::default() }])
    }
}

fn slow_at_first(pipeline: Pipeline, first: Duration) -> (TestRuntime, Arc<AtomicUsize>) {
    let (pipeline, calls) = (pipeline.writing("out").with_partitions(2).with_ordering(Ordering::None), Arc::<AtomicUsize>::default());
    let made = SlowAtFirst { first, calls: Arc::clone(&calls) };
    let build = async move |(): ()| Ok::<_, TestError>(made.clone());
    (TestRuntime::new(pipeline, 1, build).unwrap(), calls)
}

fn to_partition_1(payload: &'static str) -> Record {
    Record { partition: Some(1), ..Record::to("in").with_payload(payload) }
}

#[test]
fn what_a_worker_that_stops_has_lost_meanwhile_is_not_done_twice() {
    let (mut test, calls) = slow_at_first(Pipeline::reading(&["in"]), Duration::from_secs(10));
    test.produce(to_partition_1("x")).unwrap();
    test.start("one").unwrap();
    test.run_until("the first worker is at the record", |_| calls.load(SeqCst) == 1).unwrap();
    test.start("two").unwrap();
    // It is back in the group long before its record is done.
    test.cut_off(Duration::from_secs(2));
    test.stop("one").unwrap();
    test.run_until_idle().unwrap();
    assert_eq!((test.records("out").unwrap().len(), test.committed("in")[&1]), (1, 1));
}

#[test]
fn what_comes_while_a_worker_is_late_to_let_go_is_taken_up() {
    let (mut test, calls) = slow_at_first(Pipeline::reading(&["in"]).with_delivery(Delivery::AtLeastOnce), Duration::from_secs(10));
    test.produce(to_partition_1("x")).unwrap();
    test.start("one").unwrap();
    test.run_until("the first worker is at the record", |_| calls.load(SeqCst) == 1).unwrap();
    test.hurry();
    test.start("two").unwrap();
    test.run_until("the second worker has done it", |test| test.committed("in").get(&1) == Some(&1)).unwrap();
    // The partition comes back while the first worker still waits for its own attempt.
    test.stop("two").unwrap();
    test.run_for(Duration::from_secs(11));
    test.produce(to_partition_1("y")).unwrap();
    test.run_until_idle().unwrap();
    assert_eq!(test.committed("in")[&1], 2);
}

#[test]
fn what_a_topic_refuses_in_the_midst_of_a_transaction_is_a_dead_letter_of_its_own() {
    let pipeline = Pipeline::reading(&["in"]).with_limit("out", 5_000);
    let (mut test, _) = slow_at_first(pipeline, Duration::from_millis(1));
    // Large enough for the topic, and too small to be alone in a batch as those are at first.
    for size in [10, 6_000, 20, 30] {
        test.produce(Record { payload: Some(vec![b'x'; size].into()), ..to_partition_1("") }).unwrap();
    }
    test.start("one").unwrap();
    test.run_until_idle().unwrap();
    let sizes: BTreeSet<_> = test.records("out").unwrap().iter().map(|record| record.payload.as_ref().unwrap().len()).collect();
    assert_eq!((sizes, test.dead_letters().unwrap().len()), (BTreeSet::from([10, 20, 30]), 1));
}

/// Emits a record as it is.
#[derive(Clone)]
struct Same;

impl Processor for Same {
    async fn process(&self, event: &Event) -> Outcome {
        let Event { key, payload, headers, .. } = event.clone();
        Outcome::Emit(vec![Output { key, payload, headers }])
    }
}

#[test]
fn what_a_topic_refuses_for_what_it_is_becomes_a_dead_letter_and_what_came_with_it_does_not() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let pipeline = Pipeline::reading(&["in"]).writing("out").with_delivery(delivery).with_partitions(1);
        let mut test = TestRuntime::new(pipeline, 1, async |(): ()| Ok::<_, TestError>(Same)).unwrap();
        test.compact("out");
        for number in 0..9 {
            let record = Record::to("in").with_payload(number.to_string());
            test.produce(if number % 4 == 2 { record } else { record.with_key("k") }).unwrap();
        }
        test.start("one").unwrap();
        test.run_until_idle().unwrap();
        let (written, letters) = (numbers(&test.records("out").unwrap()), test.dead_letters().unwrap());
        if delivery == Delivery::ExactlyOnce {
            assert_eq!((written.len(), letters.len()), (7, 2));
        }
        let types: BTreeSet<_> = letters.iter().map(|letter| letter.header("penstock-dlt-error-type").unwrap().value.clone()).collect();
        let (written, dead): (BTreeSet<_>, BTreeSet<_>) = (written.into_iter().collect(), numbers(&letters).into_iter().collect());
        assert_eq!((written, dead), (BTreeSet::from([0, 1, 3, 4, 5, 7, 8]), BTreeSet::from([2, 6])), "{delivery:?}");
        assert_eq!(types, BTreeSet::from([Some("OutputRefused".into())]), "{delivery:?}");
    }
}

#[test]
fn what_is_on_its_way_when_its_partition_is_lost_does_not_come_later() {
    let (mut test, calls) = slow_at_first(Pipeline::reading(&["in"]).with_delivery(Delivery::AtLeastOnce), Duration::ZERO);
    test.produce(to_partition_1("x")).unwrap();
    test.slow_down(Some(Duration::from_secs(30)));
    test.start("one").unwrap();
    test.run_until("the first worker has handled the record", |_| calls.load(SeqCst) == 1).unwrap();
    test.run_for(Duration::from_millis(50));
    test.slow_down(None);
    test.start("two").unwrap();
    test.cut_off(Duration::from_secs(2));
    test.run_until_idle().unwrap();
    // What was under way may have come before the worker heard of its loss and threw it away, and never comes after.
    test.run_for(Duration::from_secs(5));
    let before = test.records("out").unwrap().len();
    test.run_for(Duration::from_secs(60));
    assert_eq!(test.records("out").unwrap().len(), before);
}

#[test]
fn what_is_committed_with_a_handover_is_counted() {
    let (mut test, calls) = slow_at_first(Pipeline::reading(&["in"]), Duration::from_millis(100));
    test.produce(to_partition_1("x")).unwrap();
    test.start("one").unwrap();
    test.run_until("the first worker is at the record", |_| calls.load(SeqCst) == 1).unwrap();
    test.start("two").unwrap();
    test.run_until_idle().unwrap();
    // The broker has committed; the worker hears of it a moment later.
    test.run_for(Duration::from_secs(1));
    assert_eq!((calls.load(SeqCst), test.produced("one", "out"), test.produced("two", "out")), (1, 1, 0));
}
