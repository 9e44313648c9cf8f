use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many records an input may plan, as its source sees it: the latest estimate of its rate, or the initial rate
/// before there is one. Made with [`SourceContext::rate_limit`](crate::SourceContext::rate_limit).
///
/// Without back-pressure there is no limit, and none with it until the first estimate if there is no initial rate.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Records per second, as bits of an `f64`; 0 for none. Shared with the rate controller of the input.
    rate: Arc<AtomicU64>,
    batch_interval: Duration,
    whole: WholeRecords,
}

impl RateLimit {
    /// A limit in records per second, or none, for batches of an interval.
    pub(crate) fn new(records_per_second: Option<f64>, batch_interval: Duration) -> Self {
        let rate = Arc::new(AtomicU64::new(records_per_second.unwrap_or(0.0).to_bits()));
        RateLimit { rate, batch_interval, whole: WholeRecords::default() }
    }

    /// Changes it, for all clones.
    pub(crate) fn set(&self, records_per_second: f64) {
        self.rate.store(records_per_second.to_bits(), Ordering::Release);
    }

    /// How many records per second the input may deliver now; `None` if it is not limited. Above 0 and finite.
    ///
    /// For sources that share it out among partitions. Those that do not take [`next_batch`](RateLimit::next_batch).
    pub fn records_per_second(&self) -> Option<f64> {
        Some(f64::from_bits(self.rate.load(Ordering::Acquire))).filter(|rate| *rate > 0.0)
    }

    /// How many records the next batch may have at most; `None` if it is not limited. To be asked once a batch.
    ///
    /// What is left of a record goes to the batches after: 100 records per second are one record in every tenth batch of
    /// 1 ms. What a batch does not use is not saved up.
    pub fn next_batch(&mut self) -> Option<u64> {
        let rate = self.records_per_second()?; // records per second
        Some(self.whole.take(rate * self.batch_interval.as_secs_f64()))
    }
}

/// Makes whole records of fractions, batch by batch, such that nothing is lost and nothing added over time.
///
/// Rounding each batch down would starve an input of few records at short intervals, and rounding up would let one
/// record per second be a hundred at 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WholeRecords {
    /// Between 0 and 1.
    left: f64,
}

impl WholeRecords {
    /// The whole records in `records` and in what was left before.
    pub(crate) fn take(&mut self, records: f64) -> u64 {
        let due = self.left + records;
        // Ten tenths are no whole in binary: what is a millionth short of a record is one.
        let whole = (due + 1e-6).floor();
        self.left = (due - whole).max(0.0);
        whole as u64 // saturates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(rate: f64, interval: Duration, count: usize) -> Vec<u64> {
        let mut limit = RateLimit::new(Some(rate), interval);
        (0..count).map(|_| limit.next_batch().unwrap()).collect()
    }

    #[test]
    fn fractions_of_a_record_are_carried_over() {
        assert_eq!(batches(100.0, Duration::from_millis(1), 10), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(batches(2.5, Duration::from_secs(1), 4), [2, 3, 2, 3]);
        for (rate, interval, second) in [(1.0, 10, 100), (100.0, 1, 1000), (33.0, 7, 1000), (1e6, 1, 1000)] {
            let seconds = 10;
            let batches = batches(rate, Duration::from_millis(interval), seconds * second);
            let due = rate * (seconds * second) as f64 * interval as f64 / 1000.0;
            let total: u64 = batches.iter().sum();
            assert!((total as f64 - due).abs() <= 1.0, "{rate}/s in {interval} ms: {total} and not {due}");
        }
    }

    #[test]
    fn there_is_no_limit_before_one_is_set() {
        let mut limit = RateLimit::new(None, Duration::from_secs(1));
        assert_eq!((limit.records_per_second(), limit.next_batch()), (None, None));
        limit.clone().set(0.3);
        assert_eq!((limit.records_per_second(), limit.next_batch()), (Some(0.3), Some(0)));
    }

    #[test]
    fn a_rate_that_no_batch_can_have_does_not_overflow() {
        assert_eq!(batches(f64::MAX, Duration::from_secs(10), 2), [u64::MAX, u64::MAX]);
    }
}
