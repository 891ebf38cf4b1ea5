//! Rules say what is done to the n-th request of a kind. Data in, a verdict for each request out; what was done is counted.
//!
//! A rule acts once. Until it has acted it is armed, or has its request; when that request's connection breaks before, it waits
//! for the next one. What is held waits for other requests or for its time to be over.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::frame::{Api, RequestHead};

/// What is done to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Requests of this kind count.
    pub api: Api,
    /// Which of them it is, from 1, counted from when the rule was armed.
    pub nth: u32,
    /// What is done.
    pub plan: Plan,
}

/// What is done to a request, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The broker never gets it.
    Before(Blow),
    /// The broker has answered; the client never gets the answer.
    ReplyLost(Blow),
    /// The client has its answer.
    Replied(Blow),
    /// The broker gets it late, whatever has become of the client.
    Hold(Hold),
}

/// What happens to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Its connection is cut.
    Cut,
    /// Its process is killed.
    Kill,
    /// Its process stands still for a while; its connection stays.
    Pause,
}

/// How long a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Whether the client's connection is cut at once. Otherwise it waits until its patience ends.
    pub cut: bool,
    /// It goes on once requests of these kinds, of the same transactional id, were answered elsewhere, one after the other; with
    /// none, once its time is over.
    pub until: &'static [Api],
    /// It goes on after this time at the latest.
    pub longest: Duration,
    /// Once it goes on, the client is killed before its next request of this kind.
    pub then_kill: Option<Api>,
}

/// How a held request came to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// As its rule says.
    Planned,
    /// What it waited for did not come in time, or all rules were taken back.
    Otherwise,
}

/// An armed rule, or one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api, nth, plan } = self;
        match plan {
            Plan::Before(blow) => write!(f, "{blow} before {api:?} {nth}"),
            Plan::ReplyLost(blow) => write!(f, "{blow} in place of the reply to {api:?} {nth}"),
            Plan::Replied(blow) => write!(f, "{blow} after the reply to {api:?} {nth}"),
            Plan::Hold(Hold { cut, .. }) => write!(f, "{api:?} {nth} held{}", if *cut { ", its connection cut" } else { "" }),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Kill => "kill",
            Self::Pause => "pause",
        })
    }
}

/// The rules of all proxies of a cluster.
#[derive(Debug, Default)]
pub struct Rules {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    next: u64,
    armed: Vec<Armed>,
    /// Those that have their request and have not acted yet.
    taken: BTreeMap<RuleId, Armed>,
    waiting: Vec<Waiting>,
    fired: BTreeMap<RuleId, u64>,
    seen: BTreeMap<Api, u64>,
}

impl Books {
    fn arm(&mut self, rule: Rule, only: Option<String>) -> RuleId {
        self.next += 1;
        let id = RuleId(self.next);
        self.armed.push(Armed { id, rule, left: rule.nth.max(1), only });
        id
    }
}

#[derive(Debug)]
struct Armed {
    id: RuleId,
    rule: Rule,
    left: u32,
    /// Only requests of this transactional id count.
    only: Option<String>,
}

impl Armed {
    fn counts(&self, head: &RequestHead) -> bool {
        head.api == Some(self.rule.api) && (self.only.is_none() || self.only == head.transactional_id)
    }
}

/// A held request.
#[derive(Debug)]
struct Waiting {
    /// What must still be answered.
    until: &'static [Api],
    transactional_id: Option<String>,
    then_kill: Option<Api>,
    /// Dropped, it tells that all rules were taken back.
    release: oneshot::Sender<()>,
}

impl Rules {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on requests count for the rule.
    pub fn arm(&self, rule: Rule) -> RuleId {
        self.books().arm(rule, None)
    }

    /// Takes the rules back that have not acted, and lets go what is held.
    pub fn clear(&self) {
        let mut books = self.books();
        books.armed.clear();
        books.taken.clear();
        books.waiting.clear();
    }

    /// How often the rule has acted.
    pub fn fired(&self, id: RuleId) -> u64 {
        self.books().fired.get(&id).copied().unwrap_or(0)
    }

