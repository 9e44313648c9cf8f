//! What streams remember: enough for every reader, however late it asks, and no more than Spark does.

mod resume;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};

use proptest::prelude::*;

use super::*;
use crate::context::StreamingContext;
use crate::dstream::{DStream, Edge};
use crate::input::{QueueSource, Source, SourceContext};
use crate::time::Clock;

const SECOND: Duration = Duration::from_secs(1);

/// A graph without a context: the test ticks.
struct Graph {
    builder: Arc<GraphBuilder>,
    runtime: Runtime,
    /// The n-th batch is the number n.
    numbers: DStream<i64>,
}

fn at(seconds: i64) -> Time {
    Time::from_millis(1000 * seconds)
}

fn never(error: Error) {
    panic!("the graph failed: {error}");
}

impl Graph {
    fn new() -> Self {
        let queue = QueueSource::one_at_a_time();
        (1..=100).for_each(|n| queue.push([n]));
        Graph::over(queue, 1)
    }

    fn over(source: impl Source<i64>, partitions: usize) -> Self {
        let context = StreamingContext::builder("graph").workers(1).partitions(partitions).build().unwrap();
        let runtime = context.parallelize([()], 1).runtime().clone();
        let builder = Arc::new(GraphBuilder::new(SECOND, &runtime));
        let numbers = DStream::from_source(&builder, source, Location::caller());
        Graph { builder, runtime, numbers }
    }

    fn begin(&self, remember: Duration) -> DStreamGraph {
        let mut graph = self.builder.finish(1, Arc::new(never)).unwrap();
        graph.begin(Time::ZERO, remember);
        let context = SourceContext::new(&self.runtime, &Clock::system(), SECOND, Arc::new(never), Arc::new(|_| ()));
        graph.start_inputs(&|_, _, _| Ok(context.clone())).unwrap();
        graph
    }
}

impl DStreamGraph {
    /// Plans a batch, runs its outputs, and forgets what is done with.
    fn run(&self, time: Time) {
        let Planned { jobs, .. } = self.generate(time).unwrap();
        jobs.into_iter().for_each(|job| job.run().unwrap());
        self.clear(time);
    }

    /// For how long Spark has each node remember its batches: what a stream remembers, all remember that it is made
    /// from, and the parent of a window for the window longer.
    fn remembered_by_spark(&self, remember: Duration) -> Vec<Duration> {
        let mut spark: Vec<Duration> = self.nodes.iter().map(|node| node.slide().max(remember)).collect();
        for place in (0..self.nodes.len()).rev() {
            for Edge { node, window, .. } in self.nodes[place].parents() {
                let parent = self.places[&address(&node)];
                spark[parent] = spark[parent].max(spark[place] + window);
            }
        }
        spark
    }
}

fn seconds(times: Vec<Time>) -> Vec<i64> {
    times.into_iter().map(|time| time.as_millis() / 1000).collect()
}

fn collect(stream: &DStream<i64>) -> Receiver<(Time, Vec<i64>)> {
    let (send, emitted) = channel();
    let send = Mutex::new(send);
    stream.foreach_batch(move |dataset, batch| {
        send.lock().unwrap().send((batch.time, dataset.collect()?)).map_err(Error::user)
    });
    emitted
}

