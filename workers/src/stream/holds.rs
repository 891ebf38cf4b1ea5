//! Which records must wait because an earlier one of their lane waits in a retry topic. Pure.
//!
//! The partitions with one number, of a source topic and of all topics beside it, are a family. What waits in a family is
//! known only to the worker that has all of it, once it has read what lies there; until then the whole family stands still.
//! From then on a lane (a key, or the whole partition) in which something waits lets nothing of the source topic pass:
//! that is held back, in its order, and none of it goes on before nothing of the lane waits in a retry topic any more.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use penstock_crds::worker::Ordering;
use penstock_kafka::{ConsumedRecord, TopicPartition};

use super::{
    books::Waited,
    bounds::Bounds,
    ticket::Ticket,
    tiers::{Level, Station, Tiers},
};
use crate::processor::Event;

/// What waits for one another: the records of a key, or with `None` the whole partition.
pub(crate) type Lane = Option<Bytes>;

/// The partitions with one number of a source topic and those beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Family {
    pub source: Arc<str>,
    pub partition: i32,
}

/// Why a record cannot be taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// It is not known what waits in its family.
    Unknown(Family),
    /// A record of its lane waits in a retry topic.
    Behind(Family, Lane),
    /// Enough of its family that was held back is in memory.
    Crowded(Family),
    /// So much of its family waits that no more of it is noted.
    Full(Family),
}

impl Hindrance {
    /// The family that it is about.
    pub fn family(&self) -> &Family {
        match self {
            Self::Unknown(family) | Self::Behind(family, _) | Self::Crowded(family) | Self::Full(family) => family,
        }
    }
}

/// Whether a record that was taken may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    /// It is shelved until [`Freed`] gives it back.
    Later,
    /// Not here: it is held back.
    HoldBack,
}

/// A family of which everything has come to this worker, to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub family: Family,
    round: u64,
}

/// What may go on because something has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Records that were shelved.
    pub start: Vec<Ticket>,
    /// What kept records from being taken.
    pub hindrances: Vec<Hindrance>,
}

/// What waits of a lane, by the offsets that the records have in the source topic: a record that comes to lie there twice, or that a
/// worker has written which had lost the partition, ends once, and nothing else with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Waiting {
    /// Mostly one.
    in_tiers: Vec<(i64, Level)>,
    /// In their order: they come and end at its ends, as a rule.
    held: VecDeque<i64>,
}

impl Waiting {
    /// False: it was known to wait there.
    fn add(&mut self, offset: i64, station: Station) -> bool {
        match station {
            Station::Source => false,
            Station::Tier(level) => {
                let is_new = !self.in_tiers.contains(&(offset, level));
                if is_new {
                    self.in_tiers.reserve_exact(1);
                    self.in_tiers.push((offset, level));
                }
                is_new
            }
            Station::Held => match self.held.binary_search(&offset) {
                Ok(_) => false,
                Err(place) => {
                    self.held.insert(place, offset);
                    true
                }
            },
        }
    }

    /// False: it was not known to wait there.
    fn remove(&mut self, offset: i64, station: Station) -> bool {
        match station {
            Station::Source => false,
            Station::Tier(level) => {
                let place = self.in_tiers.iter().position(|waiting| *waiting == (offset, level));
                place.map(|place| self.in_tiers.remove(place)).is_some()
            }
            Station::Held => self.held.binary_search(&offset).is_ok_and(|place| self.held.remove(place).is_some()),
        }
    }

    fn is_over(&self) -> bool {
        self.in_tiers.is_empty() && self.held.is_empty()
    }
}

/// What waits of a family: of each lane which records, and nothing else of them, since many may wait.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    lanes: HashMap<Lane, Waiting>,
    /// The memory that this takes, about.
    bytes: usize,
}

/// What a record takes of it: its offset, and as much again that is free.
const RECORD_BYTES: usize = 16;
/// What a lane takes of it besides its key: its place in the map, of which up to half is free, and what it allocates.
const LANE_BYTES: usize = 256;

