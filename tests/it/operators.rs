//! Every operator on awkward batches, and keyed operators against a map of the standard library.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{DStream, Data, Partitions};

use crate::harness::{SECOND, every_run};

pub(crate) type Pairs = Vec<(u8, i64)>;

/// Nothing; one record; fewer records than partitions; a key that has nearly everything; many keys; nothing again.
pub(crate) fn awkward() -> [Pairs; 6] {
    let skewed = (0..3000).map(|n| (if n % 1000 == 999 { 1 + (n / 1000) as u8 } else { 0 }, n)).collect();
    let many = (0..2000).map(|n| (((n * 7) % 251) as u8, n)).collect();
    [vec![], vec![(7, 7)], vec![(1, 1), (2, 2), (1, 3)], skewed, many, vec![]]
}

/// Compares an operator with what a plain function makes of each batch, in every run, order aside.
#[track_caller]
pub(crate) fn check<U: Data + Ord + Debug>(
    name: &str,
    build: impl Fn(DStream<(u8, i64)>) -> DStream<U>,
    plainly: impl Fn(Pairs) -> Vec<U>,
) {
    let mut expected = awkward().map(plainly);
    expected.iter_mut().for_each(|batch| batch.sort());
    for run in every_run() {
        let out = run.run(awkward(), &build).unwrap_or_else(|error| panic!("{name}: {error}")).sorted();
        for (batch, (out, expected)) in out.batches().iter().zip(&expected).enumerate() {
            assert!(out == expected, "{name}, batch {batch} by {run:?}");
        }
        assert_eq!(out.batches().len(), expected.len(), "{name} by {run:?}");
    }
}

pub(crate) fn groups(pairs: Pairs) -> BTreeMap<u8, Vec<i64>> {
    let mut groups = BTreeMap::<u8, Vec<i64>>::new();
    pairs.into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups
}

pub(crate) fn sums(pairs: Pairs) -> Pairs {
    groups(pairs).into_iter().map(|(key, values)| (key, values.iter().sum())).collect()
}

#[test]
fn operators_on_records() {
    check("map", |pairs| pairs.map(|(k, v)| v + i64::from(k)), |b| b.iter().map(|(k, v)| v + i64::from(*k)).collect());
    check("filter", |pairs| pairs.filter(|(_, v)| v % 3 == 0), |b| b.into_iter().filter(|(_, v)| v % 3 == 0).collect());
    check("flat_map", |pairs| pairs.flat_map(|(_, v)| 0..v % 4), |b| b.iter().flat_map(|(_, v)| 0..v % 4).collect());
    check(
        "flat_map_ref",
        |pairs| pairs.flat_map_ref(|(_, v), out| (0..v % 4).for_each(|n| out.emit(n))),
        |b| b.iter().flat_map(|(_, v)| 0..v % 4).collect(),
    );
    check("map_partitions", |pairs| pairs.map_partitions(|part| part.collect::<Vec<_>>()), |b| b);
    check("map_values", |pairs| pairs.map_values(|v| v * 2), |b| b.into_iter().map(|(k, v)| (k, v * 2)).collect());
    check(
        "flat_map_values",
        |pairs| pairs.flat_map_values(|v| [v, -v]),
        |b| b.into_iter().flat_map(|(k, v)| [(k, v), (k, -v)]).collect(),
    );
    check("transform", |pairs| pairs.transform(|batch, _| Ok(batch.filter(|_| true).map(|pair| pair))), |b| b);
    check(
        "union",
        |pairs| pairs.union(&pairs.filter(|(k, _)| *k > 0)),
        |b| b.iter().chain(b.iter().filter(|(k, _)| *k > 0)).copied().collect(),
    );
    check("count", |pairs| pairs.count(), |b| vec![b.len() as u64]);
    check("key_by", |pairs| pairs.key_by(|(_, v)| v % 3), |b| b.into_iter().map(|pair| (pair.1 % 3, pair)).collect());
    check("inspect", |pairs| pairs.inspect(|_| {}), |b| b);
    check("glom", |pairs| pairs.glom().flat_map(|part| part), |b| b);
    let numbered = |pairs: DStream<(u8, i64)>| pairs.map_partitions_with_index(|n, part| part.map(move |p| (n < 5, p)));
    check("map_partitions_with_index", numbered, |b| b.into_iter().map(|pair| (true, pair)).collect());
    check("window of one", |pairs| pairs.window(SECOND, SECOND), |b| b);
}

