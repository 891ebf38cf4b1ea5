//! W2, W4, W5, W6: many topics at once, beside a restart, at rest, and changed behind the operator's back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use penstock_kafka::ConfigDelta;
use penstock_tests::scene::{LIMIT, Result, Scene, until};
use tokio::time::sleep;

use crate::{
    fleet::{Fleet, config},
    usage::{Usage, usage},
};

/// How long it takes at most until every broker shows a change.
const SHOWN: Duration = Duration::from_secs(2);
/// How many topics are changed behind the operator's back.
const DRIFTED: usize = 20;

/// Creates so many, waits until all are ready, and says how long that took.
///
/// # Errors
/// One of them is never ready.
pub async fn create(fleet: &Fleet, count: usize) -> Result<Duration> {
    let begin = Instant::now();
    fleet
        .each(count, async |name| {
            fleet.create(&name).await?;
            fleet.board.until(&name, |seen| seen.ready).await
        })
        .await?;
    Ok(begin.elapsed())
}

/// Deletes them, waits until all are gone in both, and says how long that took.
///
/// # Errors
/// One of them stays.
pub async fn delete(fleet: &Fleet, count: usize) -> Result<Duration> {
    let begin = Instant::now();
    fleet
        .each(count, async |name| {
            fleet.delete(&name).await?;
            fleet.board.until(&name, |seen| !seen.exists).await?;
            fleet.in_kafka(&name, false).await
        })
        .await?;
    Ok(begin.elapsed())
}

/// Restarts the operator among the objects that are there: from when its process is ready until a fresh topic is.
///
/// # Errors
/// It does not start, or the topic is never ready.
pub async fn restart(system: &Scene, fleet: &Fleet) -> Result<Duration> {
    let operator = system.operator().await;
    operator.stop().await?;
    fleet.create("fresh").await?;
    let begin = Instant::now();
    let (started, ready) = tokio::join!(operator.start(), async {
        fleet.board.until("fresh", |seen| seen.ready).await?;
        Ok::<_, penstock_tests::scene::Failure>(Instant::now())
    });
    started?;
    let ready = ready?;
    let up = usage(system, fleet).await?.begun.max(begin);
    fleet.delete("fresh").await?;
    fleet.board.until("fresh", |seen| !seen.exists).await?;
    Ok(ready.saturating_duration_since(up))
}

/// What the operator uses in that time while nothing happens.
///
/// # Errors
/// It cannot be told.
pub async fn rest(system: &Scene, fleet: &Fleet, lasts: Duration) -> Result<Usage> {
    let before = usage(system, fleet).await?;
    sleep(lasts).await;
    Ok(usage(system, fleet).await?.since(&before))
}

/// Changes topics behind the operator's back, and says how long each took to be reverted.
///
/// # Errors
/// One of them never is.
pub async fn drift(fleet: &Fleet, count: usize) -> Result<Vec<Duration>> {
    let declared: BTreeMap<String, String> = serde_json::from_value(config(1))?;
    fleet
        .each(DRIFTED.min(count), async |name| {
            // Not all at the same moment of a sweep.
            sleep(Duration::from_millis(rand::random_range(0..30_000))).await;
            let (topic, begin) = (fleet.topic(&name), Instant::now());
            let set = [("retention.ms".to_owned(), "1000000".to_owned())].into();
            fleet.kafka.topics.change_config(&ConfigDelta { topic: topic.clone(), set, ..ConfigDelta::default() }).await?;
            // A broker may show what was there before, for a moment.
            let mut is_seen = false;
            until(&format!("the drift of {topic} is reverted"), LIMIT, async || {
                let found = fleet.kafka.topics.config(&topic).await?.ok_or("no such topic")?.overrides();
                is_seen |= found != declared || begin.elapsed() > SHOWN;
                if is_seen && found == declared { Ok(()) } else { Err(format!("{found:?}").into()) }
            })
            .await?;
            Ok(begin.elapsed())
        })
        .await
}
