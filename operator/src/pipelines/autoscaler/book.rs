//! What is known of each pipeline that is watched, by its uid: what of it is watched, what was seen, what was told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_kafka::TopicPartition;

use super::{looks::Looks, subject::Subject};
use crate::scaling::{Decision, History, Observation, PartitionOffsets, Policy, Reason, Workers, decide, renewal_is_due};

/// How often figures are told again where nothing else is news.
const FIGURES: Duration = Duration::from_secs(30);
/// The pause after an attempt to commit offsets again that failed.
const RENEWED_AGAIN: Duration = Duration::from_secs(60);

/// What was decided for a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// So many workers.
    pub desired: u32,
    /// What it follows from.
    pub decision: Decision,
}

struct Page {
    subject: Subject,
    history: History,
    looks: Looks,
    told: Option<(Duration, Told)>,
    renewal: Renewal,
}

impl Page {
    /// How many workers there shall be. Where nothing is decided, as many as were told last: somebody else may have set the number of the
    /// Deployment. In a dry run that is their right, and none at all is never but decided.
    fn desired(&self, decision: &Decision, workers: Workers) -> u32 {
        let Policy { min, max, .. } = self.subject.policy;
        let told = self.told.as_ref().filter(|_| !self.subject.dry_run).map(|(_, told)| told.desired.min(max).max(min));
        decision.desired.or(told.filter(|told| *told > 0)).unwrap_or(workers.declared)
    }
}

/// When the offsets of a pipeline without workers were committed again. While it has workers brokers keep them.
#[derive(Clone, Copy, Default)]
struct Renewal {
    /// When the last attempt failed; none: it did not.
    failed: Option<Duration>,
    done: Option<Duration>,
}

/// The pages.
#[derive(Default)]
pub struct Book(Mutex<HashMap<String, Page>>);

impl Book {
    pub fn follow(&self, uid: &str, subject: Subject) {
        let mut pages = self.lock();
        if let Some(page) = pages.get_mut(uid).filter(|page| page.subject.group == subject.group) {
            page.subject = subject;
            return;
        }
        let history = History::knowing(subject.known);
        pages.insert(uid.to_owned(), Page { subject, history, looks: Looks::new(), told: None, renewal: Renewal::default() });
    }

    pub fn leave(&self, uid: &str) {
        self.lock().remove(uid);
    }

    pub fn keep(&self, wanted: impl Fn(&str, &Subject) -> bool) {
        self.lock().retain(|uid, page| wanted(uid, &page.subject));
    }

    pub fn subjects(&self) -> Vec<(String, Subject)> {
        self.lock().iter().map(|(uid, page)| (uid.clone(), page.subject.clone())).collect()
    }

    pub fn told(&self, uid: &str) -> Option<Told> {
        self.lock().get(uid)?.told.as_ref().map(|(_, told)| told.clone())
    }

    pub fn loads(&self, uid: &str, now: Duration) -> BTreeMap<TopicPartition, f64> {
        let pages = self.lock();
        let loads = pages.get(uid).into_iter().flat_map(|page| page.history.loads(&page.subject.policy, now));
        loads.map(|(key, load)| (TopicPartition::new(&key.topic, key.partition), load)).collect()
    }

    pub fn looks(&self, uid: &str) -> Looks {
        self.lock().get(uid).map(|page| page.looks.clone()).unwrap_or_default()
    }

    pub fn seen(&self, uid: &str, looks: Looks) {
        if let Some(page) = self.lock().get_mut(uid) {
            page.looks = looks;
        }
    }

    /// Takes in that a pipeline has workers at this time: brokers count from when the last one goes.
    pub fn awake(&self, uid: &str, now: Duration) {
        if let Some(page) = self.lock().get_mut(uid) {
            page.renewal = Renewal { failed: None, done: Some(now) };
        }
    }

    /// Whether the offsets of a pipeline without workers must be committed again. Where none were seen since the operator was started,
    /// nobody knows for how long there were none. Never in a dry run.
    pub fn renewal_is_due(&self, uid: &str, now: Duration, retention: Option<Duration>) -> bool {
        let pages = self.lock();
        let page = pages.get(uid).filter(|page| !page.subject.dry_run);
        let Some(Renewal { failed, done }) = page.map(|page| page.renewal) else { return false };
        let paused = failed.is_some_and(|failed| now.saturating_sub(failed) < RENEWED_AGAIN);
        !paused && done.is_none_or(|done| renewal_is_due(now.saturating_sub(done), retention))
    }

    /// Takes in that it was tried to commit them again, and whether they were.
    pub fn renewed(&self, uid: &str, now: Duration, done: bool) {
        if let Some(page) = self.lock().get_mut(uid) {
            page.renewal = if done { Renewal { failed: None, done: Some(now) } } else { Renewal { failed: Some(now), ..page.renewal } };
        }
    }

