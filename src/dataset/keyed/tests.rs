//! Joins and cogroups in every layout of their sides, against nested loops, and what is moved for them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::context::StreamingContext;
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::Dataset;

type Either<V, W> = (Option<V>, Option<W>);
type Groups<V, W> = (Vec<V>, Vec<W>);

/// What every join makes of two sides, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Joined<K, V, W> {
    inner: Vec<(K, (V, W))>,
    left: Vec<(K, (V, Option<W>))>,
    right: Vec<(K, (Option<V>, W))>,
    full: Vec<(K, Either<V, W>)>,
    subtracted: Vec<(K, V)>,
    groups: Vec<(K, Groups<V, W>)>,
}

impl<K: Clone + Ord, V: Clone + Ord, W: Clone + Ord> Joined<K, V, W> {
    /// By nested loops.
    fn plainly(left: &[(K, V)], right: &[(K, W)]) -> Self {
        let mut joined = Joined {
            inner: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            full: Vec::new(),
            subtracted: Vec::new(),
            groups: Vec::new(),
        };
        for (k, v) in left {
            for (_, w) in right.iter().filter(|(key, _)| key == k) {
                joined.inner.push((k.clone(), (v.clone(), w.clone())));
                joined.left.push((k.clone(), (v.clone(), Some(w.clone()))));
                joined.right.push((k.clone(), (Some(v.clone()), w.clone())));
                joined.full.push((k.clone(), (Some(v.clone()), Some(w.clone()))));
            }
            if right.iter().all(|(key, _)| key != k) {
                joined.left.push((k.clone(), (v.clone(), None)));
                joined.full.push((k.clone(), (Some(v.clone()), None)));
                joined.subtracted.push((k.clone(), v.clone()));
            }
        }
        for (k, w) in right.iter().filter(|(k, _)| left.iter().all(|(key, _)| key != k)) {
            joined.right.push((k.clone(), (None, w.clone())));
            joined.full.push((k.clone(), (None, Some(w.clone()))));
        }
        let mut groups = BTreeMap::<K, (Vec<V>, Vec<W>)>::new();
        left.iter().for_each(|(k, v)| groups.entry(k.clone()).or_default().0.push(v.clone()));
        right.iter().for_each(|(k, w)| groups.entry(k.clone()).or_default().1.push(w.clone()));
        joined.groups.extend(groups);
        joined.sorted()
    }

    /// Order inside of a result is free, but for the values of a group.
    fn sorted(mut self) -> Self {
        self.inner.sort();
        self.left.sort();
        self.right.sort();
        self.full.sort();
        self.subtracted.sort();
        self.groups.sort();
        self
    }
}

/// The joins of two datasets, in so many partitions or as they choose themselves.
fn joined<K: Key, V: Exchange, W: Exchange>(
    left: &Dataset<(K, V)>,
    right: &Dataset<(K, W)>,
    into: Option<Partitions>,
) -> Joined<K, V, W> {
    fn all<T: Data>(dataset: Dataset<T>) -> Vec<T> {
        dataset.collect().unwrap()
    }
    match into {
        None => Joined {
            inner: all(left.join(right)),
            left: all(left.left_outer_join(right)),
            right: all(left.right_outer_join(right)),
            full: all(left.full_outer_join(right)),
            subtracted: all(left.subtract_by_key(right)),
            groups: all(left.cogroup(right)),
        },
        Some(n) => Joined {
            inner: all(left.join_with(right, n)),
            left: all(left.left_outer_join_with(right, n)),
            right: all(left.right_outer_join_with(right, n)),
            full: all(left.full_outer_join_with(right, n)),
            subtracted: all(left.subtract_by_key_with(right, n)),
            groups: all(left.cogroup_with(right, n)),
        },
    }
}

fn context(partitions: usize, encoded: bool) -> StreamingContext {
    StreamingContext::builder("joins").workers(2).partitions(partitions).encoded_shuffle(encoded).build().unwrap()
}

type Lefts = Vec<(u16, i32)>;
type Rights = Vec<(u16, String)>;

/// Every join of two sides in every layout: as they come, one side placed, both placed alike and not.
fn check_layouts(left: &Lefts, right: &Rights, cut: (usize, usize), shuffle: usize) {
    let expected = Joined::plainly(left, right);
    for encoded in [false, true] {
        let context = context(shuffle, encoded);
        let (l, r) = (context.parallelize(left.clone(), cut.0), context.parallelize(right.clone(), cut.1));
        let in_order = joined(&l, &r, None);
        assert_eq!(joined(&l, &r, None), in_order, "again, in the same order");
        assert_eq!(in_order.sorted(), expected);
        let (by_2, by_3) = (Partitions::new(2), Partitions::new(3));
        for into in [None, Some(by_2), Some(Partitions::new(7))] {
            let (l2, r2, r3) = (l.partition_by(by_2), r.partition_by(by_2), r.partition_by(by_3));
            for (name, joined) in [
                ("neither", joined(&l, &r, into)),
                ("left", joined(&l2, &r, into)),
                ("right", joined(&l, &r2, into)),
                ("alike", joined(&l2, &r2, into)),
                ("differently", joined(&l2, &r3, into)),
            ] {
                assert_eq!(joined.sorted(), expected, "placed: {name}, into {into:?}");
            }
        }
    }
}

