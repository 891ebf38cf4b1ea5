//! Who has which connections, and which of them goes when there is no room. Pure, but for a lock.
//!
//! A newcomer never waits: it gets the place of the connection that has been of no use for the longest, of the peer that has the
//! most. A connection whose request is in work is never taken. So who holds many connections and asks for little makes room for
//! who asks for something, also where all clients have one address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::oneshot;

/// Where a connection comes from, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    /// One who has an address of IPv6 has 2^64 of them.
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        })
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of one peer.
    pub of_one: usize,
}

/// What happened to connections, for the metrics.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts {
    /// Connections that are open.
    pub open: Gauge,
    /// Connections that were closed to make room.
    pub displaced: Counter,
    /// Connections that found no room.
    pub refused: Counter,
}

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    counts: ConnectionCounts,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with everything that happens.
    clock: u64,
    all: BTreeMap<u64, Entry>,
    peers: HashMap<Peer, Crowd>,
    /// The peers by the number of their connections.
    sizes: BTreeSet<(usize, Peer)>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// When it was of use last; none while its request is in work.
    idle_since: Option<u64>,
    end: oneshot::Sender<()>,
}

/// The connections of one peer.
#[derive(Debug, Default)]
struct Crowd {
    size: usize,
    /// Those without a request in work, the one that has been so for the longest first.
    idle: BTreeMap<u64, u64>,
}

/// A connection; dropped, it has ended.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: Peer,
    all: Arc<Connections>,
}

/// While it lasts, the connection's request is in work.
#[derive(Debug)]
pub struct InWork(Arc<Connection>);

impl Connections {
    /// None yet.
    pub fn new(limits: Limits, counts: ConnectionCounts) -> Arc<Self> {
        Arc::new(Self { limits, counts, state: Mutex::default() })
    }

    /// Lets a connection in. The receiver is told when it must end, because another needs the room. None: there is no room, and
    /// nobody who could make some.
    pub fn admit(self: &Arc<Self>, from: IpAddr) -> Option<(Connection, oneshot::Receiver<()>)> {
        let (peer, mut state) = (Peer::from(from), self.state());
        let of_one = state.peers.get(&peer).map_or(0, |crowd| crowd.size);
        let has_room = if of_one >= self.limits.of_one {
            self.displace_one_of(peer, &mut state)
        } else {
            state.all.len() < self.limits.all || self.displace(&mut state)
        };
        if !has_room {
            self.counts.refused.inc();
            return None;
        }
        let (end, ended) = oneshot::channel();
        let id = state.add(peer, end);
        self.counts.open.inc();
        Some((Connection { id, peer, all: Arc::clone(self) }, ended))
    }

    /// Ends the connection that is of the least use, if there is one without a request in work.
    pub fn make_room(&self) -> bool {
        self.displace(&mut self.state())
    }

    fn displace(&self, state: &mut State) -> bool {
        // Few peers have nothing but requests in work, since those are few.
        let has_idle = |peer: &Peer| state.peers.get(peer).is_some_and(|crowd| !crowd.idle.is_empty());
        let most = state.sizes.iter().rev().map(|(_, peer)| *peer).find(has_idle);
        most.is_some_and(|peer| self.displace_one_of(peer, state))
    }

