use std::time::Duration;

use super::{BatchLoad, RateEstimator};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// The settings of a [`PidRateEstimator`]; Spark's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PidSettings {
    /// How much of the difference between the last rate and the measured one is corrected at once; at least 0. 1.0
    /// unless set.
    pub proportional: f64,
    /// How much of the backlog is to be worked off in one batch; at least 0. 0.2 unless set.
    pub integral: f64,
    /// How much a change of the difference counts; at least 0. It reacts early, and to noise. 0.0 unless set.
    pub derivative: f64,
    /// The lowest estimate in records per second, of the whole input; above 0. 100.0 unless set.
    pub min_rate: f64,
}

impl Default for PidSettings {
    fn default() -> Self {
        PidSettings { proportional: 1.0, integral: 0.2, derivative: 0.0, min_rate: 100.0 }
    }
}

impl PidSettings {
    /// What is wrong with them.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let gains = [("proportional", self.proportional), ("integral", self.integral), ("derivative", self.derivative)];
        let wrong = gains.into_iter().filter(|(_, gain)| !(gain.is_finite() && *gain >= 0.0));
        let mut wrong: Vec<String> = wrong.map(|(name, gain)| format!("{name} is {gain}, the least is 0")).collect();
        if !(self.min_rate.is_finite() && self.min_rate > 0.0) {
            wrong.push(format!("min_rate is {}, it has to be above 0", self.min_rate));
        }
        wrong
    }
}

/// Follows the speed at which batches are processed, less what the backlog needs: Spark's `PIDRateEstimator`.
///
/// With the defaults the estimate is the measured speed, minus a fifth of the records that the scheduling delay of the
/// batch stands for, spread over a batch interval. There is a least estimate and no greatest one.
///
/// The first batch says how fast the program is and gives no estimate. A batch without records, or that took no time,
/// gives none and changes nothing, and neither does one that did not end after the last one.
///
/// It differs from Spark's in one thing: delays are taken in microseconds and estimates keep their fractions, where Spark
/// has whole milliseconds and whole records.
#[derive(Debug)]
pub struct PidRateEstimator {
    /// Milliseconds.
    batch_interval: f64,
    settings: PidSettings,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    ended: Time,
    rate: f64,  // records per second
    error: f64, // records per second
}

impl PidRateEstimator {
    /// An estimator for an input with this batch interval.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, all of them named.
    pub fn new(batch_interval: Duration, settings: PidSettings) -> Result<Self> {
        let mut wrong = settings.mistakes();
        if batch_interval.is_zero() {
            wrong.insert(0, "the batch interval is 0".to_string());
        }
        if !wrong.is_empty() {
            return Err(Error::new(ErrorKind::Config, wrong.join("; ")));
        }
        Ok(PidRateEstimator { batch_interval: millis(batch_interval), settings, last: None })
    }
}

impl RateEstimator for PidRateEstimator {
    fn compute(&mut self, batch: &BatchLoad) -> Option<f64> {
        let is_later = self.last.as_ref().is_none_or(|last| batch.ended > last.ended);
        if !is_later || batch.records == 0 || batch.processing_delay.is_zero() {
            return None;
        }
        let processing_rate = batch.records as f64 / millis(batch.processing_delay) * 1000.0; // records per second
        let Some(last) = &self.last else {
            self.last = Some(Last { ended: batch.ended, rate: processing_rate, error: 0.0 });
            return None;
        };
        let PidSettings { proportional, integral, derivative, min_rate } = self.settings;
        let since_last = millis(batch.ended - last.ended) / 1000.0; // seconds
        let error = last.rate - processing_rate; // records per second
        // The records that could have been processed while the batch waited, by batch interval: records per second.
        let historical_error = millis(batch.scheduling_delay) * processing_rate / self.batch_interval;
        let error_change = (error - last.error) / since_last; // records per second, per second
        let rate = last.rate - proportional * error - integral * historical_error - derivative * error_change;
        let rate = rate.max(min_rate);
        self.last = Some(Last { ended: batch.ended, rate, error });
        Some(rate)
    }
}

