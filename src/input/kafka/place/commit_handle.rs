use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendError, Sender, bounded};

use super::committer::{OwnThread, Request};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::input::kafka::offset_range::OffsetRange;
use crate::input::kafka::topic_partition::TopicPartition;

/// Commits offsets when the program says so. Spark's `CanCommitOffsets`.
///
/// Made before the stream, given to it with [`KafkaParams::commit_manually`](crate::kafka::KafkaParams::commit_manually), and
/// cloned into the closures that commit. Nothing else is committed then, but for the offsets at which the stream
/// starts, in partitions for which nothing was kept.
///
/// Of several commits of a partition the highest `until` wins, in whichever order they come: the place never moves
/// backwards, unless [`rewind`](Self::rewind) asks for it. A commit that fails for a while is tried again until
/// [`KafkaParams::max_outage`](crate::kafka::KafkaParams::max_outage) is over. A graceful stop waits for what was asked for
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
    committer: OwnThread,
    patience: Duration,
}

impl CommitHandle {
    /// A handle that is not connected yet: give it to [`KafkaParams`](crate::kafka::KafkaParams::commit_manually).
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
    /// [`KafkaParams::max_outage`](crate::kafka::KafkaParams::max_outage) at most.
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
            if stream.committer.is_current() {
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
        committer: OwnThread,
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
    pub(super) fn add<'p>(&self, partitions: impl IntoIterator<Item = &'p TopicPartition>) {
        if let Link::Running(stream) = &mut *self.link() {
            stream.partitions.extend(partitions.into_iter().cloned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::kafka::place::committer::tests::{PATIENCE, Stage, refused};
    use crossbeam_channel::{Receiver, unbounded};

    fn range(partition: i32, until: i64) -> OffsetRange {
        OffsetRange { topic: "a".into(), partition, from: 0, until }
    }

    /// A handle for partitions 0 and 1, and the committer behind it.
    fn connected() -> (CommitHandle, Stage) {
        let (handle, stage) = (CommitHandle::new(), Stage::new(PATIENCE));
        connect(&handle, &stage, "kafka a").unwrap();
        handle.add(&[TopicPartition::new("a", 0), TopicPartition::new("a", 1)]);
        (handle, stage)
    }

    fn connect(handle: &CommitHandle, stage: &Stage, name: &str) -> Result<()> {
        handle.connect(name, stage.committer.requests(), stage.committer.thread(), PATIENCE)
    }

    /// Asks, and passes on what the callback hears.
    fn ask(handle: &CommitHandle, ranges: &[OffsetRange]) -> Receiver<String> {
        let (send, heard) = unbounded();
        let callback = move |offsets: &[(TopicPartition, i64)], outcome: Result<()>| {
            let offsets: Vec<String> =
                offsets.iter().map(|(partition, offset)| format!("{partition}: {offset}")).collect();
            let outcome = outcome.map_or_else(|error| error.to_string(), |()| "ok".to_string());
            send.send(format!("{} {outcome}", offsets.join(", "))).unwrap();
        };
        handle.commit_async_with(ranges, callback).unwrap();
        heard
    }

    fn hears(heard: &Receiver<String>) -> String {
        heard.recv_timeout(PATIENCE).unwrap()
    }

    #[test]
    fn the_highest_end_wins_and_every_callback_runs() {
        let (handle, stage) = connected();
        let first = ask(&handle, &[range(0, 1)]);
        stage.is_asked_for("a/0: 1");
        // These wait for the first, and go together.
        let second = ask(&handle, &[range(0, 5), range(1, 2), range(0, 3)]);
        let third = ask(&handle, &[range(0, 4), range(1, 7)]);
        stage.answers(Ok(()));
        stage.is_asked_for("a/0: 5, a/1: 7");
        assert_eq!(hears(&first), "a/0: 1 ok");
        stage.answers(Ok(()));
        assert_eq!(hears(&second), "a/0: 5, a/1: 2 ok");
        assert_eq!(hears(&third), "a/0: 4, a/1: 7 ok");
        // The place does not move backwards, and nothing has to be done for that.
        assert_eq!(hears(&ask(&handle, &[range(0, 4)])), "a/0: 4 ok");
        handle.commit_sync(&[range(1, 7), range(0, 5)]).unwrap();
        handle.disconnect();
        stage.stop();
    }

    #[test]
    fn a_rewind_moves_backwards() {
        let (handle, stage) = connected();
        stage.answers(Ok(()));
        handle.commit_sync(&[range(0, 5)]).unwrap();
        stage.is_asked_for("a/0: 5");
        stage.answers(Ok(()));
        handle.rewind(&[(TopicPartition::new("a", 0), 2)]).unwrap();
        stage.is_asked_for("a/0: 2");
        stage.answers(Ok(()));
        handle.commit_sync(&[range(0, 3)]).unwrap();
        stage.is_asked_for("a/0: 3");
        handle.disconnect();
        stage.stop();
    }

    #[test]
    fn whoever_hears_of_a_failure_deals_with_it() {
        let (handle, stage) = connected();
        stage.answers(refused());
        let failed = "kafka a: the script could not commit its offsets a/0: 5: not allowed; after a restart what \
                      follows the last commit is read again";
        assert_eq!(hears(&ask(&handle, &[range(0, 5)])), format!("a/0: 5 {failed}"));
        stage.is_asked_for("a/0: 5");
        stage.answers(refused());
        assert_eq!(handle.commit_sync(&[range(0, 5)]).unwrap_err().to_string(), failed);
        stage.is_asked_for("a/0: 5");
        // The stream goes on, and what was refused is not asked for again by itself.
        stage.answers(Ok(()));
        handle.commit_sync(&[range(1, 1)]).unwrap();
        stage.is_asked_for("a/1: 1");
        // Nobody hears of this one.
        stage.answers(refused());
        handle.commit_async(&[range(0, 5)]).unwrap();
        stage.fails_with(failed);
    }

    #[test]
    fn a_callback_may_ask_and_not_wait() {
        let (handle, stage) = connected();
        let (send, heard) = unbounded();
        let again = handle.clone();
        let callback = move |_: &[_], outcome: Result<()>| {
            outcome.unwrap();
            again.commit_async(&[range(1, 1)]).unwrap();
            send.send(again.commit_sync(&[range(1, 2)]).unwrap_err().to_string()).unwrap();
        };
        stage.answers(Ok(()));
        stage.answers(Ok(()));
        handle.commit_async_with(&[range(0, 1)], callback).unwrap();
        assert_eq!(
            hears(&heard),
            "kafka a: a callback of a commit cannot wait for another commit, which it holds up: use `commit_async`"
        );
        stage.is_asked_for("a/0: 1");
        stage.is_asked_for("a/1: 1");
        handle.disconnect();
        stage.stop();
    }

    #[test]
    fn a_callback_that_panics_stops_the_stream_and_the_others_are_told() {
        let (handle, stage) = connected();
        handle.commit_async_with(&[range(0, 1)], |_, _| panic!("no luck")).unwrap();
        stage.is_asked_for("a/0: 1");
        let second = ask(&handle, &[range(0, 2)]);
        stage.answers(Ok(()));
        stage.fails_with("kafka a: the callback of a commit panicked: no luck");
        let ended = "kafka a: the stream has failed or stopped, and commits nothing any more";
        assert_eq!(hears(&second), format!("a/0: 2 {ended}"));
        drop(stage);
        assert_eq!(handle.commit_async(&[range(0, 3)]).unwrap_err().to_string(), ended);
        assert_eq!(handle.commit_sync(&[range(0, 3)]).unwrap_err().to_string(), ended);
    }

    #[test]
    fn a_handle_is_of_one_stream_while_that_runs() {
        let handle = CommitHandle::new();
        let error = handle.commit_async(&[range(0, 1)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(
            error.to_string(),
            "a commit before the stream has started, or its handle was not given to `KafkaParams::commit_manually`"
        );
        let stage = Stage::new(PATIENCE);
        connect(&handle, &stage, "kafka a").unwrap();
        handle.add(&[TopicPartition::new("a", 0)]);
        let error = handle.commit_sync(&[range(0, 1), range(3, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "kafka a: a/3 cannot be committed, since the stream does not read it");
        assert_eq!(
            connect(&handle, &stage, "kafka b").unwrap_err().to_string(),
            "the commit handle of kafka b belongs to kafka a, which runs: make one for each stream"
        );
        handle.disconnect();
        let error = handle.commit_sync(&[range(0, 1)]).unwrap_err();
        assert_eq!(error.to_string(), "kafka a: a commit after the stream was stopped");
        connect(&handle, &stage, "kafka b").unwrap();
        handle.disconnect();
        stage.stop();
    }

    #[test]
    fn a_stop_delivers_what_was_asked_for_before() {
        let (handle, stage) = connected();
        let first = ask(&handle, &[range(0, 1)]);
        stage.is_asked_for("a/0: 1");
        let second = ask(&handle, &[range(0, 2)]);
        handle.disconnect();
        stage.answers(Ok(()));
        stage.answers(Ok(()));
        stage.committer.stop(PATIENCE).unwrap();
        assert_eq!(hears(&first), "a/0: 1 ok");
        assert_eq!(hears(&second), "a/0: 2 ok");
    }
}
