//! Chains of narrow operators.

use std::sync::Arc;

use rayon::prelude::*;
use tidemill::{Dataset, StreamingContext};

use super::data::{Random, lines, parts};
use super::{Case, MakeCase, Size, side};

pub const CASES: &[MakeCase] = &[from_memory, in_cache, strings, strings_by_reference];

const PARTITIONS: usize = 8;

fn numbers(records: usize) -> Vec<u64> {
    let mut random = Random::new(1);
    (0..records).map(|_| random.next()).collect()
}

#[inline]
fn scale(n: u64) -> u64 {
    n.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[inline]
fn wanted(n: &u64) -> bool {
    n & 0x300 != 0
}

fn hand(numbers: &[u64]) -> u64 {
    numbers.iter().map(|&n| scale(n)).filter(wanted).map(|n| n >> 7).fold(0, u64::wrapping_add)
}

fn ours(numbers: &Dataset<u64>) -> u64 {
    let chain = numbers.map(scale).filter(wanted).map(|n| n >> 7);
    chain.aggregate(0, u64::wrapping_add, u64::wrapping_add).unwrap()
}

/// `map`, `filter`, `map`, sum over numbers that lie in memory.
fn from_memory(size: Size) -> Case {
    let numbers = numbers(size.records(32 << 20));
    let records = numbers.len();
    let context = StreamingContext::builder("fusion").build().unwrap();
    let by_hand = Arc::new(parts(&numbers, PARTITIONS));
    let dataset = context.parallelize(numbers, PARTITIONS);
    Case {
        name: "u64 map filter map sum, from memory",
        records,
        target: Some(1.15),
        hand: side(move || by_hand.par_iter().map(|part| hand(part)).reduce(|| 0, u64::wrapping_add)),
        ours: side(move || ours(&dataset)),
    }
}

/// The same over 64 Ki numbers, again and again: too few to be worth a second thread.
fn in_cache(size: Size) -> Case {
    let numbers = Arc::new(numbers(1 << 16));
    let rounds = size.records(1000) / if size == Size::Test { 100 } else { 1 };
    let context = StreamingContext::builder("fusion").workers(1).build().unwrap();
    let dataset = context.parallelize(numbers.iter().copied(), 1);
    Case {
        name: "u64 map filter map sum, in cache",
        records: numbers.len() * rounds,
        target: Some(2.0),
        hand: side(move || (0..rounds).fold(0, |sum: u64, _| sum.wrapping_add(hand(std::hint::black_box(&numbers))))),
        ours: side(move || (0..rounds).fold(0, |sum: u64, _| sum.wrapping_add(ours(&dataset)))),
    }
}

/// Lines of text: those of some lengths in upper case, and the sum of their bytes' values. `map` takes records, so lines
/// that belong to the input are cloned for it.
fn strings(size: Size) -> Case {
    lines_case("lines filter map sum", size, |lines| {
        let shouted = lines.filter(|line| wanted_line(line)).map(|line| line.to_ascii_uppercase());
        shouted.map(|line| weigh(&line))
    })
}

/// The same with an operator that looks at records and clones none.
fn strings_by_reference(size: Size) -> Case {
    lines_case("lines flat_map_ref sum", size, |lines| {
        lines.flat_map_ref(|line, out| {
            if wanted_line(line) {
                out.emit(weigh(&line.to_ascii_uppercase()));
            }
        })
    })
}

fn wanted_line(line: &str) -> bool {
    line.len() % 3 != 0
}

fn weigh(line: &str) -> u64 {
    line.bytes().map(u64::from).sum()
}

fn lines_case(name: &'static str, size: Size, weights: fn(&Dataset<String>) -> Dataset<u64>) -> Case {
    let lines = lines(size.records(400_000), 2);
    let context = StreamingContext::builder("fusion").build().unwrap();
    let by_hand = Arc::new(parts(&lines, PARTITIONS));
    let dataset = context.parallelize(lines.iter().cloned(), PARTITIONS);
    Case {
        name,
        records: lines.len(),
        target: None,
        hand: side(move || {
            let part = |part: &Vec<String>| {
                let shouted = part.iter().filter(|line| wanted_line(line)).map(|line| line.to_ascii_uppercase());
                shouted.map(|line| weigh(&line)).sum::<u64>()
            };
            by_hand.par_iter().map(part).sum()
        }),
        ours: side(move || weights(&dataset).aggregate(0, |a, b| a + b, |a, b| a + b).unwrap()),
    }
}
