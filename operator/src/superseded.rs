//! Versions of objects that a write has replaced. A cache that still shows one of them lags behind: a reconcile of it would ask Kafka in
//! vain, and what it writes would be refused.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How long a cache may lag behind. Then its version is taken for what it shows, so that no object is ever left out for good.
const LONGEST_LAG: Duration = Duration::from_secs(30);

/// An object's uid and its resource version.
type Version = (String, String);

/// The versions that were replaced lately.
#[derive(Debug, Default)]
pub struct Superseded(Mutex<Versions>);

#[derive(Debug, Default)]
struct Versions {
    all: HashSet<Version>,
    in_order: VecDeque<(Instant, Version)>,
}

impl Superseded {
    /// Notes that a write has led from one version of an object to another, which is the same where there was nothing to write.
    pub fn by(&self, before: &ObjectMeta, after: &ObjectMeta) {
        if before.resource_version != after.resource_version {
            self.note(before, Instant::now());
        }
    }

    /// Notes that a version is not the newest: the apiserver said so.
    pub fn refused(&self, meta: &ObjectMeta) {
        self.note(meta, Instant::now());
    }

    /// Whether this version was replaced.
    #[must_use]
    pub fn has(&self, meta: &ObjectMeta) -> bool {
        self.has_at(meta, Instant::now())
    }

    fn note(&self, meta: &ObjectMeta, now: Instant) {
        let Some(version) = version(meta) else { return };
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.forget_old(now);
        if versions.all.insert(version.clone()) {
            versions.in_order.push_back((now, version));
        }
    }

    fn has_at(&self, meta: &ObjectMeta, now: Instant) -> bool {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.forget_old(now);
        version(meta).is_some_and(|version| versions.all.contains(&version))
    }
}

impl Versions {
    fn forget_old(&mut self, now: Instant) {
        while let Some((_, version)) = self.in_order.pop_front_if(|(noted, _)| now.saturating_duration_since(*noted) >= LONGEST_LAG) {
            self.all.remove(&version);
        }
    }
}

fn version(meta: &ObjectMeta) -> Option<Version> {
    Some((meta.uid.clone()?, meta.resource_version.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta { uid: Some(uid.into()), resource_version: Some(version.into()), ..ObjectMeta::default() }
    }

    #[test]
    fn what_was_replaced_is_known_for_a_while() {
        let (superseded, begin) = (Superseded::default(), Instant::now());
        superseded.by(&meta("a", "1"), &meta("a", "2"));
        superseded.by(&meta("a", "3"), &meta("a", "3"));
        superseded.refused(&meta("b", "1"));
        superseded.refused(&ObjectMeta::default());
        let known =
            |at| [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")].map(|(uid, of)| superseded.has_at(&meta(uid, of), at));
        assert_eq!(known(begin), [true, false, false, true, false]);
        assert_eq!(known(begin + LONGEST_LAG * 2), [false; 5]);
        assert!(superseded.0.lock().unwrap().in_order.is_empty());
    }
}
