//! A front under attack, as a real worker process with a real broker. Whatever strangers do to its port, who posts at a modest rate
//! is served about as fast as without them, over a connection that is kept and over new ones, and so is who asks for its health.
//!
//! The strangers have the same address as the good client, as behind a proxy or a NodePort, but for one attack.

use std::{
    collections::VecDeque,
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use penstock_crds::worker::WorkerConfig;
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    local::{WorkerOptions, WorkerProcess, get, ports, post, worker_binary},
    scene::{LIMIT, Result, Waiting, until},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{front::front, shared, topic::make};

/// How often the good client posts during one attack, and the pause after each.
const POSTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the slowest posts may take under attack: so many times what they take without, and this at the least.
const FACTOR: u32 = 10;
const ALLOWED: Duration = Duration::from_secs(1);
/// More connections than a front lets in by default (`maxConnections`).
const MANY: usize = 4_300;
/// More than twice as many as it has places for requests by default (`maxRequests`).
const BUSY: usize = 600;
/// How many posts of a good client are accepted at least while as many others wait for a place as there are places, at his address.
const SHARE: usize = 95;
/// Another address of this machine.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const EVENTS: &str = "flooded.events";
const EVENT: &str = "{\"n\": 1}";
const JSON: (&str, &str) = ("content-type", "application/json");

#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Connections on which nothing comes.
    Idle,
    /// Heads that come byte by byte.
    SlowHeads,
    /// Bodies that come byte by byte.
    SlowBodies,
    /// Large bodies of which most comes at once, and then byte by byte.
    StuckBodies,
    /// Large bodies, one after the other.
    LargeBodies,
    /// Many requests of which no answer is read.
    SlowReaders,
    /// New connections as fast as they come.
    Connections,
    /// Small requests with nothing wrong about them, each as soon as the one before is answered, on many connections.
    Requests,
    /// The same from another address.
    RequestsFromElsewhere,
}

/// What strangers do; it ends when this is dropped.
type Strangers = JoinSet<()>;

