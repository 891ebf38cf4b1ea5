//! Lets requests in: first comes the whole body, within bounds of size, time and memory, then a place among the requests in work.
//!
//! So a body that comes slowly takes no place of one that is there, and none takes more memory than it has sent. For a place is waited
//! a moment, and a body that waits gives way to others as one that still comes.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    connections::{Connection, InWork},
    memory::{BodyCounts, BodyMemory, Displaced, Share},
    places::{Occupied, Places},
};

/// How long a request waits for a place.
const PATIENCE: Duration = Duration::from_millis(250);

/// What requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateBounds {
    /// The most bytes of a body.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long nothing of it may come.
    pub body_idle_timeout: Duration,
    /// The most bytes of all bodies.
    pub memory_bytes: usize,
    /// The most requests in work.
    pub requests: usize,
}

/// Why a request was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Its body is larger than [`GateBounds::body_bytes`].
    TooLarge,
    /// Its body did not come in time.
    Slow,
    /// Its body broke off; the text is for people.
    Broken(String),
    /// There are too many others. It should be answered with 503.
    Overloaded,
}

impl From<Displaced> for BodyError {
    fn from(_: Displaced) -> Self {
        Self::Overloaded
    }
}

/// Lets requests in. Cheap to clone; clones share their bounds.
#[derive(Clone, Debug)]
pub struct Gate {
    bounds: GateBounds,
    memory: Arc<BodyMemory>,
    places: Arc<Places>,
}

/// The body of a request that is in work for as long as this lasts.
#[derive(Debug)]
pub struct Admitted {
    body: Bytes,
    _share: Share,
    _place: Occupied,
    _connection: Option<InWork>,
}

impl Deref for Admitted {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.body
    }
}

impl Gate {
    /// Nobody is in yet.
    #[must_use]
    pub fn new(bounds: GateBounds, counts: BodyCounts) -> Self {
        let memory = BodyMemory::new(bounds.memory_bytes, counts);
        Self { bounds, memory, places: Places::new(bounds.requests) }
    }

    /// How large a body may be, in bytes.
    #[must_use]
    pub fn max_body_bytes(&self) -> usize {
        self.bounds.body_bytes
    }

    /// Reads the body of a request and gives the request a place, for which it may have to wait a moment.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub async fn admit(&self, request: Request) -> Result<Admitted, BodyError> {
        let (parts, body) = request.into_parts();
        let mut share = self.memory.begin();
        let body = self.read(body, &mut share).await?;
        let connection = parts.extensions.get::<Arc<Connection>>();
        let place = tokio::select! {
            biased;
            place = timeout(PATIENCE, self.places.enter(connection.map(|connection| connection.peer()))) => place.ok().flatten(),
            () = share.displaced() => None,
        };
        let place = place.ok_or(BodyError::Overloaded)?;
        share.arrived()?;
        let connection = connection.map(|connection| Arc::clone(connection).begin_work());
        Ok(Admitted { body, _share: share, _place: place, _connection: connection })
    }

    async fn read(&self, mut body: Body, share: &mut Share) -> Result<Bytes, BodyError> {
        let GateBounds { body_bytes, body_timeout, body_idle_timeout, .. } = self.bounds;
        let announced = body.size_hint().exact();
        if announced.is_some_and(|bytes| bytes > u64::try_from(body_bytes).unwrap_or(u64::MAX)) {
            return Err(BodyError::TooLarge);
        }
        let deadline = Instant::now() + body_timeout;
        let mut read = BytesMut::new();
        loop {
            let patience = deadline.min(Instant::now() + body_idle_timeout);
            let frame = tokio::select! {
                biased;
                frame = timeout_at(patience, body.frame()) => frame.map_err(|_| BodyError::Slow)?,
                () = share.displaced() => return Err(BodyError::Overloaded),
            };
            let Some(frame) = frame else { return Ok(read.freeze()) };
            // What is no data are trailers, which nobody asks for.
            let Ok(data) = frame.map_err(|why| BodyError::Broken(why.to_string()))?.into_data() else { continue };
            if data.len() > body_bytes - read.len() {
                return Err(BodyError::TooLarge);
            }
            share.grow(data.len())?;
            if read.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            // A copy, since a small part would hold all of the buffer in which it came.
            read.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    const BOUNDS: GateBounds = GateBounds {
        body_bytes: 100,
        body_timeout: Duration::from_secs(10),
        body_idle_timeout: Duration::from_secs(4),
        memory_bytes: 200,
        requests: 2,
    };

    fn gate() -> Gate {
        Gate::new(BOUNDS, BodyCounts::default())
    }

    /// Parts of so many bytes, each after so many seconds; whether it ends.
    fn request(parts: &[(u64, usize)], ends: bool) -> Request {
        let parts = stream::iter(parts.to_vec()).then(|(pause, bytes)| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]))
        });
        Request::new(if ends { Body::from_stream(parts) } else { Body::from_stream(parts.chain(stream::pending())) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_let_in_whole_or_not_at_all() {
        for (parts, ends, expected) in [
            (&[][..], true, Ok(0)),
            (&[(0, 100)], true, Ok(100)),
            (&[(3, 50), (3, 0), (3, 50)], true, Ok(100)),
            (&[(0, 60), (0, 41)], true, Err(BodyError::TooLarge)),
            (&[(5, 1)], true, Err(BodyError::Slow)),
            (&[(3, 1), (3, 1), (3, 1), (3, 1)], true, Err(BodyError::Slow)),
            (&[(0, 10)], false, Err(BodyError::Slow)),
        ] {
            let gate = gate();
            let found = gate.admit(request(parts, ends)).await.map(|body| body.len());
            assert_eq!(found, expected, "{parts:?}");
            assert_eq!((gate.places.free(), gate.memory.begin().grow(200)), (2, Ok(())), "{parts:?}: all is given back");
        }
        assert_eq!(gate().admit(Request::new(Body::from(vec![0; 101]))).await.map(drop), Err(BodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_arrives_takes_no_place_and_gives_way() {
        let gate = gate();
        // Together they are more than there is memory for.
        let slow: Vec<_> = (0..3)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.admit(request(&[(0, 90)], false)).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        let first = gate.admit(request(&[(0, 100)], true)).await.unwrap();
        let second = gate.admit(request(&[(0, 1)], true)).await.unwrap();
        let begun = Instant::now();
        assert_eq!(gate.admit(request(&[(0, 1)], true)).await.map(drop), Err(BodyError::Overloaded), "all places are taken");
        assert_eq!(begun.elapsed(), PATIENCE);
        let waiting = {
            let gate = gate.clone();
            tokio::spawn(async move { gate.admit(request(&[(0, 1)], true)).await.map(drop) })
        };
        tokio::time::sleep(PATIENCE / 2).await;
        drop(second);
        assert_eq!(waiting.await.unwrap(), Ok(()), "a place was free in time");
        gate.admit(request(&[(0, 1)], true)).await.unwrap();
        drop(first);
        let mut ends = Vec::new();
        for slow in slow {
            ends.push(slow.await.unwrap());
        }
        assert_eq!(ends, [Err(BodyError::Overloaded), Err(BodyError::Overloaded), Err(BodyError::Slow)]);
    }
}
