//! Runs the tasks of a stage and moves blocks between stages. Knows nothing of records, streams or time.
//!
//! [`Executor`] and [`ShuffleStore`] are the seam: rayon and a table in memory are behind it here, a cluster can be. A
//! task is named by its stage and partition and never shipped: every process of a program builds the same stages.

mod accumulator;
mod broadcast;
mod pool;
mod shuffle_store;
mod task;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::data::Partitions;
use crate::error::Result;
use crate::id::Origin;

pub(crate) use accumulator::{Adds, is_task_running};
pub(crate) use pool::PoolExecutor;
pub(crate) use shuffle_store::MemoryStore;
pub(crate) use shuffle_store::{Block, ShuffleId, ShuffleStore};
pub(crate) use task::{TaskContext, run_attempts};

pub use accumulator::Accumulator;
pub use broadcast::Broadcast;

/// Which half of an operator's work a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StageKind {
    /// Ends by writing shuffle blocks.
    ShuffleMap,
    /// Ends in an action.
    Result,
}

/// Tasks that run the same code on several partitions and do not wait for each other.
#[derive(Debug)]
pub(crate) struct Stage<'s> {
    /// The last operator of the stage.
    pub(crate) origin: &'s Origin,
    /// What the stage ends in.
    pub(crate) kind: StageKind,
    /// The partitions to run.
    pub(crate) partitions: &'s [usize],
    /// How many records the stage will look at, when that is known.
    pub(crate) records: Option<u64>,
    /// How often a task may be tried; at least 1.
    pub(crate) max_attempts: u32,
}

/// Runs stages. Returns when every task has succeeded, or with the first error after no task runs any more.
pub(crate) trait Executor: fmt::Debug + Send + Sync {
    /// Runs `task(partition, attempt)` for every partition of the stage. The first attempt is 0. A task that fails or
    /// panics is tried again alone.
    ///
    /// # Errors
    ///
    /// The error of the last attempt of the task that failed in all of them.
    fn run(&self, stage: &Stage<'_>, task: &(dyn Fn(usize, u32) -> Result<()> + Sync)) -> Result<()>;
}

/// What datasets run on: shared by all datasets of a context.
#[derive(Clone, Debug)]
pub(crate) struct Runtime(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    executor: Box<dyn Executor>,
    shuffles: Arc<dyn ShuffleStore>,
    max_task_attempts: u32,
    default_partitions: Partitions,
    next_shuffle: AtomicU64,
    next_broadcast: AtomicU64,
}

impl Runtime {
    pub(crate) fn new(
        executor: Box<dyn Executor>,
        shuffles: Arc<dyn ShuffleStore>,
        max_task_attempts: u32,
        default_partitions: Partitions,
    ) -> Self {
        Runtime(Arc::new(Parts {
            executor,
            shuffles,
            max_task_attempts,
            default_partitions,
            next_shuffle: AtomicU64::new(0),
            next_broadcast: AtomicU64::new(0),
        }))
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &*self.0.executor
    }

    pub(crate) fn shuffles(&self) -> &Arc<dyn ShuffleStore> {
        &self.0.shuffles
    }

    pub(crate) fn max_task_attempts(&self) -> u32 {
        self.0.max_task_attempts
    }

    /// Into how many partitions a shuffle goes when the program does not say.
    pub(crate) fn default_partitions(&self) -> Partitions {
        self.0.default_partitions
    }

    pub(crate) fn next_shuffle(&self) -> ShuffleId {
        ShuffleId(self.0.next_shuffle.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn next_broadcast(&self) -> u64 {
        self.0.next_broadcast.fetch_add(1, Ordering::Relaxed)
    }
}
