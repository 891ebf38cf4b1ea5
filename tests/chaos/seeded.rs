//! Mistakes that workers make, each of which the checker must find. Pure.
//!
//! Each is made by the plain worker, under the fault that brings it to light; some need none.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Moment},
    history::Delivery,
    proxy::Api,
};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
pub enum Bug {
    /// Offsets are committed before Kafka has acknowledged the outputs.
    CommitBeforeAck,
    /// A producer goes on after a commit whose first answer never came.
    ReuseProducer,
    /// The offset committed is one too high.
    OffsetPlusTwo,
    /// Now and then an output is not written.
    DropOutput,
    /// Now and then an output is written twice.
    EmitTwice,
    /// Now and then a dead letter is not written.
    LoseLetter,
    /// A dead letter is text, whatever its record was.
    AlterLetter,
    /// A dead letter has none of its record's headers.
    LetterWithoutHeaders,
    /// Outputs of a key are written in another order.
    KeyOrder,
    /// After an aborted transaction the consumer goes on where it was.
    NoRewind,
    /// Offsets go into the transaction without the group's generation.
    NoFencing,
    /// Input is read before it is committed.
    ReadUncommitted,
    /// Offsets are committed after the transaction instead of in it.
    OffsetsOutside,
    /// A repeated event has another id, so that its effect is repeated.
    UnstableId,
}

impl Bug {
    /// In which delivery it is made.
    #[must_use]
    pub fn delivery(self) -> Delivery {
        match self {
            Self::CommitBeforeAck | Self::OffsetPlusTwo | Self::DropOutput | Self::KeyOrder => Delivery::AtLeastOnce,
            _ => Delivery::ExactlyOnce,
        }
    }

    /// The fault that brings it to light; none: any run does.
    #[must_use]
    pub fn light(self) -> Option<Fault> {
        match self {
            Self::CommitBeforeAck => Some(Fault::Kill(Api::Produce, Moment::Before)),
            Self::ReuseProducer => Some(Fault::HeldCutKill(Api::EndTxn)),
            Self::OffsetsOutside => Some(Fault::Kill(Api::EndTxn, Moment::After)),
            Self::NoFencing => Some(Fault::PausedAt(Api::AddOffsetsToTxn)),
            _ => None,
        }
    }

    /// The anomalies by which it shows, any of them.
    #[must_use]
    pub fn shows(self) -> &'static [&'static str] {
        match self {
            Self::CommitBeforeAck | Self::DropOutput | Self::LoseLetter | Self::NoRewind => &["NoEnd"],
            Self::ReuseProducer | Self::EmitTwice | Self::NoFencing | Self::OffsetsOutside => &["SeveralEnds"],
            Self::OffsetPlusTwo => &["Offset", "NoEnd"],
            Self::AlterLetter | Self::LetterWithoutHeaders => &["LetterAltered"],
            Self::KeyOrder => &["OutOfOrder"],
            Self::ReadUncommitted => &["Stray"],
            Self::UnstableId => &["Effects"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_mistakes_and_each_of_them_shows() {
        assert!(Bug::value_variants().len() >= 10);
        assert!(Bug::value_variants().iter().all(|bug| !bug.shows().is_empty()));
    }
}
