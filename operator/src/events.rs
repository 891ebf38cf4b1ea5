//! Events on objects (`events.k8s.io/v1`): what was done, found or refused, one for each time it happens.
//!
//! Best effort: a failure is logged and changes nothing else. Whoever publishes sees to it that a retry tells nothing twice.

mod allowance;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource, api::PostParams};
use penstock_crds::name;

use self::allowance::Allowance;

/// The longest note that the apiserver takes, in bytes.
const MAX_NOTE: usize = 1024;
/// The longest start of a generated name, so that the apiserver's suffix still fits.
const MAX_NAME_STEM: usize = 240;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// All is well.
    Normal,
    /// A person should look.
    Warning,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub importance: Importance,
    /// A CamelCase word that scripts match on.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
}

impl Notice {
    /// A notice that all is well.
    #[must_use]
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { importance: Importance::Normal, reason, message: message.into() }
    }

    /// A notice that a person should look at.
    #[must_use]
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { importance: Importance::Warning, reason, message: message.into() }
    }
}

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    routine: Arc<Mutex<Allowance>>,
}

impl Events {
    /// Events that name `instance` (the pod) as their reporter.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, routine: Arc::default() }
    }

    /// Publishes one of the events that come with every change that an object asks for, unless its namespace had many of them lately: then
    /// it stands in the log alone, as in the object's status.
    pub async fn publish_routine<K: Resource<DynamicType = ()>>(&self, meta: &ObjectMeta, action: &'static str, notice: Notice) {
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        if self.routine.lock().unwrap_or_else(PoisonError::into_inner).take(namespace, Instant::now()) {
            self.publish::<K>(meta, action, notice).await;
        } else {
            log::<K>(meta, &notice);
        }
    }

    /// Publishes one event on the object with that metadata. `action` is what was tried (a CamelCase verb).
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, meta: &ObjectMeta, action: &'static str, notice: Notice) {
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        let event = event::<K>(meta, action, notice, &self.instance, MicroTime(jiff::Timestamp::now()));
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            // Nothing can be created in a namespace that is being deleted.
            Err(kube::Error::Api(status)) if status.code == 403 => tracing::debug!(%status, "the event was refused"),
            Err(error) => tracing::warn!(%error, "the event could not be published"),
        }
    }
}

fn event<K: Resource<DynamicType = ()>>(meta: &ObjectMeta, action: &str, notice: Notice, instance: &str, now: MicroTime) -> Event {
    let object = meta.name.as_deref().unwrap_or_default();
    log::<K>(meta, &notice);
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", cut(object, MAX_NAME_STEM).trim_end_matches(['.', '-']))),
            namespace: meta.namespace.clone(),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        }),
        type_: Some(match notice.importance {
            Importance::Normal => "Normal".to_owned(),
            Importance::Warning => "Warning".to_owned(),
        }),
        reason: Some(notice.reason.to_owned()),
        action: Some(action.to_owned()),
        note: Some(cut(&notice.message, MAX_NOTE).to_owned()),
        event_time: Some(now),
        reporting_controller: Some(name::FIELD_MANAGER.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        ..Event::default()
    }
}

fn log<K: Resource<DynamicType = ()>>(meta: &ObjectMeta, notice: &Notice) {
    tracing::info!(kind = %K::kind(&()), namespace = meta.namespace, name = meta.name, reason = notice.reason, "{}", notice.message);
}

/// The longest start of the text that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use penstock_crds::KafkaTopic;

    use super::*;

    #[test]
    fn an_event_fits_into_the_bounds_of_the_apiserver() {
        let meta = ObjectMeta { name: Some("n".repeat(253)), namespace: Some("shop".into()), ..ObjectMeta::default() };
        let event = event::<KafkaTopic>(
            &meta,
            "Create",
            Notice::normal("Created", "ü".repeat(1024)),
            "pod",
            MicroTime(jiff::Timestamp::UNIX_EPOCH),
        );
        assert!(event.note.unwrap().len() <= MAX_NOTE);
        assert!(event.metadata.generate_name.unwrap().len() <= 248);
        assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("KafkaTopic"));
    }
}
