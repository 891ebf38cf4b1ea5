//! Orders that are being written: of the requests to this worker with one order id or one key, one at a time goes on.
//!
//! What was looked up while a pass is held stays true until it is dropped, but for what other workers write.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::idempotency::KeyId;

/// How long a request waits for another.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one request at a time has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// An order's id.
    Order(Uuid),
    /// A key.
    Key(KeyId),
}

/// All that requests have.
#[derive(Debug, Default)]
pub struct UnderWay {
    marks: Mutex<HashSet<Mark>>,
    freed: watch::Sender<()>,
}

/// A request goes on for as long as this lasts.
#[derive(Debug)]
pub struct Pass {
    of: Arc<UnderWay>,
    marks: Vec<Mark>,
}

impl UnderWay {
    /// Waits until no other request has the order's id or the key.
    ///
    /// # Errors
    /// What another still has after a second: the key, if that is among it.
    pub async fn enter(self: &Arc<Self>, order_id: Uuid, key: Option<KeyId>) -> Result<Pass, Mark> {
        let marks: Vec<Mark> = key.map(Mark::Key).into_iter().chain([Mark::Order(order_id)]).collect();
        let patience = Instant::now() + PATIENCE;
        let mut freed = self.freed.subscribe();
        while let Err(taken) = self.take(&marks) {
            if !matches!(timeout_at(patience, freed.changed()).await, Ok(Ok(()))) {
                return Err(taken);
            }
        }
        Ok(Pass { of: Arc::clone(self), marks })
    }

    /// Takes all of them, or says which of them is taken.
    fn take(&self, wanted: &[Mark]) -> Result<(), Mark> {
        let mut marks = self.marks();
        match wanted.iter().find(|mark| marks.contains(mark)) {
            Some(taken) => Err(*taken),
            None => {
                marks.extend(wanted);
                Ok(())
            }
        }
    }

    fn marks(&self) -> MutexGuard<'_, HashSet<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        {
            let mut marks = self.of.marks();
            for mark in &self.marks {
                marks.remove(mark);
            }
        }
        self.of.freed.send_replace(());
    }
}
