//! Operators behind each other, and keyed operators against a map of the standard library.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill::DStream;
use tidemill::testing::TestRun;

use crate::harness::every_run;
use crate::shapes::{check, sums};

#[test]
fn operators_behind_each_other() {
    check(
        "reduce_by_key twice",
        |pairs| pairs.reduce_by_key(|a, b| a + b).map(|(k, v)| (k % 10, v)).reduce_by_key(|a, b| a + b),
        |b| sums(sums(b).into_iter().map(|(k, v)| (k % 10, v)).collect()),
    );
    check("filter to nothing, then reduce", |pairs| pairs.filter(|_| false).reduce_by_key(|a, b| a + b), |_| vec![]);
    check(
        "keys of nothing but one",
        |p| p.map(|(_, v)| ((), v)).reduce_by_key(|a, b| a + b),
        |b| b.into_iter().map(|(_, v)| v).reduce(|a, b| a + b).map(|sum| ((), sum)).into_iter().collect(),
    );
}

/// Operations of datasets, which a stream reaches through `transform`.
#[test]
fn operations_of_datasets() {
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
