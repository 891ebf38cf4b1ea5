//! What follows from a record, once that is decided. Pure types.

use jiff::Timestamp;

use super::{
    dead_letter::{Extent, Step},
    precedence::Consequence,
    retry::Burial,
    tiers::Station,
};
use crate::processor::{Failure, Output};

/// What follows from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These records go to the sink; there may be none.
    Emit(Vec<Output>),
    /// It waits there: for another attempt, or behind a record that does.
    Wait {
        /// Where.
        at: Station,
        /// It is not tried sooner, however short the delay of that station is.
        not_before: Option<Timestamp>,
    },
    /// It goes to the dead letter topic. Few do, and all others need not be as large.
    Bury(Box<Letter>),
}

impl Verdict {
    /// How many bytes it keeps in memory beside the record, at least: none for one that waits, which is written as it was read.
    pub fn size(&self) -> usize {
        match self {
            Self::Emit(outputs) => outputs.iter().map(Output::size).sum(),
            Self::Wait { .. } => 0,
            Self::Bury(letter) => letter.failure.size(),
        }
    }

    /// How many records that is at most.
    pub fn records(&self) -> usize {
        match self {
            Self::Emit(outputs) => outputs.len(),
            Self::Wait { .. } | Self::Bury(_) => 1,
        }
    }

    /// What that is to those that come after it.
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::Wait { at: Station::Held, .. } => Consequence::HeldBack,
            Self::Wait { .. } => Consequence::Retried,
            Self::Emit(_) | Self::Bury(_) => Consequence::Effect,
        }
    }
}

/// A dead letter that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// What went wrong.
    pub failure: Failure,
    /// Why it is no longer tried.
    pub burial: Burial,
    /// Where it failed.
    pub step: Step,
    /// When it failed.
    pub failed_at: Timestamp,
    /// How much of the record it holds.
    pub extent: Extent,
    /// How often it could not be written.
    pub failures: u32,
}

impl Letter {
    /// A letter with the whole record.
    pub fn new(failure: Failure, burial: Burial, failed_at: Timestamp) -> Self {
        Self { failure, burial, step: Step::Processing, failed_at, extent: Extent::Whole, failures: 0 }
    }

    /// For a record whose output, or whose wait for another attempt, cannot be written.
    pub fn unwritable(failure: Failure, failed_at: Timestamp) -> Self {
        Self { step: Step::Producing, ..Self::new(failure, Burial::Rejected, failed_at) }
    }

    /// Whether it is written for the first time.
    pub fn is_new(&self) -> bool {
        self.failures == 0 && self.extent == Extent::Whole
    }
}