    fn displace_one_of(&self, peer: Peer, state: &mut State) -> bool {
        let oldest = state.peers.get(&peer).and_then(|crowd| crowd.idle.first_key_value()).map(|(_, id)| *id);
        let Some(entry) = oldest.and_then(|id| state.remove(id)) else { return false };
        // It may have ended by itself right now.
        let _ = entry.end.send(());
        self.counts.open.dec();
        self.counts.displaced.inc();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// It is of use right now: a request has come, or was answered.
    pub fn touch(&self) {
        self.all.state().set_idle(self.id, true);
    }

    /// Where it comes from.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Its request is in work from now on.
    pub fn begin_work(self: Arc<Self>) -> InWork {
        self.all.state().set_idle(self.id, false);
        InWork(self)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.touch();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let removed = self.all.state().remove(self.id);
        if removed.is_some() {
            self.all.counts.open.dec();
        }
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn add(&mut self, peer: Peer, end: oneshot::Sender<()>) -> u64 {
        let id = self.tick();
        self.all.insert(id, Entry { peer, idle_since: Some(id), end });
        self.crowd(peer, |crowd| {
            crowd.size += 1;
            crowd.idle.insert(id, id);
        });
        id
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.all.remove(&id)?;
        self.crowd(entry.peer, |crowd| {
            crowd.size -= 1;
            entry.idle_since.and_then(|since| crowd.idle.remove(&since));
        });
        Some(entry)
    }

    fn set_idle(&mut self, id: u64, idle: bool) {
        let now = self.tick();
        let Some(entry) = self.all.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.idle_since, idle.then_some(now));
        let Some(crowd) = self.peers.get_mut(&entry.peer) else { return };
        before.and_then(|since| crowd.idle.remove(&since));
        if idle {
            crowd.idle.insert(now, id);
        }
    }

    fn crowd(&mut self, peer: Peer, change: impl FnOnce(&mut Crowd)) {
        let crowd = self.peers.entry(peer).or_default();
        self.sizes.remove(&(crowd.size, peer));
        change(crowd);
        if crowd.size == 0 {
            self.peers.remove(&peer);
        } else {
            self.sizes.insert((crowd.size, peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seat = (Arc<Connection>, oneshot::Receiver<()>);

    fn limited(all: usize, of_one: usize) -> Arc<Connections> {
        Connections::new(Limits { all, of_one }, ConnectionCounts::default())
    }

    fn admit(connections: &Arc<Connections>, from: &str) -> Option<Seat> {
        connections.admit(from.parse().unwrap()).map(|(connection, end)| (Arc::new(connection), end))
    }

    fn ended(seat: &mut Seat) -> bool {
        seat.1.try_recv().is_ok()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_least_useful_of_who_has_the_most() {
        let connections = limited(4, 4);
        let mut few = admit(&connections, "10.0.0.1").unwrap();
        let mut many: Vec<Seat> = (0..3).map(|_| admit(&connections, "10.0.0.2").unwrap()).collect();
        many[0].0.touch();
        let mut newcomer = admit(&connections, "10.0.0.3").unwrap();
        assert_eq!(many.iter_mut().map(ended).collect::<Vec<_>>(), [false, true, false]);
        // Of as many, whichever: but never the newcomer for itself.
        drop(many);
        assert_eq!((connections.counts.open.get(), connections.counts.displaced.get()), (2, 1));
        assert!(!ended(&mut few) && !ended(&mut newcomer));
        let _others = (admit(&connections, "10.0.0.1").unwrap(), admit(&connections, "10.0.0.1").unwrap());
        let _last = admit(&connections, "10.0.0.4").unwrap();
        assert!(ended(&mut few) && !ended(&mut newcomer));
    }

    #[test]
    fn a_connection_with_a_request_in_work_stays() {
        let connections = limited(2, 2);
        let mut seats = [admit(&connections, "10.0.0.1").unwrap(), admit(&connections, "10.0.0.1").unwrap()];
        let in_work = [Arc::clone(&seats[0].0).begin_work(), Arc::clone(&seats[1].0).begin_work()];
        assert!(admit(&connections, "10.0.0.2").is_none() && !connections.make_room());
        assert_eq!(connections.counts.refused.get(), 1);
        let [first, second] = in_work;
        drop(second);
        drop(first);
        let _newcomer = admit(&connections, "10.0.0.2").unwrap();
        assert!(!ended(&mut seats[0]) && ended(&mut seats[1]), "the one that was of use before the other goes");
        // What is over does nothing any more.
        drop(Arc::clone(&seats[1].0).begin_work());
        drop(seats);
        let state = connections.state();
        assert_eq!((connections.counts.open.get(), state.peers.len(), state.sizes.len()), (1, 1, 1));
    }

    #[test]
    fn one_peer_has_its_own_limit() {
        let connections = limited(10, 2);
        for (peers, places) in [
            (["10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"], 2),
            (["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"], 2),
            (["10.0.0.1", "10.0.0.2", "2001:db8:0:1::1"], 3),
        ] {
            let mut seats: Vec<Seat> = peers.iter().map(|peer| admit(&connections, peer).unwrap()).collect();
            let displaced = seats.iter_mut().filter_map(|seat| ended(seat).then_some(())).count();
            assert_eq!(seats.len() - displaced, places, "{peers:?}");
        }
    }
}
