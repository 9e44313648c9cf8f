//! Operations of a dataset against the same on a vector, on as many partitions as may be awkward.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tidemill::{Data, Dataset, Error, Exchange, Partitions, Result, SortOrder, Stats, StreamingContext, TotalOrder};

/// Contexts whose shuffles go into 1, 2 and 5 partitions.
fn contexts() -> impl Iterator<Item = StreamingContext> {
    let context = |partitions| StreamingContext::builder("test").workers(2).partitions(partitions).build().unwrap();
    [1, 2, 5].into_iter().map(context)
}

fn context() -> StreamingContext {
    contexts().last().unwrap()
}

/// Nothing, one record, fewer than partitions, a record that is nearly everything, many.
fn awkward() -> [Vec<i64>; 5] {
    let skewed = (0..2000).map(|n| if n % 10 == 0 { n } else { 7 }).collect();
    [vec![], vec![3], vec![2, 1, 2], skewed, (0..3000).map(|n| (n * 7919) % 1009).collect()]
}

/// Every awkward input in 1, 2 and 5 partitions, with shuffles into 1, 2 and 5.
#[track_caller]
fn each(check: impl Fn(&[i64], Dataset<i64>)) {
    for context in contexts() {
        for records in awkward() {
            [1, 2, 5].into_iter().for_each(|parts| check(&records, context.parallelize(records.clone(), parts)));
        }
    }
}

fn sorted<T: Ord>(records: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut records: Vec<T> = records.into_iter().collect();
    records.sort();
    records
}

fn in_order<T: Data>(dataset: &Dataset<T>) -> Vec<T> {
    dataset.collect().unwrap()
}

#[track_caller]
fn message<T: Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn records_of_partitions() {
    each(|records, dataset| {
        let glommed = in_order(&dataset.glom());
        assert_eq!((glommed.len(), glommed.concat()), (dataset.num_partitions(), records.to_vec()));
        assert_eq!(glommed, dataset.collect_partitions().unwrap());
        let numbered = in_order(&dataset.map_partitions_with_index(|part, of| of.map(move |n| (part, n))));
        let expected = glommed.iter().enumerate().flat_map(|(part, of)| of.iter().map(move |n| (part, *n)));
        assert!(numbered.into_iter().eq(expected));
        for parts in [1, 2, 3, 7] {
            let joined = dataset.coalesce(parts);
            assert_eq!(joined.num_partitions(), parts.min(dataset.num_partitions()));
            assert_eq!(in_order(&joined), records);
        }
        let read: Vec<i64> = dataset.to_local_iterator().collect::<Result<_>>().unwrap();
        assert_eq!(read, records);
    });
    let message = message(context().parallelize([1], 1).coalesce(0).count());
    assert!(message.ends_with("0 partitions: there has to be one at least"), "{message}");
}

#[test]
fn zips_and_numbers() {
    each(|records, dataset| {
        let doubled: Vec<_> = records.iter().map(|n| (*n, 2 * n)).collect();
        assert_eq!(in_order(&dataset.zip(&dataset.map(|n| 2 * n))), doubled);
        let numbered = dataset.filter(|n| n % 3 != 0).zip_with_index();
        let expected: Vec<_> = records.iter().copied().filter(|n| n % 3 != 0).zip(0u64..).collect();
        assert_eq!(in_order(&numbered), expected);
        assert_eq!(in_order(&numbered), expected, "again");
        let ids = dataset.zip_with_unique_id();
        assert_eq!(ids.values().distinct().count().unwrap(), records.len() as u64);
        let parts = dataset.num_partitions();
        for (part, of) in ids.values().collect_partitions().unwrap().into_iter().enumerate() {
            assert!(of.iter().copied().eq((part as u64..).step_by(parts).take(of.len())));
        }
        assert_eq!(in_order(&ids.keys()), records);
    });
    let (two, three) = (context().parallelize([1, 2], 2), context().parallelize([1, 2, 3], 3));
    let said = message(two.zip(&three).count());
    assert!(said.ends_with("2 partitions here and 3 in the other dataset: there have to be as many"), "{said}");
    let said = message(two.zip(&two.flat_map(|n| [n, n])).count());
    assert!(said.ends_with("partition 0: 1 record here and 2 in the other dataset"), "{said}");
}