impl Waits {
    /// The record waits there; one that holds back no other is not noted.
    pub fn add(ordering: Ordering, tiers: &Tiers, found: &mut BTreeMap<Family, Self>, event: &Event, station: Station) {
        if let Some((family, lane)) = lane(ordering, tiers, event) {
            found.entry(family).or_default().insert(lane, event.offset, station);
        }
    }

    fn insert(&mut self, lane: Lane, offset: i64, station: Station) {
        let waiting = match self.lanes.get_mut(&lane) {
            Some(waiting) => waiting,
            None => {
                self.bytes += lane_bytes(&lane);
                // Not the batch that the key came in.
                self.lanes.entry(lane.map(|key| Bytes::copy_from_slice(&key))).or_default()
            }
        };
        if waiting.add(offset, station) {
            self.bytes += RECORD_BYTES;
        }
    }

    /// Whether nothing of the lane waits in a retry topic any more. None: nothing of it waited.
    fn remove(&mut self, lane: &Lane, offset: i64, station: Station) -> Option<bool> {
        let waiting = self.lanes.get_mut(lane)?;
        if waiting.remove(offset, station) {
            self.bytes = self.bytes.saturating_sub(RECORD_BYTES);
        }
        let is_free = waiting.in_tiers.is_empty();
        if waiting.is_over() {
            self.lanes.remove(lane);
            self.bytes = self.bytes.saturating_sub(lane_bytes(lane));
        }
        Some(is_free)
    }
}

fn lane_bytes(lane: &Lane) -> usize {
    LANE_BYTES + lane.as_ref().map_or(0, Bytes::len)
}

/// What is known of a family.
#[derive(Debug, Default)]
struct Relations {
    /// The topics of which the partition is here.
    here: HashSet<String>,
    /// Counts up whenever everything is here anew.
    round: u64,
    /// None: not known.
    waits: Option<Waits>,
    /// What has changed since it was looked at, until it is known.
    changes: Vec<Change>,
    /// What was held back and is in memory.
    booked: Bounds,
    /// A record could not be taken since so much waits.
    is_full: bool,
}

/// A record has begun to wait, or does not any more.
#[derive(Debug)]
struct Change {
    lane: Lane,
    offset: i64,
    station: Station,
    waits: bool,
}

impl Relations {
    /// Notes a change for later, where it is not known yet what waits.
    fn note(&mut self, lane: Lane, offset: i64, station: Station, waits: bool) {
        if self.round != 0 {
            self.changes.push(Change { lane, offset, station, waits });
        }
    }
}

/// What may be in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of records that were held back and are being worked off, over all families that are here.
    pub held: Bounds,
    /// Of the knowledge which records wait, over all families that there are, with whichever workers: whoever takes families over
    /// learns all that waits of them. Then no more are taken from the source topics, until it is half of that.
    pub waiting_bytes: usize,
}

/// Which records wait, of which families.
#[derive(Debug)]
pub(crate) struct Holds {
    ordering: Ordering,
    tiers: Arc<Tiers>,
    limits: Limits,
    families: HashMap<Family, Relations>,
    /// How many families there are, with whichever workers, as far as that is known.
    of_all: usize,
    /// Records in memory that may not start yet.
    shelf: HashMap<Family, HashMap<Lane, Vec<Ticket>>>,
    rounds: u64,
}

impl Holds {
    pub fn new(ordering: Ordering, tiers: Arc<Tiers>, limits: Limits) -> Self {
        Self { ordering, tiers, limits, families: HashMap::new(), of_all: 0, shelf: HashMap::new(), rounds: 0 }
    }

    /// There are so many families, with whichever workers.
    pub fn share_among(&mut self, families: usize) {
        self.of_all = families;
    }

