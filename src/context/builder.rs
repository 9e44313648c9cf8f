use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::StreamingContext;
use crate::backpressure::Backpressure;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::data::{KEY_GROUPS, Partitions};
use crate::dstream::GraphBuilder;
use crate::error::Result;
use crate::exec::{MemoryStore, PoolExecutor, Runtime};
use crate::listener::ListenerBus;
use crate::scheduler::{OutputFailure, Status};
use crate::time::Clock;

/// The settings of a context that is to be built.
#[derive(Clone, Debug)]
#[must_use]
pub struct StreamingContextBuilder {
    pub(super) config: Config,
}

impl StreamingContextBuilder {
    /// The time between two batches; at least 1 ms, by default 1 s.
    pub fn batch_interval(mut self, interval: Duration) -> Self {
        self.config.batch_interval = interval;
        self
    }

    /// How many tasks run at the same time; by default as many as the machine has processors.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// Into how many partitions a shuffle goes when the operator does not say; by default one a worker. At most 4096.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.config.partitions = Some(partitions);
        self
    }

    /// How often a task may be tried before its job fails; by default 4.
    pub fn max_task_attempts(mut self, attempts: u32) -> Self {
        self.config.max_task_attempts = attempts;
        self
    }

    /// How many jobs run at the same time; by default 1: outputs then run in order, batch after batch. With more, an
    /// output may run for a batch while it, or another, still runs for an earlier one; offsets are committed in order
    /// all the same.
    pub fn concurrent_jobs(mut self, jobs: usize) -> Self {
        self.config.concurrent_jobs = jobs;
        self
    }

    /// How many batches may be planned and not done; by default 8. Batches that are due beyond that are planned, and
    /// their input decided, when there is room; listeners are told.
    pub fn max_queued_batches(mut self, batches: usize) -> Self {
        self.config.max_queued_batches = batches;
        self
    }

    /// How often an output operation of a batch is tried before it has failed; by default 1. The whole operation runs
    /// again, on the same records: an output that is not idempotent may show what it had done before.
    ///
    /// Between attempts the job thread waits, as [`output_backoff`](StreamingContextBuilder::output_backoff) says, and
    /// with it the outputs and batches behind. [`Stop::Now`](crate::Stop::Now) and errors end the wait: the output then
    /// counts as dropped, and its input comes again. [`Stop::Gracefully`](crate::Stop::Gracefully) waits for it, up to its
    /// deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    ///
    /// let context = StreamingContext::builder("stubborn")
    ///     .batch_interval(Duration::from_millis(10))
    ///     .output_attempts(3)
    ///     .output_backoff(Duration::from_millis(1), Duration::from_millis(10))
    ///     .build()?;
    /// let numbers = QueueSource::one_at_a_time();
    /// numbers.push([1, 2, 3]);
    /// let (calls, (send, sums)) = (AtomicU32::new(0), std::sync::mpsc::channel());
    /// context.input(numbers).foreach_batch(move |numbers, _| {
    ///     if calls.fetch_add(1, Ordering::Relaxed) < 2 {
    ///         return Err(Error::user("the database is away"));
    ///     }
    ///     let sum: i32 = numbers.sum()?;
    ///     send.send(sum).map_err(Error::user)
    /// });
    /// context.start()?;
    /// assert_eq!(sums.recv()?, 6);
    /// context.stop(Stop::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output_attempts(mut self, attempts: u32) -> Self {
        self.config.outputs.attempts = attempts;
        self
    }

    /// How long an output waits before it is tried again: `first`, then twice as long each time, and `most` at most. By
    /// default 100 ms and 10 s.
    pub fn output_backoff(mut self, first: Duration, most: Duration) -> Self {
        self.config.outputs.backoff = (first, most);
        self
    }

    /// What follows when the last attempt of an output has failed; by default [`OutputFailure::Stop`].
    ///
    /// With [`OutputFailure::Continue`] the batch counts as ended, though not everything came of it: listeners see it in
    /// [`OutputInfo::failure`](crate::OutputInfo::failure), and [`stop`](StreamingContext::stop) returns no error for
    /// it. **Without a checkpoint the offsets of the batch are committed**, as in Spark, and what the output should have
    /// had is lost to it. An error of the engine itself, of an input or of state still stops the context.
    pub fn on_output_failure(mut self, then: OutputFailure) -> Self {
        self.config.outputs.on_failure = then;
        self
    }

    /// How long a stop may take in all; by default ten batch intervals, and at least 30 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.config.stop_timeout = Some(timeout);
        self
    }

    /// For how long every stream remembers its batches at least; by default for as long as its readers need them.
    pub fn remember(mut self, duration: Duration) -> Self {
        self.config.remember = duration;
        self
    }

    /// Keeps inputs to what the program can process, as [`Backpressure`] says; by default they deliver all that is
    /// there. Takes a thread more, `tidemill-rates`.
    pub fn backpressure(mut self, backpressure: Backpressure) -> Self {
        self.config.backpressure = Some(backpressure);
        self
    }

    /// Where the context keeps what has to outlive it: which records each batch has, which outputs are done, and what
    /// operators keep from batch to batch. A path is the directory of a [`Checkpoint`] with its default settings. One
    /// context uses it at a time. A program that is started again goes on where it was left, however it ended: see
    /// [`get_or_create`](StreamingContext::get_or_create).
    ///
    /// Takes a thread more, `tidemill-checkpoint`, and each batch waits until its plan is on disk before it runs.
    pub fn checkpoint(mut self, checkpoint: impl Into<Checkpoint>) -> Self {
        self.config.checkpoint = Some(checkpoint.into());
        self
    }

    /// How many of the batches that were due while the program did not run are made up for when it goes on from its
    /// checkpoint; by default 10,000. What is left out are the last of them; the records that came in meanwhile are in
    /// the batches that are made up for, and in those after, as far as limits allow. As many batches as the longest
    /// window holds are always made up for, so that what it holds comes out.
    pub fn max_missed_batches(mut self, batches: u64) -> Self {
        self.config.max_missed_batches = batches;
        self
    }

    /// How many batches there are between two snapshots of what an operator keeps, where the program does not say.
    pub(crate) fn checkpoint_every(mut self, batches: Option<u32>) -> Self {
        self.config.checkpoint_every = batches;
        self
    }

    /// Where time comes from; by default the clock of the machine.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.config.clock = clock;
        self
    }

    /// Has shuffles encode what they move, as between processes.
    pub(crate) fn encoded_shuffle(mut self, encoded: bool) -> Self {
        self.config.encoded_shuffle = encoded;
        self
    }

    /// Makes the context. Nothing runs yet but the idle threads of the pool.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, all of them named.
    pub fn build(self) -> Result<StreamingContext> {
        let config = self.config;
        config.check()?;
        let store = if config.encoded_shuffle { MemoryStore::encoded() } else { MemoryStore::typed() };
        let executor = PoolExecutor::new(config.workers, crate::event_loop::adopt_thread)?;
        let partitions = Partitions::new(config.partitions.unwrap_or(config.workers.min(KEY_GROUPS)));
        let rates = config.backpressure.is_some();
        let rates = rates.then(|| Arc::new(ListenerBus::new("tidemill-rates", "rate estimator")));
        let runtime = Runtime::new(Box::new(executor), Arc::new(store), config.max_task_attempts, partitions);
        Ok(StreamingContext {
            graph: Arc::new(GraphBuilder::new(config.batch_interval, &runtime)),
            runtime,
            config,
            bus: Arc::new(ListenerBus::new("tidemill-listeners", "listener")),
            rates,
            status: Arc::new(Status::new()),
            scheduler: Mutex::new(None),
        })
    }
}
