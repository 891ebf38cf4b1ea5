//! Partitions that stand still, because their next record is not due, or waits behind another.
//!
//! Nothing of such a partition is kept: it is paused, and read again from that record on once it can be taken.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use penstock_kafka::{ConsumedRecord, TopicPartition};

use super::{Engine, Parts, Wake};
use crate::{
    processor::Event,
    stream::{
        holds::{Freed, Hindrance, Look, Start, Waits},
        outbox::Outbox,
        parked::Spot,
        ticket::Ticket,
        tiers::Station,
        unread::{Unread, unread},
        world::{Member, World},
    },
};

/// A partition stands still at least that long for time: what becomes due shortly after is taken together.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// The pause before another attempt to go back to a record, or to see what waits.
const AGAIN: Duration = Duration::from_secs(1);

impl<W: World, O: Outbox> Engine<W, O> {
    /// Whether a record cannot be taken now. Then its partition stands still.
    pub(super) fn stands_still(&mut self, record: &ConsumedRecord) -> bool {
        if self.parked.is_parked(record) {
            return true;
        }
        let early = self.parts.addresses.tiers.due(record).and_then(|due| {
            let left = Duration::try_from(due.duration_since(self.parts.world.now())).unwrap_or_default();
            (!left.is_zero()).then_some(left.max(SHORTEST_WAIT))
        });
        // What is not due cannot be taken, whatever else hinders it.
        let hindrance = if early.is_some() { None } else { self.holds.hindrance(record) };
        if early.is_none() && hindrance.is_none() {
            return false;
        }
        let Some(assignment) = self.parts.books.current(&record.topic, record.partition) else { return true };
        if let Some(Hindrance::Full(_)) = &hindrance {
            let (topic, partition) = (&record.topic, record.partition);
            tracing::warn!(%topic, partition, "so many records wait for retries that no more are taken until half of them have ended");
        }
        let (spot, over) = self.parked.park(record, assignment, hindrance);
        let member = Arc::clone(&self.parts.member);
        let waited = async move {
            if let Err(error) = member.pause(&spot.partition).await {
                tracing::debug!(%error, partition = %spot.partition, "a partition that waits was not paused");
            }
            match early {
                Some(left) => tokio::time::sleep(left).await,
                None => over.cancelled().await,
            }
            Wake::Due(spot)
        };
        self.pauses.push(waited.boxed());
        true
    }

    /// Goes back to the record that a partition waited for.
    pub(super) fn due(&mut self, spot: Spot) {
        if !self.parked.holds(&spot) {
            return;
        }
        let member = Arc::clone(&self.parts.member);
        let sought = async move {
            match member.seek(&spot.partition, spot.offset).await {
                Ok(()) => Wake::Sought(spot),
                Err(error) => {
                    tracing::debug!(%error, partition = %spot.partition, "a partition that waited was not taken up; trying again");
                    tokio::time::sleep(AGAIN).await;
                    Wake::Due(spot)
                }
            }
        };
        self.pauses.push(sought.boxed());
    }

    /// What was read before is dropped by now: from here on the records of the partition count again.
    pub(super) fn sought(&mut self, spot: Spot) {
        if !self.parked.release(&spot) {
            return;
        }
        self.batch.forget(std::slice::from_ref(&spot.partition));
        let member = Arc::clone(&self.parts.member);
        let resumed = async move {
            if let Err(error) = member.resume(&spot.partition).await {
                tracing::debug!(%error, partition = %spot.partition, "a partition that waited is gone");
            }
            Wake::Resumed
        };
        self.pauses.push(resumed.boxed());
    }

    /// Partitions are about to begin: what waits in their families is to be seen first.
    pub(super) fn see_families(&mut self, partitions: &[TopicPartition]) {
        let looks = self.holds.assign(partitions);
        self.see(looks);
    }

    fn see(&self, looks: Vec<Look>) {
        if looks.is_empty() {
            return;
        }
        let Parts { world, books, addresses, ordering, .. } = &self.parts;
        // Nothing of a family is read before it is known what waits there, so the reader is where it begins, or where it was when
        // another part of the family went and came back.
        let beside: Vec<_> = looks
            .iter()
            .flat_map(|Look { family, .. }| {
                addresses.tiers.beside(&family.source).map(|topic| TopicPartition::new(topic, family.partition))
            })
            .collect();
        let mut known = Unread::new();
        let sources = looks.iter().map(|Look { family, .. }| TopicPartition::new(&*family.source, family.partition));
        for partition in sources.chain(beside.iter().cloned()) {
            for (event, station) in books.leaving(&partition) {
                Waits::add(*ordering, &addresses.tiers, &mut known, event, station);
            }
        }
        let left = beside.into_iter().filter_map(|partition| books.left_in(&partition).map(|left| (partition, left))).collect();
        let (world, ordering, tiers) = (world.clone(), *ordering, Arc::clone(&addresses.tiers));
        let seen = async move {
            let seen = unread(&world, ordering, &tiers, left, known).await;
            if seen.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            Wake::Seen(looks, seen)
        };
        self.pauses.push(seen.boxed());
    }

    /// From here on it is known what waits in these families.
    pub(super) fn seen(&mut self, mut looks: Vec<Look>, seen: Result<Unread, penstock_kafka::Error>) {
        let mut unread = match seen {
            Ok(unread) => unread,
            Err(error) => {
                looks.retain(|look| self.holds.is_current(look));
                tracing::warn!(%error, "cannot read what waits in retry topics; trying again");
                return self.see(looks);
            }
        };
        for look in looks {
            let freed = self.holds.learn(&look, unread.remove(&look.family).unwrap_or_default());
            self.free(freed);
        }
    }

    /// Whether a record that was taken may start, as far as those before it are concerned.
    pub(super) fn may_start(&mut self, ticket: Ticket) -> Start {
        if !self.parts.addresses.tiers.hold_back() {
            return Start::Now;
        }
        let Some(event) = self.parts.books.event(ticket) else { return Start::Now };
        let station = self.parts.books.station(ticket);
        self.holds.start(event, station, ticket)
    }

    /// Lets go on what waited for records that are settled.
    pub(super) fn let_go_on(&mut self) {
        for waited in self.parts.books.take_ended() {
            let freed = self.holds.settle(&waited);
            self.free(freed);
        }
    }

    /// A record was to wait there, and does not.
    pub(super) fn does_not_wait(&mut self, event: &Event, station: Station) {
        let freed = self.holds.end(event, station);
        self.free(freed);
    }

    fn free(&mut self, Freed { start, hindrances }: Freed) {
        start.into_iter().for_each(|ticket| self.parts.books.put_off(ticket));
        hindrances.iter().for_each(|hindrance| self.parked.free(hindrance));
    }
}
