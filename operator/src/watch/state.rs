//! How far a watch has come, and for how long it has failed. Pure.

use std::time::{Duration, Instant};

use kube::runtime::watcher;

/// How far a watch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// The first list is under way.
    Starting,
    /// The apiserver does not know the kind: its CustomResourceDefinition is missing.
    UnknownKind,
    /// The apiserver could not be asked, or refused; its words.
    Failing(String),
    /// The cache is complete.
    Synced,
}

impl WatchState {
    /// What an error makes of it.
    pub fn after(error: &watcher::Error) -> Self {
        if is_unknown_kind(error) { Self::UnknownKind } else { Self::Failing(error.to_string()) }
    }
}

/// A run of failures. That a watch works again is told by nothing but the next change, or by failing no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    first: Instant,
    last: Instant,
}

/// After so long without a failure an outage is over: to connect and to pause take less.
const OUTAGE_GAP: Duration = Duration::from_secs(60);

impl Outage {
    /// The outage that a failure at this time belongs to.
    pub fn with(before: Option<Self>, now: Instant) -> Self {
        let goes_on = before.filter(|outage| outage.is_on(now));
        Self { first: goes_on.map_or(now, |outage| outage.first), last: now }
    }

    fn is_on(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= OUTAGE_GAP
    }

    /// How long it has lasted; none: it is over.
    pub fn lasts(&self, now: Instant) -> Option<Duration> {
        self.is_on(now).then(|| self.last.saturating_duration_since(self.first))
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}
