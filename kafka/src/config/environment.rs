//! Variables of the environment as fields of a configuration. Pure: the variables are given.
//!
//! A variable is the prefix and the path of a field, in capitals, with `_` between words: `PENSTOCK_KAFKA_PRODUCER_BATCH_BYTES` is
//! `producer.batchBytes`. Only names that are a field's are understood, so no name has two meanings.

use serde_json::{Number, Value};

use super::ConfigError;
use super::sections::Sections;

type Result<T> = std::result::Result<T, ConfigError>;

/// How the text of a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Texts with commas between them.
    List,
    /// The objects of a list, in YAML.
    Objects,
}

/// A field that a variable may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// The names from the section to the field.
    pub path: Vec<String>,
    kind: Kind,
}

impl Field {
    /// All that there are.
    pub(super) fn all() -> Vec<Self> {
        let mut fields = Vec::new();
        // A value that serde can write: texts, numbers, flags, lists and sections.
        let complete = serde_json::to_value(Sections::complete()).unwrap_or_default();
        collect(&mut Vec::new(), &complete, &mut fields);
        fields
    }

    /// The path as it stands in messages.
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    pub(super) fn variable(&self, prefix: &str) -> String {
        let mut variable = prefix.to_owned();
        for name in &self.path {
            variable.push('_');
            for letter in name.chars() {
                if letter.is_ascii_uppercase() {
                    variable.push('_');
                }
                variable.push(letter.to_ascii_uppercase());
            }
        }
        variable
    }

    /// The value that a variable gives it.
    pub(super) fn read(&self, variable: &str, text: &str) -> Result<Value> {
        let wrong = |message: String| ConfigError::Field { path: self.name(), variable: Some(variable.to_owned()), message };
        match self.kind {
            Kind::Text => Ok(Value::from(text)),
            Kind::Number => {
                let number: std::result::Result<u64, _> = text.trim().parse();
                number.map(|number| Value::Number(Number::from(number))).map_err(|_| wrong(format!("`{text}` is no whole number")))
            }
            Kind::Flag => text.trim().parse().map(Value::Bool).map_err(|_| wrong(format!("`{text}` is neither `true` nor `false`"))),
            Kind::List => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
            Kind::Objects => serde_saphyr::from_str(text).map_err(|error| wrong(format!("it must be a list in YAML: {error}"))),
        }
    }
}

fn collect(path: &mut Vec<String>, value: &Value, fields: &mut Vec<Field>) {
    let kind = match value {
        Value::Object(section) => {
            for (name, value) in section {
                path.push(name.clone());
                collect(path, value, fields);
                path.pop();
            }
            return;
        }
        Value::Array(_) if path.len() == 1 => Kind::Objects,
        Value::Array(_) => Kind::List,
        Value::Number(_) => Kind::Number,
        Value::Bool(_) => Kind::Flag,
        Value::String(_) | Value::Null => Kind::Text,
    };
    fields.push(Field { path: path.clone(), kind });
}

/// Whether kubelet has set a variable, as it does for each Service of a namespace, whose name may be like our prefix.
///
/// See <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
pub(super) fn is_of_a_service(variable: &str) -> bool {
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok()) && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.ends_with("_PORT")
        || variable.contains("_SERVICE_PORT_")
        || variable.match_indices("_PORT_").any(|(place, found)| variable.get(place + found.len()..).is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_a_variable_of_its_own() {
        let mut variables: Vec<String> = Field::all().iter().map(|field| field.variable("APP")).collect();
        for expected in [
            "APP_CONNECTION_BOOTSTRAP_SERVERS",
            "APP_PRODUCER_CIRCUIT_BREAKER_PAUSE",
            "APP_CONSUMER_SESSION_TIMEOUT",
            "APP_CONSUMER_CO_PARTITIONED",
            "APP_TOPICS",
            "APP_TRANSACTIONS_TRANSACTIONAL_ID",
            "APP_READER_TOPICS",
        ] {
            assert!(variables.iter().any(|variable| variable == expected), "{expected}: {variables:?}");
        }
        assert!(variables.iter().all(|variable| !is_of_a_service(variable)), "{variables:?}");
        variables.sort_unstable();
        let count = variables.len();
        variables.dedup();
        assert_eq!(variables.len(), count);
    }

    #[test]
    fn variables_of_services_are_told_from_ours() {
        for (variable, expected) in [
            ("KAFKA_SERVICE_HOST", true),
            ("KAFKA_SERVICE_PORT", true),
            ("KAFKA_SERVICE_PORT_CLIENTS", true),
            ("KAFKA_PORT", true),
            ("KAFKA_PORT_9092_TCP", true),
            ("KAFKA_UI_PORT_80_TCP_ADDR", true),
            ("KAFKA_PORT_HIGH", false),
            ("KAFKA_PORTS", false),
            ("KAFKA_PRODUCER_LINGER", false),
        ] {
            assert_eq!(is_of_a_service(variable), expected, "{variable}");
        }
    }
}
