//! A graph that goes on from what a checkpoint has of it is the graph that was never stopped.

use std::collections::BTreeSet;

use super::super::recovery::{PartRole, TakeBack};
use super::*;
use crate::dstream::StateSpec;
use crate::input::InputBatch;
use crate::state::{Chunk, ChunkKind, KeyState};

/// The batch at `n` seconds is what `batch` says of `n`, whenever it is asked for.
struct Numbers(Option<SourceContext>, fn(i64) -> Option<Vec<i64>>);

impl Source<i64> for Numbers {
    fn name(&self) -> String {
        "numbers".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.0 = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<i64>>> {
        let context = self.0.as_ref().expect("the source is started");
        let records = (self.1)(time.as_millis() / 1000);
        Ok(records.map(|records| {
            let count = records.len() as u64;
            let halves = records.chunks(2).map(<[i64]>::to_vec).collect();
            InputBatch {
                dataset: context.dataset(halves),
                records: count,
                description: String::new(),
                plan: Vec::new(),
            }
        }))
    }
}

/// Now and then nothing, or no record; keys come and go.
fn sparse(n: i64) -> Option<Vec<i64>> {
    match n % 7 {
        3 => None,
        5 => Some(Vec::new()),
        rest => Some((0..=rest).map(|i| n * i * i + i).collect()),
    }
}

/// As [`sparse`], and always something: what a union needs.
fn always(n: i64) -> Option<Vec<i64>> {
    Some(sparse(n).unwrap_or_default())
}

/// How a stream of a random graph is made from those before it.
#[derive(Clone, Debug)]
enum Made {
    Map(usize, bool),
    Window(usize, u32, u32),
    Union(usize),
    Reduced(usize, u32, u32),
    Inverse(usize, u32, u32, bool),
    Grouped(usize, u32, u32),
    /// With a timeout, or keys that are removed.
    MapWithState(usize, bool),
    Snapshots(usize),
    UpdateState(usize),
}

fn made() -> impl Strategy<Value = Made> {
    let window = || (any::<usize>(), 1u32..5, 1u32..4);
    prop_oneof![
        (any::<usize>(), any::<bool>()).prop_map(|(parent, saved)| Made::Map(parent, saved)),
        window().prop_map(|(parent, window, slide)| Made::Window(parent, window, slide)),
        any::<usize>().prop_map(Made::Union),
        window().prop_map(|(parent, window, slide)| Made::Reduced(parent, window, slide)),
        (window(), any::<bool>()).prop_map(|((p, window, slide), filter)| Made::Inverse(p, window, slide, filter)),
        window().prop_map(|(parent, window, slide)| Made::Grouped(parent, window, slide)),
        (any::<usize>(), any::<bool>()).prop_map(|(parent, timeout)| Made::MapWithState(parent, timeout)),
        any::<usize>().prop_map(Made::Snapshots),
        any::<usize>().prop_map(Made::UpdateState),
    ]
}

fn make(made: &Made, streams: &[DStream<i64>]) -> DStream<i64> {
    let pick = |n: &usize| &streams[n % streams.len()];
    let span = |stream: &DStream<i64>, window: u32, slide: u32| {
        let step = stream.slide_duration();
        if step > 4 * SECOND { (step, step) } else { (window * step, slide * step) }
    };
    let back = |(key, sum): (i64, i64)| key * 1_000_000 + sum % 999_983;
    match *made {
        Made::Map(ref parent, saved) => {
            let stream = pick(parent).map(|n| n + 1);
            if saved { stream.checkpoint(stream.slide_duration() * 2) } else { stream }
        }
        Made::Window(ref parent, window, slide) => {
            let (window, slide) = span(pick(parent), window, slide);
            pick(parent).window(window, slide)
        }
        Made::Union(ref parent) => {
            let left = pick(parent);
            let right = streams.iter().rev().find(|stream| stream.slide_duration() == left.slide_duration());
            left.union(right.expect("the stream itself"))
        }
        Made::Reduced(ref parent, window, slide) => {
            let (window, slide) = span(pick(parent), window, slide);
            let pairs = pick(parent).map(|n| (n % 5, n));
            pairs.reduce_by_key_and_window(|a, b| a ^ b, window, slide).map(back)
        }
        Made::Inverse(ref parent, window, slide, filter) => {
            let (window, slide) = span(pick(parent), window, slide);
            let pairs = pick(parent).map(|n| (n % 11, n));
            let sums = pairs.reduce_by_key_and_window_inverse(i64::wrapping_add, i64::wrapping_sub, window, slide);
            if filter { sums.filter_keys(|_, sum| *sum != 0).map(back) } else { sums.map(back) }
        }
        Made::MapWithState(ref parent, timeout) => {
            let slide = pick(parent).slide_duration();
            let mapped = one_for_each_key(pick(parent)).map_with_state(counting(timeout.then(|| 2 * slide)));
            // What has to be said where a window reads it.
            mapped.mapped().checkpoint(slide * 2)
        }
        Made::Snapshots(ref parent) => {
            let spec = counting(Some(2 * pick(parent).slide_duration()));
            one_for_each_key(pick(parent)).map_with_state(spec).state_snapshots().map(back)
        }
        Made::UpdateState(ref parent) => {
            let update = |values: Vec<i64>, sum: Option<i64>| {
                let sum = values.iter().fold(sum.unwrap_or(0), |sum, n| sum.wrapping_add(*n));
                (values.is_empty() || sum % 5 != 0).then_some(sum)
            };
            pick(parent).map(|n| (n % 7, n)).update_state_by_key(update).map(back)
        }
        Made::Grouped(ref parent, window, slide) => {
            let (window, slide) = span(pick(parent), window, slide);
            let groups = pick(parent).map(|n| (n % 3, n)).group_by_key_and_window(window, slide);
            // The order of the values is that of the partitions, and so of no account here.
            groups.map(|(key, mut values)| {
                values.sort();
                key + values.iter().fold(0, |all: i64, n| all.wrapping_mul(31).wrapping_add(*n))
            })
        }
    }
}

/// The values of a key come in the order of the partitions. What [`counting`] makes of several depends on it, and so a
/// run that goes on in other partitions may tell another sum of a key that times out: as it happened for a window, a
/// union with what the window reads, and sums of those.
fn one_for_each_key(stream: &DStream<i64>) -> DStream<(i64, i64)> {
    stream.map(|n| (n % 7, n)).reduce_by_key(i64::wrapping_add)
}

/// A running sum that is removed by a value that can be divided by five, and that is told when it times out.
fn counting(timeout: Option<Duration>) -> StateSpec<i64, i64, i64, i64> {
    let spec = StateSpec::function(|key: &i64, value: Option<i64>, sum: &mut KeyState<'_, i64>| {
        let Some(value) = value else { return -key - 7 * sum.get().copied().unwrap_or(0).rem_euclid(1000) };
        let total = sum.get().copied().unwrap_or(0).wrapping_add(value);
        match value.rem_euclid(5) {
            0 if sum.exists() => sum.remove(),
            _ => sum.update(total),
        }
        value
    });
    match timeout {
        Some(timeout) => spec.timeout(timeout),
        None => spec,
    }
}

