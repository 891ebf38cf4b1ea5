//! The connection to the apiserver.
//!
//! By HTTP/2, so that hundreds of requests and all watches share one, as those of Kubernetes' own controllers do. kube's own client speaks
//! HTTP/1.1, and opens a connection, with its buffers and its TLS handshake, for each request that is under way.

use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt, retry::RetryPolicy},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

/// How often a connection is asked for a sign of life, also while nothing is under way, and how long that may take: client-go's figures.
const SIGN_OF_LIFE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

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
    tcp.set_connect_timeout(config.connect_timeout);
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http().enable_all_versions();
    let (every, within) = SIGN_OF_LIFE;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(every)
        .http2_keep_alive_timeout(within)
        .http2_keep_alive_while_idle(true)
        .build(tls.wrap_connector(tcp));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
