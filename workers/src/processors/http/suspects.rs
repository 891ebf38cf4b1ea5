//! Which records may have brought the handler down, and that one of them at most is with it at a time.
//!
//! When the handler ends, every request to it ends, and only one record may be to blame. Tried again together, the others would use
//! up their attempts as well; one after the other, only the one to blame does.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync;

/// More than this many are forgotten: those that ended elsewhere are never asked for again.
const MAX: usize = 4_096;

/// The records whose last request broke.
#[derive(Debug, Default)]
pub struct Suspects {
    ids: Mutex<HashSet<String>>,
    turn: sync::Mutex<()>,
}

impl Suspects {
    /// Waits until no other of them is with the handler. None: the record is not one.
    pub async fn turn(&self, id: impl FnOnce() -> String) -> Option<sync::MutexGuard<'_, ()>> {
        let is_one = {
            let ids = self.ids();
            !ids.is_empty() && ids.contains(&id())
        };
        if is_one { Some(self.turn.lock().await) } else { None }
    }

    /// Its request broke.
    pub fn add(&self, id: String) {
        let mut ids = self.ids();
        if ids.len() >= MAX {
            ids.clear();
        }
        ids.insert(id);
    }

    /// Its request ended otherwise.
    pub fn clear(&self, id: impl FnOnce() -> String) {
        let mut ids = self.ids();
        if !ids.is_empty() {
            ids.remove(&id());
        }
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