/// What runs before the first task of a numbering counts all but the last partition, once.
#[test]
fn numbering_is_lazy_and_counts_once() {
    let computed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&computed);
    let numbers = context().parallelize(0..30, 3).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let numbered = numbers.zip_with_index();
    let shuffled = numbered.repartition(2);
    assert_eq!(computed.load(Ordering::Relaxed), 0);
    assert_eq!(shuffled.count().unwrap(), 30);
    assert_eq!(computed.load(Ordering::Relaxed), 20 + 30);
    numbered.count().unwrap();
    assert_eq!(computed.load(Ordering::Relaxed), 20 + 30 + 30);
}

#[test]
fn sorts() {
    each(|records, dataset| {
        let numbered = dataset.zip_with_index();
        for parts in [1, 2, 5, 40] {
            for order in [SortOrder::Ascending, SortOrder::Descending] {
                let mut expected: Vec<_> = records.iter().copied().zip(0u64..).collect();
                match order {
                    SortOrder::Ascending => expected.sort_by_key(|(n, _)| *n),
                    SortOrder::Descending => expected.sort_by_key(|(n, _)| -n),
                }
                // Equal keys in the order in which they came.
                let by = numbered.sort_by_with(|(n, _)| *n, order, Partitions::new(parts));
                assert_eq!((by.num_partitions(), &in_order(&by)), (parts, &expected), "{order:?} into {parts}");
                assert_eq!(in_order(&by), expected, "again");
                let by_key = numbered.sort_by_key_with(order, Partitions::new(parts));
                assert_eq!(in_order(&by_key), expected, "{order:?} into {parts}");
            }
        }
        assert_eq!(in_order(&dataset.sort_by(|n| *n)), sorted(records.to_vec()));
        let pairs = dataset.key_by(|n| n % 10);
        let within = pairs.repartition_and_sort_within_partitions(Partitions::new(3)).collect_partitions().unwrap();
        for (part, placed) in within.iter().zip(pairs.partition_by(Partitions::new(3)).collect_partitions().unwrap()) {
            let mut placed = placed;
            placed.sort_by_key(|(key, _)| *key);
            assert_eq!(*part, placed);
        }
        let expected: Vec<_> = records.iter().filter(|n| (3..=5).contains(&(**n % 10))).copied().collect();
        assert_eq!(in_order(&pairs.filter_by_range(3..=5).values()), expected);
    });
    let floats = [2.5, f64::NAN, -1.0, f64::INFINITY, 0.0];
    let ordered = in_order(&context().parallelize(floats, 2).sort_by(|f| TotalOrder(*f)));
    assert_eq!(format!("{ordered:?}"), "[-1.0, 0.0, 2.5, inf, NaN]");
}

/// Different keys spread over the partitions; a key is never cut.
#[test]
fn sorted_partitions_have_about_the_same_size() {
    for records in [(0..10_000).collect::<Vec<i64>>(), (0..10_000).map(|n| n * n % 9973).collect()] {
        let parts = context().parallelize(records, 3).sort_by_with(|n| *n, SortOrder::Ascending, Partitions::new(8));
        let sizes: Vec<usize> = parts.collect_partitions().unwrap().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (500..2500).contains(size)), "{sizes:?}");
    }
    let skewed = (0..10_000).map(|n| if n % 10 == 0 { n } else { 5000 });
    let parts = context().parallelize(skewed, 3).sort_by_with(|n| *n, SortOrder::Descending, Partitions::new(4));
    let parts = parts.collect_partitions().unwrap();
    assert_eq!(parts.iter().filter(|part| part.contains(&5000)).count(), 1);
    assert!(parts.iter().filter(|part| !part.is_empty()).count() >= 2);
}

#[test]
fn sets() {
    each(|records, dataset| {
        let other: Vec<i64> = (0..500).map(|n| n % 200).collect();
        let there = context().parallelize(other.clone(), 3);
        let (here, other): (BTreeSet<_>, BTreeSet<_>) =
            (records.iter().copied().collect(), other.into_iter().collect());
        assert_eq!(sorted(in_order(&dataset.distinct())), Vec::from_iter(here.clone()));
        let both: Vec<_> = here.intersection(&other).copied().collect();
        assert_eq!(sorted(in_order(&dataset.intersection(&there))), both);
        let left = sorted(records.iter().copied().filter(|n| !other.contains(n)));
        assert_eq!(sorted(in_order(&dataset.subtract(&there))), left);
        let mut groups = BTreeMap::<i64, Vec<i64>>::new();
        records.iter().for_each(|n| groups.entry(n % 7).or_default().push(*n));
        assert_eq!(sorted(in_order(&dataset.group_by(|n| n % 7))), Vec::from_iter(groups));
        let few = context().parallelize([1, 2, 3], 2);
        let product = sorted(records.iter().flat_map(|a| [1, 2, 3].map(|b| (*a, b))));
        assert_eq!(sorted(in_order(&dataset.cartesian(&few))), product);
    });
}

