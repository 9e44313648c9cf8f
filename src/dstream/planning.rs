use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::time::Time;

/// Who plans. One thread at a time asks the streams of a graph for datasets: the generator, or somebody who wants a
/// slice.
#[derive(Debug)]
pub(crate) struct Planning {
    turn: Mutex<()>,
    /// The thread whose turn it is. It may ask for a slice while it plans a batch.
    planner: Mutex<Option<ThreadId>>,
    /// The microseconds of the last batch that was planned.
    latest: AtomicI64,
    /// As `latest`, of the last batch that has ended.
    ended: AtomicI64,
}

/// It is this thread's turn until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'p> {
    planning: &'p Planning,
    /// `None` if it was this thread's turn already.
    turn: Option<MutexGuard<'p, ()>>,
}

impl Planning {
    pub(crate) fn new() -> Self {
        Planning {
            turn: Mutex::new(()),
            planner: Mutex::new(None),
            latest: AtomicI64::new(i64::MIN),
            ended: AtomicI64::new(i64::MIN),
        }
    }

    /// Waits until nobody else plans.
    pub(crate) fn enter(&self) -> Turn<'_> {
        let this = thread::current().id();
        if *self.planner() == Some(this) {
            return Turn { planning: self, turn: None };
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.planner() = Some(this);
        Turn { planning: self, turn: Some(turn) }
    }

    /// The batch at `time` is being planned.
    pub(crate) fn begin(&self, time: Time) {
        self.latest.store(time.as_micros(), Ordering::Relaxed);
    }

    /// The last batch time that was or is being planned; the beginning of time if there was none.
    pub(crate) fn latest(&self) -> Time {
        Time::from_micros(self.latest.load(Ordering::Relaxed))
    }

    /// The batch at `time` has ended, and all before it.
    pub(crate) fn end(&self, time: Time) {
        self.ended.fetch_max(time.as_micros(), Ordering::Relaxed);
    }

    /// The last batch time that has ended; the beginning of time if none has.
    pub(crate) fn ended(&self) -> Time {
        Time::from_micros(self.ended.load(Ordering::Relaxed))
    }

    fn planner(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.planner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.turn.is_some() {
            *self.planning.planner() = None;
        }
    }
}
