//! Serves HTTP/1.1 on a listener until it is told to stop; then takes no more connections and finishes the requests it has.
//!
//! Connections are bounded in number, and so is the patience with each, so that idle or slow peers cannot use a worker up. Nobody
//! waits in the kernel's queue for others to go. axum's own `serve` has no such bounds.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    connections::{ConnectionCounts, Connections, Limits},
    patience::{Patience, Patient, Phase},
};
use crate::descriptors;

/// The pause after the system could not give a connection, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most that is read ahead on a connection, and the most of an answer that waits to be written: what hyper asks at least.
const BUFFER_BYTES: usize = 64 << 10;

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerBounds {
    /// The most connections.
    pub connections: usize,
    /// The most connections of one peer.
    pub connections_of_one: usize,
    /// The most bytes of a request's head.
    pub head_bytes: usize,
    /// How long is waited for a peer.
    pub patience: Patience,
}

impl ServerBounds {
    /// For a port that answers probes and scrapes alone.
    #[must_use]
    pub fn few() -> Self {
        let patience = Patience { idle: Duration::from_secs(75), head: Duration::from_secs(10), answer: Duration::from_secs(10) };
        Self { connections: 128, connections_of_one: 128, head_bytes: 16 << 10, patience }
    }
}

/// Serves until `shutdown`, and returns once the last request is answered.
pub async fn serve(listener: TcpListener, app: Router, bounds: ServerBounds, counts: ConnectionCounts, shutdown: CancellationToken) {
    let all = bounds.connections.min(descriptors::for_connections());
    if all < bounds.connections {
        tracing::warn!(wanted = bounds.connections, all, "the limit of open files allows fewer connections");
    }
    let connections = Connections::new(Limits { all, of_one: bounds.connections_of_one }, counts);
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.header_read_timeout(None::<Duration>).max_header_size(bounds.head_bytes).max_buf_size(BUFFER_BYTES);
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener)).await {
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!(%why, "cannot accept a connection");
                connections.make_room();
                shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                continue;
            }
        };
        // Closed at once: it would wait for nothing.
        let Some((connection, displaced)) = connections.admit(from.ip()) else { continue };
        let (connection, phase, app) = (Arc::new(connection), Phase::default(), app.clone());
        let stream = TokioIo::new(Patient::new(stream, bounds.patience, phase.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            phase.request();
            connection.touch();
            request.extensions_mut().insert(Arc::clone(&connection));
            let (answer, phase, connection) = (app.clone().oneshot(request.map(Body::new)), phase.clone(), Arc::clone(&connection));
            async move {
                let answer = answer.await;
                phase.answered();
                connection.touch();
                answer
            }
        });
        let served = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            tokio::select! {
                served = served => {
                    if let Err(why) = served {
                        tracing::debug!(%why, "a connection broke");
                    }
                }
                Ok(()) = displaced => tracing::debug!("a connection made room for another"),
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, from))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;

    async fn request(address: std::net::SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        Ok(stream)
    }

    #[tokio::test]
    async fn told_to_stop_it_answers_what_it_has_begun_and_takes_nothing_new() {
        let (begun, go_on, shutdown) = (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
        let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go_on));
        let handler = async move || {
            tell.notify_one();
            wait.notified().await;
            "done"
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(handler));
        let server = tokio::spawn(serve(listener, app, ServerBounds::few(), ConnectionCounts::default(), shutdown.clone()));

        let idle = TcpStream::connect(address).await.unwrap();
        let mut busy = request(address).await.unwrap();
        begun.notified().await;
        shutdown.cancel();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.is_finished(), "a request is still open");
        go_on.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
        server.await.unwrap();
        drop(idle);
    }
}
