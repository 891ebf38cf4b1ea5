//! One run: topics of its own, workers, load, faults; then everything is made well, drained, read and checked.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    PATIENCE, Result,
    checker::{Anomaly, check},
    collect,
    fault::{Fault, Planned},
    fleet::Fleet,
    history::{Attempt, Delivery, Fate, History, OpenTransaction},
    inflict::Scene,
    load::Load,
    proxy::Api,
    rig::Rig,
    stub::PaymentService,
    worker::{Subject, Topics, WorkerSpec},
};

/// How many workers a run has.
const WORKERS: usize = 3;
/// How long load goes on, beyond the length of the run, for a fault that waits for its moment.
const EXTRA: Duration = Duration::from_secs(120);
/// How long faults may take to end once everything is to be well.
const HEALING: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);

/// What a run is like.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// Its name, which begins those of its topics.
    pub name: String,
    /// What its orders and its chances are made from.
    pub seed: u64,
    /// How long orders come.
    pub length: Duration,
    /// How many orders in a second.
    pub rate: u32,
    /// What is promised.
    pub delivery: Delivery,
    /// What works.
    pub subject: Subject,
    /// What happens.
    pub schedule: Vec<Planned>,
    /// How long it may take until everything is handled.
    pub drain: Duration,
}

impl RunPlan {
    /// Beyond the time-outs of a worker's session and transaction.
    fn pause(&self) -> Duration {
        Duration::from_secs(if self.subject == Subject::Penstock { 26 } else { 14 })
    }

    /// Whether what fails waits in a retry topic: in every other pair of runs, so that both deliveries have both.
    fn has_delays(&self) -> bool {
        self.subject == Subject::Penstock && self.seed / 2 % 2 == 1
    }

    /// Both deliveries have both formats, and so have runs with and without delays.
    fn has_envelopes(&self) -> bool {
        (self.seed ^ (self.seed / 2)) % 2 == 1
    }

    fn spec(&self, rig: &Rig, service: &PaymentService) -> WorkerSpec {
        let is = |fault: Fault| self.schedule.iter().any(|planned| planned.fault == fault);
        let is_plain = matches!(self.subject, Subject::Plain(_));
        WorkerSpec {
            subject: self.subject,
            number: 0,
            name: String::new(),
            new_names: self.seed / 4 % 2 == 1,
            prefix: self.name.clone(),
            bootstrap: rig.proxied(),
            delivery: self.delivery,
            // In an envelope the value is text already, and cannot be altered by being made text.
            envelope: self.has_envelopes() && !is_plain,
            delays: self.has_delays(),
            next_generation: is(Fault::StormOfConsumers),
            service: service.address(),
            admin_port: 0,
            session_timeout_ms: 6_000,
            transaction_timeout: self.transaction_timeout(),
        }
    }

    /// When Kafka gives up a transaction of a worker that does nothing more.
    fn transaction_timeout(&self) -> Duration {
        // A mistake in fencing shows only while the transaction of the one who stood still is still open.
        let pauses = self.schedule.iter().any(|planned| matches!(planned.fault, Fault::PausedAt(_)));
        Duration::from_secs(if pauses && matches!(self.subject, Subject::Plain(_)) { 60 } else { 10 })
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Which run.
    pub plan: RunPlan,
    /// Attempts by their fate: acknowledged, rejected, unknown.
    pub fates: (usize, usize, usize),
    /// Payments and dead letters that were found.
    pub ends: (usize, usize),
    /// How often a worker was started.
    pub starts: u64,
    /// How often the payment service was called.
    pub calls: u64,
    /// How many requests of each kind workers sent to brokers.
    pub requests: BTreeMap<Api, u64>,
    /// How often each fault was done.
    pub fired: BTreeMap<Fault, u64>,
    /// How long it took until everything was handled; none if it was not.
    pub drained: Option<Duration>,
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
    /// What failed otherwise.
    pub failures: Vec<String>,
}

impl RunReport {
    /// How many orders were tried.
    #[must_use]
    pub fn orders(&self) -> usize {
        let (acknowledged, rejected, unknown) = self.fates;
        acknowledged + rejected + unknown
    }

    /// The faults that were planned and never happened.
    #[must_use]
    pub fn unfired(&self) -> Vec<Fault> {
        self.plan
            .schedule
            .iter()
            .map(|planned| planned.fault)
            .filter(|fault| self.fired.get(fault).is_none_or(|times| *times == 0))
            .collect()
    }