/// What a checkpoint has of a graph.
#[derive(Clone, Default)]
struct Saved {
    chunks: Vec<(Time, StateChunk)>,
}

impl Saved {
    /// Takes what a batch has left, and lets go of what is not needed any more.
    fn add(&mut self, time: Time, chunks: Vec<StateChunk>) {
        let class = |chunk: &StateChunk| (chunk.operator, chunk.kind == ChunkKind::State);
        for of in chunks.iter().map(class).collect::<Vec<_>>() {
            let since = chunks.iter().filter(|chunk| class(chunk) == of).map(|chunk| chunk.saved.since).min();
            self.chunks.retain(|(at, old)| class(old) != of || Some(*at) >= since);
        }
        self.chunks.extend(chunks.into_iter().map(|chunk| (time, chunk)));
    }
}

/// A graph that is running, and what its outputs have emitted.
struct Running {
    graph: DStreamGraph,
    emitted: Vec<Receiver<(Time, Vec<i64>)>>,
    saved: Saved,
}

impl Running {
    fn new(program: &[Made], partitions: usize, batch: fn(i64) -> Option<Vec<i64>>, saved: Saved) -> Self {
        let graph = Graph::over(Numbers(None, batch), partitions);
        graph.builder.has_checkpoint(Some(3 * SECOND));
        let mut streams = vec![graph.numbers.clone()];
        for made in program {
            let stream = make(made, &streams);
            streams.push(stream);
        }
        let emitted = streams.iter().rev().step_by(2).map(collect).collect();
        let mut graph = graph.begin(Duration::ZERO);
        graph.zero_time = Time::ZERO;
        Running { graph, emitted, saved }
    }

