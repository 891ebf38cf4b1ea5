//! What a look of the operator's scaling asks brokers: as much for many groups as for a few.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kafka_protocol::messages::ApiKey;
use penstock_crds::pipeline::ScalingBounds;
use penstock_kafka::{ConnectionSettings, NewTopic, Producer, ProducerSettings, Record};
use penstock_operator::{
    clusters::{ClusterConnection, ClusterConnections},
    metrics::KafkaRequests,
    pipelines::autoscaler::{Looks, Subject, partitions, sweep},
    scaling::lag,
};
use penstock_tests::{
    local::{BrokerSettings, Brokers, ports},
    scene::{LIMIT, Result, Waiting, until},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

use tokio_util::task::AbortOnDropHandle;

use crate::topic::make;

const TOPIC: &str = "swept";
/// Requests of a kind in one look, at a cluster of one broker.
const FEW: usize = 3;

/// How many requests a broker got, by their kind.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<ApiKey, usize>>>);

impl Counts {
    fn add(&self, kind: ApiKey) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// What was counted since the last time.
    fn take(&self) -> HashMap<ApiKey, usize> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stands in front of a broker, and counts what it is asked.
async fn count(listener: TcpListener, broker: SocketAddr, counts: Counts) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, broker, counts.clone()));
    }
}

async fn serve(client: TcpStream, broker: SocketAddr, counts: Counts) -> io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_broker, to_broker) = broker.into_split();
    tokio::select! {
        ended = forward(from_client, to_broker, counts) => ended,
        ended = copy(&mut from_broker, &mut to_client) => ended.map(drop),
    }
}

/// Each request has its length in front, and begins with its kind.
async fn forward(mut client: OwnedReadHalf, mut broker: OwnedWriteHalf, counts: Counts) -> io::Result<()> {
    loop {
        let length = client.read_i32().await?;
        let mut request = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        client.read_exact(&mut request).await?;
        let kind = request.first_chunk().and_then(|key| ApiKey::try_from(i16::from_be_bytes(*key)).ok());
        counts.add(kind.ok_or_else(|| io::Error::other("this is not Kafka's protocol"))?);
        broker.write_i32(length).await?;
        broker.write_all(&request).await?;
    }
}

/// A pipeline of a group that reads a topic from its start.
pub fn subject(topic: &str, group: &str) -> Result<Subject> {
    subject_with(topic, group, &json!([]))
}

/// The same with topics in which records wait for another attempt.
fn subject_with(topic: &str, group: &str, tiers: &Value) -> Result<Subject> {
    let bounds = ScalingBounds { min: 0, max: 3, drain_seconds: 30, idle_seconds: 60 };
    let input = json!({
        "topics": [topic], "group": group, "startFrom": "Earliest", "delivery": "ExactlyOnce", "ordering": "Key", "concurrency": 1,
        "retry": {"attempts": 1, "initialBackoff": "1s", "maxBackoff": "1s"}, "deadLetter": {"topic": "d", "format": "Record"}, "tiers": tiers,
    });
    Ok(Subject::new(("shop", group), "default", &serde_json::from_value(input)?, bounds, Duration::from_secs(5)))
}

fn subjects(count: u32) -> Result<Vec<(String, Subject)>> {
    let groups = (0..count).map(|n| format!("swept-{n}"));
    groups.map(|group| Ok((group.clone(), subject(TOPIC, &group)?))).collect()
}

/// Looks once, and tells of how many groups it was answered.
async fn look(connection: &ClusterConnection, subjects: &[(String, Subject)]) -> Result<usize> {
    let answers = sweep(connection, subjects, |_| Looks::new()).await?;
    Ok(answers.groups.values().filter(|answer| answer.is_ok()).count())
}

