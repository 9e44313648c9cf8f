//! Where records come from. A [`Source`] is asked for one batch per batch time and told when that batch is done; it
//! knows nothing of the graph that its records flow through.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
mod queue;

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backpressure::RateLimit;
use crate::data::Data;
use crate::dataset::{Dataset, ReadPartition};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::exec::Runtime;
use crate::id::{OperatorId, StreamId};
use crate::listener::Event;
use crate::time::{Clock, Time};

pub use queue::QueueSource;
pub(crate) use queue::cut;

/// An input of a program.
///
/// Calls never overlap and come in this order: `start`; then, once for every batch time in ascending order, `batch`,
/// and some time later, in the same order, `completed`; then `stop`, if `start` went well. `completed` leaves out a
/// batch when the next one is done as well. A source is started once.
pub trait Source<T: Data>: Send + 'static {
    /// What the input is called in errors and events: `kafka lines`.
    fn name(&self) -> String;

    /// What sort of input it is: `kafka`. A checkpoint finds an input without a name by its kind and its place among
    /// the inputs of that kind, so nothing belongs in it that may change while the input goes on, as what is read.
    fn kind(&self) -> String {
        self.name()
    }

    /// Gets ready to deliver. Whatever can be found wrong with the input should be found here.
    ///
    /// # Errors
    ///
    /// Keep the context from starting.
    fn start(&mut self, context: &SourceContext) -> Result<()>;

    /// Plans the batch at `time`: decides which records belong to it. They are read later, by the tasks of the batch,
    /// and once more if a task fails. `None` says that the input has no batch at this time, which is not the same as an
    /// empty one.
    ///
    /// # Errors
    ///
    /// Stop the context.
    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>>;

    /// Whether [`restore`](Source::restore) can make batches again after a restart. A context with a checkpoint does not
    /// start with a source that cannot.
    fn can_restore(&self) -> bool {
        false
    }

    /// Makes the batch at `time` again, with the same records in the same order, from the
    /// [`plan`](InputBatch::plan) that [`batch`](Source::batch) has made for it, in this process or in an earlier one.
    /// Called after `start`, in ascending order, before the first `batch`, which goes on behind the last of them.
    ///
    /// # Errors
    ///
    /// Keep the context from starting.
    fn restore(&mut self, time: Time, plan: &[u8]) -> Result<InputBatch<T>> {
        let _ = plan;
        Err(Error::new(
            ErrorKind::Input,
            format!("the batch at {time} cannot be made again: the source cannot do that"),
        ))
    }

    /// Learns that all outputs of the batch at `time`, and of all batches before it, are done.
    ///
    /// # Errors
    ///
    /// Stop the context.
    fn completed(&mut self, time: Time) -> Result<()> {
        let _ = time;
        Ok(())
    }

    /// Lets go of everything, after making sure that what it was told is completed will not be delivered again.
    ///
    /// # Errors
    ///
    /// Are returned from the stop of the context.
    fn stop(&mut self, timeout: Duration) -> Result<()> {
        let _ = timeout;
        Ok(())
    }
}

/// The records that a source has planned for one batch.
#[derive(Debug)]
pub struct InputBatch<T> {
    /// The records, to be read when the batch runs.
    pub dataset: Dataset<T>,
    /// How many there are.
    pub records: u64,
    /// What they are, for people: offset ranges, file names.
    pub description: String,
    /// What [`restore`](Source::restore) needs to make the batch again, and to know where the next one begins. It goes
    /// into the checkpoint before the batch runs. Empty if the source cannot restore.
    pub plan: Vec<u8>,
}

/// What a source needs of the engine. Each has its own.
#[derive(Clone)]
pub struct SourceContext {
    runtime: Runtime,
    clock: Clock,
    batch_interval: Duration,
    /// The input that it is for.
    stream: StreamId,
    name: Arc<str>,
    rate_limit: RateLimit,
    /// Whether plans are kept.
    has_checkpoint: bool,
    /// The plan of the last batch that a checkpoint has of the input.
    last_plan: Option<Arc<[u8]>>,
    on_error: OnError,
    on_event: OnEvent,
    /// What inputs have claimed, and which.
    claims: Arc<Mutex<BTreeMap<String, String>>>,
}

/// Something that an input has to itself, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    what: String,
    claims: Arc<Mutex<BTreeMap<String, String>>>,
}

/// Tells the listeners.
pub(crate) type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Makes the context of the source of a stream, whose leaf in the graph has this id.
pub(crate) type ContextOf<'a> = &'a dyn Fn(StreamId, OperatorId, &str) -> Result<SourceContext>;

impl SourceContext {
    /// What all inputs of a context have in common.
    pub(crate) fn new(
        runtime: &Runtime,
        clock: &Clock,
        batch_interval: Duration,
        on_error: OnError,
        on_event: OnEvent,
    ) -> Self {
        SourceContext {
            runtime: runtime.clone(),
            clock: clock.clone(),
            batch_interval,
            stream: StreamId(0),
            name: "".into(),
            rate_limit: RateLimit::new(None, batch_interval),
            has_checkpoint: false,
            last_plan: None,
            on_error,
            on_event,
            claims: Arc::default(),
        }
    }

    /// The same for one input.
    pub(crate) fn of_input(&self, stream: StreamId, name: &str) -> Self {
        SourceContext { stream, name: name.into(), ..self.clone() }
    }

    /// The same, telling somebody else.
    #[cfg(all(test, feature = "kafka"))]
    fn reporting_to(&self, events: crossbeam_channel::Sender<Event>) -> Self {
        // A test may have stopped listening.
        SourceContext { on_event: Arc::new(move |event| drop(events.send(event))), ..self.clone() }
    }

