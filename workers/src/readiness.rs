//! What a worker needs before it takes part, and whether it has it. Pure, but for a lock.
//!
//! A worker is ready while every condition is met and it is not draining. A condition is not met until somebody says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug, Default)]
struct State {
    unmet: BTreeMap<&'static str, String>,
    draining: bool,
}

/// Whether the worker is ready. Cheap to clone; clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

/// Something that a worker needs.
#[derive(Clone, Debug)]
pub struct Need {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// A worker that needs nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something that the worker needs, and that is not there yet.
    #[must_use]
    pub fn need(&self, name: &'static str) -> Need {
        let need = Need { name, readiness: self.clone() };
        need.missing("not there yet");
        need
    }

    /// From now on the worker only finishes what it has begun.
    pub fn drain(&self) {
        self.with(|state| state.draining = true);
    }

    /// What keeps the worker from being ready; nothing if it is.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        self.with(|state| {
            let draining = state.draining.then(|| "the worker is shutting down".to_owned());
            draining.into_iter().chain(state.unmet.iter().map(|(name, why)| format!("{name}: {why}"))).collect()
        })
    }

    /// Whether nothing keeps the worker from being ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.with(|state| state.unmet.is_empty() && !state.draining)
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Need {
    /// It is there.
    pub fn met(&self) {
        self.readiness.with(|state| {
            if state.unmet.remove(self.name).is_some() {
                tracing::info!(need = self.name, "there");
            }
        });
    }

    /// It is not there, or not any more; `why` is for people.
    pub fn missing(&self, why: impl Into<String>) {
        let why = why.into();
        self.readiness.with(|state| {
            if state.unmet.get(self.name) != Some(&why) {
                tracing::info!(need = self.name, %why, "missing");
                state.unmet.insert(self.name, why);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_need_is_met_and_nothing_ends() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let (table, producer) = (readiness.need("table"), readiness.need("producer"));
        assert_eq!(readiness.obstacles(), ["producer: not there yet", "table: not there yet"]);
        table.met();
        producer.met();
        assert!(readiness.is_ready());
        producer.missing("Kafka is away");
        assert_eq!(readiness.obstacles(), ["producer: Kafka is away"]);
        producer.met();
        readiness.drain();
        assert_eq!(readiness.obstacles(), ["the worker is shutting down"]);
    }
}
