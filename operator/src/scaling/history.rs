//! What is kept of what the sweeps saw of a pipeline: enough to decide by, and no more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    calm::Needs,
    crowd::{Crowd, Share},
    effect::{Ceiling, Effect},
    lag::{held_counts, standing},
    need::{Demand, Need, need, next_larger, next_smaller},
    observation::{Observation, PartitionKey, PartitionOffsets, Role, Workers},
    policy::Policy,
    rates::{Speed, throughput},
    standstill::Standstill,
    track::Track,
    zero::Quiet,
};

/// The part of a worker that records which keep coming may take.
const FULL: f64 = 0.8;
/// The part of the time that is left which a prediction may use up.
const SAFE: f64 = 0.6;
/// How long it takes from a decision until more is done: a pod starts, partitions move.
const REACTION: Duration = Duration::from_secs(10);
/// The part of `drain` after which a record is late.
const LATE: f64 = 0.5;
/// The least part of `drain` that what waits is given, however old it is.
const LEAST_TIME: f64 = 1.0 / 3.0;

/// What was known of a pipeline before the first look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Records that a worker handles each second.
    pub speed: Option<f64>,
    /// The last step up that did not help.
    pub ceiling: Option<Ceiling>,
}

/// What is kept of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct History {
    tracks: BTreeMap<PartitionKey, Track>,
    workers: Workers,
    /// Whether partitions with one number go to the same worker.
    co_partitioned: bool,
    /// When all partitions were read last.
    read: Option<Duration>,
    /// Whether the last reading failed.
    failed: bool,
    /// When the last reading that failed has shown some that wait all the same; none: it did not.
    partly: Option<Duration>,
    speed: Speed,
    standstill: Standstill,
    crowd: Crowd,
    pub(super) effect: Effect,
    pub(super) needs: Needs,
    pub(super) quiet: Quiet,
}

impl History {
    /// One that begins with what was known before.
    #[must_use]
    pub fn knowing(known: Known) -> Self {
        let speed = known.speed.map_or_else(Speed::default, Speed::known);
        Self { speed, effect: Effect::remembering(known.ceiling), ..Self::default() }
    }

    /// Takes in what a sweep saw.
    pub fn record(&mut self, seen: Observation, policy: &Policy) {
        let before = std::mem::replace(&mut self.workers, seen.workers);
        if before.rolling_out && !self.workers.rolling_out {
            self.speed.replaced();
        }
        self.co_partitioned = policy.co_partitioned;
        if self.read.is_some() && seen.workers.declared != before.declared {
            self.effect.declared(seen.at, before.declared, seen.workers.declared);
            let needed = self.need(policy, seen.at).map(|need| need.workers);
            self.crowd.declared(seen.at, before.declared, seen.workers.declared, needed);
        }
        self.partly = Some(seen.at).filter(|_| seen.partitions.is_none() && seen.at_least > 0);
        let Some(partitions) = seen.partitions else {
            self.failed = true;
            return;
        };
        let failed = std::mem::take(&mut self.failed);
        let since = self.read.replace(seen.at).map(|read| seen.at.saturating_sub(read));
        let is_long = since.is_none_or(|since| since > policy.stale());
        if is_long {
            self.needs.forget();
        }
        let moved = self.follow(seen.at, since.unwrap_or_default(), &partitions);
        match since.filter(|since| !since.is_zero()) {
            Some(since) => self.measure(policy, seen.at, since, before, failed || is_long),
            // Whether they do anything shows at the next look.
            None if self.does_nothing() => self.standstill.goes_on(Duration::ZERO),
            None => {}
        }
        let work = moved || self.lag() > 0 || self.is_adrift();
        self.quiet.look(seen.at, work);
        self.needs.push(seen.at, self.enough(policy, seen.at), policy.window(), seen.workers.declared);
    }

    /// Takes in where partitions are. True: something came.
    fn follow(&mut self, at: Duration, since: Duration, partitions: &[PartitionOffsets]) -> bool {
        let held = held_counts(partitions);
        let known: BTreeSet<&PartitionKey> = partitions.iter().map(|partition| &partition.key).collect();
        self.tracks.retain(|key, _| known.contains(key));
        let mut moved = false;
        for partition in partitions {
            let mut standing = standing(partition);
            if partition.role == Role::Held && !held {
                (standing.lag, standing.end) = (0, standing.position);
            }
            match self.tracks.get_mut(&partition.key) {
                Some(track) => {
                    moved |= track.standing.end != standing.end;
                    track.update(at, since, standing, partition.age);
                }
                None => {
                    let track = Track::new(at, standing, partition.age, partition.role == Role::Source);
                    self.tracks.insert(partition.key.clone(), track);
                }
            }
        }
        moved
    }

