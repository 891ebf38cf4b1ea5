//! One watch per kind, with a cache of its objects that any number of controllers share.
//!
//! An object that no longer parses stays in the cache as its raw content and the parse error, and disturbs no other. Every
//! subscriber learns of every change, with the object before and after it; after a lost connection the differences are told.

mod index;

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use penstock_crds::name;
use serde::de::DeserializeOwned;
use tokio::sync::{
    self,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

pub use self::index::Lookup;
use crate::backoff::Backoff;
pub use crate::guarded::Guarded;

/// What can be watched: a namespaced kind that is known at compile time.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K> Watched for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// The pause after a first failure of the connection, and the longest one.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

/// A change of one object.
#[derive(Debug)]
pub struct Change<K> {
    /// The object before it; None: it is new to us.
    pub before: Option<Arc<Guarded<K>>>,
    /// The object after it; None: it is gone.
    pub after: Option<Arc<Guarded<K>>>,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { before: self.before.clone(), after: self.after.clone() }
    }
}

impl<K: Watched> Change<K> {
    /// The object, as it is now, or as it was before it went.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<Guarded<K>>> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The object's name and namespace.
    #[must_use]
    pub fn object_ref(&self) -> Option<ObjectRef<Guarded<K>>> {
        self.latest().map(|object| ObjectRef::from_obj(object.as_ref()))
    }

    /// Whether something changed that its own reconciler must act on: anything but the status.
    #[must_use]
    pub fn concerns_reconciler(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                asked_for(before) != asked_for(after) || lost_a_finalizer(before, after) || before.0.is_ok() != after.0.is_ok()
            }
            _ => true,
        }
    }
}

/// The parts of an object by which others tell its reconciler something.
fn asked_for<K: Watched>(object: &Guarded<K>) -> impl PartialEq + use<'_, K> {
    let meta = object.meta();
    (meta.uid.as_ref(), meta.generation, meta.deletion_timestamp.as_ref(), meta.labels.as_ref(), meta.annotations.as_ref())
}

/// Who puts a finalizer on an object knows of it; that one was taken off the others must be told. Our own we take off ourselves.
fn lost_a_finalizer<K: Watched>(before: &Guarded<K>, after: &Guarded<K>) -> bool {
    before.finalizers().iter().any(|finalizer| finalizer != name::FINALIZER_TOPIC && !after.finalizers().contains(finalizer))
}

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

/// How far a watch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// The first list is under way.
    Starting,
    /// The apiserver does not know the kind: its CustomResourceDefinition is missing.
    UnknownKind,
    /// The apiserver could not be asked, or refused; its words.
    Failing(String),
    /// The cache is complete.
    Synced,
}

/// A run of failures. That a watch works again is told by nothing but the next change, or by failing no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outage {
    first: Instant,
    last: Instant,
}

/// After so long without a failure an outage is over: to connect and to pause take less.
const OUTAGE_GAP: Duration = Duration::from_secs(60);

impl Outage {
    /// The outage that a failure at this time belongs to.
    fn with(before: Option<Self>, now: Instant) -> Self {
        let goes_on = before.filter(|outage| outage.is_on(now));
        Self { first: goes_on.map_or(now, |outage| outage.first), last: now }
    }

    fn is_on(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= OUTAGE_GAP
    }

