//! Windows: what Spark Streaming's suites assert of them, and every window against one that is computed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{DStream, ErrorKind};

use crate::harness::{SECOND, at, check_set, error_of, every_run, line};

/// The input of the W vectors.
fn zero_to_five() -> [Vec<i32>; 6] {
    [0, 1, 2, 3, 4, 5].map(|n| vec![n])
}

#[test]
fn w_1_to_w_4() {
    for (id, window, slide, batches, expected) in [
        ("W-1", 2, 1, 6, vec![vec![0], vec![0, 1], vec![1, 2], vec![2, 3], vec![3, 4], vec![4, 5]]),
        ("W-2", 2, 2, 6, vec![vec![0, 1], vec![2, 3], vec![4, 5]]),
        ("W-3", 4, 2, 8, vec![vec![0, 1], vec![0, 1, 2, 3], vec![2, 3, 4, 5], vec![4, 5]]),
        ("W-4", 2, 3, 6, vec![vec![1, 2], vec![4, 5]]),
    ] {
        for run in every_run() {
            let run = run.batches(batches);
            let out = run.run(zero_to_five(), |numbers| numbers.window(window * SECOND, slide * SECOND)).unwrap();
            assert_eq!(out.batches(), expected, "{id} by {run:?}");
            let times: Vec<_> = (1..=expected.len() as i64).map(|n| at(1000 * n * i64::from(slide))).collect();
            assert_eq!(out.times(), times, "{id} by {run:?}");
        }
    }
}

fn counts(text: &str) -> Vec<Vec<(String, i32)>> {
    let count = |word: &str| {
        let (key, count) = word.split_at(1);
        (key.to_string(), count.parse().expect("a key of one letter and a count"))
    };
    text.split('|').map(|batch| batch.split_whitespace().map(count).collect()).collect()
}

fn plain(window: u32, slide: u32) -> impl Fn(DStream<(String, i32)>) -> DStream<(String, i32)> {
    move |pairs| pairs.reduce_by_key_and_window(|a, b| a + b, window * SECOND, slide * SECOND)
}

fn inverse(window: u32, slide: u32) -> impl Fn(DStream<(String, i32)>) -> DStream<(String, i32)> {
    move |pairs| pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, window * SECOND, slide * SECOND)
}

/// Batches are separated by `|`.
#[test]
fn r_1_to_r_6() {
    let big = "a1 | a1 b1 | a1 b1 c1 | a1 b1 | a1 | ";
    let big_plain = "a1 | a2 b1 | a2 b2 c1 | a2 b2 c1 | a2 b1 | a1";
    let big_inverse = "a1 | a2 b1 | a2 b2 c1 | a2 b2 c1 | a2 b1 c0 | a1 b0 c0 | \
                       a1 b0 c0 | a2 b1 c0 | a2 b2 c1 | a2 b2 c1 | a2 b1 c0 | a1 b0 c0";
    for (id, (window, slide), input, expected, expected_inverse) in [
        ("R-1", (2, 1), "a1 a3", "a4", "a4"),
        ("R-2", (2, 1), "a1 | a1", "a1 | a2", "a1 | a2"),
        ("R-3", (2, 1), "a1 | a1 b1", "a1 | a2 b1", "a1 | a2 b1"),
        ("R-4", (2, 1), "a1 | a1 | | ", "a1 | a2 | a1 | ", "a1 | a2 | a1 | a0"),
        ("R-5", (4, 2), "a1 | a2 | a3 | a4 | a5 | a6 | | ", "a3 | a10 | a18 | a11", "a3 | a10 | a18 | a11"),
        ("R-6", (2, 1), &format!("{big} | {big}"), &format!("{big_plain} | {big_plain}"), big_inverse),
    ] {
        check_set(id, counts(input), plain(window, slide), counts(expected));
        check_set(&format!("{id} inverse"), counts(input), inverse(window, slide), counts(expected_inverse));
    }
}

