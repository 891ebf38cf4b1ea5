//! What the processor is at.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};

use super::{Attempt, Engine};
use crate::stream::{
    outbox::Outbox,
    ticket::{Assignment, Ticket},
    world::World,
};

/// An attempt that did not end at once, and whose it is.
pub(super) struct Running {
    pub ticket: Ticket,
    pub attempt: BoxFuture<'static, Attempt>,
}

impl Future for Running {
    type Output = Attempt;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Attempt> {
        self.attempt.poll_unpin(cx)
    }
}

impl<W: World, O: Outbox> Engine<W, O> {
    /// Drops the attempts of partitions that went away: another worker makes them now, and what they would still do would come
    /// beside or after what that one does. Their places are free at once.
    pub(super) fn give_up(&mut self, gone: &[Assignment]) {
        let is_gone = |running: &Running| gone.contains(&running.ticket.assignment);
        if self.running.iter().any(is_gone) {
            self.running = std::mem::take(&mut self.running).into_iter().filter(|running| !is_gone(running)).collect();
        }
    }
}
