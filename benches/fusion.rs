//! Chains of narrow operators, beside a hand-written rayon loop over the same data.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    common::bench_cases(criterion, common::fusion::CASES);
}

criterion_group!(fusion, benches);
criterion_main!(fusion);
