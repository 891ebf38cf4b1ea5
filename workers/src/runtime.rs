//! Runs one worker from its start to its orderly end.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_crds::worker::{KafkaInput, WorkerConfig, WorkerSource};
use penstock_kafka::ConnectionSettings;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin, clients, config,
    error::{ConfigError, WorkerError},
    front::{Front, FrontContext, Publish},
    http::{self, ConnectionCounts, ServerBounds},
    metrics::{self, Metrics},
    processor::DynProcessor,
    processors::BuiltProcessor,
    readiness::Readiness,
    shutdown,
    sink::Sink,
    stream::{
        kafka::Kafka,
        lookup::{KnownTopics, WATCH},
        session::{Needs, Stream},
        world::World,
    },
    table::TableFollower,
};

/// How long a front goes on answering after SIGTERM, because the Service still sends it requests for a moment.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long a processor may take to close, within what Kubernetes waits beyond the drain time-out.
const CLOSING: Duration = Duration::from_secs(2);

/// Builds the processor, then runs until SIGTERM or SIGINT, which it obeys within the drain time-out. A second signal ends the
/// process at once. `name` names the worker among those of its pipeline: under the same name it takes up its own transactions
/// after a restart.
///
/// # Errors
/// What a person must change; whatever Kafka may do meanwhile ends no worker.
pub async fn run(
    config: WorkerConfig,
    processor: impl Future<Output = Result<BuiltProcessor, WorkerError>>,
    name: String,
) -> Result<(), WorkerError> {
    let shutdown = shutdown::on_signal()?;
    match shutdown.run_until_cancelled(processor).await {
        Some(processor) => run_until(config, processor?, name, shutdown).await,
        None => Ok(()),
    }
}

/// Runs until `shutdown`, which it obeys within the drain time-out.
///
/// # Errors
/// See [`run`].
pub async fn run_until(
    config: WorkerConfig,
    processor: BuiltProcessor,
    name: String,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let connection = config::connection(&config).map_err(|error| ConfigError::invalid(error.to_string()))?;
    let mut registry = Registry::default();
    let prefixed = registry.sub_registry_with_prefix(metrics::PREFIX);
    let worker = Worker {
        connection,
        name,
        pipeline: config::pipeline(&config),
        service: config::service(&config),
        readiness: Readiness::new(),
        metrics: Metrics::register(prefixed),
        config,
        shutdown,
    };
    let role = worker.role(processor, prefixed)?;
    let admin_end = CancellationToken::new();
    let admin = worker.admin(registry, admin_end.clone()).await?;
    tracing::info!(pipeline = worker.pipeline, admin_port = worker.config.admin_port, "the worker runs");
    let result = tokio::select! {
        result = worker.run(role) => result,
        result = admin => Err(failed("admin", result)),
    };
    admin_end.cancel();
    tracing::info!(pipeline = worker.pipeline, "the worker has ended");
    result
}

struct Worker {
    config: WorkerConfig,
    connection: ConnectionSettings,
    name: String,
    pipeline: String,
    service: String,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: CancellationToken,
}

/// What the worker is: the source and the processor fit one another.
enum Role {
    Stream(Box<KafkaInput>, Arc<dyn DynProcessor>),
    Front(u16, Box<dyn Front>),
}

impl Worker {
    fn role(&self, processor: BuiltProcessor, registry: &mut Registry) -> Result<Role, ConfigError> {
        match (self.config.source.clone(), processor) {
            (WorkerSource::Kafka(input), BuiltProcessor::Record(processor)) => {
                processor.register(registry);
                Ok(Role::Stream(input, processor))
            }
            (WorkerSource::Http { port, .. }, BuiltProcessor::Front(mut front)) => {
                front.register_metrics(registry);
                Ok(Role::Front(port, front))
            }
            _ => Err(ConfigError::invalid("source: the processor handles another kind of source")),
        }
    }

    async fn admin(&self, registry: Registry, end: CancellationToken) -> Result<tokio::task::JoinHandle<()>, WorkerError> {
        let listener = listen(self.config.admin_port).await?;
        let routes = admin::routes(&self.service, &self.readiness, registry);
        Ok(tokio::spawn(http::serve(listener, routes, ServerBounds::few(), ConnectionCounts::default(), end)))
    }

    async fn run(&self, role: Role) -> Result<(), WorkerError> {
        let draining = async {
            self.shutdown.cancelled().await;
            self.readiness.drain();
            std::future::pending().await
        };
        tokio::select! {
            result = async {
                match role {
                    Role::Stream(input, processor) => self.stream(*input, processor).await,
                    Role::Front(port, front) => self.front(port, front).await,
                }
            } => result,
            () = draining => Ok(()),
        }
    }

