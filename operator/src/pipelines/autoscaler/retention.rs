//! For how long the brokers of each cluster keep what a group without members has committed, as they are set to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clusters::ClusterConnection;

/// How often brokers are asked again: only a restart changes it.
const ASKED_EVERY: Duration = Duration::from_secs(3_600);
/// How often, while they do not tell.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// What was told last, by the name of the cluster, and when.
#[derive(Default)]
pub struct Retentions(Mutex<HashMap<String, (Duration, Option<Duration>)>>);

impl Retentions {
    /// For how long; none: they do not tell.
    pub async fn of(&self, cluster: &str, connection: &ClusterConnection, now: Duration) -> Option<Duration> {
        if let Some(known) = self.known(cluster, now) {
            return known;
        }
        let told = connection.look("DescribeConfigs", connection.admin.offsets_retention()).await;
        let told = told.inspect_err(|error| tracing::debug!(%error, cluster, "brokers do not tell for how long they keep offsets")).ok();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster.to_owned(), (now, told));
        told
    }

    fn known(&self, cluster: &str, now: Duration) -> Option<Option<Duration>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, told) = all.get(cluster)?;
        let lasts = if told.is_some() { ASKED_EVERY } else { ASKED_AGAIN };
        (now.saturating_sub(*asked) < lasts).then_some(*told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_asked_again_from_time_to_time() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        let all = Retentions::default();
        all.0.lock().unwrap().extend([("told".to_owned(), (hour, Some(minute))), ("not told".to_owned(), (hour, None))]);
        for (cluster, now, known) in [
            ("told", hour + minute, Some(Some(minute))),
            ("told", 2 * hour, None),
            ("not told", hour, Some(None)),
            ("not told", hour + minute, None),
            ("never asked", hour, None),
        ] {
            assert_eq!(all.known(cluster, now), known, "{cluster} at {now:?}");
        }
    }
}
