//! Running sums by key, beside hand-written maps; what a checkpoint adds to a batch, and how long it takes to recover.

mod common;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tidemill::SyncPolicy;

use common::Size;
use common::state::{CASES, Checkpointed, POLICIES, RECORDS};

fn sums(criterion: &mut Criterion) {
    common::bench_cases(criterion, CASES);
}

/// A batch of 100 k records over 1 M keys, one after the other.
fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch of a running sum, 1 M keys");
    for (name, sync) in POLICIES {
        let mut program = Checkpointed::new(Size::from_args(), sync, RECORDS);
        let run = program.start();
        group.sample_size(20).bench_function(name, |bencher| bencher.iter(|| program.tick(&run)));
        program.stop(&run);
    }
}

/// From the start of the program to its first batch being done, with the states of 1 M keys in its checkpoint.
fn recovery(criterion: &mut Criterion) {
    let mut program = Checkpointed::new(Size::from_args(), Some(SyncPolicy::EveryBatch), RECORDS);
    let run = program.start();
    program.stop(&run);
    drop(run);
    criterion.benchmark_group("recovery").sample_size(10).bench_function("1 M keys", |bencher| {
        bencher.iter_batched(|| (), |()| program.start().stop(), BatchSize::PerIteration);
    });
    let run = program.start();
    program.stop(&run);
}

criterion_group!(state, sums, batches, recovery);
criterion_main!(state);
