//! What topics have refused for what it is. Pure.
//!
//! A broker takes or refuses a batch as a whole, and a transaction fails as a whole: all of it is handled again, and would be
//! refused again. So what was at fault is remembered, and becomes a dead letter when it comes again.

use std::{collections::HashMap, sync::Arc};

use penstock_kafka::Error;

use crate::processor::{Event, Failure};

/// The source records whose outputs were refused, and why. A clone is the same as long as neither is changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Arc<HashMap<String, String>>);

impl Refused {
    /// The outputs of these events were refused.
    pub fn extend(&mut self, events: Vec<String>, reason: &Error) {
        Arc::make_mut(&mut self.0).extend(events.into_iter().map(|event| (event, reason.to_string())));
    }

    /// Why nothing that follows from the event but a dead letter is to be written; None: as far as is known it can be.
    pub fn failure(&self, event: &Event) -> Option<Failure> {
        if self.0.is_empty() { None } else { self.0.get(&event.id()).map(|reason| Failure::new("OutputRefused", reason)) }
    }
}

/// How a dead letter names the error of an output that was refused for what it is.
pub(crate) fn error_type(error: &Error) -> &'static str {
    if matches!(error, Error::RecordTooLarge { .. }) { "OutputTooLarge" } else { "OutputRefused" }
}
