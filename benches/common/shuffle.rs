//! Reducing by key. By hand: a table a thread, then all of them merged into the first.

use std::hash::Hash;
use std::sync::Arc;

use ahash::AHashMap;
use compact_str::CompactString;
use rayon::prelude::*;
use tidemill::{Key, StreamingContext};

use super::data::{lines, parts, scramble, uniform_pairs, zipf_pairs};
use super::{Case, MakeCase, Side, Size, side};

pub const CASES: &[MakeCase] = &[words_as_strings, words_as_small_strings, words_by_reference, zipf, uniform];

/// As many as the threads of the machine.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Counts, or sums, a part a thread, and merges the tables of the threads.
fn map_and_merge<'a, T: Sync, K: Hash + Eq + Send + 'a>(
    parts: &'a [Vec<T>],
    add: impl Fn(&'a T, &mut AHashMap<K, u64>) + Sync,
) -> AHashMap<K, u64> {
    let part = |part: &'a Vec<T>| {
        let mut table = AHashMap::new();
        part.iter().for_each(|record| add(record, &mut table));
        table
    };
    let merge = |mut all: AHashMap<K, u64>, other: AHashMap<K, u64>| {
        // Not to fill one table in the order of the other while it still grows, which clusters.
        all.reserve(other.len());
        other.into_iter().for_each(|(key, count)| *all.entry(key).or_default() += count);
        all
    };
    parts.par_iter().map(part).reduce_with(merge).unwrap_or_default()
}

/// Takes counts so that a lost, doubled or miscounted key shows.
fn checksum(sum: u64, count: u64) -> u64 {
    sum.wrapping_add(count.wrapping_mul(count | 1))
}

fn words_by_hand(lines: &[String]) -> Side {
    let lines = Arc::new(parts(lines, threads()));
    side(move || {
        let counts = map_and_merge(&lines, |line: &String, counts: &mut AHashMap<&str, u64>| {
            line.split(' ').for_each(|word| *counts.entry(word).or_default() += 1);
        });
        counts.into_values().fold(0, checksum)
    })
}

fn words<K: Key>(name: &'static str, target: f64, size: Size, key: fn(&str) -> K) -> Case {
    let lines = lines(size.records(500_000), 3);
    let context = StreamingContext::builder("shuffle").build().unwrap();
    let dataset = context.parallelize(lines.iter().cloned(), threads());
    Case {
        name,
        records: lines.len() * 10,
        target: Some(target),
        hand: words_by_hand(&lines),
        ours: side(move || {
            let pairs =
                dataset.flat_map_ref(move |line, out| line.split(' ').for_each(|word| out.emit((key(word), 1u64))));
            let counts = pairs.reduce_by_key(|a, b| a + b);
            counts.aggregate(0, |sum, (_, count)| checksum(sum, count), u64::wrapping_add).unwrap()
        }),
    }
}

fn words_as_strings(size: Size) -> Case {
    words("word count, String keys", 1.6, size, str::to_string)
}

fn words_as_small_strings(size: Size) -> Case {
    words("word count, small-string keys", 1.1, size, |word| CompactString::from(word))
}

/// Words that are copied at their first sight only.
fn words_by_reference(size: Size) -> Case {
    let lines = lines(size.records(500_000), 3);
    let context = StreamingContext::builder("shuffle").build().unwrap();
    let dataset = context.parallelize(lines.iter().cloned(), threads());
    Case {
        name: "word count, borrowed keys",
        records: lines.len() * 10,
        target: Some(1.1),
        hand: words_by_hand(&lines),
        ours: side(move || {
            let counts = dataset
                .reduce_by_key_ref(|line, out| line.split(' ').for_each(|word| out.emit(word, 1u64)), |a, b| a + b);
            counts.aggregate(0, |sum, (_, count)| checksum(sum, count), u64::wrapping_add).unwrap()
        }),
    }
}

fn sums(name: &'static str, target: f64, pairs: Vec<(u64, u64)>) -> Case {
    let context = StreamingContext::builder("shuffle").build().unwrap();
    let by_hand = Arc::new(parts(&pairs, threads()));
    let records = pairs.len();
    let dataset = context.parallelize(pairs, threads());
    Case {
        name,
        records,
        target: Some(target),
        hand: side(move || {
            let sums = map_and_merge(&by_hand, |&(key, value): &(u64, u64), sums: &mut AHashMap<u64, u64>| {
                *sums.entry(key).or_default() += value;
            });
            sums.into_values().fold(0, checksum)
        }),
        ours: side(move || {
            let sums = dataset.reduce_by_key(|a, b| a + b);
            sums.aggregate(0, |sum, (_, value)| checksum(sum, value), u64::wrapping_add).unwrap()
        }),
    }
}

fn zipf(size: Size) -> Case {
    sums("(u64, u64), Zipf over 1 M keys", 1.1, zipf_pairs(size.records(5_000_000), 1_000_000, 4, scramble))
}

fn uniform(size: Size) -> Case {
    sums("(u64, u64), uniform over 10 M keys", 0.6, uniform_pairs(size.records(10_000_000), 10_000_000, 5))
}
