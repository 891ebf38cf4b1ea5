//! How a processor says that it has not begun with an event, so that nobody has to wait for it.
//!
//! The worker polls an attempt and looks whether it stopped within [`unbegun`]. So nothing has to be handed through a processor, and
//! one that never says it pays nothing for it.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

thread_local! {
    /// Whether what is polled on this thread right now waits before it has begun.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Waits for something without which an event cannot be begun, such as a service that is away.
///
/// Nothing may have been done for the event when this is called. In return, the worker drops the attempt while it waits here, as
/// soon as its partition goes to another worker or it stops itself, in place of giving it the time that others have to finish.
/// The event comes again, to whoever has the partition then, and no attempt is lost.
///
/// It must be awaited in [`Processor::process`](super::Processor::process) itself, in however many async functions: not in a task of
/// its own, where the worker does not see it and waits as for any other attempt.
///
/// ```
/// use penstock_workers::{Event, Outcome, Processor, unbegun};
/// use tokio::sync::Semaphore;
///
/// /// Handles four events at once, whatever the pipeline's `concurrency` is.
/// struct Narrow(Semaphore);
///
/// impl Processor for Narrow {
///     async fn process(&self, event: &Event) -> Outcome {
///         let _place = unbegun(self.0.acquire()).await;
///         // …
///         Outcome::Drop
///     }
/// }
/// ```
pub async fn unbegun<T>(wait: impl Future<Output = T>) -> T {
    let (mut wait, _over) = (pin!(wait), Over);
    poll_fn(|cx| {
        let poll = wait.as_mut().poll(cx);
        WAITS.set(poll.is_pending());
        poll
    })
    .await
}

/// The wait is over, or was given up for something else.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        WAITS.set(false);
    }
}

/// Polls an attempt. Whether it waits, and has not begun.
pub(crate) fn poll<F: Future + ?Sized>(attempt: Pin<&mut F>, cx: &mut Context<'_>) -> (Poll<F::Output>, bool) {
    WAITS.set(false);
    let poll = attempt.poll(cx);
    let waits = WAITS.replace(false) && poll.is_pending();
    (poll, waits)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::{FutureExt, future::BoxFuture, task::noop_waker_ref};

    use super::*;

    #[test]
    fn an_attempt_has_begun_unless_it_waits_there() {
        let never = pending::<()>;
        let table: [(&str, BoxFuture<'static, ()>, bool); 6] = [
            ("begun", never().boxed(), false),
            ("waits", unbegun(never()).boxed(), true),
            ("waits, in a function", async move { async { unbegun(never()).await }.await }.boxed(), true),
            ("has waited", async move { unbegun(ready(())).then(|()| never()).await }.boxed(), false),
            ("waits for the second time", async move { unbegun(ready(())).then(|()| unbegun(never())).await }.boxed(), true),
            (
                "does not wait any more",
                async move {
                    tokio::select! {
                        biased;
                        () = unbegun(never()) => {}
                        () = ready(()) => {}
                    }
                    never().await;
                }
                .boxed(),
                false,
            ),
        ];
        for (what, mut attempt, waits) in table {
            assert_eq!(poll(attempt.as_mut(), &mut Context::from_waker(noop_waker_ref())), (Poll::Pending, waits), "{what}");
        }
        assert_eq!(poll(pin!(unbegun(ready(7))), &mut Context::from_waker(noop_waker_ref())), (Poll::Ready(7), false));
    }
}
