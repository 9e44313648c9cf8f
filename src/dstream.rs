//! Streams: operators that look across batches, and the graph they form.
//!
//! An operator is asked for its dataset at a batch time and asks its parents; everything that all operators share
//! (which times are valid, what is remembered, that a stream used twice is computed once) is in `node.rs`. What looks
//! at one batch only is lifted from `dataset`.

mod batches;
pub(crate) mod binding;
mod checkpoint;
mod foreach;
mod graph;
mod input;
mod job;
mod keyed;
mod name;
mod node;
mod persist;
mod planning;
mod slice;
mod stateful;
mod stateless;
mod together;
mod windowed;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::data::{Data, Exchange, Partitions};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::exec::Runtime;
use crate::state::{Durable, Migrations, StateInfo};
use crate::time::{Interval, Time, is_multiple};

use batches::BatchFormat;
pub use foreach::Batch;
pub(crate) use graph::{DStreamGraph, GraphBuilder, Part, PartRole, Planned, Settle, off_grid};
pub(crate) use input::{PlannedInput, source_plan};
pub(crate) use job::Job;
use name::Mark;
use node::{AnyNode, Edge, Member, Node};
pub use stateful::{MapWithState, StateSpec, UpdateSpec};
pub use together::{AsDStream, StreamSet, Together};

/// A stream of batches: at every multiple of its slide duration it has a [`Dataset`].
///
/// A handle: cloning is cheap, operators take `&self` and return new streams, and nothing runs before
/// [`StreamingContext::start`](crate::StreamingContext::start). A stream that several others read is computed once a
/// batch and kept in memory for as long as one of them needs it.
///
/// A mistake in building the graph (a window that is no multiple of the slide duration, say) is noted with its line
/// and reported by `start`, together with all others.
///
/// # Examples
///
/// ```
/// use tidemill::testing;
///
/// let out = testing::run([vec!["to be", "or not"], vec!["to be"]], |lines| {
///     lines.flat_map(|line| line.split(' ')).count()
/// })?;
/// assert_eq!(out, [vec![4], vec![2]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct DStream<T> {
    node: Arc<Node<T>>,
    graph: Arc<GraphBuilder>,
}

impl<T> Clone for DStream<T> {
    fn clone(&self) -> Self {
        DStream { node: Arc::clone(&self.node), graph: Arc::clone(&self.graph) }
    }
}

impl<T> DStream<T> {
    /// Names the operators of the stream that were built since `mark` after a variable.
    fn name_after_binding(&self, variable: &str, mark: Mark) {
        name::name_after_binding(variable, &self.node.as_named(), mark);
    }
}

impl<T: Data> fmt::Debug for DStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DStream({} at {})", self.node.name(), self.node.site())
    }
}

/// What makes a stream: asked for its dataset at a time, it asks its parents.
pub(crate) trait Operator<T>: Send + Sync + 'static {
    /// The method that builds it.
    fn name(&self) -> &str;

    /// What the operator is, for its id: what in the name may change from one program to the next is not in it.
    fn kind(&self) -> &str {
        self.name()
    }

    /// Which part it is, if the operator is built as one of the operator that reads it: it is found by that one's name
    /// then.
    fn part(&self) -> Option<&'static str> {
        None
    }

    /// How far apart its batches are.
    fn slide(&self) -> Duration;

    /// The streams it reads, and for how long it needs their batches.
    fn parents(&self) -> Vec<Edge>;

    /// Returns the dataset at `at`, a multiple of the slide duration after the zero time.
    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>>;

    /// The operator, called `name`, that has only the records for which `filter` holds, if it is more than this one with
    /// a filter behind it.
    fn filtered(&self, _name: &str, _filter: &Predicate<T>) -> Option<Box<dyn Operator<T>>> {
        None
    }

    /// The stream whose records are kept if this one is to be persisted: a window has none of its own.
    fn keeper(&self) -> Option<&DStream<T>> {
        None
    }

    /// Whether batches have to be computed in the order of their times.
    fn needs_order(&self) -> bool {
        false
    }

    /// What the operator keeps from batch to batch. Such an operator is computed at each of its times, whoever asks for
    /// it.
    fn durable(&self) -> Option<Arc<dyn Durable>> {
        None
    }

    /// How much the operator keeps of the keys of its state.
    fn state_info(&self) -> Option<StateInfo> {
        None
    }

    /// How often a snapshot of what the operator keeps begins if nobody says so: Spark's rule.
    fn automatic_checkpoint(&self) -> Duration {
        checkpoint::automatic_interval(self.slide())
    }

    /// How the operator's batches are saved, if it knows what bytes its records have and making them again costs more,
    /// or cannot be done.
    fn batch_format(&self) -> Option<&BatchFormat<T>> {
        None
    }

    /// Whether `compute` runs a closure of the program that builds datasets. What they do is then named after the line
    /// in the closure and not after this operator.
    fn runs_user_code(&self) -> bool {
        false
    }
}