#[test]
fn operators_that_shuffle() {
    check(
        "reduce",
        |pairs| pairs.map(|(_, v)| v).reduce(|a, b| a.max(b)),
        |b| b.iter().map(|p| p.1).max().into_iter().collect(),
    );
    check("reduce_by_key", |pairs| pairs.reduce_by_key(|a, b| a + b), sums);
    let keys = |b: Pairs| groups(b).into_keys().collect();
    check("distinct", |pairs| pairs.map(|(k, _)| k).distinct(), keys);
    check("distinct_with", |pairs| pairs.map(|(k, _)| k).distinct_with(Partitions::new(3)), keys);
    let counts = |b: Pairs| groups(b).into_iter().map(|(k, values)| (k, values.len() as u64)).collect();
    check("count_by_value", |pairs| pairs.map(|(k, _)| k).count_by_value(), counts);
    check("count_by_value_with", |pairs| pairs.map(|(k, _)| k).count_by_value_with(Partitions::new(3)), counts);
    let by_reference = |pairs: DStream<(u8, i64)>| {
        let counts = pairs.map(|(k, _)| [k]).count_by_value_ref(|key, keys| keys.extend([&key[..]]));
        counts.map(|(key, count)| (key[0], count))
    };
    check("count_by_value_ref", by_reference, counts);
    check("sort_by_key", |pairs| pairs.transform(|batch, _| Ok(batch.sort_by_key())), |b| b);
    check(
        "subtract",
        |pairs| pairs.transform(|b, _| Ok(b.subtract(&b.filter(|(_, v)| v % 2 == 0)))),
        |b| b.into_iter().filter(|(_, v)| v % 2 != 0).collect(),
    );
    let estimates = |pairs: DStream<(u8, i64)>| {
        pairs.map(|(k, _)| (k % 2, k)).transform(|batch, _| Ok(batch.count_approx_distinct_by_key(0.01)))
    };
    check("count_approx_distinct_by_key", estimates, |b| {
        let keys: BTreeSet<u8> = b.into_iter().map(|(key, _)| key).collect();
        let of_rest = |rest| (rest, keys.iter().filter(|key| *key % 2 == rest).count() as u64);
        [0, 1].map(of_rest).into_iter().filter(|(_, count)| *count > 0).collect()
    });
    check(
        "group_by_key",
        |pairs| {
            pairs.group_by_key().map_values(|mut values| {
                values.sort();
                values
            })
        },
        |b| {
            groups(b)
                .into_iter()
                .map(|(k, mut values)| {
                    values.sort();
                    (k, values)
                })
                .collect()
        },
    );
    check(
        "reduce_by_key twice",
        |pairs| pairs.reduce_by_key(|a, b| a + b).map(|(k, v)| (k % 10, v)).reduce_by_key(|a, b| a + b),
        |b| sums(sums(b).into_iter().map(|(k, v)| (k % 10, v)).collect()),
    );
    check("reduce_by_key_and_window of one", |p| p.reduce_by_key_and_window(|a, b| a + b, SECOND, SECOND), sums);
    check("filter to nothing, then reduce", |pairs| pairs.filter(|_| false).reduce_by_key(|a, b| a + b), |_| vec![]);
    check(
        "keys of nothing but one",
        |p| p.map(|(_, v)| ((), v)).reduce_by_key(|a, b| a + b),
        |b| b.into_iter().map(|(_, v)| v).reduce(|a, b| a + b).map(|sum| ((), sum)).into_iter().collect(),
    );
}

/// `map_partitions` is called for empty partitions too.
#[test]
fn map_partitions_counts_its_partitions() {
    for partitions in [1, 2, 5] {
        let run = TestRun::new().partitions(partitions);
        let out = run.run([vec![1, 2], vec![]], |numbers| numbers.map_partitions(|part| [part.count()])).unwrap();
        let counts: Vec<_> = out.batches().iter().map(|b| (b.len(), b.iter().sum::<usize>())).collect();
        assert_eq!(counts, [(partitions, 2), (partitions, 0)]);
    }
}

#[test]
fn order_is_that_of_the_input_through_narrow_operators() {
    let records: Vec<i32> = (0..10_000).collect();
    for run in every_run() {
        let out = run
            .run([records.clone()], |n| n.map(|n| n + 1).filter(|n| n % 2 == 0).flat_map(|n| [n, n]).union(&n))
            .unwrap();
        let evens = (1..=10_000).filter(|n| n % 2 == 0).flat_map(|n| [n, n]);
        assert_eq!(out.batches(), [evens.chain(records.clone()).collect::<Vec<_>>()], "{run:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sums, and lists in the order of the input: typed and encoded give the same, whoever computes them.
    #[test]
    fn keyed_operators_equal_a_map(
        input in prop::collection::vec(prop::collection::vec(("[a-d]{0,2}", -99i64..99), 0..300), 1..4),
        partitions in 1usize..7,
        workers in 1usize..5,
    ) {
        let typed = TestRun::new().partitions(partitions).workers(workers);
        let encoded = typed.clone().encoded_shuffle();
        let mut expected: Vec<Vec<(String, Vec<i64>)>> = Vec::new();
        for batch in &input {
            let mut groups = BTreeMap::<String, Vec<i64>>::new();
            batch.iter().for_each(|(key, value)| groups.entry(key.clone()).or_default().push(*value));
            expected.push(groups.into_iter().collect());
        }
        let sums: Vec<Vec<(String, i64)>> = expected
            .iter()
            .map(|batch| batch.iter().map(|(key, values)| (key.clone(), values.iter().sum())).collect())
            .collect();
        let grouped = typed.run(input.clone(), |pairs| pairs.group_by_key()).unwrap();
        prop_assert_eq!(&grouped, &encoded.run(input.clone(), |pairs| pairs.group_by_key()).unwrap());
        let grouped = grouped.sorted();
        prop_assert_eq!(grouped.batches(), expected);
        let reduced = typed.run(input.clone(), |pairs| pairs.reduce_by_key(|a, b| a + b)).unwrap();
        prop_assert_eq!(&reduced, &encoded.run(input.clone(), |pairs| pairs.reduce_by_key(|a, b| a + b)).unwrap());
        let reduced = reduced.sorted();
        prop_assert_eq!(reduced.batches(), sums);
    }

    /// A batch run twice gives the same records in the same order.
    #[test]
    fn a_run_repeats_itself(
        input in prop::collection::vec(prop::collection::vec((any::<u16>(), any::<i64>()), 0..300), 1..3),
        partitions in 1usize..5,
        workers in 2usize..5,
    ) {
        let run = TestRun::new().partitions(partitions).workers(workers);
        let once = run.run(input.clone(), |pairs| pairs.reduce_by_key(i64::wrapping_add)).unwrap();
        prop_assert_eq!(once, run.run(input, |pairs| pairs.reduce_by_key(i64::wrapping_add)).unwrap());
    }
}