    /// How many requests of each kind came by since it was asked last.
    pub fn take_seen(&self) -> BTreeMap<Api, u64> {
        std::mem::take(&mut self.books().seen)
    }

    /// What is to be done to a request that has come.
    pub(super) fn on_request(&self, head: &RequestHead) -> Option<(RuleId, Plan)> {
        let api = head.api?;
        let mut books = self.books();
        *books.seen.entry(api).or_default() += 1;
        for armed in books.armed.iter_mut().filter(|armed| armed.counts(head)) {
            armed.left = armed.left.saturating_sub(1);
        }
        // Of two rules for one request the second waits for the next one.
        let due = books.armed.iter().position(|armed| armed.left == 0 && armed.counts(head))?;
        let armed = books.armed.remove(due);
        let verdict = (armed.id, armed.rule.plan);
        books.taken.insert(armed.id, armed);
        Some(verdict)
    }

    /// The rule has done what it says.
    pub(super) fn acted(&self, id: RuleId) {
        let mut books = self.books();
        books.taken.remove(&id);
        *books.fired.entry(id).or_default() += 1;
    }

    /// The rule cannot act at its request any more. Unless it has, it waits for the next one.
    pub(super) fn give_back(&self, id: RuleId) {
        let mut books = self.books();
        if let Some(armed) = books.taken.remove(&id) {
            books.armed.push(Armed { left: 1, ..armed });
        }
    }

    /// Resolves when a request of this client may go on.
    pub(super) fn hold(&self, hold: Hold, transactional_id: Option<String>) -> impl Future<Output = Release> + use<> {
        let (release, released) = oneshot::channel();
        let Hold { until, longest, then_kill, .. } = hold;
        let mut kept = None;
        if until.is_empty() {
            kept = Some(release);
        } else {
            self.books().waiting.push(Waiting { until, transactional_id, then_kill, release });
        }
        async move {
            let _kept = kept;
            match tokio::time::timeout(longest, released).await {
                Ok(Ok(())) => Release::Planned,
                Err(_) if until.is_empty() => Release::Planned,
                Ok(Err(_)) | Err(_) => Release::Otherwise,
            }
        }
    }

