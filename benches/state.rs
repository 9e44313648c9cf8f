//! Running sums by key, beside hand-written maps.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    common::bench_cases(criterion, common::state::CASES);
}

criterion_group!(state, benches);
criterion_main!(state);
