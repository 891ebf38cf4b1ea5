//! A processor for each type of event: reads a record's type, as CloudEvents lie in Kafka, and hands the record on to that type's
//! handler as it is.
//!
//! A record whose type has no handler is rejected as `UnknownType`, one without a type as `NoType`: into the dead letter topic, since
//! nobody has said what is to become of it.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    cloudevents::type_of,
    processor::{BoxFuture, DynProcessor, Event, Failure, Outcome},
};

/// How much of a type that has no handler is repeated.
const MAX_REPEATED: usize = 200;

/// The processor.
pub struct ByType {
    handlers: BTreeMap<String, Handler>,
    refused: Family<RefusedLabel, Counter>,
    handled: Family<TypeLabel, Counter>,
}

struct Handler {
    processor: Arc<dyn DynProcessor>,
    handled: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    reason: &'static str,
}

impl ByType {
    /// Of these handlers, by type.
    pub fn new(handlers: BTreeMap<String, Arc<dyn DynProcessor>>) -> Self {
        let handled = Family::<TypeLabel, Counter>::default();
        let with_counter = |(kind, processor): (String, _)| {
            let counter = Counter::clone(&handled.get_or_create(&TypeLabel { r#type: kind.clone() }));
            (kind, Handler { processor, handled: counter })
        };
        Self { handlers: handlers.into_iter().map(with_counter).collect(), refused: Family::default(), handled }
    }

    fn handler_of(&self, event: &Event) -> Result<&Handler, Failure> {
        let kind = type_of(&event.headers, event.payload.as_deref())
            .map_err(|why| Failure::new("NoType", format!("the type of the event cannot be told: {why}")))?;
        self.handlers.get(kind.as_ref()).ok_or_else(|| {
            let shown: String = kind.chars().take(MAX_REPEATED).collect();
            let known = self.handlers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Failure::new("UnknownType", format!("there is no handler of type `{shown}`, only of {known}"))
        })
    }
}

impl DynProcessor for ByType {
    fn handle(self: Arc<Self>, event: Arc<Event>) -> BoxFuture<'static, Outcome> {
        match self.handler_of(&event) {
            Ok(handler) => {
                handler.handled.inc();
                Arc::clone(&handler.processor).handle(event)
            }
            Err(failure) => {
                let reason = if failure.error_type == "NoType" { "none" } else { "unknown" };
                self.refused.get_or_create(&RefusedLabel { reason }).inc();
                Box::pin(async move { Outcome::Reject(failure) })
            }
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for handler in self.handlers.values() {
                handler.processor.close().await;
            }
        })
    }

    /// What a handler counts itself is not told: two handlers that are the same processor would tell it under one name.
    fn register(&self, registry: &mut Registry) {
        registry.register("events_by_type", "Records handed to the handler of their type, one per attempt", self.handled.clone());
        registry.register("events_without_handler", "Records of no type, or of one without a handler", self.refused.clone());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::processor::{Header, Output, Processor, TimestampType};

    struct Echo(&'static str);

    impl Processor for Echo {
        async fn process(&self, _: &Event) -> Outcome {
            Outcome::Emit(vec![Output { key: Some(Bytes::from_static(self.0.as_bytes())), ..Output::default() }])
        }
    }

    fn processor() -> Arc<ByType> {
        let handler = |kind: &'static str| (kind.to_owned(), Arc::new(Echo(kind)) as Arc<dyn DynProcessor>);
        Arc::new(ByType::new(["user.created", "user.deleted"].map(handler).into()))
    }

    fn record(headers: &[(&str, &'static str)], payload: &'static str) -> Arc<Event> {
        let header =
            |(name, value): &(&str, &'static str)| Header { name: (*name).to_owned(), value: Some(Bytes::from_static(value.as_bytes())) };
        Arc::new(Event {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            key: None,
            payload: Some(Bytes::from_static(payload.as_bytes())),
            headers: headers.iter().map(header).collect(),
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            attempt: 1,
        })
    }

    #[tokio::test]
    async fn each_type_has_its_handler() {
        let structured = ("content-type", "application/cloudevents+json; charset=utf-8");
        for (headers, payload, expected) in [
            (&[("ce_type", "user.created")][..], "{}", Ok("user.created")),
            (&[("ce_type", "user.deleted"), ("content-type", "application/json")], "{\"type\": \"user.created\"}", Ok("user.deleted")),
            (&[structured], "{\"type\": \"user.created\"}", Ok("user.created")),
            (
                &[("ce_type", "user.moved")],
                "{}",
                Err(("UnknownType", "no handler of type `user.moved`, only of user.created, user.deleted")),
            ),
            (&[], "{\"type\": \"user.created\"}", Err(("NoType", "no header ce_type"))),
            (&[structured], "{\"type\": 7}", Err(("NoType", "not a CloudEvent"))),
        ] {
            match (processor().handle(record(headers, payload)).await, expected) {
                (Outcome::Emit(outputs), Ok(kind)) => assert_eq!(outputs[0].key.as_deref(), Some(kind.as_bytes())),
                (Outcome::Reject(failure), Err((word, part))) => {
                    assert!(failure.error_type == word && failure.message.contains(part), "{failure:?}");
                }
                (got, expected) => panic!("{headers:?}: {got:?}, not {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_is_handed_on_is_counted_by_type() {
        let (processor, mut registry) = (processor(), Registry::default());
        processor.register(&mut registry);
        for kind in ["user.created", "user.created", "other"] {
            Arc::clone(&processor).handle(record(&[("ce_type", kind)], "{}")).await;
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "events_by_type_total{type=\"user.created\"} 2",
            "events_by_type_total{type=\"user.deleted\"} 0",
            "events_without_handler_total{reason=\"unknown\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