    /// `has_gap`: nobody has looked for a part of the time.
    fn measure(&mut self, policy: &Policy, at: Duration, since: Duration, before: Workers, has_gap: bool) {
        let ready = self.workers.ready;
        let lots = self.lots().into_iter().map(|lot| lot.into_iter().map(|(_, track)| track).collect());
        let seen = throughput(lots, ready, since);
        let calm = |workers: Workers| !workers.rolling_out && !workers.rebalancing;
        let same = before.ready == ready && calm(before) && calm(self.workers);
        match same && self.does_nothing() {
            // What Kafka does not take while it does not answer is not their fault.
            true => self.standstill.goes_on(if has_gap { Duration::ZERO } else { since }),
            false => self.standstill = Standstill::default(),
        }
        if has_gap || !same {
            self.speed.interrupt();
            self.crowd.disturbed();
            self.effect.disturbed();
            // Neither a failure of Kafka nor a rollout is the cost of a step.
            if !has_gap && !before.rolling_out && !self.workers.rolling_out {
                self.effect.costs(before.ready.min(ready), &seen, self.speed.per_worker());
            }
            return;
        }
        if self.speed.per_worker().is_some() && self.is_stuck() {
            // Workers that do nothing at all are broken, not slow.
            self.effect.interrupt();
            self.speed.interrupt();
            self.crowd.disturbed();
            return;
        }
        self.speed.look(&seen, ready);
        let sources = self.sources();
        self.effect.undisturbed(at, self.workers, &seen, sources);
        match self.speed.per_worker().filter(|_| ready < sources) {
            Some(speed) => {
                let shares = self.shares(policy, at);
                self.crowd.undisturbed(since, speed, &shares);
            }
            // Each is alone, or nobody knows what a worker can do.
            None => self.crowd.disturbed(),
        }
    }

