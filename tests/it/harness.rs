//! Tables of batches, a source that follows a script, and a context whose clock is in the hand of the test.

use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tidemill::testing::{IntoBatch, TestRun};
use tidemill::{
    BatchInfo, Checkpoint, Clock, DStream, Data, Error, ErrorKind, Event, InputBatch, ManualClock, Result, Source,
    SourceContext, Stop, StreamingContext, StreamingContextBuilder, SyncPolicy, Time,
};

/// The batch interval of all tests that do not say otherwise.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Whoever waits longer than this waits in vain.
const IN_VAIN: Duration = Duration::from_secs(30);

/// Every way in which a graph has to give the same: shuffles typed and encoded; 1, 2 and 5 partitions on as many
/// workers.
pub(crate) fn every_run() -> impl Iterator<Item = TestRun> {
    [1, 2, 5].into_iter().flat_map(|parts| {
        let run = TestRun::new().partitions(parts).workers(parts);
        [run.clone(), run.encoded_shuffle()]
    })
}

/// Runs a graph in every way and compares what it emits, batch by batch, in order.
#[track_caller]
pub(crate) fn check_list<B, U>(
    id: &str,
    input: impl AsRef<[B]>,
    build: impl Fn(DStream<B::Record>) -> DStream<U>,
    expected: impl AsRef<[Vec<U>]>,
) where
    B: IntoBatch + Clone,
    U: Data + PartialEq + Debug,
{
    for run in every_run() {
        let emitted = run.run(input.as_ref().to_vec(), &build).unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!(emitted.batches(), expected.as_ref(), "{id} by {run:?}");
    }
}

/// As [`check_list`], where the order inside of a batch is free.
#[track_caller]
pub(crate) fn check_set<B, U>(
    id: &str,
    input: impl AsRef<[B]>,
    build: impl Fn(DStream<B::Record>) -> DStream<U>,
    expected: impl AsRef<[Vec<U>]>,
) where
    B: IntoBatch + Clone,
    U: Data + Ord + Debug,
{
    let mut expected = expected.as_ref().to_vec();
    expected.iter_mut().for_each(|batch| batch.sort());
    for run in every_run() {
        let emitted = run.run(input.as_ref().to_vec(), &build).unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!(emitted.sorted().batches(), expected, "{id} by {run:?}");
    }
}

/// Runs a graph that has to fail, and returns its error.
#[track_caller]
pub(crate) fn error_of<B: IntoBatch, U: Data + Debug>(
    input: impl IntoIterator<Item = B>,
    build: impl FnOnce(DStream<B::Record>) -> DStream<U>,
) -> Error {
    TestRun::new().max_task_attempts(2).run(input, build).expect_err("the run has to fail")
}

/// The place of a line of a test, as errors name it. Lines are counted from the caller's.
#[track_caller]
pub(crate) fn line(offset: i64) -> String {
    let here = std::panic::Location::caller();
    format!("{}:{}", here.file(), i64::from(here.line()) + offset)
}

pub(crate) fn at(millis: i64) -> Time {
    Time::from_millis(millis)
}

pub(crate) fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.into_iter().map(String::from).collect()
}

/// What comes next; panics if nothing does.
#[track_caller]
pub(crate) fn next<T>(channel: &Receiver<T>) -> T {
    channel.recv_timeout(IN_VAIN).expect("something was to come and did not")
}

