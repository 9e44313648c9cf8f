//! Prints what each operator costs on one batch of ten million records, and checks that what it makes of them is right:
//! by a number that a plain loop over the records gives as well.
//!
//! ```text
//! cargo bench --bench operators [-- WORD]     only the operators with the word in their name
//! ```
//!
//! There are two batches: in one all keys are equally likely, in the other a single key has nine records of ten. Times
//! are processor time of all threads, from records in memory to the number, and the pass that makes it is part of them.
//! With `--test` the batches are as large: that an operator gets through them is what is tested.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "benches measure real time, and may panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::data::Random;
use common::measure::measure;
use tidemill::testing::TestRun;
use tidemill::{DStream, Dataset, Exchange, Partitions, Result, StorageLevel, StreamingContext};

const RECORDS: usize = 10_000_000;
const KEYS: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

type Pair = (u64, u64);

/// A batch, and what a plain loop says of it.
struct Batch {
    name: &'static str,
    pairs: Vec<Pair>,
    /// By key: how many records, and what their values add up to.
    keys: BTreeMap<u64, (u64, u64)>,
}

impl Batch {
    fn new(name: &'static str, key: impl Fn(&mut Random) -> u64) -> Self {
        let mut random = Random::new(7);
        let pairs: Vec<Pair> = (0..RECORDS).map(|_| (key(&mut random), random.below(1000))).collect();
        let mut keys = BTreeMap::<u64, (u64, u64)>::new();
        for (key, value) in &pairs {
            let (count, total) = keys.entry(*key).or_default();
            (*count, *total) = (*count + 1, *total + value);
        }
        Batch { name, pairs, keys }
    }

    /// What the records add up to, each as the number that `f` makes of it.
    fn records(&self, f: impl Fn(u64, u64) -> u64) -> u64 {
        self.pairs.iter().fold(0, |sum, (key, value)| sum.wrapping_add(f(*key, *value)))
    }

    /// What the keys add up to, each as the number that `f` makes of it, its records and their sum.
    fn keys(&self, f: impl Fn(u64, u64, u64) -> u64) -> u64 {
        self.keys.iter().fold(0, |sum, (key, (count, total))| sum.wrapping_add(f(*key, *count, *total)))
    }
}

/// One number for all records, whatever their order.
fn sum<T: tidemill::Data>(dataset: &Dataset<T>, f: impl Fn(T) -> u64 + Send + Sync) -> Result<u64> {
    dataset.aggregate(0, move |sum: u64, record| sum.wrapping_add(f(record)), u64::wrapping_add)
}

/// A number that tells pairs apart, and swapped ones.
fn of(key: u64, value: u64) -> u64 {
    key.wrapping_mul(3) ^ value
}

struct Bench<'a> {
    wanted: &'a str,
    batch: &'a Batch,
    context: &'a StreamingContext,
    /// The records, in memory, in four partitions.
    pairs: Dataset<Pair>,
}

impl Bench<'_> {
    /// An operation of `Dataset`, down to a number.
    fn dataset(&self, name: &str, expected: u64, run: impl FnOnce(&Dataset<Pair>) -> Result<u64>) {
        self.report(name, expected, || run(&self.pairs));
    }

    /// An operator of `DStream`: the batch goes through it, and what comes out is added up.
    fn stream<U: Exchange>(
        &self,
        name: &str,
        expected: u64,
        build: impl FnOnce(DStream<Pair>) -> DStream<U>,
        number: impl Fn(U) -> u64 + Send + Sync + 'static,
    ) {
        if !name.contains(self.wanted) {
            return;
        }
        let batches = [self.batch.pairs.clone()];
        self.report(name, expected, || {
            let run = TestRun::new()
                .partitions(4)
                .run(batches, |pairs| build(pairs).map(number).reduce(u64::wrapping_add))?;
            Ok(run.batches()[0].first().copied().unwrap_or(0))
        });
    }

    fn report(&self, name: &str, expected: u64, run: impl FnOnce() -> Result<u64>) {
        if !name.contains(self.wanted) {
            return;
        }
        let (outcome, time) = measure(run);
        let number = outcome.unwrap_or_else(|error| panic!("{name}, {} keys: {error}", self.batch.name));
        assert_eq!(number, expected, "{name}, {} keys", self.batch.name);
        println!("{name:<42} {:>8} keys {:>8.1} ns", self.batch.name, time.as_nanos() as f64 / RECORDS as f64);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = arguments.first().map_or("", String::as_str);
    let skewed = |random: &mut Random| if random.below(10) > 0 { 0 } else { random.below(KEYS) };
    let shapes = [Batch::new("uniform", |random| random.below(KEYS)), Batch::new("skewed", skewed)];
    for batch in &shapes {
        let context = StreamingContext::builder("operators").build().unwrap();
        let pairs = context.parallelize(batch.pairs.iter().copied(), 4);
        let bench = Bench { wanted, batch, context: &context, pairs };
        narrow(&bench);
        moving(&bench);
        keyed(&bench);
        two(&bench);
        actions(&bench);
        streams(&bench);
    }
}

