//! Streams that are joined, and aggregations by key, against nested loops and maps of the standard library.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{DStream, Data, ErrorKind, Partitions};

use crate::harness::{SECOND, check_set, error_of, every_run, line};

type Lefts = Vec<(u16, i32)>;
type Rights = Vec<(u16, String)>;
type Either = (Option<i32>, Option<String>);

#[test]
fn top_k_by_value_takes_the_first_of_equals() {
    let pairs: Vec<(u32, u32)> = (0..1000).map(|n| (n, n * 7 % 40)).collect();
    for run in every_run() {
        for k in [0, 1, 3, 60, 1000, 5000] {
            let out = run.run([pairs.clone(), vec![]], |pairs| pairs.top_k_by_value(k)).unwrap();
            let mut expected = pairs.clone();
            // Stable: the first stay first.
            expected.sort_by_key(|(_, value)| std::cmp::Reverse(*value));
            expected.truncate(k);
            assert_eq!(out.batches(), [expected, vec![]], "{k} by {run:?}");
        }
    }
    let parts =
        TestRun::new().partitions(4).run([pairs], |pairs| pairs.top_k_by_value(2).map_partitions(|part| [part.len()]));
    assert_eq!(parts.unwrap(), [vec![2]]);
}

/// No records, one, fewer than partitions, and nine of ten with one key.
#[test]
fn a_stream_joins_itself() {
    let skewed = (0..100).map(|n| (if n % 10 == 0 { n } else { 7 }, i32::from(n))).collect();
    let input: [Lefts; 4] = [vec![], vec![(1, 1)], vec![(1, 1), (2, 2), (1, 3)], skewed];
    let expected = input.clone().map(|pairs| {
        let partners = |(k, v): &(u16, i32)| {
            let (k, v) = (*k, *v);
            pairs.iter().filter(move |(key, _)| *key == k).map(move |(_, w)| (k, (v, *w))).collect::<Vec<_>>()
        };
        pairs.iter().flat_map(partners).collect::<Vec<_>>()
    });
    check_set("join", &input, |pairs| pairs.join(&pairs), expected);
    check_set("subtract_by_key", &input, |pairs| pairs.subtract_by_key(&pairs), [(); 4].map(|()| vec![]));
    let sums = |pairs: &DStream<(u16, i32)>| pairs.reduce_by_key(|a, b| a + b);
    let keys = |pairs: &Lefts| pairs.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>().into_iter().collect();
    let of_each: Vec<Vec<u16>> = input.iter().map(keys).collect();
    check_set("reduced", &input, move |pairs| sums(&pairs).join(&sums(&pairs)).map(|(key, _)| key), of_each);
}

/// The closure panics the first time it is called: the task runs again and gives what it would have.
#[test]
fn a_closure_that_panics_once_is_tried_again() {
    fn once(tripped: &Arc<AtomicU32>) -> impl Fn() + Send + Sync + 'static {
        let tripped = Arc::clone(tripped);
        move || assert!(tripped.fetch_add(1, Ordering::Relaxed) != 3, "once")
    }
    let input = || [vec![(1, 1), (2, 2), (1, 3)], vec![(1, 4), (1, 5), (2, 6), (2, 7)]];
    for run in every_run() {
        let tripped = Arc::new(AtomicU32::new(0));
        let (create, merge) = (once(&tripped), once(&tripped));
        let build = |pairs: DStream<(i32, i32)>| {
            let lists = pairs.combine_by_key(
                move |n| {
                    create();
                    vec![n]
                },
                move |mut list, n| {
                    merge();
                    list.push(n);
                    list
                },
                |a, b| [a, b].concat(),
            );
            lists.join(&lists.map_values(|list| list.len()))
        };
        let out = run.run(input(), build).unwrap().sorted();
        let expected =
            [vec![(1, (vec![1, 3], 2)), (2, (vec![2], 1))], vec![(1, (vec![4, 5], 2)), (2, (vec![6, 7], 2))]];
        assert_eq!(out.batches(), expected, "{run:?}");
        assert!(tripped.load(Ordering::Relaxed) > 3);
    }
}

