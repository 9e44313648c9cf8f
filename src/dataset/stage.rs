//! Cuts a job into stages at its shuffles and runs them, parents first.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashSet;

use super::lineage::AnyLineage;
use super::shuffle::ShuffleMap;
use super::{Chunk, Dataset, Flow, Lineage, Partition};
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Adds, Runtime, Stage, StageKind, TaskContext, is_task_running};

impl<T: Data> Dataset<T> {
    /// Runs an action: `task` once for every given partition, after every shuffle that they need. Returns the results
    /// in the order of `partitions`.
    pub(crate) fn run_on<R: Send>(
        &self,
        partitions: &[usize],
        task: impl for<'t> Fn(&'t dyn Lineage<T>, usize, &TaskContext<'t>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let lineage = &**self.lineage();
        run_shuffles(lineage.any(), self.runtime())?;
        let results: Vec<Mutex<Option<R>>> = (0..self.num_partitions()).map(|_| Mutex::new(None)).collect();
        let stage = Stage {
            origin: lineage.header().origin(),
            kind: StageKind::Result,
            partitions,
            records: lineage.records(),
            max_attempts: self.runtime().max_task_attempts(),
        };
        self.runtime().executor().run(&stage, &|partition, _| {
            let context = TaskContext::new(partition);
            let result = context.run(|| task(lineage, partition, &context))?;
            *results[partition].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            Ok(())
        })?;
        let mut results = results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut all: Vec<Option<R>> = results.by_ref().collect();
        partitions
            .iter()
            .map(|&partition| {
                all[partition].take().ok_or_else(|| {
                    Error::new(ErrorKind::Internal, format!("the executor left out partition {partition}"))
                })
            })
            .collect()
    }

    /// Runs an action on all partitions.
    pub(crate) fn run<R: Send>(
        &self,
        task: impl for<'t> Fn(&'t dyn Lineage<T>, usize, &TaskContext<'t>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let partitions: Vec<usize> = (0..self.num_partitions()).collect();
        self.run_on(&partitions, task)
    }
}

/// Computes a partition into memory, or takes it from there.
pub(crate) fn gather<'t, T: Data>(
    lineage: &'t dyn Lineage<T>,
    partition: usize,
    task: &TaskContext<'t>,
) -> Result<Partition<T>> {
    if let Some(records) = lineage.in_memory(partition) {
        return Ok(records);
    }
    let mut records = Vec::new();
    let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
        chunk.append_to(&mut records);
        Ok(Flow::Continue(()))
    })?;
    Ok(Arc::new(records))
}

/// Gets a recipe ready to be computed: runs the map tasks that are missing from its shuffles, those of its ancestors
/// first.
fn run_shuffles(node: &dyn AnyLineage, runtime: &Runtime) -> Result<()> {
    let mut seen = AHashSet::new();
    walk(node, runtime, &mut seen)
}

/// Goes to each node once, by its address: a chain of diamonds has twice as many ways to its start with each of them.
fn walk(node: &dyn AnyLineage, runtime: &Runtime, seen: &mut AHashSet<usize>) -> Result<()> {
    if !seen.insert(std::ptr::from_ref(node).cast::<()>() as usize) {
        return Ok(());
    }
    if let Some(shuffle) = node.shuffle() {
        // A task that runs an action of its own does not wait: it may be one that the other thread waits for.
        let _turn = (!is_task_running()).then(|| shuffle.turn());
        let missing = runtime.shuffles().missing(shuffle.id(), shuffle.map_tasks());
        // What a shuffle has written stands for everything behind it.
        if missing.is_empty() {
            return Ok(());
        }
        walk_parents(node, runtime, seen)?;
        node.prepare()?;
        return run_map_tasks(node, shuffle, &missing, runtime);
    }
    walk_parents(node, runtime, seen)?;
    node.prepare()
}

fn walk_parents(node: &dyn AnyLineage, runtime: &Runtime, seen: &mut AHashSet<usize>) -> Result<()> {
    let mut outcome = Ok(());
    node.parents(&mut |parent| {
        if outcome.is_ok() {
            outcome = walk(parent, runtime, seen);
        }
    });
    outcome
}

fn run_map_tasks(node: &dyn AnyLineage, shuffle: &dyn ShuffleMap, missing: &[usize], runtime: &Runtime) -> Result<()> {
    let stage = Stage {
        origin: node.header().origin(),
        kind: StageKind::ShuffleMap,
        partitions: missing,
        records: shuffle.map_records(),
        max_attempts: runtime.max_task_attempts(),
    };
    runtime.executor().run(&stage, &|partition, _| {
        let context = TaskContext::new(partition);
        let _uncounted = shuffle.has_run(partition).then(Adds::keep_apart);
        context.run(|| shuffle.run_map_task(partition, &context))
    })
}
