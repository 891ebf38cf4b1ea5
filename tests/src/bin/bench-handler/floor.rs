//! The handler that does next to nothing: it gives back what it was sent. What remains is the hop.
//!
//! It counts connections and requests, and tells of them at `/counts`. With a pause it answers so much later, without being busy
//! meanwhile: then it shows how many requests are under way at once.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use penstock_tests::scene::Result;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Where it tells what it has counted.
pub const COUNTS: &str = "/counts";

/// What it does.
#[derive(Args, Clone, Debug)]
pub struct Job {
    #[arg(long)]
    pub port: u16,
    /// How long it waits before each answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub pause: u64,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Counts {
    /// Connections that were opened, in all.
    pub connections: u64,
    /// Requests under way at once, at most.
    pub under_way: u64,
}

#[derive(Default)]
struct State {
    connections: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
    pause: Duration,
}

/// Serves until it is killed.
pub async fn run(job: Job) -> Result {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, job.port)).await?;
    let state = Arc::new(State { pause: Duration::from_millis(job.pause), ..State::default() });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let is_counted = AtomicBool::new(false);
            let answer = service_fn(move |request: Request<Incoming>| {
                let (state, is_question) = (Arc::clone(&state), request.uri().path() == COUNTS);
                let is_new = !is_question && !is_counted.swap(true, Ordering::Relaxed);
                async move { Ok::<_, Infallible>(if is_question { state.counts() } else { state.answer(request, is_new).await }) }
            });
            // A client that goes away is no failure.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>, is_new: bool) -> Response<Full<Bytes>> {
        self.connections.fetch_add(u64::from(is_new), Ordering::Relaxed);
        self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        self.now.fetch_sub(1, Ordering::Relaxed);
        json(body)
    }

    fn counts(&self) -> Response<Full<Bytes>> {
        let counts = Counts { connections: self.connections.load(Ordering::Relaxed), under_way: self.most.load(Ordering::Relaxed) };
        json(serde_json::to_vec(&counts).unwrap_or_default().into())
    }
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
