//! One client's connection to one broker, with the rules between the two.
//!
//! Bytes pass as they are. A held request keeps the broker's side open when the client's is gone, so that it arrives late
//! as it would from a slow network.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    Ends, Reach,
    frame::{Part, Replies, RequestHead, Requests},
    rules::{Blow, Hold, Plan, Release, RuleId},
};

const CHUNK: usize = 64 << 10;
/// How much of a client's is kept while a request of it is held.
const MAX_BEHIND_HELD: usize = 16 << 20;
/// How long to wait for the answer to a request that was released.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// What both directions know.
struct Shared {
    reach: Arc<Reach>,
    ends: Ends,
    asked: Mutex<VecDeque<Asked>>,
    answered: Notify,
    /// The rules that are about requests of this connection.
    rules: Mutex<Vec<RuleId>>,
    /// True once the client is to get nothing any more.
    cut: watch::Sender<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let rules = self.rules.get_mut().unwrap_or_else(PoisonError::into_inner);
        rules.drain(..).for_each(|rule| self.reach.rules.give_back(rule));
    }
}

/// A request that waits for its reply.
struct Asked {
    head: RequestHead,
    fate: Option<(RuleId, Fate)>,
}

#[derive(Clone, Copy)]
enum Fate {
    Lost(Blow),
    Passed(Blow),
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done to a request that has come.
    fn verdict(&self, head: &RequestHead) -> Option<(RuleId, Plan)> {
        let verdict = self.reach.rules.on_request(head);
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).extend(verdict.map(|(rule, _)| rule));
        verdict
    }

    /// Replies come in the order of their requests; one without a reply is passed over.
    fn take_asked(&self, correlation: i32) -> Option<Asked> {
        let mut asked = self.asked();
        let place = asked.iter().position(|asked| asked.head.correlation == correlation)?;
        asked.drain(..=place).next_back()
    }

    /// True: the connection goes on.
    fn strike(&self, rule: RuleId, blow: Blow) -> bool {
        if blow == Blow::Cut || (self.reach.strike)(self.ends, blow) {
            self.reach.rules.acted(rule);
        } else {
            self.give_back(rule);
        }
        blow == Blow::Pause
    }

    /// The rule could not act at its request: it waits for the next one, of whatever connection.
    fn give_back(&self, rule: RuleId) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).retain(|own| *own != rule);
        self.reach.rules.give_back(rule);
    }
}

/// Serves the connection until either side ends it, or a rule does.
pub(super) async fn serve(client: TcpStream, peer: SocketAddr, reach: Arc<Reach>) -> io::Result<()> {
    let broker = TcpStream::connect(reach.broker).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let ends = Ends { local: peer, remote: client.local_addr()? };
    let (client_read, client_write) = client.into_split();
    let (broker_read, broker_write) = broker.into_split();
    let shared =
        Shared { reach, ends, asked: Mutex::default(), answered: Notify::new(), rules: Mutex::default(), cut: watch::Sender::new(false) };
    // Before anything can be cut, so that no cut is missed.
    let cut = shared.cut.subscribe();
    let up = Up { shared: &shared, client: Some(client_read), broker: broker_write, requests: Requests::default(), held: false };
    let down = Down { shared: &shared, broker: broker_read, client: Some(client_write), asked: None, cut };
    tokio::select! {
        ended = up.run() => ended,
        ended = down.run() => ended,
    }
}

/// From the client to the broker.
struct Up<'a> {
    shared: &'a Shared,
    client: Option<OwnedReadHalf>,
    broker: OwnedWriteHalf,
    requests: Requests,
    held: bool,
}