/// Operations that look at one partition at a time.
fn narrow(bench: &Bench<'_>) {
    let batch = bench.batch;
    let all = batch.records(of);
    let pair = |(key, value): Pair| of(key, value);
    bench.dataset("map", batch.records(|k, v| of(v, k)), |d| sum(&d.map(|(k, v)| (v, k)), pair));
    bench.dataset("try_map", batch.records(|k, v| of(v, k)), |d| sum(&d.try_map(|(k, v)| Ok((v, k))), pair));
    bench.dataset("filter", batch.records(|k, v| if v % 2 == 0 { of(k, v) } else { 0 }), |d| {
        sum(&d.filter(|(_, v)| v % 2 == 0), pair)
    });
    bench.dataset("flat_map", batch.records(|k, v| k.wrapping_add(v)), |d| sum(&d.flat_map(|(k, v)| [k, v]), |n| n));
    bench.dataset("flat_map_ref", batch.records(|k, v| k.wrapping_add(v)), |d| {
        let both = |(k, v): &Pair, out: &mut tidemill::Emitter<'_, u64>| {
            out.emit(*k);
            out.emit(*v);
        };
        sum(&d.flat_map_ref(both), |n| n)
    });
    bench.dataset("map_partitions", all, |d| sum(&d.map_partitions(|part| part), pair));
    bench.dataset("map_partitions_with_index", all, |d| sum(&d.map_partitions_with_index(|_, part| part), pair));
    bench.dataset("glom", all, |d| {
        sum(&d.glom(), |part| part.into_iter().map(|(k, v)| of(k, v)).fold(0, u64::wrapping_add))
    });
    bench.dataset("key_by", batch.records(|k, v| v ^ of(k, v)), |d| {
        sum(&d.key_by(|(_, v)| *v), |(n, (k, v))| n ^ of(k, v))
    });
    bench.dataset("inspect", all, |d| sum(&d.inspect(|_| {}), pair));
    bench.dataset("keys", batch.records(|k, _| k), |d| sum(&d.keys(), |k| k));
    bench.dataset("values", batch.records(|_, v| v), |d| sum(&d.values(), |v| v));
    bench.dataset("map_values", batch.records(|k, v| of(k, v + 1)), |d| sum(&d.map_values(|v| v + 1), pair));
    bench.dataset("flat_map_values", batch.records(|k, v| of(k, v).wrapping_add(of(k, v + 1))), |d| {
        sum(&d.flat_map_values(|v| [v, v + 1]), pair)
    });
    bench.dataset("union", all.wrapping_mul(2), |d| sum(&d.union(d), pair));
    bench.dataset("coalesce", all, |d| sum(&d.coalesce(2), pair));
    bench.dataset("zip", batch.records(|k, v| of(k, v) ^ v), |d| sum(&d.zip(&d.values()), |((k, v), w)| of(k, v) ^ w));
    bench.dataset("zip_partitions", all, |d| sum(&d.zip_partitions(&d.keys(), |left, _| left), pair));
    let numbered = batch.pairs.iter().zip(0u64..).fold(0u64, |sum, ((k, v), n)| sum.wrapping_add(of(*k, *v) ^ n));
    bench.dataset("zip_with_index", numbered, |d| sum(&d.zip_with_index(), |((k, v), n)| of(k, v) ^ n));
    bench.dataset("zip_with_unique_id", RECORDS as u64, |d| d.zip_with_unique_id().count());
    bench.dataset("sample", 1, |d| {
        Ok(u64::from(d.sample(false, 0.5, 7).count()?.abs_diff(RECORDS as u64 / 2) < 20_000))
    });
    bench.dataset("sample with replacement", 1, |d| {
        Ok(u64::from(d.sample(true, 0.5, 7).count()?.abs_diff(RECORDS as u64 / 2) < 20_000))
    });
    bench.dataset("random_split", RECORDS as u64, |d| d.random_split(&[1.0, 2.0], 7).iter().map(Dataset::count).sum());
    bench.dataset("cartesian", batch.records(|k, v| of(k, v) + 8), |d| {
        sum(&d.cartesian(&bench.context.parallelize([8], 1)), |((k, v), n): (Pair, u64)| of(k, v) + n)
    });
    for level in [StorageLevel::MemoryOnly, StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly] {
        bench.dataset(&format!("persist, {level:?}, then read twice"), all.wrapping_mul(2), |d| {
            let kept = d.map(|pair| pair).persist_with(level);
            Ok(sum(&kept, pair)?.wrapping_add(sum(&kept, pair)?))
        });
    }
}

