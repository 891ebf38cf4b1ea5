//! A front under attack, as a real worker process with a real broker. Whatever strangers do to its port, who posts at a modest rate
//! is served about as fast as without them, over a connection that is kept and over new ones, and so is who asks for its health.
//!
//! The strangers have the same address as the good client, as behind a proxy or a NodePort.

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
}

/// What strangers do; it ends when this is dropped.
type Strangers = JoinSet<()>;

fn head(length: usize) -> String {
    format!("POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
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
        }
        Ok(strangers)
    }
}

/// Posts on a connection that is kept.
async fn post_again(kept: &mut TcpStream) -> Result {
    kept.write_all(format!("{}{EVENT}", head(EVENT.len())).as_bytes()).await?;
    let mut answer = Vec::new();
    // An answer of 204 has no body.
    while !answer.ends_with(b"\r\n\r\n") {
        if kept.read_buf(&mut answer).await? == 0 {
            return Err(format!("the connection ended: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 204 ") { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into()) }
}

/// How long 99 in 100 posts of a good client take at most. Each must be accepted.
async fn p99(port: u16, worker: &WorkerProcess) -> Result<Duration> {
    let mut kept = timeout(PATIENCE, connect(port)).await.map_err(|_| "no connection")??;
    let mut times = Vec::new();
    for number in 0..POSTS {
        let begun = Instant::now();
        if number % 2 == 0 {
            timeout(PATIENCE, post_again(&mut kept)).await.map_err(|_| format!("post {number}: no answer"))??;
        } else {
            let answer = timeout(PATIENCE, post(port, "/events", &[JSON], EVENT)).await??;
            if answer.status != 204 {
                return Err(format!("post {number}: {answer:?}").into());
            }
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
    times.get(POSTS - 1 - POSTS / 100).copied().ok_or_else(|| "no posts".into())
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

    p99(port, &worker).await?;
    let alone = p99(port, &worker).await?;
    let allowed = ALLOWED.max(alone * FACTOR);
    eprintln!("without an attack: p99 {alone:?}");
    for attack in [
        Attack::Idle,
        Attack::SlowHeads,
        Attack::SlowBodies,
        Attack::StuckBodies,
        Attack::LargeBodies,
        Attack::SlowReaders,
        Attack::Connections,
    ] {
        let strangers = attack.begin(port).await?;
        let attacked = p99(port, &worker).await.map_err(|why| format!("{attack:?}: {why}"))?;
        eprintln!("{attack:?}: p99 {attacked:?}");
        assert!(attacked <= allowed, "{attack:?}: p99 {attacked:?}, and {alone:?} without");
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

async fn few_connections(worker: &WorkerProcess) -> std::result::Result<(), Waiting> {
    match worker.metric("penstock_worker_http_connections").await {
        Ok(Some(open)) if open < 20.0 => Ok(()),
        other => Err(Waiting::NotYet(format!("{other:?} connections"))),
    }
}
