//! Processor time of this process, all threads together, and medians.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Runs `work` and returns what it returned and the processor time it took.
pub fn measure<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let before = processor_time();
    let result = work();
    (result, processor_time() - before)
}

/// The value below which the share `quantile` of the values lies.
pub fn quantile<T: Copy + PartialOrd>(values: &[T], quantile: f64) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("measurements are comparable"));
    sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
}

pub fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    quantile(values, 0.5)
}
