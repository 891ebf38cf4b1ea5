//! The thread that polls a group consumer.
//!
//! It never stops polling: rebalances are served within a second even if nobody takes records. While the buffer stays
//! full it pauses all partitions, and takes them up again once half of it is empty.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::Received;
use super::held::{Held, Holding};
use super::rebalance::{self, Context};
use crate::error::{Error, Result};
use crate::ffi::{Copies, ErrorCode, MemberQueue, Polled, is_cooperative};
use crate::record::TopicPartition;
use crate::thread::{Stop, Thread};

/// Also the time after which a command is seen while there are no records.
const POLL: Duration = Duration::from_millis(50);
/// How long a full buffer may hold the thread before the partitions are paused. Pausing throws the read-ahead away, so a
/// handler that is merely a little slow must not cause it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many records may be taken before somebody is woken, and before a command is looked for.
const RUN: usize = 512;
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

type Done = oneshot::Sender<Result<()>>;

/// What a handle asks the thread to do between two polls.
pub(super) enum Command {
    Pause(Vec<TopicPartition>, Done),
    Resume(Vec<TopicPartition>, Done),
    Seek(TopicPartition, i64, Done),
    Begin(Vec<(Held, i64)>, Done),
}

/// The handle of the thread. Dropped, it ends the thread.
pub(super) struct Polling {
    commands: Sender<Command>,
    thread: Thread,
}

impl Polling {
    pub(super) fn start(client: Arc<BaseConsumer<Context>>) -> Result<Self> {
        let (commands, receiver) = mpsc::channel();
        let queue = MemberQueue::of(&client)?;
        let poller = Poller {
            queue,
            client,
            commands: receiver,
            paused_by_caller: BTreeSet::new(),
            told: Vec::new(),
            throttled: false,
            copies: Copies::shared(),
        };
        let thread = Thread::start("kafka-consumer", move |stop| poller.run(&stop))?;
        Ok(Self { commands, thread })
    }

    pub(super) async fn run(&self, command: impl FnOnce(Done) -> Command) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Ends the thread and waits until it has left the group.
    pub(super) async fn stop(&self) {
        self.thread.stop().await;
    }
}

struct Poller {
    queue: MemberQueue,
    client: Arc<BaseConsumer<Context>>,
    commands: Receiver<Command>,
    paused_by_caller: BTreeSet<TopicPartition>,
    /// Where partitions begin that wait for others.
    told: Vec<(Held, i64)>,
    throttled: bool,
    copies: Copies,
}

impl Poller {
    fn run(mut self, stop: &Stop) {
        while !stop.requested() {
            if let Ok(command) = self.commands.try_recv() {
                self.execute(command);
            }
            self.poll();
            self.throttle();
        }
        self.client.context().buffer.close();
        self.close();
    }

    /// Waits for something to happen, then takes what else is there, as far as there is room.
    fn poll(&mut self) {
        self.copies.renew();
        let mut waiting = POLL;
        for _ in 0..RUN {
            if !self.poll_once(waiting) {
                break;
            }
            waiting = Duration::ZERO;
        }
        self.client.context().buffer.announce();
    }

    /// True if there may be more, and room for it. A rebalance that is served here takes out of the buffer what must not be
    /// handed out any more, also of this run.
    fn poll_once(&mut self, timeout: Duration) -> bool {
        let context = self.client.context();
        match self.queue.poll_blocking(&self.client, timeout, &mut self.copies) {
            Polled::Record(record) => {
                let size = record.size();
                return context.buffer.push_quietly(Ok(Received::Record(record)), size);
            }
            Polled::Failed { partition: Some(partition), code, message, fatal: false } if code.is(Code::AutoOffsetReset) => {
                let cut_at = cut_at(&message);
                return context.buffer.push_quietly(Ok(Received::OutOfRange { partition, reason: message, cut_at }), 0);
            }
            Polled::Failed { partition, code, message, fatal } => {
                context.health.error(code.known(), &message);
                let topic = partition.as_ref().map(|partition| partition.topic.as_str());
                if let Some(error) = reportable(code, message, topic, fatal) {
                    context.buffer.push_quietly(Err(error), 0);
                }
            }
            Polled::EndOfPartition(partition, offset) => {
                return context.buffer.push_quietly(Ok(Received::End { partition, offset }), 0);
            }
            Polled::Nothing => {}
        }
        false
    }

