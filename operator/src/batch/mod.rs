//! Sends what many ask at about the same time in one request, and hands each its own answer.
//!
//! First in, first out. Where more is asked than is answered, those who ask wait; nothing is dropped. What is refused as a whole is asked
//! again one by one, so that a single bad one fails itself alone; a request whose outcome is unknown is never repeated here.

mod pending;

use std::{future::Future, sync::Arc};

use penstock_kafka::{Error, PerTopic};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use self::pending::Limits;
use self::pending::{Entry, Pending};

/// How many requests of a kind are under way at once: a slow one holds up none of the others.
const IN_FLIGHT: usize = 4;

type Ticket<A> = oneshot::Sender<Result<A, Error>>;
type Asked<Q, A> = (String, Q, Ticket<A>);

/// Takes questions about topics. Clone: another handle of it. It ends with its last handle, once everything is answered.
pub struct Batcher<Q, A> {
    asked: mpsc::Sender<Asked<Q, A>>,
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self { asked: self.asked.clone() }
    }
}

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts one that sends batches with `send`, which answers each by the topic's name.
    pub fn start<F, Fut>(limits: Limits, send: F) -> Self
    where
        F: Fn(Vec<Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<PerTopic<A>, Error>> + Send + 'static,
    {
        let (asked, questions) = mpsc::channel(limits.most);
        tokio::spawn(run(limits, questions, Arc::new(send)));
        Self { asked }
    }

    /// Asks about a topic, together with others.
    ///
    /// # Errors
    /// The topic's own, or that of the whole request. `NotReady` where the answer does not speak of the topic: that is no word on whether it exists.
    pub async fn ask(&self, topic: &str, question: Q) -> Result<A, Error> {
        let (ticket, answer) = oneshot::channel();
        self.asked.send((topic.to_owned(), question, ticket)).await.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

async fn run<Q, A, F, Fut>(limits: Limits, mut questions: mpsc::Receiver<Asked<Q, A>>, send: Arc<F>)
where
    Q: Clone + Send + Sync + 'static,
    A: Send + 'static,
    F: Fn(Vec<Q>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<PerTopic<A>, Error>> + Send + 'static,
{
    let (mut pending, mut in_flight, mut is_open) = (Pending::new(limits), JoinSet::new(), true);
    while is_open || pending.len() > 0 {
        let due = pending.due(!in_flight.is_empty()).filter(|_| in_flight.len() < IN_FLIGHT);
        tokio::select! {
            asked = questions.recv(), if is_open && pending.len() < limits.most => match asked {
                Some((key, question, ticket)) => pending.push(key, question, ticket, Instant::now()),
                None => is_open = false,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                in_flight.spawn(deliver(pending.cut(), Arc::clone(&send)));
            }
            Some(_) = in_flight.join_next() => {}
        }
    }
    in_flight.join_all().await;
}

/// Sends a batch and hands out the answers. Who does not wait any more is not asked for.
async fn deliver<Q, A, F, Fut>(batch: Vec<Entry<Q, Ticket<A>>>, send: Arc<F>)
where
    Q: Clone,
    F: Fn(Vec<Q>) -> Fut,
    Fut: Future<Output = Result<PerTopic<A>, Error>>,
{
    let batch: Vec<_> = batch.into_iter().filter(|entry| !entry.ticket.is_closed()).collect();
    if batch.is_empty() {
        return;
    }
    match send(batch.iter().map(|entry| entry.question.clone()).collect()).await {
        Err(error) if batch.len() > 1 && is_refusal(&error) => one_by_one(batch, send).await,
        answers => hand_out(answers, batch),
    }
}

/// Sends each question alone, until one fails for what has nothing to do with it: that is the answer to the rest, too.
async fn one_by_one<Q, A, F, Fut>(batch: Vec<Entry<Q, Ticket<A>>>, send: Arc<F>)
where
    Q: Clone,
    F: Fn(Vec<Q>) -> Fut,
    Fut: Future<Output = Result<PerTopic<A>, Error>>,
{
    let mut rest = batch.into_iter();
    while let Some(entry) = rest.next() {
        if entry.ticket.is_closed() {
            continue;
        }
        let answer = send(vec![entry.question.clone()]).await;
        let stopped = answer.as_ref().err().filter(|error| !is_refusal(error)).cloned();
        hand_out(answer, vec![entry]);
        if let Some(error) = stopped {
            return hand_out(Err(error), rest.collect());
        }
    }
}

fn hand_out<Q, A>(answers: Result<PerTopic<A>, Error>, batch: Vec<Entry<Q, Ticket<A>>>) {
    let mut answers = answers;
    for entry in batch {
        let answer = match &mut answers {
            Ok(answers) => answers.remove(&entry.key).unwrap_or_else(|| Err(untold(&entry.key))),
            Err(error) => Err(error.clone()),
        };
        // Who does not wait any more needs no answer.
        let _ = entry.ticket.send(answer);
    }
}

fn untold(topic: &str) -> Error {
    Error::NotReady { code: 0, message: format!("Kafka's answer does not speak of the topic `{topic}`") }
}

/// Whether the request was refused for what it holds, so that a part of it may be taken. What an unknown code means cannot be told.
fn is_refusal(error: &Error) -> bool {
    !error.is_retriable() && !error.is_fatal() && !matches!(error, Error::Authorization { .. } | Error::Other { .. })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use futures::future::join_all;

    use super::*;

    const LIMITS: Limits = Limits { window: Duration::from_millis(5), behind: Duration::from_millis(50), most: 3 };

    /// What was sent, and when it was.
    #[derive(Clone)]
    struct Log(Arc<Mutex<Vec<Vec<String>>>>, Instant);

    impl Log {
        fn new() -> Self {
            Self(Arc::default(), Instant::now())
        }

        fn sent(&self) -> Vec<Vec<String>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn note(&self, names: &[String]) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(names.to_vec());
        }
    }

    /// Answers each topic with its own name after a while; `bad` by itself with an error; a batch with `poison` as a whole.
    fn batcher(log: &Log, takes: Duration, whole: Error) -> Batcher<String, String> {
        let log = log.clone();
        Batcher::start(LIMITS, move |names: Vec<String>| {
            let (log, whole) = (log.clone(), whole.clone());
            async move {
                log.note(&names);
                tokio::time::sleep(takes).await;
                if names.iter().any(|name| name == "poison") {
                    return Err(whole);
                }
                let answer = |name: String| match name.as_str() {
                    "bad" => (name, Err(Error::PolicyViolation { message: "no".to_owned() })),
                    _ => (name.clone(), Ok(name)),
                };
                Ok(names.into_iter().filter(|name| name != "untold").map(answer).collect())
            }
        })
    }

    async fn ask(batcher: &Batcher<String, String>, names: &[&str]) -> Vec<Result<String, Error>> {
        join_all(names.iter().map(|name| batcher.ask(name, (*name).to_owned()))).await
    }

    fn refused() -> Error {
        Error::InvalidRequest { code: 42, message: "no".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_together_is_sent_together_and_answered_apart() {
        let log = Log::new();
        let answers = ask(&batcher(&log, Duration::ZERO, refused()), &["a", "bad", "untold"]).await;
        assert_eq!(log.sent(), [["a", "bad", "untold"]]);
        assert_eq!(answers[0], Ok("a".to_owned()));
        assert!(matches!(answers[1], Err(Error::PolicyViolation { .. })), "{answers:?}");
        assert!(matches!(answers[2], Err(Error::NotReady { .. })), "{answers:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_alone_waits_for_the_window_and_no_longer() {
        let log = Log::new();
        let answers = ask(&batcher(&log, Duration::ZERO, refused()), &["a"]).await;
        assert_eq!((answers, log.1.elapsed()), (vec![Ok("a".to_owned())], LIMITS.window));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_while_a_request_is_under_way_waits_for_its_answer() {
        for (takes, sent_at) in [(20, 25), (200, 56)] {
            let (log, takes) = (Log::new(), Duration::from_millis(takes));
            let batcher = batcher(&log, takes, refused());
            let later = async {
                tokio::time::sleep(LIMITS.window + Duration::from_millis(1)).await;
                ask(&batcher, &["b"]).await;
                log.1.elapsed() - takes
            };
            let (_, later) = tokio::join!(ask(&batcher, &["a"]), later);
            assert_eq!((later, log.sent().len()), (Duration::from_millis(sent_at), 2), "or for so long");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_is_refused_as_a_whole_is_asked_one_by_one() {
        for (whole, sent, healthy) in [
            (refused(), 3, true),
            (Error::Timeout { reason: "no answer".to_owned() }, 1, false),
            (Error::Authorization { message: "no".to_owned() }, 1, false),
            (Error::Other { code: 99, message: "what".to_owned() }, 1, false),
        ] {
            let log = Log::new();
            let answers = ask(&batcher(&log, Duration::ZERO, whole.clone()), &["a", "poison"]).await;
            assert_eq!((log.sent().len(), answers[0].is_ok(), &answers[1]), (sent, healthy, &Err(whole)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn asking_one_by_one_ends_with_the_first_that_is_not_answered() {
        for (second, sent) in [(Error::Timeout { reason: "no answer".to_owned() }, 3), (refused(), 4)] {
            let (log, broken) = (Log::new(), second.clone());
            let noted = log.clone();
            let batcher: Batcher<String, String> = Batcher::start(LIMITS, move |names: Vec<String>| {
                noted.note(&names);
                let answer = match names.as_slice() {
                    [name] if name == "b" => Err(broken.clone()),
                    [name] => Ok([(name.clone(), Ok(name.clone()))].into()),
                    _ => Err(refused()),
                };
                async move { answer }
            });
            let answers = ask(&batcher, &["a", "b", "c"]).await;
            assert_eq!((log.sent().len(), &answers[0], &answers[1]), (sent, &Ok("a".to_owned()), &Err(second.clone())));
            let last = if sent == 4 { Ok("c".to_owned()) } else { Err(second) };
            assert_eq!(answers[2], last);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_holds_up_no_others_and_overload_makes_them_wait() {
        let (log, slow) = (Log::new(), Duration::from_secs(10));
        let batcher = batcher(&log, slow, refused());
        let names: Vec<String> = (0..40).map(|number| format!("t{number:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = ask(&batcher, &names);
        let looks = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(log.sent().len(), IN_FLIGHT);
        };
        let (answers, ()) = tokio::join!(all, looks);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(log.sent().concat(), names, "first in, first served");
        assert!(log.sent().len() <= 15, "{:?}", log.sent());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_is_not_asked_for() {
        let log = Log::new();
        let batcher = batcher(&log, Duration::ZERO, refused());
        let gave_up = tokio::time::timeout(Duration::from_millis(1), batcher.ask("a", "a".to_owned()));
        let (gave_up, waits) = tokio::join!(gave_up, batcher.ask("b", "b".to_owned()));
        assert!(gave_up.is_err() && waits.is_ok());
        assert_eq!(log.sent(), [["b"]]);
    }
}