    /// The same with a limit for its source.
    #[must_use]
    pub(crate) fn limited_by(self, rate_limit: RateLimit) -> Self {
        SourceContext { rate_limit, ..self }
    }

    /// The same for a context with a checkpoint, with a plan to go on behind.
    #[must_use]
    pub(crate) fn behind(self, last_plan: Option<Arc<[u8]>>) -> Self {
        SourceContext { has_checkpoint: true, last_plan, ..self }
    }

    /// Whether the context has a checkpoint, so that the batches of the source may be [restored](Source::restore), now or
    /// after a restart.
    pub fn has_checkpoint(&self) -> bool {
        self.has_checkpoint
    }

    /// The plan of the last batch of this input that the checkpoint has: the source goes on where that ends, whatever it
    /// was told of where to start. `None` if there is no checkpoint, or nothing of this input in it.
    pub fn last_plan(&self) -> Option<&[u8]> {
        self.last_plan.as_deref()
    }

    /// A dataset of records in memory.
    #[track_caller]
    pub fn dataset<T: Data>(&self, partitions: Vec<Vec<T>>) -> Dataset<T> {
        Dataset::of(partitions, &self.runtime)
    }

    /// A dataset whose partitions are read when the batch runs. The note travels with the dataset through operations
    /// that keep its partitions: offset ranges, say.
    pub fn read<T: Data, P: ReadPartition<T>>(&self, partitions: Vec<P>, note: impl Any + Send + Sync) -> Dataset<T> {
        Dataset::read(partitions, note, &self.runtime)
    }

    /// The clock of the context.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time between two batches.
    pub fn batch_interval(&self) -> Duration {
        self.batch_interval
    }

    /// Takes something that only one input of the context may use: the place that a group keeps of a partition, say.
    /// It is taken until the claim is dropped.
    ///
    /// # Errors
    ///
    /// Another input has it; the error names both.
    pub fn claim(&self, what: impl Into<String>, by: impl Into<String>) -> Result<Claim> {
        let (what, by) = (what.into(), by.into());
        match self.claims.lock().unwrap_or_else(PoisonError::into_inner).entry(what.clone()) {
            Entry::Occupied(taken) => {
                let message = format!("{} and {by} both want {what}", taken.get());
                Err(Error::new(ErrorKind::Config, message))
            }
            Entry::Vacant(free) => {
                free.insert(by);
                Ok(Claim { what, claims: Arc::clone(&self.claims) })
            }
        }
    }

    /// How many records the source may plan: back-pressure. A source that heeds it has no larger batches than the
    /// program can process; what it leaves out comes with later ones.
    ///
    /// # Examples
    ///
    /// A source of numbers that counts as fast as the program can follow:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::{Backpressure, InputBatch, RateLimit, Source, SourceContext};
    ///
    /// #[derive(Default)]
    /// struct Counting {
    ///     next: u64,
    ///     context: Option<(SourceContext, RateLimit)>,
    /// }
    ///
    /// impl Source<u64> for Counting {
    ///     fn name(&self) -> String {
    ///         "counting".to_string()
    ///     }
    ///
    ///     fn start(&mut self, context: &SourceContext) -> Result<()> {
    ///         self.context = Some((context.clone(), context.rate_limit()));
    ///         Ok(())
    ///     }
    ///
    ///     fn batch(&mut self, _: Time) -> Result<Option<InputBatch<u64>>> {
    ///         let Some((context, limit)) = &mut self.context else { return Ok(None) };
    ///         let records = limit.next_batch().unwrap_or(1_000_000);
    ///         let numbers = (self.next..self.next + records).collect();
    ///         self.next += records;
    ///         let dataset = context.dataset(vec![numbers]);
    ///         Ok(Some(InputBatch { dataset, records, description: format!("up to {}", self.next), plan: vec![] }))
    ///     }
    /// }
    ///
    /// let context = StreamingContext::builder("counting")
    ///     .batch_interval(std::time::Duration::from_millis(10))
    ///     .backpressure(Backpressure::pid().initial_rate(5000.0))
    ///     .build()?;
    /// let (send, counts) = std::sync::mpsc::channel();
    /// context.input(Counting::default()).foreach_batch(move |numbers, _| send.send(numbers.count()?).map_err(Error::user));
    /// context.start()?;
    /// assert_eq!(counts.recv()?, 50);
    /// context.stop(Stop::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_limit(&self) -> RateLimit {
        self.rate_limit.clone()
    }

    /// Tells listeners and log of records that no batch will have, though the program was to have them: the broker has
    /// deleted them, say.
    pub fn report_data_loss(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::error!(input = &*self.name, what, "records are lost");
        (self.on_event)(Event::DataLost { stream: self.stream, input: self.name.to_string(), what });
    }

    /// Stops the context with an error that happened in the background.
    pub fn fail(&self, error: Error) {
        (self.on_error)(error);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
    }
}

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceContext").field("batch_interval", &self.batch_interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StreamingContext;

    #[test]
    fn what_is_claimed_is_free_again_when_the_claim_goes() {
        let context = StreamingContext::builder("claims").workers(1).build().unwrap();
        let runtime = context.parallelize([()], 1).runtime().clone();
        let (ignore, interval) = (Arc::new(|_| {}), Duration::from_secs(1));
        let context = SourceContext::new(&runtime, &Clock::system(), interval, ignore, Arc::new(|_| {}));
        let first = context.claim("port 80", "socket a").unwrap();
        let _other = context.clone().claim("port 81", "socket b").unwrap();
        let error = context.clone().claim("port 80", "socket b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "socket a and socket b both want port 80");
        drop(first);
        context.claim("port 80", "socket b").unwrap();
    }
}