    async fn stream(&self, input: KafkaInput, processor: Arc<dyn DynProcessor>) -> Result<(), WorkerError> {
        let stream = Stream {
            world: Kafka::new(&self.connection)?,
            input,
            producing: self.config.producer,
            sink: self.config.sink.clone(),
            pipeline: self.pipeline.clone(),
            worker: self.name.clone(),
            processor: Arc::clone(&processor),
            processor_name: self.config.processor.name().to_owned(),
            topics: KnownTopics::default(),
            drain_timeout: self.config.drain_timeout,
            metrics: self.metrics.clone(),
            needs: Needs::new(&self.readiness),
        };
        stream.run(self.shutdown.clone()).await?;
        if timeout(CLOSING, processor.close()).await.is_err() {
            tracing::warn!("the processor was not closed in time");
        }
        Ok(())
    }

    async fn front(&self, port: u16, front: Box<dyn Front>) -> Result<(), WorkerError> {
        let topic = self.config.sink.as_deref().ok_or_else(|| ConfigError::invalid("sink: an HTTP source needs one"))?;
        // A front that has lost Kafka still answers: it refuses what it cannot write, and knows what it has read.
        let producer = self.readiness.need_at_start("producer");
        let settings = clients::front(&self.config.producer, front.publish_timeout());
        let sink = Arc::new(Sink::new(&self.connection, topic, settings, front.publish_timeout(), producer, self.metrics.clone())?);
        self.metrics.circuits.watch(topic, &sink, Sink::has_open_circuit);
        // What the front has begun may need what it follows, until it is done.
        let (end, served) = (CancellationToken::new(), CancellationToken::new());
        let context = FrontContext {
            port,
            sink: Arc::clone(&sink) as _,
            keys: self.keys(front.as_ref())?,
            connection: self.connection.clone(),
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            health: admin::health_route(&self.service, &self.readiness),
            shutdown: end.clone(),
        };
        let table = self.follower(front.as_ref())?;
        let following = async {
            match table {
                Some(table) => table.run(served.clone()).await.map_err(WorkerError::from),
                None => Ok(()),
            }
        };
        let serving = async {
            let ended = front.serve(context).await;
            served.cancel();
            ended
        };
        let ended = async { tokio::try_join!(serving, following).map(drop) };
        let world = Kafka::new(&self.connection)?;
        let result = tokio::select! {
            result = ended => result,
            never = self.begin_counting(&world, topic) => match never {},
            () = self.farewell(&end) => {
                tracing::warn!("requests were still open when the drain time-out was over");
                Ok(())
            }
        };
        if let Err(error) = sink.flush(FAREWELL).await {
            tracing::warn!(%error, "records that nobody waits for any more were not written");
        }
        result
    }

    /// What is counted of each partition of the sink begins at 0, once it is known of; nothing waits for that.
    async fn begin_counting(&self, world: &Kafka, sink: &str) -> Infallible {
        loop {
            if let Ok(topics) = world.describe(&[sink]).await {
                topics.values().flatten().for_each(|topic| self.metrics.begin_produced_in(topic));
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    /// What writes to the topic in which the front keeps keys, where it does so.
    fn keys(&self, front: &dyn Front) -> Result<Option<Arc<dyn Publish>>, penstock_kafka::Error> {
        let Some(topic) = front.key_topic() else { return Ok(None) };
        let (longest, need) = (front.publish_timeout(), self.readiness.need_at_start("keys"));
        let settings = clients::front(&self.config.producer, longest);
        let sink = Sink::new(&self.connection, topic, settings, longest, need, self.metrics.clone())?;
        let sink = Arc::new(sink.uncounted());
        self.metrics.circuits.watch(topic, &sink, Sink::has_open_circuit);
        Ok(Some(sink))
    }

    fn follower(&self, front: &dyn Front) -> Result<Option<TableFollower>, ConfigError> {
        let topics: Vec<String> = self.config.table.iter().chain(&self.config.keys).cloned().collect();
        match front.table() {
            None if topics.is_empty() => Ok(None),
            None => Err(ConfigError::invalid("table: the processor follows no topics")),
            Some(_) if topics.is_empty() => Err(ConfigError::invalid("table: the processor needs topics to follow")),
            Some(table) => Ok(Some(TableFollower {
                connection: self.connection.clone(),
                topics,
                table,
                need: self.readiness.need("table"),
                metrics: self.metrics.clone(),
            })),
        }
    }

    /// After the signal: answers a little longer, then tells the front to end, and is over with the drain time-out.
    async fn farewell(&self, end: &CancellationToken) {
        self.shutdown.cancelled().await;
        let deadline = Instant::now() + self.config.drain_timeout;
        tokio::time::sleep(FAREWELL.min(self.config.drain_timeout / 4)).await;
        end.cancel();
        let _ = timeout_at(deadline.into(), std::future::pending::<()>()).await;
    }
}

fn failed(server: &'static str, result: Result<(), tokio::task::JoinError>) -> WorkerError {
    let source = match result {
        Ok(()) => std::io::Error::other("it ended by itself"),
        Err(error) => std::io::Error::other(error),
    };
    WorkerError::Serve { server, source }
}

/// Listens on all addresses, IPv4 and IPv6.
///
/// # Errors
/// [`WorkerError::Listen`].
pub async fn listen(port: u16) -> Result<TcpListener, WorkerError> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(any).await {
        Ok(listener) => Ok(listener),
        // A node without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await.map_err(|source| WorkerError::Listen { port, source }),
    }
}
