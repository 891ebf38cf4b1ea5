//! What an end of a transaction means for the producer. Pure.
//!
//! A producer goes on only after an answer that leaves no doubt. Everything else ends it: what it has sent may still be on
//! its way, and only a new producer, with a new epoch, makes sure that it counts for nothing that comes later.

use super::TransactionalProducer;
use crate::error::Error;
use crate::ffi::Refusal;

/// Why a transaction was not committed, or not known to be. `P`: the producer that it was of.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<P = TransactionalProducer> {
    /// Nothing of the transaction counts, neither records nor offsets. The producer goes on. What was consumed for the
    /// transaction has to be read again from the committed offsets.
    #[error("the transaction was aborted: {reason}")]
    Aborted {
        /// Why it could not be committed.
        reason: Error,
        /// The tokens of the records at fault, if it was records. What was refused only with others is not among them.
        records: Vec<usize>,
        /// The producer, ready for the next transaction.
        producer: Box<P>,
    },
    /// The producer is gone, and whether the transaction counts is not known: it does as a whole, or not at all. Start a
    /// producer with the same transactional id; after that the committed offsets tell, and reading goes on from them.
    /// With [`Error::Fenced`] another producer with this id is at work: do not fence it in turn.
    #[error("the producer is gone and the outcome of its transaction unknown: {reason}")]
    ProducerLost {
        /// What happened.
        reason: Error,
    },
}

impl<P> CommitError<P> {
    /// Why the transaction was not committed.
    pub fn reason(&self) -> &Error {
        match self {
            CommitError::Aborted { reason, .. } | CommitError::ProducerLost { reason } => reason,
        }
    }

    /// The producer, where it can go on.
    pub fn into_producer(self) -> Option<P> {
        match self {
            CommitError::Aborted { producer, .. } => Some(*producer),
            CommitError::ProducerLost { .. } => None,
        }
    }
}

/// What to do after a call of a transaction that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is on its way that was not answered: abort, then the producer may go on.
    Abort(Error),
    /// Give the producer up.
    GiveUp(Error),
}

/// Judges a refusal, with the first record that failed and whether any of them may still arrive.
pub(super) fn judge(refusal: Refusal, failed: Option<Failed>) -> Verdict {
    let Refusal { error, abortable, .. } = refusal;
    let in_doubt = failed.as_ref().is_some_and(|failed| failed.in_doubt);
    let survives = abortable && !in_doubt && (failed.is_some() || is_answer(&error));
    // That some record failed says less than why.
    let reason = failed.filter(|_| abortable).map_or(error, |failed| failed.first);
    if survives { Verdict::Abort(reason) } else { Verdict::GiveUp(reason) }
}

/// Records of a transaction that were not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// That of the first record at fault, where one is.
    pub(super) first: Error,
    /// Those at fault.
    pub(super) tokens: Vec<usize>,
    pub(super) in_doubt: bool,
}

/// True if this is what a broker, or the client itself, has decided; false if an answer is missing.
pub(super) fn is_answer(error: &Error) -> bool {
    match error {
        Error::UnknownTopic { .. }
        | Error::Authorization { .. }
        | Error::InvalidTopicName { .. }
        | Error::InvalidConfig { .. }
        | Error::PolicyViolation { .. }
        | Error::InvalidRequest { .. }
        | Error::RecordTooLarge { .. }
        | Error::BatchRefused { .. }
        | Error::Fenced { .. }
        | Error::NotReady { .. } => true,
        // A code of this kind may stand for anything, a lost connection included.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(error: Error, abortable: bool) -> Refusal {
        Refusal { error, abortable, retriable: false }
    }

    fn fenced() -> Error {
        Error::Fenced { message: "generation".to_owned() }
    }

    fn late() -> Error {
        Error::Timeout { reason: "no answer".to_owned() }
    }

    fn too_large() -> Error {
        Error::RecordTooLarge { message: "1 MB".to_owned() }
    }

    fn inconsistent() -> Error {
        Error::Other { code: -149, message: "1 message(s) failed delivery".to_owned() }
    }

    #[test]
    fn only_an_answer_without_doubt_keeps_the_producer() {
        let failed = |first: Error, in_doubt| Some(Failed { first, tokens: vec![7], in_doubt });
        let table = [
            ("the group has gone on", fenced(), true, None, Verdict::Abort(fenced())),
            ("the producer was fenced", fenced(), false, None, Verdict::GiveUp(fenced())),
            ("no answer", late(), false, None, Verdict::GiveUp(late())),
            ("no answer, said to be abortable", late(), true, None, Verdict::GiveUp(late())),
            ("a record was refused", inconsistent(), true, failed(too_large(), false), Verdict::Abort(too_large())),
            ("a record may still arrive", inconsistent(), true, failed(late(), true), Verdict::GiveUp(late())),
            ("refused, and another in doubt", inconsistent(), true, failed(too_large(), true), Verdict::GiveUp(too_large())),
            ("a failure nobody knows", inconsistent(), true, None, Verdict::GiveUp(inconsistent())),
            ("fenced, and a record refused before", fenced(), false, failed(too_large(), false), Verdict::GiveUp(fenced())),
        ];
        for (name, error, abortable, failed, expected) in table {
            assert_eq!(judge(refusal(error, abortable), failed), expected, "{name}");
        }
    }
}
