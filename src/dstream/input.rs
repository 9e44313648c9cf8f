use std::collections::BTreeMap;
use std::mem::take;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::node::Edge;
use super::{DStream, GraphBuilder, Operator};
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::exec::Runtime;
use crate::id::{OperatorId, StreamId};
use crate::input::{ContextOf, InputBatch, Source};
use crate::listener::InputInfo;
use crate::time::Time;

/// What an input has planned for a batch, and how it is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedInput {
    /// The leaf in the graph.
    pub(crate) operator: OperatorId,
    /// `None` if the source had no batch.
    pub(crate) info: Option<InputInfo>,
    /// For [`AnyInput::restore`]. The last one also says where the source goes on: see [`source_plan`].
    pub(crate) plan: Vec<u8>,
}

/// The first byte of a plan: whether the source had a batch, whose plan follows, or had none. What follows then is the
/// plan that it had made before, so that the last plan is enough to go on behind.
const NO_BATCH: u8 = 0;
const A_BATCH: u8 = 1;

/// What the source itself has said in the last plan of its input; `None` if it has had no batch yet.
pub(crate) fn source_plan(plan: &[u8]) -> Option<&[u8]> {
    match plan {
        [A_BATCH, of_source @ ..] => Some(of_source),
        [NO_BATCH, A_BATCH, of_source @ ..] => Some(of_source),
        _ => None,
    }
}

/// The leaf of the graph: adapts any source.
struct Input<T> {
    name: String,
    kind: String,
    slide: Duration,
    source: Arc<Connected<T>>,
}

/// A source and what it said of the batches that were planned since somebody asked.
struct Connected<T> {
    stream: StreamId,
    name: String,
    site: &'static Location<'static>,
    runtime: Runtime,
    state: Mutex<State<T>>,
}

struct State<T> {
    source: Box<dyn Source<T>>,
    /// The id of the leaf, once the source was started: it has something to let go of.
    operator: Option<OperatorId>,
    /// The last batch time that the source was asked for: it is asked once, also where it has no batch.
    asked_up_to: Option<Time>,
    /// What the source has said of its last batch.
    last_plan: Option<Vec<u8>>,
    planned: Vec<PlannedInput>,
    /// Batches that were made again and that nobody has asked for yet.
    restored: BTreeMap<Time, Dataset<T>>,
}

/// What can be said of an input whatever its records are.
pub(crate) trait AnyInput: Send + Sync {
    /// Starts the source of the leaf with this id.
    fn start(&self, operator: OperatorId, context_of: ContextOf) -> Result<()>;

    /// Whether its batches can be made again.
    fn can_restore(&self) -> bool;

    /// Makes the batch at `time` again from its plan: the leaf has it from here on, and does not ask the source for it.
    /// Called after `start` and before the leaf is asked for a batch, in the order of time. Returns what was planned.
    fn restore(&self, time: Time, plan: &[u8]) -> Result<Option<InputInfo>>;

    /// The source is not asked for batches up to `time` any more: what was not made again is not there.
    fn go_on_behind(&self, time: Time);

    /// As [`restore`](AnyInput::restore) for an input of which there is no plan, since the program that planned the batch
    /// did not have it: the batch is empty.
    fn restore_empty(&self, time: Time);

    fn completed(&self, time: Time) -> Result<()>;

    /// Stops the source if it was started.
    fn stop(&self, timeout: Duration) -> Result<()>;

    /// The input and the line that made it, for people: `kafka lines (src/main.rs:7)`.
    fn place(&self) -> String;

    /// What was planned since the last call.
    fn take_planned(&self) -> Vec<PlannedInput>;
}

impl<T: Data> DStream<T> {
    /// Adds an input to a graph.
    pub(crate) fn from_source(
        graph: &Arc<GraphBuilder>,
        source: impl Source<T>,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        let (name, kind) = (source.name(), source.kind());
        let state = Mutex::new(State {
            source: Box::new(source),
            operator: None,
            asked_up_to: None,
            last_plan: None,
            planned: Vec::new(),
            restored: BTreeMap::new(),
        });
        let (stream, runtime) = (graph.next_stream(), graph.runtime().clone());
        let source = Arc::new(Connected { stream, name: name.clone(), site, runtime, state });
        let operator = Input { name, kind, slide: graph.batch_interval(), source: Arc::clone(&source) };
        let stream = DStream::build(graph, Box::new(operator), site);
        graph.add_input(source, Arc::clone(&stream.node) as _);
        stream
    }
}

