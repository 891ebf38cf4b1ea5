//! Readiness and liveness: ready once every watched kind is known to the apiserver and its cache is complete, and while the
//! apiserver can be asked, but for a short while; alive while no part of the operator has ended.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::watch::{Watch, WatchState, Watched};

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// How long a watch may fail before a cache that was complete once is too old to act on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What readiness and liveness are judged by.
pub struct Health {
    checks: Mutex<Vec<Check>>,
    ended: watch::Sender<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { checks: Mutex::default(), ended: watch::Sender::new(None) }
    }
}

impl Health {
    /// From now on readiness needs this watch.
    pub fn needs<K: Watched>(&self, watch: &Watch<K>) {
        let watch = watch.clone();
        let check = Box::new(move || {
            let is_too_old = !watch.was_synced() || watch.outage().is_some_and(|outage| outage >= PATIENCE);
            missing(&format!("{}.{}", K::plural(&()), K::group(&())), &watch.state(), is_too_old)
        });
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// What is missing until the operator is ready; nothing: it is.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(|check| check()).collect()
    }

    /// Says that a part ended that never should.
    pub fn ended(&self, part: &str) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(part.to_owned());
            }
            first
        });
    }

    /// The part that ended, if one did.
    #[must_use]
    pub fn ended_part(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits until a part ended, and names it.
    pub async fn wait_for_end(&self) -> String {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(part) => part.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// What is missing of a kind. `is_too_old`: its cache was never complete, or not for long.
fn missing(kind: &str, state: &WatchState, is_too_old: bool) -> Option<String> {
    match state {
        WatchState::Synced => None,
        WatchState::UnknownKind => Some(format!("the CustomResourceDefinition {kind} is not installed")),
        // A lost connection to the apiserver heals by itself; a complete cache stays usable for a while.
        WatchState::Starting | WatchState::Failing(_) if !is_too_old => None,
        WatchState::Starting => Some(format!("{kind}: the first list is under way")),
        WatchState::Failing(error) => Some(format!("{kind}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let failing = WatchState::Failing("refused".into());
        for (state, is_too_old, expected) in [
            (WatchState::Synced, false, None),
            (WatchState::Starting, true, Some("first list")),
            (WatchState::UnknownKind, true, Some("kafkatopics.penstock.dev is not installed")),
            (WatchState::UnknownKind, false, Some("is not installed")),
            (failing.clone(), true, Some("refused")),
            (failing, false, None),
        ] {
            let missing = missing("kafkatopics.penstock.dev", &state, is_too_old);
            match expected {
                None => assert_eq!(missing, None, "{state:?}"),
                Some(part) => assert!(missing.as_deref().unwrap_or_default().contains(part), "{state:?}: {missing:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_first_part_that_ended_is_named() {
        let health = Health::default();
        health.ended("topics");
        health.ended("clusters");
        assert_eq!(health.wait_for_end().await, "topics");
    }
}
