//! Remembers what the sweeps saw of replicas that are not as they should be: for how long that lasts, and for the metrics.
//!
//! Of topics that are well nothing is kept. What is forgotten with a restart is seen anew by the next sweep.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::ReplicaHealth;
use tokio::time::Instant;

use super::Trouble;

/// How long replicas must be out of sync before an object tells so: a broker that is started anew takes less.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where an object stands: its namespace and name.
pub type Place = (String, String);

/// What the last looks showed of topics that are not well, by their `KafkaCluster`.
#[derive(Default)]
pub struct HealthBook(Mutex<HashMap<String, Cluster>>);

#[derive(Default)]
struct Cluster {
    unwell: HashMap<Place, Entry>,
    /// How often in a row an object was asked to tell how its topic is, and did not: something else is in its way.
    asked: HashMap<Place, u32>,
    /// Whether every topic was looked at, so that the sum says something.
    is_whole: bool,
}

struct Entry {
    health: ReplicaHealth,
    since: Instant,
}

impl Entry {
    fn lasting(&self, now: Instant) -> Trouble {
        match Trouble::of(&self.health) {
            Trouble::UnderReplicated if now.saturating_duration_since(self.since) < PATIENCE => Trouble::None,
            trouble => trouble,
        }
    }
}

impl HealthBook {
    /// Takes in what a look showed of a topic; none: there is no topic, or it is not the object's.
    pub fn note(&self, cluster: &str, object: &Place, health: Option<&ReplicaHealth>, now: Instant) -> Trouble {
        let mut clusters = self.lock();
        let unwell = &mut clusters.entry(cluster.to_owned()).or_default().unwell;
        let Some(health) = health.filter(|health| Trouble::of(health) != Trouble::None) else {
            unwell.remove(object);
            return Trouble::None;
        };
        let entry = unwell.entry(object.clone()).or_insert_with(|| Entry { health: health.clone(), since: now });
        entry.health = health.clone();
        entry.lasting(now)
    }

    /// The worst of what has lasted for long enough, when the topic was looked at last.
    #[must_use]
    pub fn lasting(&self, cluster: &str, object: &Place, now: Instant) -> Trouble {
        let clusters = self.lock();
        clusters.get(cluster).and_then(|cluster| cluster.unwell.get(object)).map_or(Trouble::None, |entry| entry.lasting(now))
    }

    /// How often in a row an object was asked to tell how its topic is, and did not.
    #[must_use]
    pub fn asked(&self, cluster: &str, object: &Place) -> u32 {
        self.lock().get(cluster).and_then(|cluster| cluster.asked.get(object)).copied().unwrap_or_default()
    }

    /// An object is asked to tell how its topic is.
    pub fn ask(&self, cluster: &str, object: Place) {
        let mut clusters = self.lock();
        let asked = clusters.entry(cluster.to_owned()).or_default().asked.entry(object).or_default();
        *asked = asked.saturating_add(1);
    }

    /// An object tells how its topic is.
    pub fn has_told(&self, cluster: &str, object: &Place) {
        if let Some(cluster) = self.lock().get_mut(cluster) {
            cluster.asked.remove(object);
        }
    }

    /// Drops the topics of a cluster that are not wanted any more.
    pub fn keep(&self, cluster: &str, wanted: impl Fn(&Place) -> bool) {
        if let Some(cluster) = self.lock().get_mut(cluster) {
            cluster.unwell.retain(|object, _| wanted(object));
            cluster.asked.retain(|object, _| wanted(object));
        }
    }

    /// Every topic of a cluster has been looked at.
    pub fn swept(&self, cluster: &str) {
        self.lock().entry(cluster.to_owned()).or_default().is_whole = true;
    }

    /// Nothing is known of a cluster any more: it does not answer, or is gone.
    pub fn forget(&self, cluster: &str) {
        self.lock().remove(cluster);
    }

    /// Drops all clusters but these.
    pub fn keep_clusters(&self, wanted: impl Fn(&str) -> bool) {
        self.lock().retain(|cluster, _| wanted(cluster));
    }

