//! Reads what the groups of pipelines have noted beside their offsets, each about once per resync, however often a pipeline
//! is looked at, and those of a Kafka cluster together, whatever their number.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use penstock_crds::{EventPipeline, position::Note};
use penstock_kafka::{CommittedOffset, Error, PerPartition};
use tokio::time::timeout;

use super::{positions::Moves, status::group};
use crate::{clusters::ResolvedCluster, context::Context};

/// How long the coordinators of groups may take. A pipeline waits for a reading that is under way, and for one of its own.
const LIMIT: Duration = Duration::from_secs(3);

/// What was read last of each pipeline.
#[derive(Default)]
pub struct Readings {
    book: Mutex<Book>,
    /// Whose turn it is to read, by cluster: whoever waits for it finds its answer then.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Readings {
    /// The last move in each partition. None: the pipeline has no group, or it could not be read.
    pub async fn moves(&self, context: &Context, pipeline: &EventPipeline, cluster: Option<&ResolvedCluster>) -> Option<Moves> {
        let (group, uid) = (group(pipeline)?, pipeline.metadata.uid.as_ref()?);
        let cluster = cluster.filter(|cluster| cluster.is_ready())?;
        let resync = context.settings.resync;
        // A reconcile that a resync asked for may come a little early.
        let lasts = resync.mul_f64(0.8);
        lock(&self.book).want(uid, (&cluster.name, &group), Instant::now());
        if let Some(moves) = lock(&self.book).fresh(uid, lasts, Instant::now()) {
            return moves;
        }
        let turn = Arc::clone(lock(&self.turns).entry(cluster.name.clone()).or_default());
        let _turn = turn.lock().await;
        if let Some(moves) = lock(&self.book).fresh(uid, lasts, Instant::now()) {
            return moves;
        }
        // Those that would ask soon go along.
        let groups = lock(&self.book).due(&cluster.name, lasts / 2, Instant::now());
        let found = read(context, cluster, &groups).await.unwrap_or_else(|error| {
            context.connections.failed(&cluster.name, &error);
            tracing::debug!(%error, cluster = cluster.name, "what groups have committed could not be read");
            BTreeMap::new()
        });
        let mut book = lock(&self.book);
        book.read(&cluster.name, &groups, &found, lasts, Instant::now());
        book.forget(resync * 10, Instant::now());
        book.fresh(uid, lasts, Instant::now()).flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What groups have committed; one without a coordinator is not among them.
type Found = BTreeMap<String, Result<PerPartition<CommittedOffset>, Error>>;

async fn read(context: &Context, cluster: &ResolvedCluster, groups: &BTreeSet<String>) -> Result<Found, Error> {
    let connection = context.connections.to(&cluster.name, &cluster.spec.bootstrap_servers)?.with_timeout(LIMIT);
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let answer = connection.look("OffsetFetch", connection.admin.offsets_of_groups(&groups));
    timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(Error::Unreachable { reason: format!("no answer within {} s", LIMIT.as_secs()) }))
}

/// Readings, by the uid of their pipeline. Pure: the time is handed in.
#[derive(Default)]
struct Book(HashMap<String, Reading>);

struct Reading {
    cluster: String,
    group: String,
    /// When somebody asked for it last.
    wanted: Instant,
    /// When it was read, and what: nothing where that failed.
    read: Option<(Instant, Option<Moves>)>,
}

impl Book {
    fn want(&mut self, uid: &str, (cluster, group): (&str, &str), now: Instant) {
        if let Some(reading) = self.0.get_mut(uid).filter(|reading| (reading.cluster.as_str(), reading.group.as_str()) == (cluster, group))
        {
            reading.wanted = now;
        } else {
            let reading = Reading { cluster: cluster.to_owned(), group: group.to_owned(), wanted: now, read: None };
            self.0.insert(uid.to_owned(), reading);
        }
    }

    /// What was read within that time; none: nothing was.
    fn fresh(&self, uid: &str, lasts: Duration, now: Instant) -> Option<Option<Moves>> {
        let (at, moves) = self.0.get(uid)?.read.as_ref()?;
        (now.saturating_duration_since(*at) < lasts).then(|| moves.clone())
    }

