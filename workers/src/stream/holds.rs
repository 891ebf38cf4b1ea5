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
    fn add(&mut self, offset: i64, station: Station) {
        match station {
            Station::Source => {}
            Station::Tier(level) => {
                if !self.in_tiers.contains(&(offset, level)) {
                    self.in_tiers.reserve_exact(1);
                    self.in_tiers.push((offset, level));
                }
            }
            Station::Held => {
                if let Err(place) = self.held.binary_search(&offset) {
                    self.held.insert(place, offset);
                }
            }
        }
    }

    fn remove(&mut self, offset: i64, station: Station) {
        match station {
            Station::Source => {}
            Station::Tier(level) => self.in_tiers.retain(|waiting| *waiting != (offset, level)),
            Station::Held => {
                if let Ok(place) = self.held.binary_search(&offset) {
                    self.held.remove(place);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.in_tiers.is_empty() && self.held.is_empty()
    }
}

/// What waits of a family: of each lane which records, and nothing else of them, since many may wait.
#[derive(Debug, Default)]
pub(crate) struct Waits(HashMap<Lane, Waiting>);

impl Waits {
    /// The record waits there; one that holds back no other is not noted.
    pub fn add(ordering: Ordering, tiers: &Tiers, found: &mut BTreeMap<Family, Self>, event: &Event, station: Station) {
        if let Some((family, lane)) = lane(ordering, tiers, event) {
            // Not the batch that the key came in.
            let lane = lane.map(|key| Bytes::copy_from_slice(&key));
            found.entry(family).or_default().0.entry(lane).or_default().add(event.offset, station);
        }
    }
}

/// What is known of a family.
#[derive(Debug, Default)]
struct Relations {
    /// The topics of which the partition is here.
    here: HashSet<String>,
    /// Counts up whenever everything is here anew.
    round: u64,
    /// None: not known.
    lanes: Option<HashMap<Lane, Waiting>>,
    /// What was held back and is in memory.
    booked: Bounds,
}

/// Which records wait, of which families.
#[derive(Debug)]
pub(crate) struct Holds {
    ordering: Ordering,
    tiers: Arc<Tiers>,
    /// What was held back and may be in memory, over all families.
    bounds: Bounds,
    families: HashMap<Family, Relations>,
    /// Records in memory that may not start yet.
    shelf: HashMap<Family, HashMap<Lane, Vec<Ticket>>>,
    rounds: u64,
}

impl Holds {
    pub fn new(ordering: Ordering, tiers: Arc<Tiers>, bounds: Bounds) -> Self {
        Self { ordering, tiers, bounds, families: HashMap::new(), shelf: HashMap::new(), rounds: 0 }
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
            (relations.lanes, relations.booked, relations.round) = (None, Bounds::default(), 0);
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

    /// This waits in a family.
    pub fn learn(&mut self, look: &Look, Waits(lanes): Waits) -> Freed {
        if !self.is_current(look) {
            return Freed::default();
        }
        if let Some(relations) = self.families.get_mut(&look.family) {
            relations.lanes = Some(lanes);
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
        let bounds = self.bounds_of_one();
        let Some(relations) = self.families.get_mut(&family) else { return Some(Hindrance::Unknown(family)) };
        let Some(lanes) = &relations.lanes else { return Some(Hindrance::Unknown(family)) };
        if self.tiers.station(&record.topic) != Station::Held {
            return None;
        }
        if let Some(lane) = lane
            && lanes.get(&lane).is_some_and(|waiting| !waiting.in_tiers.is_empty())
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

    fn bounds_of_one(&self) -> Bounds {
        let families = self.families.len().max(1);
        Bounds { records: self.bounds.records / families, bytes: self.bounds.bytes / families }
    }

    /// Whether a record that was taken may start.
    pub fn start(&mut self, event: &Event, station: Station, ticket: Ticket) -> Start {
        let Some((family, lane)) = self.lane(event) else { return Start::Now };
        let known = self.families.get(&family).and_then(|relations| relations.lanes.as_ref());
        let waiting = known.map(|lanes| lanes.get(&lane));
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
        if let Some((family, lane)) = self.lane(event)
            && let Some(lanes) = self.families.get_mut(&family).and_then(|relations| relations.lanes.as_mut())
        {
            lanes.entry(lane.map(|key| Bytes::copy_from_slice(&key))).or_default().add(event.offset, station);
        }
    }

    /// A record that waited there does not any more, and what follows from it has its place.
    pub fn end(&mut self, event: &Event, station: Station) -> Freed {
        let mut freed = Freed::default();
        let Some((family, lane)) = self.lane(event) else { return freed };
        let Some(lanes) = self.families.get_mut(&family).and_then(|relations| relations.lanes.as_mut()) else { return freed };
        let Some(waiting) = lanes.get_mut(&lane) else { return freed };
        waiting.remove(event.offset, station);
        let (is_over, is_free) = (waiting.is_over(), waiting.in_tiers.is_empty());
        if is_over {
            lanes.remove(&lane);
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
