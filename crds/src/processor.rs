//! What handles events: the built-in processors, what source each one needs, whether it produces, and which options it takes.
//!
//! The operator refuses what a processor would not take before any pod starts; the worker reads its options through the
//! same tables, so both always agree. Pure.

mod builtins;
mod choice;
mod fronts;
mod kind;
pub(crate) mod rules;

use std::{collections::BTreeMap, time::Duration};

pub use self::{
    builtins::BUILTINS,
    choice::{Choice, ChoiceError, Configured, HttpCall, Shape},
    kind::OptionKind,
};
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
    /// What it does with `spec.table`.
    pub table: TableUse,
    /// The options that it takes.
    pub options: &'static [OptionSpec],
    /// Options that are given both or not at all.
    pub together: &'static [[&'static str; 2]],
    /// Options of which one is given at most.
    pub apart: &'static [[&'static str; 2]],
    /// Options that are numbers, of which the second must be greater than the first.
    pub ascending: &'static [[&'static str; 2]],
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
    /// It may.
    Optional,
    /// It must not.
    Forbidden,
}

/// What a processor does with `spec.table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableUse {
    /// It answers from its topics: there must be one, and that of `spec.sink` is among them. It may keep idempotency keys in another.
    Answers,
    /// It keeps idempotency keys in its one topic, which is not that of `spec.sink`. There may be none.
    Keys,
    /// Nothing: there must be none.
    Nothing,
}

impl TableUse {
    /// Whether there must be one.
    #[must_use]
    pub fn need(self) -> Need {
        match self {
            Self::Answers => Need::Required,
            Self::Keys => Need::Optional,
            Self::Nothing => Need::Forbidden,
        }
    }
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
    /// What it is where none is given.
    pub fallback: Fallback,
}

/// What an option is where none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// The pipeline's name, shortened as that of its objects.
    PipelineName,
    /// Nothing: the processor does without it.
    Absent,
}

/// The longest value of an option, in bytes.
pub const MAX_OPTION: usize = 16 << 10;

/// The built-in processor of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|b| b.name == name)
}

/// The options of a processor, each with a value that its [`OptionKind`] allows: all but those that are [`Fallback::Absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, String>);

impl Builtin {
    /// Whether it can be the handler of a type.
    #[must_use]
    pub fn is_handler(&self) -> bool {
        self.source == SourceKind::Kafka && self.table == TableUse::Nothing
    }

    /// What it asks of the pipeline around it.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { source: self.source, sink: self.sink, table: self.table }
    }

    /// Checks the options of a pipeline's one processor, and fills in what is not given.
    ///
    /// # Errors
    /// One message per option that is unknown or has a value that it does not take.
    pub fn options(&self, given: &BTreeMap<String, String>, pipeline: &str) -> Result<Options, Vec<String>> {
        self.decide(given, self.options.iter().collect(), pipeline)
    }

    /// Checks the options of a handler of one type, and fills in what is not given. What names the worker is not among them.
    ///
    /// # Errors
    /// The same as of [`Builtin::options`].
    pub fn handler_options(&self, given: &BTreeMap<String, String>) -> Result<Options, Vec<String>> {
        self.decide(given, self.options.iter().filter(|o| o.fallback != Fallback::PipelineName).collect(), "")
    }

    fn decide(&self, given: &BTreeMap<String, String>, taken: Vec<&OptionSpec>, pipeline: &str) -> Result<Options, Vec<String>> {
        let names = || taken.iter().map(|o| o.name).collect::<Vec<_>>().join(", ");
        let mut problems: Vec<String> = given
            .keys()
            .filter(|k| taken.iter().all(|o| o.name != k.as_str()))
            .map(|k| format!("`{k}` is not an option of {}: it takes {}", self.name, names()))
            .collect();
        let named_after = name::owned_name(pipeline);
        let mut values = BTreeMap::new();
        for option in &taken {
            let fallback = match option.fallback {
                Fallback::Value(value) => Some(value),
                Fallback::PipelineName => Some(named_after.as_str()),
                Fallback::Absent => None,
            };
            let Some(value) = given.get(option.name).map(String::as_str).or(fallback) else { continue };
            match option.kind.check(value) {
                Ok(()) => drop(values.insert(option.name, value.to_owned())),
                Err(why) => problems.push(format!("option {}: {why}", option.name)),
            }
        }
        for [one, other] in self.together {
            if given.contains_key(*one) != given.contains_key(*other) {
                problems.push(format!("options {one} and {other} go together: give both or neither"));
            }
        }
        for [one, other] in self.apart {
            if given.contains_key(*one) && given.contains_key(*other) {
                problems.push(format!("options {one} and {other} exclude each other: give one of them"));
            }
        }
        for [less, more] in self.ascending {
            let number = |name: &str| values.get(name).and_then(|text: &String| text.parse::<u64>().ok());
            if let (Some(low), Some(high)) = (number(less), number(more))
                && low >= high
            {
                problems.push(format!("option {more} is {high}: it must be greater than {less}, which is {low}"));
            }
        }
        if problems.is_empty() { Ok(Options(values)) } else { Err(problems) }
    }
}

impl Options {
    /// An option as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every option that has a value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
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
            ("corsOrigin", "https://shop.example", None),
            ("corsOrigin", "https://shop.example/", Some("not an origin")),
            ("serviceName", "", Some("characters")),
            ("serviceName", "a\nb", Some("plain text")),
            ("successRate", "0.8", Some("not an option of orders-gateway")),
            ("maxConnections", "257", None),
            ("maxConnections", "256", Some("must be greater than maxRequests, which is 256")),
            ("maxRequests", "4096", Some("option maxConnections is 4096: it must be greater than maxRequests, which is 4096")),
            ("maxConnectionsPerPeer", "0", Some("from 1 to 65536")),
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
    fn an_option_may_be_absent_and_some_go_together() {
        let gateway = find("events-gateway").unwrap();
        let options = gateway.options(&BTreeMap::new(), "p").unwrap();
        assert_eq!((options.text("path"), options.text("serviceName")), (Some("/events"), Some("p")));
        assert_eq!((options.text("schema"), options.text("defaultType"), options.text("defaultSource")), (None, None, None));
        for (given, problem) in [
            (&[("defaultType", "order.placed"), ("defaultSource", "/orders")][..], None),
            (&[("defaultType", "order.placed")], Some("options defaultType and defaultSource go together")),
            (&[("defaultSource", "/orders")], Some("options defaultType and defaultSource go together")),
            (&[("key", "id"), ("dataKey", "/id")], Some("options key and dataKey exclude each other")),
            (&[("dataKey", "/id")], None),
            (&[("schema", "[]")], Some("option schema: is not a JSON Schema")),
            (&[("path", "/health")], Some("option path: the worker itself answers /health")),
            (&[("failureStatus", "502")], Some("option failureStatus: `502` is not one of 500, 503")),
        ] {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            match (gateway.options(&given, "p"), problem) {
                (Ok(_), None) => {}
                (Err(found), Some(part)) => assert!(found.len() == 1 && found[0].contains(part), "{given:?}: {found:?}"),
                (got, _) => panic!("{given:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn no_value_is_longer_than_the_api_lets_it_be() {
        for option in BUILTINS.iter().flat_map(|b| b.options) {
            if let OptionKind::Text { max } | OptionKind::UriReference { max } | OptionKind::JsonSchema { max } = option.kind {
                assert!(max <= MAX_OPTION, "{}", option.name);
            }
        }
    }
}
