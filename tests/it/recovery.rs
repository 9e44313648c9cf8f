//! A run that is cut after any of its batches, and goes on from its checkpoint, is the unbroken run; also after the
//! program was away for a while.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{
    Backpressure, DStream, Data, Error, KeyState, Partitions, QueueSource, StateSpec, Stop, StreamingContext,
    StreamingContextBuilder, UpdateSpec,
};

use crate::harness::{BySecond, Gate, Run, SECOND, at};

/// Words separated by spaces, in batches separated by `|`.
fn words(text: &str) -> Vec<Vec<String>> {
    text.split('|').map(|batch| batch.split_whitespace().map(str::to_string).collect()).collect()
}

/// Counts of one letter each, in batches separated by `|`.
fn counts(text: &str) -> Vec<Vec<(String, i64)>> {
    let count = |word: &str| (word[..1].to_string(), word[1..].parse().expect("a number"));
    text.split('|').map(|batch| batch.split_whitespace().map(count).collect()).collect()
}

/// Cuts a run after each of its batches, in turn, and compares what comes out.
#[track_caller]
fn check_cuts<U: Data + Ord + Debug>(
    id: &str,
    input: &[Vec<String>],
    every: u32,
    build: impl Fn(DStream<(String, i64)>) -> DStream<U>,
    expected: &[Vec<U>],
) {
    for cut in 1..input.len() {
        for workers in [1, 3] {
            let run = TestRun::new().workers(workers).checkpoint_every(every).restart_after(cut);
            let out = run.run(input.to_vec(), |words| build(words.map(|word| (word, 1))));
            let out = out.unwrap_or_else(|error| panic!("{id} cut after {cut}: {error}")).sorted();
            assert_eq!(out.batches(), expected, "{id} cut after {cut} with {workers} workers");
        }
    }
}

#[test]
fn c_1_reduce_by_key() {
    let (input, expected) = (words("a a b|c c||a a b|c c|"), counts("a2 b1|c2||a2 b1|c2|"));
    check_cuts("C-1", &input, 2, |pairs| pairs.reduce_by_key(|a, b| a + b), &expected);
    let inside = |pairs: DStream<(String, i64)>| pairs.transform(|batch, _| Ok(batch.reduce_by_key(|a, b| a + b)));
    check_cuts("C-1 inside transform", &input, 2, inside, &expected);
}

/// The lines of the files of a batch.
fn lines_of(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let mut lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

#[test]
fn c_1_with_file_outputs() {
    let (input, expected) = (words("a a b|c c||a a b|c c|"), ["a2 b1", "c2", "", "a2 b1", "c2", ""]);
    for cut in 1..input.len() {
        let [checkpoint, files] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let prefix = files.path().join("counts");
        for (from, until) in [(0, cut), (cut, input.len())] {
            let run = Run::going_on(checkpoint.path(), from, |builder| builder);
            let batches = input.clone();
            let words = run.context.input(BySecond::new(2, move |second| batches.get(second - 1).cloned()));
            let counts = words.map(|word| (word, 1)).reduce_by_key(|a, b| a + b);
            counts.map(|(word, count)| format!("{word}{count}")).save_as_text_files(prefix.display().to_string(), "");
            run.context.start().unwrap();
            run.batches(until - from);
            run.context.stop(Stop::Now).unwrap();
            // Only what comes after the cut is written after it.
            if until == cut {
                fs::remove_dir_all(format!("{}-1000", prefix.display())).unwrap();
            }
        }
        for (second, expected) in (1..).zip(expected).skip(1) {
            let lines = lines_of(Path::new(&format!("{}-{second}000", prefix.display())));
            assert_eq!(lines.join(" "), expected, "second {second}, cut after {cut}");
        }
        assert!(!Path::new(&format!("{}-1000", prefix.display())).exists(), "written again, cut after {cut}");
    }
}

#[test]
fn c_2_an_inverse_window() {
    let expected = counts("a1|a2|a3|a4|a4|a4|a4|a4|a4|a4");
    let build = |pairs: DStream<(String, i64)>| {
        pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 4 * SECOND, SECOND)
    };
    check_cuts("C-2", &words("a|a|a|a|a|a|a|a|a|a"), 2, build, &expected);
}