    /// Builds the graph again and goes on after the batch at `done`.
    fn resumed(
        program: &[Made],
        partitions: usize,
        batch: fn(i64) -> Option<Vec<i64>>,
        done: i64,
        saved: Saved,
    ) -> Self {
        let running = Running::new(program, partitions, batch, saved);
        let graph = &running.graph;
        // What nobody needs is not there.
        for n in graph.plans_from(at(done)).as_millis().div_euclid(1000)..=done {
            if at(n) >= graph.plans_from(at(done)) {
                graph.inputs.iter().for_each(|(_, node)| node.plan(at(n)).unwrap());
            }
        }
        let read = |operator, take_back: TakeBack<'_>| {
            for (time, saved) in running.saved.chunks.iter().filter(|(_, chunk)| chunk.operator == operator) {
                let StateChunk { kind, partition, partitions, bytes, .. } = saved;
                let (time, partition, partitions) = (*time, *partition, *partitions);
                take_back(*kind, &Chunk { time, partition, partitions, version: 1, bytes })?;
            }
            Ok(())
        };
        graph.restore(at(done), &BTreeMap::new(), &read).unwrap();
        graph.resume(at(done)).unwrap();
        graph.record();
        running
    }

    fn begin(self) -> Self {
        self.graph.record();
        self
    }

    fn run(&mut self, n: i64) {
        let Planned { jobs, settle, .. } = self.graph.generate(at(n)).unwrap();
        jobs.into_iter().for_each(|job| job.run().unwrap());
        if let Some(settle) = settle {
            self.saved.add(at(n), settle.run(true).unwrap());
        }
        self.graph.clear(at(n));
    }

    /// What each node remembers that can be planned again or is saved.
    fn remembered(&self) -> Vec<(String, Vec<i64>)> {
        let needs = needs(&self.graph, Duration::ZERO);
        let nodes = self.graph.nodes.iter().zip(&needs).filter(|(_, needs)| needs.is_there_after_restart());
        nodes.map(|(node, _)| (node.place_of_site(), seconds(node.remembered_times()))).collect()
    }

    fn emitted(&self) -> Vec<Vec<(Time, Vec<i64>)>> {
        let sorted = |(time, mut records): (Time, Vec<i64>)| {
            records.sort();
            (time, records)
        };
        self.emitted.iter().map(|emitted| emitted.try_iter().map(sorted).collect()).collect()
    }
}

impl dyn AnyNode {
    fn place_of_site(&self) -> String {
        format!("{} {}", self.name(), self.site())
    }
}

const LAST: i64 = 16;

