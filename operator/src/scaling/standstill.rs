//! Whether workers that have work do nothing.

use std::time::Duration;

/// For how many looks, and how long, nothing must have been done to be told of.
const LOOKS: u32 = 3;
const LONG: Duration = Duration::from_secs(60);
/// In the time for how many records: a slow worker does nothing in many a look.
const MISSED: f64 = 5.0;

/// For how long nothing was done although there was work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standstill {
    looks: u32,
    over: Duration,
}

impl Standstill {
    /// Takes in another look, that long after the last, at which nothing was done.
    pub fn goes_on(&mut self, since: Duration) {
        self.looks = self.looks.saturating_add(1);
        self.over += since;
    }

    /// Whether some records would have been done meanwhile, or that cannot be told yet. `rate`: records a second that workers do
    /// otherwise, if that is known.
    pub fn is_odd(&self, rate: Option<f64>) -> bool {
        self.looks > 0 && (self.over.is_zero() || rate.is_none_or(|rate| rate * self.over.as_secs_f64() >= MISSED))
    }

    /// Whether a person should look at it.
    pub fn is_long(&self, rate: Option<f64>) -> bool {
        self.looks >= LOOKS && self.over >= LONG && self.is_odd(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_for_how_long() {
        for (name, looks, interval, rate, odd, long) in [
            ("something is done", 0, 5, None, false, false),
            ("the first look", 1, 0, Some(0.2), true, false),
            ("a look", 1, 5, None, true, false),
            ("of workers that would have done much", 1, 5, Some(20.0), true, false),
            ("of slow ones", 1, 5, Some(0.2), false, false),
            ("nearly a minute", 11, 5, Some(20.0), true, false),
            ("a minute", 12, 5, Some(20.0), true, true),
            ("whose speed is not known", 12, 5, None, true, true),
            ("in which slow ones do two records", 12, 5, Some(0.04), false, false),
            ("in which they would have done five", 25, 5, Some(0.04), true, true),
            ("few looks", 2, 60, Some(20.0), true, false),
        ] {
            let mut standstill = Standstill::default();
            (0..looks).for_each(|_| standstill.goes_on(Duration::from_secs(interval)));
            assert_eq!((standstill.is_odd(rate), standstill.is_long(rate)), (odd, long), "{name}");
        }
    }
}
