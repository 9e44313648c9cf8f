use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::Surroundings;
use super::attempts::{OutputFailure, OutputPolicy};
use super::generator::GeneratorEvent;
use crate::dstream::{Job, Settle};
use crate::error::{Error, Result};
use crate::event_loop::Thread;
use crate::time::Time;

/// A part of a batch on its way to a thread that runs it.
pub(super) struct Assignment {
    pub(super) batch: Time,
    pub(super) work: Work,
}

/// What there is to do.
pub(super) enum Work {
    Output(Job),
    Settle(Settle),
}

/// What became of a part of a batch.
#[derive(Debug)]
pub(super) enum JobOutcome {
    Done,
    Failed(Error),
    /// It failed, and the program goes on without it.
    GivenUp(Error),
    /// It had not begun, or waited to be tried again after this error, when the context was told to drop what waits.
    Dropped(Option<Error>),
}

/// Starts a thread that takes jobs in order, runs them and reports to the generator.
pub(super) fn spawn(
    number: usize,
    queue: Receiver<Assignment>,
    events: Sender<GeneratorEvent>,
    policy: OutputPolicy,
    with: &Surroundings,
) -> Result<Thread> {
    let once = OutputPolicy { attempts: 1, on_failure: OutputFailure::Stop, ..policy };
    let on_error = Arc::clone(&with.on_error);
    let with = with.clone();
    let body = move || {
        let Surroundings { clock, status, .. } = &with;
        let run = |policy: OutputPolicy, batch: Time, part: &dyn Fn() -> Result<()>| {
            let outcome = policy.run(batch, part, &with);
            if let JobOutcome::Failed(_) = outcome {
                // At once: until the generator has heard of it, this thread would have begun the next part.
                status.drop_queued_jobs();
            }
            outcome
        };
        // The generator outlives its jobs, unless it failed, which has been reported.
        let tell = |event| drop(events.send(event));
        for Assignment { batch, work } in queue {
            let dropped = status.drops_queued_jobs();
            match work {
                Work::Output(job) => {
                    let output = job.output;
                    let outcome = if dropped {
                        JobOutcome::Dropped(None)
                    } else {
                        tell(GeneratorEvent::JobStarted { batch, output, at: clock.now() });
                        run(policy, batch, &|| job.run())
                    };
                    tell(GeneratorEvent::JobEnded { batch, output, at: clock.now(), outcome });
                }
                Work::Settle(settle) => {
                    let settle = || settle.run(false).map(|_| ());
                    let outcome = if dropped { JobOutcome::Dropped(None) } else { run(once, batch, &settle) };
                    tell(GeneratorEvent::Settled { batch, at: clock.now(), outcome });
                }
            }
        }
        Ok(())
    };
    Thread::spawn(&format!("tidemill-jobs-{number}"), on_error, body)
}