/// Cuts a run after the batches `cuts`, each time into another number of partitions.
fn check(program: &[Made], cuts: &BTreeSet<i64>, partitions: &[usize]) -> std::result::Result<(), TestCaseError> {
    let has_union = program.iter().any(|made| matches!(made, Made::Union(_)));
    let batch = if has_union { always } else { sparse };
    let mut unbroken = Running::new(program, 2, batch, Saved::default()).begin();
    let mut cut = Running::new(program, 2, batch, Saved::default()).begin();
    let mut partitions = partitions.iter().cycle();
    for n in 1..=LAST {
        unbroken.run(n);
        cut.run(n);
        prop_assert_eq!(cut.emitted(), unbroken.emitted(), "batch {}", n);
        if cuts.contains(&n) {
            let partitions = *partitions.next().expect("a cycle");
            cut = Running::resumed(program, partitions, batch, n, cut.saved.clone());
            // A batch that nobody had asked for yet may have been planned: whoever asks for it finds it.
            for (found, (stream, times)) in cut.remembered().iter().zip(unbroken.remembered()) {
                let missing: Vec<_> = times.iter().filter(|time| !found.1.contains(time)).collect();
                prop_assert!(missing.is_empty(), "{} has forgotten {:?} after batch {}", stream, missing, n);
            }
        }
    }
    Ok(())
}