#[test]
fn samples() {
    each(|records, dataset| {
        assert_eq!(in_order(&dataset.sample(false, 1.0, 3)), records);
        assert_eq!(in_order(&dataset.sample(false, 0.0, 3)), [0; 0]);
        assert_eq!(in_order(&dataset.sample(true, 0.0, 3)), [0; 0]);
        let split = dataset.random_split(&[1.0, 0.0, 2.0], 9);
        assert_eq!(split[1].count().unwrap(), 0);
        let together = Vec::from_iter(split.iter().flat_map(in_order));
        assert_eq!(sorted(together), sorted(records.to_vec()));
        let numbered = dataset.zip_with_index();
        for n in [0, 1, 100, 10_000] {
            let taken = numbered.take_sample(false, n, 5).unwrap();
            assert_eq!(taken.len(), n.min(records.len()));
            assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "none twice");
            assert!(taken.iter().all(|(record, place)| records[*place as usize] == *record));
            let drawn = numbered.take_sample(true, n, 5).unwrap();
            assert_eq!(drawn.len(), if records.is_empty() { 0 } else { n });
            assert!(drawn.iter().all(|(record, place)| records[*place as usize] == *record));
        }
    });
    let one = context().parallelize([1], 1);
    for wrong in [one.sample(false, 1.1, 0), one.sample(false, f64::NAN, 0), one.sample(true, -0.1, 0)] {
        assert!(message(wrong.count()).contains("the fraction"));
    }
    for weights in [&[0.0, 0.0][..], &[1.0, -1.0], &[f64::NAN], &[f64::INFINITY]] {
        one.random_split(weights, 0).iter().for_each(|part| assert!(message(part.count()).contains("the weights")));
    }
}

/// Shares are what was asked for, within four standard deviations, and every place is as likely as any other.
#[test]
fn samples_are_fair() {
    const RECORDS: usize = 20_000;
    let numbers = context().parallelize(0..RECORDS, 5);
    let is_near = |found: u64, mean: f64, variance: f64| {
        assert!((found as f64 - mean).abs() < 4.0 * variance.sqrt(), "{found} instead of {mean}");
    };
    let all = RECORDS as f64;
    is_near(numbers.sample(false, 0.3, 1).count().unwrap(), 0.3 * all, 0.21 * all);
    is_near(numbers.sample(true, 0.3, 1).count().unwrap(), 0.3 * all, 0.3 * all);
    is_near(numbers.sample(true, 2.0, 1).count().unwrap(), 2.0 * all, 2.0 * all);
    is_near(numbers.random_split(&[2.0, 3.0], 1)[0].count().unwrap(), 0.4 * all, 0.24 * all);
    for with_replacement in [false, true] {
        let taken = numbers.take_sample(with_replacement, 2000, 4).unwrap();
        is_near(taken.iter().filter(|n| **n < RECORDS / 2).count() as u64, 1000.0, 500.0);
        // The order is random too: the first half of what was drawn is from all over.
        is_near(taken[..1000].iter().filter(|n| **n < RECORDS / 2).count() as u64, 500.0, 250.0);
    }
}

