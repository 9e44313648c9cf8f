//! Ticks, plans batches, runs their jobs and notes when they are done.
//!
//! ```text
//! timer ──tick──▶ generator thread ──jobs──▶ job threads
//!                     ▲    │                    │
//!                     └────┼──── job ended ─────┘
//!                          └──▶ inputs: completed, listeners: events
//! ```
//!
//! The generator owns the graph and the books of all batches; everybody else sends it events.

mod attempts;
mod batches;
mod generator;
mod program;
mod recovery;
mod settling;
mod status;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvError, RecvTimeoutError, Sender, bounded, select_biased, unbounded};

use crate::checkpoint::Journal;
use crate::dstream::DStreamGraph;
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::event_loop::{RecurringTimer, Thread};
use crate::input::ContextOf;
use crate::listener::{Event, ListenerBus};
use crate::time::{Clock, Time};

pub use attempts::OutputFailure;
pub(crate) use attempts::OutputPolicy;
use generator::{Books, Generator, GeneratorEvent};
use recovery::Beginning;
pub(crate) use recovery::Setting;
use settling::Settling;
pub use status::State;
pub(crate) use status::Status;

/// What a scheduler is told by the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) setting: Setting,
    pub(crate) concurrent_jobs: usize,
    pub(crate) max_queued_batches: usize,
    pub(crate) outputs: OutputPolicy,
}

/// How a context ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After one more tick, so that what has come in gets its batch, and after all batches have run and are committed.
    Gracefully,
    /// After the jobs that are running now. Batches that wait are dropped; their input was not committed and comes
    /// again.
    Now,
}

/// The running part of a context.
pub(crate) struct Scheduler {
    timer: RecurringTimer,
    events: Sender<GeneratorEvent>,
    generator: Thread,
    workers: Vec<Thread>,
    journal: Option<Journal>,
    clock: Clock,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("timer", &self.timer).finish_non_exhaustive()
    }
}

/// What the scheduler works with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) bus: Arc<ListenerBus>,
    /// Carries the ends of batches to the rate controllers, if there are any.
    pub(crate) rates: Option<Arc<ListenerBus>>,
    pub(crate) status: Arc<Status>,
    pub(crate) on_error: OnError,
}

impl Scheduler {
    /// Starts the inputs, the threads, and the timer last.
    pub(crate) fn start(
        mut graph: DStreamGraph,
        inputs: ContextOf,
        settings: &Settings,
        with: &Surroundings,
    ) -> Result<Self> {
        let beginning = recovery::begin(&mut graph, inputs, &settings.setting, with).inspect_err(|_| {
            // The inputs that have started already let go of what they hold; the first error is the one to tell.
            let _ = graph.stop_inputs(Duration::ZERO);
        })?;
        let Beginning { zero_time, first_tick, before, journal, recovered } = beginning;
        with.bus.post(Event::StreamingStarted { zero_time });
        recovered.into_iter().for_each(|recovered| with.bus.post(recovered));
        let (events, inbox) = unbounded();
        let (jobs, queue) = unbounded();
        let settling = Arc::new(Settling::new());
        let mut workers = Vec::new();
        for number in 0..settings.concurrent_jobs {
            match workers::spawn(
                number,
                queue.clone(),
                &settling,
                events.clone(),
                settings.outputs,
                journal.clone(),
                with,
            ) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    // The others end when nobody can send them a job any more.
                    drop(jobs);
                    let _ = graph.stop_inputs(Duration::ZERO);
                    return Err(error);
                }
            }
        }
        let interval = settings.setting.batch_interval;
        let books = Books {
            interval,
            max_queued_batches: settings.max_queued_batches,
            before,
            journal: journal.clone(),
            settling,
        };
        let generator = Generator::new(graph, jobs, books, with);
        let generator = Thread::spawn("tidemill-generator", Arc::clone(&with.on_error), move || generator.run(&inbox))?;
        let ticks = events.clone();
        let timer = RecurringTimer::start(
            "tidemill-timer",
            &with.clock,
            first_tick,
            interval,
            Arc::clone(&with.on_error),
            move |time| {
                ticks
                    .send(GeneratorEvent::Tick(time))
                    .map_err(|_| Error::new(ErrorKind::Internal, "the generator has ended before the timer"))
            },
        )?;
        Ok(Scheduler { timer, events, generator, workers, journal, clock: with.clock.clone() })
    }

    /// Ends everything by `deadline`. Whatever is then still running is left to itself and named in the error.
    pub(crate) fn stop(self, how: Stop, deadline: Time, status: &Status) -> Result<()> {
        let Scheduler { timer, events, generator, workers, journal, clock } = self;
        // A context that has failed does not plan another batch.
        if how == Stop::Gracefully && !status.has_failed() {
            timer.stop_after_next_tick(deadline, status.failed());
        } else {
            status.drop_queued_jobs();
            timer.stop();
        }
        let (reply, outcome) = bounded(1);
        let finish = GeneratorEvent::Finish { deadline, reply };
        let outcome = match events.send(finish) {
            Ok(()) => select_biased! {
                recv(outcome) -> outcome => outcome,
                // The generator answers by then, unless a source or a closure keeps it from it.
                recv(clock.alarm(deadline)) -> _ => match outcome.recv_timeout(GRACE) {
                    Err(RecvTimeoutError::Timeout) => Ok(Err(left_undone(&status.held_up()))),
                    answered => answered.map_err(|_| RecvError),
                },
            },
            Err(_) => Err(RecvError),
        };
        // The generator may have ended with an error, which has been reported.
        let outcome = outcome.unwrap_or(Ok(()));
        drop(events);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            // What runs is left to itself, but nothing begins any more.
            status.drop_queued_jobs();
            workers.into_iter().for_each(Thread::leave);
            generator.leave();
            return outcome;
        }
        generator.join();
        workers.into_iter().for_each(Thread::join);
        // Last: what batches have to write is written.
        let closed = journal.map_or(Ok(()), |journal| journal.close(&clock.alarm(deadline)));
        outcome.and(closed)
    }

    /// Tells everything to end and waits for nothing: for a thread of the context itself, which lets go of it.
    pub(crate) fn abandon(self, status: &Status) {
        let Scheduler { timer, events, generator, workers, clock, .. } = self;
        status.drop_queued_jobs();
        timer.stop();
        let (reply, _) = bounded(1);
        // The generator may have ended with an error.
        let _ = events.send(GeneratorEvent::Finish { deadline: clock.now(), reply });
        workers.into_iter().for_each(Thread::leave);
        generator.leave();
    }
}

/// For how long the generator may be late with its answer, in real time.
const GRACE: Duration = Duration::from_secs(1);

/// The error of a stop that ran out of time.
fn left_undone(what: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("stopping took too long; left undone: {what}"))
}
