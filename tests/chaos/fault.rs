//! What is done to workers and brokers, and when. Pure: a seed gives the same schedule.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{history::Delivery, proxy::Api};

/// When a worker is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the broker has the request.
    Before,
    /// After the broker has answered, and before the worker has the answer.
    ReplyLost,
    /// After the worker has the answer.
    After,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The worker is killed at a request of its.
    Kill(Api, Moment),
    /// The reply is lost with the connection.
    Cut(Api),
    /// A request arrives late, in the next transaction; the connection is cut at once.
    HeldCut(Api),
    /// The same, and the worker dies in that next transaction.
    HeldCutKill(Api),
    /// A request arrives late; the worker waits for it as long as it likes.
    Held(Api),
    /// A worker stands still, beyond the time-outs, from a request of its on.
    PausedAt(Api),
    /// Workers are killed every 0.5 to 20 s.
    RandomKills,
    /// A worker stands still beyond the time-outs of its session and its transaction.
    Paused,
    /// A broker is killed and comes back.
    BrokerKilled,
    /// All brokers are restarted in an orderly way, one after the other.
    RollingRestart,
    /// The broker that coordinates the group is killed.
    GroupCoordinatorKilled,
    /// The broker that coordinates a worker's transactions is killed.
    TransactionCoordinatorKilled,
    /// Nobody reaches one of the brokers.
    Partitioned,
    /// Workers come and go.
    Storm,
    /// The same in a group of KIP-848.
    StormOfConsumers,
    /// Most orders are poison for a while.
    Poison,
    /// A broker has no room left.
    DiskFull,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(api, Moment::Before) => write!(f, "kill-before-{api:?}"),
            Self::Kill(api, Moment::ReplyLost) => write!(f, "kill-reply-lost-{api:?}"),
            Self::Kill(api, Moment::After) => write!(f, "kill-after-{api:?}"),
            Self::Cut(api) => write!(f, "cut-reply-{api:?}"),
            Self::HeldCut(api) => write!(f, "held-cut-{api:?}"),
            Self::HeldCutKill(api) => write!(f, "held-cut-kill-{api:?}"),
            Self::Held(api) => write!(f, "held-{api:?}"),
            Self::PausedAt(api) => write!(f, "paused-at-{api:?}"),
            Self::RandomKills => f.write_str("random-kills"),
            Self::Paused => f.write_str("paused"),
            Self::BrokerKilled => f.write_str("broker-killed"),
            Self::RollingRestart => f.write_str("rolling-restart"),
            Self::GroupCoordinatorKilled => f.write_str("group-coordinator-killed"),
            Self::TransactionCoordinatorKilled => f.write_str("transaction-coordinator-killed"),
            Self::Partitioned => f.write_str("partitioned"),
            Self::Storm => f.write_str("storm"),
            Self::StormOfConsumers => f.write_str("storm-kip848"),
            Self::Poison => f.write_str("poison"),
            Self::DiskFull => f.write_str("disk-full"),
        }
    }
}

/// What this machine and the worker allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// This process may set rules of the firewall.
    pub firewall: bool,
    /// This process may mount a small disk for a broker.
    pub small_disk: bool,
    /// The worker can be a member of a KIP-848 group.
    pub next_generation: bool,
}

impl Means {
    /// What a rig can do at most.
    pub const EVERYTHING: Self = Self { firewall: true, small_disk: true, next_generation: true };
}

impl Fault {
    /// All that can happen to a worker of that delivery.
    #[must_use]
    pub fn all(delivery: Delivery, means: Means) -> Vec<Self> {
        let (requests, held): (&[Api], &[Self]) = match delivery {
            Delivery::AtLeastOnce => (
                &[Api::Produce, Api::OffsetCommit],
                &[Self::HeldCut(Api::Produce), Self::Held(Api::Produce), Self::Held(Api::OffsetCommit), Self::PausedAt(Api::Produce)],
            ),
            Delivery::ExactlyOnce => (
                &[Api::Produce, Api::AddPartitionsToTxn, Api::AddOffsetsToTxn, Api::TxnOffsetCommit, Api::EndTxn],
                &[
                    Self::HeldCut(Api::EndTxn),
                    Self::HeldCutKill(Api::EndTxn),
                    Self::Held(Api::EndTxn),
                    Self::HeldCut(Api::Produce),
                    Self::Held(Api::Produce),
                    Self::Held(Api::TxnOffsetCommit),
                    Self::PausedAt(Api::AddOffsetsToTxn),
                    Self::PausedAt(Api::EndTxn),
                    Self::TransactionCoordinatorKilled,
                ],
            ),
        };
        let moments = [Moment::Before, Moment::ReplyLost, Moment::After];
        let mut all: Vec<Self> = requests.iter().flat_map(|api| moments.map(|moment| Self::Kill(*api, moment))).collect();
        all.extend(requests.iter().map(|api| Self::Cut(*api)));
        all.extend(held);
        all.extend([Self::RandomKills, Self::Paused, Self::BrokerKilled, Self::RollingRestart, Self::GroupCoordinatorKilled]);
        all.extend([Self::Storm, Self::Poison]);
        let optional =
            [(means.firewall, Self::Partitioned), (means.small_disk, Self::DiskFull), (means.next_generation, Self::StormOfConsumers)];
        all.extend(optional.into_iter().filter_map(|(possible, fault)| possible.then_some(fault)));
        all
    }

