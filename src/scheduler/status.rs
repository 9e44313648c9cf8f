use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};

/// Where a context is in its life. It goes one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The graph is being built.
    Initialized,
    /// Batches run.
    Active,
    /// Ended by a stop or an error; there is no way back.
    Stopped,
}

/// The state of a context, and the error that ended it.
#[derive(Debug)]
pub(crate) struct Status {
    life: Mutex<Life>,
    changed: Condvar,
    /// Closed by the first error, for those that wait on channels.
    failed: Receiver<Infallible>,
    alive: Mutex<Option<Sender<Infallible>>>,
    drop_queued: AtomicBool,
    /// Closed with `drop_queued`, for those that wait on channels.
    drops: Receiver<Infallible>,
    keeps: Mutex<Option<Sender<Infallible>>>,
    /// What the generator does that code of the program can hold up.
    busy_with: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Life {
    state: State,
    error: Option<Error>,
}

impl Status {
    pub(crate) fn new() -> Self {
        let life = Mutex::new(Life { state: State::Initialized, error: None });
        let (alive, failed) = bounded(0);
        let (keeps, drops) = bounded(0);
        Status {
            life,
            changed: Condvar::new(),
            failed,
            alive: Mutex::new(Some(alive)),
            drop_queued: AtomicBool::new(false),
            drops,
            keeps: Mutex::new(Some(keeps)),
            busy_with: Mutex::new(None),
        }
    }

    /// The state to the outside: a context with an error has stopped, even while its threads still end.
    pub(crate) fn state(&self) -> State {
        let life = self.life();
        if life.error.is_some() { State::Stopped } else { life.state }
    }

    pub(crate) fn set(&self, state: State) {
        self.life().state = state;
        self.changed.notify_all();
    }

    /// Keeps the first error, which ends the context, and returns whether this was it.
    pub(crate) fn fail(&self, error: &Error) -> bool {
        let mut life = self.life();
        let is_first = life.error.is_none();
        if is_first {
            life.error = Some(error.clone());
        }
        drop(life);
        self.drop_queued_jobs();
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
        is_first
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.life().error.is_some()
    }

    /// A channel that the first error closes.
    pub(crate) fn failed(&self) -> &Receiver<Infallible> {
        &self.failed
    }

    /// From here on jobs that have not begun are thrown away.
    pub(crate) fn drop_queued_jobs(&self) {
        self.drop_queued.store(true, Ordering::Release);
        *self.keeps.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A channel that is closed when jobs that have not begun are thrown away.
    pub(super) fn drops_jobs(&self) -> &Receiver<Infallible> {
        &self.drops
    }

    pub(crate) fn drops_queued_jobs(&self) -> bool {
        self.drop_queued.load(Ordering::Acquire)
    }

    /// Runs a part of the generator's work under a name, for those that wait for it in vain.
    pub(super) fn busy_with<R>(&self, what: impl Into<String>, work: impl FnOnce() -> R) -> R {
        *self.busy() = Some(what.into());
        let done = work();
        *self.busy() = None;
        done
    }

    /// What holds up the generator, if something does.
    pub(super) fn held_up(&self) -> String {
        self.busy().clone().unwrap_or_else(|| "keeping the books".to_string())
    }

    fn busy(&self) -> MutexGuard<'_, Option<String>> {
        self.busy_with.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn outcome(&self) -> Result<()> {
        self.life().error.clone().map_or(Ok(()), Err)
    }

    /// Waits until the context has stopped or failed, at most for `timeout`, and returns whether it has.
    #[expect(clippy::disallowed_methods, reason = "the caller waits in real time, whatever the clock of the batches")]
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let ended = |life: &Life| life.state == State::Stopped || life.error.is_some();
        let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        let mut life = self.life();
        while !ended(&life) {
            life = match deadline {
                None => self.changed.wait(life).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.changed.wait_timeout(life, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
