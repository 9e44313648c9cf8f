//! Begins a graph: at the clock's time, or where a checkpoint has left it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Surroundings;
use super::program::describe;
use crate::checkpoint::{self, Checkpoint, Comparison, Journal, LoggedBatch, Recovered};
use crate::dstream::{DStreamGraph, off_grid, source_plan};
use crate::error::Result;
use crate::id::OperatorId;
use crate::input::ContextOf;
use crate::listener::{Event, InputInfo};
use crate::time::Time;

/// Where a graph begins.
pub(super) struct Beginning {
    pub(super) zero_time: Time,
    /// The first tick of the timer.
    pub(super) first_tick: Time,
    /// What has to be planned before that.
    pub(super) before: CatchingUp,
    /// Where plans and ends of batches are written down.
    pub(super) journal: Option<Journal>,
    /// What listeners are told, if it goes on from a checkpoint.
    pub(super) recovered: Option<Event>,
}

/// The batches between the last one that is done and the first tick.
#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    /// Planned by an earlier run and not done.
    pending: VecDeque<(Time, Pending)>,
    /// Never planned, since nobody was there: the next of them, and how many there are.
    missed: Option<(Time, u64)>,
}

/// A batch that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) time: Time,
    /// What is known of a batch that was planned before.
    pub(super) pending: Option<Pending>,
}

/// A batch that an earlier run has planned.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// What the inputs have planned.
    pub(super) inputs: Vec<InputInfo>,
    /// The outputs that are done, and do not run again.
    pub(super) done: BTreeSet<OperatorId>,
}

impl Due {
    /// A batch that nobody has planned.
    pub(super) fn anew(time: Time) -> Self {
        Due { time, pending: None }
    }
}

impl CatchingUp {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.missed.is_none()
    }

    /// Takes the next batch.
    pub(super) fn next(&mut self, interval: Duration) -> Option<Due> {
        if let Some((time, pending)) = self.pending.pop_front() {
            return Some(Due { time, pending: Some(pending) });
        }
        let (time, left) = self.missed?;
        self.missed = (left > 1).then(|| (time + interval, left - 1));
        Some(Due::anew(time))
    }
}

/// How a graph begins.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) app_name: String,
    pub(crate) batch_interval: Duration,
    /// For how long every stream remembers its batches at least.
    pub(crate) remember: Duration,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// How many of the batches that a program has missed while it did not run are made up for.
    pub(crate) max_missed_batches: u64,
}

/// Starts the inputs and says when time begins.
pub(super) fn begin(
    graph: &mut DStreamGraph,
    inputs: ContextOf<'_>,
    setting: &Setting,
    with: &Surroundings,
) -> Result<Beginning> {
    let Some(checkpoint) = &setting.checkpoint else {
        graph.start_inputs(inputs)?;
        // Only now: a source that took its time to start is no reason for batches to be late.
        return Ok(begin_anew(graph, setting, with, None));
    };
    graph.check_recoverable()?;
    let (journal, recovered) =
        checkpoint::open(checkpoint, &setting.app_name, &with.clock, with.status.drops_jobs(), &with.on_error)?;
    let comparison = checkpoint::compare(
        recovered.as_ref().map(|recovered| recovered.left(|plan| source_plan(plan).is_some())),
        &describe(graph, setting, Time::ZERO),
        checkpoint.upgrades(),
    );
    comparison.check().map_err(|error| error.within(format!("checkpoint {}", checkpoint.place())))?;
    graph.go_on_as(&comparison.known_as);
    comparison.forgotten.iter().for_each(|operator| journal.forget(*operator));
    let beginning = match &recovered {
        None => {
            graph.start_inputs(&|stream, operator, name| Ok(inputs(stream, operator, name)?.behind(None)))?;
            begin_anew(graph, setting, with, Some(journal.clone()))
        }
        Some(recovered) => resume(graph, inputs, setting, with, &journal, (recovered, &comparison))?,
    };
    graph.record();
    journal.begin(&describe(graph, setting, beginning.zero_time).manifest)?;
    Ok(beginning)
}

fn begin_anew(graph: &mut DStreamGraph, setting: &Setting, with: &Surroundings, journal: Option<Journal>) -> Beginning {
    let zero_time = with.clock.now().floor(setting.batch_interval);
    graph.begin(zero_time, setting.remember);
    let first_tick = zero_time + setting.batch_interval;
    Beginning { zero_time, first_tick, before: CatchingUp::default(), journal, recovered: None }
}

