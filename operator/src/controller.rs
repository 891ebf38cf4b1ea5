//! Runs a reconciler for each object of a kind: when something concerns it, when it asked for it, and again after a failure.
//!
//! First asked for, first served, and never twice at once for one object. A failure, a panic or an object that cannot be read delays that object alone.
//! After the shutdown no reconcile begins; those in flight are finished.

use std::{
    collections::HashMap,
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream, FuturesUnordered},
};
use kube::{Resource, runtime::reflector::ObjectRef};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    backoff::Backoff,
    context::Context,
    metrics::Outcome,
    watch::{Change, Guarded, Watch, Watched},
};

mod queue;
mod unreadable;

use self::queue::Queue;

/// The pause after a first failure of an object, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(120));
/// How many objects of a kind are reconciled at once, where each asks by itself.
pub const FEW: usize = 32;
/// How many, where their requests are sent together.
pub const MANY: usize = 256;

/// The pause before an object is looked at again that the cache shows outdated: it has the newer one by then.
const CACHE_LAG: Duration = Duration::from_millis(250);
/// How often in a row that is believed. Then it is the watch that lags behind, and asking again changes nothing.
const LAGS: u32 = 2;

/// When an object shall be looked at again, if nothing concerns it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something concerns it.
    AwaitChange,
    /// After that long.
    After(Duration),
    /// After a pause that grows each time in a row: it could not be made as declared, and its status says why.
    Backoff,
    /// Once the cache has the newer object: the one that was looked at is outdated.
    Outdated,
}

/// A controller ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the controller of {kind} ended by itself")]
pub struct ControllerEnded {
    kind: String,
}

/// What asks for reconciles.
pub type Triggers<K> = BoxStream<'static, ObjectRef<Guarded<K>>>;

/// Asks for a reconcile of each object whose own reconciler is concerned by a change of it.
#[must_use]
pub fn own_changes<K: Watched>(watch: &Watch<K>) -> Triggers<K> {
    related_changes(watch, |change| change.concerns_reconciler().then(|| change.object_ref()).flatten().into_iter().collect())
}

/// Asks for a reconcile of those objects that a change of another object concerns.
pub fn related_changes<R: Watched, K: Watched>(
    watch: &Watch<R>,
    mut concerned: impl FnMut(&Change<R>) -> Vec<ObjectRef<Guarded<K>>> + Send + 'static,
) -> Triggers<K> {
    received(watch.subscribe()).flat_map(move |change| stream::iter(concerned(&change))).boxed()
}

fn received<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// Reconciles the objects of a kind until the shutdown, that many at once.
///
/// # Errors
/// When the controller ended by itself.
pub async fn run<K, E, F, Fut>(
    context: Arc<Context>,
    watch: &Watch<K>,
    triggers: Vec<Triggers<K>>,
    at_once: usize,
    reconcile: F,
    shutdown: CancellationToken,
) -> Result<(), ControllerEnded>
where
    K: Watched,
    E: Display + Send + 'static,
    F: Fn(Arc<K>, Arc<Context>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, E>> + Send + 'static,
{
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = watch.synced() => {}
    }
    let (failures, store) = (Failures::default(), watch.store());
    let (mut queue, mut triggers, mut running) = (Queue::default(), stream::select_all(triggers), FuturesUnordered::new());
    let work = async |object: ObjectRef<Guarded<K>>| {
        let pause = match store.get(&object) {
            Some(found) if context.superseded.has(found.meta()) => Some(CACHE_LAG),
            Some(found) => attempt(found, Arc::clone(&context), &reconcile, &failures).await,
            None => {
                failures.forget(object.namespace.as_deref(), &object.name);
                None
            }
        };
        (object, pause)
    };
    let ended = loop {
        queue.wake(tokio::time::Instant::now());
        while running.len() < at_once
            && let Some(object) = queue.take()
        {
            running.push(work(object));
        }
        let alarm = queue.next_alarm();
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            asked = triggers.next() => match asked {
                Some(object) => queue.ask(object),
                None => break Err(ControllerEnded { kind: K::kind(&()).into_owned() }),
            },
            Some((object, pause)) = running.next() => queue.done(object, pause, tokio::time::Instant::now()),
            () = tokio::time::sleep_until(alarm.unwrap_or_else(tokio::time::Instant::now)), if alarm.is_some() => {}
        }
    };
    while running.next().await.is_some() {}
    ended
}

