//! What a pipeline runs: one built-in processor, or one for each type of event. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BUILTINS, Builtin, Need, Options, SourceKind, find};

/// The processor of a pipeline, as the worker's configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Choice {
    /// One for all events.
    Builtin(Configured),
    /// One for each type of event.
    ByType {
        /// By type.
        by_type: BTreeMap<String, Configured>,
    },
}

/// How it stands in the configuration.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    builtin: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_type: Option<BTreeMap<String, Configured>>,
}

impl TryFrom<Written> for Choice {
    type Error = &'static str;

    fn try_from(Written { builtin, options, by_type }: Written) -> Result<Self, Self::Error> {
        match (builtin, by_type) {
            (Some(builtin), None) => Ok(Self::Builtin(Configured { builtin, options })),
            (None, Some(by_type)) if options.is_empty() && !by_type.is_empty() => Ok(Self::ByType { by_type }),
            (None, Some(_)) => Err("processor.byType needs at least one handler, and no options beside it"),
            _ => Err("processor needs exactly one of builtin and byType"),
        }
    }
}

impl From<Choice> for Written {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Builtin(Configured { builtin, options }) => Self { builtin: Some(builtin), options, by_type: None },
            Choice::ByType { by_type } => Self { by_type: Some(by_type), ..Self::default() },
        }
    }
}

/// A built-in processor and its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configured {
    /// Its name.
    pub builtin: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// What a processor asks of the pipeline around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The source that it handles.
    pub source: SourceKind,
    /// Whether it needs `spec.sink`.
    pub sink: Need,
    /// Whether it needs `spec.table`.
    pub table: Need,
}

/// What is wrong with a choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There is no such processor.
    #[error("`{name}` is not a built-in processor: this version has {}", BUILTINS.iter().map(|b| b.name).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It cannot handle one type among others.
    #[error("the handler of `{kind}` is {name}, which answers requests: a handler handles records")]
    NoHandler {
        /// The type.
        kind: String,
        /// The processor.
        name: &'static str,
    },
    /// Options that it does not take.
    #[error("{}", .0.join("; "))]
    Options(Vec<String>),
}

impl Choice {
    /// One processor for all events.
    pub fn builtin(name: impl Into<String>, options: BTreeMap<String, String>) -> Self {
        Self::Builtin(Configured { builtin: name.into(), options })
    }

    /// Its name in labels and dead letters.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Builtin(one) => &one.builtin,
            Self::ByType { .. } => "by-type",
        }
    }

    /// What it asks of the pipeline around it.
    ///
    /// # Errors
    /// When it names a processor that there is not, or that handles no records where it must.
    pub fn shape(&self) -> Result<Shape, ChoiceError> {
        match self {
            Self::Builtin(one) => one.find().map(Builtin::shape),
            Self::ByType { by_type } => {
                let mut sink = Need::Forbidden;
                for (kind, handler) in by_type {
                    if handler.find_handler(kind)?.sink == Need::Required {
                        sink = Need::Required;
                    }
                }
                Ok(Shape { source: SourceKind::Kafka, sink, table: Need::Forbidden })
            }
        }
    }

    /// The same with every option that has a value, given or not: what says the same is the same.
    ///
    /// # Errors
    /// When it names a processor that there is not, or options that one does not take: all of them.
    pub fn with_every_option(&self, pipeline: &str) -> Result<Self, ChoiceError> {
        match self {
            Self::Builtin(one) => one.options(pipeline).map(|options| Self::Builtin(one.with(&options))),
            Self::ByType { by_type } => {
                let (mut whole, mut problems) = (BTreeMap::new(), vec![]);
                for (kind, handler) in by_type {
                    match handler.handler_options(kind) {
                        Ok(options) => drop(whole.insert(kind.clone(), handler.with(&options))),
                        Err(ChoiceError::Options(found)) => problems.extend(found),
                        Err(other) => return Err(other),
                    }
                }
                if problems.is_empty() { Ok(Self::ByType { by_type: whole }) } else { Err(ChoiceError::Options(problems)) }
            }
        }
    }
}

