//! A stream that gives up on a peer that keeps it waiting: for a request, for the rest of a request's head, or to read an answer.
//!
//! The body of a request is not its business: [`super::Gate`] has the patience for that. hyper itself has one time-out for the
//! time before a head and for the head together, and none for answers.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// So many bytes of an answer are read within [`Patience::answer`], at the least.
const STEP: usize = 16 << 10;

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first byte of a request.
    pub idle: Duration,
    /// From there to the end of the request's head.
    pub head: Duration,
    /// For the peer to read 16 KiB of its answer, or all that is left of it.
    pub answer: Duration,
}

/// What a connection waits for.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<AtomicU8>);

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const REQUEST: u8 = 2;

impl Phase {
    /// The head of a request is there.
    pub fn request(&self) {
        self.0.store(REQUEST, Ordering::Relaxed);
    }

    /// The request is answered.
    pub fn answered(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A stream with limited patience.
#[derive(Debug)]
pub struct Patient<S> {
    inner: S,
    patience: Patience,
    phase: Phase,
    /// What it is that the reader waits for, and for how long still.
    reading: Option<(u8, Pin<Box<Sleep>>)>,
    /// How long the peer may still take to read, and what it has read since that began.
    writing: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Patient<S> {
    /// Limits the patience of a stream. The phase is told by who serves the requests.
    pub fn new(inner: S, patience: Patience, phase: Phase) -> Self {
        Self { inner, patience, phase, reading: None, writing: None }
    }

    /// Something was read.
    fn has_read(&mut self) {
        // The first byte of a head begins it; those that follow win no time.
        let began = self.phase.0.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if began {
            self.reading = Some((HEAD, Box::pin(sleep(self.patience.head))));
        }
    }

    /// Nothing is there to be read.
    fn wait_to_read<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let phase = self.phase.0.load(Ordering::Relaxed);
        if phase == REQUEST {
            self.reading = None;
            return Poll::Pending;
        }
        if self.reading.as_ref().is_none_or(|(of, _)| *of != phase) {
            let limit = if phase == HEAD { self.patience.head } else { self.patience.idle };
            self.reading = Some((phase, Box::pin(sleep(limit))));
        }
        let Some((_, sleep)) = &mut self.reading else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        let why = if phase == HEAD { "the head of the request did not come in time" } else { "no request came" };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    fn after_write(&mut self, cx: &mut Context<'_>, offered: usize, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(taken)) => {
                // All that there is was taken, or enough of it to begin anew.
                let goes_on = self.writing.take().map(|(sleep, before)| (sleep, before + taken));
                self.writing = goes_on.filter(|(_, sum)| taken < offered && *sum < STEP);
                Poll::Ready(Ok(taken))
            }
            Poll::Pending => {
                let (sleep, _) = self.writing.get_or_insert_with(|| (Box::pin(sleep(self.patience.answer)), 0));
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time")))
            }
            failed => failed,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Pending => self.wait_to_read(cx),
            read => {
                if buffer.filled().len() > before {
                    self.has_read();
                }
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.after_write(cx, bytes.len(), written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.after_write(cx, parts.iter().map(|part| part.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    const PATIENCE: Patience = Patience { idle: Duration::from_secs(60), head: Duration::from_secs(10), answer: Duration::from_secs(20) };

    fn pair(buffer: usize) -> (DuplexStream, Patient<DuplexStream>, Phase) {
        let ((peer, own), phase) = (duplex(buffer), Phase::default());
        (peer, Patient::new(own, PATIENCE, phase.clone()), phase)
    }

    /// Sends a byte every so many seconds, for as long as anybody listens.
    async fn trickle(mut peer: DuplexStream, pause: u64) {
        while peer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }

    /// Seconds until reading fails.
    async fn patience_of_reader(mut stream: Patient<DuplexStream>) -> u64 {
        let begun = Instant::now();
        let why = loop {
            if let Err(why) = stream.read_u8().await {
                break why;
            }
        };
        assert_eq!(why.kind(), io::ErrorKind::TimedOut, "{why}");
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_however_it_trickles_and_silence_has_its_own() {
        let (_silent, stream, _) = pair(64);
        assert_eq!(patience_of_reader(stream).await, 60);
        let (peer, stream, _) = pair(64);
        tokio::spawn(trickle(peer, 3));
        assert_eq!(patience_of_reader(stream).await, 10);
        // What a request still sends is not looked at; once it is answered, the silence begins.
        let (mut peer, mut stream, phase) = pair(64);
        peer.write_all(b"head").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        phase.request();
        assert!(tokio::time::timeout(Duration::from_secs(3_600), stream.read_u8()).await.is_err());
        phase.answered();
        assert_eq!(patience_of_reader(stream).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_must_be_read_at_a_certain_rate() {
        for (every, rate, ends) in [(1, 0, true), (1, 100, true), (1, 1_000, false), (9, STEP, false)] {
            let (mut peer, mut stream, _) = pair(64);
            let reader = tokio::spawn(async move {
                let mut bytes = vec![0; rate];
                // Whoever reads nothing still holds the connection.
                while rate == 0 || peer.read_exact(&mut bytes).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(every)).await;
                }
            });
            let written = stream.write_all(&vec![0; 8 * STEP]).await;
            assert_eq!(written.is_err(), ends, "{rate} bytes every {every} s: {written:?}");
            assert!(written.err().is_none_or(|why| why.kind() == io::ErrorKind::TimedOut));
            reader.abort();
        }
    }
}
