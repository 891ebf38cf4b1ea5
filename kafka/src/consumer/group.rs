//! What a group knows its members as. Pure.

use crate::record::TopicPartition;

/// A member of a consumer group, as the group's coordinator tells of it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The address that it comes from.
    pub host: String,
    /// The partitions that it has.
    pub partitions: Vec<TopicPartition>,
}

impl GroupMember {
    /// A member at an address, to try code with.
    pub fn new(host: impl Into<String>, partitions: Vec<TopicPartition>) -> Self {
        Self { host: host.into(), partitions }
    }
}

/// A member of a consumer group at one moment. Offsets that are committed in a transaction carry it, so that the group can
/// refuse those of a member that it has gone on without (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    /// The generation, or the member's epoch (KIP-848).
    pub(crate) generation: i32,
}

impl GroupMetadata {
    /// False while the group would take the offsets for those of somebody outside, whom it never fences.
    pub(crate) fn is_member(&self) -> bool {
        self.generation >= 0 && !self.member.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_joined_is_no_member() {
        for (member, generation, expected) in [("m", 1, true), ("m", 0, true), ("", 1, false), ("m", -1, false), ("", -1, false)] {
            let metadata = GroupMetadata { group: "g".to_owned(), member: member.to_owned(), instance: None, generation };
            assert_eq!(metadata.is_member(), expected, "{metadata:?}");
        }
    }
}