    fn throttle(&mut self) {
        let buffer = &self.client.context().buffer;
        if self.throttled {
            if buffer.is_half_empty() {
                self.throttled = false;
                self.set_paused(false);
            } else if !buffer.wait_for_room(Duration::ZERO) {
                // Partitions that were assigned in the meantime are not paused yet.
                self.set_paused(true);
            }
        } else if !buffer.wait_for_room(PATIENCE) {
            self.throttled = true;
            self.set_paused(true);
        }
    }

    /// Pauses or resumes everything assigned, except what the caller has paused and what has not begun.
    fn set_paused(&mut self, paused: bool) {
        let partitions: Vec<TopicPartition> = {
            let assignment = self.client.context().assignment();
            self.paused_by_caller.retain(|partition| assignment.contains(partition));
            let own = |partition: &&TopicPartition| self.paused_by_caller.contains(*partition) || self.is_held(partition);
            assignment.iter().filter(|partition| !own(partition)).cloned().collect()
        };
        if let Err(error) = self.pause_or_resume(&partitions, paused) {
            tracing::debug!(%error, paused, "flow control skipped a partition that just went away");
        }
    }

    fn is_held(&self, partition: &TopicPartition) -> bool {
        self.holding().is_some_and(|holding| holding.holds(partition))
    }

    fn holding(&self) -> Option<&Holding> {
        self.client.context().holding.as_ref()
    }

