//! Schema fragments that several types share: bounds on strings, lists and maps, in the terms of a structural schema.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::{
    pipeline::{DeadLetterHeaders, Handler, SecretRef},
    processor,
    topic::{ConfigPolicy, MAX_CONFIG_KEYS, MAX_CONFIG_VALUE},
};

/// A DNS-1123 subdomain: what Kubernetes allows as the name of most objects.
const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$";

pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": OBJECT_NAME})
}

/// What Kubernetes allows as a key in a ConfigMap.
pub(crate) fn config_map_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^(\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*)$"})
}

/// A text that a token says of itself.
pub(crate) fn claim(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^\P{Cc}+$"})
}

pub(crate) fn leeway(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "5m")
}

pub(crate) fn topic_refs(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16, "x-kubernetes-list-type": "set",
        "items": object_name(generator),
    })
}

/// `host:port`, with a port from 1 to 65535.
const BOOTSTRAP_SERVER: &str = concat!(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):",
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
);

pub(crate) fn bootstrap_servers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16, "x-kubernetes-list-type": "set",
        "items": {
            "type": "string", "maxLength": 260, "pattern": BOOTSTRAP_SERVER,
        },
    })
}

pub(crate) fn namespace_patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 256, "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9*-]+$"},
    })
}

pub(crate) fn topic_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 249, "pattern": "^[A-Za-z0-9._-]+$",
        "x-kubernetes-validations": [
            {"rule": "self != '.' && self != '..'", "message": "a topic cannot be called `.` or `..`"},
            {"rule": "!self.startsWith('__')", "message": "topic names that begin with `__` belong to Kafka itself"},
        ],
    })
}

pub(crate) fn topic_config(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": MAX_CONFIG_KEYS,
        "additionalProperties": {"type": "string", "maxLength": MAX_CONFIG_VALUE},
        "x-kubernetes-validations": [
            {"rule": "self.all(k, k.matches('^[a-z][a-z0-9.]{0,127}$'))",
             "message": "config keys are Kafka's topic configuration names, such as `retention.ms`"},
        ],
    })
}

pub(crate) fn config_policy(generator: &mut SchemaGenerator) -> Schema {
    let policy = generator.subschema_for::<ConfigPolicy>();
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": policy,
        "x-kubernetes-validations": [
            {"rule": "self.all(k, k.matches('^[a-z0-9.*]{1,128}$'))",
             "message": "patterns are Kafka's topic configuration names, in which `*` stands for any run of characters"},
        ],
    })
}

pub(crate) fn dead_letter_headers(generator: &mut SchemaGenerator) -> Schema {
    let naming = generator.subschema_for::<DeadLetterHeaders>();
    json_schema!({"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": naming})
}

pub(crate) fn group(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 249, "pattern": "^[A-Za-z0-9._-]+$"})
}

pub(crate) fn builtin(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = processor::BUILTINS.iter().map(|b| b.name).collect();
    json_schema!({"type": "string", "enum": names})
}

pub(crate) fn builtin_handler(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = processor::BUILTINS.iter().filter(|b| b.is_handler()).map(|b| b.name).collect();
    json_schema!({"type": "string", "enum": names})
}

pub(crate) fn pull_secrets(generator: &mut SchemaGenerator) -> Schema {
    let secret = generator.subschema_for::<SecretRef>();
    json_schema!({
        "type": "array", "maxItems": 8, "items": secret,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    })
}

pub(crate) fn handlers(generator: &mut SchemaGenerator) -> Schema {
    let handler = generator.subschema_for::<Handler>();
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 64, "items": handler,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

pub(crate) fn event_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^\P{Cc}+$"})
}

/// A reference to a container image, as <https://github.com/distribution/reference> has them: a registry, a path of lower
/// case, a tag, a digest.
const IMAGE: &str = concat!(
    r"^((([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]{2,39}\])(:[0-9]{1,5})?/)?",
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*",
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,128})?$",
);

pub(crate) fn image(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 500, "pattern": IMAGE})
}

pub(crate) fn handler_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^(/[A-Za-z0-9._~-]+)*/?$"})
}

pub(crate) fn handler_timeout(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "5m")
}

pub(crate) fn options(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": processor::MAX_OPTION},
    })
}

/// What the apiserver reads as an amount (`resource.Quantity`), and that is not negative.
pub(crate) fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true, "minimum": 0,
        "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
    })
}

pub(crate) fn label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

pub(crate) fn backoff_duration(_: &mut SchemaGenerator) -> Schema {
    duration("1ms", "1m")
}

pub(crate) fn transaction_interval(_: &mut SchemaGenerator) -> Schema {
    duration("10ms", "2s")
}

pub(crate) fn session_timeout(_: &mut SchemaGenerator) -> Schema {
    duration("6s", "5m")
}

pub(crate) fn fetch_wait(_: &mut SchemaGenerator) -> Schema {
    duration("10ms", "10s")
}

pub(crate) fn linger(_: &mut SchemaGenerator) -> Schema {
    duration("0ms", "1s")
}

pub(crate) fn breaker_pause(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "5m")
}

pub(crate) fn retry_delays(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 5, "x-kubernetes-list-type": "atomic", "items": duration("1s", "1h")})
}

/// A duration between these bounds, in a form that Kubernetes and the worker read alike: whole numbers from the larger unit
/// to the smaller, or one with a fraction.
fn duration(min: &str, max: &str) -> Schema {
    json_schema!({
        "type": "string", "minLength": 2, "maxLength": 16,
        "pattern": r"^(([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?|[0-9]{1,6}\.[0-9]{1,3}(ms|s|m|h))$",
        "x-kubernetes-validations": [
            {"rule": format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"),
             "message": format!("must be from {min} to {max}")},
        ],
    })
}

/// Conditions as the Kubernetes API conventions want them: a list map by type.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array", "maxItems": 16, "items": condition,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}
