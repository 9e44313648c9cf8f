use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{Planner, TopicPartition};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::event_loop::Thread;
use crate::time::{Clock, Time};

/// How long the thread listens for the outcome of a commit before it looks whether it should give up.
const SLICE: Duration = Duration::from_millis(20);

/// How long it waits after a failure before it tries again.
const BACKOFF: Duration = Duration::from_millis(200);

/// Offsets that do not move are committed again after this time, since brokers forget those of groups without members
/// after a while (`offsets.retention.minutes`, seven days unless set).
const REFRESH: Duration = Duration::from_secs(600);

/// The offset after the last record of each partition.
pub(super) type Positions = Arc<[i64]>;

/// Commits offsets on a thread of its own, so that no batch waits for it. Of offsets that pile up only the newest are
/// committed.
pub(super) struct Committer {
    requests: Sender<Positions>,
    outcome: Receiver<Result<()>>,
    flags: Arc<Flags>,
    thread: Thread,
}

#[derive(Default)]
struct Flags {
    /// The stream stops: errors go to whoever stops it.
    stopping: AtomicBool,
    /// Nobody waits any longer.
    abandoned: AtomicBool,
}

impl Committer {
    /// Starts the thread. `committed` is what the group has committed already.
    pub(super) fn start(
        name: &str,
        planner: Arc<Planner>,
        partitions: Arc<[TopicPartition]>,
        committed: Vec<Option<i64>>,
        max_outage: Duration,
        on_error: &OnError,
    ) -> Result<Self> {
        let (requests, incoming) = unbounded();
        let (done, outcome) = bounded(1);
        let flags = Arc::new(Flags::default());
        let clock = Clock::system();
        let mut work = Work {
            name: name.to_string(),
            planner,
            partitions,
            refreshed: clock.now(),
            committed,
            max_outage,
            flags: Arc::clone(&flags),
            clock,
        };
        let body = move || {
            let flags = Arc::clone(&work.flags);
            let outcome = work.run(&incoming);
            // Told before the client goes, which can take time. There is room for the one message.
            let _ = done.send(outcome.clone());
            if flags.stopping.load(Ordering::Acquire) { Ok(()) } else { outcome }
        };
        let thread = Thread::spawn("tidemill-kafka-commit", Arc::clone(on_error), body)?;
        Ok(Committer { requests, outcome, flags, thread })
    }

    /// Asks for these offsets to be committed, soon.
    pub(super) fn commit(&self, positions: Positions) {
        // The thread has ended if it failed, and has told so.
        let _ = self.requests.send(positions);
    }

    /// Commits what was asked for, and ends. Takes at most `timeout`.
    pub(super) fn stop(self, timeout: Duration) -> Result<()> {
        self.flags.stopping.store(true, Ordering::Release);
        drop(self.requests);
        if let Ok(outcome) = self.outcome.recv_timeout(timeout) {
            self.thread.join();
            return outcome;
        }
        self.flags.abandoned.store(true, Ordering::Release);
        let outcome = self.outcome.recv().unwrap_or(Ok(()));
        // Not joined: the client of the thread lives until librdkafka has given up on the commit, some seconds.
        self.thread.leave();
        outcome
    }
}

struct Work {
    name: String,
    planner: Arc<Planner>,
    partitions: Arc<[TopicPartition]>,
    /// What the group is known to have committed.
    committed: Vec<Option<i64>>,
    /// When all of it was committed anew.
    refreshed: Time,
    max_outage: Duration,
    flags: Arc<Flags>,
    clock: Clock,
}