/// Which records to keep.
pub(crate) type Predicate<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

impl<T: Data> DStream<T> {
    /// Adds an operator to a graph.
    pub(crate) fn build(
        graph: &Arc<GraphBuilder>,
        operator: Box<dyn Operator<T>>,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        graph.check_open(operator.name(), site);
        DStream { node: Arc::new(Node::new(operator, site)), graph: Arc::clone(graph) }
    }

    /// Adds an operator to the graph that this stream belongs to.
    #[track_caller]
    fn attach<U: Data>(&self, operator: impl Operator<U>) -> DStream<U> {
        DStream::build(&self.graph, Box::new(operator), Location::caller())
    }

    /// Gives the stream a name, for errors, events and metrics: instead of `map`, say, `clicks per user`.
    ///
    /// What the operator keeps is found by this name after a restart, wherever in the graph the operator is then: keep
    /// the name, and no two operators that keep something may share one. The attribute
    /// [`pipeline`](macro@crate::pipeline) names streams after their variables; this name wins.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing;
    ///
    /// let error = testing::run([vec![0]], |numbers| numbers.map(|n| 1 / n).named("shares")).unwrap_err();
    /// assert!(error.to_string().contains("operator shares"), "{error}");
    /// ```
    #[must_use]
    #[track_caller]
    pub fn named(&self, name: impl Into<String>) -> DStream<T> {
        let name = name.into();
        if let Err(taken) = self.node.set_label(&name) {
            let message = format!("the stream cannot be named {name}: it has the name {taken} already");
            self.graph.mistake(Location::caller(), message);
        }
        self.clone()
    }

    /// How far apart the batches of this stream are: the batch interval, unless a window made it longer.
    pub fn slide_duration(&self) -> Duration {
        self.node.slide()
    }

