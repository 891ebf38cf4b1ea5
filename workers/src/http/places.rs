//! Who gets a place among the requests in work. Pure, but for a lock.
//!
//! Those that wait get places by turns, one peer after the other, and those of one peer in the order in which they came. So a peer
//! that sends many requests at once keeps its own waiting, and those of another not for longer than one turn.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::connections::Peer;

/// All places.
#[derive(Debug)]
pub struct Places {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Grows with everything that happens.
    clock: u64,
    lines: HashMap<Option<Peer>, Line>,
    /// The peers that wait, by their turns.
    turns: BTreeMap<u64, Option<Peer>>,
}

/// Those of one peer that wait, by when they came.
#[derive(Debug)]
struct Line {
    turn: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Occupied>>,
}

/// A place that is taken; dropped, it is free again.
#[derive(Debug)]
pub struct Occupied(Arc<Places>);

/// One that waits for a place; dropped, it waits no more.
#[derive(Debug)]
struct Waiting {
    of: Arc<Places>,
    peer: Option<Peer>,
    id: u64,
    place: oneshot::Receiver<Occupied>,
}

impl Places {
    /// So many, all of them free.
    pub fn new(count: usize) -> Arc<Self> {
        let state = State { free: count, clock: 0, lines: HashMap::new(), turns: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits for a place. Who has no peer is told apart from all who have one. Cancel-safe.
    pub async fn enter(self: &Arc<Self>, peer: Option<Peer>) -> Option<Occupied> {
        let mut waiting = {
            let mut state = self.state();
            // Where one is free, nobody waits.
            if state.free > 0 {
                state.free -= 1;
                return Some(Occupied(Arc::clone(self)));
            }
            let (id, place) = state.wait(peer);
            Waiting { of: Arc::clone(self), peer, id, place }
        };
        (&mut waiting.place).await.ok()
    }

    /// How many are free.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.state().free
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn wait(&mut self, peer: Option<Peer>) -> (u64, oneshot::Receiver<Occupied>) {
        let (id, (give, place)) = (self.tick(), oneshot::channel());
        let line = self.lines.entry(peer).or_insert_with(|| {
            self.turns.insert(id, peer);
            Line { turn: id, waiting: BTreeMap::new() }
        });
        line.waiting.insert(id, give);
        (id, place)
    }

    /// Who is next, if anybody waits. His peer's turn is over.
    fn next(&mut self) -> Option<oneshot::Sender<Occupied>> {
        let (_, peer) = self.turns.pop_first()?;
        let now = self.tick();
        let line = self.lines.get_mut(&peer)?;
        let (_, next) = line.waiting.pop_first()?;
        if line.waiting.is_empty() {
            self.lines.remove(&peer);
        } else {
            line.turn = now;
            self.turns.insert(now, peer);
        }
        Some(next)
    }

    fn forget(&mut self, peer: Option<Peer>, id: u64) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        line.waiting.remove(&id);
        if line.waiting.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(&peer);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.state().forget(self.peer, self.id);
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut state = self.0.state();
        match state.next() {
            Some(next) => {
                drop(state);
                // Should that one have gone just now, the place comes back here.
                drop(next.send(Self(Arc::clone(&self.0))));
            }
            None => state.free += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin};

    use futures::poll;

    use super::*;

    type Entering = Pin<Box<dyn Future<Output = Option<Occupied>>>>;

    fn peer(address: &str) -> Option<Peer> {
        Some(Peer::from(address.parse::<std::net::IpAddr>().unwrap()))
    }

    fn enter(places: &Arc<Places>, from: Option<Peer>) -> Entering {
        let places = Arc::clone(places);
        Box::pin(async move { places.enter(from).await })
    }

    #[tokio::test]
    async fn peers_get_places_by_turns_and_their_requests_in_order() {
        let (flood, other, third) = (peer("10.0.0.1"), peer("10.0.0.2"), peer("10.0.0.3"));
        let places = Places::new(1);
        let mut place = places.enter(flood).await;
        let names = ["flood 1", "flood 2", "flood 3", "other 1", "other 2", "third 1", "nobody's"];
        let peers = [flood, flood, flood, other, other, third, None];
        let mut waiting: Vec<(&str, Entering)> = names.into_iter().zip(peers.map(|from| enter(&places, from))).collect();
        let mut order = Vec::new();
        for (_, entering) in &mut waiting {
            assert!(poll!(entering.as_mut()).is_pending());
        }
        while !waiting.is_empty() {
            drop(place.take());
            for (at, (name, entering)) in waiting.iter_mut().enumerate() {
                if let std::task::Poll::Ready(got) = poll!(entering.as_mut()) {
                    order.push(*name);
                    place = got;
                    drop(waiting.remove(at));
                    break;
                }
            }
            assert_eq!((place.is_some(), places.free()), (true, 0), "{order:?}");
        }
        assert_eq!(order, ["flood 1", "other 1", "third 1", "nobody's", "flood 2", "other 2", "flood 3"]);
        drop(place);
        assert_eq!(places.free(), 1);
    }

    #[tokio::test]
    async fn who_waits_no_more_gets_no_place_and_loses_none() {
        let (from, places) = (peer("10.0.0.1"), Places::new(1));
        let place = places.enter(from).await;
        let (mut gone, mut given, mut last) = (enter(&places, from), enter(&places, from), enter(&places, from));
        for entering in [&mut gone, &mut given, &mut last] {
            assert!(poll!(entering.as_mut()).is_pending());
        }
        drop(gone);
        drop(place);
        // It has the place, and goes before it has seen it.
        drop(given);
        drop(last.await);
        let state = places.state();
        assert_eq!((state.free, state.lines.len(), state.turns.len()), (1, 0, 0), "all is given back");
    }
}
