//! What is possible: a bare HTTP client in the worker's place. As many connections as the worker has records in process, each of
//! which sends the next request once the last is answered; the same method, path, headers and bodies.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use penstock_tests::local::{Folder, Process};
use penstock_tests::scene::{Result, Waiting, until};
use tokio::net::TcpStream;

use crate::carts;
use crate::handler::{Handler, RunningHandler};
use crate::report::Figures;
use crate::run::{PATH, Setup};

/// How long all of its requests may take.
const LIMIT: Duration = Duration::from_secs(600);

/// What it does.
#[derive(Args, Clone, Debug)]
pub struct Job {
    #[arg(long)]
    pub port: u16,
    #[arg(long)]
    pub connections: u16,
    #[arg(long)]
    pub requests: u32,
}

/// Sends them, says how many seconds that took, and waits to be killed, so that what it has used can be read.
pub async fn run(job: Job) -> Result {
    let next = Arc::new(AtomicU32::new(0));
    let begun = Instant::now();
    let connections = (0..job.connections).map(|_| tokio::spawn(connection(job.clone(), Arc::clone(&next))));
    for connection in connections.collect::<Vec<_>>() {
        connection.await??;
    }
    writeln!(std::io::stdout(), "took {}", begun.elapsed().as_secs_f64())?;
    std::future::pending().await
}

async fn connection(job: Job, next: Arc<AtomicU32>) -> Result {
    let stream = TcpStream::connect(("127.0.0.1", job.port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= job.requests {
            return Ok(());
        }
        sender.ready().await?;
        let answer = sender.send_request(request(job.port, number)?).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        if !status.is_success() {
            return Err(format!("the handler answered {status}").into());
        }
    }
}

/// As the worker sends a record, with a time that is made anew each time.
fn request(port: u16, number: u32) -> Result<Request<Full<Bytes>>> {
    let request = Request::post(PATH)
        .header("host", format!("127.0.0.1:{port}"))
        .header("ce-id", format!("bench/{}/{number}", number % 8))
        .header("ce-attempt", "1")
        .header("ce-specversion", "1.0")
        .header("ce-type", "dev.penstock.record")
        .header("ce-source", "bench")
        .header("ce-time", jiff::Timestamp::now().to_string())
        .header("ce-partitionkey", carts::key(number))
        .header("content-type", "application/json");
    Ok(request.body(Full::new(Bytes::from(carts::value(number))))?)
}

/// Lets one run on the worker's core.
pub async fn measure(setup: &Setup, connections: u16, requests: u32) -> Result<Figures> {
    let (handler, log) = (RunningHandler::start(Handler::Floor, setup.other).await?, Folder::new("bare")?);
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", "--port", &handler.port.to_string(), "--connections", &connections.to_string()]);
    command.args(["--requests", &requests.to_string()]);
    let process = Process::start("the bare client", &command, &log.path().join("log"), Some(setup.measured))?;
    let took: f64 = until("the bare client has sent all requests", LIMIT, async || {
        process.must_run().map_err(|error| Waiting::Never(error.into()))?;
        let said = std::fs::read_to_string(process.log()).unwrap_or_default();
        said.strip_prefix("took ").and_then(|rest| rest.trim_end().parse().ok()).ok_or_else(|| Waiting::from("it has not yet"))
    })
    .await?;
    let (cpu, counts) = (process.usage()?.cpu.as_secs_f64(), handler.counts().await?);
    let millions = f64::from(requests) / 1e6;
    let figures = Figures {
        rate: f64::from(requests) / took,
        cpu: cpu / millions,
        handler_cpu: Some(handler.cpu()? / millions),
        counts,
        mean_under_way: None,
    };
    figures.tell("bare client");
    Ok(figures)
}