    /// What partitions of the source got since the last look, and what they need.
    fn shares(&self, policy: &Policy, now: Duration) -> Vec<Share> {
        let share = |lot: Lot<'_>| {
            let key = lot.first()?.0.clone();
            let is_backlogged = lot.iter().any(|(_, track)| track.is_backlogged());
            let worked_off = lot.iter().map(|(_, track)| track.worked_off).sum();
            let needed = lot.iter().map(|(_, track)| risk(track, policy, now)).sum();
            let age = lot.iter().filter_map(|(_, track)| track.age(now)).max().unwrap_or_default();
            Some(Share { key, is_backlogged, worked_off, needed, is_late: age >= policy.drain.mul_f64(LATE) })
        };
        self.lots().into_iter().filter(is_of_source).filter_map(share).collect()
    }

    /// The next number of workers, where partitions with much to do have met at one; none: they have not, or all are alone.
    pub(super) fn apart(&self) -> Option<u32> {
        next_larger(self.workers.declared, self.sources()).filter(|_| self.crowd.is_found())
    }

    /// How many workers there must be so that what comes does not wait, with room to spare, and what waits is done in time.
    pub(super) fn need(&self, policy: &Policy, now: Duration) -> Option<Need> {
        self.packed(policy, |track| demand(track, policy, now))
    }

    /// How many workers there must be so that the goal is not missed before something can be done about it.
    pub(super) fn at_risk(&self, policy: &Policy, now: Duration) -> Option<Need> {
        self.packed(policy, |track| risk(track, policy, now))
    }

    fn packed(&self, policy: &Policy, of: impl Fn(&Track) -> f64) -> Option<Need> {
        let demand = |lot: &Lot<'_>| Demand { rate: lot.iter().map(|(_, track)| of(track)).sum(), is_source: is_of_source(lot) };
        let demands: Vec<Demand> = self.lots().iter().map(demand).collect();
        Some(need(&demands, self.speed.per_worker()?, policy.max))
    }

    /// Records a second that each partition asks for.
    pub fn loads(&self, policy: &Policy, now: Duration) -> impl Iterator<Item = (&PartitionKey, f64)> {
        self.tracks.iter().map(move |(key, track)| (key, demand(track, policy, now)))
    }

    /// How many workers are enough, with room to spare.
    fn enough(&self, policy: &Policy, now: Duration) -> u32 {
        let idle = self.lag() == 0 && self.arrival() <= 0.0;
        match self.need(policy, now) {
            // As long as some get too little, fewer are not enough.
            Some(need) if self.crowd.is_found() => self.wanted(&need, now).max(self.workers.declared),
            Some(need) => self.wanted(&need, now),
            None if idle => 1,
            // Whoever has always kept up has not shown how fast it is: a step down shows it.
            None if self.keeps_up() => next_smaller(self.workers.declared, self.sources()),
            None => self.workers.declared.max(1),
        }
    }

    /// How many workers that takes, as far as is known of how partitions are shared out.
    pub(super) fn wanted(&self, need: &Need, now: Duration) -> u32 {
        self.crowd.at_least(now, need.workers)
    }

    fn keeps_up(&self) -> bool {
        !self.tracks.values().any(Track::is_behind)
    }

    /// The partitions that are too much for one worker, or that have the most of what is.
    pub(super) fn hot(&self, need: &Need, policy: &Policy, now: Duration) -> Vec<&PartitionKey> {
        let demand = |track: &Track| demand(track, policy, now);
        let hot = self.lots().into_iter().enumerate().filter(|(index, _)| need.hot.contains(index)).map(|(_, lot)| lot);
        let most = hot.filter_map(|lot| lot.into_iter().max_by(|(_, a), (_, b)| demand(a).total_cmp(&demand(b))));
        most.map(|(key, _)| key).collect()
    }

    /// Partitions by who has them: each goes to a worker by itself, or with all others of its number.
    fn lots(&self) -> Vec<Lot<'_>> {
        if !self.co_partitioned {
            return self.tracks.iter().map(|track| vec![track]).collect();
        }
        let mut lots: BTreeMap<i32, Lot<'_>> = BTreeMap::new();
        for (key, track) in &self.tracks {
            lots.entry(key.partition).or_default().push((key, track));
        }
        lots.into_values().collect()
    }

    /// How many workers can have partitions of the source.
    #[must_use]
    pub fn sources(&self) -> u32 {
        u32::try_from(self.lots().iter().filter(|lot| is_of_source(lot)).count()).unwrap_or(u32::MAX)
    }

    /// The workers as they were seen last.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.workers
    }

    /// How long ago all partitions were read; none: they were not, or the last attempt failed.
    #[must_use]
    pub fn since_read(&self, now: Duration) -> Option<Duration> {
        self.read.filter(|_| !self.failed).map(|read| now.saturating_sub(read))
    }

    /// How long ago all partitions were read, whatever came of attempts since; none: they never were.
    #[must_use]
    pub fn since_complete(&self, now: Duration) -> Option<Duration> {
        self.read.map(|read| now.saturating_sub(read))
    }

    /// How long ago some were seen to wait, where not all could be seen; none: none were, or all could.
    #[must_use]
    pub fn since_partly(&self, now: Duration) -> Option<Duration> {
        self.partly.map(|at| now.saturating_sub(at))
    }

    /// Records that wait.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.tracks.values().map(|track| track.standing.lag).sum()
    }

    /// How old the oldest waiting record is; none: nothing waits.
    #[must_use]
    pub fn age(&self, now: Duration) -> Option<Duration> {
        self.tracks.values().filter_map(|track| track.age(now)).max()
    }

    /// Records that come each second.
    #[must_use]
    pub fn arrival(&self) -> f64 {
        self.tracks.values().map(Track::arrival).sum()
    }

    /// Records that a worker handles each second, if that is known.
    #[must_use]
    pub fn speed(&self) -> Option<f64> {
        self.speed.per_worker()
    }

    /// Whether there is a partition whose beginning moves until a worker has committed it.
    #[must_use]
    pub fn is_adrift(&self) -> bool {
        self.tracks.values().any(|track| track.standing.adrift)
    }

    /// Whether workers have had enough to do since the last look, and did nothing.
    fn does_nothing(&self) -> bool {
        self.tracks.values().any(Track::is_backlogged) && self.tracks.values().all(|track| track.worked_off == 0)
    }

    /// Whether workers have work and do nothing, for longer than is usual of them.
    pub(super) fn stands_still(&self) -> bool {
        self.standstill.is_odd(self.total())
    }

    /// Whether they have enough to do, and how fast they are is not known yet.
    pub(super) fn is_being_measured(&self) -> bool {
        self.speed.is_being_measured()
    }

    /// Whether they do nothing for so long that a person should look at it.
    pub(super) fn is_stuck(&self) -> bool {
        self.standstill.is_long(self.total())
    }

    /// Records a second that workers do together, if that is known.
    fn total(&self) -> Option<f64> {
        self.speed.per_worker().map(|speed| speed * f64::from(self.workers.ready.max(1)))
    }
}

/// Partitions that go to one worker together.
type Lot<'a> = Vec<(&'a PartitionKey, &'a Track)>;

fn is_of_source(lot: &Lot<'_>) -> bool {
    lot.iter().any(|(_, track)| track.is_source)
}

/// Records a second that must be handled in a partition so that the goal is not missed before something can be done about it.
fn risk(track: &Track, policy: &Policy, now: Duration) -> f64 {
    let reaction = (policy.interval + REACTION).as_secs_f64();
    let waiting = track.standing.lag as f64 + track.arrival() * reaction;
    waiting / (SAFE * left(track, policy, now) + reaction)
}

/// Records a second that must be handled in a partition so that it keeps up, and what waits is done in time. Not the sum of both:
/// what comes is handled after what waits.
fn demand(track: &Track, policy: &Policy, now: Duration) -> f64 {
    (track.arrival() / FULL).max(track.standing.lag as f64 / left(track, policy, now))
}

/// For how long what waits in a partition may still wait. What is done about it is seen at the next look.
fn left(track: &Track, policy: &Policy, now: Duration) -> f64 {
    let drain = policy.drain.as_secs_f64();
    let gone = track.age(now).unwrap_or_default() + policy.interval;
    (drain - gone.as_secs_f64()).max(drain * LEAST_TIME)
}
