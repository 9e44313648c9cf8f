//! The tick of an empty batch through ten operators with one shuffle: the whole way from the clock to the listener.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

fn benches(criterion: &mut Criterion) {
    let run = common::scheduling::ten_operators();
    criterion.bench_function("empty batch, ten operators", |bencher| bencher.iter(|| run.tick()));
}

criterion_group!(scheduling, benches);
criterion_main!(scheduling);