    /// A request was answered, and its client has the answer.
    pub(super) fn on_replied(&self, head: &RequestHead) {
        let Some(api) = head.api else { return };
        let mut books = self.books();
        // What nobody holds any more releases nothing.
        books.waiting.retain(|waiting| !waiting.release.is_closed());
        for waiting in &mut books.waiting {
            let same = waiting.transactional_id.is_none() || waiting.transactional_id == head.transactional_id;
            if let Some((next, rest)) = waiting.until.split_first()
                && *next == api
                && same
            {
                waiting.until = rest;
            }
        }
        let released: Vec<Waiting> = books.waiting.extract_if(.., |waiting| waiting.until.is_empty()).collect();
        for Waiting { then_kill, transactional_id, release, .. } in released {
            // Who held it may have given up just now.
            let _ = release.send(());
            if let Some(api) = then_kill {
                books.arm(Rule { api, nth: 1, plan: Plan::Before(Blow::Kill) }, transactional_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(api: Api, transactional_id: &str) -> RequestHead {
        RequestHead { api: Some(api), correlation: 0, transactional_id: Some(transactional_id.to_owned()) }
    }

    #[test]
    fn a_rule_takes_exactly_the_nth_request_of_its_kind() {
        let rules = Rules::default();
        rules.on_request(&head(Api::EndTxn, "t"));
        let plan = Plan::Before(Blow::Kill);
        let id = rules.arm(Rule { api: Api::EndTxn, nth: 2, plan });
        for (api, verdict) in [(Api::Produce, None), (Api::EndTxn, None), (Api::EndTxn, Some((id, plan))), (Api::EndTxn, None)] {
            assert_eq!(rules.on_request(&head(api, "t")), verdict, "{api:?}");
        }
        assert_eq!(rules.fired(id), 0, "it was due, but nothing was done yet");
        rules.acted(id);
        assert_eq!(rules.fired(id), 1);
        assert_eq!(rules.take_seen(), BTreeMap::from([(Api::Produce, 1), (Api::EndTxn, 4)]));
    }

    #[test]
    fn a_rule_that_could_not_act_takes_the_next_request() {
        let (rules, plan) = (Rules::default(), Plan::ReplyLost(Blow::Cut));
        let id = rules.arm(Rule { api: Api::Produce, nth: 3, plan });
        let ask = || rules.on_request(&head(Api::Produce, "t"));
        assert_eq!([ask(), ask(), ask(), ask()], [None, None, Some((id, plan)), None]);
        rules.give_back(id);
        assert_eq!([ask(), ask()], [Some((id, plan)), None]);
        rules.acted(id);
        rules.give_back(id);
        assert_eq!((ask(), rules.fired(id)), (None, 1));
    }

    #[test]
    fn two_rules_for_one_request_take_two() {
        let rules = Rules::default();
        let (cut, kill) = (Plan::Before(Blow::Cut), Plan::ReplyLost(Blow::Kill));
        let first = rules.arm(Rule { api: Api::Produce, nth: 1, plan: cut });
        let second = rules.arm(Rule { api: Api::Produce, nth: 1, plan: kill });
        assert_eq!(rules.on_request(&head(Api::Produce, "t")), Some((first, cut)));
        assert_eq!(rules.on_request(&head(Api::Produce, "t")), Some((second, kill)));
        rules.arm(Rule { api: Api::Produce, nth: 1, plan: cut });
        rules.clear();
        assert_eq!(rules.on_request(&head(Api::Produce, "t")), None);
    }

    #[tokio::test]
    async fn what_is_held_goes_on_with_the_next_transaction_or_with_time() {
        let until = &[Api::EndTxn, Api::AddPartitionsToTxn];
        let hold = Hold { cut: true, until, longest: Duration::from_secs(60), then_kill: Some(Api::EndTxn) };
        let rules = Rules::default();
        let begun = tokio::time::Instant::now();
        let held = rules.hold(hold, Some("t".to_owned()));
        tokio::pin!(held);
        for (api, id) in [
            (Api::Produce, "t"),
            (Api::AddPartitionsToTxn, "t"),
            (Api::EndTxn, "other"),
            (Api::EndTxn, "t"),
            (Api::AddPartitionsToTxn, "other"),
        ] {
            rules.on_replied(&head(api, id));
            assert!(futures::poll!(&mut held).is_pending(), "{api:?} of {id} is of this transaction, or of another producer");
        }
        rules.on_replied(&head(Api::AddPartitionsToTxn, "t"));
        assert_eq!(held.await, Release::Planned);
        assert!(begun.elapsed() < hold.longest / 2, "the next transaction of the same producer released it");
        assert_eq!(rules.on_request(&head(Api::EndTxn, "other")), None);
        assert!(matches!(rules.on_request(&head(Api::EndTxn, "t")), Some((_, Plan::Before(Blow::Kill)))));
        assert_eq!(rules.on_request(&head(Api::EndTxn, "t")), None);

        let hold = Hold { longest: Duration::from_millis(20), ..hold };
        let begun = tokio::time::Instant::now();
        let held = rules.hold(hold, Some("t".to_owned()));
        rules.on_replied(&head(Api::AddPartitionsToTxn, "other"));
        assert_eq!(held.await, Release::Otherwise);
        assert!(begun.elapsed() >= hold.longest, "that of another one did not");
        let timed = Hold { until: &[], ..hold };
        let begun = tokio::time::Instant::now();
        assert_eq!(rules.hold(timed, None).await, Release::Planned);
        assert!(begun.elapsed() >= hold.longest);

        let begun = tokio::time::Instant::now();
        let held = rules.hold(Hold { longest: Duration::from_secs(60), ..hold }, None);
        rules.clear();
        assert_eq!(held.await, Release::Otherwise);
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is held when all rules are taken back");
    }
}