/// One reconcile: measured, logged, and shielded against panics. Returns the pause after which the next one shall follow.
async fn attempt<K, E, F, Fut>(object: Arc<Guarded<K>>, context: Arc<Context>, reconcile: &F, failures: &Failures) -> Option<Duration>
where
    K: Watched,
    E: Display + Send + 'static,
    F: Fn(Arc<K>, Arc<Context>) -> Fut,
    Fut: Future<Output = Result<Next, E>> + Send + 'static,
{
    let (kind, begun) = (K::kind(&()), Instant::now());
    let meta = kube::Resource::meta(object.as_ref());
    let key = (meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default());
    let span = tracing::info_span!("reconcile", %kind, namespace = key.0, name = key.1);
    let result = match &object.0 {
        Ok(readable) => {
            let reconciled = span.in_scope(|| reconcile(Arc::new(readable.clone()), Arc::clone(&context)));
            joined(tokio::spawn(reconciled.instrument(span.clone()))).await
        }
        Err(error) => unreadable::report::<K>(&context, error).await.map(|()| Next::AwaitChange).map_err(|e| e.to_string()),
    };
    let (next, outcome) = match result {
        Ok(Next::Backoff) => (Next::Backoff, Outcome::Refused),
        Ok(next) => (next, Outcome::Done),
        Err(error) => {
            span.in_scope(|| tracing::warn!(%error, "the reconcile failed"));
            (Next::Backoff, Outcome::Failed)
        }
    };
    context.metrics.reconciled(&kind, outcome, begun.elapsed());
    match next {
        Next::Backoff => Some(RETRY.delay(failures.another(key.0, key.1), &mut rand::rng())),
        Next::Outdated => Some(pause_when_outdated(failures.outdated(key.0, key.1))),
        Next::After(pause) => {
            failures.forget(key.0, key.1);
            Some(pause)
        }
        Next::AwaitChange => {
            failures.forget(key.0, key.1);
            None
        }
    }
}

async fn joined<E: Display>(task: tokio::task::JoinHandle<Result<Next, E>>) -> Result<Next, String> {
    match task.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the reconciler broke off: {panic}")),
    }
}

/// The pause before an object is looked at again that was outdated that often in a row.
fn pause_when_outdated(times: u32) -> Duration {
    match times.checked_sub(LAGS) {
        None | Some(0) => CACHE_LAG,
        Some(failures) => RETRY.delay(failures, &mut rand::rng()),
    }
}

/// How often in a row an object did not come to its end.
#[derive(Default)]
struct Streak {
    failed: u32,
    outdated: u32,
}

/// The streak of each object that has one.
#[derive(Default)]
struct Failures(Mutex<HashMap<(String, String), Streak>>);

impl Failures {
    /// How often it failed in a row, with this time.
    fn another(&self, namespace: Option<&str>, name: &str) -> u32 {
        let mut streaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streak = streaks.entry(key(namespace, name)).or_default();
        *streak = Streak { failed: streak.failed.saturating_add(1), outdated: 0 };
        streak.failed
    }

    /// How often it was outdated in a row, with this time.
    fn outdated(&self, namespace: Option<&str>, name: &str) -> u32 {
        let mut streaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streak = streaks.entry(key(namespace, name)).or_default();
        *streak = Streak { failed: 0, outdated: streak.outdated.saturating_add(1) };
        streak.outdated
    }

    fn forget(&self, namespace: Option<&str>, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(namespace, name));
    }
}

fn key(namespace: Option<&str>, name: &str) -> (String, String) {
    (namespace.unwrap_or_default().to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_outdated_is_looked_at_ever_less_often() {
        let failures = Failures::default();
        let outdated = || failures.outdated(Some("shop"), "orders");
        assert_eq!([outdated(), outdated(), outdated()], [1, 2, 3]);
        assert_eq!((failures.another(Some("shop"), "orders"), outdated()), (1, 1), "another end is the end of the streak");
        assert_eq!(failures.another(Some("shop"), "orders"), 1);
        failures.forget(Some("shop"), "orders");
        assert_eq!(outdated(), 1);

        for (times, least, most) in [(1, 250, 250), (2, 250, 250), (3, 500, 1_000), (4, 1_000, 2_000), (100, 60_000, 120_000)] {
            let pause = pause_when_outdated(times);
            assert!((Duration::from_millis(least)..=Duration::from_millis(most)).contains(&pause), "{times}: {pause:?}");
        }
    }
}
