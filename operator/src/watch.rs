//! One watch per kind, with a cache of its objects that any number of controllers share.
//!
//! An object that no longer parses stays in the cache as its raw content and the parse error, and disturbs no other. Every
//! subscriber learns of every change, with the object before and after it; after a lost connection the differences are told.

mod change;
mod index;
mod state;

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{
    self,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

pub use self::{change::Change, index::Lookup, state::WatchState};
use self::{change::differences, state::Outage};
use crate::backoff::Backoff;
pub use crate::guarded::Guarded;

/// What can be watched: a namespaced kind that is known at compile time.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K> Watched for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// The pause after a first failure of the connection, and the longest one.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

/// What annotations begin with that somebody here reads: our own, and the one by which pods are chosen that go first.
const READ_ANNOTATIONS: [&str; 2] = ["penstock.dev/", "controller.kubernetes.io/"];

/// Takes out what nobody here reads, and what makes up most of an object.
fn slimmed<K: Watched>(object: &mut Guarded<K>) {
    object.meta_mut().managed_fields = None;
    let annotations = &mut object.meta_mut().annotations;
    if let Some(all) = annotations {
        all.retain(|annotation, _| READ_ANNOTATIONS.iter().any(|read| annotation.starts_with(read)));
    }
    annotations.take_if(|all| all.is_empty());
    // Of what cannot be read the metadata stands beside it.
    if let Err(unreadable) = &mut object.0
        && let Some(fields) = unreadable.content.as_object_mut()
    {
        fields.remove("metadata");
    }
}

struct Inner<K: Watched> {
    subscribers: Vec<UnboundedSender<Change<K>>>,
    lookups: Vec<Lookup<K>>,
    state: WatchState,
    outage: Option<Outage>,
}

impl<K: Watched> Default for Inner<K> {
    fn default() -> Self {
        Self { subscribers: Vec::new(), lookups: Vec::new(), state: WatchState::Starting, outage: None }
    }
}

/// The watch of one kind. Clone: another handle of the same watch.
pub struct Watch<K: Watched> {
    store: Store<Guarded<K>>,
    inner: Arc<Mutex<Inner<K>>>,
    synced: Arc<sync::watch::Sender<bool>>,
}

impl<K: Watched> Clone for Watch<K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), inner: Arc::clone(&self.inner), synced: Arc::clone(&self.synced) }
    }
}

impl<K: Watched> Watch<K> {
    /// A watch over all namespaces, and the future that drives it for ever.
    pub fn new(client: &Client, config: watcher::Config) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let writer = Writer::<Guarded<K>>::new(());
        let watch = Self { store: writer.as_reader(), inner: Arc::default(), synced: Arc::default() };
        let driver = watch.clone().drive(writer, Api::all(client.clone()), config);
        (watch, driver)
    }

    /// The cache, as kube's own controllers want it.
    #[must_use]
    pub fn store(&self) -> Store<Guarded<K>> {
        self.store.clone()
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded<K>>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// All objects that could be read and for which `wanted` holds.
    #[must_use]
    pub fn select(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<Guarded<K>>> {
        self.store.state_filter(|object| object.0.as_ref().is_ok_and(&wanted))
    }

    /// Every change from now on, after one for each object that the cache holds already.
    #[must_use]
    pub fn subscribe(&self) -> UnboundedReceiver<Change<K>> {
        let (sender, receiver) = unbounded_channel();
        let mut inner = self.lock();
        for object in self.store.state() {
            // The receiver is alive: it is returned below.
            let _ = sender.send(Change { before: None, after: Some(object) });
        }
        inner.subscribers.push(sender);
        receiver
    }

    /// Keeps the objects by a text in them from now on, those that the cache holds already too.
    #[must_use]
    pub fn lookup(&self, key: fn(&Guarded<K>) -> &str) -> Lookup<K> {
        let lookup = Lookup::new(key);
        let mut inner = self.lock();
        for object in self.store.state() {
            lookup.apply(&Change { before: None, after: Some(object) });
        }
        inner.lookups.push(lookup.clone());
        lookup
    }

    /// How far the watch has come.
    #[must_use]
    pub fn state(&self) -> WatchState {
        self.lock().state.clone()
    }

    /// For how long the apiserver could not be asked, from the first failure to the last one; none: it can be.
    #[must_use]
    pub fn outage(&self) -> Option<Duration> {
        self.lock().outage.and_then(|outage| outage.lasts(Instant::now()))
    }

    /// Whether the cache was complete once; it stays usable when the connection is lost later.
    #[must_use]
    pub fn was_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the cache is complete. Any number of tasks may wait here; kube's own `Store::wait_until_ready` wakes
    /// only the last of those that wait for one store.
    pub async fn synced(&self) {
        // The sender lives as long as this handle, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drive(self, mut writer: Writer<Guarded<K>>, api: Api<Guarded<K>>, config: watcher::Config) {
        let mut events = std::pin::pin!(watcher(api, config));
        let mut failures = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if !matches!(event, watcher::Event::Init) {
                        failures = 0;
                    }
                    self.apply(&mut writer, event.modify(slimmed));
                }
                Err(error) => {
                    failures += 1;
                    self.failed(&error);
                    let pause = RECONNECT.delay(failures, &mut rand::rng());
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Brings the cache up to date and tells the subscribers, in one step as they see it.
    fn apply(&self, writer: &mut Writer<Guarded<K>>, event: watcher::Event<Guarded<K>>) {
        let mut inner = self.lock();
        let changes = match &event {
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
                let key = ObjectRef::from_obj(object);
                let before = self.store.get(&key);
                writer.apply_watcher_event(&event);
                vec![Change { before, after: self.store.get(&key) }]
            }
            watcher::Event::Init | watcher::Event::InitApply(_) => {
                writer.apply_watcher_event(&event);
                Vec::new()
            }
            watcher::Event::InitDone => {
                let before = self.store.state();
                writer.apply_watcher_event(&event);
                self.synced.send_replace(true);
                differences(before, self.store.state())
            }
        };
        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
            inner.state = WatchState::Synced;
            inner.outage = None;
        }
        for change in changes {
            inner.lookups.iter().for_each(|lookup| lookup.apply(&change));
            inner.subscribers.retain(|subscriber| subscriber.send(change.clone()).is_ok());
        }
    }

    fn failed(&self, error: &watcher::Error) {
        let state = WatchState::after(error);
        let mut inner = self.lock();
        inner.outage = Some(Outage::with(inner.outage, Instant::now()));
        if inner.state != state {
            tracing::warn!(kind = %K::kind(&()), %error, "the watch failed; trying again");
            inner.state = state;
        }
    }
}

#[cfg(test)]
mod tests;
