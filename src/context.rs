//! The front door: settings in, a running graph out.

mod builder;

use std::ops::AddAssign;
use std::panic::Location;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Config;
use crate::data::{Data, Exchange};
use crate::dataset::{Dataset, Header};
use crate::dstream::{AsDStream, DStream, GraphBuilder, StreamSet};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::exec::{Accumulator, Broadcast, Runtime};
use crate::input::{Source, SourceContext, cut};
use crate::listener::{Event, Listener, ListenerBus};
use crate::scheduler::{Scheduler, Setting, Settings, State, Status, Stop, Surroundings};
use crate::time::Time;

pub use builder::StreamingContextBuilder;

/// The entry to everything: inputs are made from it, it starts the graph that they and their streams form, and stops
/// it.
///
/// Its life goes one way: it is built, streams are made, it is started once and stopped once. Dropping a running
/// context stops it as [`Stop::Now`] does. All methods take `&self`: share it by reference or in an `Arc`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::prelude::*;
///
/// let context = StreamingContext::builder("evens").batch_interval(Duration::from_millis(10)).build()?;
/// let numbers = QueueSource::one_at_a_time();
/// numbers.push(1..=10);
/// let (send, evens) = std::sync::mpsc::channel();
/// context.input(numbers).filter(|n| n % 2 == 0).count().foreach_batch(move |counts, _| {
///     counts.foreach(|count| send.send(count).map_err(Error::user))
/// });
/// context.start()?;
/// assert_eq!(evens.recv()?, 5);
/// context.stop(Stop::Gracefully)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StreamingContext {
    config: Config,
    runtime: Runtime,
    graph: Arc<GraphBuilder>,
    bus: Arc<ListenerBus>,
    /// Another one for the rate controllers, which have to keep up whatever listeners of the program do.
    rates: Option<Arc<ListenerBus>>,
    status: Arc<Status>,
    scheduler: Mutex<Option<Scheduler>>,
}

impl StreamingContext {
    /// Begins the settings of a context. The name appears in logs and metrics.
    pub fn builder(app_name: impl Into<String>) -> StreamingContextBuilder {
        StreamingContextBuilder { config: Config::new(app_name.into()) }
    }

