//! Connections that are kept, a few for each broker, for questions that are asked again and again.
//!
//! Whatever is asked here may be asked twice: a kept connection that turns out to be closed is made anew.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{body_of, converse, encode, failure};
use crate::error::{Error, Result};
use crate::topic::BrokerInfo;

/// How many connections to one broker are kept. More are made where more is asked at once.
const KEPT: usize = 4;

type Address = (String, u16);

/// The connections over which nothing is asked at present.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<Address, Vec<TcpStream>>>);

impl Lines {
    /// Asks a broker, and returns the body of its response.
    pub(super) async fn ask(
        &self,
        broker: &BrokerInfo,
        client_id: &str,
        (api, version): (ApiKey, i16),
        body: &impl Encodable,
        limit: Duration,
    ) -> Result<Bytes> {
        let request = encode(client_id, api, version, body)?;
        let (address, deadline) = ((broker.host.clone(), broker.port), Instant::now() + limit);
        let unreachable = |reason: String| Error::Unreachable { reason: format!("{}:{}: {reason}", broker.host, broker.port) };
        let kept = self.lock().get_mut(&address).and_then(Vec::pop);
        let reused = match kept {
            Some(mut stream) => match timeout_at(deadline, converse(&mut stream, &request)).await {
                Ok(Ok(answer)) => Some((stream, answer)),
                Ok(Err(error)) if error.kind() == ErrorKind::FileTooLarge => return Err(failure(&error, unreachable)),
                Ok(Err(_)) => {
                    self.forget(&address);
                    None
                }
                Err(_) => {
                    self.forget(&address);
                    return Err(unreachable("no answer in time".to_owned()));
                }
            },
            None => None,
        };
        let (stream, answer) = match reused {
            Some(answered) => answered,
            None => {
                let fresh = async {
                    let mut stream = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
                    stream.set_nodelay(true)?;
                    let answer = converse(&mut stream, &request).await?;
                    Ok::<_, std::io::Error>((stream, answer))
                };
                let answered = timeout_at(deadline, fresh).await.map_err(|_| unreachable("no answer in time".to_owned()))?;
                answered.map_err(|error| failure(&error, unreachable))?
            }
        };
        let body = body_of(answer, api, version)?;
        let mut lines = self.lock();
        let kept = lines.entry(address).or_default();
        if kept.len() < KEPT {
            kept.push(stream);
        }
        drop(lines);
        Ok(body)
    }

    /// What has become of one connection to a broker may have become of the others.
    fn forget(&self, address: &Address) {
        self.lock().remove(address);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Vec<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader};
    use kafka_protocol::protocol::Decodable;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::CORRELATION;
    use super::*;

    /// Answers so many requests on each connection, with a header and the number of the connection.
    async fn broker(per_connection: usize) -> BrokerInfo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for number in 0_u8.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                for _ in 0..per_connection {
                    let size = usize::try_from(stream.read_i32().await.unwrap()).unwrap();
                    let mut request = vec![0; size];
                    stream.read_exact(&mut request).await.unwrap();
                    let header = RequestHeader::decode(&mut Bytes::from(request), 2).unwrap();
                    let mut answer = header.correlation_id.to_be_bytes().to_vec();
                    answer.push(number);
                    stream.write_i32(5).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port, rack: None }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_made_anew_when_it_is_gone() {
        let (lines, broker) = (Lines::default(), broker(2).await);
        let question = ApiVersionsRequest::default();
        let ask = || lines.ask(&broker, "t", (ApiKey::ApiVersions, 3), &question, Duration::from_secs(5));
        let mut connections = vec![];
        for _ in 0..5 {
            connections.push(ask().await.unwrap()[0]);
        }
        assert_eq!(connections, [0, 0, 1, 1, 2]);
    }

    /// Answers six questions on as many connections once all of them are there.
    #[tokio::test]
    async fn a_few_of_the_connections_that_are_used_at_once_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port(), rack: None };
        let answers = tokio::spawn(async move {
            let mut asked = Vec::new();
            for _ in 0..6 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let size = usize::try_from(stream.read_i32().await.unwrap()).unwrap();
                stream.read_exact(&mut vec![0; size]).await.unwrap();
                asked.push(stream);
            }
            for stream in &mut asked {
                stream.write_i32(5).await.unwrap();
                stream.write_all(&[&CORRELATION.to_be_bytes()[..], &[0]].concat()).await.unwrap();
            }
            asked
        });
        let (lines, question) = (Lines::default(), ApiVersionsRequest::default());
        let ask = || lines.ask(&broker, "t", (ApiKey::ApiVersions, 3), &question, Duration::from_secs(5));
        for answer in futures::future::join_all((0..6).map(|_| ask())).await {
            assert_eq!(*answer.unwrap(), [0]);
        }
        drop(answers.await.unwrap());
        let kept = || lines.lock().values().map(Vec::len).sum::<usize>();
        assert_eq!(kept(), KEPT);
        assert!(matches!(ask().await, Err(Error::Unreachable { .. })));
        assert_eq!(kept(), 0, "the others are closed as well");
    }

    #[tokio::test]
    async fn what_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = BrokerInfo { id: 1, host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port(), rack: None };
        let question = ApiVersionsRequest::default();
        let asked = Lines::default();
        let answer = asked.ask(&broker, "t", (ApiKey::ApiVersions, 3), &question, Duration::from_millis(50)).await;
        assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}");
    }
}
