//! The whole operator: starts the watches, the reconcilers and the HTTP server, and ends them in order.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::{Client, runtime::watcher};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    apiserver,
    clusters::{self, ClusterConnections},
    context::{Context, Watches, watch},
    controller::ControllerEnded,
    events::Events,
    health::Health,
    http,
    metrics::Metrics,
    pipelines,
    settings::Settings,
    shutdown,
    superseded::Superseded,
    topics::{self, kafka_name},
};

/// Listens there, for IPv4 and IPv6; on a node without IPv6, for IPv4.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await,
        bound => bound,
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the operator could not start, or when a part of it ended by itself.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let listener = listen(settings.http_addr).await.with_context(|| format!("cannot listen on {}", settings.http_addr))?;
    let client = apiserver::connect().await.context("cannot find the apiserver: run in a pod, or set KUBECONFIG")?;
    let context = context(client, settings);
    let shutdown = CancellationToken::new();
    let mut parts: JoinSet<Result<(), ControllerEnded>> = JoinSet::new();
    parts.spawn(clusters::run(Arc::clone(&context), shutdown.clone()));
    parts.spawn(topics::run(Arc::clone(&context), shutdown.clone()));
    parts.spawn(pipelines::run(Arc::clone(&context), shutdown.clone()));
    let served = tokio::spawn(http::serve(listener, Arc::clone(&context), shutdown.clone()));
    tracing::info!(namespace = context.settings.namespace, version = env!("CARGO_PKG_VERSION"), "started");

    tokio::select! {
        signal = shutdown::requested() => tracing::info!("{}: finishing what is under way", signal?),
        ended = parts.join_next() => bail!("a part of the operator ended: {ended:?}"),
        ended = context.health.wait_for_end() => bail!("a part of the operator ended: {ended}"),
        ended = served => bail!("the HTTP server ended: {ended:?}"),
    }
    shutdown.cancel();
    let finished = tokio::time::timeout(context.settings.shutdown_timeout, async { while parts.join_next().await.is_some() {} }).await;
    match finished {
        Ok(()) => tracing::info!("ended"),
        Err(_) => tracing::warn!("ended with reconciles under way; the next start takes them up again"),
    }
    Ok(())
}

fn context(client: Client, settings: Settings) -> Arc<Context> {
    let health = Arc::new(Health::default());
    let topics = watch(&client, &health, watcher::Config::default());
    let watches = Watches {
        clusters: watch(&client, &health, watcher::Config::default()),
        topics_by_name: topics.lookup(kafka_name),
        topics,
        pipelines: watch(&client, &health, watcher::Config::default()),
    };
    let metrics = Metrics::default();
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| "penstock-operator".to_owned());
    Arc::new(Context {
        events: Events::new(client.clone(), instance),
        connections: ClusterConnections::new(metrics.kafka_requests(), settings.kafka_timeout),
        metrics,
        health_of_topics: topics::HealthBook::default(),
        memory_of_topics: topics::Memory::new(Timestamp::now()),
        client,
        settings,
        health,
        watches,
        superseded: Superseded::default(),
    })
}
