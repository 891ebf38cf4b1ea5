//! The runtime of a test: workers that are started, stopped and crashed, topics that are written and read, and a clock.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use penstock_kafka::{ConsumedRecord, Error, Record, RecordPosition, RecordRef, TopicPartition};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{pipeline::Pipeline, world::Memory};
use crate::{
    error::WorkerError,
    metrics::Metrics,
    options,
    processor::{DynProcessor, Processor},
    readiness::Readiness,
    stream::{
        lookup::KnownTopics,
        session::{Needs, Stream},
        world::World,
    },
};

/// How long a test waits at most until everything is done, on its own clock.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// How often a condition is looked at that is not about topics.
const LOOK: Duration = Duration::from_millis(1);
/// How long a condition is waited for at most.
const LONGEST_LOOK: Duration = Duration::from_secs(600);

/// Why a test cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The processor cannot be built, or a worker has ended by itself.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The topics do not take that.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// There is no worker of that name, or there is one already.
    #[error("{0}")]
    NoSuchWorker(String),
    /// What was waited for does not happen.
    #[error("after {waited:?} on the test's clock still waiting for {what}: {left}")]
    StillWaiting {
        /// What that was.
        what: String,
        /// How long, on the test's clock.
        waited: Duration,
        /// What is missing.
        left: String,
    },
    /// The test itself cannot be set up.
    #[error("cannot start the runtime of a test: {0}")]
    System(#[from] std::io::Error),
}

type Built = Result<Arc<dyn DynProcessor>, WorkerError>;
/// Makes a processor of its options.
type Build = Box<dyn Fn(&BTreeMap<String, String>) -> LocalBoxFuture<'static, Built>>;

/// A worker that runs.
struct Worker {
    task: JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
    processor: Arc<dyn DynProcessor>,
    #[cfg(test)]
    metrics: Metrics,
}

/// Runs workers of one pipeline. See [the module](super) for an example.
///
/// Not to be used within another runtime: tests that use it are plain functions.
pub struct TestRuntime {
    // The first field is dropped first: whoever is still at work ends with the runtime.
    runtime: Runtime,
    workers: BTreeMap<String, Worker>,
    memory: Memory,
    pipeline: Pipeline,
    build: Build,
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntime").field("workers", &self.workers.keys()).field("now", &self.now()).finish_non_exhaustive()
    }
}

