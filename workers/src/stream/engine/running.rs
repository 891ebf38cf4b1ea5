//! What the processor is at.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};

use super::{Attempt, Engine};
use crate::{
    processor::waiting,
    stream::{
        outbox::Outbox,
        ticket::{Assignment, Ticket},
        world::World,
    },
};

/// An attempt that did not end at once, and whose it is.
pub(super) struct Running {
    ticket: Ticket,
    attempt: BoxFuture<'static, Attempt>,
    /// Its partition goes away: it ends as soon as it waits and has not begun.
    is_closing: bool,
}

/// How that ended.
pub(super) enum Ended {
    Tried(Attempt),
    /// It was given up before it had begun.
    Unbegun(Ticket),
}

impl Running {
    pub fn new(ticket: Ticket, attempt: impl Future<Output = Attempt> + Send + 'static) -> Self {
        Self { ticket, attempt: attempt.boxed(), is_closing: false }
    }
}

impl Future for Running {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let (poll, is_unbegun) = waiting::poll(self.attempt.as_mut(), cx);
        match poll {
            Poll::Ready(attempt) => Poll::Ready(Ended::Tried(attempt)),
            Poll::Pending if is_unbegun && self.is_closing => Poll::Ready(Ended::Unbegun(self.ticket)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<W: World, O: Outbox> Engine<W, O> {
    /// What has not begun of partitions that go away, of these or of all, ends, and nobody waits for it.
    pub(super) fn end_unbegun(&mut self, only: Option<&[Assignment]>) {
        let goes = |running: &Running| only.is_none_or(|only| only.contains(&running.ticket.assignment));
        if self.running.iter().any(goes) {
            // What is put into the set is polled, and so tells whether it waits.
            let all = std::mem::take(&mut self.running).into_iter();
            self.running = all.map(|running| Running { is_closing: running.is_closing || goes(&running), ..running }).collect();
        }
    }

    /// Drops the attempts of partitions that went away: another worker makes them now, and what they would still do would come
    /// beside or after what that one does. Their places are free at once.
    pub(super) fn give_up(&mut self, gone: &[Assignment]) {
        let is_gone = |running: &Running| gone.contains(&running.ticket.assignment);
        if self.running.iter().any(is_gone) {
            self.running = std::mem::take(&mut self.running).into_iter().filter(|running| !is_gone(running)).collect();
        }
    }
}
