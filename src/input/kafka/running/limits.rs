//! How many records of each partition a batch may take: Spark's `maxMessagesPerPartition`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backpressure::WholeRecords;
use crate::error::{Error, ErrorKind, Result};

/// The records per second that a partition is read with at least, if nothing else is said.
const DEFAULT_MIN_RATE: f64 = 1.0;

/// The limits of one partition, Spark's `PerPartitionConfig`; given to
/// [`KafkaParams::per_partition_config`](crate::kafka::KafkaParams::per_partition_config). What is not set is as for the other
/// partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use]
pub struct PerPartitionConfig {
    max_rate: Option<f64>,
    min_rate: Option<f64>,
}

impl PerPartitionConfig {
    /// As [`KafkaParams::max_rate_per_partition`](crate::kafka::KafkaParams::max_rate_per_partition), for this one.
    pub fn max_rate(mut self, records_per_second: f64) -> Self {
        self.max_rate = Some(records_per_second);
        self
    }

    /// As [`KafkaParams::min_rate_per_partition`](crate::kafka::KafkaParams::min_rate_per_partition), for this one.
    pub fn min_rate(mut self, records_per_second: f64) -> Self {
        self.min_rate = Some(records_per_second);
        self
    }
}

/// The limits of each partition, by topic and number.
type PerPartition = Arc<dyn Fn(&str, i32) -> PerPartitionConfig + Send + Sync>;

/// The limits of a stream's partitions, as the program has set them.
#[derive(Clone, Default)]
pub(in crate::input::kafka) struct PartitionRates {
    pub(in crate::input::kafka) all: PerPartitionConfig,
    pub(in crate::input::kafka) each: Option<PerPartition>,
}

impl PartitionRates {
    /// The limit of a partition.
    ///
    /// # Errors
    ///
    /// Rates that cannot be used.
    pub(super) fn limit_of(&self, topic: &str, partition: i32) -> Result<PartitionLimit> {
        let own = self.each.as_ref().map_or(self.all, |each| each(topic, partition));
        let max_rate = own.max_rate.or(self.all.max_rate);
        let min_rate = own.min_rate.or(self.all.min_rate);
        let wrong = |what: String| {
            let message = format!("topic {topic}/{partition}: {what}");
            Err(Error::new(ErrorKind::Config, message))
        };
        if let Some(max) = max_rate.filter(|max| !(max.is_finite() && *max > 0.0)) {
            return wrong(format!(
                "the maximum rate per partition is {max} records per second: it has to be above 0; without it there is \
                 none"
            ));
        }
        if let Some(min) = min_rate.filter(|min| !(min.is_finite() && *min >= 0.0)) {
            return wrong(format!("the minimum rate per partition is {min} records per second, the least is 0"));
        }
        let max = max_rate.unwrap_or(f64::INFINITY);
        if let Some(min) = min_rate.filter(|min| *min > max) {
            return wrong(format!("the minimum rate per partition is {min} records per second, and the maximum {max}"));
        }
        let min_rate = min_rate.unwrap_or(DEFAULT_MIN_RATE).min(max);
        Ok(PartitionLimit { max_rate, min_rate, whole: WholeRecords::default() })
    }
}

impl fmt::Debug for PartitionRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.each.as_ref().map(|_| "by topic and partition");
        f.debug_struct("PartitionRates").field("all", &self.all).field("each", &own).finish()
    }
}

/// What bounds one partition, and what is left of a record from its last batch.
#[derive(Clone, Debug)]
pub(super) struct PartitionLimit {
    max_rate: Option<f64>, // records per second
    min_rate: f64,         // records per second
    whole: WholeRecords,
}

