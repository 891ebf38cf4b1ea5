//! Whether the last step up helped, and what a step costs.
//!
//! A step that brought less than a quarter of what it should have is taken back, and what it led to is not tried again for a
//! while: longer each time, sooner if fewer workers turn out to do more than they did. What it should have brought is what those
//! workers would do that have more to do than they can: those beside them are no proof of anything.

use std::time::Duration;

use super::{
    need::surely_busy,
    observation::Workers,
    rates::Throughput,
    span::{LONG, Span},
};

/// How many looks a step is judged by at least.
const TRIAL: usize = 3;
/// The least part of what a step should have brought.
const WORTH: f64 = 0.25;
/// How long a step that did not help is remembered, the first time; twice as long each further time.
const REMEMBERED: Duration = Duration::from_secs(600);
const REMEMBERED_AT_MOST: Duration = Duration::from_secs(7_200);
/// How long a number of workers is remembered that was wrong so many times before.
pub fn remembered_for(failures: u32) -> Duration {
    REMEMBERED.saturating_mul(2_u32.saturating_pow(failures.min(8))).min(REMEMBERED_AT_MOST)
}

/// By how much more must be done than when the step did not help, before it is tried again.
const OTHER_TIMES: f64 = 1.3;
/// How long new workers may take to become ready before they are given up.
pub const START: Duration = Duration::from_secs(120);
/// What a step costs until that was measured, in seconds of a worker.
const COST: f64 = 10.0;
/// What it costs at most, in seconds of each worker: what lasts longer has other causes.
const COST_AT_MOST: f64 = 30.0;

/// A step up that is on trial.
#[derive(Clone, Debug)]
struct Step {
    at: Duration,
    from: u32,
    to: u32,
    before: f64,
    after: Span,
    /// How many of the workers that it led to have had enough to do all the time, however partitions were shared out.
    busy: u32,
}

/// A number of workers beyond which more did not help.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// So many did as much as more.
    pub workers: u32,
    /// When more may be tried again.
    pub until: Duration,
    /// Records a second that all of them did.
    pub total: f64,
    /// How many steps in a row did not help.
    pub failures: u32,
}

/// What is known of steps.
#[derive(Clone, Debug)]
pub struct Effect {
    step: Option<Step>,
    /// Of the last step that was judged; none: it helped. It stays when it no longer holds, for how often it was in vain.
    ceiling: Option<Ceiling>,
    /// What workers with enough to do have done since the last measurement.
    span: Span,
    /// Records a second that they did at the last one, and how many they were.
    last: Option<(u32, f64)>,
    /// When the number of workers was changed last.
    changed: Option<Duration>,
    losing: f64,
    cost: f64,
}

impl Default for Effect {
    fn default() -> Self {
        Self { step: None, ceiling: None, span: Span::default(), last: None, changed: None, losing: 0.0, cost: COST }
    }
}

impl Effect {
    /// One that knows of a step that did not help.
    pub fn remembering(ceiling: Option<Ceiling>) -> Self {
        Self { ceiling, ..Self::default() }
    }

    /// Takes in that another number of workers was declared.
    pub fn declared(&mut self, at: Duration, from: u32, to: u32) {
        self.changed = Some(at);
        // One step with the last one, where the workers of that have not shown anything yet.
        let pending = self.step.take().filter(|step| step.to == from && step.after.looks() == 0).map(|step| (step.from, step.before));
        let before = pending.or(self.last.filter(|(workers, _)| *workers == from)).filter(|_| to > from);
        self.step = before.map(|(from, before)| Step { at, from, to, before, after: Span::default(), busy: to });
        self.forget();
    }

    /// Takes in an interval in which nothing but records moved.
    pub fn undisturbed(&mut self, at: Duration, workers: Workers, seen: &Throughput, partitions: u32) {
        if self.losing > 0.0 {
            self.cost = (self.cost + self.losing) / 2.0;
            self.losing = 0.0;
        }
        let enough = usize::try_from(workers.ready.min(partitions)).unwrap_or(usize::MAX);
        if seen.backlogged > 0 && seen.backlogged >= enough {
            self.span.add(seen.records, seen.over, workers.ready);
            if let Some(span) = self.span.take_if_enough() {
                self.measured(at, workers.ready, span.total());
            }
        } else {
            // It was drained, or not all of them had something to do.
            self.forget();
        }
        let Some(step) = self.step.as_mut() else { return };
        step.busy = step.busy.min(surely_busy(seen.backlogged, partitions, step.to));
        if step.busy <= step.from {
            // No more of them are busy than there were before: that is no proof of anything.
            self.step = None;
            return;
        }
        if workers.ready < step.to {
            if at.saturating_sub(step.at) >= START {
                // They do not become ready, so that nothing will be shown.
                self.step = None;
            }
            return;
        }
        step.after.add(seen.records, seen.over, workers.ready);
        if step.after.looks() >= TRIAL
            && step.after.is_enough()
            && let Some(step) = self.step.take()
        {
            self.judge(at, &step);
        }
    }