#[test]
fn a_closure_that_panics_is_named() {
    #[track_caller]
    fn check<U: Data + Debug>(name: &str, site: &str, build: impl Fn(DStream<(i32, i32)>) -> DStream<U>) {
        let error = error_of([vec![(1, 1), (1, 2)]], build);
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Task, "{text}");
        assert!(text.contains(&format!("operator {name} ({site})")), "{text}");
        assert!(text.contains("task failed in 2 attempts") && text.ends_with("panicked: no"), "{text}");
    }
    check("fold_by_key", &line(0), |pairs| pairs.fold_by_key(0, |_, _| panic!("no")));
    check("aggregate_by_key", &line(0), |pairs| pairs.aggregate_by_key(0, |_, _| panic!("no"), |a, _| a));
    check("combine_by_key", &line(0), |p| p.combine_by_key(|_| panic!("no"), |c: i32, _| c, |a, _| a).join(&p));
    check("map_values", &line(0), |pairs| pairs.join(&pairs.map_values(|_| -> i32 { panic!("no") })));
}

#[test]
fn streams_of_different_slides_cannot_be_joined() {
    #[track_caller]
    fn check<U: Data + Debug>(site: &str, build: impl Fn(DStream<(i32, i32)>, DStream<(i32, i32)>) -> DStream<U>) {
        let error = error_of([[(1, 1)]], |pairs| {
            let slow = pairs.window(2 * SECOND, 2 * SECOND).named("slow");
            build(pairs.map(|pair| pair).named("fast"), slow)
        });
        assert_eq!(error.kind(), ErrorKind::Graph, "{error}");
        let text = error.to_string();
        assert!(text.contains("different slide durations: fast 1s, slow 2s"), "{text}");
        assert!(text.contains(site), "{text}");
    }
    check(&line(0), |fast, slow| fast.join(&slow));
    check(&line(0), |fast, slow| fast.full_outer_join_with(&slow, Partitions::new(2)));
    check(&line(0), |fast, slow| fast.subtract_by_key(&slow));
    check(&line(0), |fast, slow| fast.cogroup2(&fast, &slow));
    check(&line(0), |fast, slow| fast.cogroup3(&fast, &fast, &slow));
}

#[test]
fn a_join_needs_a_batch_of_both() {
    for (left, right) in [(None, Some(vec![(1, 1)])), (Some(vec![(1, 1)]), None)] {
        let out = TestRun::new().run2([left], [right], |left, right| left.left_outer_join(&right));
        let error = out.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().ends_with("has no batch at 1000 ms, and left_outer_join needs one"), "{error}");
    }
}

#[test]
fn a_wrong_number_of_partitions_is_told_at_the_start() {
    let site = line(1);
    let error = TestRun::new().run([[(1, 1)]], |pairs| pairs.cogroup_with(&pairs, Partitions::new(0))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph, "{error}");
    let text = error.to_string();
    assert!(text.contains(&site) && text.contains("0 partitions: there can be 1 to 4096"), "{text}");
}

/// A full outer join by nested loops.
fn plainly(left: &Lefts, right: &Rights) -> Vec<(u16, Either)> {
    let mut joined = Vec::new();
    for (k, v) in left {
        joined.extend(right.iter().filter(|(key, _)| key == k).map(|(_, w)| (*k, (Some(*v), Some(w.clone())))));
        if right.iter().all(|(key, _)| key != k) {
            joined.push((*k, (Some(*v), None)));
        }
    }
    let alone = right.iter().filter(|(k, _)| left.iter().all(|(key, _)| key != k));
    joined.extend(alone.map(|(k, w)| (*k, (None, Some(w.clone())))));
    joined.sort();
    joined
}

/// The batches of a window of so many, ending with each.
fn windows<T: Clone>(batches: &[Vec<T>], window: usize) -> Vec<Vec<T>> {
    (1..=batches.len()).map(|end| batches[end.saturating_sub(window)..end].concat()).collect()
}

fn lefts(max: usize) -> impl Strategy<Value = Lefts> {
    (1u16..60).prop_flat_map(move |keys| prop::collection::vec((0..keys, -9..9), 0..max))
}