/// Brings the graph to where it was after the last batch that is done.
fn resume(
    graph: &mut DStreamGraph,
    inputs: ContextOf<'_>,
    setting: &Setting,
    with: &Surroundings,
    journal: &Journal,
    (recovered, comparison): (&Recovered, &Comparison),
) -> Result<Beginning> {
    let zero_time = recovered.manifest().zero_time;
    graph.begin(zero_time, setting.remember);
    let batches = recovered.batches();
    let done = recovered.done_up_to();
    let needed = if recovered.manifest().batch_interval == setting.batch_interval {
        BTreeMap::new()
    } else {
        graph.needed_after(done)
    };
    check_grid(&batches[..batches.partition_point(|batch| batch.time <= done)], &needed, setting, zero_time)?;
    let last_planned = batches.last().map_or(done, |batch| batch.time.max(done));
    let last_plans: BTreeMap<OperatorId, _> =
        batches.iter().flat_map(|batch| &batch.inputs).map(|input| (input.operator, &input.plan)).collect();
    let last_plan = |operator| last_plans.get(&operator).and_then(|plan| source_plan(plan)).map(Arc::from);
    graph.start_inputs(&|stream, operator, name| Ok(inputs(stream, operator, name)?.behind(last_plan(operator))))?;
    let mut pending = VecDeque::new();
    for batch in batches {
        let plan_of = |operator| batch.inputs.iter().find(|input| input.operator == operator).map(|input| &*input.plan);
        let inputs = graph.restore_inputs(batch.time, &plan_of);
        let inputs = inputs.map_err(|error| error.within(format!("batch {}", batch.time)))?;
        if batch.time > done {
            pending.push_back((batch.time, Pending { inputs, done: outputs_done(batch, &comparison.again) }));
        }
    }
    graph.restore(done, &needed, &|operator, each| {
        if comparison.forgotten.contains(&operator) { Ok(()) } else { recovered.restore(operator, each) }
    })?;
    graph.resume(done)?;
    // On the grid of this run, which may be another one.
    let first_missed = last_planned.floor_from(setting.batch_interval, zero_time) + setting.batch_interval;
    let next = with.clock.now().floor_from(setting.batch_interval, zero_time) + setting.batch_interval;
    let (missed, not_made_up) = missed(first_missed, next, graph.longest_memory(), setting);
    if first_missed > next {
        let now = with.clock.now();
        tracing::warn!(%now, first_batch = %first_missed, "the clock is behind the last batch, and the next one waits for it");
    }
    let made_up = missed.map_or(0, |(_, batches)| batches);
    let app = &setting.app_name;
    tracing::info!(app, %done, pending = pending.len(), missed = made_up, not_made_up, "goes on from the checkpoint");
    let recovered = Event::Recovered {
        done_up_to: done,
        pending: pending.len(),
        missed: made_up,
        not_made_up,
        reports: recovered.reports().to_vec(),
    };
    Ok(Beginning {
        zero_time,
        first_tick: next.max(first_missed),
        before: CatchingUp { pending, missed },
        journal: Some(journal.clone()),
        recovered: Some(recovered),
    })
}

/// Checks that windows find what they still need of inputs at the times of this run.
fn check_grid(
    done: &[LoggedBatch],
    needed: &BTreeMap<OperatorId, Time>,
    setting: &Setting,
    zero_time: Time,
) -> Result<()> {
    for batch in done.iter().filter(|batch| !batch.time.is_step_from(setting.batch_interval, zero_time)) {
        let is_needed = |after: &Time| batch.time > *after;
        let lost =
            batch.inputs.iter().find(|input| input.records > 0 && needed.get(&input.operator).is_some_and(is_needed));
        if lost.is_some() {
            return Err(off_grid(batch.time));
        }
    }
    Ok(())
}

/// The batches from `first` on and before `next` that are made up for, and how many are not.
fn missed(first: Time, next: Time, memory: Duration, setting: &Setting) -> (Option<(Time, u64)>, u64) {
    let interval = setting.batch_interval.as_micros().max(1);
    let missed = u64::try_from((next - first).as_micros() / interval).unwrap_or(u64::MAX);
    // What windows hold has to come out at all of their times.
    let remembered = u64::try_from(memory.as_micros().div_ceil(interval)).unwrap_or(u64::MAX);
    let made_up = missed.min(setting.max_missed_batches.max(remembered));
    ((made_up > 0).then_some((first, made_up)), missed - made_up)
}

fn outputs_done(batch: &LoggedBatch, again: &BTreeSet<OperatorId>) -> BTreeSet<OperatorId> {
    let is_done = |(output, failure): &&(OperatorId, Option<String>)| failure.is_none() && !again.contains(output);
    batch.outputs.iter().filter(is_done).map(|(output, _)| *output).collect()
}
