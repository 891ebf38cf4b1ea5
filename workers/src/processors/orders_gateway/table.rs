//! What is known of every order, put together from facts that arrive in any order. Pure: no I/O, no clock.
//!
//! Merging is commutative, associative and idempotent: whatever the order in which facts come, and however often, the answer
//! is the same, so all replicas agree. Rules: a payment outweighs a failure (a redriven order may be paid after all), a failure
//! outweighs nothing; of several facts of a kind the earliest counts. Each fact remembers its topic, so that a topic that was
//! deleted can be forgotten. An order takes the text of its event and some 200 bytes, for as long as the process lives.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use uuid::Uuid;

/// Something that a record says about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It was placed.
    Placed(Placed),
    /// It was paid.
    Paid(Paid),
    /// It lies in a dead letter topic.
    Failed(Failed),
}

/// An order was placed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// Whether this is the copy that a dead letter holds. The original counts if there is one.
    pub copy: bool,
    /// When.
    pub at: Timestamp,
    /// The JSON object `data` of its event.
    pub data: Arc<str>,
}

/// An order was paid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Paid {
    /// When.
    pub at: Timestamp,
    /// The payment.
    pub payment_id: Box<str>,
}

/// An order could not be handled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failed {
    /// When.
    pub at: Timestamp,
}

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing has been heard of it yet.
    Pending,
    /// It is paid.
    Completed(Paid),
    /// It lies in the dead letter topic.
    Failed(Failed),
}

/// All that is known of an order that was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// How it was placed.
    pub placed: Placed,
    /// How far it is.
    pub status: Status,
}

impl Known {
    /// When the fact happened that decided its status.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        match &self.status {
            Status::Pending => self.placed.at,
            Status::Completed(paid) => paid.at,
            Status::Failed(failed) => failed.at,
        }
    }
}

/// Every order, by its id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OrderTable {
    orders: HashMap<Uuid, Entry>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    placed: Earliest<Placed>,
    paid: Earliest<Paid>,
    failed: Earliest<Failed>,
}

/// The earliest fact of a kind per topic, in the order of the topics' names.
#[derive(Debug, PartialEq, Eq)]
struct Earliest<T>(Vec<(Arc<str>, T)>);

impl OrderTable {
    /// Takes in what a record of that topic says about an order.
    pub fn apply(&mut self, order_id: Uuid, topic: &Arc<str>, fact: Fact) {
        let entry = self.orders.entry(order_id).or_default();
        match fact {
            Fact::Placed(placed) => entry.placed.merge(topic, placed),
            Fact::Paid(paid) => entry.paid.merge(topic, paid),
            Fact::Failed(failed) => entry.failed.merge(topic, failed),
        }
    }

    /// An order; none before it was seen to be placed, even if its payment was.
    #[must_use]
    pub fn get(&self, order_id: &Uuid) -> Option<Known> {
        let entry = self.orders.get(order_id)?;
        let placed = entry.placed.get()?.clone();
        let status = match (entry.paid.get(), entry.failed.get()) {
            (Some(paid), _) => Status::Completed(paid.clone()),
            (None, Some(failed)) => Status::Failed(failed.clone()),
            (None, None) => Status::Pending,
        };
        Some(Known { placed, status })
    }

    /// Forgets what records of that topic said.
    pub fn forget(&mut self, topic: &str) {
        self.orders.retain(|_, entry| {
            entry.placed.forget(topic);
            entry.paid.forget(topic);
            entry.failed.forget(topic);
            *entry != Entry::default()
        });
    }

    /// How many orders something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orders.len()
    }
}

impl<T> Default for Earliest<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Earliest<T> {
    fn merge(&mut self, topic: &Arc<str>, fact: T) {
        match self.0.binary_search_by(|(t, _)| t.cmp(topic)) {
            Ok(found) => {
                if let Some((_, known)) = self.0.get_mut(found)
                    && fact < *known
                {
                    *known = fact;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (Arc::clone(topic), fact));
            }
        }
    }

    fn get(&self) -> Option<&T> {
        self.0.iter().map(|(_, fact)| fact).min()
    }