/// Milliseconds with their fraction. Whole ones are exact.
fn millis(duration: Duration) -> f64 {
    duration.as_secs() as f64 * 1e3 + f64::from(duration.subsec_nanos()) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn settings(integral: f64, min_rate: f64) -> PidSettings {
        PidSettings { proportional: 1.0, integral, derivative: 0.0, min_rate }
    }

    fn estimator(integral: f64, min_rate: f64) -> PidRateEstimator {
        PidRateEstimator::new(ms(20), settings(integral, min_rate)).unwrap()
    }

    /// An update of the vectors, in milliseconds.
    fn load((ended, records, processing, scheduling): (i64, u64, u64, u64)) -> BatchLoad {
        BatchLoad {
            ended: Time::from_millis(ended),
            records,
            processing_delay: ms(processing),
            scheduling_delay: ms(scheduling),
        }
    }

    fn estimates(
        mut estimator: PidRateEstimator,
        updates: impl IntoIterator<Item = (i64, u64, u64, u64)>,
    ) -> Vec<Option<f64>> {
        updates.into_iter().map(|update| estimator.compute(&load(update))).collect()
    }

    #[test]
    fn p_1_the_first_batch_gives_no_estimate() {
        assert_eq!(estimates(estimator(0.0, 10.0), [(0, 10, 10, 0)]), [None]);
    }

    #[test]
    fn p_2_the_second_does() {
        assert_eq!(estimates(estimator(0.0, 10.0), [(0, 10, 10, 0), (10, 10, 10, 0)]), [None, Some(1000.0)]);
    }

    #[test]
    fn p_3_no_time_between_two_batches_gives_none() {
        let updates = [(0, 10, 10, 0), (10, 10, 10, 0), (10, 10, 10, 0)];
        assert_eq!(estimates(estimator(0.0, 10.0), updates), [None, Some(1000.0), None]);
    }

    /// A negative number of records, the other half of the vector, cannot be said.
    #[test]
    fn p_4_no_records_give_none() {
        assert_eq!(estimates(estimator(0.0, 10.0), [(0, 10, 10, 0), (10, 0, 10, 0)]), [None, None]);
    }

    /// Nor a negative delay.
    #[test]
    fn p_5_no_processing_delay_gives_none() {
        assert_eq!(estimates(estimator(0.0, 10.0), [(0, 10, 10, 0), (10, 10, 0, 0)]), [None, None]);
    }

    #[test]
    fn p_6_an_estimate_is_never_below_the_minimum() {
        let found = estimates(estimator(1.0, 5.0), (0..50).map(|i| (20 * i, 1, 20, 100)));
        assert_eq!(found[0], None);
        assert_eq!(found[1..], [Some(5.0); 49]);
    }

    #[test]
    fn p_7_estimates_follow_a_rising_speed() {
        let found = estimates(estimator(1.0, 10.0), (0..50).map(|i| (20 * i, 20 * (i as u64 + 1), 20, 0)));
        let expected = (0..50).map(|i| (i > 0).then_some(1000.0 * (i as f64 + 1.0)));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn p_8_estimates_follow_a_falling_speed() {
        let found = estimates(estimator(1.0, 10.0), (0..50).map(|i| (20 * i, 20 * (50 - i as u64), 20, 0)));
        let expected = (0..50).map(|i| (i > 0).then_some(1000.0 * (50.0 - i as f64)));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn p_9_with_a_backlog_estimates_stay_below_the_speed(
            updates in prop::collection::vec((1000_u64..2000, 1_u64..20), 2..50)
        ) {
            let loads = updates.iter().enumerate().map(|(i, (records, delay))| (20 * i as i64, *records, 20, *delay));
            let found = estimates(estimator(0.01, 10.0), loads);
            prop_assert_eq!(found[0], None);
            for (estimate, (records, _)) in found.iter().zip(&updates).skip(1) {
                let speed = *records as f64 / 20.0 * 1000.0;
                prop_assert!(estimate.is_some_and(|rate| rate >= 10.0 && rate < speed), "{estimate:?} of {speed}");
            }
        }
    }

    #[test]
    fn p_10_settings_that_cannot_be_used_are_refused() {
        let good = settings(0.0, 10.0);
        let refused = |interval, settings| {
            let error = PidRateEstimator::new(interval, settings).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            error.to_string()
        };
        assert_eq!(refused(ms(0), good), "the batch interval is 0");
        for (settings, said) in [
            (PidSettings { proportional: -1.0, ..good }, "proportional is -1, the least is 0"),
            (PidSettings { integral: -1.0, ..good }, "integral is -1, the least is 0"),
            (PidSettings { derivative: -1.0, ..good }, "derivative is -1, the least is 0"),
            (PidSettings { min_rate: 0.0, ..good }, "min_rate is 0, it has to be above 0"),
            (PidSettings { min_rate: -10.0, ..good }, "min_rate is -10, it has to be above 0"),
            (PidSettings { derivative: f64::NAN, ..good }, "derivative is NaN, the least is 0"),
            (PidSettings { min_rate: f64::INFINITY, ..good }, "min_rate is inf, it has to be above 0"),
        ] {
            assert_eq!(refused(ms(20), settings), said);
        }
    }

    /// In Spark a batch that took less than a millisecond has taken none, and gives no estimate.
    #[test]
    fn short_batches_are_measured_in_microseconds() {
        let mut estimator = PidRateEstimator::new(ms(1), settings(0.2, 0.5)).unwrap();
        let load = |ended| BatchLoad {
            ended: Time::from_micros(ended),
            records: 3,
            processing_delay: Duration::from_micros(400),
            scheduling_delay: Duration::from_micros(100),
        };
        assert_eq!(estimator.compute(&load(1400)), None);
        // 7500 records per second, less a fifth of the tenth of an interval that the batch waited.
        assert!((estimator.compute(&load(2400)).unwrap() - 7350.0).abs() < 1e-6);
    }

    #[test]
    fn the_derivative_is_by_the_second() {
        let settings = PidSettings { proportional: 0.0, integral: 0.0, derivative: 0.5, min_rate: 1.0 };
        let found = estimates(
            PidRateEstimator::new(ms(500), settings).unwrap(),
            [(0, 100, 1000, 0), (500, 200, 1000, 0), (1000, 200, 1000, 0)],
        );
        // The error is -100, then 0, in half a second each: 100 + 0.5 * 200, then 200 - 0.5 * 200.
        assert_eq!(found, [None, Some(200.0), Some(100.0)]);
    }
}
