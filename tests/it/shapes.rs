//! Every operator of a stream on every shape of a batch: nothing, one record, fewer records than partitions, a key that
//! has nearly all, many keys; in one partition and in several; typed and encoded. The last test sees to it that none is
//! left out. Batches of ten million records are for `benches/operators.rs`.

#![expect(clippy::type_complexity, reason = "what comes out of a cogroup is best read where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use tidemill::testing::TestRun;
use tidemill::{
    DStream, Data, InputBatch, KeyState, Partitions, Result, Source, SourceContext, StateSpec, StorageLevel, Time,
    UpdateSpec,
};

use crate::harness::{SECOND, every_run};
use crate::spark_names::methods;

const THREE: Partitions = Partitions::new(3);

type Pairs = Vec<(u8, i64)>;

/// Nothing; one record; fewer records than partitions; a key that has nearly everything; many keys; nothing again.
fn awkward() -> [Pairs; 6] {
    let skewed = (0..3000).map(|n| (if n % 1000 == 999 { 1 + (n / 1000) as u8 } else { 0 }, n)).collect();
    let many = (0..2000).map(|n| (((n * 7) % 251) as u8, n)).collect();
    [vec![], vec![(7, 7)], vec![(1, 1), (2, 2), (1, 3)], skewed, many, vec![]]
}

/// An input whose empty batches have no partition at all, as that of a Kafka pattern which nothing matches yet.
struct Sparse(std::vec::IntoIter<Pairs>, Option<SourceContext>);

impl Source<(u8, i64)> for Sparse {
    fn name(&self) -> String {
        "sparse".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.1 = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<(u8, i64)>>> {
        let context = self.1.as_ref().expect("it was started");
        let pairs = self.0.next().unwrap_or_default();
        let (records, description) = (pairs.len() as u64, String::new());
        let partitions = if pairs.is_empty() { Vec::new() } else { vec![pairs] };
        Ok(Some(InputBatch { dataset: context.dataset(partitions), records, description, plan: Vec::new() }))
    }
}

/// Compares what a stream becomes with what a plain function makes of each batch, in every run, order aside.
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
    let sparse = || Sparse(awkward().to_vec().into_iter(), None);
    let out = TestRun::new().run_with_context(awkward(), |context, _| build(context.input(sparse())));
    let out = out.unwrap_or_else(|error| panic!("{name}, of no partitions: {error}")).sorted();
    assert!(out.batches() == expected, "{name}, of no partitions");
}

pub(crate) fn groups(pairs: Pairs) -> BTreeMap<u8, Vec<i64>> {
    let mut groups = BTreeMap::<u8, Vec<i64>>::new();
    pairs.into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
    groups
}

pub(crate) fn sums(pairs: Pairs) -> Pairs {
    groups(pairs).into_iter().map(|(key, values)| (key, values.iter().sum())).collect()
}

