//! Finds out what decides where partitions begin, and whether topics are still those that they were. All in parallel, each
//! question with a short time-out: whoever asks tries again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_crds::{
    position::Note,
    worker::{KafkaInput, StartFrom},
};
use penstock_kafka::{CommittedOffset, Error, Held, PartitionEdges, PerPartition, PerTopic, TopicDescription, TopicPartition};

use super::{
    positions::{Begin, Cut, Remembered, Topic, begin},
    ticket::Assignment,
    world::{Member, World},
};

/// How long one question may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);
/// How often topics are compared with what they were.
pub(crate) const WATCH: Duration = Duration::from_secs(10);

/// What a worker knows of topics for as long as it runs.
#[derive(Clone, Default)]
pub(crate) struct KnownTopics(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    remembered: BTreeMap<String, Remembered>,
    /// The partitions that were found cut, until the group has begun anew in them.
    cuts: BTreeMap<TopicPartition, Cut>,
}

impl Known {
    /// Where the partition was found cut, as long as that counts.
    fn cut_at(&mut self, partition: &TopicPartition, committed: Option<&CommittedOffset>) -> Option<i64> {
        let cut = self.cuts.get(partition)?;
        if committed.is_some_and(|committed| cut.still_counts(committed)) {
            return Some(cut.at);
        }
        self.cuts.remove(partition);
        None
    }
}