    /// Makes a context with a [checkpoint](StreamingContextBuilder::checkpoint), and its graph by calling `build`. When it
    /// is [started](StreamingContext::start), it goes on where the checkpoint was left; if there is none yet, it begins.
    ///
    /// Spark's `getOrCreate`, with a difference: `build` always runs, since code comes from the program, and only data
    /// from the checkpoint. So the program may have changed in between, see the guide's chapter on upgrades.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, or no checkpoint among them; an error of `build`. What is wrong with the checkpoint
    /// is reported by `start`.
    ///
    /// # Examples
    ///
    /// A sum that goes on after the program has ended:
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    ///
    /// fn sum_up(directory: &std::path::Path, numbers: &QueueSource<u64>) -> Result<u64> {
    ///     let (send, sums) = std::sync::mpsc::channel();
    ///     let builder = StreamingContext::builder("sums").batch_interval(Duration::from_millis(10));
    ///     let context = StreamingContext::get_or_create(builder.checkpoint(directory), |context| {
    ///         let pairs = context.input(numbers.clone()).map(|n| ("all".to_string(), n));
    ///         let sums = pairs.update_state_by_key(|values, sum: Option<u64>| {
    ///             Some(sum.unwrap_or(0) + values.into_iter().sum::<u64>())
    ///         });
    ///         sums.foreach_batch(move |sums, _| send.send(sums.collect()?[0].1).map_err(Error::user));
    ///         Ok(())
    ///     })?;
    ///     context.start()?;
    ///     let sum = sums.recv().map_err(Error::user)?;
    ///     context.stop(Stop::Gracefully)?;
    ///     Ok(sum)
    /// }
    ///
    /// let directory = tempfile::tempdir()?;
    /// let numbers = QueueSource::one_at_a_time();
    /// numbers.push([1, 2, 3]);
    /// assert_eq!(sum_up(directory.path(), &numbers)?, 6);
    /// numbers.push([4]);
    /// assert_eq!(sum_up(directory.path(), &numbers)?, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_create(
        builder: StreamingContextBuilder,
        build: impl FnOnce(&StreamingContext) -> Result<()>,
    ) -> Result<StreamingContext> {
        if builder.config.checkpoint.is_none() {
            let message = "get_or_create needs a checkpoint to get the context from: name its directory in \
                           `StreamingContextBuilder::checkpoint`";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let context = builder.build()?;
        build(&context)?;
        Ok(context)
    }

    /// Makes a stream of what a source delivers.
    #[track_caller]
    pub fn input<T: Data>(&self, source: impl Source<T>) -> DStream<T> {
        DStream::from_source(&self.graph, source, Location::caller())
    }

    /// The records of all `streams`' batches of a time, in their order; duplicates stay.
    ///
    /// # Errors
    ///
    /// No stream at all, and streams of different slide durations or contexts, are reported by
    /// [`start`](StreamingContext::start). A batch that one of them does not have at a time is an error and stops the
    /// context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::TestRun;
    ///
    /// let all = TestRun::new().run_with_context([vec![1, 2], vec![3]], |context, numbers| {
    ///     context.union([&numbers, &numbers.map(|n| n * 10), &numbers.map(|n| n * 100)])
    /// })?;
    /// assert_eq!(all, [vec![1, 2, 10, 20, 100, 200], vec![3, 30, 300]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn union<S: AsDStream>(&self, streams: impl IntoIterator<Item = S>) -> DStream<S::Record> {
        let streams = streams.into_iter().map(|stream| stream.to_dstream()).collect();
        DStream::union_all(&self.graph, streams, Location::caller())
    }

    /// Makes of the datasets that `streams` have at a time another one, as
    /// [`DStream::transform`] does of one stream: a tuple of two to four streams of any records, or an array, a slice or
    /// a `Vec` of streams of the same. `f` gets the datasets in the same form, those of a slice in a `Vec`.
    ///
    /// # Errors
    ///
    /// As [`union`](StreamingContext::union), and an error of `f` stops the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::TestRun;
    ///
    /// let stamped = TestRun::new().run_with_context([vec![1, 2]], |context, numbers| {
    ///     let words = numbers.map(|n| format!("number {n}"));
    ///     context.transform((&numbers, &words), |(numbers, words), time| {
    ///         Ok(words.union(&numbers.map(move |n| format!("{n} at {time}"))))
    ///     })
    /// })?;
    /// assert_eq!(stamped, [vec!["number 1", "number 2", "1 at 1000 ms", "2 at 1000 ms"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn transform<S: StreamSet, U: Data>(
        &self,
        streams: S,
        f: impl Fn(S::Datasets, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
    ) -> DStream<U> {
        DStream::transform_all("transform", &self.graph, streams.together(), f, Location::caller())
    }

    /// Makes a dataset of records at hand, cut into `partitions` parts of equal size: to be joined with a stream in
    /// [`transform`](DStream::transform), say. The records stay in memory as long as the dataset is used.
    ///
    /// # Errors
    ///
    /// Of every action: no partitions at all.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let primes = context.parallelize([2, 3, 5, 7], 2);
    /// assert_eq!(primes.collect_partitions()?, [[2, 3], [5, 7]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn parallelize<T: Data>(&self, records: impl IntoIterator<Item = T>, partitions: usize) -> Dataset<T> {
        if partitions == 0 {
            let error = Error::new(ErrorKind::Graph, "0 partitions: there has to be one at least");
            return Dataset::failing(Header::new("parallelize"), error, &self.runtime);
        }
        Dataset::of(cut(records.into_iter().collect(), partitions), &self.runtime)
    }

    /// Makes a dataset of the lines of a text file, or of the text files of a directory: a partition a file, in the
    /// order of their names. Files whose names begin with `.` or `_` are left out.
    ///
    /// Which files there are is looked up now, what is in them when an action runs: until then they have to stay as
    /// they are. A line ends with `\n` or `\r\n`, which do not belong to it.
    ///
    /// # Errors
    ///
    /// Of every action: a path that cannot be read; a file that is not UTF-8, with its name and line.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("spring"), "ebb\nflood\n")?;
    /// std::fs::write(folder.path().join("neap"), "slack")?;
    /// let lines = context.text_file(folder.path());
    /// assert_eq!(lines.collect_partitions()?, [vec!["slack"], vec!["ebb", "flood"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn text_file(&self, path: impl AsRef<Path>) -> Dataset<String> {
        Dataset::of_text(path.as_ref(), &self.runtime)
    }

    /// Makes a dataset of what [`save_as_object_file`](Dataset::save_as_object_file) or
    /// [`save_as_object_files`](DStream::save_as_object_files) has written: a partition a file, in the order of their
    /// names.
    ///
    /// Which files there are is looked up now, what is in them when an action runs: until then they have to stay as
    /// they are. The type has to be that of the records that were written, or one that serde reads alike; the files do
    /// not say.
    ///
    /// # Errors
    ///
    /// Of every action: a path that cannot be read; a file that is cut short, damaged or of other records, with its
    /// name and the offset.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("levels");
    /// context.parallelize([71, 12], 2).save_as_object_file(&path)?;
    /// let levels = context.object_file::<i32>(&path);
    /// assert_eq!(levels.collect_partitions()?, [[71], [12]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn object_file<T: Exchange>(&self, path: impl AsRef<Path>) -> Dataset<T> {
        Dataset::of_objects(path.as_ref(), &self.runtime)
    }

    /// Makes a total that the closures of the program add to, from all tasks: a number, a `Duration`, whatever can be
    /// added up. See [`Accumulator`] for what counts. The name appears in errors.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let letters = context.accumulator::<usize>("letters");
    /// let sum = letters.clone();
    /// context.parallelize(["tide", "mill"], 2).map(move |word| sum.add(word.len())).count()?;
    /// assert_eq!(letters.value(), 8);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn accumulator<T: Default + AddAssign + Send + 'static>(&self, name: impl Into<String>) -> Accumulator<T> {
        Accumulator::sum(name.into())
    }

    /// As [`accumulator`](StreamingContext::accumulator), for whatever can be merged: the total begins with `zero`, and
    /// `merge` adds what was added. It has to be associative and commutative, since tasks end in any order; it adds to
    /// no accumulator itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeSet;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let places = context.accumulator_with("places", BTreeSet::new(), |all, mut more| all.append(&mut more));
    /// let seen = places.clone();
    /// context.parallelize(["north", "south", "north"], 2).map(move |place| seen.add([place].into())).count()?;
    /// assert_eq!(places.value(), ["north", "south"].into());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn accumulator_with<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        zero: T,
        merge: impl Fn(&mut T, T) + Send + Sync + 'static,
    ) -> Accumulator<T> {
        Accumulator::new(name.into(), zero, merge)
    }

    /// Makes a value that all tasks read: a table to look things up in, say. See [`Broadcast`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let depths = context.broadcast(std::collections::HashMap::from([("Hull", 7), ("Kiel", 11)]));
    /// let ports = context.parallelize(["Kiel", "Hull"], 2);
    /// assert_eq!(ports.map(move |port| depths[port]).collect()?, [11, 7]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn broadcast<T: Send + Sync + 'static>(&self, value: T) -> Broadcast<T> {
        Broadcast::new(self.runtime.next_broadcast(), value)
    }

    /// Adds a listener, before or after the start. It learns of what happens from here on.
    pub fn add_listener(&self, listener: impl Listener) {
        self.bus.add(listener);
    }

    /// Starts the inputs and the clock: the first batch comes at the next multiple of the batch interval.
    ///
    /// # Errors
    ///
    /// Every mistake made in building the graph, each with its line; an input that cannot start; a context that was
    /// started before. After an error the context is stopped.
    pub fn start(&self) -> Result<()> {
        let mut scheduler = self.scheduler();
        match self.status.state() {
            State::Initialized => {}
            state => {
                let message = format!("the context is {state:?} and cannot be started: build another one");
                return Err(Error::new(ErrorKind::State, message));
            }
        }
        match self.start_parts() {
            Ok(started) => {
                *scheduler = Some(started);
                self.status.set(State::Active);
                Ok(())
            }
            Err(error) => {
                self.graph.close();
                let clock = &self.config.clock;
                // The error of the start is the one to tell.
                let _ = self.stop_buses(clock.now() + self.config.stop_timeout());
                self.status.set(State::Stopped);
                Err(error)
            }
        }
    }

    fn start_parts(&self) -> Result<Scheduler> {
        let clock = &self.config.clock;
        let interval = self.config.batch_interval;
        let on_error = self.on_error();
        if self.config.checkpoint.is_some() {
            self.graph.has_checkpoint(self.config.checkpoint_every.map(|batches| interval * batches));
        }
        let graph = self.graph.finish(self.config.concurrent_jobs, Arc::clone(&on_error))?;
        self.bus.start(Arc::clone(&on_error))?;
        tracing::info!(app = self.config.app_name, ?interval, "starting");
        if let Some(rates) = &self.rates {
            rates.start(Arc::clone(&on_error))?;
        }
        let common = self.source_context();
        let inputs = |stream, _, name: &str| {
            let context = common.of_input(stream, name);
            let (Some(backpressure), Some(rates)) = (&self.config.backpressure, &self.rates) else {
                return Ok(context);
            };
            let (controller, limit) = backpressure.control(stream, name, interval, &on_error)?;
            rates.add(controller);
            Ok(context.limited_by(limit))
        };
        let settings = Settings {
            setting: Setting {
                app_name: self.config.app_name.clone(),
                batch_interval: interval,
                remember: self.config.remember,
                checkpoint: self.config.checkpoint.clone(),
                max_missed_batches: self.config.max_missed_batches,
            },
            concurrent_jobs: self.config.concurrent_jobs,
            max_queued_batches: self.config.max_queued_batches,
            outputs: self.config.outputs,
        };
        let with = Surroundings {
            clock: clock.clone(),
            bus: Arc::clone(&self.bus),
            rates: self.rates.clone(),
            status: Arc::clone(&self.status),
            on_error: Arc::clone(&on_error),
        };
        Scheduler::start(graph, &inputs, &settings, &with)
    }

    /// What inputs have of the context.
    pub(crate) fn source_context(&self) -> SourceContext {
        let bus = Arc::clone(&self.bus);
        let on_event = Arc::new(move |event| bus.post(event));
        let Config { clock, batch_interval, .. } = &self.config;
        SourceContext::new(&self.runtime, clock, *batch_interval, self.on_error(), on_event)
    }

    /// What every thread does with an error: keep the first, throw away what waits, tell the listeners.
    fn on_error(&self) -> OnError {
        let (status, bus) = (Arc::clone(&self.status), Arc::clone(&self.bus));
        Arc::new(move |error| {
            if status.fail(&error) {
                tracing::error!(%error, "the context stops");
                bus.post(Event::Failed { error: error.to_string() });
            } else {
                tracing::warn!(%error, "a further error while the context stops");
            }
        })
    }

    /// Ends the context, within the stop timeout of its settings, and joins its threads. A second stop does nothing.
    ///
    /// # Errors
    ///
    /// The error that ended the context before; an input that could not commit; what ran past the timeout (jobs, a
    /// source, a listener), each named. From a thread of the context itself (an output operation, a listener) a stop is
    /// refused: it would wait for itself.
    pub fn stop(&self, how: Stop) -> Result<()> {
        if crate::event_loop::is_own_thread() {
            let message = "stop() was called on a thread of the engine, which would wait for itself: \
                           tell another thread to stop the context";
            return Err(Error::new(ErrorKind::State, message));
        }
        if self.status.state() == State::Initialized {
            // It may be starting, and wait for a checkpoint that another process has.
            self.status.drop_queued_jobs();
        }
        // Held to the end: who stops at the same time waits too.
        let mut scheduler = self.scheduler();
        let clock = &self.config.clock;
        let deadline = clock.now() + self.config.stop_timeout();
        let outcome = match scheduler.take() {
            Some(scheduler) => scheduler.stop(how, deadline, &self.status),
            None => Ok(()),
        };
        self.graph.close();
        let outcome = outcome.and(self.stop_buses(deadline));
        self.status.set(State::Stopped);
        self.status.outcome().and(outcome)
    }

    /// Waits until somebody stops the context or an error ends it.
    ///
    /// # Errors
    ///
    /// The error that ended the context. The context has then been stopped as by [`Stop::Now`].
    pub fn await_termination(&self) -> Result<()> {
        self.status.wait(None);
        self.after_termination()
    }

    /// As [`await_termination`](StreamingContext::await_termination), at most for `timeout`; returns whether the
    /// context has stopped.
    ///
    /// # Errors
    ///
    /// As [`await_termination`](StreamingContext::await_termination).
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        if !self.status.wait(Some(timeout)) {
            return Ok(false);
        }
        self.after_termination().map(|()| true)
    }

    fn after_termination(&self) -> Result<()> {
        let error = self.status.outcome();
        if error.is_err() && !crate::event_loop::is_own_thread() {
            return self.stop(Stop::Now).and(error);
        }
        error
    }

    /// Where the context is in its life.
    pub fn state(&self) -> State {
        self.status.state()
    }

    /// The name it was given.
    pub fn app_name(&self) -> &str {
        &self.config.app_name
    }

    fn buses(&self) -> impl Iterator<Item = &ListenerBus> {
        self.rates.iter().chain([&self.bus]).map(|bus| &**bus)
    }

    /// Stops all of them, also after one could not be stopped, and returns the first error.
    fn stop_buses(&self, deadline: Time) -> Result<()> {
        let alarm = || self.config.clock.alarm(deadline);
        let outcomes: Vec<_> = self.buses().map(|bus| bus.stop(&alarm())).collect();
        outcomes.into_iter().collect()
    }

    fn scheduler(&self) -> MutexGuard<'_, Option<Scheduler>> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamingContext {
    fn drop(&mut self) {
        if crate::event_loop::is_own_thread() {
            // A closure of the graph held the last handle: this thread is one of those that a stop would wait for.
            if let Some(scheduler) = self.scheduler().take() {
                scheduler.abandon(&self.status);
            }
            self.graph.close();
            self.buses().for_each(ListenerBus::abandon);
            return self.status.set(State::Stopped);
        }
        if let Err(error) = self.stop(Stop::Now) {
            if !self.status.has_failed() {
                tracing::error!(%error, "the context was dropped and did not stop well");
            }
        }
    }
}
