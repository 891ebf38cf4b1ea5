//! Does to workers and brokers what a fault says, and says how often it was done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    PATIENCE, Result,
    fault::{Fault, Moment},
    fleet::Fleet,
    history::Delivery,
    proxy::{Api, Blow, Hold, Plan, Rule},
    rig::{Rig, SMALL},
    wire::{self, Coordinated},
    worker::Topics,
};

const LOOK: Duration = Duration::from_millis(50);
/// How long a broker is away.
const AWAY: Duration = Duration::from_secs(4);
/// How long a broker is cut off: longer than a replica may lag.
const CUT_OFF: Duration = Duration::from_secs(9);
/// How long a request is held that its worker waits for.
const HELD: Duration = Duration::from_secs(12);
const STORM: Duration = Duration::from_secs(8);
const POISON: Duration = Duration::from_secs(3);
/// How long a broker may take to find that its disk is full.
const FOUND_FULL: Duration = Duration::from_secs(15);

/// One run, to be disturbed.
#[derive(Clone)]
pub struct Scene {
    /// The brokers and proxies.
    pub rig: Arc<Rig>,
    /// The workers.
    pub fleet: Arc<Fleet>,
    /// The topics.
    pub topics: Topics,
    /// What is promised.
    pub delivery: Delivery,
    /// See [`crate::load::Load::poison`].
    pub poison: Arc<AtomicBool>,
    /// Cancelled once the run is as long as it shall be.
    pub over: CancellationToken,
    /// Cancelled once everything is to be well again.
    pub heal: CancellationToken,
    /// How long a worker stands still: beyond its time-outs.
    pub pause: Duration,
    /// What chance is made from.
    pub seed: u64,
}

impl Scene {
    /// Does it; how often it was done.
    ///
    /// # Errors
    /// Something of the rig itself failed.
    pub async fn inflict(&self, fault: Fault) -> Result<u64> {
        // One broker at a time: what two of three have acknowledged outlives the third.
        let _held = if fault.takes_a_broker() { Some(self.rig.broker.lock().await) } else { None };
        let fired = match fault {
            Fault::Kill(api, moment) => self.rule(api, blow(moment, Blow::Kill)).await,
            Fault::Cut(api) => self.rule(api, Plan::ReplyLost(Blow::Cut)).await,
            Fault::PausedAt(api) => self.rule(api, Plan::Before(Blow::Pause)).await,
            Fault::HeldCut(api) => self.rule(api, Plan::Hold(hold(api, self.delivery, true, None))).await,
            Fault::HeldCutKill(api) => self.rule(api, Plan::Hold(hold(api, self.delivery, true, Some(Api::TxnOffsetCommit)))).await,
            Fault::Held(api) => self.rule(api, Plan::Hold(hold(api, self.delivery, false, None))).await,
            Fault::RandomKills => self.kill_at_random().await,
            Fault::Paused => self.stop_and_go().await,
            Fault::BrokerKilled => self.kill_broker(self.chance().random_range(0..self.rig.brokers.count())).await?,
            Fault::RollingRestart => self.restart_all().await?,
            Fault::GroupCoordinatorKilled => self.kill_broker(self.coordinator(Coordinated::Group, &self.topics.group).await?).await?,
            Fault::TransactionCoordinatorKilled => self.kill_transaction_coordinator().await?,
            Fault::Partitioned => self.cut_off().await?,
            Fault::Storm | Fault::StormOfConsumers => self.storm().await,
            Fault::Poison => self.poison().await,
            Fault::DiskFull => self.fill_disk().await?,
        };
        if fault.takes_a_broker() {
            self.rig.level(&self.topics).await?;
        }
        Ok(fired)
    }

