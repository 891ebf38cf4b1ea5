//! What a worker needs before it takes part, and whether it has it. Pure, but for a lock.
//!
//! A worker is ready while every need is met and it is not draining, healthy while nothing at all is missing. The two
//! differ where taking a worker out of its Service would help nobody: a front that has lost Kafka answers better than none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug, Default)]
struct State {
    missing: BTreeMap<&'static str, Missing>,
    draining: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Missing {
    why: String,
    keeps_from_being_ready: bool,
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
    only_at_start: bool,
}

impl Readiness {
    /// A worker that needs nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something that the worker needs at all times, and that is not there yet.
    #[must_use]
    pub fn need(&self, name: &'static str) -> Need {
        self.add(Need { name, readiness: self.clone(), only_at_start: false })
    }

    /// Adds something that the worker needs to become ready, and stays ready without.
    #[must_use]
    pub fn need_at_start(&self, name: &'static str) -> Need {
        self.add(Need { name, readiness: self.clone(), only_at_start: true })
    }

    fn add(&self, need: Need) -> Need {
        let missing = Missing { why: "not there yet".to_owned(), keeps_from_being_ready: true };
        self.with(|state| state.missing.insert(need.name, missing));
        need
    }

    /// From now on the worker only finishes what it has begun.
    pub fn drain(&self) {
        self.with(|state| state.draining = true);
    }

    /// What keeps the worker from being ready; nothing if it is.
    #[must_use]
    pub fn obstacles(&self) -> Vec<String> {
        self.list(|missing| missing.keeps_from_being_ready)
    }

    /// Everything that is missing, whether or not the worker is ready without it.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.list(|_| true)
    }

    /// Whether that is missing.
    #[must_use]
    pub fn lacks(&self, name: &str) -> bool {
        self.with(|state| state.missing.contains_key(name))
    }

    /// Whether nothing keeps the worker from being ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.obstacles().is_empty()
    }

    fn list(&self, wanted: impl Fn(&Missing) -> bool) -> Vec<String> {
        self.with(|state| {
            let draining = state.draining.then(|| "the worker is shutting down".to_owned());
            let missing = state.missing.iter().filter(|(_, missing)| wanted(missing));
            draining.into_iter().chain(missing.map(|(name, missing)| format!("{name}: {}", missing.why))).collect()
        })
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Need {
    /// It is there.
    pub fn met(&self) {
        if self.readiness.with(|state| state.missing.remove(self.name)).is_some() {
            tracing::info!(need = self.name, "there");
        }
    }

    /// It is not there, or not any more; `why` is for people.
    pub fn missing(&self, why: impl Into<String>) {
        let why = why.into();
        let changed = self.readiness.with(|state| {
            let before = state.missing.get(self.name);
            let keeps_from_being_ready = !self.only_at_start || before.is_some_and(|m| m.keeps_from_being_ready);
            let now = Missing { why: why.clone(), keeps_from_being_ready };
            let lost = before.is_none();
            let changed = before != Some(&now);
            state.missing.insert(self.name, now);
            (lost, changed)
        });
        match changed {
            (true, _) => tracing::warn!(need = self.name, why, "missing"),
            (false, true) => tracing::info!(need = self.name, why, "still missing"),
            (false, false) => {}
        }
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
        assert!(readiness.lacks("table"));
        table.met();
        producer.met();
        assert!(readiness.is_ready() && !readiness.lacks("table"));
        producer.missing("Kafka is away");
        assert_eq!(readiness.obstacles(), ["producer: Kafka is away"]);
        producer.met();
        let kafka = readiness.need_at_start("kafka");
        kafka.missing("connecting");
        assert_eq!((readiness.obstacles(), readiness.complaints()), (vec!["kafka: connecting".into()], vec!["kafka: connecting".into()]));
        kafka.met();
        kafka.missing("away");
        kafka.missing("still away");
        assert_eq!((readiness.obstacles(), readiness.complaints()), (vec![], vec!["kafka: still away".into()]));
        kafka.met();
        readiness.drain();
        assert_eq!(readiness.obstacles(), ["the worker is shutting down"]);
    }
}
