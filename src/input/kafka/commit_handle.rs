use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendError, Sender, bounded};

use super::committer::Request;
use super::offset_range::OffsetRange;
use super::topic_partition::TopicPartition;
use crate::error::{Error, ErrorKind, Result, guarded};

/// Commits offsets when the program says so. Spark's `CanCommitOffsets`.
///
/// Made before the stream, given to it with [`KafkaParams::commit_manually`](super::KafkaParams::commit_manually), and
/// cloned into the closures that commit. Nothing else is committed then, but for the offsets at which the stream
/// starts, in partitions for which nothing was kept.
///
/// Of several commits of a partition the highest `until` wins, in whichever order they come: the place never moves
/// backwards, unless [`rewind`](Self::rewind) asks for it. A commit that fails for a while is tried again until
/// [`KafkaParams::max_outage`](super::KafkaParams::max_outage) is over. A graceful stop waits for what was asked for
/// before.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::kafka::{self, AutoOffsetReset, CommitHandle, HasOffsetRanges, KafkaParams, Subscription};
/// use tidemill::kafka::embedded::EmbeddedBroker;
/// use tidemill::prelude::*;
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("lines", 1)?;
/// broker.send("lines", ["a", "b", "c"])?;
/// let context = StreamingContext::builder("manual").batch_interval(Duration::from_millis(20)).build()?;
/// let commits = CommitHandle::new();
/// let params = KafkaParams::new(broker.bootstrap_servers())
///     .group_id("g")
///     .auto_offset_reset(AutoOffsetReset::Earliest)
///     .commit_manually(&commits);
/// let lines = kafka::direct_stream(&context, params, Subscription::topics(["lines"]));
/// let (send, outcomes) = std::sync::mpsc::channel();
/// lines.foreach_batch(move |lines, _| {
///     let send = send.clone();
///     let ranges = lines.offset_ranges().unwrap_or_default();
///     commits.commit_async_with(&ranges, move |offsets, outcome| {
///         outcome.unwrap();
///         let _ = send.send(format!("{}: {}", offsets[0].0, offsets[0].1));
///     })
/// });
/// context.start()?;
/// assert_eq!(outcomes.recv()?, "lines/0: 3");
/// context.stop(Stop::Gracefully)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct CommitHandle(Arc<Mutex<Link>>);

/// What a handle is connected with.
#[derive(Default)]
enum Link {
    #[default]
    Nothing,
    Running(Stream),
    /// The name of the stream.
    Stopped(String),
}

/// A stream that runs.
struct Stream {
    name: String,
    partitions: HashSet<TopicPartition>,
    requests: Sender<Request>,
    committer: Option<ThreadId>,
    patience: Duration,
}

impl CommitHandle {
    /// A handle that is not connected yet: give it to [`KafkaParams`](super::KafkaParams::commit_manually).
    pub fn new() -> Self {
        CommitHandle::default()
    }

    /// Asks for the ends of these ranges to be committed, and does not wait.
    ///
    /// # Errors
    ///
    /// A stream that does not run, or does not read one of the partitions. If the commit fails later, the stream
    /// fails, since nobody else hears of it.
    pub fn commit_async(&self, ranges: &[OffsetRange]) -> Result<()> {
        self.ask(ends(ranges), false, None)
    }

    /// Asks for the ends of these ranges to be committed, and for the outcome to be told: the callback hears which
    /// offsets it asked for, ordered, and whether they, or higher ones, are committed. It runs on the thread that
    /// commits, and later commits wait for it. Every callback is called once. Spark keeps only the last.
    ///
    /// # Errors
    ///
    /// A stream that does not run, or does not read one of the partitions: the callback is not called then. What fails
    /// later is for the callback to deal with, and the stream goes on. A panic in the callback stops the stream.
    pub fn commit_async_with(
        &self,
        ranges: &[OffsetRange],
        callback: impl FnOnce(&[(TopicPartition, i64)], Result<()>) + Send + 'static,
    ) -> Result<()> {
        self.ask(ends(ranges), false, Some(Box::new(callback)))
    }

    /// Commits the ends of these ranges and waits until that is done, for
    /// [`KafkaParams::max_outage`](super::KafkaParams::max_outage) at most.
    ///
    /// # Errors
    ///
    /// Besides those of [`commit_async`](Self::commit_async): what the commit failed with, and a call from a callback,
    /// which would wait for itself. After [`ErrorKind::Timeout`] the offsets may still be committed.
    pub fn commit_sync(&self, ranges: &[OffsetRange]) -> Result<()> {
        self.ask_and_wait(ends(ranges), false)
    }

    /// Commits exactly these offsets, also where higher ones are committed, and waits as
    /// [`commit_sync`](Self::commit_sync) does. The stream reads on where it is; its next start begins there.
    ///
    /// # Errors
    ///
    /// As [`commit_sync`](Self::commit_sync).
    pub fn rewind(&self, offsets: &[(TopicPartition, i64)]) -> Result<()> {
        self.ask_and_wait(offsets.iter().cloned().collect(), true)
    }

