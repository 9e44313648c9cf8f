//! The ways through a shuffle give the same: one partition or many, combined, scattered or switched in between, blocks
//! typed or encoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use crate::context::StreamingContext;
use crate::data::Partitions;
use crate::dataset::Dataset;
use crate::exec::{Accumulator, Block, MemoryStore, PoolExecutor, Runtime, ShuffleId, ShuffleStore};

type Pairs = Vec<(String, u64)>;

fn context(partitions: usize, encoded: bool) -> StreamingContext {
    StreamingContext::builder("shuffle").workers(2).partitions(partitions).encoded_shuffle(encoded).build().unwrap()
}

/// A dataset with the given partitions.
fn dataset(context: &StreamingContext, parts: &[Pairs]) -> Dataset<(String, u64)> {
    let part = |part: &Pairs| context.parallelize(part.clone(), 1);
    parts.iter().map(part).reduce(|all, part| all.union(&part)).unwrap()
}

/// `records` pairs that go through `keys` keys again and again, beginning at `first`.
fn pairs(first: usize, keys: usize, records: usize) -> Pairs {
    (0..records).map(|n| ((first + n % keys).to_string(), n as u64)).collect()
}

fn check(parts: &[Pairs]) {
    let all = || parts.iter().flatten().cloned();
    let mut sums = BTreeMap::new();
    let mut groups: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    all().for_each(|(key, value)| *sums.entry(key).or_insert(0) += value);
    all().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    for partitions in [1, 3, 40] {
        let mut in_order = None;
        for encoded in [false, true] {
            let context = context(partitions, encoded);
            let dataset = dataset(&context, parts);
            let reduced = dataset.reduce_by_key(|a, b| a + b).collect_partitions().unwrap();
            assert_eq!(reduced.len(), partitions);
            let records: usize = reduced.iter().map(Vec::len).sum();
            assert_eq!(records, sums.len(), "{partitions} partitions: every key comes once");
            assert_eq!(reduced.iter().flatten().cloned().collect::<BTreeMap<_, _>>(), sums);

            let by_reference = dataset.reduce_by_key_ref(|(key, n), out| out.emit(&key[..], *n), |a, b| a + b);
            let by_reference = by_reference.collect().unwrap();
            assert_eq!(by_reference.len(), sums.len());
            assert_eq!(by_reference.into_iter().collect::<BTreeMap<_, _>>(), sums);

            let grouped = dataset.group_by_key().collect().unwrap();
            assert_eq!(grouped.into_iter().collect::<BTreeMap<_, _>>(), groups, "values keep their order");

            // A zero that shows: it is there once for each key and partition that has the key.
            let zero = || vec![u64::MAX];
            let push = |mut values: Vec<u64>, value| {
                values.push(value);
                values
            };
            let folded = dataset.aggregate_by_key(zero(), push, |a, b| [a, b].concat()).collect().unwrap();
            let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for part in parts {
                let mut of_part: BTreeMap<String, Vec<u64>> = BTreeMap::new();
                part.iter().for_each(|(key, n)| of_part.entry(key.clone()).or_insert_with(zero).push(*n));
                of_part.into_iter().for_each(|(key, values)| expected.entry(key).or_default().extend(values));
            }
            assert_eq!(folded.len(), expected.len());
            assert_eq!(folded.into_iter().collect::<BTreeMap<_, _>>(), expected, "every partition begins with zero");

            // However often it runs, and whatever carries the blocks: the same records in the same order.
            assert_eq!(in_order.get_or_insert_with(|| reduced.clone()), &reduced);
            assert_eq!(dataset.reduce_by_key(|a, b| a + b).collect_partitions().unwrap(), reduced);
        }
    }
}

#[test]
fn nothing_and_next_to_nothing() {
    check(&[vec![]]);
    check(&[vec![], pairs(0, 1, 1), vec![]]);
}

#[test]
fn repeated_keys_are_combined() {
    check(&[pairs(0, 10, 1000), pairs(5, 10, 1000)]);
}

#[test]
fn many_repeated_keys_are_combined_in_fine_buckets() {
    check(&[pairs(0, 33_000, 70_000)]);
}

#[test]
fn keys_that_do_not_repeat_are_scattered() {
    check(&[pairs(0, 20_000, 20_000)]);
}

