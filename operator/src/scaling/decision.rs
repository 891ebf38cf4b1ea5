//! The number of workers that a pipeline shall have, and why.

use std::time::Duration;

use super::{
    calm,
    effect::{Ceiling, START},
    history::History,
    need::Need,
    observation::PartitionKey,
    policy::Policy,
};

/// Why so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They keep up.
    AsNeeded,
    /// More are needed for what waits to be done in time.
    Behind,
    /// Fewer have been enough for the whole window.
    FewerEnough,
    /// Fewer would be enough now; whether that lasts is to be seen.
    Waiting,
    /// Fewer have been enough for the whole window, and would save less than the step costs.
    TooCostly,
    /// Nothing comes: none are needed.
    Asleep,
    /// Something came while there were none.
    Awake,
    /// A worker must commit first where the group begins.
    Beginning,
    /// Their number was below the minimum or above the maximum.
    OutOfBounds,
    /// All that is allowed are not enough.
    AtMaximum,
    /// There are no partitions for more.
    AtPartitions,
    /// A partition, or several, is more than a worker can do; others do not help.
    HotPartition,
    /// Partitions with much to do have met at one worker: another number shares them out anew.
    Crowded,
    /// More workers did no more: the last step was taken back.
    ScaleUpIneffective,
    /// What waits could not be read.
    LagUnknown,
    /// New workers are replacing old ones.
    RollingOut,
    /// The group is sharing its partitions out anew.
    Rebalancing,
    /// Those that are declared are not ready yet.
    Starting,
    /// The last step up is still to show what it is good for.
    OnTrial,
    /// They have work, and do nothing: more would do as much.
    NoProgress,
    /// Records wait, and how fast they are is still being measured.
    Measuring,
}

/// What keeps the number from being another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The minimum.
    Minimum,
    /// The maximum.
    Maximum,
    /// The number of partitions with work.
    Partitions,
    /// A partition that is more than a worker can do.
    HotPartition,
    /// That more did not help.
    Effect,
}

/// The number of workers that a pipeline shall have, and what it follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// So many. None: as many as there are.
    pub desired: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// What keeps the number from being another.
    pub limited_by: Option<Limit>,
    /// The partitions that are more than a worker can do each.
    pub hot: Vec<PartitionKey>,
    /// Records that wait; none: that is not known.
    pub lag: Option<u64>,
    /// How old the oldest of them is.
    pub age: Option<Duration>,
    /// Records that come each second.
    pub arrival: f64,
    /// Records that a worker handles each second, if that is known.
    pub speed: Option<f64>,
    /// How many partitions there are to share out; none: that was not seen yet.
    pub partitions: Option<u32>,
    /// The last step up that did not help.
    pub ceiling: Option<Ceiling>,
}

/// Decides by what was seen.
#[must_use]
pub fn decide(history: &History, policy: &Policy, now: Duration) -> Decision {
    let known = history.since_read(now).is_some_and(|since| since <= policy.stale());
    let (desired, reason, limited_by) = choose(history, policy, now, known);
    let need = history.need(policy, now).filter(|_| limited_by == Some(Limit::HotPartition));
    Decision {
        desired: desired.filter(|desired| *desired != history.workers().declared),
        reason,
        limited_by,
        hot: need.iter().flat_map(|need| history.hot(need, policy, now)).cloned().collect(),
        lag: known.then(|| history.lag()),
        age: history.age(now).filter(|_| known),
        arrival: history.arrival(),
        speed: history.speed(),
        partitions: Some(history.sources()).filter(|sources| *sources > 0),
        ceiling: history.effect.last_ceiling(),
    }
}

type Choice = (Option<u32>, Reason, Option<Limit>);

fn choose(history: &History, policy: &Policy, now: Duration, known: bool) -> Choice {
    let workers = history.workers();
    let least = if workers.declared == 0 { policy.min } else { policy.min.max(1) };
    if workers.declared < least {
        return (Some(policy.min), Reason::OutOfBounds, Some(Limit::Minimum));
    }
    if workers.declared > policy.max {
        return (Some(policy.max), Reason::OutOfBounds, Some(Limit::Maximum));
    }
    if !known {
        let wait = history.since_partly(now).is_some_and(|since| since <= policy.stale());
        // However many those are that were not seen: one worker at least is needed.
        return if wait && workers.declared == 0 {
            (Some(policy.min.max(1)), Reason::Awake, None)
        } else {
            (None, Reason::LagUnknown, None)
        };
    }
    if workers.declared == 0 {
        return wake(history, policy, now);
    }
    if workers.rolling_out {
        return (None, Reason::RollingOut, None);
    }
    if workers.rebalancing {
        return (None, Reason::Rebalancing, None);
    }
    if is_starting(history, now) {
        // What has come since may be more than those are for that are to come.
        let more = more(history, policy, now).filter(|(desired, ..)| desired.is_some());
        return more.unwrap_or((None, Reason::Starting, None));
    }
    if policy.min == 0 && history.quiet.is_long(now, policy.idle) {
        return (Some(0), Reason::Asleep, None);
    }
    if history.is_stuck() {
        return (None, Reason::NoProgress, None);
    }
    if let Some(ceiling) = ceiling(history, policy, now)
        && ceiling < workers.declared
    {
        return (Some(ceiling), Reason::ScaleUpIneffective, Some(Limit::Effect));
    }
    if let Some(choice) = more(history, policy, now) {
        return choice;
    }
    if let Some(workers) = apart(history, policy, now) {
        return (Some(workers), Reason::Crowded, None);
    }
    if history.is_being_measured() {
        return (None, Reason::Measuring, None);
    }
    let choice = fewer(history, policy, now);
    let is_late = history.at_risk(policy, now).is_some_and(|need| limit(&need, policy).is_some());
    match history.need(policy, now).and_then(|need| limit(&need, policy)) {
        // As many as can help are at it, and that is not enough.
        Some((reason, limit)) if is_late && choice.0.is_none() => (None, reason, Some(limit)),
        _ => choice,
    }
}