#[tokio::test]
async fn mistake_10_many_groups_take_as_many_requests_as_few() -> Result {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free(1)?.remove(0)));
    let brokers = Brokers::start(1, BrokerSettings { advertised: vec![address], ..BrokerSettings::default() }).await?;
    let (counts, bootstrap) = (Counts::default(), [address.to_string()]);
    let listener = TcpListener::bind(address).await?;
    let _proxy = AbortOnDropHandle::new(tokio::spawn(count(listener, brokers.listener(0)?, counts.clone())));
    let settings = ConnectionSettings::new(bootstrap.clone())?;
    make(&settings, &[NewTopic::new(TOPIC).with_partitions(3)]).await?;
    // Something that each group would look at.
    Producer::new(&settings, &ProducerSettings::default())?.send(Record::to(TOPIC).with_payload("v")).await?;
    let connections = ClusterConnections::new(KafkaRequests::default(), LIMIT);
    let connection = connections.to("default", &bootstrap)?;
    let mut asked = vec![];
    for groups in [20, 200] {
        let subjects = subjects(groups)?;
        // Who coordinates a group is asked once.
        until("each group is answered", LIMIT, async || {
            let answered = look(&connection, &subjects).await?;
            if answered == subjects.len() { Ok(()) } else { Err(Waiting::from(format!("{answered}"))) }
        })
        .await?;
        counts.take();
        assert_eq!(look(&connection, &subjects).await?, subjects.len());
        let mut requests = counts.take();
        // Those begin a connection, or are sent from time to time.
        requests.retain(|kind, _| ![ApiKey::ApiVersions, ApiKey::Metadata].contains(kind));
        asked.push(requests);
    }
    assert_eq!(asked[0], asked[1], "of 20 groups, and of 200");
    for kind in [ApiKey::ListGroups, ApiKey::OffsetFetch, ApiKey::ListOffsets, ApiKey::Fetch] {
        let requests = asked[1].get(&kind).copied().unwrap_or_default();
        assert!((1..=FEW).contains(&requests), "{kind:?}: {asked:?}");
    }
    Ok(())
}

#[tokio::test]
async fn retries_count_once_they_are_due() -> Result {
    let brokers = Brokers::start(1, BrokerSettings::default()).await?;
    let settings = ConnectionSettings::new(brokers.bootstrap())?;
    let retries = ["some", "none", "asked-for-later"];
    let topics: Vec<NewTopic> = [TOPIC].iter().chain(&retries).map(|name| NewTopic::new(*name).with_partitions(1)).collect();
    make(&settings, &topics).await?;
    let now = jiff::Timestamp::now().as_millisecond();
    let (old, hour) = (now - 120_000, 3_600_000);
    let later = (now + hour).to_string();
    let producer = Producer::new(&settings, &ProducerSettings::default())?;
    let record = |topic: &str, at| Record::to(topic).with_payload("v").with_timestamp_ms(at);
    for record in [
        record("some", old),
        record("some", now),
        record("none", now),
        record("asked-for-later", old).with_header("penstock-retry-not-before", later),
    ] {
        producer.send(record).await?;
    }
    let connections = ClusterConnections::new(KafkaRequests::default(), LIMIT);
    let connection = connections.to("default", &brokers.bootstrap())?;
    for (topic, due) in [("some", 1), ("none", 0), ("asked-for-later", 0)] {
        let tiers = json!([{"delay": "1m", "topics": {TOPIC: topic}}]);
        let subjects = vec![("uid".to_owned(), subject_with(TOPIC, "waits", &tiers)?)];
        // Who coordinates a group is asked once.
        let seen = until("all partitions are seen", LIMIT, async || {
            let answers = sweep(&connection, &subjects, |_| Looks::new()).await?;
            let seen = partitions(&subjects[0].1, &answers);
            if seen.whole { Ok(seen) } else { Err(Waiting::from(format!("{seen:?}"))) }
        })
        .await?;
        let lag: Vec<(&str, u64)> = seen.partitions.iter().map(|found| (found.key.topic.as_str(), lag::standing(found).lag)).collect();
        assert_eq!(lag, [(TOPIC, 0), (topic, due)]);
    }
    Ok(())
}
