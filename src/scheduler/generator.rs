use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never};

use super::batches::Batches;
use super::recovery::{CatchingUp, Due, Pending};
use super::settling::Settling;
use super::workers::{Assignment, End, JobOutcome};
use super::{Status, Surroundings, left_undone};
use crate::checkpoint::{Journal, LoggedBatch, LoggedInput};
use crate::dstream::{DStreamGraph, Planned, PlannedInput};
use crate::error::{Error, ErrorKind, OnError, Result, guarded};
use crate::listener::{BatchInfo, Event, ListenerBus, OutputInfo};
use crate::time::{Clock, Time};

/// What the generator is told.
pub(super) enum GeneratorEvent {
    /// It is time for a batch.
    Tick(Time),
    JobStarted {
        batch: Time,
        output: usize,
        at: Time,
    },
    JobEnded {
        batch: Time,
        output: usize,
        at: Time,
        outcome: JobOutcome,
    },
    /// The part of a batch that comes after its jobs has ended.
    Settled {
        batch: Time,
        at: Time,
        outcome: JobOutcome,
    },
    /// No tick comes any more: end when all batches have, or at the deadline, and say how it went.
    Finish {
        deadline: Time,
        reply: Sender<Result<()>>,
    },
}

/// What a generator is told at the start.
pub(super) struct Books {
    pub(super) interval: Duration,
    pub(super) max_queued_batches: usize,
    /// What comes before the first tick.
    pub(super) before: CatchingUp,
    /// Where plans are written down.
    pub(super) journal: Option<Journal>,
    /// Where the ends of batches wait for their turns.
    pub(super) settling: Arc<Settling<End>>,
}

/// Plans batches, keeps their books and tells inputs and listeners what is done. All of it on one thread.
pub(super) struct Generator {
    graph: DStreamGraph,
    /// Dropped at the end, which ends the job threads.
    jobs: Sender<Assignment>,
    books: Books,
    /// Ticks that came while enough batches waited: their input is decided when they are planned.
    late_ticks: VecDeque<Time>,
    batches: Batches,
    clock: Clock,
    bus: Arc<ListenerBus>,
    rates: Option<Arc<ListenerBus>>,
    status: Arc<Status>,
    on_error: OnError,
}

/// Why a part of a batch is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Failed,
    Dropped,
}

/// Takes an outcome apart: an error gets the names of the part and the batch.
fn part_ended(outcome: JobOutcome, batch: Time, part: impl FnOnce() -> String) -> (Option<Broken>, Result<()>) {
    let named = |error: Error| error.within(part()).within(format!("batch {batch}"));
    match outcome {
        JobOutcome::Done => (None, Ok(())),
        JobOutcome::Dropped(None) => (Some(Broken::Dropped), Ok(())),
        JobOutcome::Dropped(Some(error)) => (Some(Broken::Dropped), Err(named(error))),
        JobOutcome::GivenUp(error) => (None, Err(named(error))),
        JobOutcome::Failed(error) => (Some(Broken::Failed), Err(named(error))),
    }
}

/// What is written down of a batch before it runs.
fn logged(time: Time, inputs: &[PlannedInput]) -> LoggedBatch {
    let inputs = inputs.iter().map(|PlannedInput { operator, info, plan }| LoggedInput {
        operator: *operator,
        plan: plan.as_slice().into(),
        records: info.as_ref().map_or(0, |info| info.records),
        description: info.as_ref().map_or_else(String::new, |info| info.description.clone()),
    });
    LoggedBatch { time, inputs: inputs.collect(), outputs: Vec::new(), done: false }
}

impl Generator {
    pub(super) fn new(graph: DStreamGraph, jobs: Sender<Assignment>, books: Books, with: &Surroundings) -> Self {
        Generator {
            graph,
            jobs,
            books,
            late_ticks: VecDeque::new(),
            batches: Batches::default(),
            clock: with.clock.clone(),
            bus: Arc::clone(&with.bus),
            rates: with.rates.clone(),
            status: Arc::clone(&with.status),
            on_error: Arc::clone(&with.on_error),
        }
    }

