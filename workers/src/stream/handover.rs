//! Brings the group's decisions from the thread that polls to the task that works, and lets the thread wait there until
//! what is under way is finished and committed.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use penstock_kafka::{CommitOffsets, RebalanceListener, TopicPartition};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

/// What the group decided.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// These partitions came.
    Assigned(Vec<TopicPartition>),
    /// These partitions go, once this is dropped.
    Revoked(Vec<TopicPartition>, Consent),
    /// These partitions are gone.
    Lost(Vec<TopicPartition>),
}

/// Its drop tells whoever waits.
pub(crate) type Done = Box<dyn fmt::Debug + Send + Sync>;

/// Lets revoked partitions go when it is dropped.
#[derive(Debug)]
pub(crate) struct Consent {
    _done: Done,
    /// When they go in any case.
    pub deadline: Instant,
}

/// How long to wait for what is under way.
#[derive(Clone)]
pub(crate) struct Patience {
    longest: Duration,
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    pub fn new(longest: Duration) -> Self {
        Self { longest, deadline: Arc::default() }
    }

    /// From now on nobody waits longer than until then.
    pub fn end_at(&self, deadline: Instant) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }

    fn until(&self) -> Instant {
        let latest = Instant::now() + self.longest;
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.map_or(latest, |deadline| deadline.min(latest))
    }
}

/// The listener: its side of the polling thread.
pub(crate) struct Handover {
    decisions: UnboundedSender<Rebalance>,
    patience: Patience,
}

impl Handover {
    /// A listener, and where its decisions arrive.
    pub fn new(patience: Patience) -> (Self, UnboundedReceiver<Rebalance>) {
        let (decisions, receiver) = unbounded_channel();
        (Self { decisions, patience }, receiver)
    }

    /// These partitions came. Their records come after this, so whoever reads the decisions first knows of them in time.
    pub fn assigned(&self, partitions: &[TopicPartition]) {
        self.tell(Rebalance::Assigned(partitions.to_vec()));
    }

    /// These partitions go, once `done` is dropped. Gives back when they go in any case.
    pub fn revoked(&self, partitions: &[TopicPartition], done: Done) -> Instant {
        let deadline = self.patience.until();
        self.tell(Rebalance::Revoked(partitions.to_vec(), Consent { _done: done, deadline }));
        deadline
    }

    fn tell(&self, decision: Rebalance) {
        // Nobody is there any more: the session has ended, and with it all work on the partitions.
        let _ = self.decisions.send(decision);
    }
}

impl RebalanceListener for Handover {
    fn on_assigned(&self, partitions: &[TopicPartition]) {
        self.assigned(partitions);
    }

    fn on_revoked(&self, partitions: &[TopicPartition], commits: &dyn CommitOffsets) {
        let (done, consent) = sync_channel::<()>(0);
        let deadline = self.revoked(partitions, Box::new(done));
        if let Err(RecvTimeoutError::Timeout) = consent.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            tracing::warn!("records were still under way when their partitions had to go: they will be handled again");
            // A commit that comes later would be one of what another worker has by then.
            commits.let_go_unfinished();
        }
    }

    fn on_lost(&self, partitions: &[TopicPartition]) {
        tracing::warn!("the group went on without this worker: what was under way will be handled again");
        self.tell(Rebalance::Lost(partitions.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    /// Remembers whether it was told to refuse commits.
    #[derive(Default)]
    struct NoCommits(AtomicBool);

    impl CommitOffsets for NoCommits {
        fn commit(&self, _: &[penstock_kafka::GroupOffset]) -> penstock_kafka::Result<()> {
            Ok(())
        }

        fn let_go_unfinished(&self) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn a_revocation_waits_for_consent_but_not_for_ever() {
        let partitions = [TopicPartition::new("t", 0)];
        for (longest, consents) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
            let (handover, mut decisions) = Handover::new(Patience::new(longest));
            let thread = std::thread::spawn(move || {
                let commits = NoCommits::default();
                handover.on_revoked(&[TopicPartition::new("t", 0)], &commits);
                commits.0.into_inner()
            });
            let Some(Rebalance::Revoked(told, consent)) = decisions.blocking_recv() else { panic!("no revocation") };
            assert_eq!(told, partitions);
            if consents {
                assert!(!thread.is_finished());
                drop(consent);
                assert!(!thread.join().unwrap());
            } else {
                assert!(thread.join().unwrap(), "what is committed later is refused");
                drop(consent);
            }
        }
    }

    #[test]
    fn without_a_worker_nobody_waits() {
        let (handover, decisions) = Handover::new(Patience::new(Duration::from_secs(60)));
        drop(decisions);
        handover.on_revoked(&[TopicPartition::new("t", 0)], &NoCommits::default());
    }

    #[test]
    fn the_end_of_the_session_ends_all_patience() {
        let patience = Patience::new(Duration::from_secs(60));
        let now = Instant::now();
        assert!(patience.until() > now + Duration::from_secs(50));
        patience.end_at(now);
        assert!(patience.until() <= now);
    }
}
