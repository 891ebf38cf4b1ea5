//! Puts a configuration together from several places, each of which wins over those before it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::environment::{Field, is_of_a_service};
use super::sections::Sections;
use super::{ConfigError, KafkaConfig};

type Result<T> = std::result::Result<T, ConfigError>;

/// A configuration that is put together: what comes later wins, field by field; a list as a whole.
///
/// ```no_run
/// use penstock_kafka::ConfigLayers;
///
/// // PENSTOCK_KAFKA_PRODUCER_LINGER=5ms wins over the file.
/// let config = ConfigLayers::new().yaml_file("app.yaml")?.env("PENSTOCK_KAFKA")?.build()?;
/// # Ok::<(), penstock_kafka::ConfigError>(())
/// ```
///
/// It can also be read as a part of an application's own configuration, by any format of serde that describes itself. A field
/// without a value counts as left out there, too.
///
/// ```
/// # #[derive(serde::Deserialize)]
/// # #[allow(dead_code)]
/// struct App {
///     greeting: String,
///     kafka: penstock_kafka::ConfigLayers,
/// }
/// # let app: App = serde_json::from_str(r#"{"greeting": "a", "kafka": {"connection": {"bootstrapServers": ["a:1"]}}}"#)?;
/// let config = app.kafka.env("APP_KAFKA")?.build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfigLayers {
    fields: Map<String, Value>,
    /// By field, the variable that has set it.
    set_by: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for ConfigLayers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut layers = Self::new();
        // As in a document of its own, what has no value counts as left out.
        merge(&mut layers.fields, Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default());
        Ok(layers)
    }
}

impl ConfigLayers {
    /// Nothing yet: the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a YAML document. A field without a value counts as left out.
    ///
    /// # Errors
    /// [`ConfigError::Yaml`].
    pub fn yaml_str(mut self, yaml: &str) -> Result<Self> {
        let wrong = |message: String| ConfigError::Yaml { file: None, message };
        match serde_saphyr::from_str(yaml).map_err(|error| wrong(error.to_string()))? {
            Value::Object(fields) => {
                self.forget_variables(&fields, "");
                merge(&mut self.fields, fields);
                Ok(self)
            }
            Value::Null => Ok(self),
            other => {
                Err(wrong(format!("expected the sections connection, producer, transactions, consumer, reader and topics, not {other}")))
            }
        }
    }

    /// Adds a YAML file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] or [`ConfigError::Yaml`].
    pub fn yaml_file(self, file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let yaml = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        self.yaml_str(&yaml).map_err(|error| match error {
            ConfigError::Yaml { message, .. } => ConfigError::Yaml { file: Some(file.to_owned()), message },
            other => other,
        })
    }

