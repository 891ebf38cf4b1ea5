//! Has brokers keep the offsets of a group without members for longer: they are committed again, and a member comes and goes.
//!
//! Never sets a group back: what is committed is what was read just before, and the same as when the sweep began.

use penstock_kafka::{CommittedOffset, GroupOffset, PerPartition, TopicPartition};

use super::{subject::Subject, sweep::Answers};
use crate::clusters::ClusterConnection;

/// What to do about the offsets of a group.
#[derive(Debug, PartialEq)]
enum Renewal {
    /// They are not what they were: somebody commits.
    Moved,
    /// These are committed again. Not whole: of others it is not known where they are, or a transaction is about to move them.
    Commit { offsets: Vec<GroupOffset>, whole: bool },
}

/// Commits what the group of a pipeline has committed, with what stands beside it. True: all of that is done, or there is nothing to
/// commit. A group that has members by now refuses, and needs it no more.
pub async fn renew(connection: &ClusterConnection, subject: &Subject, answers: &Answers) -> bool {
    let group = subject.group.as_str();
    let Some(Ok(seen)) = answers.groups.get(group) else { return false };
    let (offsets, whole) = match connection.look("OffsetFetch", connection.admin.stable_offsets(group, None)).await {
        Ok(now) => match plan(seen, &now) {
            Renewal::Commit { offsets, whole } => (offsets, whole),
            Renewal::Moved => return false,
        },
        Err(error) => {
            tracing::warn!(%error, group, "the offsets of a group without members could not be read to renew them");
            return false;
        }
    };
    if offsets.is_empty() {
        return whole;
    }
    let renewed = connection.ask("OffsetCommit", connection.admin.renew_idle_group(group, &offsets)).await;
    match &renewed {
        Ok(()) => tracing::info!(group, partitions = offsets.len(), whole, "renewed the offsets of a group without members"),
        Err(error) => tracing::warn!(%error, group, "the offsets of a group without members were not renewed"),
    }
    renewed.is_ok() && whole
}

/// `seen`: what the sweep read, in which open transactions do not show; `now`: what stands there.
fn plan(seen: &PerPartition<CommittedOffset>, now: &PerPartition<CommittedOffset>) -> Renewal {
    let all = || seen.keys().chain(now.keys());
    let found = |of: &PerPartition<CommittedOffset>, partition: &TopicPartition| of.get(partition).cloned();
    let pairs = || all().map(|partition| (found(seen, partition), found(now, partition)));
    let is_failed = |found: &Option<Result<CommittedOffset, _>>| matches!(found, Some(Err(_)));
    if pairs().any(|(seen, now)| !is_failed(&seen) && !is_failed(&now) && seen != now) {
        return Renewal::Moved;
    }
    let known = now.iter().filter(|(partition, _)| matches!(seen.get(partition), Some(Ok(_))));
    let offsets = known.filter_map(|(partition, found)| Some(again(partition, found.as_ref().ok()?))).collect();
    Renewal::Commit { offsets, whole: !pairs().any(|(seen, now)| is_failed(&seen) || is_failed(&now)) }
}

fn again(partition: &TopicPartition, found: &CommittedOffset) -> GroupOffset {
    GroupOffset { metadata: Some(found.metadata.as_str().into()), ..GroupOffset::new(&partition.topic, partition.partition, found.offset) }
}

#[cfg(test)]
mod tests {
    use penstock_kafka::Error;

    use super::*;

    #[test]
    fn a_group_is_never_set_back() {
        let at = |offset: i64| Some(Ok(CommittedOffset { offset, metadata: "note".to_owned() }));
        let failed = || Some(Err(Error::Other { code: 88, message: String::new() }));
        type Found = Option<Result<CommittedOffset, Error>>;
        let of = |found: [Found; 2]| -> PerPartition<CommittedOffset> {
            (0..).zip(found).filter_map(|(n, found)| Some((TopicPartition::new("orders", n), found?))).collect()
        };
        let commit = |offsets: &[(i32, i64)], whole: bool| {
            let offset =
                |(n, offset): &(i32, i64)| GroupOffset { metadata: Some("note".into()), ..GroupOffset::new("orders", *n, *offset) };
            Renewal::Commit { offsets: offsets.iter().map(offset).collect(), whole }
        };
        for (name, seen, now, expected) in [
            ("as it was", [at(7), at(9)], [at(7), at(9)], commit(&[(0, 7), (1, 9)], true)),
            ("nothing is committed", [None, None], [None, None], commit(&[], true)),
            ("a worker has committed", [at(7), at(9)], [at(8), at(9)], Renewal::Moved),
            ("and somewhere for the first time", [at(7), None], [at(7), at(1)], Renewal::Moved),
            ("one was dropped", [at(7), at(9)], [at(7), None], Renewal::Moved),
            ("a transaction is open", [at(7), at(9)], [failed(), at(9)], commit(&[(1, 9)], false)),
            ("one was not read before", [failed(), at(9)], [at(7), at(9)], commit(&[(1, 9)], false)),
            ("none can be read", [at(7), failed()], [failed(), failed()], commit(&[], false)),
            ("moved beside one that failed", [at(7), failed()], [at(8), at(9)], Renewal::Moved),
        ] {
            assert_eq!(plan(&of(seen), &of(now)), expected, "{name}");
        }
    }
}