impl KnownTopics {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for one consumer.
pub(crate) struct Lookup<W: World> {
    world: W,
    known: KnownTopics,
    member: Arc<W::Member>,
    topics: Vec<String>,
    /// Those of them in which the group may begin elsewhere than with the first record: what waits beside them must not be
    /// skipped.
    sources: Vec<String>,
    group: String,
    start_from: StartFrom,
    /// The ids of the topics in which this consumer has begun.
    begun: Mutex<BTreeMap<String, String>>,
    /// How many partitions topics have.
    counts: Mutex<BTreeMap<String, usize>>,
}

/// An assignment of a partition that waits to be told where to begin.
pub(crate) type Waiting = (TopicPartition, Assignment);

/// Where a partition begins.
pub(crate) struct Place {
    pub held: Held,
    pub assignment: Assignment,
    pub begin: Begin,
}

/// What was found out.
#[derive(Default)]
pub(crate) struct Found {
    pub places: Vec<Place>,
    /// What could not be found out, and why.
    pub left: Vec<Waiting>,
    pub why: Option<Error>,
}

struct Answers {
    topics: PerTopic<TopicDescription>,
    edges: PerPartition<PartitionEdges>,
    committed: BTreeMap<TopicPartition, Option<CommittedOffset>>,
    /// All that the group has committed; asked for only where a partition has nothing.
    group: PerPartition<CommittedOffset>,
}

impl<W: World> Lookup<W> {
    pub fn new(world: W, known: KnownTopics, member: Arc<W::Member>, input: &KafkaInput) -> Self {
        let beside = input.tiers.iter().flat_map(|tier| tier.topics.values()).chain(input.held.values());
        Self {
            world,
            known,
            member,
            topics: input.topics.iter().chain(beside).cloned().collect(),
            sources: input.topics.clone(),
            group: input.group.clone(),
            start_from: input.start_from,
            begun: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// Finds out where partitions begin, as far as they still wait for it.
    pub async fn find(&self, waiting: Vec<Waiting>) -> Found {
        // What is found out holds for those that stand still since before it was asked.
        let mut held: BTreeMap<_, _> = self.member.held().into_iter().map(|held| (held.partition.clone(), held)).collect();
        let waiting: Vec<_> = waiting.into_iter().filter(|(partition, _)| held.contains_key(partition)).collect();
        if waiting.is_empty() {
            return Found::default();
        }
        let answers = match self.ask(&waiting).await {
            Ok(answers) => answers,
            Err(error) => return Found { left: waiting, why: Some(error), ..Found::default() },
        };
        let (remembered, mut found) = (self.known.known().remembered.clone(), Found::default());
        for (partition, assignment) in waiting {
            match (self.decide(&partition, &answers, remembered.get(&partition.topic)), held.remove(&partition)) {
                (Ok(begin), Some(held)) => {
                    self.remember(&partition, &begin);
                    found.places.push(Place { held, assignment, begin });
                }
                (Err(error), _) => {
                    found.left.push((partition, assignment));
                    found.why = Some(error);
                }
                (Ok(_), None) => {}
            }
        }
        found
    }

    async fn ask(&self, waiting: &[Waiting]) -> Result<Answers, Error> {
        let partitions: Vec<_> = waiting.iter().map(|(partition, _)| partition.clone()).collect();
        let topics: BTreeSet<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let world = &self.world;
        let ends = async {
            let topics = world.describe(&topics).await?;
            // One without a leader would keep the others waiting.
            let led: Vec<_> = partitions.iter().filter(|partition| has_leader(&topics, partition)).cloned().collect();
            world.edges(&led).await.map(|edges| (topics, edges))
        };
        let ((topics, edges), committed) = tokio::try_join!(ends, self.member.committed(&partitions, LIMIT))?;
        self.count(&topics);
        let is_missing = committed.values().any(Option::is_none);
        let group = if is_missing { world.group_offsets(&self.group).await? } else { BTreeMap::new() };
        Ok(Answers { topics, edges, committed, group })
    }

    fn decide(&self, partition: &TopicPartition, answers: &Answers, remembered: Option<&Remembered>) -> Result<Begin, Error> {
        let untold = || Error::NotReady { code: 0, message: format!("{partition} has no leader") };
        let described = answers.topics.get(&partition.topic).ok_or_else(untold)?.as_ref().map_err(Clone::clone)?;
        let edges = answers.edges.get(partition).ok_or_else(untold)?.as_ref().map_err(Clone::clone)?;
        let committed = answers.committed.get(partition).ok_or_else(untold)?.as_ref();
        let topic = Topic {
            id: id(described),
            partitions: described.partition_count(),
            remembered: remembered.cloned(),
            notes: notes(&answers.group, &partition.topic),
        };
        let start_from = if self.sources.contains(&partition.topic) { self.start_from } else { StartFrom::Earliest };
        let cut_at = self.known.known().cut_at(partition, committed);
        Ok(begin(partition.partition, committed, cut_at, &topic, *edges, start_from, self.world.now()))
    }

    fn remember(&self, partition: &TopicPartition, Begin { note, moved, .. }: &Begin) {
        let Known { remembered, cuts } = &mut *self.known.known();
        let topic = &partition.topic;
        let before = remembered.get(topic).filter(|before| before.topic_id == note.topic_id);
        let initial = before.map_or(note.initial, |before| before.initial.min(note.initial));
        remembered.insert(topic.clone(), Remembered { topic_id: note.topic_id.clone(), initial });
        if moved.is_none() {
            // Nothing of what was read before was cut off. A move counts only once it is committed.
            cuts.remove(partition);
        }
        if let Some(id) = &note.topic_id {
            self.begun().insert(topic.clone(), id.clone());
        }
    }

    /// The partition was found cut, and begins anew.
    pub fn cut(&self, partition: &TopicPartition, cut: Cut) {
        self.known.known().cuts.insert(partition.clone(), cut);
    }

    /// Waits until a topic in which the consumer has begun is another one, and gives its name back. What it sees of the topics in
    /// `written`, it tells.
    ///
    /// The library goes on reading such a topic at its old position, without a word, if that lies in the new one too.
    pub async fn recreated(&self, written: &[&str], tell: impl Fn(&TopicDescription)) -> String {
        // The first question opens the connection while the group is being joined.
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).chain(written.iter().copied()).collect();
        let mut described = self.world.describe(&topics).await;
        loop {
            if let Ok(described) = described {
                written.iter().filter_map(|topic| described.get(*topic)?.as_ref().ok()).for_each(&tell);
                self.count(&described);
                if let Some(topic) = self.first_other(&described) {
                    return topic;
                }
            }
            tokio::time::sleep(WATCH).await;
            described = self.world.describe(&topics).await;
        }
    }

    fn count(&self, described: &PerTopic<TopicDescription>) {
        let known = described.iter().filter_map(|(topic, described)| Some((topic, described.as_ref().ok()?)));
        let counts = known.map(|(topic, described)| (topic.clone(), described.partitions.len()));
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).extend(counts);
    }

    /// How many partitions the source topics have together, as far as that is known.
    pub fn source_partitions(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.sources.iter().filter_map(|source| counts.get(source)).sum()
    }

    fn first_other(&self, described: &PerTopic<TopicDescription>) -> Option<String> {
        let begun = self.begun();
        let is_other = |topic: &&String| match (begun.get(*topic), described.get(*topic)) {
            (Some(known), Some(Ok(described))) => id(described).is_some_and(|id| id != *known),
            _ => false,
        };
        begun.keys().find(is_other).cloned()
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_leader(topics: &PerTopic<TopicDescription>, partition: &TopicPartition) -> bool {
    let Some(Ok(topic)) = topics.get(&partition.topic) else { return false };
    topic.partitions.iter().any(|info| info.id == partition.partition && info.leader.is_some())
}

fn id(topic: &TopicDescription) -> Option<String> {
    (!topic.id.is_zero()).then(|| topic.id.to_string())
}

/// What stands beside the group's offsets in a topic. One that cannot be read counts as one without a note.
fn notes(group: &PerPartition<CommittedOffset>, topic: &str) -> Vec<Option<Note>> {
    let own = group.iter().filter(|(partition, _)| partition.topic == topic);
    own.map(|(_, committed)| committed.as_ref().ok().and_then(|committed| Note::decode(&committed.metadata))).collect()
}