    /// Those that take long come first in a run.
    fn is_long(self) -> bool {
        matches!(self, Self::Paused | Self::PausedAt(_) | Self::RollingRestart | Self::DiskFull | Self::RandomKills)
    }

    /// Whether a run with the one cannot have the other too: at most one broker is away at a time, and a group has one protocol.
    #[must_use]
    fn excludes(self, other: Self) -> bool {
        let is_storm = |fault| matches!(fault, Self::Storm | Self::StormOfConsumers);
        self.takes_a_broker() && other.takes_a_broker() || is_storm(self) && is_storm(other)
    }

    /// Those that take a broker away, of which there can be one at a time.
    #[must_use]
    pub fn takes_a_broker(self) -> bool {
        matches!(
            self,
            Self::BrokerKilled
                | Self::RollingRestart
                | Self::GroupCoordinatorKilled
                | Self::TransactionCoordinatorKilled
                | Self::Partitioned
                | Self::DiskFull
        )
    }
}

/// A fault and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// From the first order on.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
}

/// Deals faults to runs, so that all of them come up before one comes again.
#[derive(Debug)]
pub struct Deck {
    rng: StdRng,
    all: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    /// Of these faults.
    #[must_use]
    pub fn new(seed: u64, all: Vec<Fault>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), all, left: Vec::new() }
    }

    /// Whether there is no fault to be dealt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The names of all its faults.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(Fault::to_string).collect()
    }

    /// The schedule of one run: a fault for about every eight seconds, and none beside one that it excludes.
    pub fn deal(&mut self, length: Duration) -> Vec<Planned> {
        let count = usize::try_from(length.as_secs() / 8).unwrap_or(1).max(2).min(self.all.len());
        let mut dealt: Vec<Fault> = Vec::with_capacity(count);
        let mut later = Vec::new();
        while dealt.len() < count {
            if self.left.is_empty() {
                let back = dealt.iter().chain(&later);
                let back: Vec<Fault> = back.copied().collect();
                self.left = self.all.iter().copied().filter(|fault| !back.contains(fault)).collect();
                self.left.shuffle(&mut self.rng);
            }
            let Some(fault) = self.left.pop() else { break };
            if dealt.iter().any(|other| fault.excludes(*other)) { later.push(fault) } else { dealt.push(fault) }
        }
        // What had to wait comes first in the next run.
        self.left.extend(later);
        dealt.sort_by_key(|fault| !fault.is_long());
        let step = length.mul_f64(0.7) / u32::try_from(dealt.len().max(1)).unwrap_or(1);
        let at = |place: u32, rng: &mut StdRng| length.mul_f64(0.1) + step * place + step.mul_f64(rng.random_range(0.0..0.5));
        dealt.into_iter().zip(0..).map(|(fault, place)| Planned { at: at(place, &mut self.rng), fault }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn deck(seed: u64) -> Deck {
        Deck::new(seed, Fault::all(Delivery::ExactlyOnce, Means::EVERYTHING))
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let deal = |seed| {
            let mut deck = deck(seed);
            (0..5).map(|_| deck.deal(Duration::from_secs(60))).collect::<Vec<_>>()
        };
        assert_eq!(deal(1), deal(1));
        assert_ne!(deal(1), deal(2));
    }

    #[test]
    fn thirty_runs_see_every_fault_and_none_loses_two_brokers_at_once() {
        for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
            let all = Fault::all(delivery, Means::EVERYTHING);
            let mut deck = Deck::new(9, all.clone());
            let mut times: BTreeMap<Fault, usize> = BTreeMap::new();
            for _ in 0..30 {
                let run = deck.deal(Duration::from_secs(60));
                assert_eq!(run.len(), 7);
                assert!(run.iter().filter(|planned| planned.fault.takes_a_broker()).count() <= 1, "{run:?}");
                assert!(run.iter().filter(|planned| planned.fault.to_string().starts_with("storm")).count() <= 1, "{run:?}");
                assert!(run.iter().all(|planned| planned.at < Duration::from_secs(50)), "{run:?}");
                assert_eq!(run.iter().map(|planned| planned.fault).collect::<BTreeSet<_>>().len(), run.len());
                run.iter().for_each(|planned| *times.entry(planned.fault).or_default() += 1);
            }
            assert!(all.iter().all(|fault| times.contains_key(fault)), "{times:?}");
        }
    }

    #[test]
    fn what_is_not_possible_is_not_planned() {
        let none = Means { firewall: false, small_disk: false, next_generation: false };
        let all = Fault::all(Delivery::AtLeastOnce, none);
        assert!(![Fault::Partitioned, Fault::DiskFull, Fault::StormOfConsumers].iter().any(|fault| all.contains(fault)));
        assert!(!all.iter().any(|fault| matches!(fault, Fault::Kill(Api::EndTxn, _))));
    }

    #[test]
    fn names_are_distinct() {
        let all = Fault::all(Delivery::ExactlyOnce, Means::EVERYTHING);
        let names: BTreeSet<String> = all.iter().map(Fault::to_string).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn one_kind_alone_is_dealt_again_and_again() {
        let mut deck = Deck::new(1, vec![Fault::Poison]);
        for _ in 0..3 {
            assert_eq!(deck.deal(Duration::from_secs(60)).len(), 1);
        }
    }
}