/// Operations that move records and leave them as they are.
fn moving(bench: &Bench<'_>) {
    let batch = bench.batch;
    let all = batch.records(of);
    let pair = |(key, value): Pair| of(key, value);
    bench.dataset("repartition", all, |d| sum(&d.repartition(7), pair));
    bench.dataset("partition_by", all, |d| sum(&d.partition_by(Partitions::new(7)), pair));
    let distinct: std::collections::BTreeSet<Pair> = batch.pairs.iter().copied().collect();
    let distinct = distinct.into_iter().fold(0u64, |sum, (k, v)| sum.wrapping_add(of(k, v)));
    bench.dataset("distinct", distinct, |d| sum(&d.distinct(), pair));
    bench.dataset("intersection", distinct, |d| sum(&d.intersection(d), pair));
    bench.dataset("subtract", 0, |d| d.subtract(d).count());
    let keys = batch.keys(|key, count, total| key ^ count ^ total);
    bench.dataset("group_by", keys, |d| {
        sum(&d.group_by(|(k, _)| *k), |(key, pairs)| {
            key ^ pairs.len() as u64 ^ pairs.iter().map(|(_, v)| v).sum::<u64>()
        })
    });
    let is_sorted = |parts: Vec<Vec<Pair>>, by: fn(&Pair) -> Pair| {
        let all = parts.concat();
        u64::from(all.len() == RECORDS && all.is_sorted_by_key(by))
    };
    bench.dataset("sort_by", 1, |d| {
        Ok(is_sorted(d.sort_by(|(k, v)| (*v, *k)).collect_partitions()?, |(k, v)| (*v, *k)))
    });
    bench.dataset("sort_by_key", 1, |d| Ok(is_sorted(d.sort_by_key().collect_partitions()?, |(k, _)| (*k, 0))));
    bench.dataset("repartition_and_sort_within_partitions", all, |d| {
        sum(&d.repartition_and_sort_within_partitions(Partitions::new(7)), pair)
    });
    bench.dataset("filter_by_range", batch.records(|k, v| if k < 1000 { of(k, v) } else { 0 }), |d| {
        sum(&d.filter_by_range(0..1000), pair)
    });
}