/// How many records of each partition the next batch may take; `None` for those without a limit. To be called once for
/// each batch, with the partitions in any order and `lags[n]` records waiting in the n-th.
///
/// With a `rate` of the whole stream, in records per second, a partition has a share as large as its share of the lag,
/// and no more than its maximum; without one, its maximum. It has its minimum in any case. Shares that others cannot use
/// are not given away. What may be taken can be more than what is there.
///
/// Three things are not as in Spark, which rounds down to whole records and up to one a batch:
///
/// - What is left of a record goes to the partition's next batch, so that a rate is the same at any interval.
/// - The minimum is a rate.
/// - A partition without a maximum has no limit when there is no `rate`, even if others have one; Spark reads the
///   minimum of it.
pub(super) fn records_per_partition(
    rate: Option<f64>,
    batch_interval: Duration,
    limits: &mut [PartitionLimit],
    lags: &[u64],
) -> Vec<Option<u64>> {
    let seconds = batch_interval.as_secs_f64();
    let total: f64 = lags.iter().map(|lag| *lag as f64).sum();
    if rate.is_some() && total == 0.0 {
        // Nothing to share out. Nothing waits, so nothing is taken.
        return vec![None; limits.len()];
    }
    let records = limits.iter_mut().zip(lags).map(|(limit, lag)| {
        let most = limit.max_rate.map(|max| max * seconds); // records
        let share = rate.map(|rate| rate * seconds * (*lag as f64) / total); // records
        let due = match (share, most) {
            (Some(share), Some(most)) => share.min(most),
            (share, most) => share.or(most)?,
        };
        Some(limit.whole.take(due.max(limit.min_rate * seconds)))
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn limit(max: Option<f64>, min: Option<f64>) -> PartitionLimit {
        let all = PerPartitionConfig { max_rate: max, min_rate: min };
        PartitionRates { all, each: None }.limit_of("t", 0).unwrap()
    }

    /// What one batch may take, with the minimum of Spark: a record.
    fn once(rate: Option<f64>, interval: Duration, max: &[f64], lags: &[u64]) -> Vec<Option<u64>> {
        let min = 1.0 / interval.as_secs_f64(); // records per second
        let mut limits: Vec<_> = max.iter().map(|max| limit(Some(*max), Some(min.min(*max)))).collect();
        records_per_partition(rate, interval, &mut limits, lags)
    }

    #[test]
    fn l_1_without_a_rate_the_maximum_counts() {
        assert_eq!(once(None, ms(100), &[100.0, 100.0], &[50, 50]), [Some(10), Some(10)]);
    }

    #[test]
    fn l_2_without_a_lag_there_is_nothing_to_limit() {
        assert_eq!(once(Some(100.0), ms(100), &[100.0, 100.0], &[0, 0]), [None, None]);
    }

    #[test]
    fn l_3_a_share_is_no_more_than_the_maximum() {
        assert_eq!(once(Some(1000.0), ms(100), &[50.0, 100.0], &[1000, 1000]), [Some(5), Some(10)]);
    }

    /// The initial rate is the rate until there is an estimate: [`RateLimit`](crate::backpressure::RateLimit).
    #[test]
    fn l_4_the_initial_rate_counts_below_the_maximum() {
        assert_eq!(once(Some(500.0), ms(500), &[1000.0], &[1000]), [Some(250)]);
    }

    #[test]
    fn l_5_and_the_maximum_below_the_initial_rate() {
        assert_eq!(once(Some(1000.0), ms(500), &[300.0], &[1000]), [Some(150)]);
    }

    #[test]
    fn l_6_shares_are_by_lag_and_no_less_than_the_minimum() {
        let mut limits = vec![limit(Some(100.0), Some(5.0 / 60.0)); 4];
        let records = records_per_partition(Some(1.0), ms(60_000), &mut limits, &[0, 100, 200, 300]);
        assert_eq!(records, [Some(5), Some(10), Some(20), Some(30)]);
    }

    /// A rate is a rate at any interval: a record per second is not a hundred at 10 ms, and neither none nor all.
    #[test]
    fn no_rate_is_rounded_to_more_or_to_less() {
        for (max, rate, expected) in [
            (Some(1.0), None, 10),
            (None, Some(1.0), 10),
            (Some(0.1), None, 1),
            (Some(250.0), Some(7.0), 70),
            (None, Some(333.3), 3333),
        ] {
            let mut limits = [limit(max, None)];
            let mut waiting = 1_000_000;
            for _ in 0..1000 {
                let [records] = records_per_partition(rate, ms(10), &mut limits, &[waiting])[..] else { panic!() };
                waiting -= records.unwrap();
            }
            assert_eq!(1_000_000 - waiting, expected, "{max:?} {rate:?} in 10 s");
        }
    }

    /// SPARK-25233: beside a partition with a large backlog, a quiet one is read all the same.
    #[test]
    fn a_quiet_partition_does_not_starve() {
        let mut limits = [limit(None, None), limit(None, None)];
        let mut read = 0;
        for _ in 0..1000 {
            let records = records_per_partition(Some(100.0), ms(10), &mut limits, &[1_000_000_000, 10]);
            read += records[1].unwrap();
        }
        assert_eq!(read, 10, "a record per second, for 10 s");
    }

    #[test]
    fn a_partition_without_a_maximum_has_no_limit_without_a_rate() {
        let mut limits = [limit(None, None), limit(Some(10.0), None)];
        assert_eq!(records_per_partition(None, ms(1000), &mut limits, &[50, 50]), [None, Some(10)]);
        assert_eq!(records_per_partition(Some(40.0), ms(1000), &mut limits, &[50, 50]), [Some(20), Some(10)]);
    }

    #[test]
    fn partitions_can_have_limits_of_their_own() {
        let all = PerPartitionConfig::default().max_rate(100.0).min_rate(2.0);
        let each: PerPartition = Arc::new(|topic, partition| match (topic, partition) {
            ("slow", _) => PerPartitionConfig::default().max_rate(10.0),
            (_, 7) => PerPartitionConfig::default().min_rate(50.0),
            _ => PerPartitionConfig::default(),
        });
        let rates = PartitionRates { all, each: Some(each) };
        let limit = |topic, partition| {
            let limit = rates.limit_of(topic, partition).unwrap();
            (limit.max_rate, limit.min_rate)
        };
        assert_eq!(limit("slow", 7), (Some(10.0), 2.0));
        assert_eq!(limit("fast", 7), (Some(100.0), 50.0));
        assert_eq!(limit("fast", 1), (Some(100.0), 2.0));
    }

    #[test]
    fn rates_that_cannot_be_used_are_refused() {
        for (max, min, said) in [
            (
                Some(0.0),
                None,
                "the maximum rate per partition is 0 records per second: it has to be above 0; without it there is none",
            ),
            (
                Some(f64::NAN),
                None,
                "the maximum rate per partition is NaN records per second: it has to be above 0; without it there is none",
            ),
            (None, Some(-1.0), "the minimum rate per partition is -1 records per second, the least is 0"),
            (Some(3.0), Some(4.0), "the minimum rate per partition is 4 records per second, and the maximum 3"),
        ] {
            let all = PerPartitionConfig { max_rate: max, min_rate: min };
            let error = PartitionRates { all, each: None }.limit_of("lines", 2).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, format!("topic lines/2: {said}")));
        }
    }
}
