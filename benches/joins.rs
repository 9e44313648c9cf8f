//! Joins by key, beside hash joins by hand over the same partitions.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    common::bench_cases(criterion, common::joins::CASES);
}

criterion_group!(joins, benches);
criterion_main!(joins);
