//! Which Kafka release a broker runs, derived from what it says it supports. Pure.

use std::fmt;

/// The release of a broker, such as 4.3. The protocol does not tell patch releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KafkaVersion {
    /// The major version.
    pub major: u16,
    /// The minor version.
    pub minor: u16,
}

/// The first level of `metadata.version` that each release introduced, from Kafka's `MetadataVersion`.
const RELEASES: [(i16, u16, u16); 14] = [
    (1, 3, 0),
    (4, 3, 1),
    (5, 3, 2),
    (7, 3, 3),
    (8, 3, 4),
    (9, 3, 5),
    (12, 3, 6),
    (15, 3, 7),
    (20, 3, 8),
    (21, 3, 9),
    (22, 4, 0),
    (26, 4, 1),
    (28, 4, 2),
    (30, 4, 3),
];
/// The first level that is not known here.
const UNKNOWN: i16 = 31;

impl KafkaVersion {
    /// The release whose brokers support this level of `metadata.version` at most; `None` if it is newer than this table.
    pub(super) fn of_metadata_version(level: i16) -> Option<Self> {
        if level >= UNKNOWN {
            return None;
        }
        let (_, major, minor) = RELEASES.iter().rev().find(|(first, _, _)| *first <= level)?;
        Some(Self { major: *major, minor: *minor })
    }
}

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_belongs_to_the_release_that_introduced_it() {
        let table = [
            (0, None),
            (1, Some("3.0")),
            (7, Some("3.3")),
            (14, Some("3.6")),
            (19, Some("3.7")),
            (25, Some("4.0")),
            (27, Some("4.1")),
            (29, Some("4.2")),
            (30, Some("4.3")),
            (31, None),
        ];
        for (level, release) in table {
            let found = KafkaVersion::of_metadata_version(level).map(|version| version.to_string());
            assert_eq!(found.as_deref(), release, "{level}");
        }
    }
}
