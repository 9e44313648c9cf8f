//! What the benches share: data from a fixed seed, and cases that do the same work by hand and with the crate.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "every bench compiles this file and uses a part of it")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "benches measure real time, and may panic")]

pub mod data;
pub mod fusion;
pub mod joins;
pub mod measure;
pub mod scheduling;
pub mod shuffle;
pub mod state;
pub mod windows;

use criterion::{BatchSize, Criterion, Throughput};

/// A piece of work, twice: by hand, and with the crate. Both sides return a checksum, which must be the same.
pub struct Case {
    pub name: &'static str,
    /// Records a run looks at.
    pub records: usize,
    /// What the crate may cost, in units of the work by hand.
    pub target: Option<f64>,
    pub hand: Side,
    pub ours: Side,
}

/// Gets everything ready that is not measured, and returns the work.
pub type Side = Box<dyn Fn() -> Work>;

/// What is measured.
pub type Work = Box<dyn FnOnce() -> u64>;

/// A side that needs nothing to be got ready.
pub fn side(work: impl Fn() -> u64 + Clone + 'static) -> Side {
    Box::new(move || Box::new(work.clone()))
}

/// Makes a case when it is asked for: the data of all cases together would not fit into memory.
pub type MakeCase = fn(Size) -> Case;

/// How much data a case works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the targets ask for.
    Full,
    /// Enough to see that the bench runs: `cargo bench -- --test`.
    Test,
}

impl Size {
    /// The size that the command line asks for.
    pub fn from_args() -> Size {
        if std::env::args().any(|arg| arg == "--test") { Size::Test } else { Size::Full }
    }

    /// `full` records, or few for a test.
    pub fn records(self, full: usize) -> usize {
        match self {
            Size::Full => full,
            Size::Test => full.min(10_000),
        }
    }
}

/// Benches both sides of every case.
pub fn bench_cases(criterion: &mut Criterion, cases: &[MakeCase]) {
    for make in cases {
        let case = make(Size::from_args());
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.records as u64)).sample_size(10);
        for (name, side) in [("hand", &case.hand), ("tidemill", &case.ours)] {
            group.bench_function(name, |bencher| {
                bencher.iter_batched(side, |work| work(), BatchSize::PerIteration);
            });
        }
    }
}