/// Checks operators, and knows which.
#[derive(Default)]
struct Table(BTreeSet<&'static str>);

impl Table {
    #[track_caller]
    fn check<U: Data + Ord + Debug>(
        &mut self,
        name: &'static str,
        build: impl Fn(DStream<(u8, i64)>) -> DStream<U>,
        plainly: impl Fn(Pairs) -> Vec<U>,
    ) {
        check(name, build, plainly);
        self.0.insert(name);
    }
}

/// Sorts values that come in the order of partitions.
fn sorted<K>((key, mut values): (K, Vec<i64>)) -> (K, Vec<i64>) {
    values.sort();
    (key, values)
}

fn counts<T: Ord>(records: impl IntoIterator<Item = T>) -> Vec<(T, u64)> {
    let mut counts = BTreeMap::new();
    records.into_iter().for_each(|record| *counts.entry(record).or_insert(0) += 1);
    counts.into_iter().collect()
}

/// The other side of what takes two streams: the even keys, each once, as their square.
fn squares(pairs: &DStream<(u8, i64)>) -> DStream<(u8, u32)> {
    pairs.map(|(key, _)| key).distinct().filter(|key| key % 2 == 0).map(|key| (key, u32::from(key) * u32::from(key)))
}

fn square(key: u8) -> Option<u32> {
    (key % 2 == 0).then(|| u32::from(key) * u32::from(key))
}

fn records(table: &mut Table) {
    let plus = |(key, value): (u8, i64)| value + i64::from(key);
    table.check("map", move |s| s.map(plus), |b| b.into_iter().map(plus).collect());
    table.check("try_map", move |s| s.try_map(move |pair| Ok(plus(pair))), |b| b.into_iter().map(plus).collect());
    table.check("filter", |s| s.filter(|(_, v)| v % 3 == 0), |b| b.into_iter().filter(|(_, v)| v % 3 == 0).collect());
    let up_to = |value: i64| 0..value % 4;
    table.check(
        "flat_map",
        move |s| s.flat_map(move |(_, v)| up_to(v)),
        |b| b.iter().flat_map(|p| up_to(p.1)).collect(),
    );
    table.check(
        "flat_map_ref",
        move |s| s.flat_map_ref(move |(_, v), out| out.extend(up_to(*v))),
        |b| b.iter().flat_map(|p| up_to(p.1)).collect(),
    );
    table.check("map_partitions", |s| s.map_partitions(|part| part), |b| b);
    table.check("map_partitions_with_index", |s| s.map_partitions_with_index(|_, part| part), |b| b);
    table.check("glom", |s| s.glom().flat_map(|part| part), |b| b);
    table.check("key_by", |s| s.key_by(|(_, v)| v % 5), |b| b.into_iter().map(|p| (p.1 % 5, p)).collect());
    table.check("inspect", |s| s.inspect(|(key, _)| assert!(*key < 255)), |b| b);
    table.check("repartition", |s| s.repartition(3), |b| b);
    table.check(
        "union",
        |s| s.union(&s.filter(|(k, _)| *k > 0)),
        |b| b.iter().chain(b.iter().filter(|(k, _)| *k > 0)).copied().collect(),
    );
    table.check("transform", |s| s.transform(|batch, _| Ok(batch.sort_by_key())), |b| b);
    table.check(
        "transform_with",
        |s| s.transform_with(&squares(&s), |left, right, _| Ok(left.keys().union(&right.keys()))),
        |b| {
            let keys: BTreeSet<u8> = b.iter().map(|p| p.0).filter(|key| key % 2 == 0).collect();
            b.iter().map(|p| p.0).chain(keys).collect()
        },
    );
    table.check("count", |s| s.count(), |b| vec![b.len() as u64]);
    table.check("reduce", |s| s.map(|p| p.1).reduce(i64::max), |b| b.iter().map(|p| p.1).max().into_iter().collect());
    table.check("count_by_value", |s| s.map(|p| p.0).count_by_value(), |b| counts(b.into_iter().map(|p| p.0)));
    table.check(
        "count_by_value_with",
        |s| s.map(|p| p.0).count_by_value_with(THREE),
        |b| counts(b.into_iter().map(|p| p.0)),
    );
    table.check(
        "count_by_value_ref",
        |s| s.map(|p| p.0.to_string()).count_by_value_ref(|text, out| out.emit(&text[..1])),
        |b| counts(b.into_iter().map(|p| p.0.to_string()[..1].to_string())),
    );
    let keys = |b: Pairs| b.into_iter().map(|p| p.0).collect::<BTreeSet<_>>().into_iter().collect();
    table.check("distinct", |s| s.map(|p| p.0).distinct(), keys);
    table.check("distinct_with", |s| s.map(|p| p.0).distinct_with(THREE), keys);
    table.check("persist", |s| s.persist(), |b| b);
    table.check("cache", |s| s.map(|pair| pair).cache(), |b| b);
    for level in [StorageLevel::MemoryOnly, StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly] {
        table.check("persist_with", move |s| s.persist_with(level), |b| b);
    }
    table.check(
        "slice",
        |s| {
            s.clone()
                .transform(move |batch, time| Ok(s.slice(time, time)?.iter().fold(batch, |all, own| all.union(own))))
        },
        |b| [b.clone(), b].concat(),
    );
    table.check(
        "slice_interval",
        |s| {
            s.clone().transform(move |batch, time| {
                let own = s.slice_interval(tidemill::Interval::new(time, time))?;
                Ok(own.iter().fold(batch, |all, own| all.union(own)))
            })
        },
        |b| [b.clone(), b].concat(),
    );
}

fn pairs(table: &mut Table) {
    table.check("map_values", |s| s.map_values(|v| v * 2), |b| b.into_iter().map(|(k, v)| (k, v * 2)).collect());
    table.check(
        "flat_map_values",
        |s| s.flat_map_values(|v| [v, -v]),
        |b| b.into_iter().flat_map(|(k, v)| [(k, v), (k, -v)]).collect(),
    );
    let is_odd = |key: u8, value: i64| (i64::from(key) + value) % 2 != 0;
    table.check(
        "filter_keys",
        move |s| s.filter_keys(move |key, value| is_odd(*key, *value)),
        |b| b.into_iter().filter(|(k, v)| is_odd(*k, *v)).collect(),
    );
    table.check("reduce_by_key", |s| s.reduce_by_key(|a, b| a + b), sums);
    table.check("reduce_by_key_with", |s| s.reduce_by_key_with(|a, b| a + b, THREE), sums);
    table.check("reduce_by_key_ref", |s| s.reduce_by_key_ref(|(key, v), out| out.emit(key, *v), |a, b| a + b), sums);
    let grouped = |b| groups(b).into_iter().map(sorted).collect();
    table.check("group_by_key", |s| s.group_by_key().map(sorted), grouped);
    table.check("group_by_key_with", |s| s.group_by_key_with(THREE).map(sorted), grouped);
    table.check("combine_by_key", |s| s.combine_by_key(|v| v, |a, v| a + v, |a, b| a + b), sums);
    table.check("combine_by_key_with", |s| s.combine_by_key_with(|v| v, |a, v| a + v, |a, b| a + b, THREE), sums);
    table.check("aggregate_by_key", |s| s.aggregate_by_key(0, |a, v| a + v, |a, b| a + b), sums);
    table.check("aggregate_by_key_with", |s| s.aggregate_by_key_with(0, |a, v| a + v, |a, b| a + b, THREE), sums);
    table.check("fold_by_key", |s| s.fold_by_key(0, |a, b| a + b), sums);
    table.check("fold_by_key_with", |s| s.fold_by_key_with(0, |a, b| a + b, THREE), sums);
    table.check(
        "top_k_by_value",
        |s| s.top_k_by_value(2).map(|p| p.1),
        |b| {
            let mut values: Vec<i64> = b.into_iter().map(|p| p.1).collect();
            values.sort_by(|a, b| b.cmp(a));
            values.truncate(2);
            values
        },
    );
}

/// The shapes are looked at batch by batch: keys that are not in a batch lose their state.
fn states(table: &mut Table) {
    let total = |values: Vec<i64>, _: Option<i64>| (!values.is_empty()).then(|| values.iter().sum());
    table.check("update_state_by_key", move |s| s.update_state_by_key(total), sums);
    table.check(
        "update_state_by_key_with",
        move |s| s.update_state_by_key_with(UpdateSpec::function(total).partitions(THREE)),
        sums,
    );
    table.check(
        "map_with_state",
        |s| {
            let spec = StateSpec::function(|key: &u8, value: Option<i64>, state: &mut KeyState<u64>| {
                state.update(state.get().unwrap_or(&0) + 1);
                (*key, value.unwrap_or(-1))
            });
            s.map_with_state(spec).mapped()
        },
        |b| b,
    );
}

fn two_sides(table: &mut Table) {
    let inner = |b: Pairs| b.into_iter().filter_map(|(k, v)| Some((k, (v, square(k)?)))).collect();
    table.check("join", |s| s.join(&squares(&s)), inner);
    table.check("join_with", |s| s.join_with(&squares(&s), THREE), inner);
    let left = |b: Pairs| b.into_iter().map(|(k, v)| (k, (v, square(k)))).collect();
    table.check("left_outer_join", |s| s.left_outer_join(&squares(&s)), left);
    table.check("left_outer_join_with", |s| s.left_outer_join_with(&squares(&s), THREE), left);
    // The left side lacks the squares of 0 and 4; a key of its own is not among the squares if it is odd.
    let some = |s: &DStream<(u8, i64)>| s.filter(|(key, _)| key % 4 != 0);
    let missing = |b: &Pairs| b.iter().map(|p| p.0).filter(|key| key % 4 == 0).collect::<BTreeSet<u8>>();
    let right = |b: Pairs| {
        let alone = missing(&b).into_iter().filter_map(|k| Some((k, (None, square(k)?))));
        let both = b.iter().filter(|p| p.0 % 4 != 0).filter_map(|(k, v)| Some((*k, (Some(*v), square(*k)?))));
        both.chain(alone).collect()
    };
    table.check("right_outer_join", |s| some(&s).right_outer_join(&squares(&s)), right);
    table.check("right_outer_join_with", |s| some(&s).right_outer_join_with(&squares(&s), THREE), right);
    let full = |b: Pairs| {
        let alone = missing(&b).into_iter().map(|k| (k, (None, square(k))));
        let own = b.iter().filter(|p| p.0 % 4 != 0).map(|(k, v)| (*k, (Some(*v), square(*k))));
        own.chain(alone).collect()
    };
    table.check("full_outer_join", |s| some(&s).full_outer_join(&squares(&s)), full);
    table.check("full_outer_join_with", |s| some(&s).full_outer_join_with(&squares(&s), THREE), full);
    let others = |b: Pairs| b.into_iter().filter(|p| p.0 % 2 != 0).collect();
    table.check("subtract_by_key", |s| s.subtract_by_key(&squares(&s)), others);
    table.check("subtract_by_key_with", |s| s.subtract_by_key_with(&squares(&s), THREE), others);
    type Group = (u8, (Vec<i64>, Vec<u32>));
    let group = |b: Pairs| groups(b).into_iter().map(sorted).map(|(k, v)| (k, (v, Vec::from_iter(square(k)))));
    let in_order = |(key, (values, squares)): Group| (key, (sorted(((), values)).1, squares));
    table.check("cogroup", |s| s.cogroup(&squares(&s)).map(in_order), move |b| group(b).collect());
    table.check("cogroup_with", |s| s.cogroup_with(&squares(&s), THREE).map(in_order), move |b| group(b).collect());
    // A third side of as many records as the first, and a fourth of none.
    let ones = |s: &DStream<(u8, i64)>| s.map_values(|_| ());
    let third = move |b: Pairs| group(b).map(|(k, (v, w))| (k, (v.clone(), w, vec![(); v.len()]))).collect();
    let of_third = move |(k, (v, w, x))| {
        let (k, (v, w)) = in_order((k, (v, w)));
        (k, (v, w, x))
    };
    table.check("cogroup2", |s| s.cogroup2(&squares(&s), &ones(&s)).map(of_third), third);
    table.check("cogroup2_with", |s| s.cogroup2_with(&squares(&s), &ones(&s), THREE).map(of_third), third);
    let none = |s: &DStream<(u8, i64)>| s.filter(|_| false);
    let of_fourth = move |(k, (v, w, x, none)): (u8, (Vec<i64>, Vec<u32>, Vec<()>, Vec<i64>))| {
        assert!(none.is_empty());
        of_third((k, (v, w, x)))
    };
    table.check("cogroup3", |s| s.cogroup3(&squares(&s), &ones(&s), &none(&s)).map(of_fourth), third);
    table.check("cogroup3_with", |s| s.cogroup3_with(&squares(&s), &ones(&s), &none(&s), THREE).map(of_fourth), third);
}

/// Windows of one batch, which hold what the batch does. Longer ones are for `windows.rs`.
fn windows(table: &mut Table) {
    table.check("window", |s| s.window(SECOND, SECOND), |b| b);
    let largest = |b: Pairs| b.into_iter().map(|p| p.1).max().into_iter().collect();
    table.check("reduce_by_window", |s| s.map(|p| p.1).reduce_by_window(i64::max, SECOND, SECOND), largest);
    let mut seen = false;
    let total = move |b: Pairs| {
        seen |= !b.is_empty();
        if seen { vec![b.into_iter().map(|p| p.1).sum::<i64>()] } else { vec![] }
    };
    check_in_order(
        "reduce_by_window_inverse",
        |s| s.map(|p| p.1).reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, SECOND, SECOND),
        total,
    );
    let mut seen = false;
    let number = move |b: Pairs| {
        seen |= !b.is_empty();
        if seen { vec![b.len() as u64] } else { vec![] }
    };
    check_in_order("count_by_window", |s| s.count_by_window(SECOND, SECOND), number);
    table.0.extend(["reduce_by_window_inverse", "count_by_window"]);
    let by_key = |b: Pairs| counts(b.into_iter().map(|p| p.0));
    table.check("count_by_value_and_window", |s| s.map(|p| p.0).count_by_value_and_window(SECOND, SECOND), by_key);
    table.check(
        "count_by_value_and_window_with",
        |s| s.map(|p| p.0).count_by_value_and_window_with(SECOND, SECOND, THREE),
        by_key,
    );
    let grouped = |b| groups(b).into_iter().map(sorted).collect();
    table.check("group_by_key_and_window", |s| s.group_by_key_and_window(SECOND, SECOND).map(sorted), grouped);
    table.check(
        "group_by_key_and_window_with",
        |s| s.group_by_key_and_window_with(SECOND, SECOND, THREE).map(sorted),
        grouped,
    );
    table.check("reduce_by_key_and_window", |s| s.reduce_by_key_and_window(|a, b| a + b, SECOND, SECOND), sums);
    table.check(
        "reduce_by_key_and_window_with",
        |s| s.reduce_by_key_and_window_with(|a, b| a + b, SECOND, SECOND, THREE),
        sums,
    );
    // A count beside each sum tells keys that are gone.
    let of = |s: &DStream<(u8, i64)>| s.map_values(|v| (v, 1u64));
    let (add, take) =
        (|a: (i64, u64), b: (i64, u64)| (a.0 + b.0, a.1 + b.1), |a: (i64, u64), b: (i64, u64)| (a.0 - b.0, a.1 - b.1));
    table.check(
        "reduce_by_key_and_window_inverse",
        move |s| {
            let sums = of(&s).reduce_by_key_and_window_inverse(add, take, SECOND, SECOND);
            sums.filter_keys(|_, (_, count)| *count > 0).map_values(|(sum, _)| sum)
        },
        sums,
    );
    table.check(
        "reduce_by_key_and_window_inverse_with",
        move |s| {
            let sums = of(&s).reduce_by_key_and_window_inverse_with(add, take, SECOND, SECOND, THREE);
            sums.filter_keys(|_, (_, count)| *count > 0).map_values(|(sum, _)| sum)
        },
        sums,
    );
}