    /// Handles events until it is told to finish and has.
    pub(super) fn run(mut self, inbox: &Receiver<GeneratorEvent>) -> Result<()> {
        let mut finishing: Option<(Time, Sender<Result<()>>)> = None;
        let mut alarm = never();
        if let Err(error) = self.plan_batches() {
            (self.on_error)(error);
        }
        loop {
            if let Some((deadline, reply)) = &finishing {
                if self.is_idle() {
                    let left = *deadline - self.clock.now();
                    let stopped = self.status.busy_with("stopping the inputs", || self.graph.stop_inputs(left));
                    // The asker may have gone.
                    let _ = reply.send(stopped);
                    return Ok(());
                }
            }
            crossbeam_channel::select! {
                recv(inbox) -> event => match event {
                    Ok(GeneratorEvent::Finish { deadline, reply }) => {
                        alarm = self.clock.alarm(deadline);
                        finishing = Some((deadline, reply));
                    }
                    Ok(event) => self.handle(event),
                    // Everybody who could send is gone: the context was dropped in the middle of its start.
                    Err(_) => return self.graph.stop_inputs(Duration::ZERO),
                },
                recv(alarm) -> _ => {
                    if let Some((_, reply)) = &finishing {
                        let _ = reply.send(Err(self.late_error()));
                    }
                    return self.graph.stop_inputs(Duration::ZERO);
                }
            }
        }
    }

    /// Whether nothing runs and nothing is going to.
    fn is_idle(&self) -> bool {
        let all_planned = self.late_ticks.is_empty() && self.books.before.is_empty();
        self.batches.waiting() == 0 && (all_planned || self.status.drops_queued_jobs())
    }

    fn handle(&mut self, event: GeneratorEvent) {
        let outcome = match event {
            GeneratorEvent::Tick(time) => {
                self.tick(time);
                Ok(())
            }
            GeneratorEvent::JobStarted { batch, output, at } => {
                self.job_started(batch, output, at);
                Ok(())
            }
            GeneratorEvent::JobEnded { batch, output, at, outcome } => self.job_ended(batch, output, at, outcome),
            GeneratorEvent::Settled { batch, at, outcome } => self.settled(batch, at, outcome),
            GeneratorEvent::Finish { .. } => Ok(()),
        };
        if let Err(error) = outcome.and_then(|()| self.plan_batches()) {
            (self.on_error)(error);
        }
    }

    fn tick(&mut self, time: Time) {
        self.late_ticks.push_back(time);
        if self.batches.waiting() >= self.books.max_queued_batches {
            let waiting = self.batches.waiting() + self.late_ticks.len() - 1;
            if self.late_ticks.len().is_power_of_two() {
                tracing::warn!(batch = %time, waiting, "batches come faster than they are processed");
            }
            self.bus.post(Event::FallingBehind { batch: time, waiting });
        }
    }

    /// Plans the batches that are due, as long as not too many wait to run.
    fn plan_batches(&mut self) -> Result<()> {
        while self.batches.waiting() < self.books.max_queued_batches.max(1) && !self.status.drops_queued_jobs() {
            let due = self.books.before.next(self.books.interval);
            let Some(due) = due.or_else(|| self.late_ticks.pop_front().map(Due::anew)) else { break };
            let time = due.time;
            self.plan(due).map_err(|error| error.within(format!("batch {time}")))?;
        }
        Ok(())
    }

    fn plan(&mut self, Due { time, pending }: Due) -> Result<()> {
        let graph = &self.graph;
        let planned = self.clock.now();
        let Planned { mut jobs, inputs, settle } = self.status.busy_with(format!("planning batch {time}"), || {
            guarded(
                || graph.generate(time),
                |said| Error::new(ErrorKind::User, format!("a closure panicked while the batch was planned: {said}")),
            )
        })?;
        let (ticket, inputs) = match (pending, &self.books.journal) {
            // It was written down by the run that has planned it.
            (Some(Pending { inputs, done }), _) => {
                jobs.retain(|job| !done.contains(&graph.output_id(job.output)));
                (None, inputs)
            }
            (None, journal) => {
                let ticket = journal.as_ref().map(|journal| journal.planned(&logged(time, &inputs)));
                (ticket, inputs.into_iter().filter_map(|input| input.info).collect())
            }
        };
        let outputs = jobs.iter().map(|job| OutputInfo::new(time, job.output, graph.output_name(job.output)));
        let info = BatchInfo::new(time, inputs, planned, self.clock.now(), outputs.collect());
        self.bus.post(Event::BatchSubmitted(info.clone()));
        let parts = jobs.len() + usize::from(settle.is_some());
        self.batches.open(info, parts, self.graph.horizon(time));
        if parts == 0 {
            return self.batch_ended(time);
        }
        let is_only_settled = jobs.is_empty();
        if let Some(settle) = settle {
            self.books.settling.planned(time, jobs.len(), End { settle, ticket: ticket.clone() });
        }
        let outputs = jobs.into_iter().map(|job| {
            let (id, ticket) = (self.graph.output_id(job.output), ticket.clone());
            Assignment::Output { batch: time, id, job, ticket }
        });
        for assignment in outputs.chain(is_only_settled.then_some(Assignment::Settle)) {
            self.jobs
                .send(assignment)
                .map_err(|_| Error::new(ErrorKind::Internal, "the job threads have ended before the generator"))?;
        }
        Ok(())
    }