impl Configured {
    /// The processor that it names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn find(&self) -> Result<&'static Builtin, ChoiceError> {
        find(&self.builtin).ok_or_else(|| ChoiceError::Unknown { name: self.builtin.clone() })
    }

    /// Its options, as the one processor of a pipeline.
    ///
    /// # Errors
    /// When there is no such processor, or it does not take them.
    pub fn options(&self, pipeline: &str) -> Result<Options, ChoiceError> {
        self.find()?.options(&self.options, pipeline).map_err(ChoiceError::Options)
    }

    /// Its options, as the handler of one type.
    ///
    /// # Errors
    /// When there is no such processor, or it cannot be a handler, or does not take them.
    pub fn handler_options(&self, kind: &str) -> Result<Options, ChoiceError> {
        let of_the_handler = |problem: String| format!("handler of `{kind}`: {problem}");
        let options = self.find_handler(kind)?.handler_options(&self.options);
        options.map_err(|problems| ChoiceError::Options(problems.into_iter().map(of_the_handler).collect()))
    }

    fn find_handler(&self, kind: &str) -> Result<&'static Builtin, ChoiceError> {
        let builtin = self.find()?;
        if builtin.source == SourceKind::Kafka && builtin.table == Need::Forbidden {
            return Ok(builtin);
        }
        Err(ChoiceError::NoHandler { kind: kind.to_owned(), name: builtin.name })
    }

    fn with(&self, options: &Options) -> Self {
        let options = options.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { builtin: self.builtin.clone(), options }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn choice(json: Value) -> Choice {
        serde_json::from_value(json).unwrap()
    }

    fn by_type(handler: Value) -> Choice {
        choice(json!({"byType": {"user.created": {"builtin": "log"}, "user.deleted": handler}}))
    }

    #[test]
    fn it_reads_back() {
        for json in [
            json!({"builtin": "payments", "options": {"successRate": "1"}}),
            json!({"byType": {"user.created": {"builtin": "log", "options": {"maxBytes": "9"}}, "user.deleted": {"builtin": "log"}}}),
        ] {
            assert_eq!(serde_json::to_value(choice(json.clone())).unwrap(), json);
        }
        let handlers = || json!({"a": {"builtin": "log"}});
        for (json, part) in [
            (json!({"builtin": "payments", "speed": 1}), "unknown field `speed`"),
            (json!({"byType": {"a": {"builtin": "log", "speed": 1}}}), "unknown field `speed`"),
            (json!({"builtin": "payments", "byType": handlers()}), "exactly one of builtin and byType"),
            (json!({}), "exactly one of builtin and byType"),
            (json!({"byType": handlers(), "options": {"a": "b"}}), "no options beside it"),
            (json!({"byType": {}}), "at least one handler"),
        ] {
            let why = serde_json::from_value::<Choice>(json).unwrap_err().to_string();
            assert!(why.contains(part), "{part}: {why}");
        }
    }

    #[test]
    fn what_it_asks_for() {
        let shape = |choice: &Choice| choice.shape().map(|shape| (shape.source, shape.sink, shape.table));
        for (choice, expected) in [
            (choice(json!({"builtin": "orders-gateway"})), (SourceKind::Http, Need::Required, Need::Required)),
            (by_type(json!({"builtin": "log"})), (SourceKind::Kafka, Need::Forbidden, Need::Forbidden)),
            (by_type(json!({"builtin": "payments"})), (SourceKind::Kafka, Need::Required, Need::Forbidden)),
        ] {
            assert_eq!(shape(&choice), Ok(expected), "{choice:?}");
        }
        for (choice, part) in [
            (choice(json!({"builtin": "sms"})), "`sms` is not a built-in processor: this version has enrich, events-gateway"),
            (by_type(json!({"builtin": "sms"})), "`sms` is not a built-in processor"),
            (by_type(json!({"builtin": "orders-gateway"})), "the handler of `user.deleted` is orders-gateway, which answers requests"),
        ] {
            let why = shape(&choice).unwrap_err();
            assert!(why.to_string().contains(part), "{why}");
            assert_eq!(choice.with_every_option("p").unwrap_err(), why);
        }
    }

    #[test]
    fn options_are_filled_in_and_all_problems_are_told() {
        let Choice::Builtin(one) = choice(json!({"builtin": "payments"})).with_every_option("p").unwrap() else { panic!() };
        assert_eq!(one.options, BTreeMap::from([("serviceName", "p"), ("successRate", "0.8")].map(|(k, v)| (k.to_owned(), v.to_owned()))));
        let Choice::ByType { by_type: handlers } = by_type(json!({"builtin": "payments"})).with_every_option("p").unwrap() else {
            panic!()
        };
        let names: Vec<Vec<&str>> = handlers.values().map(|handler| handler.options.keys().map(String::as_str).collect()).collect();
        assert_eq!(names, [vec!["maxBytes", "message", "require"], vec!["successRate"]], "what is the worker's is no handler's");

        let why = by_type(json!({"builtin": "log", "options": {"serviceName": "s", "maxBytes": "0"}})).with_every_option("p").unwrap_err();
        let ChoiceError::Options(problems) = why else { panic!("{why}") };
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("handler of `user.deleted`: `serviceName` is not an option of log: it takes"), "{problems:?}");
    }
}
