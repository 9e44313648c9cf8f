use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::commit_handle::Asked;
use super::offset_store::{CommitError, OffsetStore};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::event_loop::Thread;
use crate::input::kafka::topic_partition::TopicPartition;
use crate::time::{Clock, Time};

/// How long it waits after a failure before it tries again.
const BACKOFF: Duration = Duration::from_millis(200);

/// How long it waits when nothing newer can come.
const LAST_BACKOFF: Duration = Duration::from_millis(20);

/// Offsets that do not move are committed again after this time, since brokers forget those of groups without members
/// after a while (`offsets.retention.minutes`, seven days unless set).
const REFRESH: Duration = Duration::from_secs(600);

/// The place of a partition of which a batch that was restored has nothing.
pub(in crate::input::kafka) const NOWHERE: i64 = -1;

/// The offset after the last record of each partition, or [`NOWHERE`].
pub(in crate::input::kafka) type Positions = Arc<[i64]>;

/// Up to where a stream is done, when a batch is. Partitions are added at the end and never leave, so a position says
/// by its place which partition it is of; later lists are longer.
#[derive(Clone)]
pub(in crate::input::kafka) struct Progress {
    pub(in crate::input::kafka) partitions: Arc<[TopicPartition]>,
    pub(in crate::input::kafka) positions: Positions,
}

/// What the committer is told.
pub(super) enum Request {
    /// All outputs of a batch are done, and those of the batches before it.
    Done(Progress),
    /// The program asks for it.
    Asked(Asked),
}

/// Commits offsets on a thread of its own, so that no batch waits for it. Of offsets that pile up only the newest are
/// committed.
pub(super) struct Committer {
    name: String,
    requests: Sender<Request>,
    outcome: Receiver<Result<()>>,
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// The stream stops: errors go to whoever stops it.
    stopping: AtomicBool,
    /// Nobody waits any longer.
    abandoned: AtomicBool,
    attempt: Mutex<Attempt>,
    thread: OwnThread,
}

/// The thread of a committer.
#[derive(Clone, Default)]
pub(super) struct OwnThread(Arc<OnceLock<ThreadId>>);

impl OwnThread {
    /// Whether the caller runs on it.
    pub(super) fn is_current(&self) -> bool {
        self.0.get() == Some(&thread::current().id())
    }
}

/// What is being committed.
#[derive(Default)]
struct Attempt {
    offsets: Arc<[(TopicPartition, i64)]>,
    /// Why it did not succeed the last time.
    failure: Option<Error>,
}

impl Committer {
    /// Starts the thread. `committed` is what the store has already.
    pub(super) fn start(
        stream: &str,
        store: Arc<dyn OffsetStore>,
        committed: BTreeMap<TopicPartition, i64>,
        max_outage: Duration,
        on_error: &OnError,
    ) -> Result<Self> {
        let (requests, incoming) = unbounded();
        let (done, outcome) = bounded(1);
        let shared = Arc::new(Shared::default());
        let clock = Clock::system();
        let name = format!("{stream}: {}", store.name());
        let mut work = Work {
            name: name.clone(),
            store,
            refreshed: clock.now(),
            committed,
            wanted: BTreeMap::new(),
            done: Arc::default(),
            waiting: Vec::new(),
            is_answered: true,
            max_outage,
            shared: Arc::clone(&shared),
            clock,
        };
        let body = move || {
            let shared = Arc::clone(&work.shared);
            shared.thread.0.get_or_init(|| thread::current().id());
            let outcome = work.run(&incoming);
            // Told before the store goes, which can take time. There is room for the one message.
            let _ = done.send(outcome.clone());
            if shared.stopping.load(Ordering::Acquire) { Ok(()) } else { outcome }
        };
        let thread = Thread::spawn("tidemill-kafka-commit", Arc::clone(on_error), body)?;
        Ok(Committer { name, requests, outcome, shared, thread })
    }

    /// Asks for all that is done to be committed, soon.
    pub(super) fn done(&self, progress: Progress) {
        // The thread has ended if it failed, and has told so.
        let _ = self.requests.send(Request::Done(progress));
    }

    /// For the program to ask by itself.
    pub(super) fn requests(&self) -> Sender<Request> {
        self.requests.clone()
    }

    /// The thread on which stores and callbacks run.
    pub(super) fn thread(&self) -> OwnThread {
        self.shared.thread.clone()
    }