fn head(length: usize) -> String {
    format!("POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

/// Posts one event after the other for as long as they are answered.
async fn post_on(from: Ipv4Addr, port: u16) -> Result {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
    loop {
        post_again(&mut stream).await?;
    }
}

/// Sends the bytes, and then one more every so often, over and over on new connections.
async fn trickle(port: u16, bytes: Vec<u8>, pause: Duration) {
    loop {
        let Ok(mut stream) = connect(port).await else { return };
        let mut open = stream.write_all(&bytes).await.is_ok();
        while open {
            sleep(pause).await;
            open = stream.write_all(b"x").await.is_ok();
        }
    }
}

/// Opens that many connections, some at a time; what is done with them goes on.
async fn open<F: Future<Output = ()> + Send + 'static>(count: usize, port: u16, then: impl Fn(TcpStream) -> F) -> Result<Strangers> {
    let mut strangers = JoinSet::new();
    for begun in (0..count).step_by(100) {
        let some = join_all((begun..count.min(begun + 100)).map(|_| timeout(PATIENCE, connect(port))));
        for stream in some.await {
            // Where the kernel keeps the next one waiting, there are enough.
            let Ok(stream) = stream else { return Ok(strangers) };
            strangers.spawn(then(stream?));
        }
    }
    Ok(strangers)
}

impl Attack {
    async fn begin(self, port: u16) -> Result<Strangers> {
        let mut strangers = JoinSet::new();
        let second = Duration::from_secs(1);
        match self {
            Self::Idle => {
                return open(MANY, port, |stream| async move {
                    let _held = stream;
                    std::future::pending().await
                })
                .await;
            }
            Self::SlowHeads => {
                return open(MANY, port, move |mut stream| async move {
                    while stream.write_all(b"G").await.is_ok() {
                        sleep(4 * second).await;
                    }
                })
                .await;
            }
            Self::SlowBodies => {
                for _ in 0..600 {
                    strangers.spawn(trickle(port, head(90_000).into_bytes(), second));
                }
            }
            Self::StuckBodies => {
                for _ in 0..800 {
                    strangers.spawn(trickle(port, [head(90_000).into_bytes(), vec![b' '; 80_000]].concat(), second));
                }
            }
            Self::LargeBodies => {
                for _ in 0..24 {
                    strangers.spawn(async move {
                        let body = "[".repeat(100_000);
                        while post(port, "/events", &[JSON], &body).await.is_ok() {
                            sleep(Duration::from_millis(100)).await;
                        }
                    });
                }
            }
            Self::SlowReaders => {
                for _ in 0..50 {
                    strangers.spawn(async move {
                        let Ok(socket) = TcpSocket::new_v4() else { return };
                        let _ = socket.set_recv_buffer_size(1_024);
                        let Ok(mut stream) = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await else { return };
                        while stream.write_all("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20).as_bytes()).await.is_ok() {
                            sleep(Duration::from_millis(100)).await;
                        }
                    });
                }
            }
            Self::Connections => {
                for _ in 0..2 {
                    strangers.spawn(async move {
                        let mut held = VecDeque::new();
                        while let Ok(stream) = connect(port).await {
                            held.push_back(stream);
                            if held.len() > MANY {
                                held.pop_front();
                            }
                            if held.len() % 20 == 0 {
                                sleep(Duration::from_millis(5)).await;
                            }
                        }
                    });
                }
            }
            Self::Requests | Self::RequestsFromElsewhere => {
                let from = if let Self::Requests = self { Ipv4Addr::LOCALHOST } else { ELSEWHERE };
                for _ in 0..BUSY {
                    strangers.spawn(async move {
                        while post_on(from, port).await.is_err() {
                            sleep(PAUSE).await;
                        }
                    });
                }
            }
        }
        Ok(strangers)
    }
}

/// Posts on a connection that is kept; the status of the answer.
async fn post_again(kept: &mut TcpStream) -> Result<u16> {
    kept.write_all(format!("{}{EVENT}", head(EVENT.len())).as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some((status, length)) = parse(&answer)
            && answer.len() >= length
        {
            return Ok(status);
        }
        if kept.read_buf(&mut answer).await? == 0 {
            return Err(format!("the connection ended: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
}

/// The status of an answer whose head is there, and how long it is with its body.
fn parse(answer: &[u8]) -> Option<(u16, usize)> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let body = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    Some((head.split(' ').nth(1)?.parse().ok()?, head.len() + 4 + body))
}

/// How a good client was served.
#[derive(Debug)]
struct Served {
    /// How many of its posts were accepted. The others were told to try again.
    accepted: usize,
    /// How long 99 in 100 took at most.
    p99: Duration,
}

/// Posts as a good client does.
async fn serve(port: u16, worker: &WorkerProcess) -> Result<Served> {
    let mut kept = timeout(PATIENCE, connect(port)).await.map_err(|_| "no connection")??;
    let (mut times, mut accepted) = (Vec::new(), 0);
    for number in 0..POSTS {
        let begun = Instant::now();
        let status = if number % 2 == 0 {
            timeout(PATIENCE, post_again(&mut kept)).await.map_err(|_| format!("post {number}: no answer"))??
        } else {
            timeout(PATIENCE, post(port, "/events", &[JSON], EVENT)).await??.status
        };
        match status {
            204 => accepted += 1,
            503 => {}
            other => return Err(format!("post {number}: {other}").into()),
        }
        times.push(begun.elapsed());
        if number % 40 == 0 {
            for answer in [get(port, "/health").await?, worker.get("/healthz").await?, worker.get("/readyz").await?] {
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
        sleep(PAUSE).await;
    }
    times.sort();
    let p99 = times.get(POSTS - 1 - POSTS / 100).copied().ok_or("no posts")?;
    Ok(Served { accepted, p99 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_client_is_served_whatever_others_do() -> Result {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    let brokers = shared::broker().await?;
    make(&ConnectionSettings::new(brokers.bootstrap())?, &[NewTopic::new(EVENTS).with_partitions(3)]).await?;
    let [port, admin_port] = ports::free(2)?[..] else { return Err("no ports".into()) };
    // A line for each request of an attacker is not what is measured.
    let options = WorkerOptions { log: "warn".into(), ..WorkerOptions::new(&worker_binary().await?) };
    let front_options = [("defaultType", "t"), ("defaultSource", "/local"), ("acceptedStatus", "204"), ("answerTimeout", "2s")];
    let config = WorkerConfig { admin_port, ..front(&brokers, "events-gateway", &front_options, port, EVENTS) };
    let worker = WorkerProcess::start(&config, &options)?;
    worker.wait_ready(LIMIT).await?;

    serve(port, &worker).await?;
    let alone = serve(port, &worker).await?;
    let allowed = ALLOWED.max(alone.p99 * FACTOR);
    eprintln!("without an attack: {alone:?}");
    assert_eq!(alone.accepted, POSTS);
    for attack in [
        Attack::Idle,
        Attack::SlowHeads,
        Attack::SlowBodies,
        Attack::StuckBodies,
        Attack::LargeBodies,
        Attack::SlowReaders,
        Attack::Connections,
        Attack::Requests,
        Attack::RequestsFromElsewhere,
    ] {
        let before = answered(&worker).await?;
        let strangers = attack.begin(port).await?;
        let served = serve(port, &worker).await.map_err(|why| format!("{attack:?}: {why}"))?;
        eprintln!("{attack:?}: {served:?}, and {} answers to others", answered(&worker).await? - before);
        assert!(served.p99 <= allowed, "{attack:?}: {served:?}, and {alone:?} without");
        let enough = if let Attack::Requests = attack { SHARE } else { POSTS };
        assert!(served.accepted >= enough, "{attack:?}: {served:?}");
        if let Attack::SlowReaders = attack {
            until("nobody holds a connection who does not read", LIMIT, async || few_connections(&worker).await).await?;
        }
        drop(strangers);
        until("the strangers are gone", LIMIT, async || few_connections(&worker).await).await?;
    }
    let count = async |name: &str| worker.metric(&format!("penstock_worker_http_{name}")).await.map(|count| count.unwrap_or_default());
    assert!(count("connections_displaced_total").await? > 0.0 && count("bodies_displaced_total").await? > 0.0, "the attacks were none");
    assert!(count("body_bytes").await? < 1.0, "memory of bodies is not given back");
    worker.process().must_run()?;
    Ok(())
}

/// How many posts the worker has answered.
async fn answered(worker: &WorkerProcess) -> Result<f64> {
    Ok(worker.metric("penstock_worker_http_requests_total").await?.unwrap_or_default())
}

async fn few_connections(worker: &WorkerProcess) -> std::result::Result<(), Waiting> {
    match worker.metric("penstock_worker_http_connections").await {
        Ok(Some(open)) if open < 20.0 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?} connections"))),
    }
}
