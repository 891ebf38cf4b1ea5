//! The code that handles an event: one processor, or one for each type of event.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::processor::{Choice, Configured};

/// The code that handles an event.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.builtin) != has(self.byType)")
        .message("processor needs exactly one of builtin, the name of a processor that is compiled into the worker, and byType"),
    validation = Rule::new("has(self.builtin) || !has(self.options)")
        .message("processor.options goes with processor.builtin: each handler of byType has options of its own"),
)]
pub struct Processor {
    /// A processor that is compiled into the worker.
    #[schemars(schema_with = "crate::schema::builtin")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// The processor's own options. Each processor says which it takes; the operator refuses others.
    #[schemars(schema_with = "crate::schema::options")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// A processor for each type of event (CloudEvents). Only with `source.kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_type: Option<ByType>,
}

impl Processor {
    /// The one that is chosen, as a worker reads it.
    ///
    /// # Errors
    /// A rule that the schema has too, for objects that are older than the schema.
    pub fn choice(&self) -> Result<Choice, &'static str> {
        match (&self.builtin, &self.by_type) {
            (Some(name), None) => Ok(Choice::builtin(name, self.options.clone())),
            (None, Some(_)) if !self.options.is_empty() => Err("processor.options goes with processor.builtin: move them to the handlers"),
            (None, Some(ByType { handlers })) => {
                let configured = |h: &Handler| (h.kind.clone(), Configured { builtin: h.builtin.clone(), options: h.options.clone() });
                let by_type: BTreeMap<_, _> = handlers.iter().map(configured).collect();
                if by_type.is_empty() || by_type.len() < handlers.len() {
                    return Err("processor.byType.handlers needs at least one handler, and one for each type");
                }
                Ok(Choice::ByType { by_type })
            }
            _ => Err("processor needs exactly one of builtin and byType"),
        }
    }
}

/// A processor for each type of event. A record of another type, or of none, goes to the dead letter topic.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByType {
    /// The processors.
    #[schemars(schema_with = "crate::schema::handlers")]
    pub handlers: Vec<Handler>,
}

/// The processor of one type.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    /// The type, such as `user.created`: the attribute `type` of CloudEvents, in a record the header `ce_type`.
    #[serde(rename = "type")]
    #[schemars(schema_with = "crate::schema::event_type")]
    pub kind: String,
    /// A processor that is compiled into the worker and handles records.
    #[schemars(schema_with = "crate::schema::builtin")]
    pub builtin: String,
    /// The processor's own options.
    #[schemars(schema_with = "crate::schema::options")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}