    /// The sum over the topics of each cluster of which all were looked at.
    #[must_use]
    pub fn sums(&self) -> Vec<(String, ReplicaHealth)> {
        let clusters = self.lock();
        let whole = clusters.iter().filter(|(_, cluster)| cluster.is_whole);
        whole
            .map(|(name, cluster)| {
                let sum = cluster.unwell.values().fold(ReplicaHealth::default(), |mut sum, Entry { health, .. }| {
                    sum.under_replicated += health.under_replicated;
                    sum.under_min_isr += health.under_min_isr;
                    sum.offline += health.offline;
                    sum
                });
                (name.clone(), sum)
            })
            .collect()
    }

    /// Each topic that is not well.
    #[must_use]
    pub fn unwell(&self) -> Vec<(Place, ReplicaHealth)> {
        let clusters = self.lock();
        clusters.values().flat_map(|cluster| cluster.unwell.iter()).map(|(object, entry)| (object.clone(), entry.health.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cluster>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(under_replicated: i32, under_min_isr: i32, offline: i32) -> ReplicaHealth {
        ReplicaHealth { under_replicated, under_min_isr, offline, ..ReplicaHealth::default() }
    }

    #[test]
    fn replicas_that_lag_for_a_moment_are_no_trouble_yet() {
        let (book, object, begin) = (HealthBook::default(), ("shop".to_owned(), "orders".to_owned()), Instant::now());
        for (second, seen, lasting) in [
            (0, health(2, 0, 0), Trouble::None),
            (59, health(1, 0, 0), Trouble::None),
            (60, health(2, 0, 0), Trouble::UnderReplicated),
            // Well in between: it begins anew.
            (70, health(0, 0, 0), Trouble::None),
            (80, health(2, 0, 0), Trouble::None),
            // What keeps writers or readers out is told at once.
            (81, health(2, 1, 0), Trouble::UnderMinIsr),
            (82, health(2, 2, 1), Trouble::Offline),
            (140, health(2, 0, 0), Trouble::UnderReplicated),
        ] {
            let now = begin + Duration::from_secs(second);
            assert_eq!(book.note("default", &object, Some(&seen), now), lasting, "{second}");
            assert_eq!(book.lasting("default", &object, now), lasting, "{second}");
        }
        assert_eq!(book.note("default", &object, None, begin), Trouble::None);
        assert!(book.unwell().is_empty());
    }

    #[test]
    fn it_is_known_how_often_an_object_was_asked_in_vain() {
        let (book, object) = (HealthBook::default(), ("shop".to_owned(), "orders".to_owned()));
        for (asks, expected) in [(0, 0), (2, 2), (1, 3)] {
            (0..asks).for_each(|_| book.ask("default", object.clone()));
            assert_eq!((book.asked("default", &object), book.asked("other", &object)), (expected, 0));
        }
        book.has_told("default", &object);
        assert_eq!(book.asked("default", &object), 0);
        book.ask("default", object.clone());
        book.keep("default", |_| false);
        assert_eq!(book.asked("default", &object), 0);
    }

    #[test]
    fn a_sum_is_told_of_a_cluster_that_was_looked_at_as_a_whole() {
        let (book, now) = (HealthBook::default(), Instant::now());
        let objects = ["a", "b", "c"].map(|name| ("shop".to_owned(), name.to_owned()));
        for object in &objects {
            book.note("default", object, Some(&health(3, 2, 1)), now);
        }
        assert!(book.sums().is_empty());
        book.swept("default");
        book.swept("calm");
        book.keep("default", |(_, name)| name != "b");
        let mut sums = book.sums();
        sums.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(sums, [("calm".to_owned(), health(0, 0, 0)), ("default".to_owned(), health(6, 4, 2))]);
        assert_eq!(book.unwell().len(), 2);
        book.keep_clusters(|name| name != "calm");
        book.forget("default");
        assert!(book.sums().is_empty() && book.unwell().is_empty());
    }
}