fn update(values: Vec<i64>, sum: Option<i64>) -> Option<i64> {
    Some(sum.unwrap_or(0) + values.iter().sum::<i64>())
}

#[test]
fn c_3_update_state_by_key() {
    let expected = counts("a1|a2|a3|a4|a5|a6|a7|a8|a9|a10");
    check_cuts("C-3", &words("a|a|a|a|a|a|a|a|a|a"), 2, |pairs| pairs.update_state_by_key(update), &expected);
}

#[test]
fn there_is_nothing_to_get_a_context_from_without_a_checkpoint() {
    let error = StreamingContext::get_or_create(StreamingContext::builder("none"), |_| Ok(())).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "get_or_create needs a checkpoint to get the context from: name its directory in \
         `StreamingContextBuilder::checkpoint`"
    );
}

/// A context over the numbers of `source` that sends the sums of windows of `window` seconds.
fn window_sums(
    directory: &Path,
    seconds: usize,
    source: impl tidemill::Source<i64>,
    window: u32,
    settings: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
) -> (Run, Receiver<(i64, i64)>) {
    let run = Run::going_on(directory, seconds, settings);
    let (send, sums) = unbounded();
    let numbers = run.context.input(source);
    let slide = numbers.slide_duration();
    numbers.window(window * SECOND, slide).foreach_batch(move |batch, at| {
        let sum: i64 = batch.sum()?;
        send.send((at.time.as_millis() / 1000, sum)).map_err(Error::user)
    });
    (run, sums)
}

/// Files 1, 2, 3 before a crash in batch 3; 4, 5, 6 while nobody is there; 7, 8, 9 after. The window holds 30 batches.
#[test]
fn c_4_files_that_come_while_the_program_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let file = || BySecond::new(1, |second| Some(vec![second as i64 / 2]));
    let every_two = |builder: StreamingContextBuilder| builder.batch_interval(2 * SECOND);
    let (run, sums) = window_sums(directory.path(), 0, file(), 60, every_two);
    run.context.start().unwrap();
    for second in [2, 4] {
        run.clock.advance(2 * SECOND);
        run.has_done(second).unwrap();
    }
    let before: Vec<_> = sums.try_iter().collect();
    // The output finds nobody to send to, and fails.
    drop(sums);
    run.clock.advance(2 * SECOND);
    run.ended().unwrap_err();
    run.context.stop(Stop::Now).unwrap_err();

    let (run, sums) = window_sums(directory.path(), 13, file(), 60, every_two);
    run.context.start().unwrap();
    // The batch of the crash and those that were missed run at once.
    run.has_done(12).unwrap();
    assert_eq!(sums.len(), 4);
    for second in [14, 16, 18] {
        run.clock.advance(2 * SECOND);
        run.has_done(second).unwrap();
    }
    run.context.stop(Stop::Now).unwrap();
    let all: Vec<_> = before.into_iter().chain(sums.try_iter()).collect();
    let expected: Vec<_> = (2..=18).step_by(2).zip([1, 3, 6, 10, 15, 21, 28, 36, 45]).collect();
    assert_eq!(all, expected);
}

/// Runs two batches of the queue, is away for as long as said, and runs two more.
fn away(
    queue: &QueueSource<i64>,
    seconds: usize,
    window: u32,
    meanwhile: impl IntoIterator<Item = i64>,
    settings: impl Fn(StreamingContextBuilder) -> StreamingContextBuilder,
) -> Vec<(i64, i64)> {
    let directory = tempfile::tempdir().unwrap();
    let (run, before) = window_sums(directory.path(), 0, queue.clone(), window, &settings);
    run.context.start().unwrap();
    run.batches(2);
    run.context.stop(Stop::Now).unwrap();
    queue.push(meanwhile);
    let (run, after) = window_sums(directory.path(), 2 + seconds, queue.clone(), window, &settings);
    run.context.start().unwrap();
    run.clock.advance(2 * SECOND);
    run.has_done(4 + seconds).unwrap();
    run.context.stop(Stop::Now).unwrap();
    before.try_iter().chain(after.try_iter()).collect()
}