    fn job_started(&mut self, batch: Time, output: usize, at: Time) {
        let Some(open) = self.batches.get_mut(batch) else { return };
        let is_first = open.info.started.is_none();
        open.info.started.get_or_insert(at);
        if is_first {
            self.bus.post(Event::BatchStarted(open.info.clone()));
        }
        if let Some(info) = open.info.outputs.iter_mut().find(|info| info.output == output) {
            info.started = Some(at);
            self.bus.post(Event::OutputStarted(info.clone()));
        }
    }

    fn job_ended(&mut self, batch: Time, output: usize, at: Time, outcome: JobOutcome) -> Result<()> {
        let name = self.graph.output_name(output);
        let (failed, failure) = part_ended(outcome, batch, || format!("output {name}"));
        let Some(open) = self.batches.get_mut(batch) else { return Ok(()) };
        if let Some(info) = open.info.outputs.iter_mut().find(|info| info.output == output && info.started.is_some()) {
            info.ended = Some(at);
            info.failure = failure.as_ref().err().map(Error::to_string);
            self.bus.post(Event::OutputCompleted(info.clone()));
        }
        let failure = match failure {
            // The program goes on, or stops for another reason.
            Err(error) if failed != Some(Broken::Failed) => {
                tracing::error!(%error, "an output failed");
                Ok(())
            }
            failure => failure,
        };
        self.close_part(batch, at, failed, failure)
    }

    fn settled(&mut self, batch: Time, at: Time, outcome: JobOutcome) -> Result<()> {
        let (failed, failure) = part_ended(outcome, batch, || "its state".to_string());
        self.close_part(batch, at, failed, failure)
    }

    /// Notes that a part of a batch has ended, the last one perhaps.
    fn close_part(&mut self, batch: Time, at: Time, ended: Option<Broken>, failure: Result<()>) -> Result<()> {
        let Some(open) = self.batches.get_mut(batch) else { return Ok(()) };
        if open.jobs_left == 0 {
            // The journal has ended while it was told of the batch, and both have said so.
            return failure;
        }
        open.jobs_left -= 1;
        open.failed |= ended == Some(Broken::Failed);
        open.dropped |= ended == Some(Broken::Dropped);
        if open.jobs_left == 0 {
            open.info.ended = Some(at);
            // Nobody is told that a batch is done in which something has failed: there is one error at most.
            return failure.and(self.batch_ended(batch));
        }
        failure
    }

    /// The last job of a batch has ended, or it had none.
    fn batch_ended(&mut self, time: Time) -> Result<()> {
        if let Some(open) = self.batches.get_mut(time) {
            let now = self.clock.now();
            open.info.started.get_or_insert(now);
            open.info.ended.get_or_insert(now);
            // Listeners measure batches by this: one that was thrown away has run in no time.
            if open.failed || !open.dropped {
                if let Some(rates) = &self.rates {
                    rates.post(Event::BatchCompleted(open.info.clone()));
                }
                self.bus.post(Event::BatchCompleted(open.info.clone()));
            }
        }
        for done in self.batches.close_done() {
            self.graph.clear(done);
        }
        if let Some(completed) = self.batches.take_completed() {
            if let Some(journal) = &self.books.journal {
                // A process that was stalled, and has been replaced, must not move the place of an input back.
                let what = "looking whether the checkpoint is still ours";
                match self.status.busy_with(what, || journal.check_owner(self.status.drops_jobs())) {
                    // A look that a stop has ended says nothing. Where the input goes on is in the checkpoint too.
                    Err(_) if self.status.drops_queued_jobs() => return Ok(()),
                    owned => owned?,
                }
            }
            let what = format!("telling the inputs that batch {completed} is done");
            let told = self.status.busy_with(what, || self.graph.completed(completed));
            told.map_err(|error| error.within(format!("batch {completed}")))?;
        }
        Ok(())
    }

    /// Names what is left undone at the deadline of a stop.
    fn late_error(&self) -> Error {
        let running = self.batches.unfinished().flat_map(|batch| {
            let left = batch.info.outputs.iter().filter(|output| output.ended.is_none());
            left.map(|output| format!("batch {} output {}", output.batch, output.name))
        });
        // There may be thousands.
        let late = match (self.late_ticks.front(), self.late_ticks.back()) {
            (Some(first), Some(last)) if first < last => Some(format!("batches {first} to {last} not planned")),
            (Some(only), _) => Some(format!("batch {only} not planned")),
            (None, _) => None,
        };
        let undone: Vec<_> = running.chain(late).collect();
        left_undone(&undone.join(", "))
    }
}
