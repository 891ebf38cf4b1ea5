//! Numbers for what is in the books: assignments of partitions, records in them, and what goes to Kafka because of them. Pure.

/// The number of one assignment of one partition.
pub(crate) type Assignment = u32;

/// A record's place in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub assignment: Assignment,
    pub number: u64,
}

/// What a record that was handed to the client stands for, as one number that the client gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The record in the books.
    pub ticket: Ticket,
    /// Whether it is its dead letter, and not an output.
    pub is_letter: bool,
    /// Whether it shares its batch with no other, so that what becomes of the batch is its own doing.
    pub is_alone: bool,
}

const NUMBER_BITS: u32 = 40;
const FLAG_BITS: u32 = 2;
/// Assignments are numbered below it.
pub(crate) const ASSIGNMENTS: u32 = 1 << (u64::BITS - NUMBER_BITS - FLAG_BITS);

impl From<Token> for usize {
    fn from(Token { ticket, is_letter, is_alone }: Token) -> Self {
        let flags = u64::from(is_alone) << 1 | u64::from(is_letter);
        let token = u64::from(ticket.assignment) << (NUMBER_BITS + FLAG_BITS) | ticket.number << FLAG_BITS | flags;
        // A narrower machine has no token that fits nothing: it stands for no record.
        Self::try_from(token).unwrap_or(Self::MAX)
    }
}

impl From<usize> for Token {
    fn from(token: usize) -> Self {
        let token = token as u64;
        let assignment = u32::try_from(token >> (NUMBER_BITS + FLAG_BITS)).unwrap_or(u32::MAX);
        let number = (token >> FLAG_BITS) & ((1 << NUMBER_BITS) - 1);
        Self { ticket: Ticket { assignment, number }, is_letter: token & 1 == 1, is_alone: token & 2 == 2 }
    }
}

/// A record as one number that a transaction gives back if the record, or its dead letter, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The partition that it was read from.
    pub assignment: Assignment,
    /// Its offset in its source topic.
    pub offset: i64,
    /// Whether it is its dead letter, and not an output.
    pub is_letter: bool,
}

const OFFSET_BITS: u32 = NUMBER_BITS + FLAG_BITS - 1;

impl From<Origin> for usize {
    fn from(Origin { assignment, offset, is_letter }: Origin) -> Self {
        let offset = u64::try_from(offset).ok().filter(|offset| offset >> OFFSET_BITS == 0);
        let token = offset.map(|offset| u64::from(assignment) << (OFFSET_BITS + 1) | offset << 1 | u64::from(is_letter));
        // What fits nothing stands for no record.
        token.and_then(|token| Self::try_from(token).ok()).unwrap_or(Self::MAX)
    }
}

impl From<usize> for Origin {
    fn from(token: usize) -> Self {
        let token = token as u64;
        let assignment = u32::try_from(token >> (OFFSET_BITS + 1)).unwrap_or(u32::MAX);
        let offset = i64::try_from(token >> 1 & ((1 << OFFSET_BITS) - 1)).unwrap_or(i64::MAX);
        Self { assignment, offset, is_letter: token & 1 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_its_origin() {
        for (assignment, offset, is_letter) in [(0, 0, false), (1, 2, true), (ASSIGNMENTS - 1, (1 << OFFSET_BITS) - 1, false)] {
            let origin = Origin { assignment, offset, is_letter };
            assert_eq!(Origin::from(usize::from(origin)), origin);
        }
        assert_eq!(usize::from(Origin { assignment: 1, offset: 1 << OFFSET_BITS, is_letter: false }), usize::MAX);
    }

    #[test]
    fn a_token_stands_for_its_ticket() {
        for (assignment, number, is_letter) in [(0, 0, false), (1, 2, true), (ASSIGNMENTS - 1, (1 << NUMBER_BITS) - 1, true)] {
            for is_alone in [false, true] {
                let token = Token { ticket: Ticket { assignment, number }, is_letter, is_alone };
                assert_eq!(Token::from(usize::from(token)), token);
            }
        }
    }
}
