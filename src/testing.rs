//! Runs a graph on a manual clock: batches in, emissions out. No sleeping, no wall clock, no broker.
//!
//! This is how programs are tested that are written with this crate, and how the crate tests itself: the context, its
//! threads and its pool are the real ones.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::unbounded;

use crate::checkpoint::{Checkpoint, SyncPolicy};
use crate::context::{StreamingContext, StreamingContextBuilder};
use crate::data::Data;
use crate::dstream::DStream;
use crate::error::{Error, ErrorKind, Result};
use crate::input::QueueSource;
use crate::listener::Event;
use crate::scheduler::Stop;
use crate::time::{Clock, ManualClock, Time};

/// Runs one batch a tick, one second apart from time 0 on, through the stream that `build` makes, and returns what
/// that stream emitted: one entry an emission, in time order.
///
/// A batch is a `Vec`, an array, or an `Option` of a `Vec`: at a `None` the input has no batch at all.
///
/// # Errors
///
/// What ends the context: mistakes in the graph, a failing task.
///
/// # Examples
///
/// ```
/// use tidemill::testing;
///
/// let out = testing::run([vec![1, 2], vec![], vec![3]], |numbers| numbers.map(|n| n * 10))?;
/// assert_eq!(out, [vec![10, 20], vec![], vec![30]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub fn run<B: IntoBatch, U: Data>(
    batches: impl IntoIterator<Item = B>,
    build: impl FnOnce(DStream<B::Record>) -> DStream<U>,
) -> Result<Vec<Vec<U>>> {
    TestRun::new().run(batches, build).map(Emissions::into_batches)
}

/// As [`run`], with two inputs. Ticks until the longer one has ended; the other is empty then.
///
/// # Errors
///
/// As [`run`].
///
/// # Examples
///
/// ```
/// use tidemill::testing;
///
/// let out = testing::run2([vec![1]], [vec![2], vec![3]], |left, right| left.union(&right))?;
/// assert_eq!(out, [vec![1, 2], vec![3]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub fn run2<A: IntoBatch, B: IntoBatch, U: Data>(
    left: impl IntoIterator<Item = A>,
    right: impl IntoIterator<Item = B>,
    build: impl FnOnce(DStream<A::Record>, DStream<B::Record>) -> DStream<U>,
) -> Result<Vec<Vec<U>>> {
    TestRun::new().run2(left, right, build).map(Emissions::into_batches)
}

/// A batch of a test's input.
pub trait IntoBatch {
    /// What the batch consists of.
    type Record: Data;

    /// The records, or `None` where the input has no batch.
    fn into_batch(self) -> Option<Vec<Self::Record>>;
}

impl<T: Data> IntoBatch for Vec<T> {
    type Record = T;

    fn into_batch(self) -> Option<Vec<T>> {
        Some(self)
    }
}

impl<T: Data, const N: usize> IntoBatch for [T; N] {
    type Record = T;

    fn into_batch(self) -> Option<Vec<T>> {
        Some(self.into())
    }
}

impl<T: Data> IntoBatch for Option<Vec<T>> {
    type Record = T;

    fn into_batch(self) -> Option<Vec<T>> {
        self
    }
}

/// A run of a graph with settings of its own.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::testing::TestRun;
///
/// let out = TestRun::new()
///     .batch_interval(Duration::from_millis(100))
///     .batches(3)
///     .run([vec![1], vec![2]], |numbers| numbers.count())?;
/// assert_eq!(out, [vec![1], vec![1], vec![0]]);
/// assert_eq!(out.times()[2].as_millis(), 300);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TestRun<R = Unbroken> {
    batch_interval: Duration,
    partitions: usize,
    batches: Option<usize>,
    workers: usize,
    shuffle_partitions: Option<usize>,
    max_task_attempts: u32,
    encoded_shuffle: bool,
    checkpoint_every: Option<u32>,
    restarts: R,
}

