//! A JSON number as it was written: `10.10` stays `10.10` and no digit is lost. Pure.
//!
//! Signs and wholeness are judged on the decimal text, not on a binary approximation. A number that a double cannot hold (it
//! would become infinite, or zero although it is not) is no [`Number`], since most readers of JSON would misread it (RFC 8259, section 6).

use std::{cmp::Ordering, fmt};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The largest whole number that every reader of JSON holds exactly: 2^53 - 1.
pub const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// An exact decimal number. Two are equal when their values are, however they are written.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a>(&'a RawValue);

impl<'a> Number<'a> {
    /// The number that a JSON value is; none if it is no number or beyond what a double holds.
    #[must_use]
    pub fn from_json(value: &'a RawValue) -> Option<Self> {
        let text = value.get();
        if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return None;
        }
        let double: f64 = text.parse().ok()?;
        let lost = !double.is_finite() || (double == 0.0 && !Decimal::of(text).is_zero());
        (!lost).then_some(Self(value))
    }

    /// How it compares with zero.
    #[must_use]
    pub fn sign(&self) -> Ordering {
        let value = Decimal::of(self.0.get());
        match (value.is_zero(), value.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }

    /// Its value in one form: those of two numbers are equal exactly where the numbers are.
    #[must_use]
    pub fn normal(&self) -> String {
        let Decimal { negative, whole, fraction, exponent } = Decimal::of(self.0.get());
        format!("{}{whole}{fraction}e{exponent}", if negative { "-" } else { "" })
    }

    /// Whether it is whole and small enough that every reader of JSON holds it exactly. `2.0` and `2e3` are whole.
    #[must_use]
    pub fn is_safe_integer(&self) -> bool {
        let whole = Decimal::of(self.0.get()).exponent >= 0;
        whole && self.0.get().parse::<f64>().is_ok_and(|double| double.abs() <= MAX_SAFE_INTEGER)
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        Decimal::of(self.0.get()) == Decimal::of(other.0.get())
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl Serialize for Number<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// ±(whole fraction) × 10^exponent in its one normal form: no zero at either end of the digits; zero has none, no sign and
/// exponent 0.
struct Decimal<'a> {
    negative: bool,
    /// The digits before the decimal point, and those behind it.
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Of a text that is known to be a JSON number.
    fn of(text: &'a str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (whole, fraction) = (whole.trim_start_matches(['-', '0']), fraction.trim_end_matches('0'));
        // Zeros at the end are digits of the whole only where no others follow; at the beginning, of the fraction likewise.
        let significant = if fraction.is_empty() { whole.trim_end_matches('0') } else { whole };
        let shift = length(whole) - length(significant) - length(fraction);
        let fraction = if significant.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        if significant.is_empty() && fraction.is_empty() {
            return Self { negative: false, whole: "", fraction: "", exponent: 0 };
        }
        // An exponent of more digits than i64 has is far beyond any double; only its direction matters.
        let saturated = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = exponent.parse().unwrap_or(saturated).saturating_add(shift);
        Self { negative: text.starts_with('-'), whole: significant, fraction, exponent }
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.negative, self.exponent) == (other.negative, other.exponent) && self.digits().eq(other.digits())
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Option<Number<'_>> {
        Number::from_json(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn signs_and_wholeness_are_exact() {
        use Ordering::{Equal, Greater, Less};
        for (text, sign, whole) in [
            ("1", Greater, true),
            ("10.10", Greater, false),
            ("1e2", Greater, true),
            ("1.5E1", Greater, true),
            ("1.5e+1", Greater, true),
            ("2.0", Greater, true),
            ("2.00000000000000000000000001", Greater, false),
            ("1000e-3", Greater, true),
            ("1e-3", Greater, false),
            ("0", Equal, true),
            ("-0", Equal, true),
            ("0.000e7", Equal, true),
            ("0e99999999999999999999", Equal, true),
            ("-0.01", Less, false),
            ("-5", Less, true),
            ("9007199254740991", Greater, true),
            ("9007199254740992", Greater, false),
            ("1e300", Greater, false),
        ] {
            let number = number(text).unwrap();
            assert_eq!((number.sign(), number.is_safe_integer()), (sign, whole), "{text}");
            assert_eq!(serde_json::to_string(&number).unwrap(), text, "the text is kept");
        }
    }

    #[test]
    fn what_no_double_holds_is_no_number() {
        for text in ["1e400", "-1e400", "1e-400", "1e99999999999999999999", "1e-99999999999999999999", "\"1\"", "null", "true", "[1]", "{}"]
        {
            assert!(number(text).is_none(), "{text}");
        }
    }

    #[test]
    fn equal_values_are_equal_however_written() {
        for (a, b, equal) in [
            ("10.10", "10.1", true),
            ("1e2", "100", true),
            ("0.1", "1e-1", true),
            ("0.00500", "5e-3", true),
            ("100.10", "1001e-1", true),
            ("10.01", "1.001", false),
            ("-0", "0.0", true),
            ("10.1", "10.11", false),
            ("1", "-1", false),
            ("0.1", "0.1000000000000000055511151231257827", false),
        ] {
            let (a, b) = (number(a).unwrap(), number(b).unwrap());
            assert_eq!((a == b, a.normal() == b.normal()), (equal, equal), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_integers(n in -9_007_199_254_740_991_i64..=9_007_199_254_740_991, zeros in 0_usize..5) {
            let (text, shifted) = (n.to_string(), format!("{n}{}e-{zeros}", "0".repeat(zeros)));
            let plain = number(&text).unwrap();
            prop_assert_eq!(plain.sign(), n.cmp(&0));
            prop_assert!(plain.is_safe_integer());
            prop_assert_eq!(plain, number(&shifted).unwrap());
            prop_assert_eq!(plain.normal(), number(&shifted).unwrap().normal());
        }
    }
}
