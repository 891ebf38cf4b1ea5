//! Every record that was taken and is not settled, and what each of them waits for. Pure.
//!
//! An assignment of a partition has a number of its own: what belongs to an earlier assignment can neither emit, nor
//! commit, nor hold up what belongs to a later one. In a lane one record is in process at a time.

mod assignments;
mod offsets;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use penstock_crds::worker::Ordering;
use penstock_kafka::ConsumedRecord;

use super::{
    bounds::{Bounds, Tally},
    lanes::Lanes,
    partition::{Partition, Settled, Slot, Stage},
    precedence::{Consequence, Precedence},
    shells::Shells,
    ticket::{Assignment, Ticket, Token},
    tiers::{Incoming, Station, Tiers},
    verdict::{Letter, Verdict},
};
use crate::processor::Event;

pub(crate) use offsets::{Left, Position};

/// A record that waited beside its source topic, and is settled.
#[derive(Debug)]
pub(crate) struct Waited {
    pub event: Arc<Event>,
    pub station: Station,
    pub bytes: usize,
}

/// When what follows from a record may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emission {
    /// As soon as it is decided. The record is settled once Kafka has acknowledged all of it.
    AtOnce,
    /// Once that of every earlier record of the partition was, so that an offset stands for all before it. The record is
    /// settled then: the transaction answers for it.
    InOrder,
}

/// So many times what may be in memory unsettled, what is settled may be known behind records that are not.
const KNOWN: usize = 4;

/// What a record waits behind: the whole partition, or a key in it.
type Lane = (Assignment, Option<Bytes>);

/// The books.
#[derive(Debug)]
pub(crate) struct Books {
    ordering: Ordering,
    emission: Emission,
    bounds: Bounds,
    index: HashMap<(Arc<str>, i32), Assignment>,
    /// The partition of the record taken last: the next one is mostly of the same.
    latest: Option<(Arc<str>, i32, Assignment)>,
    partitions: BTreeMap<Assignment, Partition>,
    lanes: Lanes<Lane, Ticket>,
    /// Where what is emitted at once may wait beside a source topic.
    precedence: Option<Precedence<Lane, (Ticket, Verdict)>>,
    startable: VecDeque<Ticket>,
    emittable: VecDeque<(Ticket, Verdict)>,
    /// Settled records that waited beside their source topics.
    ended: Vec<Waited>,
    shells: Shells,
    last_assignment: Assignment,
    has_progressed: bool,
    taken: Tally,
    held: Tally,
}

impl Books {
    pub fn new(ordering: Ordering, emission: Emission, bounds: Bounds) -> Self {
        Self {
            ordering,
            emission,
            bounds,
            index: HashMap::new(),
            latest: None,
            partitions: BTreeMap::new(),
            lanes: Lanes::default(),
            precedence: None,
            startable: VecDeque::new(),
            emittable: VecDeque::new(),
            ended: Vec::new(),
            shells: Shells::default(),
            last_assignment: 0,
            has_progressed: false,
            taken: Tally::default(),
            held: Tally::default(),
        }
    }

    /// Those of a pipeline whose records may be held back behind others.
    pub fn holding_back(self) -> Self {
        let precedence = (self.emission == Emission::AtOnce).then(Precedence::default);
        Self { precedence, ..self }
    }

    /// Whether one more record may be taken.
    pub fn has_room(&self) -> bool {
        self.taken.records < self.bounds.records
            && self.taken.bytes + self.taken.decided < self.bounds.bytes
            && self.partitions.values().map(Partition::known).sum::<usize>() < self.bounds.records.saturating_mul(KNOWN)
    }

    /// Whether the record may start, as far as memory for what follows goes. The first of a partition always may: the others
    /// are not written before it.
    pub fn may_start(&self, ticket: Ticket) -> bool {
        self.taken.decided + self.held.decided < self.bounds.bytes
            || self.partitions.get(&ticket.assignment).is_none_or(|partition| partition.is_first(ticket.number))
    }

    /// How many records are in memory.
    pub fn records(&self) -> usize {
        self.taken.records + self.held.records
    }

    fn tally(&mut self, station: Station) -> &mut Tally {
        if station == Station::Held { &mut self.held } else { &mut self.taken }
    }

