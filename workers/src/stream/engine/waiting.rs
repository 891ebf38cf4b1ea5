//! What the task waits for.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use futures::{FutureExt, StreamExt};
use penstock_kafka::{Error, Received};

use super::{BATCH, Engine, Wake, running::Ended};
use crate::stream::{
    handover::Rebalance,
    outbox::Outbox,
    world::{Member, World},
};

/// How many kinds of things are waited for, besides the group's decisions.
const SOURCES: u8 = 5;

/// What the task waited for.
pub(super) enum Happened {
    Told,
    Decided(Rebalance),
    Ended(Ended),
    Woken(Wake),
    Received(Result<Vec<Received>, Error>),
    /// What was received before is not all taken.
    Unfinished,
    /// Something else may start.
    Behind,
    Answered,
}

impl<W: World, O: Outbox> Engine<W, O> {
    /// Waits until there is something to do. Cancel-safe.
    pub(super) async fn happened(&mut self, may_take: bool, told: impl Future<Output = ()>) -> Happened {
        let Self { parts, running, pauses, batch, is_behind, turn, .. } = self;
        *turn = (*turn + 1) % SOURCES;
        let (mut received, mut answered) = (pin!(parts.member.recv_all(BATCH)), pin!(parts.outbox.wait()));
        // Each comes first in its turn: none starves the others, and nothing is left to chance.
        let others = poll_fn(|cx| {
            let mut poll = |place| match (*turn + place) % SOURCES {
                0 => filled(running.poll_next_unpin(cx)).map(Happened::Ended),
                1 => filled(pauses.poll_next_unpin(cx)).map(Happened::Woken),
                2 if may_take && !batch.is_taken() => Poll::Ready(Happened::Unfinished),
                2 if may_take => received.poll_unpin(cx).map(Happened::Received),
                3 => answered.poll_unpin(cx).map(|()| Happened::Answered),
                4 if *is_behind => Poll::Ready(Happened::Behind),
                _ => Poll::Pending,
            };
            (0..SOURCES).map(&mut poll).find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        tokio::select! {
            // A partition's records come after the decision that it is ours.
            biased;
            () = told => Happened::Told,
            Some(decision) = parts.decisions.recv() => Happened::Decided(decision),
            happened = others => happened,
        }
    }
}

/// The next one, if there is one: nothing is added to an empty set while it is waited for.
fn filled<T>(next: Poll<Option<T>>) -> Poll<T> {
    match next {
        Poll::Ready(Some(next)) => Poll::Ready(next),
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}
