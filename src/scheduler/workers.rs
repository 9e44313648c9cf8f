use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::Surroundings;
use super::generator::GeneratorEvent;
use crate::dstream::Job;
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::event_loop::Thread;
use crate::time::Time;

/// A job on its way to a thread that runs it.
pub(super) struct Assignment {
    pub(super) batch: Time,
    pub(super) job: Job,
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum JobOutcome {
    Done,
    Failed(Error),
    /// It had not begun when the context was told to drop what waits.
    Dropped,
}

/// Starts a thread that takes jobs in order, runs them and reports to the generator.
pub(super) fn spawn(
    number: usize,
    queue: Receiver<Assignment>,
    events: Sender<GeneratorEvent>,
    with: &Surroundings,
) -> Result<Thread> {
    let (clock, status) = (with.clock.clone(), Arc::clone(&with.status));
    let body = move || {
        for Assignment { batch, job } in queue {
            let output = job.output;
            let outcome = if status.drops_queued_jobs() {
                JobOutcome::Dropped
            } else {
                // The generator outlives its jobs, unless it failed, which has been reported.
                let _ = events.send(GeneratorEvent::JobStarted { batch, output, at: clock.now() });
                let run = guarded(|| job.run(), |said| Error::new(ErrorKind::Output, format!("panicked: {said}")));
                run.map_or_else(
                    |error| {
                        // At once: until the generator has heard of it, this thread would have begun the next job.
                        status.drop_queued_jobs();
                        JobOutcome::Failed(error)
                    },
                    |()| JobOutcome::Done,
                )
            };
            let _ = events.send(GeneratorEvent::JobEnded { batch, output, at: clock.now(), outcome });
        }
        Ok(())
    };
    Thread::spawn(&format!("tidemill-jobs-{number}"), Arc::clone(&with.on_error), body)
}
