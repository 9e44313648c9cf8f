use std::time::Duration;

use super::{BatchLoad, RateEstimator, RateLimit, RatedInput};
use crate::error::{Error, ErrorKind, OnError, guarded};
use crate::listener::{Event, Listener};

/// The step of the clock.
const MICROSECOND: Duration = Duration::from_micros(1);

/// Keeps the rate of one input: has its estimator look at each batch that ends. Spark's `RateController`.
pub(crate) struct RateController {
    input: RatedInput,
    estimator: Box<dyn RateEstimator>,
    limit: RateLimit,
    on_error: OnError,
}

impl RateController {
    /// A controller that sets `limit` to what `estimator` says.
    pub(crate) fn new(
        input: RatedInput,
        estimator: Box<dyn RateEstimator>,
        limit: RateLimit,
        on_error: OnError,
    ) -> Self {
        RateController { input, estimator, limit, on_error }
    }
}

impl Listener for RateController {
    fn on_event(&mut self, event: &Event) {
        let Event::BatchCompleted(batch) = event else { return };
        let Some(own) = batch.inputs.iter().find(|input| input.stream == self.input.stream) else { return };
        let (Some(ended), Some(processing_delay), Some(scheduling_delay)) =
            (batch.ended, batch.processing_delay(), batch.scheduling_delay())
        else {
            return;
        };
        // What takes less time than the clock can tell has taken some: else a rate would stay as it is for as long as
        // batches are that short, and they stay short for as long as it does.
        let processing_delay = processing_delay.max(MICROSECOND);
        let load = BatchLoad { ended, records: own.records, processing_delay, scheduling_delay };
        let name = &self.input.name;
        let estimate = guarded(
            || Ok(self.estimator.compute(&load)),
            |said| Error::new(ErrorKind::User, format!("the rate estimator panicked: {said}")),
        );
        let estimate = estimate.and_then(|rate| match rate {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                let message = format!("the rate estimator returned {rate}: a rate is a finite number above 0");
                Err(Error::new(ErrorKind::User, message))
            }
            rate => Ok(rate),
        });
        match estimate {
            Ok(Some(rate)) => {
                tracing::debug!(input = name, batch = %batch.time, records_per_second = rate, "a new rate");
                self.limit.set(rate);
            }
            Ok(None) => {}
            Err(error) => {
                (self.on_error)(error.within(format!("input {name}")).within(format!("batch {}", batch.time)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamId;
    use crate::listener::{BatchInfo, InputInfo};
    use crate::time::Time;
    use std::sync::{Arc, Mutex};

    fn at(micros: i64) -> Time {
        Time::from_micros(micros)
    }

    /// A batch with these records of the streams 0, 1, .., planned late, and run for so long.
    fn batch(records: &[u64], processing_micros: i64) -> Event {
        let input = |(stream, records): (u32, &u64)| {
            InputInfo::new(StreamId(stream), format!("queue {stream}"), *records, String::new())
        };
        let inputs = (0..).zip(records).map(input).collect();
        let mut batch = BatchInfo::new(at(1_000_000), inputs, at(1_000_030), at(1_000_500), Vec::new());
        batch.started = Some(at(1_000_700));
        batch.ended = Some(at(1_000_700 + processing_micros));
        Event::BatchCompleted(batch)
    }

    /// Sees what an estimator of stream 1 is asked, while it answers what it is told to.
    struct Seen {
        loads: Arc<Mutex<Vec<BatchLoad>>>,
        controller: RateController,
        limit: RateLimit,
        errors: Arc<Mutex<Vec<String>>>,
    }

    struct Script(Arc<Mutex<Vec<BatchLoad>>>, Vec<Option<f64>>);

    impl RateEstimator for Script {
        fn compute(&mut self, batch: &BatchLoad) -> Option<f64> {
            self.0.lock().unwrap().push(*batch);
            self.1.remove(0)
        }
    }

    fn controlled(answers: &[Option<f64>]) -> Seen {
        let (loads, errors) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let input = RatedInput::new(StreamId(1), "queue", Duration::from_secs(1));
        let limit = RateLimit::new(None, input.batch_interval);
        let said = Arc::clone(&errors);
        let on_error: OnError = Arc::new(move |error| said.lock().unwrap().push(error.to_string()));
        let estimator = Box::new(Script(Arc::clone(&loads), answers.to_vec()));
        let controller = RateController::new(input, estimator, limit.clone(), on_error);
        Seen { loads, controller, limit, errors }
    }

    /// Spark's `RateControllerSuite`: rates are published after batches.
    #[test]
    fn the_latest_estimate_is_the_limit() {
        let mut seen = controlled(&[None, Some(100.0), Some(0.5), None]);
        let limits = (0..4).map(|_| {
            seen.controller.on_event(&batch(&[7, 8], 100));
            seen.limit.records_per_second()
        });
        assert_eq!(limits.collect::<Vec<_>>(), [None, Some(100.0), Some(0.5), Some(0.5)]);
    }

    #[test]
    fn an_estimator_sees_the_records_of_its_own_stream() {
        let mut seen = controlled(&[None, None]);
        seen.controller.on_event(&batch(&[7, 8, 9], 100));
        seen.controller.on_event(&batch(&[7], 100)); // not one of its batches
        let load = BatchLoad {
            ended: at(1_000_800),
            records: 8,
            processing_delay: Duration::from_micros(100),
            // 30 µs until it was planned, and 200 µs until it was run: not the planning itself.
            scheduling_delay: Duration::from_micros(230),
        };
        assert_eq!(*seen.loads.lock().unwrap(), [load]);
    }

    /// By the rule of the estimator, no time would mean no estimate, ever.
    #[test]
    fn a_batch_too_short_for_the_clock_has_taken_a_microsecond() {
        let mut seen = controlled(&[None]);
        seen.controller.on_event(&batch(&[7, 8], 0));
        assert_eq!(seen.loads.lock().unwrap()[0].processing_delay, MICROSECOND);
    }

    #[test]
    fn an_estimate_that_is_no_rate_is_an_error_and_not_a_limit() {
        let answers = [0.0, -1.0, f64::NAN, f64::INFINITY];
        let mut seen = controlled(&answers.map(Some));
        answers.iter().for_each(|_| seen.controller.on_event(&batch(&[7, 8], 100)));
        seen.controller.on_event(&batch(&[7, 8], 100)); // the script has ended: a panic
        assert_eq!(seen.limit.records_per_second(), None);
        let errors = seen.errors.lock().unwrap();
        assert_eq!(
            errors[0],
            "batch 1000 ms: input queue: the rate estimator returned 0: a rate is a finite number above 0"
        );
        assert_eq!(errors.len(), 5);
        assert!(errors[4].starts_with("batch 1000 ms: input queue: the rate estimator panicked: "), "{}", errors[4]);
    }
}
