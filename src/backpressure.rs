//! How many records each input may plan, so that batches do not take longer than they come.
//!
//! ```text
//! batch completed ──▶ RateController ──▶ RateEstimator ──▶ RateLimit ──▶ the next batch of the input
//! ```
//!
//! A controller is a listener on a bus of its own: what the program's listeners do neither delays it nor costs it an
//! event, and the generator never waits for an estimator. Knows nothing of where records come from.

mod controller;
mod estimator;
mod limit;
mod pid;
mod settings;

pub(crate) use controller::RateController;
pub use estimator::{BatchLoad, RateEstimator, RatedInput};
pub use limit::RateLimit;
#[cfg(feature = "kafka")]
pub(crate) use limit::WholeRecords;
pub use pid::{PidRateEstimator, PidSettings};
pub use settings::Backpressure;