/// Design, 5.6: Spark subtracts batches that were never added.
#[test]
fn an_inverse_window_with_a_slide_longer_than_the_window() {
    let input = "a1 | a2 b1 | a4 | a8 | a16 c1 | a32 ";
    check_set("plain", counts(input), plain(1, 2), counts("a2 b1 | a8 | a32"));
    // `c` was never in a window.
    check_set("inverse", counts(input), inverse(1, 2), counts("a2 b1 | a8 b0 | a32 b0"));
}

#[test]
fn a_window_of_windows_adds_up() {
    let build = |numbers: DStream<i32>| numbers.window(2 * SECOND, SECOND).window(4 * SECOND, 2 * SECOND);
    check_set(
        "nested",
        zero_to_five(),
        build,
        [vec![0, 0, 1], vec![0, 0, 1, 1, 2, 2, 3], vec![1, 2, 2, 3, 3, 4, 4, 5]],
    );
}

/// The batches of each window, by number from 1 on: those of the window ending with `last` that exist.
fn window_ends(batches: usize, window: usize, slide: usize) -> Vec<RangeInclusive<usize>> {
    (1..=batches).filter(|last| last % slide == 0).map(|last| (last + 1).saturating_sub(window).max(1)..=last).collect()
}

type Records = Vec<(u8, i64)>;

fn inputs() -> impl Strategy<Value = Vec<Option<Records>>> {
    let batch = prop::collection::vec((0u8..5, -20i64..20), 0..8);
    prop::collection::vec(prop::option::weighted(0.8, batch), 1..14)
}

fn runs() -> impl Strategy<Value = TestRun> {
    (1usize..6, 1usize..4, any::<bool>()).prop_map(|(partitions, workers, encoded)| {
        let run = TestRun::new().partitions(partitions).workers(workers);
        if encoded { run.encoded_shuffle() } else { run }
    })
}

/// The records of the batches of a window.
fn records(input: &[Option<Records>], window: RangeInclusive<usize>) -> Records {
    window.filter_map(|batch| input[batch - 1].clone()).flatten().collect()
}

fn sums(records: &[(u8, i64)]) -> BTreeMap<u8, i64> {
    let mut sums = BTreeMap::new();
    records.iter().for_each(|(key, value)| *sums.entry(*key).or_default() += value);
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_window_is_the_batches_it_spans(
        input in inputs(), window in 0usize..6, slide in 1usize..5, run in runs(),
    ) {
        let build = |pairs: DStream<_>| pairs.window(window as u32 * SECOND, slide as u32 * SECOND);
        let out = run.run(input.clone(), build).unwrap();
        // A window keeps the order of its batches and they that of their records.
        let expected: Vec<_> = window_ends(input.len(), window, slide).into_iter().map(|w| records(&input, w)).collect();
        prop_assert_eq!(out.batches(), expected);
    }

    #[test]
    fn a_reduced_window_equals_its_recomputation(
        input in inputs(), window in 0usize..6, slide in 1usize..5, run in runs(),
    ) {
        let (length, every) = (window as u32 * SECOND, slide as u32 * SECOND);
        let reduced = |pairs: DStream<_>| pairs.reduce_by_key_and_window(|a, b| a + b, length, every);
        let out = run.run(input.clone(), reduced).unwrap().sorted();
        let windows = window_ends(input.len(), window, slide);
        let expected: Vec<Records> =
            windows.iter().map(|w| sums(&records(&input, w.clone())).into_iter().collect()).collect();
        prop_assert_eq!(out.batches(), expected);
        let plainly = |pairs: DStream<_>| pairs.window(length, every).reduce_by_key(|a, b| a + b);
        let recomputed = run.run(input.clone(), plainly).unwrap().sorted();
        prop_assert_eq!(out.batches(), recomputed.batches());
    }

    /// With an inverse function a key that was in a window stays.
    #[test]
    fn an_inverse_window_equals_its_recomputation(
        input in inputs(), window in 0usize..6, slide in 1usize..5, run in runs(),
    ) {
        let (length, every) = (window as u32 * SECOND, slide as u32 * SECOND);
        let reduced =
            |pairs: DStream<_>| pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, length, every);
        let out = run.run(input.clone(), reduced).unwrap().sorted();
        let mut seen = BTreeSet::new();
        let mut expected: Vec<Records> = Vec::new();
        for window in window_ends(input.len(), window, slide) {
            let sums = sums(&records(&input, window));
            seen.extend(sums.keys().copied());
            expected.push(seen.iter().map(|key| (*key, sums.get(key).copied().unwrap_or(0))).collect());
        }
        prop_assert_eq!(out.batches(), expected);
    }

    /// A function that does not commute tells whether batches are merged in their order.
    #[test]
    fn a_reduced_window_merges_batches_in_order(
        input in inputs(), window in 0usize..6, slide in 1usize..5, partitions in 1usize..4,
    ) {
        let (length, every) = (window as u32 * SECOND, slide as u32 * SECOND);
        let run = TestRun::new().partitions(partitions);
        let join = |mut a: Vec<i64>, b: Vec<i64>| { a.extend(b); a };
        let lists = |pairs: DStream<(u8, i64)>| pairs.map_values(|value| vec![value]);
        let out = run.run(input.clone(), |pairs| lists(pairs).reduce_by_key_and_window(join, length, every)).unwrap();
        let expected: Vec<_> = window_ends(input.len(), window, slide).into_iter().map(|window| {
            let mut groups = BTreeMap::<u8, Vec<i64>>::new();
            records(&input, window).into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
            groups.into_iter().collect::<Vec<_>>()
        }).collect();
        let out = out.sorted();
        prop_assert_eq!(out.batches(), expected);
    }
}

