//! What is the gateway's own among its options, read once and right ever after. Pure.

use http::StatusCode;
use jiff::Timestamp;
use penstock_crds::processor::Options;

use super::{
    intake::{Bare, Intake},
    key::KeyOf,
    schema::Schema,
};
use crate::error::ConfigError;

/// The attribute that becomes the key where nothing is said: that of the extension for partitioning.
const USUAL_KEY: &str = "partitionkey";

/// The options.
#[derive(Debug)]
pub struct EventsOptions {
    /// The path that events are posted to.
    pub path: String,
    /// What is taken.
    pub intake: Intake,
    /// The status once Kafka has acknowledged everything.
    pub accepted: StatusCode,
    /// The status when it has not.
    pub failure: StatusCode,
}

impl EventsOptions {
    /// Reads options that the processor's own table has checked.
    ///
    /// # Errors
    /// When a schema is not a JSON Schema that can be compiled.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let given = |name: &str| options.text(name).ok_or_else(|| ConfigError::invalid(format!("option {name} is missing")));
        let status = |name: &str| {
            let status = given(name)?.parse::<StatusCode>();
            status.map_err(|_| ConfigError::invalid(format!("option {name} is not a status of HTTP")))
        };
        let schema = |name: &str| {
            let compiled = options.text(name).map(Schema::compile).transpose();
            compiled.map_err(|why| ConfigError::invalid(format!("option {name}: {why}")))
        };
        let bare = options.text("defaultType").zip(options.text("defaultSource"));
        let bare = bare.map(|(kind, source)| Bare { kind: kind.to_owned(), source: source.to_owned() });
        if bare.as_ref().is_some_and(|bare| bare.attributes(String::from("1"), Timestamp::UNIX_EPOCH).complete().is_err()) {
            return Err(ConfigError::invalid("options defaultType and defaultSource: CloudEvents allow no such type or source"));
        }
        let key = match options.text("dataKey") {
            Some(pointer) => KeyOf::Data(pointer.to_owned()),
            None => KeyOf::Attribute(options.text("key").unwrap_or(USUAL_KEY).to_owned()),
        };
        Ok(Self {
            path: given("path")?.to_owned(),
            intake: Intake { bare, attributes: schema("attributeSchema")?, schema: schema("schema")?, key },
            accepted: status("acceptedStatus")?,
            failure: status("failureStatus")?,
        })
    }
}
