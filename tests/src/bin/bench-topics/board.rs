//! What the apiserver shows of the objects of a run, from one watch, and waiting on one of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use kube::{Api, ResourceExt, runtime::watcher};
use penstock_crds::KafkaTopic;
use penstock_tests::scene::{Result, condition};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// How long one object may take for one step. Longer than any run that is worth reading.
const LIMIT: Duration = Duration::from_secs(600);

/// What was seen of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It is there.
    pub exists: bool,
    /// It says that it is ready.
    pub ready: bool,
    /// The generation that its status speaks of.
    pub observed: Option<i64>,
}

type Slots = Arc<Mutex<HashMap<String, watch::Sender<Seen>>>>;

/// The objects of one namespace.
pub struct Board {
    slots: Slots,
    _watch: AbortOnDropHandle<()>,
}

impl Board {
    /// Follows the objects.
    pub fn follow(api: Api<KafkaTopic>) -> Self {
        let slots = Slots::default();
        let watching = Arc::clone(&slots);
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            loop {
                match events.try_next().await {
                    Ok(Some(watcher::Event::Apply(topic) | watcher::Event::InitApply(topic))) => note(&watching, &topic, true),
                    Ok(Some(watcher::Event::Delete(topic))) => note(&watching, &topic, false),
                    Ok(Some(_)) => {}
                    Ok(None) => return,
                    // The watcher goes on by itself.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { slots, _watch: AbortOnDropHandle::new(task) }
    }

    /// Waits until an object was seen like this.
    ///
    /// # Errors
    /// It never is.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Seen) -> bool) -> Result {
        let mut slot = subscribe(&self.slots, name);
        if let Ok(seen) = timeout(LIMIT, slot.wait_for(wanted)).await {
            return seen.map(drop).map_err(Into::into);
        }
        Err(format!("{name}: not within {} s; last seen: {:?}", LIMIT.as_secs(), *slot.borrow()).into())
    }
}

fn subscribe(slots: &Slots, name: &str) -> watch::Receiver<Seen> {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    slots.entry(name.to_owned()).or_default().subscribe()
}

fn note(slots: &Slots, topic: &KafkaTopic, exists: bool) {
    let status = topic.status.as_ref();
    let ready = status.and_then(|status| condition(&status.conditions, "Ready")).is_some_and(|ready| ready.status == "True");
    let seen = Seen { exists, ready: exists && ready, observed: status.and_then(|status| status.observed_generation) };
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    slots.entry(topic.name_any()).or_default().send_replace(seen);
}
