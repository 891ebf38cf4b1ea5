//! Which topics still need the rate that is set for all brokers: the last one that lets go of it takes it away.
//!
//! The objects' statuses tell which hold it. The cache of them lags behind: of two that let go at the same time each would wait for the other,
//! so it is kept in memory who has let go.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Who has let go of the rate, by the objects' uids.
#[derive(Debug, Default)]
pub struct Throttled(Mutex<HashSet<String>>);

impl Throttled {
    /// An object holds it from now on.
    pub fn take(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// An object lets go of it. Whether none of the others, which hold it as far as their statuses tell, does so still.
    pub fn let_go<'a>(&self, uid: &str, mut others: impl Iterator<Item = &'a str>) -> bool {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gone.insert(uid.to_owned());
        others.all(|other| gone.contains(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_takes_it_away() {
        let holders = Throttled::default();
        for uid in ["a", "b", "c"] {
            holders.take(uid);
        }
        // As far as the cache knows, all of them hold it.
        assert!(!holders.let_go("a", ["b", "c"].into_iter()));
        assert!(!holders.let_go("b", ["a", "c"].into_iter()));
        holders.take("a");
        assert!(!holders.let_go("c", ["a", "b"].into_iter()), "a has begun anew");
        assert!(holders.let_go("a", ["b", "c"].into_iter()));
        assert!(holders.let_go("d", std::iter::empty()));
    }
}
