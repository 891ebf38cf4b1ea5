//! Where verdicts are written and offsets committed, with one of the two guarantees.

mod at_least_once;
mod exactly_once;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use penstock_kafka::{Error, TopicPartition};
use tokio::time::Instant;

pub(crate) use at_least_once::{AtLeastOnce, Batching};
pub(crate) use exactly_once::{Cut, ExactlyOnce};

use super::{
    books::{Books, Emission},
    retry::Burial,
    session::Breakdown,
    ticket::{Assignment, Ticket, Token},
    tiers::Station,
    verdict::Verdict,
};
use crate::processor::Event;

/// What became of a verdict.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many records the client has taken, the refused one included.
    pub records: u32,
    /// What the client would not take, as if Kafka had refused it.
    pub refused: Option<(Token, Error)>,
    /// It is not written: the transaction has failed, and its end says why.
    pub has_failed: bool,
}

/// What the client said about records that it has.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Acknowledged.
    pub acknowledged: Vec<Token>,
    /// Not in Kafka, or perhaps not.
    pub failed: Vec<(Token, Error)>,
    /// Why there are dead letters that were committed with a transaction.
    pub buried: Vec<Burial>,
    /// How many records each partition has of what is acknowledged or committed.
    pub stored: BTreeMap<TopicPartition, u64>,
    /// Records that were to wait there, and became dead letters instead.
    pub unwaiting: Vec<(Arc<Event>, Station)>,
}

/// Writes verdicts and commits offsets.
pub(crate) trait Outbox: Send {
    /// When a verdict may be written.
    const EMISSION: Emission;

    /// Whether a verdict can be written now.
    fn is_open(&self) -> bool;

    /// Whether this verdict can be written together with what was written since the last commit.
    fn takes(&self, _event: &Event, _verdict: &Verdict) -> bool {
        true
    }

    /// Something waits for the next commit.
    fn hurry(&mut self) {}

    /// Writes what comes before everything else.
    fn write_first(&mut self) -> impl Future<Output = Result<(), Breakdown>> + Send {
        std::future::ready(Ok(()))
    }

    /// Hands what follows from a record to the client. Waits while the client has no room.
    fn write(&mut self, ticket: Ticket, event: &Arc<Event>, verdict: &Verdict) -> impl Future<Output = Result<Written, Breakdown>> + Send;

    /// Offsets may have moved. `backlog`: more records are waiting to be taken.
    fn moved(&mut self, backlog: bool);

    /// Waits until there is something to do. Cancel-safe.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;

    /// Takes in what Kafka has answered.
    ///
    /// # Errors
    /// The session cannot go on.
    fn take_in(&mut self, books: &mut Books) -> Result<Answers, Breakdown>;

    /// Begins a commit of what is settled by now, if one is due.
    fn commit_if_due(&mut self, books: &mut Books);

    /// Commits everything that is settled, of these assignments or of all, and waits for the answer.
    ///
    /// # Errors
    /// The session cannot go on.
    fn commit(
        &mut self,
        books: &mut Books,
        only: Option<&[Assignment]>,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Breakdown>> + Send;

    /// The group went on without this worker. `is_writing`: what follows from records that it has lost is on its way to Kafka.
    ///
    /// # Errors
    /// The session cannot go on.
    fn lost(&mut self, is_writing: bool) -> Result<(), Breakdown>;
}