#[test]
fn batches_that_were_missed_keep_to_the_rate() {
    let queue = QueueSource::all_at_once();
    queue.push([1, 1, 1]);
    let two_a_second = |builder: StreamingContextBuilder| builder.backpressure(Backpressure::pid().initial_rate(2.0));
    let sums = away(&queue, 3, 1, [10; 9], two_a_second);
    assert_eq!(sums, [(1, 2), (2, 1), (3, 20), (4, 20), (5, 20), (6, 20), (7, 10)]);
}

#[test]
fn no_more_batches_are_made_up_for_than_the_program_says() {
    let queue = QueueSource::all_at_once();
    queue.push([1]);
    let sums = away(&queue, 6, 1, [10], |builder| builder.max_missed_batches(2));
    assert_eq!(sums, [(1, 1), (2, 0), (3, 10), (4, 0), (9, 0), (10, 0)]);
}

/// What windows held when the program ended comes out at all of their times, though no batch is to be made up for.
#[test]
fn windows_that_were_open_come_out() {
    let queue = QueueSource::one_at_a_time();
    [1, 2].into_iter().for_each(|n| queue.push([n]));
    let sums = away(&queue, 10, 4, [], |builder| builder.max_missed_batches(0));
    let open: Vec<_> = sums.iter().filter(|(_, sum)| *sum > 0).copied().collect();
    assert_eq!(open, [(1, 1), (2, 3), (3, 3), (4, 3), (5, 2)]);
    assert_eq!(sums.last(), Some(&(14, 0)));
}

fn running_sum(_: &String, value: Option<i64>, sum: &mut KeyState<'_, i64>) {
    sum.update(sum.get().unwrap_or(&0) + value.unwrap_or(0));
}

#[test]
fn m_7_checkpoint_intervals() {
    for (slide, automatic, explicit) in [(100, 1000, 2000), (1000, 10_000, 2000), (10_000, 100_000, 20_000)] {
        let [slide, automatic, explicit] = [slide, automatic, explicit].map(Duration::from_millis);
        let context = StreamingContext::builder("M-7").batch_interval(slide).build().unwrap();
        let pairs = context.input(QueueSource::<(String, i64)>::one_at_a_time());
        let states = || pairs.map_with_state(StateSpec::function(running_sum)).mapped();
        assert_eq!(states().checkpoint_interval(), Some(automatic));
        assert_eq!(states().checkpoint(explicit).checkpoint_interval(), Some(explicit));
        assert_eq!(states().map(|()| 1).checkpoint_interval(), None);
    }
}

#[test]
fn m_8_map_with_state() {
    let expected = counts("|a1|a2 b1|a3 b2 c1|a4 b3 c1|a5 b3 c1|a5 b3 c1");
    let build =
        |pairs: DStream<(String, i64)>| pairs.map_with_state(StateSpec::function(running_sum)).state_snapshots();
    check_cuts("M-8", &words("|a|a b|a b c|a b|a|"), 3, build, &expected);
}

/// A state that has had no batch when the program ends begins at its first batch after the restart, with its initial
/// states, and until then its stream has no batches.
#[test]
fn what_had_not_begun_begins_after_the_restart() {
    let ten = || [("a".to_string(), 10)];
    let input = [None, None, Some(words("a")[0].clone()), None];
    for cut in 1..4 {
        let run = TestRun::new().restart_after(cut);
        let out = run.run(input.clone(), |words| {
            let spec = UpdateSpec::function(update).initial_state(ten());
            words.map(|word| (word, 1)).update_state_by_key_with(spec)
        });
        assert_eq!(out.unwrap(), counts("a11|a11"), "cut after {cut}");
        let out = run.run(input.clone(), |words| {
            let spec = StateSpec::function(running_sum).initial_state(ten());
            words.map(|word| (word, 1)).map_with_state(spec).state_snapshots()
        });
        assert_eq!(out.unwrap(), counts("a10|a10|a11|a11"), "cut after {cut}");
    }
}

