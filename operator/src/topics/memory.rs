//! What is known of objects beside what their statuses tell, by their uids. It is forgotten with the object, and with the operator.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock_kafka::TopicId;
use tokio::time::Instant;

use super::{
    notice::{self, Cause},
    plan::{Plan, TopicAction},
    reassignment::Throttled,
};

/// By how much the apiserver's clock and ours may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What is known of objects.
#[derive(Debug)]
pub struct Memory {
    /// Since when something is.
    since: Timestamp,
    /// Since when every attempt to let the object go has failed.
    pub failing: ByUid<Instant>,
    /// Objects for which a topic was asked to be made, until their status tells of it.
    pub creating: ByUid<()>,
    /// The topic that was made for the object, until its status tells so.
    pub made: ByUid<TopicId>,
    /// What was asked for last without an answer.
    pub unanswered: ByUid<Asked>,
    /// Which objects have let go of the throttle of their Kafka cluster.
    pub throttled: Throttled,
    /// The younger objects for the topic of this one that it was told of.
    rivals: ByUid<BTreeSet<String>>,
}

impl Memory {
    /// Nothing is known.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self {
            since,
            failing: ByUid::default(),
            creating: ByUid::default(),
            made: ByUid::default(),
            unanswered: ByUid::default(),
            throttled: Throttled::default(),
            rivals: ByUid::default(),
        }
    }

    /// Whether a topic may have been made for an object whose status tells of none: by an operator before this one, or by this one.
    #[must_use]
    pub fn may_have_made(&self, meta: &ObjectMeta) -> bool {
        let uid = meta.uid.as_deref().unwrap_or_default();
        let is_older = meta.creation_timestamp.as_ref().is_none_or(|created| created.0 < self.since + SKEW);
        is_older || self.creating.get(uid).is_some()
    }

    /// Forgets an object that is gone. Gives the topic that was made for it, if its status never told so.
    pub fn forget(&self, uid: &str) -> Option<TopicId> {
        self.failing.forget(uid);
        self.throttled.forget(uid);
        self.unanswered.forget(uid);
        self.creating.forget(uid);
        self.rivals.forget(uid);
        self.made.take(uid)
    }

    /// Notes the younger objects for the topic of this one. Whether it was not told of all of them.
    pub fn note_rivals(&self, uid: &str, rivals: &BTreeSet<String>) -> bool {
        let is_news = !rivals.is_subset(&self.rivals.get(uid).unwrap_or_default());
        if rivals.is_empty() {
            self.rivals.forget(uid);
        } else {
            self.rivals.note(uid, rivals.clone());
        }
        is_news
    }
}

/// What was asked for without an answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The generation of the object that asked for it.
    pub generation: Option<i64>,
    /// What it was.
    pub action: TopicAction,
    /// Why.
    pub cause: Cause,
}

/// What a plan says of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upshot {
    /// It is to be done still.
    Open,
    /// It has come to be.
    Done,
    /// That cannot be known.
    Unknown,
}

impl Asked {
    /// What has become of it, by what is planned of a topic that is there. Who has made a topic is not known, nor what has begun to move
    /// and may be where it was to go.
    #[must_use]
    pub fn upshot(&self, generation: Option<i64>, plan: &Plan) -> Upshot {
        let shows = matches!(self.action, TopicAction::AddPartitions { .. } | TopicAction::SetConfig { .. });
        if !shows || generation != self.generation || plan.refusal.is_some() || plan.is_of_another_topic() {
            return Upshot::Unknown;
        }
        let is_planned = plan.actions.iter().any(|planned| notice::verb(planned) == notice::verb(&self.action));
        if is_planned { Upshot::Open } else { Upshot::Done }
    }
}

/// One thing that is known of objects.
#[derive(Debug)]
pub struct ByUid<T>(Mutex<HashMap<String, T>>);

impl<T> Default for ByUid<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> ByUid<T> {
    /// What is known.
    pub fn get(&self, uid: &str) -> Option<T> {
        self.lock().get(uid).cloned()
    }