    fn pause_or_resume(&self, partitions: &[TopicPartition], pause: bool) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let list = rebalance::list(partitions)?;
        let result = if pause { self.client.pause(&list) } else { self.client.resume(&list) };
        result.map_err(|error| Error::from_rdkafka(&error, None))
    }

    fn execute(&mut self, command: Command) {
        let (result, done) = match command {
            Command::Pause(partitions, done) => {
                // The library would keep it for a partition that has gone, until that one has come back and longer.
                let result = self.check_assigned(&partitions).and_then(|()| self.pause_or_resume(&partitions, true));
                if result.is_ok() {
                    self.paused_by_caller.extend(partitions);
                }
                (result, done)
            }
            Command::Resume(partitions, done) => {
                self.paused_by_caller.retain(|partition| !partitions.contains(partition));
                let result = if self.throttled { Ok(()) } else { self.pause_or_resume(&partitions, false) };
                (result, done)
            }
            Command::Seek(partition, offset, done) => (self.seek(partition, offset), done),
            Command::Begin(places, done) => (self.begin(places), done),
        };
        // The caller may have given up waiting.
        let _ = done.send(result);
    }

    fn check_assigned(&self, partitions: &[TopicPartition]) -> Result<()> {
        let assignment = self.client.context().assignment();
        let Some(absent) = partitions.iter().find(|partition| !assignment.contains(*partition)) else { return Ok(()) };
        let message = format!("{absent} is not assigned to this consumer");
        Err(Error::InvalidRequest { code: Code::State as i32, message })
    }

    fn seek(&self, partition: TopicPartition, offset: i64) -> Result<()> {
        self.check_assigned(std::slice::from_ref(&partition))?;
        self.client
            .seek(&partition.topic, partition.partition, Offset::Offset(offset), SEEK_TIMEOUT)
            .map_err(|error| Error::from_rdkafka(&error, Some(&partition.topic)))?;
        self.client.context().forget(&[partition]);
        Ok(())
    }

    /// Lets partitions go on from there. One that was taken away meanwhile, or came anew since, is left as it is.
    ///
    /// Where partitions come one by one they begin so. Where all come together the library takes them together only, and
    /// taking them again would forget what was sought in them: the first wait for the last.
    fn begin(&mut self, places: Vec<(Held, i64)>) -> Result<()> {
        let Some(holding) = &self.client.context().holding else { return Ok(()) };
        self.told.extend(places);
        self.told.retain(|(held, _)| holding.is_current(held));
        let one_by_one = is_cooperative(&self.client);
        if self.told.is_empty() || !one_by_one && self.told.len() < holding.all().len() {
            return Ok(());
        }
        let (mut list, mut begun) = (TopicPartitionList::new(), Vec::new());
        for (held, offset) in self.told.drain(..) {
            rebalance::add(&mut list, &held.partition.topic, held.partition.partition, Offset::Offset(offset))?;
            begun.push(held.partition);
        }
        // What paused it was about an earlier time that it was here: it is read, and paused while the buffer is full, as any other.
        self.paused_by_caller.retain(|partition| !begun.contains(partition));
        self.pause_or_resume(&begun, false)?;
        let assigned = if one_by_one { self.client.incremental_assign(&list) } else { self.client.assign(&list) };
        assigned.map_err(|error| Error::from_rdkafka(&error, None))?;
        // From now on the library has them, and they must be taken from it when they go.
        holding.forget(&begun);
        Ok(())
    }

    /// Leaves the group on this thread. A call in flight elsewhere may hold the client for a moment.
    fn close(self) {
        let Self { queue, mut client, .. } = self;
        drop(queue);
        loop {
            match Arc::try_unwrap(client) {
                Ok(last) => return drop(last),
                Err(shared) => client = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a caller of `recv` should see. A lost connection is [`crate::Health`]'s business: the client reconnects.
fn reportable(code: ErrorCode, message: String, topic: Option<&str>, fatal: bool) -> Option<Error> {
    let said = message.clone();
    match code.into_error(message, unavailable_topic(&said).or(topic)) {
        error if fatal => Some(Error::Fatal { message: error.to_string() }),
        Error::Unreachable { .. } | Error::Timeout { .. } => None,
        error => Some(error),
    }
}

/// An error of a subscription names its topic only in words.
fn unavailable_topic(said: &str) -> Option<&str> {
    said.strip_prefix("Subscribed topic not available: ")?.split(':').next()
}

/// Where the library says that a log was cut, which it tells in words only. With the epoch of the record that was read last, the
/// log has the records of the same leader up to there (KIP-320); with an earlier one it may differ before.
fn cut_at(said: &str) -> Option<i64> {
    let (_, said) = said.split_once("truncation detected at offset ")?;
    let (_, said) = said.split_once("(leader epoch ")?;
    let (read, said) = said.split_once(')')?;
    let (end, said) = said.strip_prefix(": broker end offset is ")?.split_once(" (offset leader epoch ")?;
    let (known, _) = said.split_once(')')?;
    if read == known { end.parse().ok().filter(|end| *end >= 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_where_the_epoch_that_was_read_ends() {
        let said = |read, end, known| {
            format!(
                "Partition log truncation detected at offset 1000 (leader epoch {read}): broker end offset is {end} (offset leader epoch {known}). \
                 Reset to INVALID.: Local: Partition log truncation detected (broker 1)"
            )
        };
        for (said, expected) in [
            (said(5, 900, 5), Some(900)),
            (said(5, 0, 5), Some(0)),
            (said(5, 900, 4), None),
            (said(5, -1, 5), None),
            ("fetch failed due to requested offset not available on the broker: Broker: Offset out of range (broker 1)".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(cut_at(&said), expected, "{said}");
        }
    }

    #[test]
    fn errors_of_a_subscription_name_the_topic() {
        let said = "Subscribed topic not available: orders.DLT: Broker: Unknown topic or partition".to_owned();
        let unknown = Error::UnknownTopic { topic: "orders.DLT".to_owned() };
        assert_eq!(reportable(Code::UnknownTopicOrPartition.into(), said, None, false), Some(unknown));
    }

    #[test]
    fn a_lost_connection_is_not_an_error_of_recv() {
        for code in [Code::AllBrokersDown, Code::BrokerTransportFailure, Code::OperationTimedOut] {
            assert_eq!(reportable(code.into(), String::new(), None, false), None, "{code:?}");
        }
    }

    #[test]
    fn a_fatal_error_ends_the_consumer() {
        let error = reportable(Code::FencedInstanceId.into(), "fenced".to_owned(), None, true);
        assert!(error.is_some_and(|error| error.is_fatal()));
    }
}