/// Sums of six thousand keys and of windows over them, in parts that end with these batches; what there was of them after
/// each batch, as numbers that tell.
fn many_sums(ends: impl IntoIterator<Item = usize>) -> Vec<(u64, i64)> {
    let directory = tempfile::tempdir().unwrap();
    let (send, emitted) = unbounded();
    let mut from = 0;
    for (part, until) in ends.into_iter().enumerate() {
        let run = Run::going_on(directory.path(), from, |builder| setting(part, builder));
        let pairs = run.context.input(BySecond::new(2, |second| {
            let some = (0..40).map(|n| ((97 * second as i64 + 31 * n) % 6000, second as i64));
            Some(if second == 1 { (0..6000).map(|key| (key, 1)).collect() } else { some.collect() })
        }));
        let states = pairs.update_state_by_key(|values: Vec<i64>, sum: Option<i64>| {
            let sum = values.iter().fold(sum.unwrap_or(0), |sum, value| sum + value);
            (sum % 5 != 0).then_some(sum)
        });
        let sums = pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 4 * SECOND, SECOND);
        for stream in [states, sums.filter_keys(|key, sum| *sum != 0 || key % 2 == 0)] {
            let send = send.clone();
            stream.foreach_batch(move |batch, _| {
                let digests = batch.map(|(key, sum)| (1u64, (key + 1) * (sum + 1)));
                let digest = digests.collect()?.into_iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
                send.send(digest).map_err(Error::user)
            });
        }
        run.context.start().unwrap();
        run.batches(until - from);
        run.context.stop(Stop::Now).unwrap();
        from = until;
    }
    emitted.try_iter().collect()
}

/// A batch writes a thousand keys of a snapshot: parts of one batch go on in other partitions before one is complete.
#[test]
fn many_keys_go_on_in_other_partitions_again_and_again() {
    let unbroken = many_sums([12]);
    assert_eq!((unbroken.len(), unbroken[0], unbroken[1].0), (24, (6000, 36_006_000), 6000));
    assert_eq!(many_sums(1..=12), unbroken);
    assert_eq!(many_sums([1, 2, 5, 9, 12]), unbroken);
}

/// An operator of a random program: each makes a stream of pairs of one. Durations are in slides of that one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made {
    Saved,
    Window(u32, u32),
    Reduced(u32, u32),
    /// With a filter, or a checkpoint interval.
    Inverse(u32, u32, bool, bool),
    Grouped(u32, u32),
    Counted(u32, u32),
    Updated(bool),
    Mapped(bool),
    Snapshots(bool),
    JoinedWithItsWindow(u32),
}

pub(crate) fn made() -> impl Strategy<Value = Made> {
    let span = || (1u32..5, 1u32..4);
    prop_oneof![
        1 => Just(Made::Saved),
        1 => span().prop_map(|(window, slide)| Made::Window(window, slide)),
        2 => span().prop_map(|(window, slide)| Made::Reduced(window, slide)),
        3 => (span(), any::<bool>(), any::<bool>())
            .prop_map(|((window, slide), filter, saved)| Made::Inverse(window, slide, filter, saved)),
        1 => span().prop_map(|(window, slide)| Made::Grouped(window, slide)),
        1 => span().prop_map(|(window, slide)| Made::Counted(window, slide)),
        2 => any::<bool>().prop_map(Made::Updated),
        2 => any::<bool>().prop_map(Made::Mapped),
        2 => any::<bool>().prop_map(Made::Snapshots),
        1 => (1u32..4).prop_map(Made::JoinedWithItsWindow),
    ]
}

type Pair = (u8, i64);

