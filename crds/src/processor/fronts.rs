//! The options that every front has: what a request, a connection and all of them together may take. Pure.
//!
//! The defaults suit a small pod behind a proxy: a limit that one address alone could reach is off until it is given.

use std::time::Duration;

use super::{Fallback, OptionKind, OptionSpec};

pub(super) const MAX_BODY_BYTES: OptionSpec = OptionSpec {
    name: "maxBodyBytes",
    summary: "the largest request body that is read",
    kind: OptionKind::Integer { min: 1_024, max: 900_000 },
    fallback: Fallback::Value("102400"),
};

pub(super) const BODY_TIMEOUT: OptionSpec = OptionSpec {
    name: "bodyTimeout",
    summary: "how long a request body may take to arrive as a whole",
    kind: OptionKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(300) },
    fallback: Fallback::Value("10s"),
};

pub(super) const BODY_IDLE_TIMEOUT: OptionSpec = OptionSpec {
    name: "bodyIdleTimeout",
    summary: "the longest pause between two parts of a request body",
    kind: OptionKind::Duration { min: Duration::from_millis(500), max: Duration::from_secs(60) },
    fallback: Fallback::Value("5s"),
};

pub(super) const BODY_MEMORY_BYTES: OptionSpec = OptionSpec {
    name: "bodyMemoryBytes",
    summary: "the memory for all request bodies at once, arriving or in work",
    // More than the largest body takes.
    kind: OptionKind::Integer { min: 1 << 20, max: 4 << 30 },
    fallback: Fallback::Value("33554432"),
};

pub(super) const MAX_REQUESTS: OptionSpec = OptionSpec {
    name: "maxRequests",
    summary: "the most requests in work at once, their bodies complete; more are answered with 503",
    kind: OptionKind::Integer { min: 1, max: 16_384 },
    fallback: Fallback::Value("256"),
};

pub(super) const MAX_CONNECTIONS: OptionSpec = OptionSpec {
    name: "maxConnections",
    summary: "the most connections at once; a newcomer takes the place of the one that was of no use for the longest",
    kind: OptionKind::Integer { min: 16, max: 65_536 },
    fallback: Fallback::Value("4096"),
};

pub(super) const MAX_CONNECTIONS_PER_PEER: OptionSpec = OptionSpec {
    name: "maxConnectionsPerPeer",
    summary: "the most connections of one address at once; not for a front whose clients come through one proxy",
    kind: OptionKind::Integer { min: 1, max: 65_536 },
    fallback: Fallback::Absent,
};

pub(super) const MAX_HEAD_BYTES: OptionSpec = OptionSpec {
    name: "maxHeadBytes",
    summary: "the largest request line with all headers",
    kind: OptionKind::Integer { min: 8_192, max: 65_536 },
    fallback: Fallback::Value("16384"),
};

pub(super) const HEAD_TIMEOUT: OptionSpec = OptionSpec {
    name: "headTimeout",
    summary: "how long a request's head may take, from its first byte",
    kind: OptionKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(60) },
    fallback: Fallback::Value("10s"),
};

pub(super) const IDLE_TIMEOUT: OptionSpec = OptionSpec {
    name: "idleTimeout",
    summary: "how long a connection may stay open without a request; keep it longer than that of a proxy before it",
    kind: OptionKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(600) },
    fallback: Fallback::Value("75s"),
};

pub(super) const ANSWER_TIMEOUT: OptionSpec = OptionSpec {
    name: "answerTimeout",
    summary: "how long a client may take to read the next 16 KiB of its answer",
    kind: OptionKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(60) },
    fallback: Fallback::Value("10s"),
};

pub(super) const PRODUCE_TIMEOUT: OptionSpec = OptionSpec {
    name: "produceTimeout",
    summary: "how long a request waits for Kafka's acknowledgement before it is answered as failed",
    kind: OptionKind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(60) },
    fallback: Fallback::Value("5s"),
};

pub(super) const CORS_ORIGIN: OptionSpec = OptionSpec {
    name: "corsOrigin",
    summary: "the origin that browsers may call from; * for any",
    kind: OptionKind::Origin,
    fallback: Fallback::Value("*"),
};

/// Requests in work are each on a connection of their own, and one more must be left for those who ask how the worker is.
pub(super) const ASCENDING: &[[&str; 2]] = &[["maxRequests", "maxConnections"]];
