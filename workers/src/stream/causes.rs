//! Tells the log why records go to the dead letter topic: each cause at once, and then at most once a minute with how many
//! there were, so that a flood of letters is no flood of lines.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::dead_letter::fingerprint;
use crate::processor::{Event, Failure};

/// How long a cause that was told of is only counted.
const QUIET: Duration = Duration::from_secs(60);
/// How many causes are known at once; of more nothing is told.
const MAX_CAUSES: usize = 256;

/// The causes of late.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    known: HashMap<String, Cause>,
}

#[derive(Debug)]
struct Cause {
    told: Instant,
    letters: u64,
}

impl Causes {
    /// A record goes to the dead letter topic. Its failure's message stays out of the log, since it may hold what only readers
    /// of that topic may see.
    pub fn tell(&mut self, event: &Event, failure: &Failure, now: Instant) {
        let fingerprint = fingerprint(failure);
        if let Some(letters) = self.count(&fingerprint, now) {
            let (event, error) = (event.id(), &failure.error_type);
            tracing::warn!(event, error, fingerprint, letters, "a record goes to the dead letter topic");
        }
    }

    /// How many letters of this cause there were since it was told of, if it is to be told of now.
    fn count(&mut self, fingerprint: &str, now: Instant) -> Option<u64> {
        if let Some(cause) = self.known.get_mut(fingerprint) {
            cause.letters += 1;
            if now.duration_since(cause.told) < QUIET {
                return None;
            }
            cause.told = now;
            return Some(std::mem::take(&mut cause.letters));
        }
        if self.known.len() >= MAX_CAUSES {
            self.known.retain(|_, cause| now.duration_since(cause.told) < QUIET);
        }
        if self.known.len() >= MAX_CAUSES {
            return None;
        }
        self.known.insert(fingerprint.to_owned(), Cause { told: now, letters: 0 });
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_at_once_and_then_once_a_minute() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        for (cause, second, expected) in [
            ("a", 0, Some(1)),
            ("a", 1, None),
            ("b", 2, Some(1)),
            ("a", 59, None),
            ("a", 60, Some(3)),
            ("a", 61, None),
            ("b", 100, Some(1)),
        ] {
            assert_eq!(causes.count(cause, start + Duration::from_secs(second)), expected, "{cause} {second}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut causes, start) = (Causes::default(), Instant::now());
        let told = (0..1_000).filter(|n| causes.count(&n.to_string(), start).is_some()).count();
        assert_eq!((told, causes.known.len()), (MAX_CAUSES, MAX_CAUSES));
        assert_eq!(causes.count("later", start + QUIET), Some(1));
        assert_eq!(causes.known.len(), 1);
    }
}