    /// This is known from now on.
    pub fn note(&self, uid: &str, value: T) {
        self.lock().insert(uid.to_owned(), value);
    }

    /// What is known; where nothing is, this from now on.
    pub fn get_or_note(&self, uid: &str, first: T) -> T {
        self.lock().entry(uid.to_owned()).or_insert(first).clone()
    }

    /// What is known, and is not any more.
    pub fn take(&self, uid: &str) -> Option<T> {
        self.lock().remove(uid)
    }

    /// Nothing is known any more.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use penstock_crds::condition::Reason;
    use penstock_kafka::{ConfigDelta, NewTopic};

    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn an_owner_is_told_once_of_each_rival() {
        let memory = Memory::new(Timestamp::UNIX_EPOCH);
        for (rivals, is_news) in [
            (&[][..], false),
            (&["a"], true),
            (&["a"], false),
            (&["a", "b"], true),
            (&["b"], false),
            (&["a"], true),
            (&[], false),
            (&["a"], true),
        ] {
            let names = rivals.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(memory.note_rivals("owner", &names), is_news, "{rivals:?}");
        }
        memory.forget("owner");
        assert!(memory.note_rivals("owner", &["a".to_owned()].into()), "another object is told anew");
    }

    #[test]
    fn nothing_was_made_for_an_object_that_this_operator_has_done_nothing_for() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let memory = Memory::new(at(1_000));
        memory.creating.note("asked", ());
        for (uid, created, may) in [("a", Some(1_060), false), ("a", Some(1_059), true), ("a", None, true), ("asked", Some(2_000), true)] {
            let creation_timestamp = created.map(|created| Time(at(created)));
            let meta = ObjectMeta { uid: Some(uid.to_owned()), creation_timestamp, ..ObjectMeta::default() };
            assert_eq!(memory.may_have_made(&meta), may, "{uid} {created:?}");
        }
    }

    #[test]
    fn what_is_not_planned_any_more_is_done() {
        let grow = |total| TopicAction::AddPartitions { from: 1, total };
        let set = || TopicAction::SetConfig { delta: ConfigDelta::default(), found: BTreeMap::new() };
        let cancel = TopicAction::CancelReassignment { partitions: vec![0], from: 3, to: 1 };
        for (name, action, generation, planned, upshot) in [
            ("it is there", grow(3), 2, vec![], Upshot::Done),
            ("another thing is to be done", grow(3), 2, vec![set()], Upshot::Done),
            ("it is still to be done", grow(3), 2, vec![grow(3)], Upshot::Open),
            ("the object asks for something else", grow(3), 3, vec![], Upshot::Unknown),
            ("a topic", TopicAction::Create(NewTopic::new("orders")), 2, vec![], Upshot::Unknown),
            ("what has moved may have come where it was to go", cancel, 2, vec![], Upshot::Unknown),
        ] {
            let asked = Asked { generation: Some(2), action, cause: Cause::Declared };
            let plan = Plan { actions: planned, ..Plan::default() };
            assert_eq!(asked.upshot(Some(generation), &plan), upshot, "{name}");
            let refused = Plan { refusal: Some(Refusal::new(Reason::NotEnoughBrokers, "no")), ..plan };
            assert_eq!(asked.upshot(Some(generation), &refused), Upshot::Unknown, "{name}, and something is refused");
        }
    }

    #[test]
    fn the_first_counts_until_it_is_forgotten() {
        let known = ByUid::default();
        assert_eq!([("a", 1), ("a", 2), ("b", 3)].map(|(uid, value)| known.get_or_note(uid, value)), [1, 1, 3]);
        known.note("b", 6);
        known.forget("a");
        assert_eq!([known.get("a"), known.get("b")], [None, Some(6)]);
        assert_eq!([("a", 4), ("b", 5)].map(|(uid, value)| known.get_or_note(uid, value)), [4, 6]);
    }
}
