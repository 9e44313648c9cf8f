use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::commit_handle::Asked;
use super::offset_store::{CommitError, OffsetStore};
use super::topic_partition::TopicPartition;
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::event_loop::Thread;
use crate::time::{Clock, Time};

/// How long it waits after a failure before it tries again.
const BACKOFF: Duration = Duration::from_millis(200);

/// How long it waits when nothing newer can come.
const LAST_BACKOFF: Duration = Duration::from_millis(20);

/// Offsets that do not move are committed again after this time, since brokers forget those of groups without members
/// after a while (`offsets.retention.minutes`, seven days unless set).
const REFRESH: Duration = Duration::from_secs(600);

/// The offset after the last record of each partition.
pub(super) type Positions = Arc<[i64]>;

/// Up to where a stream is done, when a batch is. Partitions are added at the end and never leave, so a position says
/// by its place which partition it is of; later lists are longer.
#[derive(Clone)]
pub(super) struct Progress {
    pub(super) partitions: Arc<[TopicPartition]>,
    pub(super) positions: Positions,
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
            waiting: Vec::new(),
            is_answered: true,
            max_outage,
            shared: Arc::clone(&shared),
            clock,
        };
        let body = move || {
            let shared = Arc::clone(&work.shared);
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
    pub(super) fn thread(&self) -> Option<ThreadId> {
        self.thread.id()
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
    /// Who waits for the outcome of that.
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
            self.wanted.extend(partitions.iter().cloned().zip(positions.iter().copied()));
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

    fn attempt(&self) -> std::sync::MutexGuard<'_, Attempt> {
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
