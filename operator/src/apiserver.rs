//! The connection to the apiserver.
//!
//! By HTTP/2, so that all watches and some hundred requests at a time share one, as those of Kubernetes' own controllers do; more wait for
//! their turn. kube's own client speaks HTTP/1.1, and opens a connection, with its buffers and its TLS handshake, for each request that is
//! under way.

use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer, timeout::TimeoutLayer};
use tower_http::trace::TraceLayer;

/// How often a connection is asked for a sign of life, also while nothing is under way, and how long that may take: client-go's figures.
const SIGN_OF_LIFE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// How long an answer may take to begin: longer than the apiserver gives itself, a minute.
const ANSWER: Duration = Duration::from_secs(75);

/// Connects as the pod's ServiceAccount, or as `KUBECONFIG` says.
///
/// # Errors
/// Neither is there, or what it says is of no use.
pub async fn connect() -> kube::Result<Client> {
    client(Config::infer().await.map_err(kube::Error::InferConfig)?)
}

fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() || config.tls_server_name.is_some() {
        // What kube knows to connect through.
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Many small writes go over one connection: none waits until the one before is acknowledged.
    tcp.set_nodelay(true);
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http().enable_all_versions();
    let mut connector = TimeoutConnector::new(tls.wrap_connector(tcp));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let (every, within) = SIGN_OF_LIFE;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        // One on which only watches are open is in use.
        .pool_idle_timeout(None::<Duration>)
        .http2_keep_alive_interval(every)
        .http2_keep_alive_timeout(within)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(TraceLayer::new_for_http())
        .layer(TimeoutLayer::new(ANSWER))
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