    /// Partitions came. Gives back the families that are whole now.
    pub fn assign(&mut self, partitions: &[TopicPartition]) -> Vec<Look> {
        let mut whole = Vec::new();
        for TopicPartition { topic, partition } in partitions {
            let Some(family) = self.family(topic, *partition) else { continue };
            let relations = self.families.entry(family.clone()).or_default();
            relations.here.insert(topic.clone());
            let is_here = |topic: &str| relations.here.contains(topic);
            if is_here(&family.source) && self.tiers.beside(&family.source).all(is_here) {
                self.rounds += 1;
                relations.round = self.rounds;
                relations.changes.clear();
                whole.push(Look { family, round: relations.round });
            }
        }
        whole
    }

    /// Partitions went: what waits in their families is not known any more.
    pub fn revoke(&mut self, partitions: &[TopicPartition]) {
        for TopicPartition { topic, partition } in partitions {
            let Some(family) = self.family(topic, *partition) else { continue };
            let Some(relations) = self.families.get_mut(&family) else { continue };
            relations.here.remove(topic);
            (relations.waits, relations.booked, relations.round) = (None, Bounds::default(), 0);
            relations.changes.clear();
            if relations.here.is_empty() {
                self.families.remove(&family);
                self.shelf.remove(&family);
            }
        }
    }

    /// Whether what is seen of a family still counts: nothing of it has come or gone since.
    pub fn is_current(&self, look: &Look) -> bool {
        self.families.get(&look.family).is_some_and(|relations| relations.round == look.round)
    }

    /// This waits in a family, and what has changed since it was looked at. Whatever hindered records of it is to be looked at anew.
    pub fn learn(&mut self, look: &Look, mut waits: Waits) -> Freed {
        if !self.is_current(look) {
            return Freed::default();
        }
        if let Some(relations) = self.families.get_mut(&look.family) {
            for Change { lane, offset, station, waits: begins } in relations.changes.drain(..) {
                if begins {
                    waits.insert(lane, offset, station);
                } else {
                    waits.remove(&lane, offset, station);
                }
            }
            relations.waits = Some(waits);
        }
        let start = self.shelf.remove(&look.family).into_iter().flatten().flat_map(|(_, tickets)| tickets).collect();
        Freed { start, hindrances: vec![Hindrance::Unknown(look.family.clone())] }
    }

    /// Why a record that was read cannot be taken now. One that was held back and can is counted as taken.
    pub fn hindrance(&mut self, record: &ConsumedRecord) -> Option<Hindrance> {
        if !self.tiers.hold_back() {
            return None;
        }
        let family = self.family(&record.topic, record.partition)?;
        let lane = match self.ordering {
            Ordering::Key => record.key.clone().map(Some),
            Ordering::Partition => Some(None),
            Ordering::None => None,
        };
        let Limits { held: bounds, waiting_bytes } = self.limits_of_one();
        let Some(relations) = self.families.get_mut(&family) else { return Some(Hindrance::Unknown(family)) };
        let Some(waits) = &relations.waits else { return Some(Hindrance::Unknown(family)) };
        match self.tiers.station(&record.topic) {
            Station::Source if waits.bytes >= waiting_bytes => {
                relations.is_full = true;
                return Some(Hindrance::Full(family));
            }
            Station::Source | Station::Tier(_) => return None,
            Station::Held => {}
        }
        if let Some(lane) = lane
            && waits.lanes.get(&lane).is_some_and(|waiting| !waiting.in_tiers.is_empty())
        {
            return Some(Hindrance::Behind(family, lane));
        }
        let size = record.size();
        let Bounds { records, bytes } = &mut relations.booked;
        if *records > 0 && (*records >= bounds.records || *bytes + size > bounds.bytes) {
            return Some(Hindrance::Crowded(family));
        }
        (*records, *bytes) = (*records + 1, *bytes + size);
        None
    }

    fn limits_of_one(&self) -> Limits {
        let here = self.families.len().max(1);
        let of_all = self.of_all.max(here);
        let Limits { held: Bounds { records, bytes }, waiting_bytes } = self.limits;
        Limits { held: Bounds { records: records / here, bytes: bytes / here }, waiting_bytes: (waiting_bytes / of_all).max(1) }
    }