#[test]
fn joins_of_nothing_and_of_next_to_nothing() {
    let one = || vec![(1, "x".to_string())];
    check_layouts(&vec![], &vec![], (1, 3), 2);
    check_layouts(&vec![(1, 1)], &vec![], (3, 1), 2);
    check_layouts(&vec![], &one(), (1, 1), 5);
    check_layouts(&vec![(1, 1), (2, 2)], &one(), (4, 3), 5);
}

/// Nine of ten records have the same key: on one side, and on both, where they all meet.
#[test]
fn joins_with_a_skewed_key() {
    let skewed = |records: u16| (0..records).map(|n| if n % 10 == 0 { n } else { 7 });
    let few: Rights = (0..50).map(|n| (n, n.to_string())).collect();
    let many: Lefts = skewed(1000).zip(0..).collect();
    check_layouts(&many, &few, (3, 2), 4);
    check_layouts(&(0..50).zip(0..).collect(), &skewed(1000).map(|key| (key, key.to_string())).collect(), (3, 2), 4);
    check_layouts(&skewed(60).zip(0..).collect(), &skewed(60).map(|key| (key, key.to_string())).collect(), (2, 2), 2);
}

/// A key with a hundred thousand records on one side costs no more for that: a chain that was walked for every record
/// would take hours.
/// A side with many pairs is cut into buckets, and one with few then has to be.
#[test]
fn cogroups_of_many_pairs_and_of_few() {
    let many: Vec<(u32, u32)> = (0..150_000).map(|n| (n % 50_000, n)).collect();
    let few: Vec<(u32, u32)> = vec![(7, 1), (60_000, 2), (7, 3)];
    for (left, right) in [(&many, &few), (&few, &many), (&many, &many), (&few, &few)] {
        let mut groups = BTreeMap::<u32, Groups<u32, u32>>::new();
        left.iter().for_each(|(key, value)| groups.entry(*key).or_default().0.push(*value));
        right.iter().for_each(|(key, value)| groups.entry(*key).or_default().1.push(*value));
        let context = context(2, false);
        let [left, right] = [left, right].map(|side| context.parallelize(side.clone(), 3));
        let mut cogrouped = left.cogroup(&right).collect().unwrap();
        assert_eq!(cogrouped, left.cogroup(&right).collect().unwrap());
        cogrouped.sort_unstable();
        assert!(cogrouped.into_iter().eq(groups), "{} and {} pairs", left.count().unwrap(), right.count().unwrap());
    }
}

#[test]
fn a_skewed_side_stays_linear() {
    let context = context(2, false);
    let skewed = context.parallelize((0..100_000u32).map(|n| (if n % 10 == 0 { n } else { 7 }, n)), 2);
    let ones = context.parallelize((0..100_000u32).map(|n| (n, ())), 2);
    assert_eq!(skewed.join(&ones).count().unwrap(), 100_000);
    assert_eq!(ones.right_outer_join(&skewed).count().unwrap(), 100_000);
    assert_eq!(skewed.subtract_by_key(&skewed).count().unwrap(), 0);
    assert_eq!(skewed.map_values(|_| ()).cogroup(&skewed).count().unwrap(), 10_001);
}

/// The records of a partition come in the order of the left side, each with its partners in theirs; then what is left
/// of the right side.
#[test]
fn the_order_of_a_join_is_that_of_its_sides() {
    let context = context(1, false);
    let left = context.parallelize([(2, 'a'), (1, 'b'), (2, 'c'), (4, 'd')], 2);
    let right = context.parallelize([(9, 1), (2, 2), (1, 3), (2, 4), (8, 5)], 3);
    let (a, b, c, d) = (Some('a'), Some('b'), Some('c'), Some('d'));
    let expected = [
        (2, (a, Some(2))),
        (2, (a, Some(4))),
        (1, (b, Some(3))),
        (2, (c, Some(2))),
        (2, (c, Some(4))),
        (4, (d, None)),
        (9, (None, Some(1))),
        (8, (None, Some(5))),
    ];
    assert_eq!(left.full_outer_join(&right).collect().unwrap(), expected);
    // To its end or not.
    for n in 0..=expected.len() {
        assert_eq!(left.full_outer_join(&right).take(n).unwrap(), expected[..n]);
    }
}

/// A product of two large sides is not made when a few of its records are wanted.
#[test]
fn a_join_stops_when_nobody_wants_more() {
    let context = context(2, false);
    let ones = context.parallelize((0..200_000).map(|n| ((), n)), 1);
    assert_eq!(ones.join(&ones).take(3).unwrap(), [((), (0, 0)), ((), (0, 1)), ((), (0, 2))]);
}