    fn measured(&mut self, at: Duration, workers: u32, total: f64) {
        self.last = Some((workers, total));
        if let Some(ceiling) = &mut self.ceiling
            && workers <= ceiling.workers
            && total > OTHER_TIMES * ceiling.total
        {
            ceiling.until = ceiling.until.min(at);
        }
    }

    /// Takes in that what workers do proves nothing of steps: they have too little to do, or are broken.
    pub fn interrupt(&mut self) {
        self.step = None;
        self.forget();
    }

    fn forget(&mut self) {
        (self.span, self.last) = (Span::default(), None);
    }

    /// Takes in that something else than records moved.
    pub fn disturbed(&mut self) {
        self.span = Span::default();
    }

    /// Takes in an interval in which workers came, went or waited for one another, with work to do.
    pub fn costs(&mut self, ready: u32, seen: &Throughput, speed: Option<f64>) {
        let Some(speed) = speed.filter(|_| seen.backlogged > 0) else { return };
        let idle = f64::from(ready) - seen.total() / speed;
        self.losing = (self.losing + idle.max(0.0) * seen.over.as_secs_f64()).min(COST_AT_MOST * f64::from(ready));
    }

    fn judge(&mut self, at: Duration, step: &Step) {
        let after = step.after.total();
        let hoped = step.before * (f64::from(step.busy) / f64::from(step.from.max(1)) - 1.0);
        if after - step.before >= WORTH * hoped {
            self.ceiling = None;
            return;
        }
        let failures = self.ceiling.map_or(0, |ceiling| ceiling.failures);
        let total = step.before.max(after);
        self.ceiling =
            Some(Ceiling { workers: step.from, until: at + remembered_for(failures), total, failures: failures.saturating_add(1) });
    }

    /// Whether a step is still on trial.
    pub fn is_on_trial(&self, now: Duration) -> bool {
        self.step.as_ref().is_some_and(|step| now.saturating_sub(step.at) < START + LONG)
    }

    /// Beyond which number more do not help.
    pub fn ceiling(&self, now: Duration) -> Option<u32> {
        self.ceiling.filter(|ceiling| now < ceiling.until).map(|ceiling| ceiling.workers)
    }

    /// The last step that did not help, also where it may be tried again.
    pub fn last_ceiling(&self) -> Option<Ceiling> {
        self.ceiling
    }

    /// How long ago the number of workers was changed.
    pub fn since_change(&self, now: Duration) -> Option<Duration> {
        self.changed.map(|at| now.saturating_sub(at))
    }

