use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{PidRateEstimator, PidSettings, RateController, RateEstimator, RateLimit, RatedInput};
use crate::error::{OnError, Result};
use crate::id::StreamId;

/// How inputs are kept to what the program can process; given to
/// [`StreamingContextBuilder::backpressure`](crate::StreamingContextBuilder::backpressure).
///
/// # Examples
///
/// ```
/// use tidemill::{Backpressure, StreamingContext};
///
/// let context = StreamingContext::builder("orders")
///     .backpressure(Backpressure::pid().initial_rate(10_000.0)) // records per second
///     .build()?;
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Backpressure {
    estimator: Estimator,
    initial_rate: Option<f64>,
}

/// Makes the estimator of an input.
type MakeEstimator = dyn Fn(&RatedInput) -> Result<Box<dyn RateEstimator>> + Send + Sync;

#[derive(Clone)]
enum Estimator {
    Pid(PidSettings),
    Own {
        make: Arc<MakeEstimator>,
        /// Settings of the other kind that were made all the same.
        misplaced: Vec<&'static str>,
    },
}

impl Backpressure {
    /// Rates from Spark's estimator, a [`PidRateEstimator`] for each input.
    pub fn pid() -> Self {
        Backpressure { estimator: Estimator::Pid(PidSettings::default()), initial_rate: None }
    }

    /// Rates from estimators of the program: the closure makes one for each input when the context starts. See
    /// [`RateEstimator`].
    ///
    /// # Errors
    ///
    /// An error of the closure keeps the context from starting.
    pub fn with<E: RateEstimator>(make: impl Fn(&RatedInput) -> Result<E> + Send + Sync + 'static) -> Self {
        let make = Arc::new(move |input: &RatedInput| Ok(Box::new(make(input)?) as Box<dyn RateEstimator>));
        Backpressure { estimator: Estimator::Own { make, misplaced: Vec::new() }, initial_rate: None }
    }

    /// How much of the difference between the last rate and the measured one is corrected at once; at least 0, by default
    /// 1.0. See [`PidSettings`].
    pub fn proportional(self, gain: f64) -> Self {
        self.set_pid("proportional", |pid| pid.proportional = gain)
    }

    /// How much of the backlog is to be worked off in one batch; at least 0, by default 0.2.
    pub fn integral(self, gain: f64) -> Self {
        self.set_pid("integral", |pid| pid.integral = gain)
    }

    /// How much a change of the difference counts; at least 0, by default 0.0. Spark calls it `derived`.
    pub fn derivative(self, gain: f64) -> Self {
        self.set_pid("derivative", |pid| pid.derivative = gain)
    }

    /// The lowest rate of each input, in records per second, however slow its batches are; above 0, by default 100.0.
    pub fn min_rate(self, records_per_second: f64) -> Self {
        self.set_pid("min_rate", |pid| pid.min_rate = records_per_second)
    }

    /// The rate of each input, in records per second, until there is an estimate: it bounds the first batches after a
    /// start, when everything that has gathered meanwhile waits. Above 0; by default there is none, as in Spark.
    ///
    /// The first estimate comes after the second batch with records.
    pub fn initial_rate(mut self, records_per_second: f64) -> Self {
        self.initial_rate = Some(records_per_second);
        self
    }

    fn set_pid(mut self, name: &'static str, set: impl FnOnce(&mut PidSettings)) -> Self {
        match &mut self.estimator {
            Estimator::Pid(pid) => set(pid),
            Estimator::Own { misplaced, .. } => misplaced.push(name),
        }
        self
    }

    /// What is wrong with the settings.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut wrong = match &self.estimator {
            Estimator::Pid(pid) => pid.mistakes(),
            Estimator::Own { misplaced, .. } => misplaced
                .iter()
                .map(|name| {
                    format!("{name} is a setting of `Backpressure::pid`, the program has estimators of its own")
                })
                .collect(),
        };
        if let Some(rate) = self.initial_rate.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
            wrong.push(format!("initial_rate is {rate}, it has to be above 0; without it there is none"));
        }
        wrong.into_iter().map(|wrong| format!("backpressure: {wrong}")).collect()
    }

    /// The controller of an input and the limit that it sets.
    pub(crate) fn control(
        &self,
        stream: StreamId,
        name: &str,
        batch_interval: Duration,
        on_error: &OnError,
    ) -> Result<(RateController, RateLimit)> {
        let input = RatedInput::new(stream, name, batch_interval);
        let estimator = match &self.estimator {
            Estimator::Pid(settings) => Box::new(PidRateEstimator::new(batch_interval, *settings)?),
            Estimator::Own { make, .. } => make(&input)?,
        };
        let limit = RateLimit::new(self.initial_rate, batch_interval);
        Ok((RateController::new(input, estimator, limit.clone(), Arc::clone(on_error)), limit))
    }
}

impl fmt::Debug for Backpressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Backpressure");
        match &self.estimator {
            Estimator::Pid(pid) => shown.field("pid", pid),
            Estimator::Own { .. } => shown.field("estimator", &"of the program"),
        };
        shown.field("initial_rate", &self.initial_rate).finish()
    }
}