#[test]
fn ends_in_order() {
    each(|records, dataset| {
        let ascending = sorted(records.to_vec());
        let descending: Vec<_> = ascending.iter().rev().copied().collect();
        for n in [0, 1, 5, 10_000] {
            let first = |of: &[i64]| of.iter().take(n).copied().collect::<Vec<_>>();
            assert_eq!(dataset.take_ordered(n).unwrap(), first(&ascending));
            assert_eq!(dataset.top(n).unwrap(), first(&descending));
        }
        assert_eq!(
            (dataset.min().unwrap(), dataset.max().unwrap()),
            (ascending.first().copied(), ascending.last().copied())
        );
        // Of equal keys the first.
        let numbered = dataset.zip_with_index();
        let mut by_rest: Vec<_> = records.iter().copied().zip(0u64..).collect();
        by_rest.sort_by_key(|(n, _)| n % 5);
        assert_eq!(numbered.take_ordered_by(7, |(n, _)| n % 5).unwrap(), by_rest[..by_rest.len().min(7)]);
        assert_eq!(numbered.min_by(|(n, _)| n % 5).unwrap(), by_rest.first().copied());
        by_rest.sort_by_key(|(n, place)| (-(n % 5), *place));
        assert_eq!(numbered.top_by(7, |(n, _)| n % 5).unwrap(), by_rest[..by_rest.len().min(7)]);
        assert_eq!(numbered.max_by(|(n, _)| n % 5).unwrap(), by_rest.first().copied());
    });
}

#[test]
fn folds_and_maps() {
    each(|records, dataset| {
        let sum: i64 = records.iter().sum();
        assert_eq!(dataset.fold(0, |a, b| a + b).unwrap(), sum);
        assert_eq!(dataset.fold(1, |a, b| a + b).unwrap(), sum + dataset.num_partitions() as i64 + 1);
        assert_eq!(dataset.sum::<i64>().unwrap(), sum);
        let reduced = records.iter().copied().reduce(|a, b| a + b);
        let many = dataset.zip_partitions(&dataset, |a, _| a).union(&dataset.filter(|_| false));
        let many = (0..4).fold(many, |many, _| many.union(&many.filter(|_| false)));
        assert_eq!(many.tree_reduce(|a, b| a + b).unwrap(), reduced);
        for depth in [1, 2, 3, 9] {
            // In order, whatever is merged with what first.
            let joined = many.tree_aggregate(
                vec![],
                |mut a, n| {
                    a.push(n);
                    a
                },
                |a, b| [a, b].concat(),
                depth,
            );
            assert_eq!(joined.unwrap(), records);
        }
        let mut counts = HashMap::new();
        records.iter().for_each(|n| *counts.entry(*n).or_insert(0u64) += 1);
        assert_eq!(dataset.count_by_value().unwrap(), counts);
        let pairs = dataset.map(|n| (n, 1)).partition_by(Partitions::new(3));
        assert_eq!(pairs.count_by_key().unwrap(), counts);
        assert_eq!(pairs.reduce_by_key_locally(|a, b| a + b).unwrap(), counts);
        let last: HashMap<_, _> = records.iter().map(|n| n % 10).zip(0u64..).collect();
        let numbered = dataset.zip_with_index().map(|(n, place)| (n % 10, place));
        assert_eq!(numbered.collect_as_map().unwrap(), last);
        for key in [0, 7, 12] {
            let of_key: Vec<_> =
                (0u64..).zip(records).filter(|(_, n)| **n % 10 == key).map(|(place, _)| place).collect();
            assert_eq!(numbered.lookup(&key).unwrap(), of_key);
            assert_eq!(numbered.partition_by(Partitions::new(4)).lookup(&key).unwrap(), of_key);
        }
    });
    let said = message(context().parallelize([1], 1).tree_aggregate(0, |a, b| a + b, |a, b| a + b, 0));
    assert!(said.ends_with("the depth 0: it has to be 1 at least"), "{said}");
    let said = message(context().parallelize([1], 0).collect());
    assert!(said.starts_with("operator parallelize (tests/it/datasets.rs:"), "{said}");
    assert!(said.ends_with("0 partitions: there has to be one at least"), "{said}");
}

/// Of placed pairs one partition is computed for a look-up.
#[test]
fn a_lookup_computes_one_partition() {
    let computed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&computed);
    let placed = context().parallelize((0..100).map(|n| (n, n)), 2).partition_by(Partitions::new(4));
    let sizes: Vec<usize> = placed.collect_partitions().unwrap().iter().map(Vec::len).collect();
    let watched = placed.filter(move |_| count.fetch_add(1, Ordering::Relaxed) < usize::MAX);
    assert_eq!(watched.lookup(&42).unwrap(), [42]);
    assert!(sizes.contains(&computed.load(Ordering::Relaxed)), "{computed:?} of {sizes:?}");
}