fn rights(max: usize) -> impl Strategy<Value = Rights> {
    (1u16..60).prop_flat_map(move |keys| prop::collection::vec((0..keys, "[a-c]{0,2}"), 0..max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A `zero` that changes nothing, and lists in the order of the input.
    #[test]
    fn aggregations_equal_a_map(
        batches in prop::collection::vec(lefts(200), 1..4), cut in 1usize..6, shuffle in 1usize..5, encoded: bool,
    ) {
        let run = TestRun::new().partitions(cut).shuffle_partitions(shuffle);
        let run = if encoded { run.encoded_shuffle() } else { run };
        let lists: Vec<Vec<(u16, Vec<i32>)>> = batches.iter().map(|batch| {
            let mut lists = BTreeMap::<u16, Vec<i32>>::new();
            batch.iter().for_each(|(key, value)| lists.entry(*key).or_default().push(*value));
            lists.into_iter().collect()
        }).collect();
        let push = |mut list: Vec<i32>, value| {
            list.push(value);
            list
        };
        let by_combine = run.run(batches.clone(), |pairs| {
            pairs.combine_by_key(|value| vec![value], push, |a, b| [a, b].concat())
        });
        prop_assert_eq!(by_combine.unwrap().sorted().into_batches(), lists.clone());
        let by_aggregate = run.run(batches.clone(), |pairs| {
            pairs.aggregate_by_key_with(vec![], push, |a, b| [a, b].concat(), Partitions::new(3))
        });
        prop_assert_eq!(by_aggregate.unwrap().sorted().into_batches(), lists.clone());
        let sums: Vec<Lefts> =
            lists.iter().map(|batch| batch.iter().map(|(key, list)| (*key, list.iter().sum())).collect()).collect();
        let by_fold = run.run(batches, |pairs| pairs.fold_by_key(0, |a, b| a + b));
        prop_assert_eq!(by_fold.unwrap().sorted().into_batches(), sums);
    }

    /// Windows of both sides, each with a length of its own; one of them reduced.
    #[test]
    fn windows_are_joined_as_their_records_are(
        left in prop::collection::vec(lefts(20), 1..8), right in prop::collection::vec(rights(20), 1..8),
        lengths in (1usize..5, 1usize..5), cut in 1usize..4, encoded: bool,
    ) {
        let mut run = TestRun::new().partitions(cut).batches(left.len().max(right.len()));
        if encoded {
            run = run.encoded_shuffle();
        }
        let ticks = left.len().max(right.len());
        let padded = |mut batches: Vec<Lefts>| {
            batches.resize(ticks, vec![]);
            batches
        };
        let (l, mut r) = (windows(&padded(left.clone()), lengths.0), right.clone());
        r.resize(ticks, vec![]);
        let r = windows(&r, lengths.1);
        let (of_left, of_right) = (lengths.0 as u32 * SECOND, lengths.1 as u32 * SECOND);
        let out = run.run2(left.clone(), right.clone(), |left, right| {
            left.window(of_left, SECOND).full_outer_join(&right.window(of_right, SECOND))
        }).unwrap().sorted();
        let expected: Vec<_> = l.iter().zip(&r).map(|(l, r)| plainly(l, r)).collect();
        prop_assert_eq!(out.batches(), expected);
        let out = run.run2(left, right, |left, right| {
            let sums = left.reduce_by_key_and_window(|a, b| a + b, of_left, SECOND);
            sums.join(&right.window(of_right, SECOND))
        }).unwrap().sorted();
        let sums = |pairs: &Lefts| {
            let mut sums = BTreeMap::<u16, i32>::new();
            pairs.iter().for_each(|(key, value)| *sums.entry(*key).or_default() += value);
            sums.into_iter().collect::<Vec<_>>()
        };
        let expected: Vec<Vec<_>> = l
            .iter()
            .zip(&r)
            .map(|(l, r)| plainly(&sums(l), r).into_iter().filter_map(|(k, (v, w))| Some((k, (v?, w?)))).collect())
            .collect();
        prop_assert_eq!(out.batches(), expected);
    }
}
