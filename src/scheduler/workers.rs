use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::Surroundings;
use super::generator::GeneratorEvent;
use crate::dstream::{Job, Settle};
use crate::error::{Error, ErrorKind, Result, guarded};
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
        let run = |part: &dyn Fn() -> Result<()>| {
            let run = guarded(part, |said| Error::new(ErrorKind::Output, format!("panicked: {said}")));
            run.map_or_else(
                |error| {
                    // At once: until the generator has heard of it, this thread would have begun the next part.
                    status.drop_queued_jobs();
                    JobOutcome::Failed(error)
                },
                |()| JobOutcome::Done,
            )
        };
        // The generator outlives its jobs, unless it failed, which has been reported.
        let tell = |event| drop(events.send(event));
        for Assignment { batch, work } in queue {
            let dropped = status.drops_queued_jobs();
            match work {
                Work::Output(job) => {
                    let output = job.output;
                    let outcome = if dropped {
                        JobOutcome::Dropped
                    } else {
                        tell(GeneratorEvent::JobStarted { batch, output, at: clock.now() });
                        run(&|| job.run())
                    };
                    tell(GeneratorEvent::JobEnded { batch, output, at: clock.now(), outcome });
                }
                Work::Settle(settle) => {
                    let outcome = if dropped { JobOutcome::Dropped } else { run(&|| settle.run(false).map(|_| ())) };
                    tell(GeneratorEvent::Settled { batch, at: clock.now(), outcome });
                }
            }
        }
        Ok(())
    };
    Thread::spawn(&format!("tidemill-jobs-{number}"), Arc::clone(&with.on_error), body)
}