#[test]
fn a_wrong_number_of_partitions_is_told_by_the_action() {
    let context = context(2, false);
    let pairs = context.parallelize([(1, 1)], 1);
    let none = Partitions::new(0);
    let site = format!("{}:{}", file!(), line!() + 1);
    let error = pairs.join_with(&pairs, none).collect().unwrap_err();
    assert_eq!(error.to_string(), format!("operator join ({site}): 0 partitions: there can be 1 to 4096"));
    assert!(pairs.subtract_by_key_with(&pairs, none).count().is_err());
    assert!(pairs.cogroup2_with(&pairs, &pairs, none).count().is_err());
    assert!(pairs.fold_by_key_with(0, |a, b| a + b, none).count().is_err());
}

/// How many shuffles an operation is made with.
fn shuffles<T>(context: &StreamingContext, build: impl FnOnce() -> Dataset<T>) -> u64 {
    let next = || context.parallelize([()], 1).runtime().next_shuffle().0;
    let before = next();
    let _ = build();
    next() - before - 1
}

#[test]
fn what_lies_by_its_keys_is_not_moved() {
    let context = context(3, false);
    let raw = context.parallelize((0..100u64).map(|n| (n % 7, n)), 4);
    let sums = raw.reduce_by_key(|a, b| a + b);
    let (two, five) = (raw.partition_by(Partitions::new(2)), raw.partition_by(Partitions::new(5)));
    for (name, moved, into, join) in [
        ("neither lies", 2, 3, [&raw, &raw]),
        ("one lies", 1, 3, [&sums, &raw]),
        ("the other lies", 1, 3, [&raw, &sums]),
        ("both lie", 0, 3, [&sums, &sums.map_values(|n| n)]),
        ("both lie in less than the default", 0, 2, [&two, &two.filter(|_| true)]),
        ("one lies in less than the default", 2, 3, [&two, &raw]),
        ("one lies in more than the default", 1, 5, [&raw, &five]),
        ("they lie differently", 1, 5, [&sums, &five]),
    ] {
        let [left, right] = join;
        let (inner, groups, less) = (left.join(right), left.cogroup(right), left.subtract_by_key(right));
        assert_eq!([inner.num_partitions(), groups.num_partitions(), less.num_partitions()], [into; 3], "{name}");
        assert_eq!(shuffles(&context, || left.join(right)), moved, "{name}");
        assert_eq!(shuffles(&context, || left.full_outer_join(right)), moved, "{name}");
        assert_eq!(shuffles(&context, || left.cogroup(right)), moved, "{name}");
        assert_eq!(shuffles(&context, || left.subtract_by_key(right)), moved, "{name}");
        // Nor is what they make.
        assert_eq!(shuffles(&context, || inner.join(&groups)), 0, "{name}");
        assert_eq!(shuffles(&context, || less.group_by_key_with(Partitions::new(into))), 0, "{name}");
    }
    assert_eq!(shuffles(&context, || sums.cogroup3(&sums, &raw, &sums)), 1);
}

fn lefts(max: usize) -> impl Strategy<Value = Lefts> {
    (1u16..60).prop_flat_map(move |keys| prop::collection::vec((0..keys, -9..9), 0..max))
}

fn rights(max: usize) -> impl Strategy<Value = Rights> {
    (1u16..60).prop_flat_map(move |keys| prop::collection::vec((0..keys, "[a-c]{0,2}"), 0..max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn joins_equal_nested_loops(
        left in lefts(80), right in rights(80), cut in (1usize..6, 1usize..6), shuffle in 1usize..7,
    ) {
        check_layouts(&left, &right, cut, shuffle);
    }

    #[test]
    fn cogroups_of_three_and_four_equal_a_map(
        sides in prop::collection::vec(lefts(60), 4), cut in 1usize..5, shuffle in 1usize..5, encoded: bool,
    ) {
        let context = context(shuffle, encoded);
        let mut groups = BTreeMap::<u16, [Vec<i32>; 4]>::new();
        for (side, pairs) in sides.iter().enumerate() {
            pairs.iter().for_each(|(key, value)| groups.entry(*key).or_default()[side].push(*value));
        }
        let four: Vec<_> = groups.clone().into_iter().map(|(key, [a, b, c, d])| (key, (a, b, c, d))).collect();
        let of_three = groups.into_iter().map(|(key, [a, b, c, _])| (key, (a, b, c)));
        let three: Vec<_> =
            of_three.filter(|(_, (a, b, c))| !a.is_empty() || !b.is_empty() || !c.is_empty()).collect();
        let datasets: Vec<_> = sides.into_iter().map(|side| context.parallelize(side, cut)).collect();
        let [a, b, c, d] = &datasets[..] else { unreachable!() };
        let by_key = b.partition_by(Partitions::new(3));
        for second in [b, &by_key] {
            let mut out = a.cogroup3(second, c, d).collect().unwrap();
            out.sort();
            prop_assert_eq!(&out, &four);
            let mut out = a.cogroup2_with(second, c, Partitions::new(3)).collect().unwrap();
            out.sort();
            prop_assert_eq!(&out, &three);
        }
    }
}