    /// How many keys the operator of this stream keeps a state for, and in how many bytes; `None` for an operator that
    /// keeps none. As of the last batch that each partition has had.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let sizes = run([vec![(7, 1), (8, 1)], vec![(9, 1)]], |pairs| {
    ///     let sums = pairs.update_state_by_key(|values, sum| Some(sum.unwrap_or(0) + values.iter().sum::<i32>()));
    ///     let totals = sums.clone();
    ///     sums.transform(move |batch, _| {
    ///         let count = batch.count()?;
    ///         assert_eq!(totals.state_info().map(|info| info.keys), Some(count));
    ///         Ok(batch.map(|(key, _)| key))
    ///     })
    /// })?;
    /// assert_eq!((sizes[0].len(), sizes[1].len()), (2, 3));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn state_info(&self) -> Option<StateInfo> {
        self.node.state_info()
    }

    /// What the datasets of this stream run on.
    fn runtime(&self) -> &Runtime {
        self.graph.runtime()
    }

    /// The dataset of a batch.
    pub(crate) fn at(&self, time: Time) -> Result<Option<Dataset<T>>> {
        self.node.get_or_compute(time)
    }

    /// The batches of an interval, with their times. There is none before the first.
    fn batches(&self, interval: Interval) -> Result<Vec<(Time, Dataset<T>)>> {
        let mut batches = Vec::new();
        for time in self.node.since_start(interval).steps(self.slide_duration()) {
            batches.extend(self.at(time)?.map(|batch| (time, batch)));
        }
        Ok(batches)
    }

    /// As [`at`](DStream::at), for operators that cannot do without a batch.
    pub(crate) fn expect_at(&self, time: Time, by: &str) -> Result<Dataset<T>> {
        self.at(time)?.ok_or_else(|| self.node.no_batch(time, by))
    }

    /// The edge of an operator that needs a batch of this stream only at its own time.
    fn edge(&self) -> Edge
    where
        T: Data,
    {
        self.edge_once(Duration::ZERO)
    }

    /// The edge of an operator that needs the batches of this stream for a window.
    fn edge_for(&self, window: Duration) -> Edge {
        Edge { once: window.is_zero(), ..self.edge_once(window) }
    }

    /// The edge of an operator that needs the batches of this stream for a window, and each of them in one window only.
    fn edge_once(&self, window: Duration) -> Edge {
        Edge { node: Arc::clone(&self.node) as Arc<dyn AnyNode>, window, once: true }
    }

    /// Notes a mistake unless `duration` is a multiple of this stream's slide duration.
    #[track_caller]
    fn check_multiple(&self, what: &str, duration: Duration) {
        if !is_multiple(duration, self.slide_duration()) {
            let message = format!(
                "the {what} {duration:?} is no multiple of {:?}, the slide duration of the stream {} ({}:{})",
                self.slide_duration(),
                self.node.name(),
                self.node.site().file(),
                self.node.site().line()
            );
            self.graph.mistake(Location::caller(), message);
        }
    }

    /// Notes a mistake if `duration` is zero.
    #[track_caller]
    fn check_positive(&self, what: &str, duration: Duration) {
        if duration.is_zero() {
            self.graph.mistake(Location::caller(), format!("the {what} is zero"));
        }
    }

    /// Notes a mistake if a shuffle cannot go into so many partitions.
    #[track_caller]
    fn check_partitions(&self, partitions: Partitions) {
        if let Some(mistake) = partitions.mistake() {
            self.graph.mistake(Location::caller(), mistake);
        }
    }

    /// Notes what is wrong with the versions of a state.
    #[track_caller]
    fn check_migrations<S: Exchange>(&self, migrations: &Migrations<S>) {
        for mistake in migrations.mistakes() {
            self.graph.mistake(Location::caller(), mistake);
        }
    }

    /// This stream as one that an operator reads together with others.
    fn member(&self) -> Member {
        Member { edge: self.edge(), graph: Arc::clone(&self.graph) }
    }

    /// A stream each of whose batches is made from the batch of this stream at the same time.
    #[track_caller]
    fn lift<U: Data>(
        &self,
        name: &'static str,
        f: impl Fn(Dataset<T>) -> Dataset<U> + Send + Sync + 'static,
    ) -> DStream<U> {
        self.attach(Lift { name, parent: self.clone(), needs_batch: false, f })
    }

    /// As [`lift`](DStream::lift), where a batch that the stream does not have is an error.
    #[track_caller]
    fn lift_required<U: Data>(
        &self,
        name: &'static str,
        f: impl Fn(Dataset<T>) -> Dataset<U> + Send + Sync + 'static,
    ) -> DStream<U> {
        self.attach(Lift { name, parent: self.clone(), needs_batch: true, f })
    }

    /// A stream each of whose batches is made from those of `streams` at the same time, which all have to be there.
    #[track_caller]
    fn lift_all<S: StreamSet, U: Data>(
        &self,
        name: &'static str,
        streams: S,
        f: impl Fn(S::Datasets) -> Dataset<U> + Send + Sync + 'static,
    ) -> DStream<U> {
        streams.together().lift(name, &self.graph, false, move |batches, _| Ok(f(batches)), Location::caller())
    }
}

/// An operation of `dataset` on every batch.
struct Lift<T, F> {
    name: &'static str,
    parent: DStream<T>,
    /// Whether a batch that the parent does not have is an error.
    needs_batch: bool,
    f: F,
}

impl<T: Data, U: Data, F: Fn(Dataset<T>) -> Dataset<U> + Send + Sync + 'static> Operator<U> for Lift<T, F> {
    fn name(&self) -> &str {
        self.name
    }

    fn slide(&self) -> Duration {
        self.parent.slide_duration()
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge()]
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<U>>> {
        if self.needs_batch {
            return self.parent.expect_at(at, self.name).map(|batch| Some((self.f)(batch)));
        }
        Ok(self.parent.at(at)?.map(&self.f))
    }
}