    /// Commits what was asked for, and ends. Takes at most `timeout`. All other senders of requests have to be gone.
    pub(super) fn stop(self, timeout: Duration) -> Result<()> {
        self.shared.stopping.store(true, Ordering::Release);
        drop(self.requests);
        match self.outcome.recv_timeout(timeout) {
            Ok(outcome) => {
                self.thread.join();
                outcome
            }
            // It has panicked, and said so.
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                self.shared.abandoned.store(true, Ordering::Release);
                // Not joined: a store may take as long as it wants.
                self.thread.leave();
                let attempt = self.shared.attempt.lock().unwrap_or_else(PoisonError::into_inner);
                let why = match &attempt.failure {
                    Some(failure) => format!("not within {timeout:?}: {failure}"),
                    None => format!("it has not answered within {timeout:?}"),
                };
                Err(refused(&self.name, &attempt.offsets, &why))
            }
        }
    }
}

struct Work {
    /// Of the stream and the store.
    name: String,
    store: Arc<dyn OffsetStore>,
    /// What the store is known to have.
    committed: BTreeMap<TopicPartition, i64>,
    /// What it is to have, where that is something else.
    wanted: BTreeMap<TopicPartition, i64>,
    /// Up to where the stream is done, as it was told last.
    done: Positions,
    /// Who waits for the outcome of what is wanted.
    waiting: Vec<Asked>,
    /// Whether somebody hears of the outcome for all that is wanted.
    is_answered: bool,
    /// When all of it was committed anew.
    refreshed: Time,
    max_outage: Duration,
    shared: Arc<Shared>,
    clock: Clock,
}