/// As [`check`], for what depends on the batches before.
#[track_caller]
fn check_in_order<U: Data + Ord + Debug>(
    name: &str,
    build: impl Fn(DStream<(u8, i64)>) -> DStream<U>,
    plainly: impl FnMut(Pairs) -> Vec<U>,
) {
    let expected: Vec<Vec<U>> = awkward().into_iter().map(plainly).collect();
    for run in every_run() {
        let out = run.run(awkward(), &build).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(out.batches(), expected, "{name} by {run:?}");
    }
}

#[test]
fn every_operator_on_every_shape() {
    let mut table = Table::default();
    records(&mut table);
    pairs(&mut table);
    states(&mut table);
    two_sides(&mut table);
    windows(&mut table);
    // Outputs have tests of their own, in `vectors.rs`, `outputs.rs` and `tests/kafka/output.rs`.
    let others = [
        "foreach_batch",
        "print",
        "print_first",
        "save_as_text_files",
        "save_as_object_files",
        "write_to_kafka",
        "named",
        "slide_duration",
        "storage_level",
        // Nothing without a checkpoint directory: tests/it/recovery.rs.
        "checkpoint",
        "checkpoint_interval",
        "state_info",
    ];
    let missing: Vec<_> = methods("src/dstream", "DStream")
        .into_iter()
        .filter(|method| !table.0.contains(method.as_str()) && !others.contains(&method.as_str()))
        .collect();
    assert!(missing.is_empty(), "not checked: {missing:?}");
}

/// An input that has no batch at a time: what needs one says so, all others go on.
#[test]
fn every_way_to_do_without_a_batch() {
    let input = || [Some(vec![(1u8, 1i64)]), None, Some(vec![(2, 2)])];
    let runs = |build: fn(DStream<(u8, i64)>) -> DStream<(u8, i64)>| TestRun::new().run(input(), build).is_ok();
    assert!(runs(|s| s.reduce_by_key(|a, b| a + b)));
    assert!(runs(|s| s.distinct()));
    assert!(runs(|s| s.reduce_by_key_and_window(|a, b| a + b, 2 * SECOND, SECOND)));
    assert!(!runs(|s| s.repartition(2)));
    assert!(!runs(|s| s.join(&s).map_values(|(v, _)| v)));
    assert!(!runs(|s| s.cogroup(&s).map_values(|(v, _)| v.len() as i64)));
    assert!(!runs(|s| s.union(&s)));
}