impl<T: Data> Operator<T> for Input<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &str {
        &self.kind
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        Vec::new()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let input = &self.source;
        input.ask("batch", |state| {
            if state.asked_up_to.is_some_and(|asked| at <= asked) {
                return Ok(state.restored.remove(&at));
            }
            let not_started = || Error::new(ErrorKind::State, "the source was not started");
            let operator = state.operator.ok_or_else(not_started)?;
            state.asked_up_to = Some(at);
            let Some(batch) = state.source.batch(at)? else {
                let plan = without_a_batch(state.last_plan.as_deref());
                state.planned.push(PlannedInput { operator, info: None, plan });
                return Ok(None);
            };
            let plan = with_a_batch(&batch.plan);
            let (dataset, info) = input.apart(batch, state);
            state.planned.push(PlannedInput { operator, info: Some(info), plan });
            Ok(Some(dataset))
        })
    }
}

fn with_a_batch(of_source: &[u8]) -> Vec<u8> {
    [&[A_BATCH], of_source].concat()
}

fn without_a_batch(last_of_source: Option<&[u8]>) -> Vec<u8> {
    last_of_source.map_or(vec![NO_BATCH], |last| [&[NO_BATCH, A_BATCH], last].concat())
}

impl<T> Connected<T> {
    /// Takes a batch apart, and remembers what the source has said of it.
    fn apart(&self, batch: InputBatch<T>, state: &mut State<T>) -> (Dataset<T>, InputInfo) {
        let InputBatch { dataset, records, description, plan } = batch;
        state.last_plan = Some(plan);
        (dataset, InputInfo::new(self.stream, self.name.clone(), records, description))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self) -> String {
        format!("{} ({}:{})", self.name, self.site.file(), self.site.line())
    }

    /// Runs a method of the source: an error or a panic comes back with the name of the input and the line that made
    /// it.
    fn ask<R>(&self, method: &str, call: impl FnOnce(&mut State<T>) -> Result<R>) -> Result<R> {
        let mut state = self.state();
        let outcome = guarded(
            || call(&mut state),
            |said| Error::new(ErrorKind::Input, format!("its method `{method}` panicked: {said}")),
        );
        outcome.map_err(|error| error.within_operator(|| format!("input {}", self.describe())))
    }
}

impl<T: Data> AnyInput for Connected<T> {
    fn start(&self, operator: OperatorId, context_of: ContextOf) -> Result<()> {
        self.ask("start", |state| {
            let context = context_of(self.stream, operator, &self.name)?;
            state.source.start(&context)?;
            state.operator = Some(operator);
            state.last_plan = context.last_plan().map(<[u8]>::to_vec);
            Ok(())
        })
    }

    fn can_restore(&self) -> bool {
        self.state().source.can_restore()
    }

    fn restore(&self, time: Time, plan: &[u8]) -> Result<Option<InputInfo>> {
        self.ask("restore", |state| {
            if state.asked_up_to.is_some_and(|asked| time <= asked) {
                let message = format!("the batch at {time} is to be made again behind a later one");
                return Err(Error::new(ErrorKind::Internal, message));
            }
            let info = match plan {
                [A_BATCH, of_source @ ..] => {
                    let batch = state.source.restore(time, of_source)?;
                    let (dataset, info) = self.apart(batch, state);
                    state.restored.insert(time, dataset);
                    Some(info)
                }
                [NO_BATCH, ..] => None,
                _ => {
                    let message = format!("what the checkpoint has of the batch at {time} is no plan of an input");
                    return Err(Error::new(ErrorKind::Codec, message));
                }
            };
            state.asked_up_to = Some(time);
            Ok(info)
        })
    }

    fn go_on_behind(&self, time: Time) {
        let mut state = self.state();
        state.asked_up_to = state.asked_up_to.max(Some(time));
    }

    fn restore_empty(&self, time: Time) {
        let mut state = self.state();
        state.restored.insert(time, Dataset::of(Vec::new(), &self.runtime));
        state.asked_up_to = Some(time);
    }

    fn completed(&self, time: Time) -> Result<()> {
        self.ask("completed", |state| state.source.completed(time))
    }

