//! The Penstock operator: makes and keeps what `KafkaCluster`, `KafkaTopic` and `EventPipeline` objects declare.
//!
//! | Module | Holds |
//! |---|---|
//! | [`clusters`], [`topics`], [`pipelines`] | one reconciler each: observe, validate, plan or build, apply, status |
//! | [`scaling`] | how many workers a pipeline needs: pure decisions by what was seen |
//! | [`watch`], [`controller`] | one watch per kind with its cache; the loop that runs a reconciler for each object |
//! | [`apiserver`] | the connection to Kubernetes |
//! | [`context`], [`settings`] | what every reconciler may use; what the operator is started with |
//! | [`command_line`], [`import`] | what the binary is asked to do; printing objects for topics that others made |
//! | [`status`], [`refusal`] | how an object's status is written; why something cannot be as declared |
//! | [`superseded`] | which versions of objects a write has replaced, whatever a cache shows |
//! | [`events`], [`metrics`], [`health`], [`http`], [`telemetry`] | how the operator tells what it does |
//! | [`batch`] | many questions about topics, sent in one request |
//! | [`backoff`], [`shutdown`] | when to try again; how to end |

pub mod apiserver;
pub mod backoff;
pub mod batch;
pub mod clusters;
pub mod command_line;
pub mod context;
pub mod controller;
pub mod events;
pub mod guarded;
pub mod health;
pub mod http;
pub mod import;
pub mod metrics;
pub mod operator;
pub mod pipelines;
pub mod refusal;
pub mod scaling;
pub mod settings;
pub mod shutdown;
pub mod status;
pub mod superseded;
pub mod telemetry;
pub mod topics;
pub mod watch;