/// Operations that bring the values of a key together.
fn keyed(bench: &Bench<'_>) {
    let batch = bench.batch;
    let totals = batch.keys(|key, _, total| of(key, total));
    let pair = |(key, value): Pair| of(key, value);
    bench.dataset("reduce_by_key", totals, |d| sum(&d.reduce_by_key(|a, b| a + b), pair));
    bench.dataset("reduce_by_key of what is partitioned", totals, |d| {
        sum(&d.partition_by(Partitions::new(2)).reduce_by_key_with(|a, b| a + b, Partitions::new(2)), pair)
    });
    bench.dataset("reduce_by_key_ref", totals, |d| {
        sum(&d.reduce_by_key_ref(|(key, value), out| out.emit(key, *value), |a, b| a + b), pair)
    });
    bench.dataset("reduce_by_key_locally", totals, |d| {
        Ok(d.reduce_by_key_locally(|a, b| a + b)?.into_iter().map(pair).fold(0, u64::wrapping_add))
    });
    bench.dataset("count_by_value_ref", batch.keys(|key, count, _| of(key, count)), |d| {
        sum(&d.count_by_value_ref(|(key, _), keys| keys.emit(key)), pair)
    });
    bench.dataset("count_approx_distinct_by_key", 1000, |d| {
        d.map(|(k, v)| (v, k)).count_approx_distinct_by_key(0.1).filter(|(_, keys)| *keys > 0).count()
    });
    bench.dataset("group_by_key", totals, |d| sum(&d.group_by_key(), |(key, values)| of(key, values.iter().sum())));
    bench.dataset("combine_by_key", totals, |d| sum(&d.combine_by_key(|v| v, |a, v| a + v, |a, b| a + b), pair));
    bench.dataset("aggregate_by_key", totals, |d| sum(&d.aggregate_by_key(0, |a, v| a + v, |a, b| a + b), pair));
    bench.dataset("fold_by_key", totals, |d| sum(&d.fold_by_key(0, |a, b| a + b), pair));
    bench.dataset("count_by_value", batch.keys(|key, count, _| of(key, count)), |d| {
        Ok(d.keys().count_by_value()?.into_iter().map(|(key, count)| of(key, count)).fold(0, u64::wrapping_add))
    });
    let mut values: Vec<u64> = batch.pairs.iter().map(|(_, value)| *value).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    let largest = values[..100].iter().sum();
    bench.dataset("top_k_by_value", largest, |d| sum(&d.top_k_by_value(100), |(_, value)| value));
}

/// Operations on two datasets: the other one has every third key, once.
fn two(bench: &Bench<'_>) {
    let batch = bench.batch;
    let table = bench.context.parallelize((0..KEYS).step_by(3).map(|key| (key, key + 1)), 3);
    let has = |key: u64| key % 3 == 0;
    let keys = KEYS.div_ceil(3);
    let found = batch.records(|k, v| if has(k) { of(k, v) ^ (k + 1) } else { 0 });
    let missed = batch.records(|k, v| if has(k) { 0 } else { of(k, v) });
    let alone = (0..KEYS).step_by(3).filter(|key| !batch.keys.contains_key(key)).count() as u64;
    bench.dataset("join", found, |d| sum(&d.join(&table), |(k, (v, w))| of(k, v) ^ w));
    bench.dataset("left_outer_join", found.wrapping_add(missed), |d| {
        sum(&d.left_outer_join(&table), |(k, (v, w))| of(k, v) ^ w.unwrap_or(0))
    });
    bench.dataset("right_outer_join", found.wrapping_add(alone), |d| {
        sum(&d.right_outer_join(&table), |(k, (v, w))| v.map_or(1, |v| of(k, v) ^ w))
    });
    bench.dataset("full_outer_join", found.wrapping_add(missed).wrapping_add(alone), |d| {
        sum(&d.full_outer_join(&table), |(k, (v, w))| v.map_or(1, |v| of(k, v) ^ w.unwrap_or(0)))
    });
    bench.dataset("subtract_by_key", missed, |d| sum(&d.subtract_by_key(&table), |(k, v)| of(k, v)));
    let own =
        |key, values: Vec<u64>| if values.is_empty() { 0 } else { of(key, values.iter().sum()) ^ values.len() as u64 };
    let groups = batch.keys(|key, count, total| of(key, total) ^ count).wrapping_add(keys);
    bench.dataset("cogroup2", groups.wrapping_add(keys), |d| {
        let grouped = d.cogroup2(&table, &table);
        sum(&grouped, move |(key, (values, b, c))| own(key, values).wrapping_add((b.len() + c.len()) as u64))
    });
    bench.dataset("cogroup3", groups.wrapping_add(2 * keys), |d| {
        let grouped = d.cogroup3(&table, &table, &table);
        sum(&grouped, move |(key, (values, b, c, e))| {
            own(key, values).wrapping_add((b.len() + c.len() + e.len()) as u64)
        })
    });
    bench.dataset("cogroup", groups, |d| {
        sum(&d.cogroup(&table), move |(key, (values, others))| own(key, values).wrapping_add(others.len() as u64))
    });
}

