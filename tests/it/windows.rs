//! Windows: what Spark Streaming's suites assert of them, and every window against one that is computed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::unbounded;
use proptest::prelude::*;
use tidemill::testing::{Emissions, TestRun};
use tidemill::{DStream, Data, Error, ErrorKind, Partitions, Stop, Time};

use crate::harness::{Call, Run, SECOND, Scripted, at, check_list, check_set, error_of, every_run, line, next};

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

/// The input of R-6, and one half of what plain windows make of it.
const R_6: &str = "a1 | a1 b1 | a1 b1 c1 | a1 b1 | a1 | | a1 | a1 b1 | a1 b1 c1 | a1 b1 | a1 | ";
const R_6_PLAIN: &str = "a1 | a2 b1 | a2 b2 c1 | a2 b2 c1 | a2 b1 | a1";

/// Batches are separated by `|`.
#[test]
fn r_1_to_r_6() {
    let big_inverse = "a1 | a2 b1 | a2 b2 c1 | a2 b2 c1 | a2 b1 c0 | a1 b0 c0 | \
                       a1 b0 c0 | a2 b1 c0 | a2 b2 c1 | a2 b2 c1 | a2 b1 c0 | a1 b0 c0";
    for (id, (window, slide), input, expected, expected_inverse) in [
        ("R-1", (2, 1), "a1 a3", "a4", "a4"),
        ("R-2", (2, 1), "a1 | a1", "a1 | a2", "a1 | a2"),
        ("R-3", (2, 1), "a1 | a1 b1", "a1 | a2 b1", "a1 | a2 b1"),
        ("R-4", (2, 1), "a1 | a1 | | ", "a1 | a2 | a1 | ", "a1 | a2 | a1 | a0"),
        ("R-5", (4, 2), "a1 | a2 | a3 | a4 | a5 | a6 | | ", "a3 | a10 | a18 | a11", "a3 | a10 | a18 | a11"),
        ("R-6", (2, 1), R_6, &format!("{R_6_PLAIN} | {R_6_PLAIN}"), big_inverse),
    ] {
        check_set(id, counts(input), plain(window, slide), counts(expected));
        check_set(&format!("{id} inverse"), counts(input), inverse(window, slide), counts(expected_inverse));
    }
}

#[test]
fn r_6_with_a_filter() {
    let filtered = |pairs| inverse(2, 1)(pairs).filter_keys(|_, count| *count != 0);
    check_set("R-6 filter", counts(R_6), filtered, counts(&format!("{R_6_PLAIN} | {R_6_PLAIN}")));
}

#[test]
fn r_6_group_by_key_and_window() {
    let ones = |(key, count): (String, i32)| (key, vec![1; count as usize]);
    let groups = counts(&format!("{R_6_PLAIN} | {R_6_PLAIN}"));
    let groups = groups.into_iter().map(|batch| batch.into_iter().map(ones).collect()).collect::<Vec<_>>();
    let build = |pairs: DStream<(String, i32)>| pairs.group_by_key_and_window(2 * SECOND, SECOND);
    check_set("group_by_key_and_window", counts(R_6), build, &groups);
    let sets = |pairs: DStream<_>| build(pairs).map_values(|ones| ones.into_iter().collect::<BTreeSet<_>>());
    let one =
        |batch: &Vec<(String, Vec<i32>)>| batch.iter().map(|(key, _)| (key.clone(), BTreeSet::from([1]))).collect();
    check_set("group_by_key_and_window, sets", counts(R_6), sets, groups.iter().map(one).collect::<Vec<_>>());
}

#[test]
fn vector_count_by_window() {
    let count = |numbers: DStream<i32>| numbers.count_by_window(2 * SECOND, SECOND);
    let batches = [vec![1], vec![1], vec![1, 2], vec![0], vec![], vec![]];
    let expected = [vec![1], vec![2], vec![3], vec![3], vec![1], vec![0]];
    check_list("count_by_window", &batches, count, expected);
    // Silent up to the first record.
    let late = [vec![], vec![], vec![7], vec![], vec![]];
    check_list("count_by_window, late", &late, count, [vec![], vec![], vec![1], vec![1], vec![0]]);
}