    /// Books a record. It may start now, or be put off, if its ticket is given back; otherwise it waits in its lane. One of
    /// a partition that is not assigned is dropped: whoever has the partition reads it again.
    pub fn take(&mut self, record: ConsumedRecord, tiers: &Tiers) -> Option<Ticket> {
        let assignment = self.assignment(&record.topic, record.partition)?;
        let (offset, timestamp_ms, bytes) = (record.offset, record.timestamp_ms, record.size());
        let Incoming { event, station } = tiers.read(record);
        let lane = self.busy_lane(assignment, &event);
        let partition = self.partitions.get_mut(&assignment)?;
        let number = partition.push(Slot {
            offset,
            timestamp_ms,
            bytes,
            decided: 0,
            station,
            waits: None,
            precedes: false,
            event: Some(self.shells.fill(event)),
            stage: Stage::Waiting,
        });
        self.tally(station).add(bytes);
        let ticket = Ticket { assignment, number };
        let Some(lane) = lane else { return Some(ticket) };
        self.lanes.push(lane, ticket);
        None
    }

    fn assignment(&mut self, topic: &Arc<str>, partition: i32) -> Option<Assignment> {
        if let Some((latest, number, assignment)) = &self.latest
            && *number == partition
            && Arc::ptr_eq(latest, topic)
        {
            return Some(*assignment);
        }
        let assignment = *self.index.get(&(Arc::clone(topic), partition))?;
        self.latest = Some((Arc::clone(topic), partition, assignment));
        Some(assignment)
    }

    fn lane(&self, assignment: Assignment, event: &Event) -> Option<Lane> {
        match self.ordering {
            Ordering::Key => event.key.clone().map(|key| (assignment, Some(key))),
            Ordering::Partition => Some((assignment, None)),
            Ordering::None => None,
        }
    }

    /// The record's lane, if another is under way in it. Where no lane is busy, nothing is looked up.
    fn busy_lane(&self, assignment: Assignment, event: &Event) -> Option<Lane> {
        if self.lanes.is_empty() { None } else { self.lane(assignment, event).filter(|lane| self.lanes.is_busy(lane)) }
    }

    fn lane_of(&self, ticket: Ticket) -> Option<Lane> {
        self.lane(ticket.assignment, self.event(ticket)?)
    }

    /// The record waits for a place in process. Nothing of its lane passes it.
    pub fn put_off(&mut self, ticket: Ticket) {
        self.hold_lane(ticket);
        self.startable.push_back(ticket);
    }

    /// Nothing of the record's lane starts before it is decided: for one that is not decided at once.
    pub fn hold_lane(&mut self, ticket: Ticket) {
        if let Some(lane) = self.lane_of(ticket)
            && !self.lanes.is_busy(&lane)
        {
            self.lanes.push(lane, ticket);
        }
    }

    /// The next record that waits only for a place in process.
    pub fn next_startable(&mut self) -> Option<Ticket> {
        let next = self.startable.iter().position(|ticket| self.may_start(*ticket))?;
        self.startable.remove(next)
    }

    /// The record comes next again, of those that wait only for a place in process.
    pub fn put_first(&mut self, ticket: Ticket) {
        self.startable.push_front(ticket);
    }

    /// The processor gets the record. None: it must not any more, because its partition goes away.
    pub fn begin(&mut self, ticket: Ticket) -> Option<Arc<Event>> {
        let partition = self.partitions.get_mut(&ticket.assignment).filter(|partition| !partition.closing)?;
        let slot = partition.slot_mut(ticket.number)?;
        slot.stage = Stage::Running;
        let event = slot.event.clone();
        partition.busy += 1;
        event
    }

    /// The record pauses before another attempt, with the attempt counted up. False: it need not come back.
    pub fn pause(&mut self, ticket: Ticket) -> bool {
        self.hold_lane(ticket);
        let Some(partition) = self.partitions.get_mut(&ticket.assignment) else { return false };
        let Some(slot) = partition.slot_mut(ticket.number) else { return false };
        slot.stage = Stage::Pausing;
        if let Some(event) = &mut slot.event {
            let event = Arc::make_mut(event);
            event.attempt = event.attempt.saturating_add(1);
        }
        partition.busy -= 1;
        !partition.closing
    }

