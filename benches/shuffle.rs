//! Reducing by key, beside a table a thread and a merge.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    common::bench_cases(criterion, common::shuffle::CASES);
}

criterion_group!(shuffle, benches);
criterion_main!(shuffle);