    fn ask_and_wait(&self, offsets: BTreeMap<TopicPartition, i64>, goes_back: bool) -> Result<()> {
        let (name, patience) = {
            let link = self.link();
            let stream = link.stream()?;
            if stream.committer == Some(thread::current().id()) {
                let message = format!(
                    "{}: a callback of a commit cannot wait for another commit, which it holds up: use `commit_async`",
                    stream.name
                );
                return Err(Error::new(ErrorKind::State, message));
            }
            (stream.name.clone(), stream.patience)
        };
        let (send, outcome) = bounded(1);
        // There is room for the one message.
        let callback = move |_: &[_], outcome| drop(send.send(outcome));
        self.ask(offsets, goes_back, Some(Box::new(callback)))?;
        outcome.recv_timeout(patience).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Disconnected => ended(&name),
                RecvTimeoutError::Timeout => Error::new(
                    ErrorKind::Timeout,
                    format!("{name}: the commit was not done within {patience:?}; it may be done later"),
                ),
            })
        })
    }

    fn ask(&self, offsets: BTreeMap<TopicPartition, i64>, goes_back: bool, callback: Option<Callback>) -> Result<()> {
        let link = self.link();
        let Stream { name, partitions, requests, .. } = link.stream()?;
        if let Some(unknown) = offsets.keys().find(|partition| !partitions.contains(*partition)) {
            let message = format!("{name}: {unknown} cannot be committed, since the stream does not read it");
            return Err(Error::new(ErrorKind::State, message));
        }
        let asked = Asked { name: name.clone(), offsets: offsets.into_iter().collect(), goes_back, callback };
        requests.send(Request::Asked(asked)).map_err(|SendError(request)| {
            // The caller hears of it, so that the callback must not.
            if let Request::Asked(mut asked) = request {
                asked.callback = None;
            }
            ended(name)
        })
    }

    /// Connects the handle with a stream that starts.
    pub(super) fn connect(
        &self,
        stream: &str,
        requests: Sender<Request>,
        committer: Option<ThreadId>,
        patience: Duration,
    ) -> Result<()> {
        let mut link = self.link();
        if let Link::Running(other) = &*link {
            let message = format!(
                "the commit handle of {stream} belongs to {}, which runs: make one for each stream",
                other.name
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let (name, partitions) = (stream.to_string(), HashSet::new());
        *link = Link::Running(Stream { name, partitions, requests, committer, patience });
        Ok(())
    }

    /// Says which partitions the stream reads besides those it was told of.
    pub(super) fn add(&self, partitions: &[TopicPartition]) {
        if let Link::Running(stream) = &mut *self.link() {
            stream.partitions.extend(partitions.iter().cloned());
        }
    }

    /// Lets go of the stream, which stops.
    pub(super) fn disconnect(&self) {
        let mut link = self.link();
        if let Link::Running(stream) = &*link {
            *link = Link::Stopped(stream.name.clone());
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CommitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.link() {
            Link::Nothing => write!(f, "CommitHandle"),
            Link::Running(stream) => write!(f, "CommitHandle({})", stream.name),
            Link::Stopped(name) => write!(f, "CommitHandle({name}, stopped)"),
        }
    }
}

impl Link {
    fn stream(&self) -> Result<&Stream> {
        let message = match self {
            Link::Running(stream) => return Ok(stream),
            Link::Nothing => "a commit before the stream has started, or its handle was not given to \
                              `KafkaParams::commit_manually`"
                .to_string(),
            Link::Stopped(name) => format!("{name}: a commit after the stream was stopped"),
        };
        Err(Error::new(ErrorKind::State, message))
    }
}

/// The highest end of each partition.
fn ends(ranges: &[OffsetRange]) -> BTreeMap<TopicPartition, i64> {
    let mut ends = BTreeMap::new();
    for range in ranges {
        let end = ends.entry(range.topic_partition()).or_insert(range.until);
        *end = range.until.max(*end);
    }
    ends
}

fn ended(stream: &str) -> Error {
    Error::new(ErrorKind::State, format!("{stream}: the stream has failed or stopped, and commits nothing any more"))
}

type Callback = Box<dyn FnOnce(&[(TopicPartition, i64)], Result<()>) + Send>;

/// A commit that the program has asked for. Its callback is called once, whatever happens.
pub(super) struct Asked {
    name: String,
    pub(super) offsets: Vec<(TopicPartition, i64)>,
    pub(super) goes_back: bool,
    callback: Option<Callback>,
}

impl Asked {
    /// Whether somebody hears of the outcome.
    pub(super) fn is_answered(&self) -> bool {
        self.callback.is_some()
    }

    /// Tells the outcome. An error is the panic of a callback.
    pub(super) fn answer(mut self, outcome: Result<()>) -> Result<()> {
        self.tell(outcome)
    }

    fn tell(&mut self, outcome: Result<()>) -> Result<()> {
        let Some(callback) = self.callback.take() else { return Ok(()) };
        let (name, offsets) = (&self.name, &self.offsets);
        let tell = || {
            callback(offsets, outcome);
            Ok(())
        };
        guarded(tell, |said| Error::new(ErrorKind::User, format!("{name}: the callback of a commit panicked: {said}")))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let ended = ended(&self.name);
        if let Err(panicked) = self.tell(Err(ended)) {
            tracing::warn!(error = %panicked, "a callback panicked when it was told that the stream has ended");
        }
    }
}