    fn stop(&self, timeout: Duration) -> Result<()> {
        self.ask("stop", |state| if state.operator.is_some() { state.source.stop(timeout) } else { Ok(()) })
    }

    fn place(&self) -> String {
        self.describe()
    }

    fn take_planned(&self) -> Vec<PlannedInput> {
        take(&mut self.state().planned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StreamingContext;
    use crate::input::{QueueSource, SourceContext};

    fn at(seconds: i64) -> Time {
        Time::from_millis(1000 * seconds)
    }

    /// A graph over the queue, started behind a plan of the input.
    fn graph(
        queue: &QueueSource<i32>,
        last: Option<&[u8]>,
    ) -> (StreamingContext, DStream<i32>, crate::dstream::DStreamGraph) {
        let context = StreamingContext::builder("inputs").workers(1).build().unwrap();
        let common = context.source_context();
        let runtime = context.parallelize([()], 1).runtime().clone();
        let builder = Arc::new(GraphBuilder::new(Duration::from_secs(1), &runtime));
        let stream = DStream::from_source(&builder, queue.clone(), Location::caller());
        stream.foreach_batch(|_, _| Ok(()));
        let mut graph = builder.finish(1, Arc::new(|error| panic!("{error}"))).unwrap();
        graph.begin(Time::ZERO, Duration::ZERO);
        let of_source = last.and_then(source_plan);
        let context_of =
            |_, _, _: &str| -> Result<SourceContext> { Ok(common.clone().behind(of_source.map(Arc::from))) };
        graph.start_inputs(&context_of).unwrap();
        (context, stream, graph)
    }

    #[test]
    fn a_leaf_has_its_restored_batches_and_asks_the_source_for_later_ones() {
        let queue = QueueSource::one_at_a_time();
        queue.push([1]);
        queue.push_none();
        queue.push([3, 3]);
        queue.push_none();
        let (_context, _stream, first) = graph(&queue, None);
        let plans: Vec<PlannedInput> = (1..=4).flat_map(|n| first.generate(at(n)).unwrap().inputs).collect();
        let counts: Vec<_> = plans.iter().map(|input| input.info.as_ref().map(|info| info.records)).collect();
        assert_eq!(counts, [Some(1), None, Some(2), None]);
        let (id, input) = first.inputs().next().unwrap();
        assert!(plans.iter().all(|plan| plan.operator == id) && input.can_restore());

        // The last plan is of a time without a batch, and says all the same where the source goes on.
        let last = &plans[3].plan;
        assert_eq!(source_plan(last), source_plan(&plans[2].plan));
        let (_context, stream, again) = graph(&queue, Some(last));
        let (same, input) = again.inputs().next().unwrap();
        assert_eq!(same, id);
        for (n, planned) in (1..).zip(&plans) {
            assert_eq!(input.restore(at(n), &planned.plan).unwrap(), planned.info);
        }
        queue.push([5]);
        assert!(again.generate(at(3)).unwrap().inputs.is_empty(), "what is restored is not planned");
        assert_eq!(stream.at(at(3)).unwrap().unwrap().collect().unwrap(), [3, 3]);
        assert_eq!(stream.at(at(1)).unwrap().unwrap().collect().unwrap(), [1]);
        assert!(stream.at(at(2)).unwrap().is_none() && stream.at(at(4)).unwrap().is_none());
        let five = again.generate(at(5)).unwrap().inputs.remove(0);
        assert_eq!(five.info.unwrap().records, 1);
        assert_eq!(stream.at(at(5)).unwrap().unwrap().collect().unwrap(), [5]);
        let error = input.restore(at(5), &plans[0].plan).unwrap_err().to_string();
        assert!(error.ends_with("the batch at 5000 ms is to be made again behind a later one"), "{error}");
        let error = input.restore(at(6), &[]).unwrap_err().to_string();
        assert!(error.ends_with("what the checkpoint has of the batch at 6000 ms is no plan of an input"), "{error}");
    }

    #[test]
    fn before_its_first_batch_a_source_has_said_nothing() {
        assert_eq!(source_plan(&without_a_batch(None)), None);
        assert_eq!(source_plan(&with_a_batch(b"x")), Some(&b"x"[..]));
        assert_eq!(source_plan(&without_a_batch(Some(b"x"))), Some(&b"x"[..]));
        assert_eq!(source_plan(&without_a_batch(Some(b""))), Some(&b""[..]));
    }
}