#[test]
fn iterators_and_errors_end() {
    let numbers =
        context().parallelize([1, 2, 0, 3], 4).try_map(|n| if n == 0 { Err(Error::user("zero")) } else { Ok(n) });
    let mut iterator = numbers.to_local_iterator();
    assert_eq!(iterator.next().unwrap().unwrap(), 1);
    assert_eq!(iterator.next().unwrap().unwrap(), 2);
    assert!(message(iterator.next().unwrap()).ends_with("partition 2: zero"));
    assert!(iterator.next().is_none());
    // The key of a sort is asked before records move; the error names the sort all the same.
    let said = message(context().parallelize(0..9, 2).sort_by(|n| 7 / (n - 8)).count());
    assert!(said.contains("operator sort_by (tests/it/datasets.rs:"), "{said}");
}

fn is_close(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        (found, expected) => found == expected,
    }
}

/// Variances by their definition, in two passes.
fn plainly(numbers: &[f64]) -> (Option<f64>, Option<f64>, Option<f64>) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|n| (n - mean) * (n - mean)).sum();
    let enough = |least, value| (numbers.len() >= least).then_some(value);
    (enough(1, mean), enough(1, squares / count), enough(2, squares / (count - 1.0)))
}

#[test]
fn statistics() {
    each(|records, dataset| {
        let stats = dataset.stats().unwrap();
        let numbers: Vec<f64> = records.iter().map(|n| *n as f64).collect();
        let (mean, variance, of_sample) = plainly(&numbers);
        assert_eq!((stats.count(), stats.sum()), (records.len() as u64, numbers.iter().sum()));
        for (found, expected) in [
            (dataset.mean().unwrap(), mean),
            (dataset.variance().unwrap(), variance),
            (dataset.stdev().unwrap(), variance.map(f64::sqrt)),
            (dataset.sample_variance().unwrap(), of_sample),
            (dataset.sample_stdev().unwrap(), of_sample.map(f64::sqrt)),
            (stats.min(), numbers.iter().copied().reduce(f64::min)),
            (stats.max(), numbers.iter().copied().reduce(f64::max)),
        ] {
            assert!(is_close(found, expected), "{found:?} instead of {expected:?}");
        }
    });
    // Small differences of large numbers: where the sum of squares loses them all.
    let stats: Stats = (0..1000).map(|n| 1e9 + f64::from(n % 2)).collect();
    assert!(is_close(stats.variance(), Some(0.25)), "{stats:?}");
}