    /// Whether a record that was taken may start.
    pub fn start(&mut self, event: &Event, station: Station, ticket: Ticket) -> Start {
        let Some((family, lane)) = self.lane(event) else { return Start::Now };
        let known = self.families.get(&family).and_then(|relations| relations.waits.as_ref());
        let waiting = known.map(|waits| waits.lanes.get(&lane));
        let start = match (station, waiting) {
            (Station::Tier(_), _) => Start::Now,
            (Station::Source | Station::Held, None) => Start::Later,
            // Nothing is kept of a lane in which nothing waits.
            (Station::Source, Some(Some(_))) => Start::HoldBack,
            (Station::Held, Some(Some(waiting))) if !waiting.in_tiers.is_empty() => Start::Later,
            (Station::Source | Station::Held, Some(_)) => Start::Now,
        };
        if start == Start::Later {
            self.shelf.entry(family).or_default().entry(lane).or_default().push(ticket);
        }
        start
    }

    /// It is decided that the record waits there.
    pub fn wait(&mut self, event: &Event, station: Station) {
        let Some((family, lane)) = self.lane(event) else { return };
        let Some(relations) = self.families.get_mut(&family) else { return };
        match &mut relations.waits {
            Some(waits) => waits.insert(lane, event.offset, station),
            None => relations.note(lane, event.offset, station, true),
        }
    }

    /// A record that waited there does not any more, and what follows from it has its place.
    pub fn end(&mut self, event: &Event, station: Station) -> Freed {
        let mut freed = Freed::default();
        let Some((family, lane)) = self.lane(event) else { return freed };
        let enough = self.limits_of_one().waiting_bytes / 2;
        let Some(relations) = self.families.get_mut(&family) else { return freed };
        let Some(waits) = &mut relations.waits else {
            relations.note(lane, event.offset, station, false);
            return freed;
        };
        let Some(is_free) = waits.remove(&lane, event.offset, station) else { return freed };
        if relations.is_full && waits.bytes <= enough {
            relations.is_full = false;
            freed.hindrances.push(Hindrance::Full(family.clone()));
        }
        if is_free && station != Station::Held {
            freed.start = self.shelf.get_mut(&family).and_then(|lanes| lanes.remove(&lane)).unwrap_or_default();
            freed.hindrances.push(Hindrance::Behind(family, lane));
        }
        freed
    }

    /// A record that was read from there is settled.
    pub fn settle(&mut self, Waited { event, station, bytes }: &Waited) -> Freed {
        let mut freed = self.end(event, *station);
        if *station == Station::Held
            && let Some(family) = self.family(&event.topic, event.partition)
            && let Some(Relations { booked: Bounds { records, bytes: booked }, .. }) = self.families.get_mut(&family)
        {
            (*records, *booked) = (records.saturating_sub(1), booked.saturating_sub(*bytes));
            if *records == 0 {
                freed.hindrances.push(Hindrance::Crowded(family));
            }
        }
        freed
    }

    fn family(&self, topic: &str, partition: i32) -> Option<Family> {
        Some(Family { source: Arc::clone(self.tiers.source_of(topic)?), partition })
    }

    fn lane(&self, event: &Event) -> Option<(Family, Lane)> {
        lane(self.ordering, &self.tiers, event)
    }
}

fn lane(ordering: Ordering, tiers: &Tiers, event: &Event) -> Option<(Family, Lane)> {
    if !tiers.hold_back() {
        return None;
    }
    let lane = match ordering {
        Ordering::Key => Some(event.key.clone()?),
        Ordering::Partition => None,
        Ordering::None => return None,
    };
    // What somebody put beside a source topic himself is of no family.
    if tiers.station(&event.topic) != Station::Source {
        return None;
    }
    let source = Arc::clone(tiers.source_of(&event.topic)?);
    Some((Family { source, partition: event.partition }, lane))
}

#[cfg(test)]
mod tests;