    /// The groups of a cluster that were not read within that time.
    fn due(&self, cluster: &str, lasts: Duration, now: Instant) -> BTreeSet<String> {
        let is_due = |(uid, reading): &(&String, &Reading)| reading.cluster == cluster && self.fresh(uid, lasts, now).is_none();
        self.0.iter().filter(is_due).map(|(_, reading)| reading.group.clone()).collect()
    }

    /// Takes in what was found of these groups. One that could not be read keeps what was read within that time.
    fn read(&mut self, cluster: &str, groups: &BTreeSet<String>, found: &Found, lasts: Duration, now: Instant) {
        for reading in self.0.values_mut().filter(|reading| reading.cluster == cluster && groups.contains(&reading.group)) {
            let offsets = found.get(&reading.group).and_then(|found| found.as_ref().ok());
            let is_fresh = reading.read.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < lasts);
            if offsets.is_some() || !is_fresh {
                reading.read = Some((now, offsets.map(noted)));
            }
        }
    }

    /// Those of pipelines that are gone.
    fn forget(&mut self, unwanted: Duration, now: Instant) {
        self.0.retain(|_, reading| now.saturating_duration_since(reading.wanted) < unwanted);
    }
}

fn noted(offsets: &PerPartition<CommittedOffset>) -> Moves {
    let moved = |offset: &CommittedOffset| Note::decode(&offset.metadata)?.moved;
    offsets.iter().filter_map(|(partition, offset)| Some((partition.clone(), moved(offset.as_ref().ok()?)?))).collect()
}

#[cfg(test)]
mod tests {
    use penstock_crds::position::{MoveReason, Moved};
    use penstock_kafka::TopicPartition;

    use super::*;

    #[test]
    fn groups_that_are_due_soon_are_read_together() {
        let (begun, second) = (Instant::now(), Duration::from_secs);
        let mut book = Book::default();
        let set = |groups: &[&str]| groups.iter().map(|group| (*group).to_owned()).collect::<BTreeSet<_>>();
        let due = |book: &Book, at| book.due("c", second(12), begun + second(at));
        let found = |groups: &[&str]| groups.iter().map(|group| ((*group).to_owned(), Ok(PerPartition::new()))).collect::<Found>();
        book.want("1", ("c", "a"), begun);
        book.want("2", ("c", "b"), begun);
        book.want("3", ("another", "a"), begun);
        assert_eq!(due(&book, 0), set(&["a", "b"]), "none was read");
        book.read("c", &set(&["a", "b"]), &found(&["a"]), second(24), begun);
        let fresh = |book: &Book, uid, at| book.fresh(uid, second(24), begun + second(at));
        assert_eq!(fresh(&book, "1", 23), Some(Some(Moves::new())));
        assert_eq!(fresh(&book, "2", 23), Some(None), "it has no coordinator, and is not asked for all the time");
        assert_eq!(fresh(&book, "3", 0), None, "a group of that name elsewhere");
        assert_eq!(fresh(&book, "1", 24), None);
        book.read("c", &set(&["a", "b"]), &found(&["b"]), second(24), begun + second(20));
        assert_eq!(fresh(&book, "1", 23), Some(Some(Moves::new())), "a failure takes nothing away that is still fresh");
        assert_eq!(due(&book, 24), set(&["a"]));
        assert_eq!(due(&book, 32), set(&["a", "b"]), "the other one is due soon");
        book.want("1", ("c", "other"), begun + second(21));
        assert_eq!(fresh(&book, "1", 21), None, "it has another group now");
        book.forget(second(30), begun + second(30));
        assert_eq!(due(&book, 30), set(&["other"]), "nobody asks for the others any more");
    }

    #[test]
    fn only_notes_with_a_move_count() {
        let moved = Moved { reason: MoveReason::TopicRecreated, from: Some(3), to: 0, at: "2026-01-02T03:04:05Z".parse().unwrap() };
        let note = |moved| Note { topic_id: None, initial: 1, moved }.encode();
        let offset = |metadata: String| Ok(CommittedOffset { offset: 1, metadata });
        let offsets = [
            offset(note(Some(moved.clone()))),
            offset(note(None)),
            offset("by another tool".to_owned()),
            Err(Error::Unreachable { reason: "away".to_owned() }),
        ];
        let offsets = (0..).zip(offsets).map(|(partition, offset)| (TopicPartition::new("t", partition), offset)).collect();
        assert_eq!(noted(&offsets), Moves::from([(TopicPartition::new("t", 0), moved)]));
    }
}