impl Work {
    fn run(&mut self, requests: &Receiver<Positions>) -> Result<()> {
        while let Ok(mut positions) = requests.recv() {
            positions = newest(requests, positions);
            let mut failing: Option<Time> = None;
            while let Err(code) = self.commit(&positions) {
                let now = self.clock.now();
                let since = *failing.get_or_insert(now);
                let abandoned = self.flags.abandoned.load(Ordering::Acquire);
                if !is_temporary(code) || abandoned || now - since >= self.max_outage {
                    return Err(self.refused(code, &positions));
                }
                if since == now {
                    tracing::warn!(stream = self.name, %code, "offsets are not committed yet, trying again");
                }
                // Newer offsets make this commit pointless.
                match requests.recv_timeout(BACKOFF) {
                    Ok(newer) => positions = newest(requests, newer),
                    Err(RecvTimeoutError::Timeout) => {}
                    // The stream stops, and nothing newer will come.
                    Err(RecvTimeoutError::Disconnected) => pause(&self.clock, SLICE),
                }
            }
        }
        Ok(())
    }

    /// Commits what has changed, and waits for the outcome.
    fn commit(&mut self, positions: &Positions) -> Result<(), RDKafkaErrorCode> {
        let now = self.clock.now();
        let refresh = now - self.refreshed >= REFRESH;
        let changed: Vec<usize> =
            (0..positions.len()).filter(|&n| refresh || self.committed[n] != Some(positions[n])).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut commit = self.planner.commit(changed.iter().map(|&n| (&self.partitions[n], positions[n])))?;
        loop {
            match commit.outcome(SLICE) {
                Some(outcome) => break outcome?,
                None if self.flags.abandoned.load(Ordering::Acquire) => {
                    return Err(RDKafkaErrorCode::OperationTimedOut);
                }
                None => {}
            }
        }
        for n in changed {
            self.committed[n] = Some(positions[n]);
        }
        if refresh {
            self.refreshed = now;
        }
        Ok(())
    }

    #[cold]
    fn refused(&self, code: RDKafkaErrorCode, positions: &Positions) -> Error {
        let said = self.planner.take_error().map(|said| format!(" ({said})")).unwrap_or_default();
        let message = format!(
            "{}: group {} could not commit {}: {code}{said}; after a restart what follows the last commit is read again",
            self.name,
            self.planner.group(),
            show(&self.partitions, &self.committed, positions),
        );
        Error::new(ErrorKind::Input, message)
    }
}

fn newest(requests: &Receiver<Positions>, mut positions: Positions) -> Positions {
    while let Ok(newer) = requests.try_recv() {
        positions = newer;
    }
    positions
}

/// Whether a commit may succeed later.
fn is_temporary(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::LeaderNotAvailable
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::NotCoordinator
            | Code::NotLeaderForPartition
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
    )
}

/// Commits and waits for it, at most `timeout`.
pub(super) fn commit_now<'p>(
    planner: &Planner,
    offsets: impl Iterator<Item = (&'p TopicPartition, i64)> + Clone,
    timeout: Duration,
) -> Result<()> {
    let clock = Clock::system();
    let deadline = clock.now() + timeout;
    loop {
        let outcome = planner.commit(offsets.clone()).and_then(|mut commit| {
            commit.outcome(deadline - clock.now()).unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut))
        });
        match outcome {
            Ok(()) => return Ok(()),
            Err(code) if is_temporary(code) && clock.now() < deadline => pause(&clock, SLICE),
            Err(code) => {
                let group = planner.group();
                let message = format!("group {group} cannot commit the offsets at which it starts: {code}");
                return Err(Error::new(ErrorKind::Input, message));
            }
        }
    }
}

fn pause(clock: &Clock, length: Duration) {
    // The clock keeps the sender until it rings.
    let _ = clock.alarm(clock.now() + length).recv();
}

/// The offsets that were to be committed: those that have moved, the first few of them.
fn show(partitions: &[TopicPartition], committed: &[Option<i64>], positions: &[i64]) -> String {
    const SHOWN: usize = 8;
    let moved: Vec<usize> = (0..positions.len()).filter(|&n| committed[n] != Some(positions[n])).collect();
    let mut text = String::from("its offsets");
    for (count, &n) in moved.iter().take(SHOWN).enumerate() {
        let between = if count == 0 { " " } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{between}{}: {}", partitions[n], positions[n]);
    }
    if moved.len() > SHOWN {
        let _ = write!(text, " and {} more", moved.len() - SHOWN);
    }
    text
}
