//! The processor as a worker runs it, without Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering as Atomic},
    },
    time::Duration,
};

use order_screening::{Lookup, Options, Screening, Unavailable, Verdict};
use penstock_workers::testing::{ConsumedRecord, DeadLetterFormat, Delivery, Pipeline, Record, TestError, TestRuntime};

type Result = std::result::Result<(), TestError>;

const MINUTE: Duration = Duration::from_secs(60);

/// Does not answer the first so many times. Whoever is called `risky` is.
#[derive(Clone, Default)]
struct Flaky(Arc<AtomicU32>);

impl Lookup for Flaky {
    async fn score(&self, user: &str) -> std::result::Result<Option<f64>, Unavailable> {
        let left = self.0.fetch_update(Atomic::SeqCst, Atomic::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(Unavailable("it is away".to_owned()));
        }
        Ok((user == "risky").then_some(0.9))
    }
}

/// As in `30-screening.yaml`.
fn pipeline() -> Pipeline {
    Pipeline::reading(&["orders"]).writing("order-screenings").with_option("maxAmount", "500").with_delays(&[MINUTE])
}

fn test_with(pipeline: Pipeline, seed: u64, lookup: Flaky) -> std::result::Result<TestRuntime, TestError> {
    TestRuntime::new(pipeline, seed, async move |options: Options| Ok::<_, TestError>(Screening::asking(lookup.clone(), &options)))
}

fn order(id: u32, user: &str, amount: f64) -> Record {
    let json = format!(r#"{{"orderId": "o-{id}", "userId": "{user}", "amount": {amount}}}"#);
    Record::to("orders").with_key(user.to_owned()).with_payload(json)
}

fn verdict(record: &ConsumedRecord) -> Verdict {
    serde_json::from_slice(record.payload.as_deref().unwrap_or_default()).unwrap()
}

fn header(record: &ConsumedRecord, name: &str) -> String {
    let value = record.header(name).and_then(|header| header.value.clone());
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn each_order_gets_a_verdict() -> Result {
    let mut test = test_with(pipeline(), 1, Flaky::default())?;
    for order in [order(1, "anna", 20.0), order(2, "anna", 501.0), order(3, "risky", 20.0)] {
        test.produce(order)?;
    }
    test.start("worker-0")?;
    test.run_until_idle()?;
    let screenings = test.records("order-screenings")?;
    let suspicious: BTreeMap<_, _> = screenings.iter().map(verdict).map(|verdict| (verdict.order_id, verdict.suspicious)).collect();
    assert_eq!(suspicious, [("o-1", false), ("o-2", true), ("o-3", true)].map(|(id, is)| (id.to_owned(), is)).into());
    assert!(test.dead_letters()?.is_empty());
    Ok(())
}

#[test]
fn what_is_no_order_is_a_dead_letter_and_holds_up_nobody() -> Result {
    for format in [DeadLetterFormat::Record, DeadLetterFormat::Envelope] {
        let mut test = test_with(pipeline().with_dead_letters("orders.DLT", format), 1, Flaky::default())?;
        test.produce(Record::to("orders").with_key("anna").with_payload("not json"))?;
        test.produce(order(1, "anna", 20.0))?;
        test.start("worker-0")?;
        test.run_until_idle()?;
        assert_eq!(test.records("order-screenings")?.len(), 1);
        let letters = test.dead_letters()?;
        let [letter] = letters.as_slice() else { panic!("{letters:?}") };
        match format {
            DeadLetterFormat::Record => {
                assert_eq!(letter.payload.as_deref(), Some(&b"not json"[..]));
                assert_eq!(header(letter, "penstock-dlt-error-type"), "NoOrder");
            }
            DeadLetterFormat::Envelope => {
                let envelope: serde_json::Value = serde_json::from_slice(letter.payload.as_deref().unwrap_or_default()).unwrap();
                assert!(envelope.to_string().contains("NoOrder"), "{envelope}");
            }
        }
    }
    Ok(())
}

#[test]
fn while_nobody_knows_the_user_an_order_waits_and_the_next_of_that_user_behind_it() -> Result {
    // Four attempts in place, then one a minute later, which works.
    let mut test = test_with(pipeline(), 1, Flaky(Arc::new(AtomicU32::new(4))))?;
    test.produce(order(1, "anna", 20.0))?;
    test.start("worker-0")?;
    test.run_until("the order waits", |test| !test.records(&pipeline().retry_topic("orders", 1)).unwrap().is_empty())?;
    let waits_since = test.now();
    test.produce(order(2, "anna", 20.0))?;
    test.run_until_idle()?;
    assert!(test.now().duration_since(waits_since).unsigned_abs() >= Duration::from_secs(59), "its time came");
    let screened: Vec<_> = test.records("order-screenings")?.iter().map(|record| verdict(record).order_id).collect();
    assert_eq!(screened, ["o-1", "o-2"], "in the order of the user");

    let mut test = test_with(pipeline(), 1, Flaky(Arc::new(AtomicU32::new(u32::MAX))))?;
    test.produce(order(1, "anna", 20.0))?;
    test.start("worker-0")?;
    test.run_until_idle()?;
    let letters = test.dead_letters()?;
    assert_eq!(letters.iter().map(|letter| header(letter, "penstock-dlt-retry-count")).collect::<Vec<_>>(), ["4"]);
    Ok(())
}

#[test]
fn whatever_crashes_no_order_is_lost_and_none_is_screened_twice() -> Result {
    for seed in 0..100 {
        let mut test = test_with(pipeline(), seed, Flaky(Arc::new(AtomicU32::new(3))))?;
        for id in 0..20 {
            test.produce(order(id, &format!("user-{}", id % 5), 20.0))?;
        }
        test.start("worker-0")?;
        test.run_for(Duration::from_millis(seed * 5));
        test.crash("worker-0")?;
        test.start("worker-1")?;
        test.run_until_idle()?;
        let screened: Vec<_> = test.records("order-screenings")?.iter().map(|record| verdict(record).order_id).collect();
        assert_eq!(screened.len(), 20, "seed {seed}: {screened:?}");
        assert_eq!(screened.into_iter().collect::<BTreeSet<_>>().len(), 20, "seed {seed}");
    }
    Ok(())
}

#[test]
fn at_least_once_an_order_may_be_screened_twice_but_never_not_at_all() -> Result {
    let mut test = test_with(pipeline().with_delivery(Delivery::AtLeastOnce), 1, Flaky::default())?;
    test.produce(order(1, "anna", 20.0))?;
    test.start("worker-0")?;
    test.run_until("its verdict is written", |test| !test.records("order-screenings").unwrap().is_empty())?;
    // Its offset is not committed yet.
    test.crash("worker-0")?;
    test.start("worker-1")?;
    test.run_until_idle()?;
    let screenings = test.records("order-screenings")?;
    assert_eq!(screenings.len(), 2);
    assert_eq!(screenings[0].payload, screenings[1].payload, "the same order, the same verdict");
    Ok(())
}

#[test]
fn options_that_are_none_keep_the_worker_from_starting() -> Result {
    for (name, value, part) in [
        ("maxAmount", "much", "maxAmount: `much` is not a number"),
        ("lookupTimeout", "2", "lookupTimeout: `2` is not a duration"),
        ("maxAmmount", "5", "`maxAmmount` is not an option: this worker takes maxAmount, riskService, lookupTimeout"),
        ("riskService", "risk.shop", "`risk.shop` is not an http:// address"),
    ] {
        let mut test = TestRuntime::new(Pipeline::reading(&["orders"]).with_option(name, value), 1, Screening::new)?;
        let why = test.start("worker-0").unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
    Ok(())
}
