//! A member of a consumer group in memory. Dropped without [`Member::close`] it is one that crashed: the group notices after the
//! session time-out, and waits with every rebalance until then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

#[cfg(test)]
use penstock_kafka::RebalanceListener;
use penstock_kafka::{CommittedOffset, ConsumerSettings, Error, GroupOffset, GroupProtocol, Held, Received, Result, TopicPartition};
use rand::RngExt;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::Cluster,
    group::{Fetch, Group, MemberNumber, Membership, Pulse, Step},
    log::Log,
    world::Memory,
};
use crate::{
    readiness::Need,
    stream::{handover::Handover, world::Member},
};

/// A member of a group.
pub(crate) struct MemoryMember {
    memory: Memory,
    group: String,
    number: MemberNumber,
    session_timeout: Duration,
}

impl MemoryMember {
    pub fn join(memory: Memory, settings: &ConsumerSettings, topics: &[&str], handover: Handover) -> Self {
        let group = settings.group.clone();
        let membership = Membership {
            topics: topics.iter().map(ToString::to_string).collect(),
            is_eager: settings.co_partitioned && settings.group_protocol == GroupProtocol::Classic,
            handover,
            pulse: Pulse::Alive,
            generation: 0,
            partitions: BTreeMap::new(),
        };
        let number = memory.change(|cluster| cluster.groups.entry(group.clone()).or_default().join(membership));
        see_to_it(&memory, &group);
        Self { memory, group, number, session_timeout: settings.session_timeout }
    }

    /// As long as it is a member.
    fn with<T>(&self, act: impl FnOnce(&mut Membership) -> T) -> Result<T> {
        self.memory.see(|cluster| member(cluster, &self.group, self.number).map(act)).ok_or(Error::Closed)
    }

    fn with_fetch(&self, partition: &TopicPartition, act: impl FnOnce(&mut Fetch)) -> Result<()> {
        let not_assigned = || Error::InvalidRequest { code: 0, message: format!("{partition} is not assigned to this consumer") };
        self.with(|member| member.partitions.get_mut(partition).map(act))?.ok_or_else(not_assigned)?;
        self.memory.change(|_| ());
        Ok(())
    }

    /// Some of what is there.
    fn fetch(&self, max: usize) -> Result<Vec<Received>> {
        self.memory.see(|cluster| {
            let room = cluster.chance.random_range(1..=max.max(1));
            let mut fetched = Vec::new();
            let Some(own) = member(cluster, &self.group, self.number) else { return Err(Error::Closed) };
            let mut partitions = std::mem::take(&mut own.partitions);
            let first = cluster.chance.random_range(0..=partitions.len());
            let turns: Vec<TopicPartition> = partitions.keys().cycle().skip(first).take(partitions.len()).cloned().collect();
            for partition in turns {
                if let (Some(fetch), Ok(log)) = (partitions.get_mut(&partition), cluster.log(&partition)) {
                    read(&partition, fetch, log, room, &mut fetched);
                }
            }
            if let Some(own) = member(cluster, &self.group, self.number) {
                own.partitions = partitions;
            }
            Ok(fetched)
        })
    }

    /// As what the group knows it, as long as it would take offsets from it.
    pub(super) fn generation(&self, cluster: &mut Cluster) -> Option<u32> {
        let own = member(cluster, &self.group, self.number).filter(|own| own.pulse != Pulse::CutOff);
        own.map(|own| own.generation)
    }

    pub fn group(&self) -> &str {
        &self.group
    }
}

fn member<'a>(cluster: &'a mut Cluster, group: &str, number: MemberNumber) -> Option<&'a mut Membership> {
    cluster.groups.get_mut(group)?.members.get_mut(&number)
}

/// Reads on in a partition, as far as there is room.
fn read(partition: &TopicPartition, fetch: &mut Fetch, log: &Log, room: usize, fetched: &mut Vec<Received>) {
    if fetch.is_paused || fetch.held.is_some() || fetched.len() >= room {
        return;
    }
    for record in log.read(fetch.position..i64::MAX) {
        if fetched.len() >= room {
            return;
        }
        fetch.position = record.offset + 1;
        fetched.push(Received::Record(record.clone()));
    }
    let end = log.stable_end();
    fetch.position = fetch.position.max(end);
    if fetch.told.replace(end) != Some(end) {
        fetched.push(Received::End { partition: partition.clone(), offset: end });
    }
}