    /// Whether everything happened that was planned, and the workers came to the end of it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.drained.is_some() && self.failures.is_empty() && self.unfired().is_empty()
    }

    /// Whether there is nothing to complain about.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_whole() && self.anomalies.is_empty()
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((acknowledged, rejected, unknown), (payments, letters)) = (self.fates, self.ends);
        write!(f, "seed={} {:?} {:?}", self.plan.seed, self.plan.subject, self.plan.delivery)?;
        f.write_str(if self.plan.has_delays() { " with delays: " } else { ": " })?;
        write!(f, "orders={} acked={acknowledged} rejected={rejected} unknown={unknown} ", self.orders())?;
        write!(f, "payments={payments} letters={letters} calls={} starts={} ", self.calls, self.starts)?;
        match self.drained {
            Some(time) => write!(f, "drained={:.1}s", time.as_secs_f32())?,
            None => f.write_str("drained=never")?,
        }
        f.write_str(" requests:")?;
        self.requests.iter().try_for_each(|(api, times)| write!(f, " {api:?}={times}"))?;
        write!(f, " anomalies={} faults:", self.anomalies.len())?;
        self.fired.iter().try_for_each(|(fault, times)| write!(f, " {fault}={times}"))?;
        self.unfired().iter().try_for_each(|fault| write!(f, " NEVER {fault}"))
    }
}

/// Makes a run.
///
/// # Errors
/// The rig itself failed.
pub async fn run(rig: &Arc<Rig>, plan: RunPlan) -> Result<RunReport> {
    let topics = Topics::of(&plan.name);
    rig.make_topics(&topics).await?;
    let service = PaymentService::start().await?;
    let fleet = Fleet::new(plan.spec(rig, &service), WORKERS, &rig.folder(&plan.name)?, plan.pause());
    rig.aim(Some(Arc::clone(&fleet)));
    let made = Making { rig, plan: &plan, topics: &topics, fleet: &fleet, service: &service }.make().await;
    rig.aim(None);
    rig.rules.clear();
    let report = made.map(|made| made.report(plan.clone()))?;
    rig.remove_topics(&topics).await?;
    Ok(report)
}

struct Making<'a> {
    rig: &'a Arc<Rig>,
    plan: &'a RunPlan,
    topics: &'a Topics,
    fleet: &'a Arc<Fleet>,
    service: &'a PaymentService,
}

/// What a run has left.
struct Made {
    history: History,
    fired: BTreeMap<Fault, u64>,
    failures: Vec<String>,
    drained: Option<Duration>,
    starts: u64,
    calls: u64,
    requests: BTreeMap<Api, u64>,
}

impl Made {
    fn report(self, plan: RunPlan) -> RunReport {
        let Self { history, fired, failures, drained, starts, calls, requests } = self;
        let count = |wanted: fn(&Fate) -> bool| history.attempts.iter().filter(|attempt| wanted(&attempt.fate)).count();
        RunReport {
            plan,
            fates: (
                count(|fate| matches!(fate, Fate::Acknowledged(_))),
                count(|fate| *fate == Fate::Rejected),
                count(|fate| *fate == Fate::Unknown),
            ),
            ends: (history.payments.len(), history.letters.len()),
            starts,
            calls,
            requests,
            fired,
            drained,
            anomalies: check(&history),
            failures,
        }
    }
}

