//! Why a configuration cannot be used, by what has to be changed. Pure.

use std::io;
use std::path::PathBuf;

/// Why a [`crate::KafkaConfig`] cannot be made; the message says what to change.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is no YAML, or not one document of fields.
    #[error("{}{message}", in_front(file))]
    Yaml {
        /// The file; `None` if it was no file.
        file: Option<PathBuf>,
        /// What is wrong with it, and where.
        message: String,
    },
    /// A field is unknown, missing, of another type or out of its bounds.
    #[error("{path}{}: {message}", set_by(variable))]
    Field {
        /// The field, such as `producer.linger` or `topics[0].name`.
        path: String,
        /// The variable of the environment that has set it; `None` if none has.
        variable: Option<String>,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A variable of the environment has the prefix and is no field.
    #[error("{variable} sets no field: change its name or unset it. The variables near to it are {}", near.join(", "))]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// Those of the same section, or of all.
        near: Vec<String>,
    },
    /// A variable of the environment cannot be read.
    #[error("{variable}: {message}")]
    Variable {
        /// The variable, or what was given as prefix of all.
        variable: String,
        /// What is wrong and what is expected.
        message: String,
    },
}

impl ConfigError {
    /// The field at fault, such as `producer.linger`; `None` where it is not one field.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Field { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(super) fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Field { path: path.into(), variable: None, message: message.into() }
    }
}

fn in_front(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default()
}

fn set_by(variable: &Option<String>) -> String {
    variable.as_ref().map(|variable| format!(" (set by {variable})")).unwrap_or_default()
}
