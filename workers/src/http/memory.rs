//! The memory for request bodies, in bytes. Pure, but for a lock.
//!
//! A body takes what has come of it, when it comes, and nothing ahead. Where there is not enough, the body that has been arriving
//! for the longest gives way: who sends slowly, or much, makes room for who has sent all within a moment. A body that has arrived
//! keeps what it has until it is dropped.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::oneshot;

/// What becomes of bodies, for the metrics.
#[derive(Clone, Debug, Default)]
pub struct BodyCounts {
    /// Bytes that are held.
    pub held: Gauge,
    /// Bodies that gave way to others.
    pub displaced: Counter,
}

/// The memory for all bodies.
#[derive(Debug)]
pub struct BodyMemory {
    most: usize,
    counts: BodyCounts,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    next: u64,
    /// The bodies that still arrive, by when they began.
    arriving: BTreeMap<u64, Arriving>,
}

#[derive(Debug)]
struct Arriving {
    bytes: usize,
    displace: oneshot::Sender<()>,
}

/// The part of a body; dropped, it is free again.
#[derive(Debug)]
pub struct Share {
    id: u64,
    /// What the body has, once it has arrived.
    arrived: Option<usize>,
    displaced: oneshot::Receiver<()>,
    memory: Arc<BodyMemory>,
}

/// The body has given way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced;

impl BodyMemory {
    /// So many bytes, all of them free.
    pub fn new(most: usize, counts: BodyCounts) -> Arc<Self> {
        Arc::new(Self { most, counts, state: Mutex::default() })
    }

    /// A body begins to arrive.
    pub fn begin(self: &Arc<Self>) -> Share {
        let mut state = self.state();
        let (id, (displace, displaced)) = (state.next, oneshot::channel());
        state.next += 1;
        state.arriving.insert(id, Arriving { bytes: 0, displace });
        Share { id, arrived: None, displaced, memory: Arc::clone(self) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &State) {
        self.counts.held.set(i64::try_from(state.held).unwrap_or(i64::MAX));
    }
}

impl Share {
    /// Takes room for so many more bytes.
    ///
    /// # Errors
    /// [`Displaced`], by an earlier body or right now, since it has been arriving for the longest itself.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Displaced> {
        let mut state = self.memory.state();
        if !state.arriving.contains_key(&self.id) {
            return Err(Displaced);
        }
        while state.held.saturating_add(bytes) > self.memory.most {
            let Some((oldest, body)) = state.arriving.pop_first() else { return Err(Displaced) };
            // Its bytes go as soon as its task runs, which is soon enough to count them as gone.
            state.held -= body.bytes;
            self.memory.counts.displaced.inc();
            if oldest == self.id {
                self.memory.show(&state);
                return Err(Displaced);
            }
            let _ = body.displace.send(());
        }
        let body = state.arriving.get_mut(&self.id).ok_or(Displaced)?;
        body.bytes += bytes;
        state.held += bytes;
        self.memory.show(&state);
        Ok(())
    }

    /// Waits until the body must give way.
    pub async fn displaced(&mut self) {
        // The other end goes away without a word only with what waits here.
        let _ = (&mut self.displaced).await;
    }

    /// The body has arrived, and keeps its share from now on.
    ///
    /// # Errors
    /// It had to give way before.
    pub fn arrived(&mut self) -> Result<(), Displaced> {
        let body = self.memory.state().arriving.remove(&self.id).ok_or(Displaced)?;
        self.arrived = Some(body.bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let bytes = self.arrived.or_else(|| state.arriving.remove(&self.id).map(|body| body.bytes));
        state.held -= bytes.unwrap_or_default();
        self.memory.show(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(most: usize) -> Arc<BodyMemory> {
        BodyMemory::new(most, BodyCounts::default())
    }

    fn is_displaced(share: &mut Share) -> bool {
        share.displaced.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_that_still_arrives_makes_room() {
        let memory = memory(100);
        let [mut first, mut second, mut third] = [(); 3].map(|()| memory.begin());
        first.grow(40).unwrap();
        second.grow(50).unwrap();
        third.grow(10).unwrap();
        third.arrived().unwrap();
        let mut newcomer = memory.begin();
        newcomer.grow(30).unwrap();
        assert!(is_displaced(&mut first) && !is_displaced(&mut second) && !is_displaced(&mut newcomer));
        assert_eq!((first.grow(1), first.arrived()), (Err(Displaced), Err(Displaced)));
        assert_eq!((memory.counts.held.get(), memory.counts.displaced.get()), (90, 1));
        // What has arrived stays; whoever needs more than all others can give goes without.
        assert_eq!(newcomer.grow(70), Err(Displaced));
        assert!(is_displaced(&mut second));
        assert_eq!(memory.counts.held.get(), 10);
        let mut last = memory.begin();
        assert_eq!(last.grow(91), Err(Displaced));
        drop((first, second, third, newcomer, last));
        let state = memory.state();
        assert_eq!((state.held, state.arriving.len()), (0, 0));
    }

    #[test]
    fn nothing_is_taken_ahead_and_all_is_given_back() {
        let memory = memory(10);
        let mut idle: Vec<Share> = (0..1_000).map(|_| memory.begin()).collect();
        let mut quick = memory.begin();
        quick.grow(10).unwrap();
        quick.arrived().unwrap();
        assert!(idle.iter_mut().all(|share| !is_displaced(share)));
        drop(quick);
        assert_eq!(memory.begin().grow(10), Ok(()));
        assert_eq!(memory.state().held, 0);
    }
}