/// Whether workers that were declared a while ago are still to become ready.
fn is_starting(history: &History, now: Duration) -> bool {
    let workers = history.workers();
    workers.ready != workers.declared && history.effect.since_change(now).is_some_and(|since| since < START)
}

/// Beyond which number more do not help. One below the minimum says nothing: so many shall run whatever they bring.
fn ceiling(history: &History, policy: &Policy, now: Duration) -> Option<u32> {
    history.effect.ceiling(now).filter(|ceiling| *ceiling >= policy.min)
}

/// How many there may be: the maximum at most, and none beyond what helped.
fn most(history: &History, policy: &Policy, now: Duration) -> u32 {
    ceiling(history, policy, now).unwrap_or(u32::MAX).min(policy.max)
}

fn wake(history: &History, policy: &Policy, now: Duration) -> Choice {
    if history.lag() > 0 {
        let need = history.need(policy, now);
        let wanted = need.as_ref().map_or(1, |need| history.wanted(need, now)).min(most(history, policy, now)).max(policy.min).max(1);
        let limit = match &need {
            Some(need) if need.workers > wanted => Some(Limit::Effect),
            Some(need) => limit(need, policy).map(|(_, limit)| limit),
            None => None,
        };
        return (Some(wanted), Reason::Awake, limit);
    }
    if history.is_adrift() {
        return (Some(policy.min.max(1)), Reason::Beginning, None);
    }
    (None, Reason::Asleep, None)
}

/// What to do where there are not enough; none: there are.
fn more(history: &History, policy: &Policy, now: Duration) -> Option<Choice> {
    let declared = history.workers().declared;
    let (at_risk, need) = (history.at_risk(policy, now)?, history.need(policy, now)?);
    if at_risk.workers <= declared || need.workers <= declared {
        return None;
    }
    // More would do as much. What it is will show.
    if history.stands_still() {
        return Some((None, Reason::Behind, None));
    }
    // While its workers start it has shown nothing yet, and is judged together with the one that follows.
    if history.effect.is_on_trial(now) && !is_starting(history, now) {
        return Some((None, Reason::OnTrial, None));
    }
    if ceiling(history, policy, now).is_some_and(|ceiling| need.workers > ceiling) {
        return Some((None, Reason::ScaleUpIneffective, Some(Limit::Effect)));
    }
    Some((Some(history.wanted(&need, now).min(most(history, policy, now))), Reason::Behind, limit(&need, policy).map(|(_, limit)| limit)))
}

/// How many workers to try where they would be enough if partitions were shared out by load; none: they may be, or no others are allowed.
fn apart(history: &History, policy: &Policy, now: Duration) -> Option<u32> {
    let is_clear = !history.effect.is_on_trial(now) && !history.stands_still();
    history.apart().filter(|workers| *workers <= most(history, policy, now) && is_clear)
}

/// What keeps workers from being as many as it takes.
fn limit(need: &Need, policy: &Policy) -> Option<(Reason, Limit)> {
    if !need.hot.is_empty() {
        return Some((Reason::HotPartition, Limit::HotPartition));
    }
    if need.enough {
        return None;
    }
    match policy.max < need.useful {
        true => Some((Reason::AtMaximum, Limit::Maximum)),
        false => Some((Reason::AtPartitions, Limit::Partitions)),
    }
}

/// What to do where there are enough.
fn fewer(history: &History, policy: &Policy, now: Duration) -> Choice {
    let declared = history.workers().declared;
    let window = policy.window();
    let Some(most) = history.needs.most(now, window) else { return (None, Reason::AsNeeded, None) };
    let limit = (most < policy.min).then_some(Limit::Minimum);
    let enough = most.max(policy.min).max(1);
    if enough >= declared {
        return (None, Reason::AsNeeded, limit);
    }
    if history.effect.since_change(now).is_some_and(|since| since < window) {
        return (None, Reason::Waiting, limit);
    }
    let lasted = history.needs.since_fewer(now).unwrap_or(window);
    if !calm::pays(declared - enough, lasted, history.effect.cost()) {
        return (None, Reason::TooCostly, limit);
    }
    (Some(enough), Reason::FewerEnough, None)
}
