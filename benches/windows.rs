//! Sliding sums by key, beside hand-written panes and live tables.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    common::bench_cases(criterion, common::windows::CASES);
}

criterion_group!(windows, benches);
criterion_main!(windows);