impl Member for MemoryMember {
    async fn recv_all(&self, max: usize) -> Result<Vec<Received>> {
        loop {
            let mut changes = self.memory.changes();
            let fetched = self.fetch(max)?;
            if !fetched.is_empty() {
                return Ok(fetched);
            }
            changes.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    fn held(&self) -> Vec<Held> {
        let held = |(partition, fetch): (&TopicPartition, &Fetch)| Some(Held::new(partition.clone(), fetch.held?));
        self.with(|member| member.partitions.iter().filter_map(held).collect()).unwrap_or_default()
    }

    async fn begin(&self, places: &[(Held, i64)]) -> Result<()> {
        self.with(|member| {
            for (held, offset) in places {
                let own = member.partitions.get_mut(&held.partition);
                if let Some(fetch) = own.filter(|fetch| fetch.held.is_some_and(|now| Held::new(held.partition.clone(), now) == *held)) {
                    *fetch = Fetch { position: *offset, ..Fetch::default() };
                }
            }
        })?;
        self.memory.change(|_| ());
        Ok(())
    }

    async fn pause(&self, partition: &TopicPartition) -> Result<()> {
        self.with_fetch(partition, |fetch| fetch.is_paused = true)
    }

    async fn resume(&self, partition: &TopicPartition) -> Result<()> {
        self.with_fetch(partition, |fetch| fetch.is_paused = false)
    }

    async fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.memory.round_trip().await;
        self.with_fetch(partition, |fetch| (fetch.position, fetch.told) = (offset, None))
    }

    async fn commit(&self, offsets: &[GroupOffset]) -> Result<()> {
        self.memory.round_trip().await;
        let committed = self.memory.change(|cluster| {
            let is_current = self.generation(cluster).is_some();
            if is_current {
                cluster.commit(&self.group, offsets);
            }
            is_current
        });
        self.memory.round_trip().await;
        if committed { Ok(()) } else { Err(Error::Fenced { message: "the group went on without this member".to_owned() }) }
    }

    async fn committed(&self, partitions: &[TopicPartition], _: Duration) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>> {
        self.memory.round_trip().await;
        let committed = |group: &Group, partition: &TopicPartition| (partition.clone(), group.committed.get(partition).cloned());
        Ok(self.memory.see(|cluster| {
            let group = cluster.groups.entry(self.group.clone()).or_default();
            partitions.iter().map(|partition| committed(group, partition)).collect()
        }))
    }

    async fn close(&self) {
        let left = self.memory.change(|cluster| {
            let group = cluster.groups.get_mut(&self.group)?;
            let member = group.members.get_mut(&self.number).filter(|member| member.pulse == Pulse::Alive)?;
            member.pulse = Pulse::Leaving;
            Some(revoke(group, self.number, None))
        });
        let Some(revoked) = left else { return };
        revoked.await_consent(&self.memory, &self.group).await;
        self.memory.change(|cluster| cluster.groups.get_mut(&self.group).and_then(|group| group.members.remove(&self.number)));
        see_to_it(&self.memory, &self.group);
    }

    fn watch(&self, need: Need, _: &CancellationToken) {
        need.met();
    }
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        let crashed = self.memory.change(|cluster| {
            let own = member(cluster, &self.group, self.number)?;
            own.pulse = Pulse::Dead;
            Some(())
        });
        let (Some(()), Ok(runtime)) = (crashed, Handle::try_current()) else { return };
        let (memory, group, number, timeout) = (self.memory.clone(), self.group.clone(), self.number, self.session_timeout);
        runtime.spawn(async move {
            sleep(timeout).await;
            memory.change(|cluster| cluster.groups.get_mut(&group).and_then(|group| group.members.remove(&number)));
            see_to_it(&memory, &group);
        });
    }
}

