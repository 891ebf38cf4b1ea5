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

    /// An object lets go of it. Whether none of the others, which hold it as far as their statuses tell, does so still. These are looked up
    /// while none is forgotten: one that was looked up before would be taken for one that holds it.
    pub fn let_go(&self, uid: &str, others: impl FnOnce() -> Vec<String>) -> bool {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gone.insert(uid.to_owned());
        others().iter().all(|other| gone.contains(other))
    }

    /// The object is not there any more, and no status tells of it.
    pub fn forget(&self, uid: &str) {
        self.take(uid);
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
        let let_go = |uid, others: &[&str]| holders.let_go(uid, || others.iter().map(|other| (*other).to_owned()).collect());
        // As far as the cache knows, all of them hold it.
        assert!(!let_go("a", &["b", "c"]));
        assert!(!let_go("b", &["a", "c"]));
        holders.take("a");
        assert!(!let_go("c", &["a", "b"]), "a has begun anew");
        assert!(let_go("a", &["b", "c"]));
        assert!(let_go("d", &[]));
        ["a", "b", "c", "d"].iter().for_each(|uid| holders.forget(uid));
        assert!(holders.0.lock().unwrap().is_empty());
    }
}