/// Every kind of stream over every other.
#[test]
fn a_window_of_windows_goes_on_wherever_it_is_cut() {
    let programs = [
        vec![Made::Window(0, 3, 1)],
        vec![Made::Reduced(0, 4, 1)],
        vec![Made::Reduced(0, 2, 3), Made::Window(1, 2, 1)],
        vec![Made::Inverse(0, 4, 1, false)],
        vec![Made::Inverse(0, 3, 2, true), Made::Window(1, 2, 1)],
        vec![Made::Inverse(0, 2, 3, false), Made::Inverse(1, 2, 1, false)],
        vec![Made::Inverse(0, 1, 1, false)],
        vec![Made::Grouped(0, 3, 2)],
        vec![Made::Map(0, true), Made::Window(1, 4, 1)],
        vec![Made::Inverse(0, 3, 1, false), Made::Map(1, false), Made::Window(2, 2, 3)],
        vec![Made::MapWithState(0, true), Made::Window(1, 3, 2)],
        vec![Made::Snapshots(0), Made::Window(1, 2, 3)],
        vec![Made::UpdateState(0), Made::Reduced(1, 4, 2)],
        vec![Made::UpdateState(0), Made::Inverse(1, 3, 1, true), Made::MapWithState(2, false)],
        // Batches of a stream that is saved come back in the partitions that they had, panes in as many as there are now;
        // a window that leaves batches out asks for those between late.
        vec![Made::Map(0, false), Made::Map(1, true), Made::Reduced(2, 3, 1), Made::Inverse(3, 1, 2, false)],
        // Several values of a key in one batch, from several partitions.
        vec![Made::Reduced(0, 2, 1), Made::Union(0), Made::MapWithState(2, true)],
    ];
    for program in programs {
        for n in 1..LAST {
            let partitions = [[2], [3]][n as usize % 2];
            check(&program, &[n].into(), &partitions)
                .unwrap_or_else(|error| panic!("{program:?} cut after {n} into {partitions:?}: {error}"));
        }
        check(&program, &(1..LAST).collect(), &[2, 3, 1]).unwrap_or_else(|error| panic!("{program:?}: {error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cut_run_equals_the_unbroken_one(
        program in prop::collection::vec(made(), 1..6),
        cuts in prop::collection::btree_set(1..LAST, 1..6),
        partitions in prop::collection::vec(1usize..4, 1..3),
    ) {
        check(&program, &cuts, &partitions)?;
    }
}

/// What an operator keeps that is not told to anybody: its batches cannot be made again.
struct Opaque(DStream<i64>);

impl crate::dstream::Operator<i64> for Opaque {
    fn name(&self) -> &str {
        "opaque"
    }

    fn slide(&self) -> Duration {
        self.0.slide_duration()
    }

    fn parents(&self) -> Vec<Edge> {
        vec![Edge { node: Arc::clone(&self.0.node) as _, window: Duration::ZERO, once: true }]
    }

    fn compute(&self, at: Time) -> Result<Option<crate::dataset::Dataset<i64>>> {
        self.0.at(at)
    }

    fn durable(&self) -> Option<Arc<dyn crate::state::Durable>> {
        Some(Arc::new(Forgetful))
    }
}

struct Forgetful;

impl crate::state::Durable for Forgetful {
    fn schema(&self) -> crate::state::Schema {
        crate::state::Schema { method: "opaque", version: 1, parts: Vec::new() }
    }

    fn partitions(&self) -> usize {
        1
    }

    fn is_at(&self, _: usize, _: Time) -> bool {
        true
    }

    fn record(&self) {}

    fn save(&self, _: usize, time: Time, _: bool) -> Result<(crate::state::Saved, Vec<u8>)> {
        Ok((crate::state::Saved { since: time, keys: 0 }, Vec::new()))
    }

    fn restore(&self, _: &Chunk<'_>) -> Result<()> {
        Ok(())
    }

    fn restored(&self, _: Time) -> Result<()> {
        Ok(())
    }
}

/// The mistakes of a graph of a stream that keeps something; `build` says what reads it.
fn mistakes(has_checkpoint: bool, build: impl FnOnce(DStream<i64>) -> DStream<i64>) -> Option<String> {
    let Graph { builder, numbers, .. } = Graph::new();
    if has_checkpoint {
        builder.has_checkpoint(None);
    }
    let opaque = DStream::build(&builder, Box::new(Opaque(numbers)), Location::caller());
    let _emitted = collect(&build(opaque));
    builder.finish(1, Arc::new(never)).err().map(|error| error.to_string())
}

#[test]
fn what_can_neither_be_made_again_nor_saved_is_told() {
    let window = |stream: DStream<i64>| stream.window(3 * SECOND, SECOND);
    let mistake = mistakes(true, |opaque| window(opaque.map(|n| n))).unwrap();
    let expected = ["resume.rs", "window (", "looks back at batches of opaque", ".checkpoint(interval)"];
    assert!(expected.iter().all(|part| mistake.contains(part)), "{mistake}");
    // One batch is enough, and so is a stream on the way that is saved, or panes.
    assert_eq!(mistakes(true, |opaque| opaque.window(SECOND, SECOND)), None);
    assert_eq!(mistakes(true, |opaque| window(opaque.checkpoint(SECOND))), None);
    assert_eq!(mistakes(true, |opaque| window(opaque.map(|n| n).checkpoint(SECOND))), None);
    let reduced = |opaque: DStream<i64>| opaque.reduce_by_window(|a, b| a + b, 3 * SECOND, SECOND);
    assert_eq!(mistakes(true, reduced), None);
    // Without a checkpoint nothing outlives the program.
    assert_eq!(mistakes(false, window), None);
    let mistake = mistakes(false, |opaque| opaque.checkpoint(SECOND)).unwrap();
    assert!(mistake.contains("has a checkpoint interval, and the context no checkpoint directory"), "{mistake}");
}

#[test]
fn an_interval_fits_the_slide_and_is_said_once() {
    let mistake = |interval: Duration| mistakes(true, |opaque| opaque.checkpoint(interval));
    assert!(mistake(SECOND * 3 / 2).unwrap().contains("the checkpoint interval 1.5s is no multiple of 1s"));
    assert!(mistake(Duration::ZERO).unwrap().contains("the checkpoint interval is zero"));
    assert_eq!(mistakes(true, |opaque| opaque.checkpoint(SECOND).checkpoint(SECOND)), None);
    let twice = mistakes(true, |opaque| opaque.checkpoint(SECOND).checkpoint(2 * SECOND)).unwrap();
    assert!(twice.contains("cannot be checkpointed each 2s: it is each 1s"), "{twice}");
}

#[test]
fn a_filtered_window_is_saved_as_often_as_the_window() {
    let Graph { numbers, .. } = Graph::new();
    let pairs = numbers.map(|n| (n, n));
    let window = pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 3 * SECOND, SECOND);
    let filtered = || window.filter_keys(|_, sum| *sum != 0);
    assert_eq!(filtered().checkpoint_interval(), Some(10 * SECOND));
    window.checkpoint(4 * SECOND);
    assert_eq!(filtered().checkpoint_interval(), Some(4 * SECOND));
    assert_eq!(filtered().filter_keys(|_, sum| *sum != 1).checkpoint_interval(), Some(4 * SECOND));
    assert_eq!(filtered().checkpoint(2 * SECOND).checkpoint_interval(), Some(2 * SECOND));
}

/// What a checkpoint has of streams, by name.
#[track_caller]
fn check_names(build: impl Fn(&DStream<(i64, i64)>) -> Vec<DStream<i64>>, expected: &[&str]) {
    let graph = Graph::new();
    graph.builder.has_checkpoint(None);
    let streams = build(&graph.numbers.map(|n| (n, n)));
    let _emitted: Vec<_> = streams.iter().map(collect).collect();
    let parts = graph.begin(Duration::ZERO).parts(Duration::ZERO).into_iter();
    let kept = parts.filter(|part| matches!(part.role, PartRole::State(..) | PartRole::Batches(_)));
    assert_eq!(kept.map(|part| part.name).collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_window_with_a_name_is_made_of_is_found_by_it() {
    let first = |pairs: DStream<(i64, i64)>| pairs.map(|(key, _)| key);
    let sums = |pairs: &DStream<(i64, i64)>| {
        pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 3 * SECOND, SECOND).named("sums")
    };
    let odd = |sums: &DStream<(i64, i64)>| sums.filter_keys(|_, sum| sum % 2 == 1);
    check_names(|pairs| vec![first(sums(pairs))], &["sums/panes", "sums"]);
    check_names(|pairs| vec![first(odd(&sums(pairs)))], &["sums/panes", "sums/filter_keys"]);
    check_names(|pairs| vec![first(odd(&odd(&sums(pairs))))], &["sums/panes", "sums/filter_keys"]);
    check_names(|pairs| vec![first(odd(&sums(pairs)).named("odd"))], &["odd/panes", "odd"]);
    let all = |pairs: &DStream<(i64, i64)>| {
        let sums = sums(pairs);
        vec![first(odd(&sums)), first(odd(&sums)), first(sums)]
    };
    check_names(all, &["sums/panes", "sums/filter_keys", "sums/filter_keys 2", "sums"]);
    let groups = |pairs: &DStream<(i64, i64)>| pairs.group_by_key_and_window(3 * SECOND, SECOND).named("groups");
    check_names(|pairs| vec![groups(pairs).map(|(key, _)| key)], &["groups/panes"]);
    let count = |pairs: &DStream<(i64, i64)>| pairs.count_by_window(3 * SECOND, SECOND).named("count");
    check_names(|pairs| vec![count(pairs).map(|count| count as i64)], &["count/total/panes", "count/total"]);
}

/// An error of planning a batch again waits for whoever asks for the batch, and the closure is not asked again.
#[test]
fn a_batch_that_cannot_be_planned_again_is_an_error_for_who_asks() {
    let run = |breaks: bool| {
        let parts = Graph::over(Numbers(None, always), 1);
        parts.builder.has_checkpoint(None);
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let made = parts.numbers.transform(move |batch, time| match time == at(4) && breaks {
            true if counted.fetch_add(1, Ordering::Relaxed) == 0 => Err(Error::new(ErrorKind::User, "not now")),
            _ => Ok(batch),
        });
        let emitted = collect(&made.window(3 * SECOND, 2 * SECOND));
        let graph = parts.begin(Duration::ZERO);
        for n in 1..=5 {
            graph.inputs.iter().for_each(|(_, node)| node.plan(at(n)).unwrap());
        }
        graph.restore(at(5), &BTreeMap::new(), &|_, _| Ok(())).unwrap();
        graph.resume(at(5)).unwrap();
        let planned = graph.generate(at(6)).map(|planned| planned.jobs.into_iter().for_each(|job| job.run().unwrap()));
        (planned.map_err(|error| error.to_string()), emitted.try_iter().count(), calls.load(Ordering::Relaxed))
    };
    assert_eq!(run(false), (Ok(()), 1, 0));
    let (planned, emitted, calls) = run(true);
    assert!(planned.unwrap_err().ends_with("not now"));
    assert_eq!((emitted, calls), (0, 1));
}