    /// Adds the variables of the environment that begin with a prefix and `_`.
    ///
    /// A variable's name is the prefix and the path of the field, in capitals, with `_` between words: with the prefix `PENSTOCK_KAFKA`,
    /// `PENSTOCK_KAFKA_PRODUCER_BATCH_BYTES` is `producer.batchBytes`. The items of a list stand with commas between them, the
    /// value of `topics` is a list in YAML. What kubelet sets for each Service (`…_SERVICE_HOST`, `…_PORT`, `…_PORT_9092_TCP` and the like)
    /// is no variable of ours, should a Service be called like the prefix.
    ///
    /// # Errors
    /// [`ConfigError::UnknownVariable`] for one that has the prefix and is no field, [`ConfigError::Variable`] for one that is not
    /// Unicode, [`ConfigError::Field`] for a value that is none of the field.
    pub fn env(self, prefix: &str) -> Result<Self> {
        let mut variables = Vec::new();
        for (variable, value) in std::env::vars_os() {
            let variable = variable.to_string_lossy();
            if !variable.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')) {
                continue;
            }
            match value.into_string() {
                Ok(value) => variables.push((variable.into_owned(), value)),
                Err(_) => {
                    return Err(ConfigError::Variable { variable: variable.into_owned(), message: "its value is not Unicode".to_owned() });
                }
            }
        }
        self.variables(prefix, variables)
    }

    /// As [`ConfigLayers::env`], with variables that are given, such as those of a file or a test.
    ///
    /// # Errors
    /// As there.
    pub fn variables<N, V>(mut self, prefix: &str, variables: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let is_possible = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
        if prefix.is_empty() || prefix.ends_with('_') || !prefix.chars().all(is_possible) {
            let message = "the prefix must have capitals, digits and `_`, and not end with `_`: it comes by itself".to_owned();
            return Err(ConfigError::Variable { variable: format!("{prefix:?}"), message });
        }
        let fields: BTreeMap<String, Field> = Field::all().into_iter().map(|field| (field.variable(prefix), field)).collect();
        for (variable, value) in variables {
            let variable = variable.as_ref();
            let Some(rest) = variable.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else { continue };
            match fields.get(variable) {
                Some(field) => self.set(field, variable, value.as_ref())?,
                None if is_of_a_service(variable) => {}
                None => return Err(ConfigError::UnknownVariable { variable: variable.to_owned(), near: near(&fields, prefix, rest) }),
            }
        }
        Ok(self)
    }

    /// What was put together, once all of it is known and possible.
    ///
    /// # Errors
    /// [`ConfigError::Field`] names the field, and the variable that has set it, if one has.
    pub fn build(self) -> Result<KafkaConfig> {
        let sections: std::result::Result<Sections, _> = serde_path_to_error::deserialize(Value::Object(self.fields));
        let checked = match sections {
            Ok(sections) => sections.check(),
            Err(error) => Err(ConfigError::field(error.path().to_string(), error.inner().to_string())),
        };
        checked.map_err(|error| match error {
            ConfigError::Field { path, variable: None, message } => {
                let variable = self.set_by.get(&path).or_else(|| self.set_by.get(path.split('[').next().unwrap_or_default())).cloned();
                ConfigError::Field { path, variable, message }
            }
            other => other,
        })
    }

    fn set(&mut self, field: &Field, variable: &str, text: &str) -> Result<()> {
        let value = field.read(variable, text)?;
        let nested = field.path.iter().rev().fold(value, |value, name| Value::Object(Map::from_iter([(name.clone(), value)])));
        if let Value::Object(fields) = nested {
            merge(&mut self.fields, fields);
        }
        self.set_by.insert(field.name(), variable.to_owned());
        Ok(())
    }

    /// What a document sets is not set by a variable any more.
    fn forget_variables(&mut self, fields: &Map<String, Value>, above: &str) {
        for (name, value) in fields {
            let path = format!("{above}{name}");
            match value {
                Value::Null => {}
                Value::Object(fields) => self.forget_variables(fields, &format!("{path}.")),
                _ => drop(self.set_by.remove(&path)),
            }
        }
    }
}

/// Lets the later fields win. A section of both is merged; what has no value wins over nothing.
fn merge(fields: &mut Map<String, Value>, later: Map<String, Value>) {
    for (name, value) in later {
        match (fields.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(section)), Value::Object(later)) => merge(section, later),
            (_, Value::Object(later)) => {
                let mut section = Map::new();
                merge(&mut section, later);
                fields.insert(name, Value::Object(section));
            }
            (_, value) => drop(fields.insert(name, value)),
        }
    }
}

/// The variables of the section that a name begins with, or all.
fn near(fields: &BTreeMap<String, Field>, prefix: &str, rest: &str) -> Vec<String> {
    let section = format!("{prefix}_{}_", rest.split('_').next().unwrap_or_default());
    let near: Vec<String> = fields.keys().filter(|variable| variable.starts_with(&section)).cloned().collect();
    if near.is_empty() { fields.keys().cloned().collect() } else { near }
}