#[test]
fn histograms() {
    let check = |numbers: &[f64], bounds: &[f64], expected: &[u64]| {
        for parts in [1, 2, 5] {
            assert_eq!(context().parallelize(numbers.to_vec(), parts).histogram_with(bounds).unwrap(), expected);
        }
    };
    check(&[], &[0.0, 10.0], &[0]);
    check(&[10.01, -0.01], &[0.0, 10.0], &[0]);
    check(&[0.0, 10.0], &[0.0, 10.0], &[2]);
    check(&[1.0, 2.0, 3.0, 4.0], &[0.0, 2.0, 4.0], &[1, 3]);
    check(&[10.01, -0.01, f64::NAN, 5.0, f64::INFINITY], &[0.0, 4.0, 5.0, 10.0], &[0, 0, 1]);
    check(&[-1e300, 0.0, f64::INFINITY], &[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[1, 2]);
    let even = |numbers: &[f64], buckets| context().parallelize(numbers.to_vec(), 3).histogram(buckets);
    assert_eq!(even(&[], 3).unwrap(), (vec![], vec![]));
    assert_eq!(even(&[f64::NAN], 3).unwrap(), (vec![], vec![]));
    assert_eq!(even(&[1.0, 1.0], 3).unwrap(), (vec![1.0, 1.0], vec![2]));
    assert_eq!(even(&[1.0, 2.0], 1).unwrap(), (vec![1.0, 2.0], vec![2]));
    assert_eq!(even(&[1.0, f64::NAN, 3.0, 2.0], 2).unwrap(), (vec![1.0, 2.0, 3.0], vec![1, 2]));
    let ten: Vec<f64> = (0..=100).map(f64::from).collect();
    assert_eq!(
        even(&ten, 10).unwrap(),
        ((0..=10).map(|n| f64::from(n * 10)).collect(), [vec![10; 9], vec![11]].concat())
    );
    assert!(message(even(&[1.0], 0)).contains("0 buckets"));
    assert!(message(even(&[1.0, f64::INFINITY], 2)).contains("even buckets"));
    for bounds in [&[][..], &[1.0], &[2.0, 1.0], &[1.0, 1.0], &[0.0, f64::NAN]] {
        assert!(message(context().parallelize([1.0], 1).histogram_with(bounds)).contains("ascending order"));
    }
}

#[test]
fn approximate_counts() {
    for (different, relative_sd) in [(0u64, 0.05), (1, 0.05), (10, 0.05), (1000, 0.05), (1000, 0.01), (60_000, 0.02)] {
        let values = context().parallelize((0..different * 2).map(|n| n % different.max(1)), 3);
        let most = 3.0 * relative_sd * different as f64;
        let near = |found: u64| assert!(found.abs_diff(different) as f64 <= most, "{found} instead of {different}");
        near(values.count_approx_distinct(relative_sd).unwrap());
        let pairs = values.flat_map(|n| [("all".to_string(), n), ("last".to_string(), n % 10)]);
        let counts = pairs.count_approx_distinct_by_key(relative_sd).collect_as_map().unwrap();
        near(counts.get("all").copied().unwrap_or(0));
        assert_eq!(counts.get("last").copied().unwrap_or(0), different.min(10));
    }
    let one = context().parallelize([(1, 1)], 1);
    for wrong in [0.0, 1.0, 0.001, f64::NAN] {
        assert!(message(one.count_approx_distinct(wrong)).contains("the relative standard deviation"));
        assert!(message(one.count_approx_distinct_by_key(wrong).count()).contains("the relative standard deviation"));
    }
}

/// Computes in every way what has to be the same in all of them.
fn everywhere<T: Exchange, U: Data + PartialEq + Debug>(
    parts: &[Vec<T>],
    workers: [usize; 2],
    compute: impl Fn(Dataset<T>) -> Vec<U>,
) -> Vec<U> {
    let [one, other] = workers.map(|workers| {
        let context = StreamingContext::builder("test").workers(workers).partitions(3).build().unwrap();
        let parts = parts.iter().map(|part| context.parallelize(part.clone(), 1));
        compute(parts.reduce(|all, part| all.union(&part)).unwrap())
    });
    assert_eq!(one, other);
    one
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_records_are_sorted_and_sampled(
        parts in prop::collection::vec(prop::collection::vec((-20i32..20, any::<u8>()), 0..150), 1..5),
        into in 1usize..9,
        seed in any::<u64>(),
    ) {
        let all: Vec<_> = parts.concat();
        let mut expected = all.clone();
        expected.sort_by_key(|(key, _)| *key);
        let by_key = |dataset: Dataset<(i32, u8)>| {
            in_order(&dataset.sort_by_key_with(SortOrder::Ascending, Partitions::new(into)))
        };
        prop_assert_eq!(everywhere(&parts, [1, 3], by_key), expected);
        let split = |dataset: Dataset<(i32, u8)>| {
            dataset.random_split(&[1.0, 1.0, 3.0], seed).iter().map(in_order).collect::<Vec<_>>()
        };
        prop_assert_eq!(sorted(everywhere(&parts, [1, 3], split).concat()), sorted(all.clone()));
        let taken = everywhere(&parts, [1, 3], |dataset| dataset.take_sample(false, 20, seed).unwrap());
        prop_assert_eq!(taken.len(), all.len().min(20));
        let top = everywhere(&parts, [1, 3], |dataset| dataset.top(9).unwrap());
        let expected: Vec<_> = sorted(all).into_iter().rev().take(9).collect();
        prop_assert_eq!(top, expected);
    }

    #[test]
    fn statistics_merge(parts in prop::collection::vec(prop::collection::vec(-1e6f64..1e6, 0..60), 1..5)) {
        let stats = everywhere(&parts, [1, 3], |dataset| vec![dataset.stats().unwrap()])[0];
        let (mean, variance, of_sample) = plainly(&parts.concat());
        prop_assert!(is_close(stats.mean(), mean), "{:?} {:?}", stats, mean);
        prop_assert!(is_close(stats.variance(), variance), "{:?} {:?}", stats, variance);
        prop_assert!(is_close(stats.sample_variance(), of_sample), "{:?} {:?}", stats, of_sample);
    }
}
