//! The table of built-in processors. Pure.

use std::time::Duration;

use super::{Builtin, Fallback, Need, OptionKind, OptionSpec, SourceKind};

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
    kind: OptionKind::Text { max: 253 },
    fallback: Fallback::Value("*"),
};

/// Every built-in processor, by name.
pub const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "orders-gateway",
        summary: "takes orders over HTTP, produces them, and answers with their state",
        source: SourceKind::Http,
        sink: Need::Required,
        table: Need::Required,
        options: &[SERVICE_NAME, MAX_BODY_BYTES, PRODUCE_TIMEOUT, CORS_ORIGIN],
        together: &[],
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
    },
];