#[test]
fn vector_count_by_value_and_window() {
    let count = |words: DStream<&'static str>| {
        words.map(String::from).count_by_value_and_window(2 * SECOND, SECOND).map_values(|count| count as i32)
    };
    let batches = [vec!["a"], vec!["b", "b"], vec!["a", "b"]];
    check_set("count_by_value_and_window", batches, count, counts("a1 | a1 b2 | a1 b3"));
    // What is gone is not there with a zero.
    check_set("count_by_value_and_window", [vec!["a"], vec!["b"], vec![]], count, counts("a1 | a1 b1 | b1"));
}

/// Design, 5.6: Spark subtracts batches that were never added.
#[test]
fn an_inverse_window_with_a_slide_longer_than_the_window() {
    let input = "a1 | a2 b1 | a4 | a8 | a16 c1 | a32 ";
    check_set("plain", counts(input), plain(1, 2), counts("a2 b1 | a8 | a32"));
    // `c` was never in a window.
    check_set("inverse", counts(input), inverse(1, 2), counts("a2 b1 | a8 b0 | a32 b0"));
}

/// Design, 5.6: a filter hides a key while its records are in the window. Spark forgets it at once; when the records
/// leave it finds no value to take them from, or, if the key has come back, one that they are not in.
#[test]
fn a_filtered_key_is_hidden_and_not_forgotten() {
    let filtered = |pairs| inverse(3, 1)(pairs).filter_keys(|_, sum| *sum != 0);
    check_set("gone", counts("a5 | a-5 | | | | a1"), filtered, counts("a5 | | | a-5 | | a1"));
    check_set("back", counts("a5 | a-5 | a3 | | | "), filtered, counts("a5 | | a3 | a-2 | a3 | "));
    // A key that the filter accepts stays with what is left of it.
    let even = |pairs| inverse(1, 1)(pairs).filter_keys(|_, sum| *sum % 2 == 0);
    check_set("stays", counts("a5 b2 | | b1 | "), even, counts("b2 | a0 b0 | a0 | a0 b0"));
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

type Records = Vec<(u8, i64)>;

/// Windows over a stream, and how they are run. Window and slide count in batches of the stream that they look at.
#[derive(Clone, Debug)]
struct Plan {
    input: Vec<Option<Records>>,
    interval: Duration,
    /// The window and the slide of a window between the input and the windows in question.
    below: Option<(usize, usize)>,
    window: usize,
    slide: usize,
    partitions: Partitions,
    run: TestRun,
}

/// The windows of `window` batches, each `slide` batches, over batches with their numbers: the batches in each.
fn windows_of<T: Clone>(batches: &[(usize, T)], every: usize, window: usize, slide: usize) -> Vec<(usize, Vec<T>)> {
    let last = batches.last().map_or(0, |(number, _)| *number);
    let ends = (1..=last).filter(|end| end % (every * slide) == 0);
    let within =
        |end: usize| batches.iter().filter(move |(number, _)| (*number + every * window > end) && *number <= end);
    ends.map(|end| (end, within(end).map(|(_, batch)| batch.clone()).collect())).collect()
}

impl Plan {
    fn any() -> impl Strategy<Value = Plan> {
        let batch = prop::collection::vec((0u8..5, -20i64..20), 0..8);
        let input = prop::collection::vec(prop::option::weighted(0.8, batch), 1..24);
        let below = prop::option::weighted(0.4, (0usize..4, 1usize..4));
        let lengths = (0usize..9, 1usize..7);
        let run = (1usize..6, 1usize..4, any::<bool>());
        let partitions = (1usize..5).prop_map(Partitions::new);
        let interval = prop::sample::select(vec![Duration::from_micros(1500), Duration::from_millis(70), SECOND]);
        (input, interval, below, lengths, partitions, run).prop_map(
            |(input, interval, below, (window, slide), partitions, (parts, workers, encoded))| {
                let run = TestRun::new().batch_interval(interval).partitions(parts).workers(workers);
                let run = if encoded { run.encoded_shuffle() } else { run };
                Plan { input, interval, below, window, slide, partitions, run }
            },
        )
    }

    /// What the windows hold, from the raw records: with the number of the batch that each ends with.
    fn windows(&self) -> Vec<(usize, Records)> {
        let raw = self.input.iter().enumerate().map(|(place, batch)| (place + 1, batch.clone().unwrap_or_default()));
        let mut batches: Vec<(usize, Records)> = raw.collect();
        let mut every = 1;
        if let Some((window, slide)) = self.below {
            batches =
                windows_of(&batches, 1, window, slide).into_iter().map(|(end, parts)| (end, parts.concat())).collect();
            every = slide;
        }
        let windows = windows_of(&batches, every, self.window, self.slide);
        windows.into_iter().map(|(end, parts)| (end, parts.concat())).collect()
    }

    /// Runs windows over the stream.
    fn run<U: Data>(
        &self,
        build: impl FnOnce(DStream<(u8, i64)>, Duration, Duration) -> DStream<U>,
    ) -> Result<Emissions<U>, TestCaseError> {
        let build = |pairs: DStream<(u8, i64)>| {
            let pairs = match self.below {
                Some((window, slide)) => pairs.window(self.interval * window as u32, self.interval * slide as u32),
                None => pairs,
            };
            let own = pairs.slide_duration();
            build(pairs, own * self.window as u32, own * self.slide as u32)
        };
        self.run.run(self.input.clone(), build).map_err(|error| TestCaseError::fail(error.to_string()))
    }

    /// Runs windows and compares them, each sorted, with what `expected` makes of their records, one after the other.
    fn check<U: Data + Ord + Debug>(
        &self,
        build: impl FnOnce(DStream<(u8, i64)>, Duration, Duration) -> DStream<U>,
        expected: impl FnMut(Records) -> Vec<U>,
    ) -> Result<(), TestCaseError> {
        let out = self.run(build)?.sorted();
        let (ends, records): (Vec<usize>, Vec<Records>) = self.windows().into_iter().unzip();
        let times: Vec<Time> = ends.into_iter().map(|end| Time::ZERO + self.interval * end as u32).collect();
        prop_assert_eq!(out.times(), times);
        let mut expected: Vec<Vec<U>> = records.into_iter().map(expected).collect();
        expected.iter_mut().for_each(|batch| batch.sort());
        prop_assert_eq!(out.batches(), expected);
        Ok(())
    }
}

fn sums(records: Records) -> BTreeMap<u8, i64> {
    let mut sums = BTreeMap::new();
    records.into_iter().for_each(|(key, value)| *sums.entry(key).or_default() += value);
    sums
}

fn groups(records: Records) -> Vec<(u8, Vec<i64>)> {
    let mut groups = BTreeMap::<u8, Vec<i64>>::new();
    records.into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups.into_iter().collect()
}

/// What windows with an inverse function give: a key that was in one stays with what is left of it, here 0.
fn sums_that_stay() -> impl FnMut(Records) -> Records {
    let mut seen = BTreeSet::new();
    move |records| {
        let sums = sums(records);
        seen.extend(sums.keys().copied());
        seen.iter().map(|key| (*key, sums.get(key).copied().unwrap_or(0))).collect()
    }
}

/// Of windows with one value: nothing before the first record, then what the value is.
fn from_the_first<U>(mut value: impl FnMut(Records) -> U) -> impl FnMut(Records) -> Vec<U> {
    let mut seen = false;
    move |records| {
        seen |= !records.is_empty();
        if seen { vec![value(records)] } else { vec![] }
    }
}

fn append(mut a: Vec<i64>, b: Vec<i64>) -> Vec<i64> {
    a.extend(b);
    a
}

fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn subtract(a: i64, b: i64) -> i64 {
    a - b
}

/// Filters of all kinds: by value, by key, by both; everything, nothing.
fn filters() -> impl Strategy<Value = (u8, i64, i64)> {
    (1u8..6, 1i64..7, -20i64..20)
}

fn accepts((keys, modulus, least): (u8, i64, i64), key: u8, value: i64) -> bool {
    key % keys == 0 || (value % modulus != 0 && value >= least)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_window_is_the_batches_it_spans(plan in Plan::any()) {
        let out = plan.run(|pairs, window, slide| pairs.window(window, slide))?;
        // A window keeps the order of its batches and they that of their records.
        let (ends, records): (Vec<usize>, Vec<Records>) = plan.windows().into_iter().unzip();
        prop_assert_eq!(out.batches(), records);
        prop_assert_eq!(out.times(), ends.into_iter().map(|end| Time::ZERO + plan.interval * end as u32).collect::<Vec<_>>());
    }

    /// Lists tell whether batches are merged in their order.
    #[test]
    fn a_reduced_window_equals_its_recomputation(plan in Plan::any()) {
        let (parts, lists) = (plan.partitions, |pairs: DStream<(u8, i64)>| pairs.map_values(|value| vec![value]));
        plan.check(|pairs, w, s| lists(pairs).reduce_by_key_and_window(append, w, s), groups)?;
        plan.check(|pairs, w, s| lists(pairs).reduce_by_key_and_window_with(append, w, s, parts), groups)?;
        plan.check(|pairs, w, s| pairs.group_by_key_and_window(w, s), groups)?;
        plan.check(|pairs, w, s| pairs.group_by_key_and_window_with(w, s, parts), groups)?;
        // Where keys lie already, nothing is moved.
        plan.check(|pairs, w, s| pairs.reduce_by_key_with(add, parts).reduce_by_key_and_window_with(add, w, s, parts),
            |records| sums(records).into_iter().collect())?;
    }

    #[test]
    fn an_inverse_window_equals_its_recomputation(
        plan in Plan::any(), first in filters(), second in filters(),
    ) {
        let parts = plan.partitions;
        plan.check(|pairs, w, s| pairs.reduce_by_key_and_window_inverse(add, subtract, w, s), sums_that_stay())?;
        let inverse = |pairs: DStream<_>, w, s| pairs.reduce_by_key_and_window_inverse_with(add, subtract, w, s, parts);
        plan.check(inverse, sums_that_stay())?;
        let mut all = sums_that_stay();
        let accepted = |records| {
            let mut sums = all(records);
            sums.retain(|(key, value)| accepts(first, *key, *value));
            sums
        };
        let filtered = |pairs: DStream<_>, w, s| inverse(pairs, w, s).filter_keys(move |k, v| accepts(first, *k, *v));
        plan.check(filtered, accepted)?;
        let mut all = sums_that_stay();
        let both = |records| {
            let mut sums = all(records);
            sums.retain(|(key, value)| accepts(first, *key, *value) && accepts(second, *key, *value));
            sums
        };
        plan.check(|pairs, w, s| filtered(pairs, w, s).filter_keys(move |k, v| accepts(second, *k, *v)), both)?;
        // The window without the filter goes on beside the one with it.
        let mut all = sums_that_stay();
        let beside = |records| {
            let sums = all(records);
            let accepted = sums.iter().filter(|(key, value)| accepts(first, *key, *value)).copied();
            accepted.map(|pair| (1, pair)).chain(sums.iter().map(|pair| (0, *pair))).collect::<Vec<_>>()
        };
        plan.check(|pairs, w, s| {
            let sums = inverse(pairs, w, s);
            let filtered = sums.filter_keys(move |k, v| accepts(first, *k, *v));
            sums.map(|pair| (0, pair)).union(&filtered.map(|pair| (1, pair)))
        }, beside)?;
    }

    #[test]
    fn the_total_of_a_window_equals_its_recomputation(plan in Plan::any()) {
        let values = |records: Records| records.into_iter().map(|(_, value)| value).collect::<Vec<i64>>();
        let lists = |pairs: DStream<(u8, i64)>| pairs.map(|(_, value)| vec![value]);
        let some = |records| Some(values(records)).filter(|values| !values.is_empty()).into_iter().collect();
        plan.check(|pairs, w, s| lists(pairs).reduce_by_window(append, w, s), some)?;
        let sum = |records| values(records).into_iter().sum::<i64>();
        let numbers = |pairs: DStream<(u8, i64)>| pairs.map(|(_, value)| value);
        plan.check(|pairs, w, s| numbers(pairs).reduce_by_window_inverse(add, subtract, w, s), from_the_first(sum))?;
        let count = |records: Records| records.len() as u64;
        plan.check(|pairs, w, s| pairs.count_by_window(w, s), from_the_first(count))?;
        let counts = |records: Records| {
            let mut counts = BTreeMap::new();
            records.into_iter().for_each(|(key, _)| *counts.entry(key).or_default() += 1u64);
            counts.into_iter().collect()
        };
        let (parts, keys) = (plan.partitions, |pairs: DStream<(u8, i64)>| pairs.map(|(key, _)| key));
        plan.check(|pairs, w, s| keys(pairs).count_by_value_and_window(w, s), counts)?;
        plan.check(|pairs, w, s| keys(pairs).count_by_value_and_window_with(w, s, parts), counts)?;
    }

    /// Windows over reduced windows, of which several are then computed in one batch.
    #[test]
    fn windows_over_reduced_windows(plan in Plan::any(), more in 0usize..4, slide in 1usize..4) {
        // None of the inner windows is left out: keys of one that nobody asks for would not stay.
        let window = slide + more;
        let every = plan.slide * plan.below.map_or(1, |(_, slide)| slide);
        let expected = |reduce: &mut dyn FnMut(Records) -> Records| {
            let inner: Vec<(usize, Records)> = plan.windows().into_iter().map(|(end, all)| (end, reduce(all))).collect();
            let outer = windows_of(&inner, every, window, slide).into_iter().map(|(_, parts)| parts.concat());
            outer.map(|mut records| { records.sort(); records }).collect::<Vec<Records>>()
        };
        let outer = |sums: DStream<(u8, i64)>| {
            let own = sums.slide_duration();
            sums.window(own * window as u32, own * slide as u32)
        };
        let out = plan.run(|pairs, w, s| outer(pairs.reduce_by_key_and_window(add, w, s)))?.sorted();
        prop_assert_eq!(out.batches(), expected(&mut |records| sums(records).into_iter().collect()));
        let out = plan.run(|pairs, w, s| outer(pairs.reduce_by_key_and_window_inverse(add, subtract, w, s)))?.sorted();
        prop_assert_eq!(out.batches(), expected(&mut sums_that_stay()));
    }

    /// Tasks that fail now and then and are tried again, at any call of a closure.
    #[test]
    fn retried_tasks_give_the_same_windows(
        mut plan in Plan::any(), at in prop::collection::btree_set(0u32..120, 1..4), filter in filters(),
    ) {
        plan.run = plan.run.max_task_attempts(8);
        let trip = || {
            let (calls, at) = (AtomicU32::new(0), at.clone());
            Arc::new(move || assert!(!at.contains(&calls.fetch_add(1, Relaxed)), "once"))
        };
        let failing = |f: fn(i64, i64) -> i64, trip: &Arc<dyn Fn() + Send + Sync>| {
            let trip = Arc::clone(trip);
            move |a, b| { trip(); f(a, b) }
        };
        let once: Arc<dyn Fn() + Send + Sync> = trip();
        plan.check(|pairs, w, s| pairs.reduce_by_key_and_window(failing(add, &once), w, s),
            |records| sums(records).into_iter().collect())?;
        let inverse = |pairs: DStream<(u8, i64)>, w, s, once: &Arc<dyn Fn() + Send + Sync>|
            pairs.reduce_by_key_and_window_inverse(failing(add, once), failing(subtract, once), w, s);
        let once: Arc<dyn Fn() + Send + Sync> = trip();
        plan.check(|pairs, w, s| inverse(pairs, w, s, &once), sums_that_stay())?;
        let once: Arc<dyn Fn() + Send + Sync> = trip();
        let mut all = sums_that_stay();
        let accepted = |records| {
            let mut sums = all(records);
            sums.retain(|(key, value)| accepts(filter, *key, *value));
            sums
        };
        plan.check(|pairs, w, s| inverse(pairs, w, s, &once).filter_keys(move |key, value| {
            once();
            accepts(filter, *key, *value)
        }), accepted)?;
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

/// Counts and groups have the operator's name and line in errors too, and a filter the name of its window.
#[test]
fn windows_are_named_in_errors() {
    fn refuse(_: i32, _: i32) -> i32 {
        panic!("no sum")
    }
    #[track_caller]
    fn check<U: Data + Debug>(what: &str, build: impl FnOnce(DStream<i32>) -> DStream<U>) {
        let text = error_of([vec![1, 1], vec![1, 1]], build).to_string();
        assert!(text.contains(&format!("operator {what} (tests/it/windows.rs:")), "{what}: {text}");
    }
    check("reduce_by_window", |n| n.reduce_by_window(refuse, SECOND, SECOND));
    check("reduce_by_window_inverse", |n| n.reduce_by_window_inverse(refuse, refuse, SECOND, SECOND));
    let sums = |n: DStream<i32>| n.map(|n| (n, n)).reduce_by_key_and_window_inverse(refuse, refuse, 2 * SECOND, SECOND);
    check("reduce_by_key_and_window_inverse", |n| sums(n).filter_keys(|_, _| true));
    let refused = |_: &i32, _: &i32| panic!("no filter");
    check("filter_keys", |n| n.map(|n| (n, n)).filter_keys(refused));
    let sums = |n: DStream<i32>| {
        n.map(|n| (n, n)).reduce_by_key_and_window_inverse(|a, _| a, |a, _| a, 2 * SECOND, SECOND).named("sums")
    };
    check("sums", |n| sums(n).filter_keys(refused));
    check("live sums", |n| sums(n).filter_keys(refused).named("live sums"));
}

#[test]
fn numbers_of_partitions_that_cannot_be() {
    let (zero, many) = (Partitions::new(0), Partitions::new(usize::MAX));
    let sum = |a: i32, b: i32| a + b;
    let sites = [line(3), line(4), line(5), line(6)];
    // A line each.
    let build = |pairs: DStream<(i32, i32)>| {
        pairs.reduce_by_key_and_window_with(sum, SECOND, SECOND, zero);
        pairs.reduce_by_key_and_window_inverse_with(sum, sum, SECOND, SECOND, many);
        pairs.group_by_key_and_window_with(SECOND, SECOND, zero);
        pairs.count_by_value_and_window_with(SECOND, SECOND, many)
    };
    let text = error_of([vec![(1, 1)]], build).to_string();
    let mistake = |(site, parts): (&String, Partitions)| {
        format!("\n  {site}: {} partitions: there can be 1 to 4096", parts.get())
    };
    let mistakes: String = sites.iter().zip([zero, many, zero, many]).map(mistake).collect();
    assert_eq!(text, format!("the graph has 4 mistakes:{mistakes}"));
}

/// A key that is counted as long as it is in memory.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted(u64);

static COUNTED: AtomicI64 = AtomicI64::new(0);

impl Counted {
    fn new(number: u64) -> Self {
        COUNTED.fetch_add(1, Relaxed);
        Counted(number)
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Counted::new(self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.fetch_sub(1, Relaxed);
    }
}

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> serde::Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Counted::new)
    }
}

type Counts = DStream<(Counted, i64)>;

/// How many keys are in memory after that many batches of a hundred keys that were never there before.
fn keys_after(batches: i64, window: impl FnOnce(Counts) -> Counts) -> i64 {
    let run = Run::new();
    let source = Scripted::new(|call| {
        let Call::Batch(time) = call else { return Ok(None) };
        let first = time as u64 / 10;
        Ok(Some((first..first + 100).map(|key| (Counted::new(key), 1)).collect()))
    });
    let (pairs, calls) = run.source(source);
    window(pairs).foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(batches as usize);
    while next(&calls) != Call::Completed(batches * 1000) {}
    COUNTED.load(Relaxed)
}

/// The window without a filter keeps all keys, the one with a filter those of the window.
#[test]
fn a_filter_makes_memory_follow_the_window() {
    let window = |pairs: Counts| pairs.reduce_by_key_and_window_inverse(add, subtract, 3 * SECOND, SECOND);
    let all = keys_after(60, window);
    assert!(all > 6000, "{all} keys are in memory");
    let live = keys_after(60, |pairs| window(pairs).filter_keys(|_, count| *count > 0));
    assert!(live < 1500, "{live} keys are in memory");
    assert_eq!(COUNTED.load(Relaxed), 0, "nothing is kept after the end");
}

/// What panes are made from is remembered until they are made, however long the window is.
#[test]
fn records_of_panes_are_let_go() {
    let run = Run::new();
    let handles: Vec<Arc<()>> = (0..=12).map(|_| Arc::default()).collect();
    let records = handles.clone();
    let (numbers, calls) = run.source(Scripted::new(move |call| {
        let Call::Batch(time) = call else { return Ok(None) };
        Ok(Some(vec![Arc::clone(&records[(time / 1000) as usize])]))
    }));
    let counts = numbers.map(|_| ((), 1)).reduce_by_key_and_window(|a, b| a + b, 9 * SECOND, 3 * SECOND);
    counts.foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(12);
    while next(&calls) != Call::Completed(12_000) {}
    let in_memory: Vec<_> = (1..=12).filter(|batch| Arc::strong_count(&handles[*batch]) > 2).collect();
    assert_eq!(in_memory, [10, 11, 12]);
}

/// Several windows can be computed in one batch, and by tasks that do not wait for each other. With an inverse function
/// each is made from the one before all the same.
#[test]
fn inverse_windows_that_are_asked_for_out_of_order() {
    let run = Run::new();
    let input = counts("a1 | | b1 | c1 | | ");
    let (pairs, _) = run.source(Scripted::new(move |call| {
        let Call::Batch(time) = call else { return Ok(None) };
        Ok(Some(input[time as usize / 1000 - 1].clone()))
    }));
    let sums = inverse(1, 1)(pairs);
    let (put_off, later) = unbounded();
    sums.window(2 * SECOND, 2 * SECOND).foreach_batch(move |both, _| put_off.send(both).map_err(Error::user));
    let (send, collected) = unbounded();
    sums.window(SECOND, 2 * SECOND).foreach_batch(move |second, _| {
        let second = second.collect()?;
        let both = next(&later).collect()?;
        send.send((second, both)).map_err(Error::user)
    });
    run.context.start().unwrap();
    run.batches(6);
    run.context.stop(Stop::Now).unwrap();
    let sorted = |mut pairs: Vec<(String, i32)>| {
        pairs.sort();
        pairs
    };
    let (second, both): (Vec<_>, Vec<_>) = collected.try_iter().map(|(s, b)| (sorted(s), sorted(b))).unzip();
    assert_eq!(second, counts("a0 | a0 b0 c1 | a0 b0 c0"));
    assert_eq!(both, counts("a0 a1 | a0 a0 b0 b1 c1 | a0 a0 b0 b0 c0 c0"));
}
