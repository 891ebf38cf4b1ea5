//! Memory of events that are settled, for those that are taken next. Pure.
//!
//! Thousands of events are alive at once, each too large for the allocator's fast lists. What is kept of one holds nothing but
//! the name of its topic.

use std::sync::Arc;

use crate::processor::Event;

/// How many are kept: as many as are settled at once, as a rule.
const MAX: usize = 1_024;

/// The memory of events that are settled.
#[derive(Debug, Default)]
pub(crate) struct Shells(Vec<Arc<Event>>);

impl Shells {
    /// The event, in memory that was kept if there is any.
    pub fn fill(&mut self, event: Event) -> Arc<Event> {
        let Some(mut shell) = self.0.pop() else { return Arc::new(event) };
        match Arc::get_mut(&mut shell) {
            Some(empty) => {
                *empty = event;
                shell
            }
            None => Arc::new(event),
        }
    }

    /// Keeps the memory of an event that nobody else has.
    pub fn keep(&mut self, mut event: Arc<Event>) {
        if self.0.len() >= MAX {
            return;
        }
        if let Some(kept) = Arc::get_mut(&mut event) {
            (kept.key, kept.payload, kept.headers) = (None, None, Vec::new());
            self.0.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::TimestampType;

    use super::*;

    fn event(offset: i64) -> Event {
        Event {
            topic: "t".into(),
            partition: 0,
            offset,
            key: Some("k".into()),
            payload: Some("v".into()),
            headers: Vec::new(),
            timestamp_ms: None,
            timestamp_type: TimestampType::default(),
            attempt: 1,
        }
    }

    #[test]
    fn memory_is_used_again_once_nobody_has_it() {
        let mut shells = Shells::default();
        let first = shells.fill(event(1));
        let place = Arc::as_ptr(&first);
        shells.keep(Arc::clone(&first));
        assert!(shells.0.is_empty(), "somebody still has it");
        shells.keep(first);
        assert!(shells.0[0].key.is_none() && shells.0[0].payload.is_none(), "it would keep the memory of its record");
        let second = shells.fill(event(2));
        assert_eq!((Arc::as_ptr(&second), &*second), (place, &event(2)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut shells = Shells::default();
        (0..5_000).for_each(|offset| shells.keep(Arc::new(event(offset))));
        assert_eq!(shells.0.len(), MAX);
    }
}
