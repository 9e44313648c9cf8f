//! A run that is cut after any of its batches, and goes on from its checkpoint, is the unbroken run.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{DStream, Data, KeyState, QueueSource, StateSpec, StreamingContext};

use crate::harness::SECOND;

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

fn update(values: Vec<i64>, sum: Option<i64>) -> Option<i64> {
    Some(sum.unwrap_or(0) + values.iter().sum::<i64>())
}

#[test]
fn c_1_reduce_by_key() {
    let expected = counts("a2 b1|c2||a2 b1|c2|");
    check_cuts("C-1", &words("a a b|c c||a a b|c c|"), 2, |pairs| pairs.reduce_by_key(|a, b| a + b), &expected);
}

#[test]
fn c_2_an_inverse_window() {
    let expected = counts("a1|a2|a3|a4|a4|a4|a4|a4|a4|a4");
    let build = |pairs: DStream<(String, i64)>| {
        pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 4 * SECOND, SECOND)
    };
    check_cuts("C-2", &words("a|a|a|a|a|a|a|a|a|a"), 2, build, &expected);
}

#[test]
fn c_3_update_state_by_key() {
    let expected = counts("a1|a2|a3|a4|a5|a6|a7|a8|a9|a10");
    check_cuts("C-3", &words("a|a|a|a|a|a|a|a|a|a"), 2, |pairs| pairs.update_state_by_key(update), &expected);
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

/// An operator of a random graph: each makes a stream of pairs of one.
#[derive(Clone, Copy, Debug)]
enum Made {
    Window(u32, u32),
    Reduced(u32, u32),
    Inverse(u32, u32, bool),
    Grouped(u32, u32),
    Counted(u32, u32),
    Updated,
    Snapshots(bool),
    JoinedWithItsWindow(u32),
}

fn made() -> impl Strategy<Value = Made> {
    let span = || (1u32..5, 1u32..4);
    prop_oneof![
        span().prop_map(|(window, slide)| Made::Window(window, slide)),
        span().prop_map(|(window, slide)| Made::Reduced(window, slide)),
        (span(), any::<bool>()).prop_map(|((window, slide), filter)| Made::Inverse(window, slide, filter)),
        span().prop_map(|(window, slide)| Made::Grouped(window, slide)),
        span().prop_map(|(window, slide)| Made::Counted(window, slide)),
        Just(Made::Updated),
        any::<bool>().prop_map(Made::Snapshots),
        (1u32..4).prop_map(Made::JoinedWithItsWindow),
    ]
}

fn make(made: Made, pairs: &DStream<(u8, i64)>) -> DStream<(u8, i64)> {
    let step = pairs.slide_duration();
    let span = |window: u32, slide: u32| if step > 2 * SECOND { (step, step) } else { (window * step, slide * step) };
    match made {
        Made::Window(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.window(window, slide)
        }
        Made::Reduced(window, slide) => {
            let (window, slide) = span(window, slide);
            pairs.reduce_by_key_and_window(i64::wrapping_add, window, slide)
        }
        Made::Inverse(window, slide, filter) => {
            let (window, slide) = span(window, slide);
            let sums = pairs.reduce_by_key_and_window_inverse(i64::wrapping_add, i64::wrapping_sub, window, slide);
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
        Made::Updated => pairs.update_state_by_key(|values: Vec<i64>, sum: Option<i64>| {
            let sum = values.iter().fold(sum.unwrap_or(0), |sum, value| sum.wrapping_add(*value));
            (!values.is_empty() || sum % 3 != 0).then_some(sum)
        }),
        Made::Snapshots(timeout) => {
            let spec = StateSpec::function(|_: &u8, value: Option<i64>, sum: &mut KeyState<'_, i64>| match value {
                Some(value) if value % 5 == 0 && sum.exists() => sum.remove(),
                Some(value) => sum.update(sum.get().copied().unwrap_or(0).max(value)),
                None => {}
            });
            let spec = if timeout { spec.timeout(2 * step) } else { spec };
            pairs.reduce_by_key(i64::wrapping_add).map_with_state(spec).state_snapshots()
        }
        Made::JoinedWithItsWindow(window) => {
            let sums = pairs.reduce_by_key_and_window(i64::wrapping_add, window * step, step);
            sums.join(&pairs.reduce_by_key(i64::wrapping_add))
                .map_values(|(all, own)| all.wrapping_mul(3).wrapping_add(own))
        }
    }
}

/// Now and then a batch without records. Operators that join have to have one.
fn batches() -> impl Strategy<Value = Vec<Vec<(u8, i64)>>> {
    prop::collection::vec(prop::collection::vec((0u8..6, -20i64..20), 0..6), 4..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_run_that_is_cut_is_the_unbroken_one(
        program in prop::collection::vec(made(), 1..4),
        input in batches(),
        cuts in prop::collection::btree_set(1usize..9, 1..4),
        every in 1u32..4,
    ) {
        let build = |pairs: DStream<(u8, i64)>| program.iter().fold(pairs, |pairs, made| make(*made, &pairs));
        let unbroken = TestRun::new().run(input.clone(), build).unwrap().sorted();
        let each: BTreeSet<BTreeSet<usize>> =
            (1..input.len()).map(|cut| BTreeSet::from([cut])).chain([cuts]).collect();
        for cuts in each {
            let first = *cuts.first().expect("there is a cut");
            let run = TestRun::new().checkpoint_every(every).restart_after(first);
            let run = cuts.iter().fold(run, |run, cut| run.restart_after(*cut));
            let out = run.run(input.clone(), build).unwrap().sorted();
            prop_assert_eq!(out.times(), unbroken.times(), "times, cut after {:?}", cuts);
            prop_assert_eq!(out.batches(), unbroken.batches(), "cut after {:?}", cuts);
        }
    }
}
