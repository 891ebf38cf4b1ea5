//! What a pipeline runs: one built-in processor, one for each type of event, a handler over HTTP, or a worker's own. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BUILTINS, Builtin, Need, Options, SourceKind, TableUse, find};

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
    /// Another process of the pod, which is called for each record.
    Http(HttpCall),
    /// The one of the worker's own image. The stock worker has none.
    Image {
        /// Its options, which it checks itself.
        options: BTreeMap<String, String>,
    },
}

/// How a handler over HTTP is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCall {
    /// The port of the pod that it listens on.
    pub port: u16,
    /// The path that records are posted to.
    pub path: String,
    /// How long an answer is waited for.
    #[serde(with = "crate::duration::text")]
    pub timeout: Duration,
}

/// How the processor of an image of one's own stands in the configuration.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Own {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<HttpCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Own>,
}

impl TryFrom<Written> for Choice {
    type Error = &'static str;

    fn try_from(Written { builtin, options, by_type, http, image }: Written) -> Result<Self, Self::Error> {
        if builtin.is_none() && !options.is_empty() {
            return Err("processor.options goes with processor.builtin: byType and image take options within them");
        }
        match (builtin, by_type, http, image) {
            (Some(builtin), None, None, None) => Ok(Self::Builtin(Configured { builtin, options })),
            (None, Some(by_type), None, None) if !by_type.is_empty() => Ok(Self::ByType { by_type }),
            (None, Some(_), None, None) => Err("processor.byType needs at least one handler"),
            (None, None, Some(call), None) => Ok(Self::Http(call)),
            (None, None, None, Some(Own { options })) => Ok(Self::Image { options }),
            _ => Err("processor needs exactly one of builtin, byType, http and image"),
        }
    }
}

impl From<Choice> for Written {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Builtin(Configured { builtin, options }) => Self { builtin: Some(builtin), options, ..Self::default() },
            Choice::ByType { by_type } => Self { by_type: Some(by_type), ..Self::default() },
            Choice::Http(call) => Self { http: Some(call), ..Self::default() },
            Choice::Image { options } => Self { image: Some(Own { options }), ..Self::default() },
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
    /// What it does with `spec.table`.
    pub table: TableUse,
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
            Self::Http(_) => "http",
            Self::Image { .. } => "image",
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
                Ok(Shape { source: SourceKind::Kafka, sink, table: TableUse::Nothing })
            }
            // Only their authors know whether they produce.
            Self::Http(_) | Self::Image { .. } => Ok(Shape { source: SourceKind::Kafka, sink: Need::Optional, table: TableUse::Nothing }),
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
            Self::Http(_) | Self::Image { .. } => Ok(self.clone()),
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
        if builtin.is_handler() {
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
mod tests;