/// What values of a key come first is up to the partitions: nothing here depends on it.
fn make(made: Made, pairs: &DStream<Pair>) -> DStream<Pair> {
    let step = pairs.slide_duration();
    let span = |window: u32, slide: u32| if step > 2 * SECOND { (step, step) } else { (window * step, slide * step) };
    let add = i64::wrapping_add;
    let peaks = |timeout: bool| {
        let spec = StateSpec::function(|key: &u8, value: Option<i64>, peak: &mut KeyState<'_, i64>| {
            match value {
                Some(value) if value % 5 == 0 && peak.exists() => peak.remove(),
                Some(value) => peak.update(peak.get().copied().unwrap_or(0).max(value)),
                None => return (*key, -1000 - peak.get().copied().unwrap_or(0)),
            }
            (*key, value.unwrap_or(0))
        });
        pairs.reduce_by_key(add).map_with_state(if timeout { spec.timeout(2 * step) } else { spec })
    };
    match made {
        Made::Saved => pairs.map(|(key, value)| (key, value + 1)).checkpoint(2 * step),
        Made::Window(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.window(window, slide)
        }
        Made::Reduced(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.reduce_by_key_and_window(add, window, slide)
        }
        Made::Inverse(window, slide, filter, saved) => {
            let (window, slide) = span(window, slide);
            let sums = pairs.reduce_by_key_and_window_inverse(add, i64::wrapping_sub, window, slide);
            let sums = if saved { sums.checkpoint(2 * slide) } else { sums };
            if filter { sums.filter_keys(|_, sum| *sum != 0) } else { sums }
        }
        Made::Grouped(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.group_by_key_and_window(window, slide).map_values(|values| values.iter().max().copied().unwrap_or(0))
        }
        Made::Counted(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.count_by_value_and_window(window, slide).map(|((key, _), count)| (key, count as i64))
        }
        Made::Updated(saved) => {
            let sums = pairs.update_state_by_key(|values: Vec<i64>, sum: Option<i64>| {
                let sum = values.iter().fold(sum.unwrap_or(0), |sum, value| sum.wrapping_add(*value));
                (!values.is_empty() || sum % 3 != 0).then_some(sum)
            });
            if saved { sums.checkpoint(3 * step) } else { sums }
        }
        Made::Mapped(timeout) => peaks(timeout).mapped().checkpoint(2 * step),
        Made::Snapshots(timeout) => peaks(timeout).state_snapshots(),
        Made::JoinedWithItsWindow(window) => {
            let sums = pairs.reduce_by_key_and_window(add, window * step, step);
            sums.join(&pairs.reduce_by_key(add)).map_values(|(all, own)| all.wrapping_mul(3).wrapping_add(own))
        }
    }
}

/// A program with two outputs, over batches of its own.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) made: Vec<Made>,
    pub(crate) input: Vec<Option<Vec<Pair>>>,
}

pub(crate) fn programs() -> impl Strategy<Value = Program> {
    let batch = prop::collection::vec((0u8..6, -20i64..20), 0..6);
    let input = prop::collection::vec(prop_oneof![5 => batch.prop_map(Some), 1 => Just(None)], 5..10);
    (prop::collection::vec(made(), 1..4), input).prop_map(|(made, mut input)| {
        // Without a batch there is nothing to join with, and that is an error.
        if made.iter().any(|made| matches!(made, Made::JoinedWithItsWindow(_))) {
            input.iter_mut().for_each(|batch| *batch = Some(batch.take().unwrap_or_default()));
        }
        Program { made, input }
    })
}

/// How a part of a run differs from the others: in partitions and threads.
pub(crate) fn setting(part: usize, builder: StreamingContextBuilder) -> StreamingContextBuilder {
    builder.workers([2, 1, 3][part % 3]).partitions([2, 3, 1, 4][part % 4])
}