    fn chance(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    /// Arms a rule and waits until it has acted, or is not to any more.
    async fn rule(&self, api: Api, plan: Plan) -> u64 {
        let id = self.rig.rules.arm(Rule { api, nth: self.chance().random_range(1..10), plan });
        let mut healed: Option<Instant> = None;
        loop {
            let fired = self.rig.rules.fired(id);
            if fired > 0 || healed.is_some_and(|healed| healed.elapsed() > PATIENCE / 10) {
                return fired;
            }
            if self.heal.is_cancelled() {
                healed.get_or_insert_with(Instant::now);
            }
            sleep(LOOK).await;
        }
    }

    async fn kill_at_random(&self) -> u64 {
        let mut rng = self.chance();
        let (mut kills, mut pause) = (0, Duration::from_millis(500));
        while self.over.run_until_cancelled(sleep(pause)).await.is_some() {
            let processes = self.fleet.processes();
            if !processes.is_empty()
                && let Some(process) = processes.get(rng.random_range(0..processes.len()))
            {
                process.kill();
                kills += 1;
            }
            // Evenly spread over the orders of magnitude from 0.5 to 20 s.
            pause = Duration::from_millis(500).mul_f64(40_f64.powf(rng.random_range(0.0..1.0)));
        }
        kills
    }

    async fn stop_and_go(&self) -> u64 {
        let Some(process) = self.fleet.processes().into_iter().next() else { return 0 };
        process.pause();
        sleep(self.pause).await;
        process.resume();
        1
    }

    async fn kill_broker(&self, id: usize) -> Result<u64> {
        self.rig.brokers.kill(id)?;
        sleep(AWAY).await;
        self.rig.brokers.restart(id).await?;
        Ok(1)
    }

    async fn restart_all(&self) -> Result<u64> {
        let mut restarts = 0;
        for id in 0..self.rig.brokers.count() {
            self.rig.brokers.stop(id).await?;
            self.rig.brokers.restart(id).await?;
            self.rig.level(&self.topics).await?;
            restarts += 1;
        }
        Ok(restarts)
    }

    async fn coordinator(&self, kind: Coordinated, key: &str) -> Result<usize> {
        let brokers = self.rig.direct();
        let broker = brokers.first().ok_or("there is no broker")?;
        Ok(usize::try_from(wire::coordinator(broker, kind, key).await?)?)
    }

    /// Of any producer that has a transaction open just now, or the next one that has.
    async fn kill_transaction_coordinator(&self) -> Result<u64> {
        while !self.heal.is_cancelled() {
            let open = crate::collect::open_transactions(&self.rig.direct()).await?;
            if let Some(found) = open.iter().find(|found| !found.transactional_id.ends_with("-ghosts")) {
                let id = self.coordinator(Coordinated::Transaction, &found.transactional_id).await?;
                return self.kill_broker(id).await;
            }
            sleep(LOOK).await;
        }
        Ok(0)
    }

    async fn cut_off(&self) -> Result<u64> {
        let id = self.chance().random_range(0..self.rig.brokers.count());
        let direct = self.rig.direct();
        let internal = direct.get(id).and_then(|address| address.rsplit_once(':')?.1.parse().ok()).ok_or("a broker without a port")?;
        self.rig.firewall.cut(&[self.rig.brokers.listener(id)?.port(), internal])?;
        sleep(CUT_OFF).await;
        self.rig.firewall.heal()?;
        Ok(1)
    }

    async fn storm(&self) -> u64 {
        let mut rng = self.chance();
        let (usual, end, mut changes) = (self.fleet.wanted(), Instant::now() + STORM, 0);
        while Instant::now() < end {
            self.fleet.want(rng.random_range(1..=usual + 2));
            changes += 1;
            sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
        }
        self.fleet.want(usual);
        changes
    }

    async fn poison(&self) -> u64 {
        self.poison.store(true, Ordering::Relaxed);
        sleep(POISON).await;
        self.poison.store(false, Ordering::Relaxed);
        1
    }

    /// A broker whose only disk is full ends by itself; it comes back when there is room again.
    async fn fill_disk(&self) -> Result<u64> {
        let disk = self.rig.disk.as_ref().ok_or("there is no small disk")?;
        let process = self.rig.brokers.process(SMALL)?;
        let filled = tokio::task::block_in_place(|| disk.fill());
        let begun = Instant::now();
        while process.ended().is_none() && begun.elapsed() < FOUND_FULL {
            sleep(LOOK).await;
        }
        let has_ended = process.ended().is_some();
        disk.free()?;
        filled?;
        self.rig.brokers.restart(SMALL).await?;
        Ok(u64::from(has_ended))
    }
}

fn blow(moment: Moment, blow: Blow) -> Plan {
    match moment {
        Moment::Before => Plan::Before(blow),
        Moment::ReplyLost => Plan::ReplyLost(blow),
        Moment::After => Plan::Replied(blow),
    }
}

/// What is cut off arrives when the next transaction has begun to write, or outside of transactions behind others; what is waited for
/// arrives after its time.
fn hold(api: Api, delivery: Delivery, cut: bool, then_kill: Option<Api>) -> Hold {
    let next: &[Api] = match (api, delivery) {
        // Whatever its transaction had to write is written by then.
        (Api::EndTxn, _) => &[Api::Produce],
        (Api::Produce, Delivery::AtLeastOnce) => &[Api::Produce; 3],
        (Api::Produce, Delivery::ExactlyOnce) => &[Api::EndTxn, Api::AddPartitionsToTxn],
        _ => &[],
    };
    Hold { cut, until: if cut { next } else { &[] }, longest: if cut { HELD * 2 } else { HELD }, then_kill }
}