    /// How long it has lasted; none: it is over.
    fn lasts(&self, now: Instant) -> Option<Duration> {
        self.is_on(now).then(|| self.last.saturating_duration_since(self.first))
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
        let state = if is_unknown_kind(error) { WatchState::UnknownKind } else { WatchState::Failing(error.to_string()) };
        let mut inner = self.lock();
        inner.outage = Some(Outage::with(inner.outage, Instant::now()));
        if inner.state != state {
            tracing::warn!(kind = %K::kind(&()), %error, "the watch failed; trying again");
            inner.state = state;
        }
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// What a new list says that the cache did not: deletions that were missed, too.
fn differences<K: Watched>(before: Vec<Arc<Guarded<K>>>, after: Vec<Arc<Guarded<K>>>) -> Vec<Change<K>> {
    let mut before: HashMap<_, _> = before.into_iter().map(|object| (ObjectRef::from_obj(object.as_ref()), object)).collect();
    let mut changes: Vec<_> = after
        .into_iter()
        .map(|object| Change { before: before.remove(&ObjectRef::from_obj(object.as_ref())), after: Some(object) })
        .filter(|change| match (&change.before, &change.after) {
            (Some(before), Some(after)) => before.resource_version() != after.resource_version(),
            _ => true,
        })
        .collect();
    changes.extend(before.into_values().map(|gone| Change { before: Some(gone), after: None }));
    changes
}

#[cfg(test)]
mod tests {
    use penstock_crds::KafkaTopic;
    use serde_json::{Value, json};

    use super::*;

    fn topic(name: &str, version: u8, spec: Value) -> Guarded<KafkaTopic> {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": version, "resourceVersion": version.to_string()},
            "spec": spec,
        }))
        .unwrap()
    }

    fn watch() -> (Watch<KafkaTopic>, Writer<Guarded<KafkaTopic>>) {
        let writer = Writer::default();
        (Watch { store: writer.as_reader(), inner: Arc::default(), synced: Arc::default() }, writer)
    }

    fn told(receiver: &mut UnboundedReceiver<Change<KafkaTopic>>) -> Vec<(String, bool, bool)> {
        let mut told: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|c| (c.latest().map(|o| o.name_any()).unwrap_or_default(), c.before.is_some(), c.after.is_some()))
            .collect();
        told.sort();
        told
    }

    fn rows(rows: &[(&str, bool, bool)]) -> Vec<(String, bool, bool)> {
        rows.iter().map(|(name, before, after)| ((*name).to_owned(), *before, *after)).collect()
    }

    #[test]
    fn every_subscriber_learns_of_every_change_also_of_missed_ones() {
        let (watch, mut writer) = watch();
        let mut early = watch.subscribe();
        for name in ["a", "b"] {
            watch.apply(&mut writer, watcher::Event::InitApply(topic(name, 1, json!({}))));
        }
        assert_eq!((told(&mut early), watch.was_synced()), (vec![], false));
        watch.apply(&mut writer, watcher::Event::InitDone);
        assert_eq!((told(&mut early), watch.was_synced()), (rows(&[("a", false, true), ("b", false, true)]), true));
        let mut late = watch.subscribe();
        assert_eq!(told(&mut late), rows(&[("a", false, true), ("b", false, true)]));

        // A new list after a lost connection: `a` went, `b` is as it was, `c` is new.
        watch.apply(&mut writer, watcher::Event::Init);
        for (name, version) in [("b", 1), ("c", 2)] {
            watch.apply(&mut writer, watcher::Event::InitApply(topic(name, version, json!({}))));
        }
        watch.apply(&mut writer, watcher::Event::InitDone);
        let expected = rows(&[("a", true, false), ("c", false, true)]);
        assert_eq!((told(&mut early), told(&mut late)), (expected.clone(), expected));

        watch.apply(&mut writer, watcher::Event::Delete(topic("c", 3, json!({}))));
        assert_eq!(told(&mut late), rows(&[("c", true, false)]));
        assert!(watch.get("shop", "b").is_some() && watch.get("shop", "c").is_none());
    }

    #[test]
    fn an_unreadable_object_stands_beside_the_others() {
        let (watch, mut writer) = watch();
        for object in [topic("good", 1, json!({})), topic("bad", 1, json!({"partitions": "many"}))] {
            watch.apply(&mut writer, watcher::Event::InitApply(object));
        }
        watch.apply(&mut writer, watcher::Event::InitDone);
        assert_eq!(watch.select(|_| true).len(), 1);
        assert!(watch.get("shop", "bad").is_some_and(|object| object.0.is_err()));
    }

    #[test]
    fn failures_that_follow_one_another_are_one_outage() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut outage = None;
        for (second, lasts) in [(0, 0), (5, 5), (40, 40), (99, 99), (200, 0), (230, 30)] {
            let now = Outage::with(outage, at(second));
            assert_eq!(now.lasts(at(second)), Some(Duration::from_secs(lasts)), "{second}");
            assert_eq!((now.lasts(at(second + 60)).is_some(), now.lasts(at(second + 61))), (true, None), "{second}");
            outage = Some(now);
        }
    }

    #[test]
    fn a_change_ends_an_outage() {
        let (watch, mut writer) = watch();
        assert_eq!(watch.outage(), None);
        watch.failed(&watcher::Error::NoResourceVersion);
        assert!(watch.outage().is_some());
        watch.apply(&mut writer, watcher::Event::Init);
        assert!(watch.outage().is_some(), "the list is not complete yet");
        watch.apply(&mut writer, watcher::Event::InitDone);
        assert_eq!((watch.outage(), watch.state()), (None, WatchState::Synced));
    }

    #[test]
    fn a_status_does_not_concern_the_reconciler_that_wrote_it() {
        let same = topic("a", 1, json!({}));
        let mut with_status = same.clone();
        let (mut with_label, mut going, mut with_finalizer) = (same.clone(), same.clone(), same.clone());
        with_status.meta_mut().resource_version = Some("9".into());
        with_label.labels_mut().insert("a".into(), "b".into());
        with_finalizer.finalizers_mut().push("f".into());
        going.meta_mut().deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        for (name, after, concerns) in [
            ("status", Some(with_status), false),
            ("label", Some(with_label), true),
            ("finalizer", Some(with_finalizer), false),
            ("deletion", Some(going), true),
            ("spec", Some(topic("a", 2, json!({}))), true),
            ("unreadable", Some(topic("a", 1, json!({"partitions": "many"}))), true),
            ("gone", None, true),
        ] {
            let change = Change { before: Some(Arc::new(same.clone())), after: after.map(Arc::new) };
            assert_eq!(change.concerns_reconciler(), concerns, "{name}");
        }
        for (finalizer, concerns) in [("f", true), (name::FINALIZER_TOPIC, false)] {
            let mut held = same.clone();
            held.finalizers_mut().push(finalizer.into());
            let released = Change { before: Some(Arc::new(held)), after: Some(Arc::new(same.clone())) };
            assert_eq!(released.concerns_reconciler(), concerns, "{finalizer}");
        }
    }

    #[test]
    fn a_cache_holds_no_copies_of_an_object() {
        let mut object = topic("a", 1, json!({}));
        let annotations = ["kubectl.kubernetes.io/last-applied-configuration", "penstock.dev/approve", "team.example/owner"];
        object.annotations_mut().extend(annotations.map(|annotation| (annotation.to_owned(), "{}".to_owned())));
        object.managed_fields_mut().push(Default::default());
        slimmed(&mut object);
        assert_eq!(object.annotations().keys().collect::<Vec<_>>(), ["penstock.dev/approve"]);
        assert!(object.managed_fields().is_empty());

        let mut unreadable = topic("a", 1, json!({"partitions": "many"}));
        slimmed(&mut unreadable);
        assert_eq!(unreadable.meta().name.as_deref(), Some("a"));
        let content = unreadable.0.map_err(|unreadable| unreadable.content).unwrap_err();
        assert_eq!(
            content.as_object().map(|fields| fields.keys().map(String::as_str).collect::<Vec<_>>()),
            Some(vec!["apiVersion", "kind", "spec"])
        );
    }

    #[test]
    fn a_lookup_is_as_new_as_the_cache() {
        fn kind(object: &Guarded<KafkaTopic>) -> &str {
            if object.0.is_ok() { "readable" } else { "unreadable" }
        }
        let (watch, mut writer) = watch();
        watch.apply(&mut writer, watcher::Event::Apply(topic("early", 1, json!({}))));
        let lookup = watch.lookup(kind);
        let names = |text: &str| {
            let mut names: Vec<_> = lookup.find(text).iter().map(|object| object.name_any()).collect();
            names.sort();
            names
        };
        assert_eq!(names("readable"), ["early"]);
        watch.apply(&mut writer, watcher::Event::Apply(topic("late", 1, json!({}))));
        assert_eq!(names("readable"), ["early", "late"]);
        // A new list after a lost connection.
        watch.apply(&mut writer, watcher::Event::Init);
        watch.apply(&mut writer, watcher::Event::InitApply(topic("late", 2, json!({"partitions": "many"}))));
        watch.apply(&mut writer, watcher::Event::InitDone);
        assert_eq!((names("readable"), names("unreadable")), (vec![], vec!["late".to_owned()]));
    }
}