#[test]
fn a_writer_switches_when_keys_cease_to_repeat() {
    let mut switching = pairs(0, 100, 10_000);
    switching.extend(pairs(50, 20_000, 20_000));
    check(&[switching]);
}

#[test]
fn blocks_of_different_fineness_meet() {
    check(&[pairs(0, 10, 100), pairs(0, 20_000, 20_000), pairs(5, 33_000, 70_000)]);
}

#[test]
fn a_key_is_owned_at_its_first_sight_only() {
    let context = context(2, false);
    let lines = context.parallelize(vec!["a b a".to_string(), "b a".to_string()], 2);
    let counts = lines.reduce_by_key_ref(|line, out| line.split(' ').for_each(|word| out.emit(word, 1)), |a, b| a + b);
    let counts: BTreeMap<String, i32> = counts.collect().unwrap().into_iter().collect();
    assert_eq!(counts, [("a", 3), ("b", 2)].map(|(word, count)| (word.to_string(), count)).into());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Partitions are made of stretches in which keys repeat more or less.
    #[test]
    fn any_mixture_equals_a_plain_map(
        parts in prop::collection::vec(
            prop::collection::vec((0usize..5000, 1usize..6000, 0usize..6000), 0..3), 1..3,
        ),
    ) {
        let part = |stretches: &Vec<(usize, usize, usize)>| -> Pairs {
            stretches.iter().flat_map(|&(first, keys, records)| pairs(first, keys, records)).collect()
        };
        check(&parts.iter().map(part).collect::<Vec<_>>());
    }
}

/// Loses all blocks of a shuffle at the first question for them.
#[derive(Debug, Default)]
struct Forgetful {
    store: MemoryStore,
    asked: AtomicU32,
}

impl ShuffleStore for Forgetful {
    fn wants_bytes(&self) -> bool {
        self.store.wants_bytes()
    }

    fn put(&self, shuffle: ShuffleId, map: usize, blocks: Vec<Block>) {
        self.store.put(shuffle, map, blocks);
    }

    fn get(&self, shuffle: ShuffleId, maps: usize, reduce: usize) -> Vec<Option<Block>> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            self.store.remove(shuffle);
        }
        self.store.get(shuffle, maps, reduce)
    }

    fn missing(&self, shuffle: ShuffleId, maps: usize) -> Vec<usize> {
        self.store.missing(shuffle, maps)
    }

    fn remove(&self, shuffle: ShuffleId) {
        self.store.remove(shuffle);
    }
}

#[test]
fn blocks_that_are_lost_are_computed_again() {
    let store = Arc::new(Forgetful::default());
    let executor = Box::new(PoolExecutor::new(2, || {}).unwrap());
    let runtime = Runtime::new(executor, Arc::clone(&store) as Arc<dyn ShuffleStore>, 1, Partitions::new(3));
    let mapped = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&mapped);
    let pairs = Dataset::of(vec![vec![1u64, 2], vec![2, 3]], &runtime).map(move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        (n, n)
    });
    let mut sums = pairs.reduce_by_key(|a, b| a + b).collect().unwrap();
    sums.sort_unstable();
    assert_eq!(sums, [(1, 1), (2, 4), (3, 3)]);
    assert!(mapped.load(Ordering::Relaxed) > 4, "records were mapped again");
}

/// Blocks are lost before a second action, and while one runs; the map tasks have counted when they ran first.
#[test]
fn blocks_that_are_computed_again_add_nothing_to_accumulators() {
    let store = Arc::new(Forgetful::default());
    let executor = Box::new(PoolExecutor::new(2, || {}).unwrap());
    let runtime = Runtime::new(executor, Arc::clone(&store) as Arc<dyn ShuffleStore>, 1, Partitions::new(3));
    let seen = Accumulator::<u32>::sum("seen".into());
    let counted = seen.clone();
    let pairs = Dataset::of(vec![vec![1u64, 2], vec![2, 3]], &runtime).map(move |n| {
        counted.add(1);
        (n, n)
    });
    let sums = pairs.reduce_by_key(|a, b| a + b);
    assert_eq!(sums.count().unwrap(), 3);
    assert!(store.asked.load(Ordering::Relaxed) > 3, "blocks were lost and asked for again");
    assert_eq!(seen.value(), 4);
    (0..3).for_each(|shuffle| store.remove(ShuffleId(shuffle)));
    assert_eq!(sums.count().unwrap(), 3);
    assert_eq!(seen.value(), 4);
}

