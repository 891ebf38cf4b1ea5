//! The table of built-in processors. Pure.

use std::time::Duration;

use super::{Builtin, Fallback, MAX_OPTION, Need, OptionKind, OptionSpec, SourceKind};

const SERVICE_NAME: OptionSpec = OptionSpec {
    name: "serviceName",
    summary: "the `service` that /health answers with",
    kind: OptionKind::Text { max: 63 },
    fallback: Fallback::PipelineName,
};

const MAX_BODY_BYTES: OptionSpec = OptionSpec {
    name: "maxBodyBytes",
    summary: "the largest request body that is read",
    kind: OptionKind::Integer { min: 1_024, max: 900_000 },
    fallback: Fallback::Value("102400"),
};

const PRODUCE_TIMEOUT: OptionSpec = OptionSpec {
    name: "produceTimeout",
    summary: "how long a request waits for Kafka's acknowledgement before it is answered as failed",
    kind: OptionKind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(60) },
    fallback: Fallback::Value("5s"),
};

const CORS_ORIGIN: OptionSpec = OptionSpec {
    name: "corsOrigin",
    summary: "the origin that browsers may call from; * for any",
    kind: OptionKind::Origin,
    fallback: Fallback::Value("*"),
};

/// Every built-in processor, by name.
pub const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "enrich",
        summary: "adds to each JSON event when and where it was read, and writes it under another key",
        source: SourceKind::Kafka,
        sink: Need::Required,
        table: Need::Forbidden,
        options: &[
            SERVICE_NAME,
            OptionSpec {
                name: "key",
                summary: "a JSON Pointer to the field that becomes the key; without it the key stays",
                kind: OptionKind::JsonPointer { max: 200 },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "session",
                summary: "a JSON Pointer to the field that names the session which the event belongs to",
                kind: OptionKind::JsonPointer { max: 200 },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "member",
                summary: "the member of the event in which that stands",
                kind: OptionKind::Text { max: 64 },
                fallback: Fallback::Value("metadata"),
            },
        ],
        together: &[],
        apart: &[],
    },
    Builtin {
        name: "events-gateway",
        summary: "takes events over HTTP, as CloudEvents or bare JSON, and produces them",
        source: SourceKind::Http,
        sink: Need::Required,
        table: Need::Optional,
        options: &[
            SERVICE_NAME,
            OptionSpec {
                name: "path",
                summary: "the path that events are posted to",
                kind: OptionKind::Path,
                fallback: Fallback::Value("/events"),
            },
            OptionSpec {
                name: "key",
                summary: "the attribute of an event that becomes the record's key (partitionkey); an event without it has no key",
                kind: OptionKind::Attribute,
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "dataKey",
                summary: "a JSON Pointer to the field of an event's data that becomes the record's key, instead of an attribute",
                kind: OptionKind::JsonPointer { max: 200 },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "defaultType",
                summary: "the type of an event that is posted as bare JSON",
                kind: OptionKind::Text { max: 253 },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "defaultSource",
                summary: "the source of an event that is posted as bare JSON",
                kind: OptionKind::UriReference { max: 253 },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "schema",
                summary: "a JSON Schema that the data of every event must satisfy",
                kind: OptionKind::JsonSchema { max: MAX_OPTION },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "attributeSchema",
                summary: "a JSON Schema that the attributes of every event must satisfy, as an object of texts",
                kind: OptionKind::JsonSchema { max: MAX_OPTION },
                fallback: Fallback::Absent,
            },
            OptionSpec {
                name: "acceptedStatus",
                summary: "the status of the answer once Kafka has acknowledged all events of a request",
                kind: OptionKind::OneOf(&["200", "201", "202", "204"]),
                fallback: Fallback::Value("202"),
            },
            OptionSpec {
                name: "failureStatus",
                summary: "the status of the answer when Kafka does not acknowledge an event",
                kind: OptionKind::OneOf(&["500", "503"]),
                fallback: Fallback::Value("503"),
            },
            OptionSpec {
                name: "idempotencyWindow",
                summary: "how long an Idempotency-Key counts, where spec.table names the topic in which keys are kept",
                kind: OptionKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(7 * 86_400) },
                fallback: Fallback::Value("24h"),
            },
            MAX_BODY_BYTES,
            PRODUCE_TIMEOUT,
            CORS_ORIGIN,
        ],
        together: &[["defaultType", "defaultSource"]],
        apart: &[["key", "dataKey"]],
    },
    Builtin {
        name: "log",
        summary: "logs each record",
        source: SourceKind::Kafka,
        sink: Need::Forbidden,
        table: Need::Forbidden,
        options: &[
            SERVICE_NAME,
            OptionSpec {
                name: "message",
                summary: "the message of the line",
                kind: OptionKind::Text { max: 200 },
                fallback: Fallback::Value("record"),
            },
            OptionSpec {
                name: "maxBytes",
                summary: "how many bytes of a key and of a value are logged",
                kind: OptionKind::Integer { min: 1, max: 65_536 },
                fallback: Fallback::Value("1024"),
            },
            OptionSpec {
                name: "require",
                summary: "what a value must be: with Json, any other is rejected",
                kind: OptionKind::OneOf(&["None", "Json"]),
                fallback: Fallback::Value("None"),
            },
        ],
        together: &[],
        apart: &[],
    },
    Builtin {
        name: "orders-gateway",
        summary: "takes orders over HTTP, produces them, and answers with their state",
        source: SourceKind::Http,
        sink: Need::Required,
        table: Need::Required,
        options: &[SERVICE_NAME, MAX_BODY_BYTES, PRODUCE_TIMEOUT, CORS_ORIGIN],
        together: &[],
        apart: &[],
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
                fallback: Fallback::Value("0.8"),
            },
        ],
        together: &[],
        apart: &[],
    },
];
