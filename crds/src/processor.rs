//! The built-in processors: what source each one needs, whether it produces, and which options it takes.
//!
//! The operator refuses what a processor would not take before any pod starts; the worker reads its options through the
//! same tables, so both always agree. Pure.

use std::{collections::BTreeMap, time::Duration};

use crate::{duration, name};

/// A processor that is compiled into the worker.
#[derive(Debug)]
pub struct Builtin {
    /// Its name in `spec.processor.builtin`.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The source that it handles.
    pub source: SourceKind,
    /// Whether it needs `spec.sink`.
    pub sink: Need,
    /// Whether it needs `spec.table`.
    pub table: Need,
    /// The options that it takes.
    pub options: &'static [OptionSpec],
}

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// `source.kafka`.
    Kafka,
    /// `source.http`.
    Http,
}

/// Whether a part of the spec must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It must not.
    Forbidden,
}

/// An option of a processor.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its key in `spec.processor.options`.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// Its value where none is given; none: the pipeline's name, shortened as that of its objects.
    pub default: Option<&'static str>,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// One line of 1 to `max` characters.
    Text {
        /// The most characters.
        max: usize,
    },
    /// A number from 0 to 1.
    Fraction,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A duration with a unit, within bounds.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

const SERVICE_NAME: OptionSpec = OptionSpec {
    name: "serviceName",
    summary: "the `service` that /health answers with",
    kind: OptionKind::Text { max: 63 },
    default: None,
};

/// Every built-in processor, by name.
pub const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "orders-gateway",
        summary: "takes orders over HTTP, produces them, and answers with their state",
        source: SourceKind::Http,
        sink: Need::Required,
        table: Need::Required,
        options: &[
            SERVICE_NAME,
            OptionSpec {
                name: "maxBodyBytes",
                summary: "the largest request body that is read",
                kind: OptionKind::Integer { min: 1_024, max: 900_000 },
                default: Some("102400"),
            },
            OptionSpec {
                name: "produceTimeout",
                summary: "how long a request waits for Kafka's acknowledgement before it is answered with 503",
                kind: OptionKind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(60) },
                default: Some("5s"),
            },
            OptionSpec {
                name: "corsOrigin",
                summary: "the origin that browsers may call from; * for any",
                kind: OptionKind::Text { max: 253 },
                default: Some("*"),
            },
        ],
    },
    Builtin {
        name: "payments",
        summary: "validates orders, simulates their payment and produces the result",
        source: SourceKind::Kafka,
        sink: Need::Required,
        table: Need::Forbidden,
        options: &[
            SERVICE_NAME,
            OptionSpec {
                name: "successRate",
                summary: "the share of payments that succeed",
                kind: OptionKind::Fraction,
                default: Some("0.8"),
            },
        ],
    },
];

/// The built-in processor of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|b| b.name == name)
}

/// The options of a processor: all of them, each with a value that its [`OptionKind`] allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, String>);

impl Builtin {
    /// Checks options and fills in what is not given.
    ///
    /// # Errors
    /// One message per option that is unknown or has a value that it does not take.
    pub fn options(&self, given: &BTreeMap<String, String>, pipeline: &str) -> Result<Options, Vec<String>> {
        let mut problems: Vec<String> = given
            .keys()
            .filter(|k| self.options.iter().all(|o| o.name != k.as_str()))
            .map(|k| format!("`{k}` is not an option of {}: it takes {}", self.name, self.option_names()))
            .collect();
        let named_after = name::owned_name(pipeline);
        let mut values = BTreeMap::new();
        for option in self.options {
            let value = given.get(option.name).map(String::as_str).or(option.default).unwrap_or(&named_after);
            match option.kind.check(value) {
                Ok(()) => drop(values.insert(option.name, value.to_owned())),
                Err(why) => problems.push(format!("option {}: {why}", option.name)),
            }
        }
        if problems.is_empty() { Ok(Options(values)) } else { Err(problems) }
    }

    fn option_names(&self) -> String {
        self.options.iter().map(|o| o.name).collect::<Vec<_>>().join(", ")
    }
}

impl Options {
    /// An option as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// An option as a number from 0 to 1.
    #[must_use]
    pub fn fraction(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    /// An option as a whole number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// An option as a duration.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Duration> {
        duration::parse_bounded(self.text(name)?, Duration::ZERO, Duration::MAX).ok()
    }
}

impl OptionKind {
    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Text { max } => match value.chars().count() {
                n if n == 0 || n > max => Err(format!("must have 1 to {max} characters")),
                _ if value.chars().any(char::is_control) => Err("must be one line of plain text".to_owned()),
                _ => Ok(()),
            },
            Self::Fraction => match value.parse::<f64>() {
                Ok(f) if (0.0..=1.0).contains(&f) => Ok(()),
                _ => Err(format!("`{value}` is not a number from 0 to 1")),
            },
            Self::Integer { min, max } => match value.parse::<u64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(()),
                _ => Err(format!("`{value}` is not a whole number from {min} to {max}")),
            },
            Self::Duration { min, max } => duration::parse_bounded(value, min, max).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed() {
        for builtin in BUILTINS {
            builtin.options(&BTreeMap::new(), &"n".repeat(253)).unwrap();
        }
    }

    #[test]
    fn options_are_checked() {
        let gateway = find("orders-gateway").unwrap();
        for (key, value, problem) in [
            ("maxBodyBytes", "1024", None),
            ("maxBodyBytes", "1", Some("from 1024 to 900000")),
            ("maxBodyBytes", "-1", Some("whole number")),
            ("produceTimeout", "250ms", None),
            ("produceTimeout", "250", Some("with a unit")),
            ("produceTimeout", "1h", Some("out of bounds")),
            ("corsOrigin", "", Some("characters")),
            ("corsOrigin", "a\nb", Some("plain text")),
            ("successRate", "0.8", Some("not an option of orders-gateway")),
        ] {
            let given = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            match (gateway.options(&given, "p"), problem) {
                (Ok(options), None) => assert_eq!(options.text(key), Some(value)),
                (Err(found), Some(part)) => assert!(found.len() == 1 && found[0].contains(part), "{key}={value}: {found:?}"),
                (got, _) => panic!("{key}={value}: {got:?}"),
            }
        }
    }

    #[test]
    fn fractions() {
        for (text, allowed) in [("0", true), ("1", true), ("0.8", true), ("1.01", false), ("-0.1", false), ("NaN", false), ("x", false)] {
            assert_eq!(OptionKind::Fraction.check(text).is_ok(), allowed, "{text}");
        }
    }
}
