//! Commits as records settle, a few times a second, one commit at a time.

use std::{sync::Arc, time::Duration};

use penstock_kafka::Consumer;
use tokio_util::sync::CancellationToken;

use super::{retry, work::Work};
use crate::metrics::Metrics;

/// How often settled records are committed. After a crash no more than this long is handled again.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long to pause at most while commits fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Commits until the session ends. What is left then is committed when the partitions are handed over.
pub(crate) async fn keep_committing(consumer: &Consumer, work: &Arc<Work>, metrics: &Metrics, end: &CancellationToken) {
    let mut failures = 0;
    let pause = |failures| if failures == 0 { INTERVAL } else { retry::pause(INTERVAL, LONGEST_PAUSE, failures, 1.0) };
    while end.run_until_cancelled(tokio::time::sleep(pause(failures))).await.is_some() {
        let Some(pending) = work.begin_commit() else { continue };
        let committed = consumer.commit(&pending.offsets()).await;
        metrics.count_commit(committed.is_ok());
        match committed {
            Ok(()) => {
                pending.acknowledged();
                failures = 0;
            }
            Err(error) => {
                tracing::warn!(%error, "offsets were not committed; they will be, with the next ones");
                failures += 1;
            }
        }
    }
}
