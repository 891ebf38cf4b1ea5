//! How many events of a kind that comes with every change each namespace may have, so that a fleet of topics does not write most of what it
//! writes as events. Pure: whoever asks says what time it is.
//!
//! A token bucket for each namespace, as client-go's recorder has one for each object.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// As many as may come at once.
pub const BURST: u32 = 25;
/// One more after each of these.
pub const EACH: Duration = Duration::from_secs(2);
/// Namespaces beyond which those that may have all again are forgotten.
const REMEMBERED: usize = 1024;

/// What each namespace has used up lately.
#[derive(Debug, Default)]
pub struct Allowance {
    /// When all that was taken will be there again.
    full_at: HashMap<String, Instant>,
}

impl Allowance {
    /// Takes one for the namespace, if there is one.
    pub fn take(&mut self, namespace: &str, now: Instant) -> bool {
        let full_at = self.full_at.get(namespace).copied().filter(|full_at| *full_at > now).unwrap_or(now);
        if full_at.duration_since(now) + EACH > EACH * BURST {
            return false;
        }
        if self.full_at.len() >= REMEMBERED {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.insert(namespace.to_owned(), full_at + EACH);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_a_burst_and_then_one_at_a_time() {
        let (mut allowance, begin) = (Allowance::default(), Instant::now());
        let mut taken = |namespace: &str, after: Duration| (0..100).filter(|_| allowance.take(namespace, begin + after)).count();
        for (namespace, after, expected) in [
            ("shop", Duration::ZERO, 25),
            ("shop", EACH / 2, 0),
            ("shop", EACH, 1),
            ("bank", EACH, 25),
            ("shop", EACH * 4, 3),
            ("shop", EACH * 1000, 25),
        ] {
            assert_eq!(taken(namespace, after), expected, "{namespace} after {after:?}");
        }
    }

    #[test]
    fn namespaces_are_not_remembered_for_ever() {
        let (mut allowance, begin) = (Allowance::default(), Instant::now());
        for number in 0..5000 {
            assert!(allowance.take(&number.to_string(), begin + EACH * number));
        }
        assert!(allowance.full_at.len() <= REMEMBERED, "{}", allowance.full_at.len());
    }
}