    /// The processor has not begun with the record, and does not any more, because its partition goes away.
    pub fn give_back(&mut self, ticket: Ticket) {
        let Some(partition) = self.partitions.get_mut(&ticket.assignment) else { return };
        let Some(slot) = partition.slot_mut(ticket.number) else { return };
        slot.stage = Stage::Waiting;
        partition.busy -= 1;
    }

    /// It is decided what follows from a record.
    pub fn decide(&mut self, ticket: Ticket, verdict: Verdict) {
        self.release_lane(ticket);
        let Some(partition) = self.partitions.get_mut(&ticket.assignment) else { return };
        let Some(slot) = partition.slot_mut(ticket.number) else { return };
        if let Verdict::Wait { at, .. } = &verdict {
            slot.waits = Some(*at);
        }
        let (station, decided) = (slot.station, verdict.size());
        slot.decided = decided;
        match self.emission {
            Emission::AtOnce => {
                slot.stage = Stage::Emitting;
                let now = self.in_turn(ticket, verdict);
                self.emittable.extend(now);
            }
            Emission::InOrder => {
                slot.stage = Stage::Decided(verdict);
                partition.busy -= 1;
                if partition.is_first(ticket.number) {
                    self.advance(ticket.assignment);
                }
            }
        }
        self.tally(station).decided += decided;
    }

    /// The verdict, if it may be written now; else it is once what comes before it is settled.
    fn in_turn(&mut self, ticket: Ticket, verdict: Verdict) -> Option<(Ticket, Verdict)> {
        let Some(lane) = self.lane_of_preceding(ticket) else { return Some((ticket, verdict)) };
        let consequence = verdict.consequence();
        let now = self.precedence.as_mut()?.decide(lane, consequence, (ticket, verdict));
        if let Some(slot) = self.slot_mut(ticket) {
            slot.precedes = now.is_some() || consequence == Consequence::Retried;
        }
        now
    }

    /// The lane in which it matters what is settled before what.
    fn lane_of_preceding(&self, ticket: Ticket) -> Option<Lane> {
        self.precedence.as_ref().and_then(|_| self.lane_of(ticket))
    }

    /// In order: the head of the partition may be written if it is decided.
    fn advance(&mut self, assignment: Assignment) {
        let Some(partition) = self.partitions.get_mut(&assignment) else { return };
        let Some((number, slot)) = partition.head() else { return };
        if let Stage::Decided(_) = slot.stage
            && let Stage::Decided(verdict) = std::mem::replace(&mut slot.stage, Stage::Emitting)
        {
            partition.busy += 1;
            self.emittable.push_back((Ticket { assignment, number }, verdict));
        }
    }

    fn release_lane(&mut self, ticket: Ticket) {
        if self.lanes.is_empty() {
            return;
        }
        if let Some(next) = self.lane_of(ticket).and_then(|lane| self.lanes.release(&lane)) {
            // Its lane is its own from now on.
            self.startable.push_back(next);
        }
    }

    /// What is to be written next, of a partition that is still with this worker.
    pub fn next_emittable(&mut self) -> Option<(Ticket, Verdict)> {
        loop {
            let (ticket, verdict) = self.emittable.pop_front()?;
            if self.partitions.contains_key(&ticket.assignment) {
                return Some((ticket, verdict));
            }
        }
    }

    /// It cannot be written yet: it stays the next.
    pub fn put_back(&mut self, ticket: Ticket, verdict: Verdict) {
        self.emittable.push_front((ticket, verdict));
    }

    /// What follows from the record was handed to the client, as that many records.
    pub fn emitted(&mut self, ticket: Ticket, records: u32, letter: Option<Box<Letter>>) {
        if self.emission == Emission::AtOnce && records > 0 {
            if let Some(slot) = self.slot_mut(ticket) {
                slot.stage = Stage::Unacknowledged { left: records, letter };
            }
            return;
        }
        self.settle(ticket);
        if self.emission == Emission::InOrder {
            self.advance(ticket.assignment);
        }
    }

    /// Kafka has acknowledged an output, or the dead letter. True if that was the last of the record.
    pub fn acknowledged(&mut self, token: Token) -> bool {
        let Some(left) = self.unacknowledged(token.ticket, token.is_letter).map(|(left, _)| left) else { return false };
        *left -= 1;
        let is_last = *left == 0;
        if is_last {
            self.settle(token.ticket);
        }
        is_last
    }