impl Up<'_> {
    async fn run(mut self) -> io::Result<()> {
        loop {
            while let Some(frame) = self.requests.next().map_err(io::Error::other)? {
                if !self.pass(&frame).await? {
                    return Ok(());
                }
            }
            if self.client.is_none() {
                break;
            }
            self.read().await?;
        }
        if self.held {
            let answers = async {
                while !self.shared.asked().is_empty() {
                    self.shared.answered.notified().await;
                }
            };
            // A broker that does not answer has the request all the same.
            let _ = timeout(LAST_ANSWER, answers).await;
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let read = match &mut self.client {
            Some(client) => client.read(&mut chunk).await.unwrap_or(0),
            None => 0,
        };
        match chunk.get(..read).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => self.requests.push(bytes),
            None => self.client = None,
        }
        Ok(())
    }

    /// False: the connection ends here.
    async fn pass(&mut self, frame: &[u8]) -> io::Result<bool> {
        let head = RequestHead::read(frame).ok_or_else(|| io::Error::other("a request without a head"))?;
        let fate = match self.shared.verdict(&head) {
            None => None,
            Some((rule, Plan::Before(blow))) => {
                if !self.shared.strike(rule, blow) {
                    return Ok(false);
                }
                None
            }
            Some((rule, Plan::ReplyLost(blow))) => Some((rule, Fate::Lost(blow))),
            Some((rule, Plan::Replied(blow))) => Some((rule, Fate::Passed(blow))),
            Some((rule, Plan::Hold(hold))) => {
                match self.hold(hold, &head).await? {
                    Release::Planned => self.shared.reach.rules.acted(rule),
                    // It arrived late, but at no moment that the rule is about.
                    Release::Otherwise => self.shared.give_back(rule),
                }
                None
            }
        };
        self.shared.asked().push_back(Asked { head, fate });
        self.broker.write_all(frame).await?;
        Ok(true)
    }

    /// Waits; what the client sends meanwhile stays behind the held request, and so does its end.
    async fn hold(&mut self, hold: Hold, head: &RequestHead) -> io::Result<Release> {
        self.held = true;
        let released = self.shared.reach.rules.hold(hold, head.transactional_id.clone());
        tokio::pin!(released);
        if hold.cut {
            self.client = None;
            self.shared.cut.send_replace(true);
        }
        while self.client.is_some() && self.requests.waiting() < MAX_BEHIND_HELD {
            tokio::select! {
                release = &mut released => return Ok(release),
                read = self.read() => read?,
            }
        }
        Ok(released.await)
    }
}

/// From the broker to the client.
struct Down<'a> {
    shared: &'a Shared,
    broker: OwnedReadHalf,
    client: Option<OwnedWriteHalf>,
    /// The request whose reply is on its way.
    asked: Option<Asked>,
    cut: watch::Receiver<bool>,
}

impl Down<'_> {
    async fn run(mut self) -> io::Result<()> {
        let mut replies = Replies::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                read = self.broker.read(&mut chunk) => read?,
                Ok(()) = self.cut.changed() => {
                    self.client = None;
                    continue;
                }
            };
            let bytes = chunk.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            let mut passing = Vec::with_capacity(read);
            for part in replies.push(bytes).map_err(io::Error::other)? {
                if !self.part(part, &mut passing).await {
                    return Ok(());
                }
            }
            self.write(&passing).await;
        }
    }

    /// False: the connection ends here.
    async fn part(&mut self, part: Part, passing: &mut Vec<u8>) -> bool {
        match part {
            Part::Begin { correlation, head } => {
                self.asked = self.shared.take_asked(correlation);
                if !self.is_lost() {
                    passing.extend(head);
                }
            }
            Part::Body(bytes) if !self.is_lost() => passing.extend(bytes),
            Part::Body(_) => {}
            Part::End => {
                let Some(asked) = self.asked.take() else { return true };
                if let Some((rule, Fate::Lost(blow) | Fate::Passed(blow))) = asked.fate {
                    self.write(passing).await;
                    passing.clear();
                    if !self.shared.strike(rule, blow) {
                        return false;
                    }
                }
                self.shared.reach.rules.on_replied(&asked.head);
                self.shared.answered.notify_one();
            }
        }
        true
    }

    fn is_lost(&self) -> bool {
        matches!(self.asked, Some(Asked { fate: Some((_, Fate::Lost(_))), .. }))
    }

    /// A client that is gone gets nothing; the broker's answers are awaited all the same.
    async fn write(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.client
            && client.write_all(bytes).await.is_err()
        {
            self.client = None;
        }
    }
}