/// A [`TestRun`] in one go: the graph is built once.
#[derive(Clone, Copy, Debug)]
pub struct Unbroken;

/// A [`TestRun`] that is cut after some of its batches: the graph is built anew for each part.
#[derive(Clone, Debug)]
pub struct Cut(BTreeSet<usize>);

impl Default for TestRun {
    fn default() -> Self {
        TestRun::new()
    }
}

impl TestRun {
    /// A run with batches of one second, in two partitions, on two workers.
    pub fn new() -> Self {
        TestRun {
            batch_interval: Duration::from_secs(1),
            partitions: 2,
            batches: None,
            workers: 2,
            shuffle_partitions: None,
            max_task_attempts: 4,
            encoded_shuffle: false,
            checkpoint_every: None,
            restarts: Unbroken,
        }
    }

    /// Ends the context after so many batches, and has another one go on from its checkpoint: as if the program were
    /// killed and started again. May be said several times, for several cuts. From here on a graph is built by a
    /// closure that can be called again.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::TestRun;
    ///
    /// let sums = TestRun::new().restart_after(2).run([vec![1], vec![2], vec![3]], |numbers| {
    ///     let pairs = numbers.map(|n| ("all".to_string(), n));
    ///     pairs.update_state_by_key(|values, sum| Some(sum.unwrap_or(0) + values.iter().sum::<i32>())).map(|(_, sum)| sum)
    /// })?;
    /// assert_eq!(sums, [vec![1], vec![3], vec![6]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn restart_after(self, batches: usize) -> TestRun<Cut> {
        self.with_restarts(Cut(BTreeSet::from([batches])))
    }

    /// Runs the graph.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn run<B: IntoBatch, U: Data>(
        &self,
        batches: impl IntoIterator<Item = B>,
        build: impl FnOnce(DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        self.run_with_context(batches, |_, stream| build(stream))
    }

    /// Runs a graph that takes the context to be built: for [`StreamingContext::union`], say, or a dataset to be joined.
    ///
    /// # Errors
    ///
    /// As [`run`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::TestRun;
    ///
    /// let out = TestRun::new().run_with_context([vec![1], vec![2]], |context, numbers| {
    ///     let primes = context.parallelize([2, 3, 5], 1).collect().unwrap_or_default();
    ///     numbers.filter(move |n| primes.contains(n))
    /// })?;
    /// assert_eq!(out, [vec![], vec![2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn run_with_context<B: IntoBatch, U: Data>(
        &self,
        batches: impl IntoIterator<Item = B>,
        build: impl FnOnce(&StreamingContext, DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let queue = self.queue(batches);
        self.run_once(queue.len(), |context| build(context, context.input(queue)))
    }

    /// Runs a graph with two inputs.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn run2<A: IntoBatch, B: IntoBatch, U: Data>(
        &self,
        left: impl IntoIterator<Item = A>,
        right: impl IntoIterator<Item = B>,
        build: impl FnOnce(DStream<A::Record>, DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let (left, right) = (self.queue(left), self.queue(right));
        let length = left.len().max(right.len());
        self.run_once(length, |context| build(context.input(left), context.input(right)))
    }

    fn run_once<U: Data>(
        &self,
        input_length: usize,
        build: impl FnOnce(&StreamingContext) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let run = Run::new(self, None);
        run.part(0..self.batches.unwrap_or(input_length), build)?;
        Ok(run.emissions())
    }
}

impl TestRun<Cut> {
    /// As [`TestRun::restart_after`]: one more cut.
    pub fn restart_after(mut self, batches: usize) -> Self {
        self.restarts.0.insert(batches);
        self
    }