/// Actions.
fn actions(bench: &Bench<'_>) {
    let batch = bench.batch;
    let total = batch.records(|_, v| v);
    let records = RECORDS as u64;
    bench.dataset("count", records, |d| d.map(|pair| pair).count());
    bench.dataset("collect", records, |d| Ok(d.collect()?.len() as u64));
    bench.dataset("take", 5, |d| Ok(d.map(|pair| pair).take(5)?.len() as u64));
    bench.dataset("reduce", total, |d| Ok(d.values().reduce(|a, b| a + b)?.unwrap_or(0)));
    bench.dataset("fold", total, |d| d.values().fold(0, |a, b| a + b));
    bench.dataset("aggregate", total, |d| d.aggregate(0, |sum, (_, v)| sum + v, |a, b| a + b));
    bench.dataset("tree_reduce", total, |d| Ok(d.values().tree_reduce(|a, b| a + b)?.unwrap_or(0)));
    bench.dataset("tree_aggregate", total, |d| d.tree_aggregate(0, |sum, (_, v)| sum + v, |a, b| a + b, 2));
    bench.dataset("sum", total, |d| d.values().sum::<u64>());
    bench.dataset("mean", total, |d| Ok((d.values().mean()?.unwrap_or(0.0) * RECORDS as f64).round() as u64));
    bench.dataset("take_sample", 100, |d| Ok(d.take_sample(false, 100, 7)?.len() as u64));
    bench.dataset("first", 1, |d| Ok(u64::from(d.first()?.is_some())));
    bench.dataset("is_empty", 0, |d| Ok(u64::from(d.is_empty()?)));
    bench.dataset("collect_partitions", records, |d| Ok(d.collect_partitions()?.iter().map(|p| p.len() as u64).sum()));
    let seen = AtomicU64::new(0);
    bench.dataset("foreach", total, |d| {
        seen.store(0, Ordering::Relaxed);
        d.foreach(|(_, v)| {
            seen.fetch_add(v, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(seen.load(Ordering::Relaxed))
    });
    bench.dataset("foreach_partition_with_index", total, |d| {
        seen.store(0, Ordering::Relaxed);
        d.foreach_partition_with_index(|_, pairs| {
            seen.fetch_add(pairs.map(|(_, v)| v).sum(), Ordering::Relaxed);
            Ok(())
        })?;
        Ok(seen.load(Ordering::Relaxed))
    });
    let folder = tempfile::tempdir().unwrap();
    bench.dataset("save_as_object_file, then object_file", total, |d| {
        let path = folder.path().join("objects");
        d.save_as_object_file(&path)?;
        let read = sum(&bench.context.object_file::<Pair>(&path), |(_, v)| v);
        std::fs::remove_dir_all(&path).unwrap();
        read
    });
    bench.dataset("save_as_text_file, then text_file", total, |d| {
        let path = folder.path().join("texts");
        d.values().save_as_text_file(&path)?;
        let read = sum(&bench.context.text_file(&path), |line| line.parse::<u64>().unwrap_or(0));
        std::fs::remove_dir_all(&path).unwrap();
        read
    });
    bench.dataset("pipe", total, |d| {
        sum(&d.values().pipe(|| std::process::Command::new("cat")), |line| line.parse::<u64>().unwrap_or(0))
    });
    bench.dataset("max", 999, |d| Ok(d.values().max()?.unwrap_or(0)));
    bench.dataset("min", 0, |d| Ok(d.values().min()?.unwrap_or(7)));
    bench.dataset("top", 999 * 100, |d| Ok(d.values().top(100)?.iter().sum()));
    bench.dataset("take_ordered", 0, |d| Ok(d.values().take_ordered(100)?.iter().sum()));
    bench.dataset("stats", total, |d| Ok(d.map(|(_, v)| v as f64).stats()?.sum().round() as u64));
    bench.dataset("histogram", records, |d| Ok(d.map(|(_, v)| v as f64).histogram(10)?.1.iter().sum()));
    bench.dataset("count_by_key", batch.keys.len() as u64, |d| Ok(d.count_by_key()?.len() as u64));
    bench.dataset("collect_as_map", batch.keys.len() as u64, |d| Ok(d.collect_as_map()?.len() as u64));
    let (key, (count, _)) = batch.keys.iter().next().unwrap();
    bench.dataset("lookup", *count, |d| Ok(d.lookup(key)?.len() as u64));
    bench.dataset("count_approx_distinct", 1, |d| {
        let counted = d.keys().count_approx_distinct(0.01)?;
        Ok(u64::from(counted.abs_diff(batch.keys.len() as u64) < batch.keys.len() as u64 / 30))
    });
    bench.dataset("to_local_iterator", records, |d| d.to_local_iterator().map(|pair| pair.map(|_| 1)).sum());
}

/// Operators of `DStream` that look at more than one batch, or do more than lift an operation of `Dataset`.
fn streams(bench: &Bench<'_>) {
    let batch = bench.batch;
    let totals = batch.keys(|key, _, total| of(key, total));
    let counts = batch.keys(|key, count, _| of(key, count));
    let (records, total) = (RECORDS as u64, batch.records(|_, v| v));
    let pair = |(key, value): Pair| of(key, value);
    bench.stream("stream, count", records, |s| s.count(), |n| n);
    bench.stream("stream, reduce", total, |s| s.map(|(_, v)| v).reduce(|a, b| a + b), |n| n);
    bench.stream("stream, count_by_value", counts, |s| s.map(|(k, _)| k).count_by_value(), pair);
    bench.stream("stream, window", batch.records(of), |s| s.window(2 * SECOND, SECOND), pair);
    bench.stream(
        "stream, reduce_by_window",
        total,
        |s| s.map(|(_, v)| v).reduce_by_window(|a, b| a + b, 2 * SECOND, SECOND),
        |n| n,
    );
    bench.stream(
        "stream, reduce_by_window_inverse",
        total,
        |s| s.map(|(_, v)| v).reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, 2 * SECOND, SECOND),
        |n| n,
    );
    bench.stream(
        "stream, filter_keys",
        batch.records(|k, v| if k % 2 == 0 { of(k, v) } else { 0 }),
        |s| s.filter_keys(|key, _| key % 2 == 0),
        pair,
    );
    bench.stream(
        "stream, slice",
        batch.records(of),
        |s| {
            s.clone().transform(move |batch, time| {
                Ok(s.slice(time, time)?.iter().fold(batch.filter(|_| false), |all, slice| all.union(slice)))
            })
        },
        pair,
    );
    bench.stream("stream, count_by_window", records, |s| s.count_by_window(2 * SECOND, SECOND), |n| n);
    bench.stream(
        "stream, count_by_value_and_window",
        counts,
        |s| s.map(|(k, _)| k).count_by_value_and_window(2 * SECOND, SECOND),
        pair,
    );
    bench.stream(
        "stream, group_by_key_and_window",
        totals,
        |s| s.group_by_key_and_window(2 * SECOND, SECOND),
        |(key, values)| of(key, values.iter().sum()),
    );
    bench.stream(
        "stream, reduce_by_key_and_window",
        totals,
        |s| s.reduce_by_key_and_window(|a, b| a + b, 2 * SECOND, SECOND),
        pair,
    );
    bench.stream(
        "stream, reduce_by_key_and_window_inverse",
        batch.keys(|key, _, total| if total > 0 { of(key, total) } else { 0 }),
        |s| {
            s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * SECOND, SECOND)
                .filter_keys(|_, n| *n > 0)
        },
        pair,
    );
}