/// A context on a manual clock, and what its listeners are told.
pub(crate) struct Run {
    pub(crate) context: Arc<StreamingContext>,
    pub(crate) clock: ManualClock,
    stop_timeout: Duration,
    pub(crate) events: Receiver<Event>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Run::with(|builder| builder)
    }

    pub(crate) fn with(settings: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder) -> Self {
        // On a clock that leaps, a stop has to be given more time than it takes.
        Run::stopping_within(1_000_000 * SECOND, settings)
    }

    /// As [`with`](Run::with), where a stop may take so long.
    pub(crate) fn stopping_within(
        stop_timeout: Duration,
        settings: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
    ) -> Self {
        let clock = ManualClock::new();
        let builder = StreamingContext::builder("test").batch_interval(SECOND).workers(2);
        let builder = builder.stop_timeout(stop_timeout).clock(Clock::manual(&clock));
        let context = Arc::new(settings(builder).build().expect("settings that can be used"));
        let (sender, events) = unbounded();
        context.add_listener(move |event: &Event| {
            let _ = sender.send(event.clone());
        });
        Run { context, clock, stop_timeout, events }
    }

    /// A context that goes on `seconds` after the first one began, from what is in a directory.
    pub(crate) fn going_on(
        directory: &Path,
        seconds: usize,
        settings: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
    ) -> Self {
        let checkpoint = Checkpoint::new(directory).sync(SyncPolicy::Never);
        let run = Run::with(|builder| settings(builder.checkpoint(checkpoint)));
        run.clock.advance(seconds as u32 * SECOND);
        run
    }

    /// Makes a stream of a scripted source; the calls that it gets can be read from the channel.
    #[track_caller]
    pub(crate) fn source<T: Data>(&self, scripted: Scripted<T>) -> (DStream<T>, Receiver<Call>) {
        let (source, calls) = scripted.connect();
        (self.context.input(source), calls)
    }

    /// Ticks once.
    pub(crate) fn tick(&self) {
        self.clock.advance(SECOND);
    }

    /// Ticks as often as said, each time waiting until the batch has ended.
    pub(crate) fn batches(&self, count: usize) -> Vec<BatchInfo> {
        let batch = |_| {
            self.tick();
            self.completed()
        };
        (0..count).map(batch).collect()
    }

    /// Waits until the batch at a second has ended. An error of the context comes back.
    #[track_caller]
    pub(crate) fn has_done(&self, second: usize) -> std::result::Result<(), String> {
        loop {
            match next(&self.events) {
                Event::BatchCompleted(info) if info.time == at(1000 * second as i64) => return Ok(()),
                Event::Failed { error } => return Err(error),
                _ => {}
            }
        }
    }

    /// Waits for the end of a batch.
    #[track_caller]
    pub(crate) fn completed(&self) -> BatchInfo {
        loop {
            match next(&self.events) {
                Event::BatchCompleted(info) => return info,
                Event::Failed { error } => panic!("the context failed: {error}"),
                _ => {}
            }
        }
    }

    /// Waits until the context has ended by itself, and says how.
    #[track_caller]
    pub(crate) fn ended(&self) -> Result<()> {
        match self.context.await_termination_or_timeout(IN_VAIN) {
            Ok(has_ended) => {
                assert!(has_ended, "the context was to end and did not");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Stops the context from another thread, and lets `meanwhile` run, from when the stop waits until it has returned.
    ///
    /// A stop that waits has an alarm at its deadline. A clock that went on before would tick once more, or be past the
    /// deadline before there is one.
    pub(crate) fn stop_while(&self, how: Stop, mut meanwhile: impl FnMut()) -> Result<()> {
        std::thread::scope(|scope| {
            let (sender, stopped) = unbounded();
            let context = &self.context;
            let deadline = self.clock.now() + self.stop_timeout;
            scope.spawn(move || sender.send(context.stop(how)));
            let mut waits = false;
            loop {
                if let Ok(outcome) = stopped.recv_timeout(Duration::from_millis(1)) {
                    return outcome;
                }
                waits = waits || self.clock.alarms().contains(&deadline);
                if waits {
                    meanwhile();
                }
            }
        })
    }

    /// Stops gracefully while the clock goes on: the last tick needs it to.
    pub(crate) fn stop_gracefully(&self) -> Result<()> {
        self.stop_while(Stop::Gracefully, || self.tick())
    }
}

/// A call that a source got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Start,
    /// With the batch time in milliseconds.
    Batch(i64),
    Completed(i64),
    Stop,
}

/// How a scripted source behaves.
type Script<T> = Box<dyn FnMut(Call) -> Result<Option<Vec<T>>> + Send>;

/// A source that does at each call what its script says, after it has written the call down.
pub(crate) struct Scripted<T> {
    name: &'static str,
    script: Script<T>,
    context: Option<SourceContext>,
    calls: Option<Sender<Call>>,
}

impl<T: Data> Scripted<T> {
    /// What the script returns for a batch is the batch, in one partition; of other calls only errors count.
    pub(crate) fn new(script: impl FnMut(Call) -> Result<Option<Vec<T>>> + Send + 'static) -> Self {
        Scripted { name: "scripted", script: Box::new(script), context: None, calls: None }
    }

    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn connect(mut self) -> (Self, Receiver<Call>) {
        let (sender, calls) = unbounded();
        self.calls = Some(sender);
        (self, calls)
    }

    fn call(&mut self, call: Call) -> Result<Option<Vec<T>>> {
        if let Some(calls) = &self.calls {
            let _ = calls.send(call);
        }
        (self.script)(call)
    }
}

/// A gate that closures wait at until the test lets them through: each once, or all of them.
#[derive(Clone)]
pub(crate) struct Gate {
    arrived: (Sender<()>, Receiver<()>),
    open: (Sender<()>, Receiver<()>),
}

impl Gate {
    pub(crate) fn new() -> Self {
        Gate { arrived: unbounded(), open: unbounded() }
    }

    /// Waits to be let through.
    pub(crate) fn pass(&self) {
        let _ = self.arrived.0.send(());
        let _ = self.open.1.recv_timeout(IN_VAIN);
    }

    /// Waits until somebody stands at the gate.
    #[track_caller]
    pub(crate) fn wait(&self) {
        next(&self.arrived.1);
    }

    /// Lets this many through, now or later.
    pub(crate) fn let_through(&self, count: usize) {
        (0..count).for_each(|_| self.open.0.send(()).expect("the gate is there"));
    }
}

/// A source whose batch at each second is what its script says, whoever asks, and however often: as of files that are
/// named by the time. It can make its batches again.
pub(crate) struct BySecond<T> {
    script: Arc<dyn Fn(usize) -> Option<Vec<T>> + Send + Sync>,
    partitions: usize,
    context: Option<SourceContext>,
}

impl<T: Data> BySecond<T> {
    pub(crate) fn new(partitions: usize, script: impl Fn(usize) -> Option<Vec<T>> + Send + Sync + 'static) -> Self {
        BySecond { script: Arc::new(script), partitions, context: None }
    }
}

impl<T: Data> Source<T> for BySecond<T> {
    fn name(&self) -> String {
        "by second".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>> {
        let context = self.context.as_ref().expect("a source is started first");
        let Some(mut records) = (self.script)(time.as_millis() as usize / 1000) else { return Ok(None) };
        let count = records.len();
        let mut parts: Vec<Vec<T>> =
            (1..self.partitions).rev().map(|part| records.split_off(records.len().min(part))).collect();
        parts.push(records);
        Ok(Some(InputBatch {
            dataset: context.dataset(parts),
            records: count as u64,
            description: format!("{count} records"),
            plan: time.as_millis().to_le_bytes().to_vec(),
        }))
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, time: Time, plan: &[u8]) -> Result<InputBatch<T>> {
        assert_eq!(plan, time.as_millis().to_le_bytes(), "the plan of another batch");
        Ok(self.batch(time)?.expect("what has a plan had a batch"))
    }
}

/// A source whose batch at the n-th tick is the number n.
pub(crate) fn numbers() -> Scripted<i64> {
    Scripted::new(|call| Ok(if let Call::Batch(time) = call { Some(vec![time / 1000]) } else { None }))
}

/// [`numbers`], with a different behaviour at one call.
pub(crate) fn numbers_but(
    when: Call,
    mut then: impl FnMut() -> Result<Option<Vec<i64>>> + Send + 'static,
) -> Scripted<i64> {
    Scripted::new(move |call| match call {
        call if call == when => then(),
        Call::Batch(time) => Ok(Some(vec![time / 1000])),
        _ => Ok(None),
    })
}

pub(crate) fn input_error(message: &str) -> Error {
    Error::new(ErrorKind::Input, message)
}

impl<T: Data> Source<T> for Scripted<T> {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some(context.clone());
        self.call(Call::Start).map(drop)
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>> {
        let Some(records) = self.call(Call::Batch(time.as_millis()))? else { return Ok(None) };
        let context = self.context.as_ref().expect("a source is started first");
        let count = records.len() as u64;
        let description = format!("{count} scripted");
        Ok(Some(InputBatch { dataset: context.dataset(vec![records]), records: count, description, plan: Vec::new() }))
    }

    fn completed(&mut self, time: Time) -> Result<()> {
        self.call(Call::Completed(time.as_millis())).map(drop)
    }

    fn stop(&mut self, _: Duration) -> Result<()> {
        self.call(Call::Stop).map(drop)
    }
}

/// Runs the body of a test in a process of its own: for tests that look at the whole process. `name` is the path of
/// the test. Returns what the child printed, and `None` in the child.
pub(crate) fn alone(name: &str, body: impl FnOnce()) -> Option<String> {
    const CHILD: &str = "TIDEMILL_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        body();
        return None;
    }
    let binary = std::env::current_exe().expect("the test binary has a path");
    let mut child = Command::new(binary);
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = child.output().expect("the test binary can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}