impl Making<'_> {
    async fn make(&self) -> Result<Made> {
        let (over, heal, stop) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        // However this ends, nothing goes on.
        let _ends = (stop.clone().drop_guard(), heal.clone().drop_guard());
        let poison = Arc::new(AtomicBool::new(false));
        let load = Load {
            bootstrap: self.rig.direct(),
            topic: self.topics.orders.clone(),
            seed: self.plan.seed,
            rate: self.plan.rate,
            trailing_marks: self.plan.subject == Subject::Penstock && self.plan.delivery == Delivery::ExactlyOnce,
            poison: Arc::clone(&poison),
        };
        let scene = Scene {
            rig: Arc::clone(self.rig),
            fleet: Arc::clone(self.fleet),
            topics: self.topics.clone(),
            delivery: self.plan.delivery,
            poison,
            over: over.clone(),
            heal: heal.clone(),
            pause: self.plan.pause(),
            seed: self.plan.seed,
        };
        let whole = async {
            let loading = tokio::spawn(load.run(stop.clone()));
            let (fired, failures) = self.disturb(&scene).await;
            stop.cancel();
            let attempts = loading.await??;
            let drained = self.drain().await;
            Ok::<_, crate::Failure>((fired, failures, attempts, drained))
        };
        let (fired, mut failures, attempts, drained) = tokio::select! {
            made = whole => made?,
            kept = self.fleet.keep() => return Err(format!("workers cannot be started: {kept:?}").into()),
        };
        if let Err(error) = self.fleet.end().await {
            failures.push(error.to_string());
        }
        let (starts, calls, requests) = (self.fleet.starts(), self.service.calls(), self.rig.rules.take_seen());
        Ok(Made { history: self.history(attempts).await?, fired, failures, drained, starts, calls, requests })
    }

    /// Does all faults of the schedule, each at its time. Ends when the run is as long as it shall be and all is well again.
    async fn disturb(&self, scene: &Scene) -> (BTreeMap<Fault, u64>, Vec<String>) {
        let begun = Instant::now();
        let mut faults: FuturesUnordered<_> = self
            .plan
            .schedule
            .iter()
            .enumerate()
            .map(|(place, Planned { at, fault })| {
                let scene = Scene { seed: scene.seed.wrapping_add(u64::try_from(place).unwrap_or(0)), ..scene.clone() };
                async move {
                    sleep_until(begun + *at).await;
                    (*fault, scene.inflict(*fault).await)
                }
            })
            .collect();
        let (mut fired, mut failures) = (BTreeMap::new(), Vec::new());
        let mut note = |(fault, done): (Fault, Result<u64>)| match done {
            Ok(times) => *fired.entry(fault).or_default() += times,
            Err(error) => failures.push(format!("{fault}: {error}")),
        };
        let end = begun + self.plan.length;
        let ending = async {
            sleep_until(end).await;
            scene.over.cancel();
            sleep_until(end + EXTRA).await;
        };
        tokio::pin!(ending);
        while let Some(done) = tokio::select! {
            done = faults.next() => done,
            () = &mut ending => None,
        } {
            note(done);
        }
        sleep_until(end).await;
        scene.over.cancel();
        scene.heal.cancel();
        self.rig.rules.clear();
        let rest = async {
            while let Some(done) = faults.next().await {
                note(done);
            }
        };
        if timeout(HEALING, rest).await.is_err() {
            failures.push(format!("faults did not end within {} s", HEALING.as_secs()));
        }
        (fired, failures)
    }

    /// Waits until the group has come to the end of every partition.
    async fn drain(&self) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < self.plan.drain {
            let (brokers, topics) = (self.rig.direct(), self.topics.clone());
            let asked = tokio::task::spawn_blocking(move || {
                collect::progress(&brokers, &topics.group, &topics.read()).map_err(|error| error.to_string())
            });
            let is_done = |progress: &crate::history::Progress| {
                progress.committed.is_some_and(|committed| committed >= progress.end) || progress.start == progress.end
            };
            if let Ok(Ok(progress)) = asked.await
                && progress.values().all(is_done)
            {
                return Some(begun.elapsed());
            }
            sleep(LOOK).await;
        }
        None
    }

    async fn history(&self, attempts: Vec<Attempt>) -> Result<History> {
        let brokers = self.rig.direct();
        // A transaction of a worker that was killed ends with its time.
        let deadline = Instant::now() + self.plan.transaction_timeout() + PATIENCE * 3;
        // Each of its workers has the run's name in that of its transactions.
        let own = |open: Vec<OpenTransaction>| -> Vec<_> {
            open.into_iter().filter(|transaction| transaction.transactional_id.contains(&self.plan.name)).collect()
        };
        let open = loop {
            match collect::open_transactions(&brokers).await.map(own) {
                Ok(open) if open.is_empty() || Instant::now() >= deadline => break open,
                Err(error) if Instant::now() >= deadline => return Err(error),
                // A coordinator may still be loading what it knows.
                Ok(_) | Err(_) => sleep(LOOK).await,
            }
        };
        let (topics, delivery, effects) = (self.topics.clone(), self.plan.delivery, self.service.effects());
        let read = tokio::task::spawn_blocking(move || {
            let mut stable = Vec::new();
            for topic in topics.all() {
                stable.extend(collect::stable(&brokers, topic)?);
            }
            Ok::<_, crate::Failure>(History {
                delivery,
                attempts,
                orders: collect::records(&brokers, &topics.orders)?,
                payments: collect::records(&brokers, &topics.payments)?,
                letters: collect::records(&brokers, &topics.letters)?,
                progress: collect::progress(&brokers, &topics.group, &topics.read())?,
                stable,
                open,
                effects,
            })
        });
        read.await?
    }
}