    /// Takes in what was seen, that is, what was begun to be read at that time: all partitions, or how many records wait at least. True:
    /// there is something to tell. `workers`: none while it is not the autoscaler that says how many run, and what was told last stays.
    pub fn look(
        &self,
        uid: &str,
        (at, now): (Duration, Duration),
        (partitions, at_least): (Option<Vec<PartitionOffsets>>, u64),
        workers: Option<Workers>,
    ) -> bool {
        let mut pages = self.lock();
        let (Some(page), Some(workers)) = (pages.get_mut(uid), workers) else { return false };
        page.history.record(Observation { at, partitions, at_least, workers }, &page.subject.policy);
        let decision = decide(&page.history, &page.subject.policy, now);
        // What failed now may succeed the next time: until then the number stays, and nobody need know.
        let passing = page.history.since_complete(now).is_some_and(|since| since <= page.subject.policy.stale());
        if decision.reason == Reason::LagUnknown && passing && page.told.is_some() {
            return false;
        }
        let told = Told { desired: page.desired(&decision, workers), decision };
        let is_news = page.told.as_ref().is_none_or(|(since, before)| is_news(before, &told, now.saturating_sub(*since)));
        if is_news {
            page.told = Some((now, told));
        }
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_news(before: &Told, told: &Told, since: Duration) -> bool {
    let same = before.desired == told.desired
        && before.decision.reason == told.decision.reason
        && before.decision.limited_by == told.decision.limited_by
        && before.decision.hot == told.decision.hot
        && before.decision.partitions == told.decision.partitions
        && before.decision.ceiling == told.decision.ceiling;
    !same || (since >= FIGURES && before != told)
}

#[cfg(test)]
mod tests {
    use penstock_crds::worker::StartFrom;

    use super::*;
    use crate::scaling::Known;

    #[test]
    fn only_a_commit_that_succeeded_counts() {
        let (second, day) = (Duration::from_secs, Duration::from_secs(86_400));
        let book = Book::default();
        book.follow("uid", subject(policy()));
        let due = |now| book.renewal_is_due("uid", now, Some(4 * day));
        assert!(due(second(0)), "nobody knows when they were before");
        book.renewed("uid", second(0), false);
        assert!(!due(second(59)) && due(second(60)), "it is tried again, and not at every look");
        book.renewed("uid", second(60), true);
        assert!(!due(day) && due(day + second(60)));
        book.renewed("uid", day + second(60), false);
        assert!(due(day + second(120)), "a failure does not count as done");
        assert!(!book.renewal_is_due("another", day, None));
        book.awake("uid", 2 * day);
        assert!(!due(2 * day + second(5)) && !due(3 * day - second(1)), "it has just fallen asleep");
        assert!(due(3 * day));
        let minute = Some(second(60));
        book.renewed("uid", 3 * day, true);
        assert!(book.renewal_is_due("uid", 3 * day + second(15), minute), "four times within however short a time");
        book.follow("uid", Subject { dry_run: true, ..subject(policy()) });
        assert!(!due(4 * day), "a dry run writes nothing");
    }

    #[test]
    fn what_was_told_stays_until_more_is_known() {
        let second = Duration::from_secs;
        let book = Book::default();
        book.follow("uid", subject(policy()));
        let workers = |declared| Some(Workers { declared, ready: declared, ..Workers::default() });
        let told = || book.told("uid").map(|told| (told.desired, told.decision.reason));
        for (name, at, now, can_read, workers, tells, expected) in [
            ("no Deployment yet", 0, 0, true, None, false, None),
            ("the first look", 5, 5, true, workers(2), true, Some((2, Reason::AsNeeded))),
            ("the Deployment was deleted, or it is suspended", 10, 10, true, None, false, Some((2, Reason::AsNeeded))),
            ("not read", 15, 15, false, workers(2), false, Some((2, Reason::AsNeeded))),
            ("for as long as a reading lasts", 20, 20, false, workers(2), false, Some((2, Reason::AsNeeded))),
            ("for longer", 25, 25, false, workers(2), true, Some((2, Reason::LagUnknown))),
            ("still", 30, 30, false, workers(2), false, Some((2, Reason::LagUnknown))),
            ("read again", 35, 35, true, workers(2), true, Some((2, Reason::AsNeeded))),
            ("read for too long", 40, 56, true, workers(2), true, Some((2, Reason::LagUnknown))),
        ] {
            let seen = (second(at), second(now));
            assert_eq!(book.look("uid", seen, (can_read.then(Vec::new), 0), workers), tells, "{name}");
            assert_eq!(told(), expected, "{name}");
        }
    }

    #[test]
    fn what_was_told_stays_where_nothing_is_decided() {
        let decision = |desired| {
            let history = History::default();
            Decision { desired, ..decide(&history, &policy(), Duration::ZERO) }
        };
        for (name, told, desired, declared, max, dry_run, expected) in [
            ("decided", Some(2), Some(3), 2, 3, false, 3),
            ("nothing was told yet: what runs", None, None, 2, 3, false, 2),
            ("told, and not carried out yet", Some(3), None, 1, 3, false, 3),
            ("somebody has set the Deployment's number", Some(1), None, 3, 3, false, 1),
            ("the same while it slept", Some(0), None, 2, 3, false, 2),
            ("it sleeps", Some(0), None, 0, 3, false, 0),
            ("the maximum has changed since", Some(3), None, 2, 2, false, 2),
            ("in a dry run the number is theirs", Some(3), None, 1, 3, true, 1),
        ] {
            let subject = Subject { dry_run, ..subject(Policy { max, ..policy() }) };
            let told = told.map(|desired| (Duration::ZERO, Told { desired, decision: decision(None) }));
            let page = Page { subject, history: History::default(), looks: Looks::new(), told, renewal: Renewal::default() };
            let workers = Workers { declared, ready: declared, ..Workers::default() };
            assert_eq!(page.desired(&decision(desired), workers), expected, "{name}");
        }
    }

    fn policy() -> Policy {
        let second = Duration::from_secs;
        Policy { min: 0, max: 3, drain: second(30), idle: second(60), interval: second(5), co_partitioned: false }
    }

    fn subject(policy: Policy) -> Subject {
        Subject {
            namespace: "shop".to_owned(),
            name: "payments".to_owned(),
            cluster: "default".to_owned(),
            group: "g".to_owned(),
            topics: vec!["orders".to_owned()],
            tiers: vec![],
            held: vec![],
            start_from: StartFrom::Latest,
            policy,
            dry_run: false,
            refused: false,
            known: Known::default(),
        }
    }
}