    fn forget(&mut self, topic: &str) {
        self.0.retain(|(t, _)| **t != *topic);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn placed(copy: bool, second: i64) -> Fact {
        Fact::Placed(Placed { copy, at: at(second), data: format!("{{\"n\":{second}}}").into() })
    }

    fn paid(second: i64, payment: &str) -> Fact {
        Fact::Paid(Paid { at: at(second), payment_id: payment.into() })
    }

    fn failed(second: i64) -> Fact {
        Fact::Failed(Failed { at: at(second) })
    }

    fn table_of(facts: &[(Uuid, &str, Fact)]) -> OrderTable {
        let mut table = OrderTable::default();
        for (id, topic, fact) in facts {
            table.apply(*id, &Arc::from(*topic), fact.clone());
        }
        table
    }

    #[test]
    fn rules_of_the_merge() {
        for (facts, status, created, updated) in [
            (vec![placed(false, 1)], "pending", 1, 1),
            (vec![placed(false, 1), paid(2, "p")], "completed", 1, 2),
            (vec![placed(false, 1), failed(3)], "failed", 1, 3),
            (vec![placed(true, 1), failed(3)], "failed", 1, 3),
            (vec![placed(false, 1), failed(3), paid(5, "p")], "completed", 1, 5),
            (vec![placed(false, 1), paid(5, "p"), failed(6)], "completed", 1, 5),
            (vec![placed(false, 4), placed(false, 2), paid(6, "p"), paid(5, "p")], "completed", 2, 5),
            (vec![placed(true, 1), placed(false, 2)], "pending", 2, 2),
        ] {
            for facts in [facts.clone(), facts.into_iter().rev().collect()] {
                let facts: Vec<_> = facts.into_iter().map(|fact| (ID, "t", fact)).collect();
                let known = table_of(&facts).get(&ID).unwrap();
                let name = match known.status {
                    Status::Pending => "pending",
                    Status::Completed(_) => "completed",
                    Status::Failed(_) => "failed",
                };
                assert_eq!((name, known.placed.at, known.updated_at()), (status, at(created), at(updated)), "{facts:?}");
            }
        }
    }

    #[test]
    fn an_order_that_was_not_placed_is_unknown() {
        assert_eq!(table_of(&[]).get(&ID), None);
        assert_eq!(table_of(&[(ID, "payments", paid(1, "p")), (ID, "dlt", failed(1))]).get(&ID), None);
    }

    #[test]
    fn a_forgotten_topic_leaves_nothing_behind() {
        let mut table = table_of(&[(ID, "orders", placed(false, 1)), (ID, "dlt", placed(true, 1)), (ID, "payments", paid(2, "p"))]);
        table.forget("payments");
        assert_eq!(table.get(&ID).unwrap().status, Status::Pending);
        table.forget("orders");
        assert!(table.get(&ID).unwrap().placed.copy, "the dead letter's copy is still there");
        table.forget("dlt");
        assert_eq!(table.len(), 0);
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        let second = 0_i64..5;
        prop_oneof![
            (any::<bool>(), second.clone()).prop_map(|(copy, s)| placed(copy, s)),
            (second.clone(), select(vec!["p", "q"])).prop_map(|(s, payment)| paid(s, payment)),
            second.prop_map(failed),
        ]
    }

    fn any_facts() -> impl Strategy<Value = Vec<(Uuid, &'static str, Fact)>> {
        prop::collection::vec(((0_u128..3).prop_map(Uuid::from_u128), select(vec!["orders", "payments", "dlt"]), any_fact()), 0..20)
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_and_any_repetition_gives_the_same_table(
            (facts, shuffled, again) in any_facts().prop_flat_map(|facts| {
                let again = prop::sample::subsequence(facts.clone(), 0..=facts.len());
                (Just(facts.clone()), Just(facts).prop_shuffle(), again)
            })
        ) {
            let mut repeated = shuffled;
            repeated.extend(again);
            prop_assert_eq!(table_of(&facts), table_of(&repeated));
        }

        #[test]
        fn forgetting_a_topic_is_never_having_read_it(facts in any_facts()) {
            let mut table = table_of(&facts);
            table.forget("dlt");
            let rest: Vec<_> = facts.into_iter().filter(|(_, topic, _)| *topic != "dlt").collect();
            prop_assert_eq!(table, table_of(&rest));
        }
    }
}