    /// What a step costs, in seconds of a worker.
    pub fn cost(&self) -> f64 {
        self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn seen(total: f64, backlogged: usize) -> Throughput {
        let over = second(5);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, and few")]
        let records = (total * over.as_secs_f64()) as u64;
        Throughput { records, over, busy: None, is_sure: true, surely: 0, backlogged }
    }

    fn stepped(before: f64, after: f64, backlogged: usize) -> Effect {
        let mut effect = Effect::default();
        let workers = |ready| Workers { declared: ready, ready, ..Workers::default() };
        effect.undisturbed(second(0), workers(2), &seen(before, 6), 6);
        effect.declared(second(5), 2, 6);
        assert!(effect.is_on_trial(second(10)));
        for at in [10, 15, 20] {
            effect.undisturbed(second(at), workers(6), &seen(after, backlogged), 6);
        }
        effect
    }

    #[test]
    fn a_step_that_does_not_help_is_remembered() {
        for (name, after, backlogged, ceiling) in [
            ("three times as much", 300.0, 6, None),
            ("half of what it should bring", 200.0, 6, None),
            ("as much as before", 100.0, 6, Some(2)),
            ("less than before", 60.0, 6, Some(2)),
            ("a little more", 140.0, 6, Some(2)),
            ("it was drained", 20.0, 0, None),
            ("one partition is left", 20.0, 1, None),
            ("no more than there were workers before", 60.0, 2, None),
            ("one partition keeps up, and the others do no more", 110.0, 5, Some(2)),
            ("half of what the three should bring that have enough to do", 125.0, 3, None),
        ] {
            let effect = stepped(100.0, after, backlogged);
            assert_eq!(effect.ceiling(second(30)), ceiling, "{name}");
            assert!(!effect.is_on_trial(second(30)), "{name}");
        }
    }

    #[test]
    fn what_may_be_at_one_worker_is_no_proof() {
        // (partitions with enough to do of six, workers before, after, those that did not help)
        for (backlogged, from, to, ceiling) in [(2, 1, 2, None), (3, 1, 2, None), (4, 1, 2, Some(1)), (2, 1, 6, Some(1)), (2, 2, 3, None)] {
            let mut effect = Effect::default();
            let workers = |ready| Workers { declared: ready, ready, ..Workers::default() };
            effect.undisturbed(second(0), workers(from), &seen(100.0, 6), 6);
            effect.declared(second(5), from, to);
            for at in [10, 15, 20] {
                effect.undisturbed(second(at), workers(to), &seen(100.0, backlogged), 6);
            }
            assert_eq!(effect.ceiling(second(30)), ceiling, "{backlogged} partitions, from {from} to {to}");
            assert!(!effect.is_on_trial(second(30)), "{backlogged} partitions, from {from} to {to}");
        }
    }

    #[test]
    fn workers_that_do_not_become_ready_end_the_trial() {
        let mut effect = Effect::default();
        let workers = |ready| Workers { declared: 6, ready, ..Workers::default() };
        effect.undisturbed(second(0), workers(2), &seen(100.0, 6), 6);
        effect.declared(second(5), 2, 6);
        for (at, is_on_trial) in [(60, true), (120, true), (125, false)] {
            effect.undisturbed(second(at), workers(5), &seen(200.0, 6), 6);
            assert_eq!(effect.is_on_trial(second(at)), is_on_trial, "{at}");
        }
    }

    #[test]
    fn steps_that_follow_one_another_are_judged_as_one() {
        for (name, ready, ceiling) in [("while its workers start", 2, 2), ("after they have done something", 3, 3)] {
            let mut effect = Effect::default();
            let workers = |ready| Workers { declared: ready, ready, ..Workers::default() };
            effect.undisturbed(second(0), workers(2), &seen(100.0, 6), 6);
            effect.declared(second(5), 2, 3);
            effect.undisturbed(second(10), workers(ready), &seen(100.0, 6), 6);
            effect.declared(second(15), 3, 6);
            for at in [20, 25, 30] {
                assert!(effect.is_on_trial(second(at)), "{name}");
                effect.undisturbed(second(at), workers(6), &seen(110.0, 6), 6);
            }
            assert_eq!(effect.ceiling(second(40)), Some(ceiling), "{name}");
        }
    }

    #[test]
    fn a_step_of_slow_workers_is_judged_by_a_minute() {
        let each = |records: &[u64], times| records.repeat(times);
        for (name, before, after, ceiling) in [
            ("three times as much", each(&[0, 0, 0, 1], 3), each(&[0, 1, 1, 1], 3), None),
            ("as much as before, and some of it at once", each(&[0, 0, 0, 1], 3), [&[2], &[0; 10][..], &[1]].concat(), Some(2)),
            ("nobody knows how much that was before", each(&[0, 1], 3), each(&[0, 0, 0, 1], 3), None),
        ] {
            let mut effect = Effect::default();
            let workers = |ready| Workers { declared: ready, ready, ..Workers::default() };
            let mut at = second(0);
            let mut look = |effect: &mut Effect, records, ready| {
                at += second(5);
                effect.undisturbed(at, workers(ready), &Throughput { records, ..seen(0.0, 6) }, 6);
            };
            before.into_iter().for_each(|records| look(&mut effect, records, 2));
            effect.declared(second(100), 2, 6);
            after.into_iter().for_each(|records| look(&mut effect, records, 6));
            assert_eq!(effect.ceiling(second(200)), ceiling, "{name}");
            assert!(!effect.is_on_trial(second(200)), "{name}");
        }
    }

    #[test]
    fn it_is_tried_again_later_or_in_other_times() {
        let mut effect = stepped(100.0, 100.0, 6);
        assert_eq!(effect.ceiling(second(20) + REMEMBERED), None);
        let workers = Workers { declared: 2, ready: 2, ..Workers::default() };
        effect.undisturbed(second(40), workers, &seen(140.0, 6), 6);
        assert_eq!(effect.ceiling(second(41)), None);
        effect.declared(second(45), 2, 6);
        for at in [50, 55, 60] {
            let six = Workers { declared: 6, ready: 6, ..Workers::default() };
            effect.undisturbed(second(at), six, &seen(140.0, 6), 6);
        }
        assert_eq!(effect.ceiling(second(60) + REMEMBERED), Some(2), "twice as long");
    }

    #[test]
    fn what_a_step_costs_is_measured() {
        for (name, intervals, cost) in [
            ("nothing", &[][..], 10.0),
            ("one in which nothing was done, and one in which a half was", &[0.0, 100.0], 20.0),
            ("more than a step can cost", &[0.0; 120], 65.0),
            ("less than nothing", &[900.0], 10.0),
        ] {
            let mut effect = Effect::default();
            intervals.iter().for_each(|total| effect.costs(4, &seen(*total, 6), Some(50.0)));
            effect.undisturbed(second(900), Workers { ready: 4, ..Workers::default() }, &seen(200.0, 6), 6);
            assert!((effect.cost() - cost).abs() < 1e-9, "{name}: {}", effect.cost());
        }
    }
}
