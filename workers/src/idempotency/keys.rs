//! The keys as the runtime feeds them and requests ask for them: [`Claims`] behind a lock.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicI64},
};

use jiff::Timestamp;
use penstock_kafka::ConsumedRecord;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{
    claims::{Claims, Standing},
    key::KeyId,
    notes::Note,
};
use crate::table::TableSink;

/// Old keys are looked for after so many notes.
const SWEEP: u32 = 10_000;

/// Every key that the topic of keys tells of.
#[derive(Debug)]
pub struct Keys {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    known: Gauge<i64, AtomicI64>,
}

#[derive(Debug)]
struct State {
    claims: Claims,
    /// Claims of this worker that it has not read yet.
    expected: HashMap<Uuid, oneshot::Sender<bool>>,
    notes: u32,
}

impl Keys {
    /// None is known yet; `window` is for how many milliseconds one counts.
    #[must_use]
    pub fn new(window: i64) -> Self {
        let state = State { claims: Claims::new(window), expected: HashMap::new(), notes: 0 };
        Self { state: Mutex::new(state), changed: watch::Sender::new(()), known: Gauge::default() }
    }

    /// Adds the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("idempotency_keys_known", "Idempotency keys that are remembered", self.known.clone());
    }

    /// What is known of a key now.
    pub(super) fn standing(&self, key: KeyId) -> Standing {
        self.state().claims.standing(key, now())
    }

    /// Told once any key may stand differently.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Says, once that claim has been read, whether it has the key.
    pub(super) fn expect(&self, claim: Uuid) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        self.state().expected.insert(claim, tell);
        told
    }

    /// Nobody waits for that claim any more.
    pub(super) fn expect_no_more(&self, claim: Uuid) {
        self.state().expected.remove(&claim);
    }

    /// Takes in a note that was written at that time.
    pub(super) fn take(&self, key: KeyId, note: Note, at: i64) {
        let mut state = self.state();
        let claimed = if let Note::Claimed { claim, .. } = &note { Some(*claim) } else { None };
        state.claims.apply(key, note, at);
        if let Some(claim) = claimed
            && let Some(tell) = state.expected.remove(&claim)
        {
            // Who asked may have given up.
            let _ = tell.send(state.claims.is_held_by(key, claim));
        }
        state.notes += 1;
        if state.notes >= SWEEP {
            state.notes = 0;
            state.claims.forget_old(now());
        }
        self.tell(&state);
    }

    fn tell(&self, state: &State) {
        self.known.set(i64::try_from(state.claims.len()).unwrap_or(i64::MAX));
        self.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

impl TableSink for Keys {
    fn apply(&self, record: &ConsumedRecord) {
        match Note::read(record.key.as_deref(), record.payload.as_deref()) {
            Some((key, note)) => self.take(key, note, record.timestamp_ms.unwrap_or_else(now)),
            None => tracing::debug!(partition = record.partition, offset = record.offset, "skipped what is no note about a key"),
        }
    }

    fn forget(&self, _: &str) {
        let mut state = self.state();
        state.claims.clear();
        self.tell(&state);
    }
}
