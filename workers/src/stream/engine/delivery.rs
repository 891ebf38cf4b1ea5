//! What follows from records goes to Kafka, and what becomes of it there.

use std::{sync::Arc, time::Duration};

use penstock_kafka::Error;
use tokio::time::Instant;

use super::{Engine, Parts, Wake};
use crate::{
    processor::Failure,
    stream::{
        dead_letter::Extent,
        outbox::{Answers, Outbox},
        refused::error_type,
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
            let waits = if let Verdict::Wait { at, .. } = &verdict { Some((Arc::clone(event), *at)) } else { None };
            let verdict = addresses.checked(event, verdict, || world.now());
            if let (Some((event, at)), Verdict::Bury(_)) = (waits, &verdict) {
                books.put_back(ticket, verdict);
                self.does_not_wait(&event, at);
                continue;
            }
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
            if written.has_failed {
                books.put_back(ticket, verdict);
                return Ok(());
            }
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
        let (mut has_outputs, mut has_letters) = (false, false);
        for token in answers.acknowledged {
            if !token.is_letter {
                has_outputs = true;
            } else if let Some(letter) = books.letter(token.ticket) {
                counters.buried(letter.burial);
                has_letters = true;
            }
            books.acknowledged(token);
        }
        if has_outputs {
            needs.sink.met();
        }
        if has_letters {
            needs.dead_letter.met();
        }
        counters.produced(answers.stored);
        counters.produce_failures.inc_by(answers.failed.iter().map(|(token, _)| u64::from(!token.is_letter)).sum::<u64>());
        for burial in answers.buried {
            counters.buried(burial);
        }
        for (event, station) in answers.unwaiting {
            self.does_not_wait(&event, station);
        }
        if let Some(breakdown) = self.refused_together(&answers.failed) {
            return Err(breakdown);
        }
        for (token, error) in answers.failed {
            self.undelivered(token, error)?;
        }
        Ok(())
    }

    /// Outputs were refused with others that are at fault. What they were is not kept, so their records are handled again.
    fn refused_together(&mut self, failed: &[(Token, Error)]) -> Option<Breakdown> {
        let books = &mut self.parts.books;
        let mut is_innocent =
            |(token, error): &(Token, Error)| matches!(error, Error::BatchRefused { .. }) && !token.is_letter && books.is_awaited(*token);
        let (_, innocent) = failed.iter().find(|failed| is_innocent(failed))?;
        let at_fault = || failed.iter().filter(|(token, error)| error.is_of_record() && !token.is_letter);
        let events = at_fault().filter_map(|(token, _)| Some(books.event(token.ticket)?.id())).collect();
        let reason = at_fault().next().map_or_else(|| innocent.clone(), |(_, error)| error.clone());
        Some(Breakdown::Refused { events, reason })
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
        if !matches!(error, Error::RecordTooLarge { .. } | Error::InvalidRequest { .. } | Error::PolicyViolation { .. }) {
            self.parts.needs.sink.missing(error.to_string());
            return Err(Breakdown::Produce(error));
        }
        let failure = Failure::new(error_type(&error), error.to_string());
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
