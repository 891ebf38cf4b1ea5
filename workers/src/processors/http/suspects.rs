//! Which records may have brought the handler down, and that each of them is alone with it.
//!
//! When the handler ends, every request to it ends, and only one record may be to blame. Tried again together, or beside others, the
//! others would use up their attempts as well; alone, only the one to blame does.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// More than this many are forgotten: those that ended elsewhere are never asked for again.
const MAX: usize = 4_096;

/// The records whose last request broke.
#[derive(Debug, Default)]
pub struct Suspects {
    ids: Mutex<HashSet<String>>,
    turn: RwLock<()>,
}

/// The right to send a record, until it is dropped.
#[derive(Debug)]
pub enum Turn<'a> {
    /// No other is sent meanwhile.
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>),
    /// With others.
    Beside(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>),
}

impl Suspects {
    /// Waits until the record may be sent: one of them alone, any other beside its like.
    pub async fn turn(&self, id: impl FnOnce() -> String) -> Turn<'_> {
        let is_one = {
            let ids = self.ids();
            !ids.is_empty() && ids.contains(&id())
        };
        if is_one { Turn::Alone(self.turn.write().await) } else { Turn::Beside(self.turn.read().await) }
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
