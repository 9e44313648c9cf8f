use std::time::Duration;

use super::Surroundings;
use super::status::Status;
use super::workers::JobOutcome;
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::time::{Clock, Time};

/// What follows when an output operation has failed for the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFailure {
    /// The context stops with the error, and nothing of the batch is committed.
    #[default]
    Stop,
    /// The error is logged and told to the listeners, and the program goes on: the other outputs of the batch, and the
    /// batches after it. What Spark does.
    Continue,
}

/// How often output operations are tried, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputPolicy {
    pub(crate) attempts: u32,
    /// How long it waits before the second attempt, and how long at most: it doubles from one to the next.
    pub(crate) backoff: (Duration, Duration),
    pub(crate) on_failure: OutputFailure,
}

impl OutputPolicy {
    /// How long to wait after so many failures.
    fn pause(&self, failures: u32) -> Duration {
        let (first, most) = self.backoff;
        let doubled = 2u32.checked_pow(failures.saturating_sub(1)).and_then(|times| first.checked_mul(times));
        doubled.unwrap_or(most).min(most)
    }

    /// Runs a job until it succeeds, its attempts are used up or the context stops.
    pub(super) fn run(&self, batch: Time, job: &dyn Fn() -> Result<()>, with: &Surroundings) -> JobOutcome {
        let mut failures = 0;
        loop {
            let Err(error) = guarded(job, |said| Error::new(ErrorKind::Output, format!("panicked: {said}"))) else {
                return JobOutcome::Done;
            };
            failures += 1;
            let error = match self.attempts {
                1 => error,
                attempts => error.within(format!("attempt {failures} of {attempts}")),
            };
            if failures >= self.attempts {
                return match self.on_failure {
                    OutputFailure::Stop => JobOutcome::Failed(error),
                    OutputFailure::Continue => JobOutcome::GivenUp(error),
                };
            }
            let pause = self.pause(failures);
            tracing::warn!(%batch, %error, ?pause, "an output failed and is tried again");
            if !wait(pause, &with.clock, &with.status) {
                return JobOutcome::Dropped(Some(error));
            }
        }
    }
}

/// Returns whether the wait has come to its end, and not the context.
fn wait(length: Duration, clock: &Clock, status: &Status) -> bool {
    crossbeam_channel::select_biased! {
        recv(status.drops_jobs()) -> _ => false,
        recv(clock.alarm(clock.now() + length)) -> _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let millis = Duration::from_millis;
        let pauses = |first, most| -> Vec<u128> {
            let backoff = (millis(first), millis(most));
            let policy = OutputPolicy { attempts: 9, backoff, on_failure: OutputFailure::Stop };
            [1, 2, 3, 4, 33, u32::MAX].map(|failures| policy.pause(failures).as_millis()).into()
        };
        assert_eq!(pauses(100, 500), [100, 200, 400, 500, 500, 500]);
        assert_eq!(pauses(0, 500)[..4], [0, 0, 0, 0]);
        assert_eq!(pauses(300, 300), [300; 6]);
    }
}
