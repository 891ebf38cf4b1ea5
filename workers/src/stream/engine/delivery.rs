//! What follows from records goes to Kafka, and what becomes of it there.

use std::time::Duration;

use penstock_kafka::Error;
use tokio::time::Instant;

use super::{Engine, Parts, Wake};
use crate::{
    processor::Failure,
    stream::{
        dead_letter::Extent,
        outbox::{Answers, Outbox},
        retry,
        session::Breakdown,
        ticket::{Ticket, Token},
        verdict::{Letter, Verdict},
        world::World,
    },
};

/// The pause between two attempts to write a dead letter: the first, and the longest.
const BURIAL_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

impl<W: World, O: Outbox> Engine<W, O> {
    /// Writes what may be written.
    pub(super) async fn write(&mut self) -> Result<(), Breakdown> {
        self.parts.outbox.write_first().await?;
        while self.parts.outbox.is_open()
            && let Some((ticket, verdict)) = self.parts.books.next_emittable()
        {
            let Parts { world, books, outbox, addresses, .. } = &mut self.parts;
            let Some(event) = books.event(ticket) else { continue };
            let verdict = addresses.checked(verdict, || world.now());
            if !outbox.takes(event, &verdict) {
                books.put_back(ticket, verdict);
                outbox.hurry();
                return Ok(());
            }
            if let Verdict::Bury(letter) = &verdict
                && letter.is_new()
            {
                self.causes.tell(event, &letter.failure, Instant::now());
            }
            let written = outbox.write(ticket, event, &verdict).await?;
            let letter = match verdict {
                Verdict::Bury(letter) => Some(letter),
                Verdict::Emit(_) | Verdict::Wait { .. } => None,
            };
            books.emitted(ticket, written.records, letter);
            if let Some((token, error)) = written.refused {
                self.parts.counters.produce_failures.inc_by(u64::from(!token.is_letter));
                self.undelivered(token, error)?;
            }
        }
        Ok(())
    }

    /// Takes in what Kafka answered.
    pub(super) fn take_in(&mut self, answers: Answers) -> Result<(), Breakdown> {
        let Parts { books, counters, needs, .. } = &mut self.parts;
        let (mut outputs, mut letters) = (0, 0);
        for token in answers.acknowledged {
            if !token.is_letter {
                outputs += 1;
            } else if let Some(letter) = books.letter(token.ticket) {
                counters.buried(letter.burial);
                letters += 1;
            }
            books.acknowledged(token);
        }
        counters.produced.inc_by(outputs);
        if outputs > 0 {
            needs.sink.met();
        }
        if letters > 0 {
            needs.dead_letter.met();
        }
        counters.produce_failures.inc_by(answers.failed.iter().map(|(token, _)| u64::from(!token.is_letter)).sum::<u64>());
        counters.produced.inc_by(answers.committed.outputs);
        for burial in answers.committed.burials {
            counters.buried(burial);
        }
        for (event, station) in answers.unwaiting {
            self.does_not_wait(&event, station);
        }
        for (token, error) in answers.failed {
            self.undelivered(token, error)?;
        }
        Ok(())
    }

    /// Kafka does not have a record that it should have.
    fn undelivered(&mut self, token: Token, error: Error) -> Result<(), Breakdown> {
        if !self.parts.books.is_awaited(token) {
            return Ok(());
        }
        if matches!(error, Error::RecordTooLarge { .. }) && !token.is_alone {
            return Err(Breakdown::TooLarge);
        }
        match self.parts.books.letter(token.ticket) {
            Some(letter) => self.unburied(token.ticket, letter, error),
            None => self.refused(token.ticket, error),
        }
    }

    /// The sink does not have an output: the record is at fault and goes to the dead letter topic, or the sink is, and no
    /// record gets past it.
    fn refused(&mut self, ticket: Ticket, error: Error) -> Result<(), Breakdown> {
        let error_type = match &error {
            Error::RecordTooLarge { .. } => "OutputTooLarge",
            Error::InvalidRequest { .. } | Error::PolicyViolation { .. } => "OutputRefused",
            _ => {
                self.parts.needs.sink.missing(error.to_string());
                return Err(Breakdown::Produce(error));
            }
        };
        let failure = Failure::new(error_type, error.to_string());
        let letter = Letter::unwritable(failure, self.parts.world.now());
        let event = self.parts.books.event(ticket).cloned();
        if let Some((event, station)) = event.zip(self.parts.books.bury(ticket, letter)) {
            self.does_not_wait(&event, station);
        }
        Ok(())
    }

    /// A dead letter is not written: it is tried again, however long that takes.
    fn unburied(&mut self, ticket: Ticket, mut letter: Letter, error: Error) -> Result<(), Breakdown> {
        if matches!(error, Error::RecordTooLarge { .. }) && letter.extent == Extent::Whole {
            letter.extent = Extent::Pointer;
            self.parts.books.bury(ticket, letter);
            return Ok(());
        }
        self.parts.counters.dead_letter_failures.inc();
        self.parts.needs.dead_letter.missing(error.to_string());
        if error.is_fatal() {
            return Err(Breakdown::Produce(error));
        }
        letter.failures = letter.failures.saturating_add(1);
        let (initial, max) = BURIAL_BACKOFF;
        let pause = retry::pause(initial, max, letter.failures, self.parts.world.chance());
        tracing::debug!(%error, topic = self.parts.addresses.dead_letter.topic, ?pause, "a dead letter was not written");
        self.parts.books.rest(ticket);
        self.wake_after(pause, Wake::Letter(ticket, letter));
        Ok(())
    }
}
