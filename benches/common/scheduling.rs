//! What a batch costs before it holds a record: a graph of ten operators with one shuffle, driven tick by tick.

use tidemill::QueueSource;

use super::windows::Run;

/// Ten operators, one of them a shuffle, and an output.
pub fn ten_operators() -> Run {
    Run::start(QueueSource::<u64>::one_at_a_time(), |numbers| {
        let pairs =
            numbers.map(|n| n + 1).filter(|n| n % 3 != 0).map(|n| n * 7).flat_map(|n| [n, n + 1]).map(|n| (n % 100, n));
        let sums = pairs
            .reduce_by_key(u64::wrapping_add)
            .map_values(|sum| sum ^ 1)
            .filter(|(_, sum)| sum % 5 != 0)
            .map(|(key, sum)| key.wrapping_add(sum))
            .filter(|n| *n != 0);
        sums.foreach_batch(|dataset, _| dataset.foreach(|_| Ok(())));
    })
}
