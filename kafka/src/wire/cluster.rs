//! Asks a broker who is in the cluster.
//!
//! The library has a call for this (DescribeCluster), which must not be used: of a broker that knows of no other and is itself fenced
//! still, as each is for a moment after its start, it cannot take the answer, and ends the process by an assertion (`rko_result`, there
//! up to 2.12.1 at least).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use tokio::time::Instant;

use super::{Lines, decode};
use crate::error::{Error, Result};
use crate::topic::{BrokerInfo, ClusterDescription};

const VERSION: i16 = 9;
/// No broker that does not answer takes more of the time than this from those that would, unless it is the last.
const AT_MOST: Duration = Duration::from_secs(3);
/// The id of a broker that is known by its address alone.
const UNKNOWN: i32 = -1;

/// Where the cluster was reached last, and who was in it then: one of these may be up where none of the bootstrap servers is.
#[derive(Default)]
pub(crate) struct Entrances(Mutex<Vec<BrokerInfo>>);

impl Entrances {
    /// All of them, the last one first, each once.
    fn beside(&self, bootstrap: &[String]) -> Vec<BrokerInfo> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = all.len().min(1);
        all.splice(last..last, bootstrap.iter().filter_map(|server| address(server)));
        let mut each: Vec<BrokerInfo> = Vec::with_capacity(all.len());
        for one in all {
            if !each.iter().any(|known| (&known.host, known.port) == (&one.host, one.port)) {
                each.push(one);
            }
        }
        each
    }

    /// The same, each with how long it may take of the time until then.
    pub(super) fn in_turn(&self, bootstrap: &[String], deadline: Instant) -> impl Iterator<Item = (BrokerInfo, Duration)> {
        let all = self.beside(bootstrap);
        let count = all.len();
        all.into_iter().enumerate().map(move |(index, one)| {
            let left = deadline.saturating_duration_since(Instant::now());
            (one, if index + 1 == count { left } else { left.min(AT_MOST) })
        })
    }

    /// This one answers: it is asked first from now on.
    pub(super) fn answers(&self, one: BrokerInfo) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| (&known.host, known.port) != (&one.host, one.port));
        all.insert(0, one);
    }

    fn note(&self, last: BrokerInfo, brokers: &[BrokerInfo]) {
        let all = std::iter::once(last).chain(brokers.iter().cloned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// The brokers that are up, and which of them is for requests that change something. The version and the controller are not part of that
/// answer.
pub(crate) async fn cluster(
    lines: &Lines,
    entrances: &Entrances,
    bootstrap: &[String],
    client_id: &str,
    limit: Duration,
) -> Result<ClusterDescription> {
    let mut failed = Error::Unreachable { reason: "there is no bootstrap server".to_owned() };
    for (entrance, limit) in entrances.in_turn(bootstrap, Instant::now() + limit) {
        match described(lines, &entrance, client_id, limit).await {
            Ok(cluster) if cluster.brokers.is_empty() => failed = Error::Unreachable { reason: "the cluster shows no broker".to_owned() },
            Ok(cluster) => {
                entrances.note(entrance, &cluster.brokers);
                return Ok(cluster);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn described(lines: &Lines, broker: &BrokerInfo, client_id: &str, limit: Duration) -> Result<ClusterDescription> {
    // No topics: those of none would be all.
    let question = MetadataRequest::default().with_topics(Some(vec![]));
    let mut answer = lines.ask(broker, client_id, (ApiKey::Metadata, VERSION), &question, limit).await?;
    let answer: MetadataResponse = decode(&mut answer, VERSION)?;
    let mut brokers: Vec<BrokerInfo> = answer
        .brokers
        .into_iter()
        .map(|broker| BrokerInfo {
            id: *broker.node_id,
            host: broker.host.to_string(),
            port: u16::try_from(broker.port).unwrap_or_default(),
            rack: broker.rack.map(|rack| rack.to_string()).filter(|rack| !rack.is_empty()),
        })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    Ok(ClusterDescription {
        cluster_id: answer.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        controller: None,
        brokers,
        version: None,
        named: Some(*answer.controller_id).filter(|id| *id >= 0),
    })
}

/// The place that `host:port` names; an IPv6 address stands in brackets.
fn address(server: &str) -> Option<BrokerInfo> {
    let (host, port) = server.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(BrokerInfo { id: UNKNOWN, host, port: port.parse().ok()?, rack: None })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::RequestHeader;
    use kafka_protocol::protocol::Decodable;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// The answer without its correlation id: brokers with the ids 1, 2 and so on, of which the second is named.
    fn told(ports: &[u16]) -> Vec<u8> {
        let mut answer = vec![0; 1 + 4];
        answer.push(u8::try_from(ports.len() + 1).unwrap());
        for (id, port) in (1_i32..).zip(ports) {
            answer.extend(id.to_be_bytes());
            answer.push(10);
            answer.extend(b"127.0.0.1");
            answer.extend(i32::from(*port).to_be_bytes());
            answer.extend([0, 0]);
        }
        answer.push(0);
        answer.extend(2_i32.to_be_bytes());
        // No topics, no rights.
        answer.push(1);
        answer.extend([0; 4 + 1]);
        answer
    }

    /// Tells of these brokers, whoever asks.
    async fn broker(ports: &'static [u16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(size) = stream.read_i32().await {
                        let mut request = vec![0; usize::try_from(size).unwrap()];
                        stream.read_exact(&mut request).await.unwrap();
                        let asked = RequestHeader::decode(&mut Bytes::from(request), 2).unwrap();
                        let mut answer = asked.correlation_id.to_be_bytes().to_vec();
                        answer.extend(told(ports));
                        stream.write_i32(i32::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn whoever_knows_the_cluster_tells_of_it() {
        let (fenced, well) = (broker(&[]).await, broker(&[9, 10]).await);
        let nobody = "127.0.0.1:1".to_owned();
        for (bootstrap, expected) in [
            (vec![well.clone()], Ok(Some(10))),
            (vec![nobody.clone(), fenced.clone(), well], Ok(Some(10))),
            (vec![nobody.clone(), fenced], Err("the cluster shows no broker")),
            (vec![nobody], Err("127.0.0.1:1: ")),
        ] {
            let (lines, entrances) = (Lines::default(), Entrances::default());
            for time in ["first", "second"] {
                let seen = cluster(&lines, &entrances, &bootstrap, "t", LIMIT).await;
                match (seen.map(|seen| seen.entry_point().map(|broker| broker.port)), expected) {
                    (Ok(port), Ok(expected)) => assert_eq!(port, expected, "{bootstrap:?}, the {time} time"),
                    (Err(error), Err(words)) => {
                        assert!(error.is_retriable() && error.to_string().contains(words), "{bootstrap:?}: {error}")
                    }
                    (seen, _) => panic!("{bootstrap:?}, the {time} time: {seen:?}"),
                }
            }
        }
    }

    #[test]
    fn the_last_one_is_asked_first_and_nobody_twice() {
        let entrances = Entrances::default();
        let ports = |entrances: &Entrances| -> Vec<u16> {
            let bootstrap = ["a:1", "a:2", "[::1]:3", "nonsense"].map(str::to_owned);
            entrances.beside(&bootstrap).into_iter().map(|one| one.port).collect()
        };
        assert_eq!(ports(&entrances), [1, 2, 3]);
        let known = |port| BrokerInfo { id: 7, host: "a".to_owned(), port, rack: None };
        entrances.note(known(2), &[known(1), known(4)]);
        assert_eq!(ports(&entrances), [2, 1, 3, 4]);
        entrances.answers(known(4));
        assert_eq!(ports(&entrances), [4, 1, 2, 3]);
    }
}