/// The vector "RDD clean-up": ten batches, remember 3 s; the streams remember 9, 7 and 3 s.
#[test]
fn rdd_clean_up() {
    let parts = Graph::new();
    let mapped = parts.numbers.map(|n| n);
    let inner = mapped.window(2 * SECOND, SECOND);
    let outer = inner.window(4 * SECOND, 2 * SECOND);
    let emitted = collect(&outer);
    let graph = parts.begin(3 * SECOND);
    (1..=10).for_each(|n| graph.run(at(n)));
    assert_eq!(seconds(outer.node.remembered_times()), [8, 10]);
    assert_eq!(seconds(inner.node.remembered_times()), [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(seconds(mapped.node.remembered_times()), [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    // Spark would have the input remember its batches for the 9 s of the map, which has taken all it needs from them.
    assert_eq!(seconds(parts.numbers.node.remembered_times()), [8, 9, 10]);
    assert_eq!(emitted.try_iter().last(), Some((at(10), vec![6, 7, 7, 8, 8, 9, 9, 10])));
}

/// Without `remember`, a stream remembers its batches for its own slide, and those that it is made from hold them no
/// longer than it takes: in Spark all of a chain remember as long as its last.
#[test]
fn streams_that_no_window_reads_are_forgotten_at_once() {
    let parts = Graph::new();
    let mapped = parts.numbers.map(|n| n);
    let pairs = mapped.map(|n| (n % 3, n));
    let sums = pairs.reduce_by_key(|a, b| a + b).map(|(_, sum)| sum).window(5 * SECOND, SECOND);
    let _emitted = collect(&sums);
    let graph = parts.begin(Duration::ZERO);
    (1..=10).for_each(|n| graph.run(at(n)));
    assert_eq!(seconds(sums.node.remembered_times()), [10]);
    assert_eq!(seconds(pairs.node.remembered_times()), [10]);
    assert_eq!(seconds(mapped.node.remembered_times()), [10]);
}

/// A window with a long slide asks for batches that were due since its last one: so long they are remembered, also by
/// streams that no window reads.
#[test]
fn a_long_slide_finds_the_batches_between() {
    let parts = Graph::new();
    let mapped = parts.numbers.map(|n| n);
    let windows = mapped.map(|n| n).window(2 * SECOND, 5 * SECOND);
    let emitted = collect(&windows);
    let graph = parts.begin(Duration::ZERO);
    (1..=14).for_each(|n| graph.run(at(n)));
    assert_eq!(emitted.try_iter().collect::<Vec<_>>(), [(at(5), vec![4, 5]), (at(10), vec![9, 10])]);
    assert_eq!(seconds(parts.numbers.node.remembered_times()), [13, 14]);
}

/// The panes of a window that is itself read by one with a longer slide are asked for later than the slide of the first
/// says: their batches were forgotten, and missing from the sums.
#[test]
fn a_window_that_is_seldom_asked_finds_its_panes() {
    let parts = Graph::new();
    let sums = parts.numbers.map(|n| ((), n)).reduce_by_key_and_window(|a, b| a + b, 4 * SECOND, SECOND);
    let emitted = collect(&sums.map(|(_, sum)| sum).window(SECOND, 5 * SECOND));
    let graph = parts.begin(Duration::ZERO);
    (1..=10).for_each(|n| graph.run(at(n)));
    assert_eq!(emitted.try_iter().collect::<Vec<_>>(), [(at(5), vec![2 + 3 + 4 + 5]), (at(10), vec![7 + 8 + 9 + 10])]);
}

/// How a stream of a random graph is made from those before it.
#[derive(Clone, Debug)]
enum Made {
    Map(usize),
    Window(usize, u32, u32),
    /// Of a stream and the last one with the same slide.
    Union(usize),
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        any::<usize>().prop_map(Made::Map),
        (any::<usize>(), 1u32..5, 1u32..4).prop_map(|(parent, window, slide)| Made::Window(parent, window, slide)),
        any::<usize>().prop_map(Made::Union),
    ]
}

/// Builds the stream that comes next in a random graph, and returns with it how to make its batch by hand.
fn make(made: &Made, streams: &[(DStream<i64>, Oracle)]) -> (DStream<i64>, Oracle) {
    let pick = |n: &usize| &streams[n % streams.len()];
    match made {
        Made::Map(parent) => {
            let (stream, oracle) = pick(parent);
            (stream.map(|n| n), Rc::clone(oracle))
        }
        Made::Union(parent) => {
            let (left, left_oracle) = pick(parent);
            let same_slide = |(stream, _): &&(DStream<i64>, Oracle)| stream.slide_duration() == left.slide_duration();
            let (right, right_oracle) = streams.iter().rev().find(same_slide).expect("the stream itself");
            let (a, b) = (Rc::clone(left_oracle), Rc::clone(right_oracle));
            (left.union(right), Rc::new(move |time| [a(time), b(time)].concat()))
        }
        Made::Window(parent, window, slide) => {
            let (stream, oracle) = pick(parent);
            let step = stream.slide_duration();
            // Long windows of windows of windows take long, and find nothing new.
            let (window, slide) = if step > 4 * SECOND { (step, step) } else { (*window * step, *slide * step) };
            let parent = Rc::clone(oracle);
            let windows = move |time: Time| {
                let batches = (1..=window.as_secs() / step.as_secs()).rev().map(|n| time - (n as u32 - 1) * step);
                batches.filter(|time| *time > Time::ZERO).flat_map(|time| parent(time)).collect()
            };
            (stream.window(window, slide), Rc::new(windows))
        }
    }
}

/// The batch of a stream at a time, by hand.
type Oracle = Rc<dyn Fn(Time) -> Vec<i64>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the graph, however far the outputs are behind: nothing is forgotten that somebody asks for, nothing is
    /// planned twice, nothing is remembered for longer than by Spark.
    #[test]
    fn a_batch_is_remembered_for_as_long_as_it_is_asked_for(
        program in prop::collection::vec(made(), 1..7),
        behind in 0usize..4,
    ) {
        let parts = Graph::new();
        let planned = Arc::new(Mutex::new(BTreeMap::new()));
        let mut streams: Vec<(DStream<i64>, Oracle)> =
            vec![(parts.numbers.clone(), Rc::new(|time: Time| vec![time.as_millis() / 1000]))];
        for (number, how) in program.iter().enumerate() {
            let (stream, oracle) = make(how, &streams);
            let counts = Arc::clone(&planned);
            let counted = stream.transform(move |dataset, time| {
                *counts.lock().unwrap().entry((number, time)).or_insert(0) += 1;
                Ok(dataset)
            });
            streams.push((counted, oracle));
        }
        // Every second stream is an output, and the last.
        let outputs: Vec<_> = streams.iter().rev().step_by(2).map(|(stream, oracle)| (collect(stream), oracle)).collect();
        let graph = parts.begin(Duration::ZERO);
        let mut waiting = VecDeque::new();
        for n in 1..=30 {
            waiting.push_back((at(n), graph.generate(at(n)).unwrap().jobs));
            if waiting.len() > behind {
                let (time, jobs) = waiting.pop_front().unwrap();
                jobs.into_iter().for_each(|job| job.run().unwrap());
                graph.clear(time);
            }
        }
        for (emitted, oracle) in outputs {
            for (time, records) in emitted.try_iter() {
                prop_assert_eq!(records, oracle(time), "at {}", time);
            }
        }
        for (place, count) in planned.lock().unwrap().iter() {
            prop_assert_eq!(*count, 1, "stream and time {:?} are planned once", place);
        }
        let last_done = at(30 - behind as i64);
        for (node, remember) in graph.nodes.iter().zip(graph.remembered_by_spark(Duration::ZERO)) {
            let oldest = node.remembered_times().first().copied();
            prop_assert!(oldest.is_none_or(|oldest| oldest > last_done - remember), "{}", node.name());
        }
    }
}

/// Kept in checkpoints: another output elsewhere changes nothing, and neither does a line between.
#[test]
fn outputs_are_found_by_what_they_read_and_their_place_among_equals() {
    let ids = |build: &dyn Fn(&DStream<i64>)| -> Vec<OperatorId> {
        let parts = Graph::new();
        build(&parts.numbers);
        let graph = parts.begin(Duration::ZERO);
        (0..graph.outputs.len()).map(|output| graph.output_id(output)).collect()
    };
    let before = ids(&|numbers| {
        numbers.print();
        numbers.count().foreach_batch(|_, _| Ok(()));
        numbers.count().named("how many").print();
    });
    let after = ids(&|numbers| {
        numbers.map(|n| n + 1).print();
        numbers.count().named("how many").print();
        numbers.print();
        numbers.print();
        numbers.count().foreach_batch(|_, _| Ok(()));
    });
    assert_eq!([after[2], after[4], after[1]], before[..]);
    assert!(after.iter().enumerate().all(|(n, id)| !after[..n].contains(id)), "{after:?}");
}

#[test]
fn a_checkpoint_knows_operators_by_names_that_tell_them_apart() {
    let Graph { builder, numbers, .. } = Graph::new();
    let pairs = numbers.map(|n| (n % 2, n));
    let sums = |pairs: &DStream<(i64, i64)>| {
        pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * SECOND, SECOND)
    };
    sums(&pairs).named("sums").print();
    sums(&pairs).map(|pair| pair.1).print();
    let mut graph = builder.finish(1, Arc::new(never)).unwrap();
    let described = |graph: &DStreamGraph| -> Vec<(String, OperatorId)> {
        graph.parts(Duration::ZERO).into_iter().map(|operator| (operator.name, operator.id)).collect()
    };
    let operators = described(&graph);
    let sums = OperatorId::of_name("sums", 0);
    assert!(operators.contains(&("sums".to_string(), sums)), "{operators:?}");
    for method in ["queue", "reduce_by_key_and_window_inverse", "print"] {
        assert!(
            operators.iter().any(|(name, id)| *name == recovery::unnamed(method, *id)),
            "{method} in {operators:?}"
        );
    }
    let names: BTreeSet<&String> = operators.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), operators.len(), "{operators:?}");

    let older = OperatorId::of_name("totals", 0);
    graph.go_on_as(&BTreeMap::from([(sums, older)]));
    assert!(described(&graph).contains(&("sums".to_string(), older)));
}
