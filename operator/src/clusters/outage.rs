//! Whether a Kafka cluster that does not answer stays away: one answer that comes late is no outage, and every object on the cluster tells
//! of one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many looks in a row must fail, and for how long.
const LOOKS: u32 = 3;
const LASTS: Duration = Duration::from_secs(10);

/// The looks in a row that have failed: since when, and how many. Clone: another handle of the same.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Mutex<Option<(Instant, u32)>>>);

impl Outage {
    /// The cluster answers.
    pub fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A look that has begun then failed. Whether the cluster stays away by now.
    pub fn goes_on(&self, begun: Instant, now: Instant) -> bool {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, looks) = failed.get_or_insert((begun, 0));
        *looks = looks.saturating_add(1);
        *looks >= LOOKS && now.saturating_duration_since(*since) >= LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_stays_away_once_it_has_failed_often_and_for_long() {
        let begin = Instant::now();
        for (name, looks, stays_away) in [
            ("slow once", &[(0, 5)][..], false),
            ("slow twice, for long", &[(0, 5), (8, 13)], false),
            ("refused often at once", &[(0, 0), (0, 0), (1, 1), (9, 9)], false),
            ("refused for long", &[(0, 0), (3, 3), (6, 6), (10, 10)], true),
            ("slow three times", &[(0, 5), (8, 13), (16, 21)], true),
        ] {
            let outage = Outage::default();
            let at = |second| begin + Duration::from_secs(second);
            let told = looks.iter().fold(false, |_, (begun, ended)| outage.goes_on(at(*begun), at(*ended)));
            assert_eq!(told, stays_away, "{name}");
            outage.ends();
            assert!(!outage.goes_on(at(30), at(35)), "{name}: another one begins anew");
        }
    }
}
