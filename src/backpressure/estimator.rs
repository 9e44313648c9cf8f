use std::time::Duration;

use crate::id::StreamId;
use crate::time::Time;

/// Finds out how many records per second an input can take: Spark's `RateEstimator`, open to programs.
///
/// There is one for each input, made by the closure of [`Backpressure::with`](super::Backpressure::with). Calls never
/// overlap and come in the order in which batches end, on the thread `tidemill-rates`: an estimator that is slow delays
/// the estimates of all inputs, and no batch. A panic, and an estimate that is not a finite number above 0, stop the
/// context.
///
/// # Examples
///
/// Spark's estimator with a ceiling:
///
/// ```
/// use tidemill::{Backpressure, BatchLoad, PidRateEstimator, PidSettings, RateEstimator, StreamingContext};
///
/// struct Capped(PidRateEstimator);
///
/// impl RateEstimator for Capped {
///     fn compute(&mut self, batch: &BatchLoad) -> Option<f64> {
///         self.0.compute(batch).map(|rate| rate.min(50_000.0)) // records per second
///     }
/// }
///
/// let backpressure = Backpressure::with(|input| {
///     Ok(Capped(PidRateEstimator::new(input.batch_interval, PidSettings::default())?))
/// });
/// let context = StreamingContext::builder("capped").backpressure(backpressure).build()?;
/// # Ok::<(), tidemill::Error>(())
/// ```
pub trait RateEstimator: Send + 'static {
    /// Returns the rate in records per second at which the input should deliver from now on; `None` leaves it as it
    /// is.
    ///
    /// It is called for every batch in which the input took part, also with no records.
    fn compute(&mut self, batch: &BatchLoad) -> Option<f64>;
}

/// What a batch was for one input, as estimators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLoad {
    /// When its last job ended.
    pub ended: Time,
    /// How many records this input brought to it.
    pub records: u64,
    /// How long its jobs took, with the records of all inputs.
    pub processing_delay: Duration,
    /// How long it waited to be run.
    pub scheduling_delay: Duration,
}

/// The input that an estimator is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RatedInput {
    /// The input's place among the inputs of the program.
    pub stream: StreamId,
    /// What it is called: `kafka lines`.
    pub name: String,
    /// The time between two batches.
    pub batch_interval: Duration,
}

impl RatedInput {
    pub(crate) fn new(stream: StreamId, name: &str, batch_interval: Duration) -> Self {
        RatedInput { stream, name: name.to_string(), batch_interval }
    }
}