/// What a closure did to the panes before it panicked is undone: the next attempt begins with the panes of the window.
#[test]
fn a_failed_attempt_leaves_no_trace_in_a_reduced_window() {
    use std::sync::atomic::{AtomicU32, Ordering};
    for panic_at in 0..40 {
        for with_inverse in [false, true] {
            let calls = std::sync::Arc::new(AtomicU32::new(0));
            let trip = move || assert!(calls.fetch_add(1, Ordering::Relaxed) != panic_at, "once");
            let add = {
                let trip = trip.clone();
                move |a: i32, b: i32| {
                    trip();
                    a + b
                }
            };
            let subtract = move |a: i32, b: i32| {
                trip();
                a - b
            };
            let build = |pairs: DStream<(String, i32)>| match with_inverse {
                false => pairs.reduce_by_key_and_window(add, 3 * SECOND, SECOND),
                true => pairs.reduce_by_key_and_window_inverse(add, subtract, 3 * SECOND, SECOND),
            };
            let input = counts("a1 b2 a3 | a5 | b1 c1 a2 | a1 | c3 | a2 a2 | | d1");
            let expected = if with_inverse {
                "a4 b2 | a9 b2 | a11 b3 c1 | a8 b1 c1 | a3 b1 c4 | a5 b0 c3 | a4 b0 c3 | a4 b0 c0 d1"
            } else {
                "a4 b2 | a9 b2 | a11 b3 c1 | a8 b1 c1 | a3 b1 c4 | a5 c3 | a4 c3 | a4 d1"
            };
            let out = TestRun::new().workers(1).run(input, build).unwrap().sorted();
            assert_eq!(out.batches(), counts(expected), "panic at call {panic_at}, inverse: {with_inverse}");
        }
    }
}

#[test]
fn a_reduce_function_of_a_window_that_panics_is_named() {
    let site = line(1);
    let build = |pairs: DStream<(u8, i32)>| pairs.reduce_by_key_and_window(|_, _| panic!("no sum"), 2 * SECOND, SECOND);
    let error = error_of([vec![(1, 1)], vec![(1, 1)]], build);
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Task, "{text}");
    assert!(text.starts_with("batch 2000 ms: output foreach_batch ("), "{text}");
    assert!(text.contains(&format!("operator reduce_by_key_and_window ({site})")), "{text}");
    assert!(text.ends_with("panicked: no sum"), "{text}");
}