#[test]
fn repartition_deals_out_evenly_and_loses_nothing() {
    for encoded in [false, true] {
        let context = context(2, encoded);
        for (records, from, to) in [(0, 2, 5), (3, 5, 2), (100, 2, 5), (100, 5, 2), (7, 1, 9)] {
            let numbers = context.parallelize(0..records, from).repartition(to);
            let mut parts = numbers.collect_partitions().unwrap();
            assert_eq!(parts.len(), to);
            let (least, most) = (parts.iter().map(Vec::len).min(), parts.iter().map(Vec::len).max());
            assert!(most.unwrap() - least.unwrap() <= from, "{records} records from {from} to {to}: {parts:?}");
            let mut all = parts.concat();
            all.sort();
            assert!(all.into_iter().eq(0..records));
            assert_eq!(numbers.collect_partitions().unwrap(), std::mem::take(&mut parts), "the same again");
        }
    }
}

/// What is partitioned by key stays so through everything that leaves keys alone, and is not moved again.
#[test]
fn partitioned_pairs_are_not_moved_again() {
    let run_shuffles = |context: &StreamingContext, dataset: &Dataset<(String, u64)>| {
        let shuffles = |_: ()| context.parallelize([(0, 0)], 1).runtime().next_shuffle().0;
        let before = shuffles(());
        let reduced = dataset.reduce_by_key_with(|a, b| a + b, Partitions::new(3));
        let counted = shuffles(()) - before - 1;
        let mut sums = reduced.collect().unwrap();
        sums.sort();
        assert_eq!(
            sums,
            (0..50).map(|n| (n.to_string(), 2)).collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>()
        );
        (counted, reduced.collect_partitions().unwrap())
    };
    for encoded in [false, true] {
        let context = context(3, encoded);
        let ones = context.parallelize((0..100u64).map(|n| ((n % 50).to_string(), 1)), 4);
        let (moved, expected) = run_shuffles(&context, &ones);
        assert_eq!(moved, 1);
        let placed = ones.partition_by(Partitions::new(3));
        for (name, dataset) in [
            ("partition_by", placed.clone()),
            ("partition_by twice", placed.partition_by(Partitions::new(3))),
            ("filter", placed.filter(|_| true)),
            ("map_values", placed.map_values(|n| n)),
            ("flat_map_values", placed.flat_map_values(|n| [n])),
            ("persist", placed.persist()),
            ("union", placed.filter(|(_, n)| *n == 0).union(&placed)),
        ] {
            let (moved, reduced) = run_shuffles(&context, &dataset);
            assert_eq!(moved, 0, "{name}");
            let sorted = |mut parts: Vec<Pairs>| {
                parts.iter_mut().for_each(|part| part.sort());
                parts
            };
            assert_eq!(sorted(reduced), sorted(expected.clone()), "{name}: every key is where a shuffle puts it");
        }
        for (name, dataset) in [
            ("map", placed.map(|pair| pair)),
            ("another number", ones.partition_by(Partitions::new(2))),
            ("union with others", placed.filter(|(_, n)| *n == 0).union(&ones)),
        ] {
            assert_eq!(run_shuffles(&context, &dataset).0, 1, "{name}");
        }
    }
}

#[test]
fn a_wrong_number_of_partitions_is_told_by_the_action() {
    let context = context(2, false);
    let pairs = context.parallelize([(1, 1)], 1);
    let site = format!("{}:{}", file!(), line!() + 1);
    let error = pairs.reduce_by_key_with(|a, b| a + b, Partitions::new(0)).collect().unwrap_err();
    let expected = format!("operator reduce_by_key ({site}): 0 partitions: there can be 1 to 4096");
    assert_eq!(error.to_string(), expected);
    assert!(pairs.repartition(5000).count().unwrap_err().to_string().contains("5000 partitions"));
    assert!(pairs.partition_by(Partitions::new(0)).count().is_err());
    assert!(pairs.group_by_key_with(Partitions::new(4097)).count().is_err());
}
