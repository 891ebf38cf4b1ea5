//! A change of an object, and whom it concerns. Pure.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use penstock_crds::name;

use super::{Guarded, Watched};

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

/// What a new list says that the cache did not: deletions that were missed, too.
pub fn differences<K: Watched>(before: Vec<Arc<Guarded<K>>>, after: Vec<Arc<Guarded<K>>>) -> Vec<Change<K>> {
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