    /// The dead letter whose acknowledgement is awaited.
    pub fn letter(&mut self, ticket: Ticket) -> Option<Letter> {
        self.unacknowledged(ticket, true).and_then(|(_, letter)| letter.cloned())
    }

    /// Whether the answer to what this token stands for is awaited. Once one output was refused, those to the others say
    /// nothing any more.
    pub fn is_awaited(&mut self, token: Token) -> bool {
        self.unacknowledged(token.ticket, token.is_letter).is_some()
    }

    fn unacknowledged(&mut self, ticket: Ticket, is_letter: bool) -> Option<(&mut u32, Option<&Letter>)> {
        match &mut self.slot_mut(ticket)?.stage {
            Stage::Unacknowledged { left, letter } if letter.is_some() == is_letter => Some((left, letter.as_deref())),
            _ => None,
        }
    }

    /// What follows from the record was refused: this letter is written instead, or again. Gives back where the record was to
    /// wait, and does not.
    pub fn bury(&mut self, ticket: Ticket, letter: Letter) -> Option<Station> {
        let lane = self.lane_of_preceding(ticket);
        let slot = self.slot_mut(ticket)?;
        slot.stage = Stage::Emitting;
        let waits = slot.waits.take();
        let preceded = std::mem::replace(&mut slot.precedes, lane.is_some());
        if let (Some(lane), Some(precedence), false) = (lane, &mut self.precedence, preceded) {
            precedence.precede(lane);
        }
        self.emittable.push_back((ticket, Verdict::Bury(Box::new(letter))));
        waits
    }

    /// A letter that cannot be written now waits, and holds up no revocation and no other record meanwhile.
    pub fn rest(&mut self, ticket: Ticket) {
        let lane = self.lane_of_preceding(ticket);
        if let Some(partition) = self.partitions.get_mut(&ticket.assignment) {
            partition.busy -= 1;
        }
        if let (Some(lane), Some(slot)) = (lane, self.slot_mut(ticket))
            && std::mem::take(&mut slot.precedes)
            && let Some(precedence) = &mut self.precedence
        {
            self.emittable.extend(precedence.settle(&lane));
        }
    }

    /// The letter is tried again. False: its partition goes away.
    pub fn wake(&mut self, ticket: Ticket, letter: Letter) -> bool {
        let Some(partition) = self.partitions.get_mut(&ticket.assignment).filter(|partition| !partition.closing) else { return false };
        partition.busy += 1;
        self.bury(ticket, letter);
        true
    }

    fn settle(&mut self, ticket: Ticket) {
        let Some(partition) = self.partitions.get_mut(&ticket.assignment) else { return };
        let Some(Settled { precedes, event, station, bytes, decided }) = partition.settle(ticket.number) else { return };
        partition.busy -= 1;
        if precedes
            && let Some(lane) = event.as_ref().and_then(|event| self.lane(ticket.assignment, event))
            && let Some(precedence) = &mut self.precedence
        {
            self.emittable.extend(precedence.settle(&lane));
        }
        self.tally(station).remove(bytes, decided);
        match event {
            Some(event) if station == Station::Source => self.shells.keep(event),
            Some(event) => self.ended.push(Waited { event, station, bytes }),
            None => {}
        }
    }

    /// The records that waited beside their source topics and were settled since this was asked last.
    pub fn take_ended(&mut self) -> Vec<Waited> {
        std::mem::take(&mut self.ended)
    }

    fn slot(&self, ticket: Ticket) -> Option<&Slot> {
        self.partitions.get(&ticket.assignment)?.slot(ticket.number)
    }

    fn slot_mut(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        self.partitions.get_mut(&ticket.assignment)?.slot_mut(ticket.number)
    }

    /// Where the record was read.
    pub fn station(&self, ticket: Ticket) -> Station {
        self.slot(ticket).map_or(Station::Source, |slot| slot.station)
    }

    /// The record itself, until it is settled.
    pub fn event(&self, ticket: Ticket) -> Option<&Arc<Event>> {
        self.slot(ticket)?.event.as_ref()
    }
}

#[cfg(test)]
mod tests;