impl Work {
    fn run(&mut self, requests: &Receiver<Request>) -> Result<()> {
        loop {
            match requests.recv_timeout(REFRESH) {
                Ok(request) => self.take(request, requests),
                Err(RecvTimeoutError::Timeout) => self.is_answered = false,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.settle(requests)?;
        }
    }

    /// Takes a request and those behind it. Of what is done only the newest counts.
    fn take(&mut self, first: Request, requests: &Receiver<Request>) {
        let mut newest = None;
        for request in std::iter::once(first).chain(requests.try_iter()) {
            match request {
                Request::Done(progress) => newest = Some(progress),
                Request::Asked(asked) => {
                    for (partition, offset) in &asked.offsets {
                        if asked.goes_back || *offset > self.heads_for(partition) {
                            self.wanted.insert(partition.clone(), *offset);
                        }
                    }
                    self.is_answered &= asked.is_answered();
                    self.waiting.push(asked);
                }
            }
        }
        if let Some(Progress { partitions, positions }) = newest {
            self.is_answered = false;
            for (n, (partition, position)) in partitions.iter().zip(positions.iter()).enumerate() {
                // Few of many have moved, and a failure to commit the others would have ended the stream.
                if self.done.get(n) != Some(position) && *position != NOWHERE {
                    self.wanted.insert(partition.clone(), *position);
                }
            }
            self.done = positions;
        }
    }

    /// Where a partition will be once all that is wanted is committed.
    fn heads_for(&self, partition: &TopicPartition) -> i64 {
        self.wanted.get(partition).or_else(|| self.committed.get(partition)).copied().unwrap_or(i64::MIN)
    }

    /// Commits what is wanted, for as long as it takes, and says so to whoever waits.
    fn settle(&mut self, requests: &Receiver<Request>) -> Result<()> {
        let mut failing: Option<Time> = None;
        let outcome = loop {
            let Err(error) = self.commit() else { break Ok(()) };
            let now = self.clock.now();
            let since = *failing.get_or_insert(now);
            let is_temporary = matches!(error, CommitError::Temporary(_));
            let error = error.into_error();
            let abandoned = self.shared.abandoned.load(Ordering::Acquire);
            if !is_temporary || abandoned || now - since >= self.max_outage {
                break Err(self.refused(&error));
            }
            if since == now {
                tracing::warn!(stream = self.name, %error, "offsets are not committed yet, trying again");
            }
            self.attempt().failure = Some(error);
            // Newer offsets make this commit pointless.
            match requests.recv_timeout(BACKOFF) {
                Ok(newer) => self.take(newer, requests),
                Err(RecvTimeoutError::Timeout) => {}
                // The stream stops, and nothing newer will come.
                Err(RecvTimeoutError::Disconnected) => pause(&self.clock, LAST_BACKOFF),
            }
        };
        self.wanted.clear();
        let heard = std::mem::replace(&mut self.is_answered, true);
        for asked in self.waiting.drain(..) {
            asked.answer(outcome.clone())?;
        }
        if heard { Ok(()) } else { outcome }
    }

    /// Commits what has changed.
    fn commit(&mut self) -> Result<(), CommitError> {
        let now = self.clock.now();
        self.wanted.retain(|partition, offset| self.committed.get(partition) != Some(offset));
        let refresh = now - self.refreshed >= REFRESH;
        let mut offsets = self.wanted.clone();
        if refresh {
            let mut all = self.committed.clone();
            all.append(&mut offsets);
            offsets = all;
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let offsets: Arc<[(TopicPartition, i64)]> = offsets.into_iter().collect();
        self.attempt().offsets = Arc::clone(&offsets);
        self.store.commit(&offsets)?;
        self.attempt().failure = None;
        self.committed.extend(offsets.iter().cloned());
        if refresh {
            self.refreshed = now;
        }
        Ok(())
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.shared.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn refused(&self, error: &Error) -> Error {
        refused(&self.name, &self.attempt().offsets, &error.to_string()).caused_by(error.clone())
    }
}

fn refused(name: &str, offsets: &[(TopicPartition, i64)], why: &str) -> Error {
    let offsets = show(offsets);
    let message = format!(
        "{name} could not commit its offsets {offsets}: {why}; after a restart what follows the last commit is read \
         again"
    );
    Error::new(ErrorKind::Input, message)
}

/// Commits and waits for it, about `timeout` at most: the offsets at which a stream starts.
pub(super) fn commit_now(store: &dyn OffsetStore, offsets: &[(TopicPartition, i64)], timeout: Duration) -> Result<()> {
    let clock = Clock::system();
    let deadline = clock.now() + timeout;
    loop {
        match store.commit(offsets) {
            Ok(()) => return Ok(()),
            Err(CommitError::Temporary(_)) if clock.now() < deadline => pause(&clock, LAST_BACKOFF),
            Err(error) => {
                let error = error.into_error();
                let message = format!("{} cannot commit the offsets at which it starts: {error}", store.name());
                return Err(Error::new(ErrorKind::Input, message).caused_by(error));
            }
        }
    }
}

fn pause(clock: &Clock, length: Duration) {
    // The clock keeps the sender until it rings.
    let _ = clock.alarm(clock.now() + length).recv();
}

/// The first few offsets, for people.
fn show(offsets: &[(TopicPartition, i64)]) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for (count, (partition, offset)) in offsets.iter().take(SHOWN).enumerate() {
        let between = if count == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{between}{partition}: {offset}");
    }
    if offsets.len() > SHOWN {
        let _ = write!(text, " and {} more", offsets.len() - SHOWN);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::input::kafka) const PATIENCE: Duration = Duration::from_secs(60);

    type Outcome = Result<(), CommitError>;

    /// A store that waits in each commit for the test to say how it ends.
    struct Scripted {
        commits: Sender<String>,
        outcomes: Receiver<Outcome>,
    }

    impl OffsetStore for Scripted {
        fn name(&self) -> String {
            "the script".to_string()
        }

        fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
            Ok(vec![None; partitions.len()])
        }

        fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Outcome {
            // The test may have gone.
            let _ = self.commits.send(show(offsets));
            self.outcomes.recv().unwrap_or(Ok(()))
        }
    }

    /// A committer over such a store.
    pub(in crate::input::kafka) struct Stage {
        pub(in crate::input::kafka) committer: Committer,
        commits: Receiver<String>,
        outcomes: Sender<Outcome>,
        errors: Receiver<Error>,
    }

    pub(in crate::input::kafka) fn temporary() -> Outcome {
        Err(CommitError::Temporary(Error::new(ErrorKind::Input, "the disk is full")))
    }

    pub(in crate::input::kafka) fn refused() -> Outcome {
        Err(Error::new(ErrorKind::Input, "not allowed").into())
    }

    impl Stage {
        /// The stream has started at offset 0 of `a/0`.
        pub(in crate::input::kafka) fn new(max_outage: Duration) -> Self {
            let (send, commits) = unbounded();
            let (outcomes, outcome) = unbounded();
            let (failed, errors) = unbounded();
            let store = Arc::new(Scripted { commits: send, outcomes: outcome });
            let committed = BTreeMap::from([(TopicPartition::new("a", 0), 0)]);
            let on_error: OnError = Arc::new(move |error| failed.send(error).unwrap());
            let committer = Committer::start("kafka a", store, committed, max_outage, &on_error).unwrap();
            Stage { committer, commits, outcomes, errors }
        }

        fn done(&self, positions: &[i64]) {
            let partitions = (0..).zip(positions).map(|(partition, _)| TopicPartition::new("a", partition)).collect();
            self.committer.done(Progress { partitions, positions: positions.into() });
        }

        /// Waits until the store is asked for these offsets.
        #[track_caller]
        pub(in crate::input::kafka) fn is_asked_for(&self, offsets: &str) {
            assert_eq!(self.commits.recv_timeout(PATIENCE).unwrap(), offsets);
        }

        pub(in crate::input::kafka) fn answers(&self, outcome: Outcome) {
            self.outcomes.send(outcome).unwrap();
        }

        #[track_caller]
        pub(in crate::input::kafka) fn fails_with(&self, message: &str) {
            assert_eq!(self.errors.recv_timeout(PATIENCE).unwrap().to_string(), message);
        }

        pub(in crate::input::kafka) fn stop(self) {
            let Stage { committer, commits, outcomes, errors } = self;
            committer.stop(PATIENCE).unwrap();
            drop(outcomes);
            assert_eq!(commits.try_iter().collect::<Vec<_>>(), [""; 0]);
            assert!(errors.try_recv().is_err());
        }
    }

    #[test]
    fn of_positions_that_pile_up_the_newest_are_committed() {
        let stage = Stage::new(PATIENCE);
        stage.done(&[1]);
        stage.is_asked_for("a/0: 1");
        (2..9).for_each(|position| stage.done(&[position]));
        stage.answers(Ok(()));
        stage.is_asked_for("a/0: 8");
        stage.answers(Ok(()));
        // Nothing has changed.
        stage.done(&[8]);
        stage.stop();
    }

    #[test]
    fn partitions_are_added_and_only_what_changed_is_committed() {
        let stage = Stage::new(PATIENCE);
        for (positions, committed) in
            [(&[1][..], "a/0: 1"), (&[1, 4], "a/1: 4"), (&[2, 4, 7], "a/0: 2, a/2: 7"), (&[3, 5, 7], "a/0: 3, a/1: 5")]
        {
            stage.done(positions);
            stage.is_asked_for(committed);
            stage.answers(Ok(()));
        }
        stage.stop();
    }

    #[test]
    fn a_temporary_failure_is_tried_again_with_what_is_newest() {
        let stage = Stage::new(PATIENCE);
        stage.done(&[1]);
        stage.is_asked_for("a/0: 1");
        stage.answers(temporary());
        stage.is_asked_for("a/0: 1");
        stage.done(&[2, 1]);
        stage.answers(temporary());
        stage.is_asked_for("a/0: 2, a/1: 1");
        stage.answers(Ok(()));
        stage.stop();
    }

    #[test]
    fn a_failure_that_lasts_or_is_final_fails_the_stream() {
        let stage = Stage::new(Duration::ZERO);
        stage.done(&[1]);
        stage.answers(temporary());
        stage.fails_with(
            "kafka a: the script could not commit its offsets a/0: 1: the disk is full; after a restart what follows \
             the last commit is read again",
        );
        let stage = Stage::new(PATIENCE);
        let many: Vec<i64> = (1..=10).collect();
        stage.done(&many);
        stage.answers(refused());
        stage.fails_with(
            "kafka a: the script could not commit its offsets a/0: 1, a/1: 2, a/2: 3, a/3: 4, a/4: 5, a/5: 6, a/6: 7, \
             a/7: 8 and 2 more: not allowed; after a restart what follows the last commit is read again",
        );
    }

    #[test]
    fn a_stop_commits_what_is_left_and_returns_its_error() {
        let stage = Stage::new(PATIENCE);
        stage.done(&[1]);
        stage.answers(temporary());
        stage.answers(refused());
        let error = stage.committer.stop(PATIENCE).unwrap_err();
        assert!(error.to_string().contains("a/0: 1: not allowed"), "{error}");
        assert!(stage.errors.try_recv().is_err(), "told once");
    }

    #[test]
    fn a_stop_does_not_wait_for_a_store_that_hangs() {
        let stage = Stage::new(PATIENCE);
        stage.done(&[1]);
        stage.is_asked_for("a/0: 1");
        let error = stage.committer.stop(Duration::from_millis(20)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kafka a: the script could not commit its offsets a/0: 1: it has not answered within 20ms; after a restart \
             what follows the last commit is read again"
        );
        drop(stage.outcomes);
    }
}
