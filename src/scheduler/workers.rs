use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::Surroundings;
use super::attempts::{OutputFailure, OutputPolicy};
use super::generator::GeneratorEvent;
use super::settling::Settling;
use crate::checkpoint::{Journal, Ticket};
use crate::dstream::{Job, Settle};
use crate::error::{Error, Result};
use crate::event_loop::Thread;
use crate::id::OperatorId;
use crate::time::Time;

/// A part of a batch on its way to a thread that runs it.
pub(super) enum Assignment {
    Output {
        batch: Time,
        id: OperatorId,
        job: Job,
        /// What has to be on disk before the part runs: the plan of the batch.
        ticket: Option<Ticket>,
    },
    /// Nothing but the end of a batch that has no outputs.
    Settle,
}

/// What it takes to settle a batch.
pub(super) struct End {
    pub(super) settle: Settle,
    /// As that of the outputs.
    pub(super) ticket: Option<Ticket>,
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

/// Starts a thread that takes parts of batches in order, runs them and reports to the generator.
pub(super) fn spawn(
    number: usize,
    queue: Receiver<Assignment>,
    settling: &Arc<Settling<End>>,
    events: Sender<GeneratorEvent>,
    policy: OutputPolicy,
    journal: Option<Journal>,
    with: &Surroundings,
) -> Result<Thread> {
    let on_error = Arc::clone(&with.on_error);
    let worker = Worker { settling: Arc::clone(settling), events, policy, journal, with: with.clone() };
    let body = move || {
        queue.into_iter().for_each(|assignment| worker.run(assignment));
        Ok(())
    };
    Thread::spawn(&format!("tidemill-jobs-{number}"), on_error, body)
}

struct Worker {
    settling: Arc<Settling<End>>,
    events: Sender<GeneratorEvent>,
    policy: OutputPolicy,
    journal: Option<Journal>,
    with: Surroundings,
}

impl Worker {
    fn run(&self, assignment: Assignment) {
        if let Assignment::Output { batch, id, job, ticket } = assignment {
            let output = job.output;
            let outcome = self.gate(ticket.as_ref()).map_or_else(std::convert::identity, |()| {
                self.tell(GeneratorEvent::JobStarted { batch, output, at: self.with.clock.now() });
                self.policy.run(batch, &|| job.run(), &self.with)
            });
            self.stop_if_failed(&outcome);
            self.write_down(batch, id, &outcome);
            self.tell(GeneratorEvent::JobEnded { batch, output, at: self.with.clock.now(), outcome });
            self.settling.output_ended(batch);
        }
        self.settling.run(|batch, end| self.end(batch, &end));
    }

    /// Settles a batch whose outputs have ended.
    fn end(&self, batch: Time, End { settle, ticket }: &End) {
        let once = OutputPolicy { attempts: 1, on_failure: OutputFailure::Stop, ..self.policy };
        let settle = || self.settle(batch, settle);
        let gate = self.gate(ticket.as_ref());
        let outcome = gate.map_or_else(std::convert::identity, |()| once.run(batch, &settle, &self.with));
        self.stop_if_failed(&outcome);
        // Of what goes well and is saved, the generator hears when it is.
        if self.journal.is_none() || !matches!(outcome, JobOutcome::Done) {
            self.tell(GeneratorEvent::Settled { batch, at: self.with.clock.now(), outcome });
        }
    }

    /// Whether a part of a batch may run: the context goes on, its plan is on disk, and the checkpoint is still ours.
    fn gate(&self, ticket: Option<&Ticket>) -> Result<(), JobOutcome> {
        if self.with.status.drops_queued_jobs() {
            return Err(JobOutcome::Dropped(None));
        }
        let Some(journal) = &self.journal else { return Ok(()) };
        ticket.map_or(Ok(()), |ticket| journal.wait(ticket)).map_err(JobOutcome::Failed)?;
        let owned = journal.check_owner(self.with.status.drops_jobs());
        // The wait may have been long, and a look that a stop has ended says nothing.
        if self.with.status.drops_queued_jobs() {
            Err(JobOutcome::Dropped(None))
        } else {
            owned.map_err(JobOutcome::Failed)
        }
    }

    /// At once: until the generator has heard of it, this thread would have begun the next part.
    fn stop_if_failed(&self, outcome: &JobOutcome) {
        if let JobOutcome::Failed(_) = outcome {
            self.with.status.drop_queued_jobs();
        }
    }

    /// Notes in the checkpoint how an output has ended.
    fn write_down(&self, batch: Time, output: OperatorId, outcome: &JobOutcome) {
        let Some(journal) = &self.journal else { return };
        match outcome {
            JobOutcome::Done => journal.output_ended(batch, output, None),
            JobOutcome::Failed(error) | JobOutcome::GivenUp(error) | JobOutcome::Dropped(Some(error)) => {
                journal.output_ended(batch, output, Some(&error.to_string()));
            }
            JobOutcome::Dropped(None) => {}
        }
    }

    /// Brings what operators keep up to the batch and has it saved.
    fn settle(&self, batch: Time, settle: &Settle) -> Result<()> {
        let chunks = settle.run(self.journal.is_some())?;
        let Some(journal) = &self.journal else { return Ok(()) };
        let (outcome, events) = (JobOutcome::Dropped(None), self.events.clone());
        let news = News { batch, at: self.with.clock.now(), outcome, events };
        journal.settled(batch, chunks, settle.plans_from(), Box::new(move || news.saved()))
    }

    /// The generator outlives its jobs, unless it failed, which has been reported.
    fn tell(&self, event: GeneratorEvent) {
        let _ = self.events.send(event);
    }
}

/// Tells the generator that a batch is saved; or that it never will be, if nobody says that it is.
struct News {
    batch: Time,
    at: Time,
    outcome: JobOutcome,
    events: Sender<GeneratorEvent>,
}

impl News {
    fn saved(mut self) {
        self.outcome = JobOutcome::Done;
    }
}

impl Drop for News {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, JobOutcome::Dropped(None));
        // As Worker::tell.
        let _ = self.events.send(GeneratorEvent::Settled { batch: self.batch, at: self.at, outcome });
    }
}