/// The group goes on at once without the member that came first. That one hears of it so much later, and joins again.
#[cfg(test)]
pub(super) fn cut_off(memory: &Memory, name: &str, silence: Duration) {
    let Some((number, lost)) = memory.change(|cluster| {
        let group = cluster.groups.get_mut(name)?;
        let (number, first) = group.members.iter_mut().next()?;
        first.pulse = Pulse::CutOff;
        let (number, lost) = (*number, first.partitions.keys().cloned().collect::<Vec<_>>());
        group.take(number, &lost);
        group.release(&lost);
        Some((number, lost))
    }) else {
        return;
    };
    see_to_it(memory, name);
    let (memory, name) = (memory.clone(), name.to_owned());
    tokio::spawn(async move {
        sleep(silence).await;
        memory.change(|cluster| {
            let Some(own) = member(cluster, &name, number) else { return };
            own.handover.on_lost(&lost);
            (own.pulse, own.generation) = (Pulse::Alive, own.generation + 1);
        });
        see_to_it(&memory, &name);
    });
}

/// Partitions that a member was told to give back.
struct Revoked {
    partitions: Vec<TopicPartition>,
    consent: oneshot::Receiver<()>,
    deadline: tokio::time::Instant,
}

/// Tells a member to give these back, or everything that it has.
fn revoke(group: &mut Group, number: MemberNumber, partitions: Option<Vec<TopicPartition>>) -> Revoked {
    let (done, consent) = oneshot::channel::<()>();
    let own = || group.members.get(&number).map(|member| member.partitions.keys().cloned().collect()).unwrap_or_default();
    let partitions = partitions.unwrap_or_else(own);
    let told = group.members.get(&number).map(|member| member.handover.revoked(&partitions, Box::new(done)));
    group.take(number, &partitions);
    let deadline = told.filter(|_| !group.is_hasty).unwrap_or_else(tokio::time::Instant::now);
    Revoked { partitions, consent, deadline }
}

impl Revoked {
    /// Waits until they may go; then they are free.
    async fn await_consent(self, memory: &Memory, group: &str) {
        let _ = timeout_at(self.deadline, self.consent).await;
        memory.change(|cluster| cluster.groups.entry(group.to_owned()).or_default().release(&self.partitions));
    }
}

/// Sees to it that every member of a group gets what is his.
fn see_to_it(memory: &Memory, name: &str) {
    let begins = memory.see(|cluster| !std::mem::replace(&mut cluster.groups.entry(name.to_owned()).or_default().is_rebalancing, true));
    if begins && let Ok(runtime) = Handle::try_current() {
        runtime.spawn(rebalance(memory.clone(), name.to_owned()));
    }
}

async fn rebalance(memory: Memory, name: String) {
    loop {
        memory.round_trip().await;
        let mut changes = memory.changes();
        let step = memory.see(|cluster| {
            let all = all_partitions(cluster, &name);
            let group = cluster.groups.entry(name.clone()).or_default();
            let step = group.step(&all);
            group.is_rebalancing = step != Step::Done;
            step
        });
        match step {
            Step::Done => return,
            Step::Wait => drop(changes.changed().await),
            Step::Revoke(all) => {
                let revoked: Vec<_> = memory.change(|cluster| {
                    let group = cluster.groups.entry(name.clone()).or_default();
                    all.into_iter().map(|(number, partitions)| revoke(group, number, Some(partitions))).collect()
                });
                for revoked in revoked {
                    revoked.await_consent(&memory, &name).await;
                }
            }
            Step::Assign(all) => memory.change(|cluster| {
                let group = cluster.groups.entry(name.clone()).or_default();
                for (number, partitions) in all {
                    group.give(number, &partitions);
                    if let Some(member) = group.members.get(&number) {
                        member.handover.assigned(&partitions);
                    }
                }
            }),
        }
    }
}

/// How many partitions the topics have that somebody reads.
fn all_partitions(cluster: &Cluster, group: &str) -> BTreeMap<String, i32> {
    let topics: BTreeSet<&String> =
        cluster.groups.get(group).into_iter().flat_map(|group| group.members.values()).flat_map(|member| &member.topics).collect();
    topics.into_iter().filter_map(|topic| Some((topic.clone(), cluster.describe(topic).ok()?.partition_count()))).collect()
}
