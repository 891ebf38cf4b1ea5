//! A proxy between workers and brokers that understands where a request of Kafka's protocol begins and what it asks for.
//!
//! One for each broker, at the address that the broker advertises. Bodies pass as bytes and are never written anew, so what a
//! worker and a broker say to one another is what they would say without it.

mod connection;
mod frame;
mod rules;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

pub use frame::Api;
pub use rules::{Blow, Hold, Plan, Rule, Rules};

/// A connection, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's own end.
    pub local: SocketAddr,
    /// The proxy's end.
    pub remote: SocketAddr,
}

/// Kills or pauses the process that has this connection. False: there is none.
pub type Strike = Box<dyn Fn(Ends, Blow) -> bool + Send + Sync>;

/// What a proxy stands between, and what it does there.
struct Reach {
    broker: SocketAddr,
    rules: Arc<Rules>,
    strike: Strike,
}

/// A proxy of one broker. Dropped, it cuts all connections.
pub struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Listens at `address` for the broker at `broker`.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(address: SocketAddr, broker: SocketAddr, rules: Arc<Rules>, strike: Strike) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let reach = Arc::new(Reach { broker, rules, strike });
        let task = tokio::spawn(accept(listener, reach));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, reach: Arc<Reach>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, peer)) = listener.accept() => {
                connections.spawn(connection::serve(client, peer, Arc::clone(&reach)));
            }
            // A connection that failed looks to the client as what it is: one that was closed.
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