impl TestRuntime {
    /// Creates the pipeline's topics; nothing runs yet. `build` is what [`crate::serve`] is given: it makes a processor of its options, anew
    /// for each worker.
    ///
    /// # Errors
    /// [`TestError::System`].
    pub fn new<O, P, E, B>(pipeline: Pipeline, seed: u64, build: B) -> Result<Self, TestError>
    where
        O: DeserializeOwned + 'static,
        P: Processor,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: AsyncFn(O) -> Result<P, E> + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
        let memory = {
            let _guard = runtime.enter();
            Memory::new(seed)
        };
        for topic in pipeline.topics() {
            memory.change(|cluster| cluster.create(&topic.name, topic.partitions, topic.max_bytes));
        }
        let build = Arc::new(build);
        let build = move |given: &BTreeMap<String, String>| -> LocalBoxFuture<'static, Built> {
            let (options, build) = (options::read::<O>(given), Arc::clone(&build));
            Box::pin(async move {
                let processor = (*build)(options?).await.map_err(|error| WorkerError::Processor(error.into()))?;
                Ok(Arc::new(processor) as Arc<dyn DynProcessor>)
            })
        };
        Ok(Self { runtime, workers: BTreeMap::new(), memory, pipeline, build: Box::new(build) })
    }

    /// Writes a record, and tells where it lies.
    ///
    /// # Errors
    /// [`TestError::Kafka`]: no such topic or partition, or the record is too large for it.
    pub fn produce(&self, record: Record) -> Result<RecordPosition, TestError> {
        let now = self.now();
        Ok(self.memory.change(|cluster| cluster.append(RecordRef::from(&record), now, None))?)
    }

    /// Starts a worker. Under the name of one that crashed it takes up that one's transactions, as a container does that is
    /// started again in its pod.
    ///
    /// # Errors
    /// [`TestError::Worker`]: its processor cannot be built. [`TestError::NoSuchWorker`]: there is one of that name.
    pub fn start(&mut self, worker: &str) -> Result<(), TestError> {
        if self.workers.contains_key(worker) {
            return Err(TestError::NoSuchWorker(format!("the worker {worker} runs already")));
        }
        let processor = self.runtime.block_on((self.build)(&self.pipeline.options))?;
        let (shutdown, mut registry) = (CancellationToken::new(), Registry::default());
        processor.register(&mut registry);
        let metrics = Metrics::register(&mut registry);
        let stream = Stream {
            world: self.memory.clone(),
            input: self.pipeline.input(),
            producing: Pipeline::producing(),
            sink: self.pipeline.sink.clone(),
            pipeline: Pipeline::name(),
            worker: worker.to_owned(),
            processor: Arc::clone(&processor),
            processor_name: "image".to_owned(),
            topics: KnownTopics::default(),
            drain_timeout: Pipeline::drain_timeout(),
            metrics: metrics.clone(),
            needs: Needs::new(&Readiness::new()),
        };
        let task = self.runtime.spawn(stream.run(shutdown.clone()));
        let running = Worker {
            task,
            shutdown,
            processor,
            #[cfg(test)]
            metrics,
        };
        self.workers.insert(worker.to_owned(), running);
        Ok(())
    }

    /// Stops a worker as SIGTERM does, and waits until it has ended.
    ///
    /// # Errors
    /// [`TestError::NoSuchWorker`].
    pub fn stop(&mut self, worker: &str) -> Result<(), TestError> {
        let Worker { task, shutdown, processor, .. } = self.take(worker)?;
        shutdown.cancel();
        self.runtime.block_on(async {
            if let Ok(ended) = task.await {
                ended?;
            }
            processor.close().await;
            Ok(())
        })
    }

    /// Ends a worker as SIGKILL does: nothing is finished, nothing is committed. The group notices after its session time-out.
    ///
    /// # Errors
    /// [`TestError::NoSuchWorker`].
    pub fn crash(&mut self, worker: &str) -> Result<(), TestError> {
        let Worker { task, .. } = self.take(worker)?;
        task.abort();
        // Gone once it was dropped.
        drop(self.runtime.block_on(task));
        Ok(())
    }

    /// The group goes on without the worker that joined first. That one hears of it so much later, and joins again.
    #[cfg(test)]
    pub(super) fn cut_off(&self, silence: Duration) {
        let _guard = self.runtime.enter();
        super::member::cut_off(&self.memory, &self.pipeline.input.group, silence);
    }

    /// How many records a worker has counted that it wrote to that topic.
    #[cfg(test)]
    pub(super) fn produced(&self, worker: &str, topic: &str) -> u64 {
        let partitions = self.pipeline.topics().into_iter().filter(|known| known.name == topic).flat_map(|known| 0..known.partitions);
        let labels = partitions.map(|partition| crate::metrics::PartitionLabel { topic: topic.to_owned(), partition });
        let Some(worker) = self.workers.get(worker) else { return 0 };
        labels.filter_map(|label| Some(worker.metrics.produced.get(&label)?.get())).sum()
    }

    /// What workers send from now on arrives that much later, if they have not thrown it away by then.
    #[cfg(test)]
    pub(super) fn slow_down(&self, by: Option<Duration>) {
        let _guard = self.runtime.enter();
        self.memory.change(|cluster| cluster.slow_until = by.map(|by| tokio::time::Instant::now() + by));
    }

    /// From now on the topic takes no record without a key.
    #[cfg(test)]
    pub(super) fn compact(&self, topic: &str) {
        self.memory.change(|cluster| cluster.compact(topic));
    }

    /// From now on the group waits for nobody to let partitions go.
    #[cfg(test)]
    pub(super) fn hurry(&self) {
        self.memory.change(|cluster| cluster.groups.entry(self.pipeline.input.group.clone()).or_default().is_hasty = true);
    }

    fn take(&mut self, worker: &str) -> Result<Worker, TestError> {
        self.workers.remove(worker).ok_or_else(|| TestError::NoSuchWorker(format!("no worker {worker} runs")))
    }

    /// Runs until every record has ended somewhere and the group has committed that: whatever waits for another attempt is waited
    /// for.
    ///
    /// # Errors
    /// [`TestError::StillWaiting`]: a day later it is not so, for example because no worker runs.
    pub fn run_until_idle(&self) -> Result<(), TestError> {
        let idle = async {
            let mut changes = self.memory.changes();
            while !self.unfinished().is_empty() {
                // The sender is in `self`.
                let _ = changes.changed().await;
            }
        };
        self.wait("every record to end", LONGEST, idle)
    }

    /// Runs until a condition holds, which is looked at every millisecond.
    ///
    /// # Errors
    /// [`TestError::StillWaiting`]: ten minutes later it does not.
    pub fn run_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<(), TestError> {
        let condition = async {
            while !holds(self) {
                tokio::time::sleep(LOOK).await;
            }
        };
        self.wait(what, LONGEST_LOOK, condition)
    }

    /// Lets that much time pass.
    pub fn run_for(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn wait(&self, what: &str, longest: Duration, happens: impl Future<Output = ()>) -> Result<(), TestError> {
        let happened = self.runtime.block_on(async { timeout(longest, happens).await });
        happened.map_err(|_| TestError::StillWaiting { what: what.to_owned(), waited: longest, left: self.obstacles() })
    }

    /// The partitions that the group has not read and committed to their ends.
    fn unfinished(&self) -> Vec<String> {
        let (topics, group) = (self.pipeline.read(), &self.pipeline.input.group);
        self.memory.see(|cluster| {
            let mut left = Vec::new();
            for topic in &topics {
                for (number, log) in cluster.logs(topic).into_iter().flatten() {
                    let partition = TopicPartition::new(topic, number);
                    let committed = cluster.groups.get(group).and_then(|group| group.committed.get(&partition));
                    let (committed, end) = (committed.map_or(0, |committed| committed.offset), log.end());
                    if committed < end {
                        left.push(format!("{partition} from {committed} to {end}"));
                    }
                }
            }
            if !cluster.is_settled() {
                left.push("a transaction".to_owned());
            }
            left
        })
    }

    /// What keeps everything from being done, for a person.
    fn obstacles(&self) -> String {
        let ended = self.workers.iter().filter(|(_, worker)| worker.task.is_finished());
        let ended = ended.map(|(name, _)| format!("the worker {name} has ended by itself: stop it to see why"));
        let idle = self.workers.is_empty().then(|| "no worker runs".to_owned());
        idle.into_iter().chain(ended).chain(self.unfinished()).collect::<Vec<_>>().join(", ")
    }

    /// What is committed in a topic, partition by partition.
    ///
    /// # Errors
    /// [`TestError::Kafka`]: the pipeline has no such topic.
    pub fn records(&self, topic: &str) -> Result<Vec<ConsumedRecord>, TestError> {
        Ok(self.memory.see(|cluster| {
            let logs = cluster.logs(topic)?;
            Ok::<_, Error>(logs.flat_map(|(_, log)| log.read(0..i64::MAX)).cloned().collect())
        })?)
    }

    /// What is in the dead letter topic.
    ///
    /// # Errors
    /// None that can happen: there is such a topic.
    pub fn dead_letters(&self) -> Result<Vec<ConsumedRecord>, TestError> {
        self.records(self.pipeline.dead_letters())
    }

    /// The offsets that the group has committed in a topic: of each partition that of the record to be read next.
    #[must_use]
    pub fn committed(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.memory.see(|cluster| {
            let committed = cluster.groups.get(&self.pipeline.input.group).map(|group| &group.committed);
            let own = committed.into_iter().flatten().filter(|(partition, _)| partition.topic == topic);
            own.map(|(partition, committed)| (partition.partition, committed.offset)).collect()
        })
    }

    /// The time of day on the test's clock, which begins at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let _guard = self.runtime.enter();
        self.memory.now()
    }
}