impl Program {
    /// Builds the graph. `emit` gets what comes out: the output, the second, and the records, sorted.
    pub(crate) fn build(
        &self,
        context: &StreamingContext,
        partitions: usize,
        emit: impl Fn(usize, usize, Vec<Pair>) -> tidemill::Result<()> + Clone + Send + Sync + 'static,
    ) {
        let input = self.input.clone();
        // After the last one come empty ones.
        let source =
            BySecond::new(partitions, move |second| input.get(second - 1).cloned().unwrap_or(Some(Vec::new())));
        let mut streams = vec![context.input(source)];
        for made in &self.made {
            let stream = make(*made, &streams[streams.len() - 1]);
            streams.push(stream);
        }
        let middle = &streams[streams.len() / 2];
        for (output, stream) in [middle, &streams[streams.len() - 1]].into_iter().enumerate() {
            let emit = emit.clone();
            stream.foreach_batch(move |batch, at| {
                let mut records = batch.collect()?;
                records.sort();
                emit(output, at.time.as_millis() as usize / 1000, records)
            });
        }
    }

    /// Runs the program in parts that end with these batches; returns what came out, in order.
    pub(crate) fn run(&self, ends: impl IntoIterator<Item = usize>) -> Vec<(usize, usize, Vec<Pair>)> {
        let directory = tempfile::tempdir().unwrap();
        let (send, emitted) = unbounded();
        let mut from = 0;
        for (part, until) in ends.into_iter().enumerate() {
            let run = Run::going_on(directory.path(), from, |builder| setting(part, builder));
            let send = send.clone();
            self.build(&run.context, 1 + part % 3, move |output, second, records| {
                send.send((output, second, records)).map_err(Error::user)
            });
            run.context.start().unwrap();
            run.batches(until - from);
            run.context.stop(Stop::Now).unwrap();
            from = until;
        }
        emitted.try_iter().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_run_that_is_cut_is_the_unbroken_one(
        program in programs(),
        cuts in prop::collection::btree_set(1usize..9, 2..4),
    ) {
        let last = program.input.len();
        let unbroken = program.run([last]);
        let each = (1..last).map(|cut| BTreeSet::from([cut])).chain([cuts]);
        for cuts in each {
            let ends = cuts.range(..last).chain([&last]).copied();
            prop_assert_eq!(program.run(ends), &unbroken[..], "cut after {:?}", cuts);
        }
    }
}

/// An action inside `transform` tries the next batch while one has not ended, and fails; the program carries on.
#[test]
fn a_batch_is_saved_as_it_was_when_an_attempt_at_the_next_has_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (tell, told) = unbounded();
    for (from, until) in [(0, 2), (2, 3)] {
        let run = Run::going_on(directory.path(), from, |builder| builder);
        let (is_broken, gate) = (Arc::new(AtomicBool::new(false)), Gate::new());
        let breaks = Arc::clone(&is_broken);
        let add = move |_: &u32, value: Option<usize>, sum: &mut KeyState<usize>| {
            assert!(!breaks.load(Ordering::SeqCst), "not now");
            let total = sum.get().unwrap_or(&0) + value.unwrap_or(0);
            sum.update(total);
            total
        };
        let numbers = run.context.input(BySecond::new(1, |second| Some(vec![(7u32, second)])));
        let sums = numbers.map_with_state(StateSpec::function(add).partitions(Partitions::new(1)));
        let first = gate.clone();
        let sums = sums.transform(move |sums, time| {
            if time == at(2000) {
                first.wait();
                is_broken.store(true, Ordering::SeqCst);
                assert!(sums.count().unwrap_err().to_string().contains("not now"));
                is_broken.store(false, Ordering::SeqCst);
                first.let_through(1);
            }
            Ok(sums)
        });
        let tell = tell.clone();
        sums.foreach_batch(move |sums, batch| {
            tell.send(sums.collect()?).unwrap();
            if batch.time == at(1000) {
                gate.pass();
            }
            Ok(())
        });
        run.context.start().unwrap();
        (from..until).for_each(|_| run.tick());
        run.has_done(until).unwrap();
        run.context.stop(Stop::Now).unwrap();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [[1], [3], [6]]);
}