    /// As [`TestRun::run`](TestRun::<Unbroken>::run); `build` is called once for every part of the run.
    ///
    /// # Errors
    ///
    /// As [`run`], and a graph that cannot go on from a checkpoint.
    pub fn run<B: IntoBatch, U: Data>(
        &self,
        batches: impl IntoIterator<Item = B>,
        build: impl Fn(DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        self.run_with_context(batches, |_, stream| build(stream))
    }

    /// As [`TestRun::run_with_context`](TestRun::<Unbroken>::run_with_context); `build` is called once for every part of
    /// the run.
    ///
    /// # Errors
    ///
    /// As [`run`](TestRun::<Cut>::run).
    pub fn run_with_context<B: IntoBatch, U: Data>(
        &self,
        batches: impl IntoIterator<Item = B>,
        build: impl Fn(&StreamingContext, DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let queue = self.queue(batches);
        self.run_in_parts(queue.len(), |context| build(context, context.input(queue.clone())))
    }

    /// As [`TestRun::run2`](TestRun::<Unbroken>::run2); `build` is called once for every part of the run.
    ///
    /// # Errors
    ///
    /// As [`run`](TestRun::<Cut>::run).
    pub fn run2<A: IntoBatch, B: IntoBatch, U: Data>(
        &self,
        left: impl IntoIterator<Item = A>,
        right: impl IntoIterator<Item = B>,
        build: impl Fn(DStream<A::Record>, DStream<B::Record>) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let (left, right) = (self.queue(left), self.queue(right));
        let length = left.len().max(right.len());
        self.run_in_parts(length, |context| build(context.input(left.clone()), context.input(right.clone())))
    }

    fn run_in_parts<U: Data>(
        &self,
        input_length: usize,
        build: impl Fn(&StreamingContext) -> DStream<U>,
    ) -> Result<Emissions<U>> {
        let directory = tempfile::tempdir()?;
        let run = Run::new(self, Some(directory.path()));
        let batches = self.batches.unwrap_or(input_length);
        let mut from = 0;
        for &until in self.restarts.0.range(..batches).chain([&batches]) {
            run.part(from..until, &build)?;
            from = until;
        }
        Ok(run.emissions())
    }
}

impl<R> TestRun<R> {
    /// The time between two batches.
    pub fn batch_interval(mut self, interval: Duration) -> Self {
        self.batch_interval = interval;
        self
    }

    /// Into how many partitions each batch of the input is cut.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many ticks to run; by default as many as the input has batches. The input is empty after its last batch.
    pub fn batches(mut self, batches: usize) -> Self {
        self.batches = Some(batches);
        self
    }

    /// How many tasks run at the same time.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Into how many partitions a shuffle goes when the operator does not say; by default one a worker.
    pub fn shuffle_partitions(mut self, partitions: usize) -> Self {
        self.shuffle_partitions = Some(partitions);
        self
    }

    /// How often a task may be tried before the run fails; by default 4.
    pub fn max_task_attempts(mut self, attempts: u32) -> Self {
        self.max_task_attempts = attempts;
        self
    }

    /// Has shuffles encode and decode what they move, as they do between processes.
    pub fn encoded_shuffle(mut self) -> Self {
        self.encoded_shuffle = true;
        self
    }

    /// How many batches there are between two snapshots of what operators keep, where the program does not say; by
    /// default as many as [`DStream::checkpoint_interval`] tells. Only a run that is cut has a checkpoint.
    pub fn checkpoint_every(mut self, batches: u32) -> Self {
        self.checkpoint_every = Some(batches);
        self
    }

    fn with_restarts<S>(self, restarts: S) -> TestRun<S> {
        let TestRun { batch_interval, partitions, batches, workers, shuffle_partitions, .. } = self;
        let TestRun { max_task_attempts, encoded_shuffle, checkpoint_every, .. } = self;
        TestRun {
            batch_interval,
            partitions,
            batches,
            workers,
            shuffle_partitions,
            max_task_attempts,
            encoded_shuffle,
            checkpoint_every,
            restarts,
        }
    }

    fn queue<B: IntoBatch>(&self, batches: impl IntoIterator<Item = B>) -> QueueSource<B::Record> {
        let queue = QueueSource::one_at_a_time().partitions(self.partitions);
        for batch in batches {
            match batch.into_batch() {
                Some(records) => queue.push(records),
                None => queue.push_none(),
            }
        }
        queue
    }
}

/// Batches with their times, in the order in which they came out.
type Emitted<U> = Vec<(Time, Vec<U>)>;

/// A run under way: what stays from one part to the next.
struct Run<U> {
    clock: ManualClock,
    settings: StreamingContextBuilder,
    batch_interval: Duration,
    emitted: Arc<Mutex<Emitted<U>>>,
}

impl<U: Data> Run<U> {
    fn new<R>(run: &TestRun<R>, checkpoint: Option<&Path>) -> Self {
        let clock = ManualClock::new();
        let settings = StreamingContext::builder("test")
            .batch_interval(run.batch_interval)
            .workers(run.workers)
            .partitions(run.shuffle_partitions.unwrap_or(run.workers))
            .max_task_attempts(run.max_task_attempts)
            .encoded_shuffle(run.encoded_shuffle)
            .checkpoint_every(run.checkpoint_every)
            .clock(Clock::manual(&clock));
        let settings = match checkpoint {
            // Nothing is killed here that would leave bytes with the system.
            Some(directory) => settings.checkpoint(Checkpoint::new(directory).sync(SyncPolicy::Never)),
            None => settings,
        };
        Run { clock, settings, batch_interval: run.batch_interval, emitted: Arc::default() }
    }

    /// Runs batches in a context of their own.
    fn part(&self, batches: Range<usize>, build: impl FnOnce(&StreamingContext) -> DStream<U>) -> Result<()> {
        let context = self.settings.clone().build()?;
        let emissions = Arc::clone(&self.emitted);
        build(&context).foreach_batch(move |dataset, batch| {
            let records = dataset.collect()?;
            emissions.lock().unwrap_or_else(PoisonError::into_inner).push((batch.time, records));
            Ok(())
        });
        let (done, batches_done) = unbounded();
        context.add_listener(move |event: &Event| {
            if matches!(event, Event::BatchCompleted(_) | Event::Failed { .. }) {
                // The run may have ended with an error.
                let _ = done.send(());
            }
        });
        context.start()?;
        for _ in batches {
            self.clock.advance(self.batch_interval);
            batches_done.recv().map_err(|_| Error::new(ErrorKind::Internal, "the listener thread has ended"))?;
            if context.state() != crate::scheduler::State::Active {
                break;
            }
        }
        context.stop(Stop::Now)
    }

    fn emissions(self) -> Emissions<U> {
        let emitted = std::mem::take(&mut *self.emitted.lock().unwrap_or_else(PoisonError::into_inner));
        let (times, batches) = emitted.into_iter().unzip();
        Emissions { times, batches }
    }
}

/// What a stream emitted, in time order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emissions<T> {
    times: Vec<Time>,
    batches: Vec<Vec<T>>,
}

impl<T> Emissions<T> {
    /// The records of each emission.
    pub fn batches(&self) -> &[Vec<T>] {
        &self.batches
    }

    /// The batch time of each emission.
    pub fn times(&self) -> &[Time] {
        &self.times
    }

    /// The records of each emission, to keep.
    pub fn into_batches(self) -> Vec<Vec<T>> {
        self.batches
    }

    /// The same emissions with the records of each sorted: to compare where the order is free.
    #[must_use]
    pub fn sorted(mut self) -> Self
    where
        T: Ord,
    {
        self.batches.iter_mut().for_each(|batch| batch.sort());
        self
    }
}

impl<T: PartialEq<U>, U> PartialEq<Vec<Vec<U>>> for Emissions<T> {
    fn eq(&self, other: &Vec<Vec<U>>) -> bool {
        self.batches[..] == other[..]
    }
}

impl<T: PartialEq<U>, U, const N: usize> PartialEq<[Vec<U>; N]> for Emissions<T> {
    fn eq(&self, other: &[Vec<U>; N]) -> bool {
        self.batches[..] == other[..]
    }
}
