use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ahash::AHashMap;

use super::{Executor, Stage, StageKind, is_task_running, run_attempts};
use crate::error::{Error, ErrorKind, Result};
use crate::id::OperatorId;
use crate::time::Clock;

/// A stage that is expected to take less than this runs on the calling thread: waking a sleeping pool takes 13 µs at
/// the median and up to 250 µs in the tail.
const WORTH_WAKING: Duration = Duration::from_micros(150);

/// Runs tasks on a rayon pool, helped by the calling thread; small stages on the calling thread alone.
///
/// What a stage will cost is estimated from how long its last runs took per record.
#[derive(Debug)]
pub(crate) struct PoolExecutor {
    /// One thread less than `parallelism`: the caller works too. `None` when it works alone.
    helpers: Option<Helpers>,
    parallelism: usize,
    clock: Clock,
    costs: Mutex<AHashMap<(OperatorId, StageKind), Cost>>,
}

/// A moving average of what a stage costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    nanos_per_record: f64,
}

impl PoolExecutor {
    /// An executor that runs up to `parallelism` tasks at a time. Each of its threads begins with `on_start`.
    pub(crate) fn new(parallelism: usize, on_start: fn()) -> Result<Self> {
        let parallelism = parallelism.max(1);
        let helpers = match parallelism - 1 {
            0 => None,
            helpers => Some(Helpers::start(helpers, on_start)?),
        };
        Ok(PoolExecutor { helpers, parallelism, clock: Clock::system(), costs: Mutex::default() })
    }

    /// Whether waking the pool pays, as far as the last runs of this stage tell.
    fn is_worth_waking(&self, stage: &Stage<'_>) -> bool {
        if stage.partitions.len() < 2 || stage.records == Some(0) {
            return false;
        }
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cost) = costs.get(&(stage.origin.operator, stage.kind)) else { return true };
        cost.nanos_per_record * records(stage) > WORTH_WAKING.as_nanos() as f64
    }

    fn learn(&self, stage: &Stage<'_>, worked: Duration) {
        let nanos_per_record = worked.as_nanos() as f64 / records(stage);
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        costs
            .entry((stage.origin.operator, stage.kind))
            .and_modify(|cost| cost.nanos_per_record = 0.75 * cost.nanos_per_record + 0.25 * nanos_per_record)
            .or_insert(Cost { nanos_per_record });
    }
}

/// Threads of a rayon pool. Dropping them waits until they have ended, which rayon itself does not.
#[derive(Debug)]
struct Helpers {
    /// `None` only while dropping.
    pool: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Helpers {
    fn start(count: usize, on_start: fn()) -> Result<Self> {
        let mut threads = Vec::with_capacity(count);
        let spawn = |thread: rayon::ThreadBuilder| {
            let builder = std::thread::Builder::new().name(format!("tidemill-worker-{}", thread.index()));
            threads.push(builder.spawn(move || {
                on_start();
                thread.run();
            })?);
            Ok(())
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .spawn_handler(spawn)
            .build()
            .map_err(|e| Error::new(ErrorKind::Internal, "the worker threads cannot be started").caused_by(e))?;
        Ok(Helpers { pool: Some(pool), threads })
    }

    fn pool(&self) -> &rayon::ThreadPool {
        self.pool.as_ref().expect("the pool is there until it is dropped")
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.pool = None;
        for thread in self.threads.drain(..) {
            // A task may be the last to let go of its pool; it cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                // Panics of tasks are caught and reported by the tasks.
                let _ = thread.join();
            }
        }
    }
}

/// A stage whose records nobody has counted is one record: then the cost is that of the stage.
fn records(stage: &Stage<'_>) -> f64 {
    stage.records.unwrap_or(1).max(1) as f64
}

impl Executor for PoolExecutor {
    fn run(&self, stage: &Stage<'_>, task: &(dyn Fn(usize, u32) -> Result<()> + Sync)) -> Result<()> {
        let started = self.clock.now();
        // A task that runs an action of its own may hold what other tasks wait for (a partition that is being kept).
        // While it waited for the pool it would be given such a task, and wait for itself.
        let may_share = !is_task_running() && self.is_worth_waking(stage);
        let helpers = self.helpers.as_ref().filter(|_| may_share);
        let Some(helpers) = helpers else {
            let outcome = stage.partitions.iter().try_for_each(|&partition| run_attempts(stage, partition, task));
            self.learn(stage, self.clock.now() - started);
            return outcome;
        };
        // Threads take the next task until none is left: a slow task holds up nobody.
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let first_error = Mutex::new(None);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some(&partition) = stage.partitions.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                if let Err(error) = run_attempts(stage, partition, task) {
                    failed.store(true, Ordering::Relaxed);
                    first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        let threads = self.parallelism.min(stage.partitions.len());
        helpers.pool().in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| work());
            }
            work();
        });
        let outcome = match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        };
        self.learn(stage, (self.clock.now() - started) * threads as u32);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Origin;
    use std::panic::Location;
    use std::sync::Barrier;

    fn origin() -> Origin {
        let operator = OperatorId::derive("map", &[], 0);
        Origin { operator, name: "map".into(), site: Location::caller() }
    }

    fn stage<'s>(origin: &'s Origin, partitions: &'s [usize]) -> Stage<'s> {
        Stage { origin, kind: StageKind::Result, partitions, records: None, max_attempts: 2 }
    }

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        let origin = origin();
        for parallelism in [1, 2, 5] {
            let executor = PoolExecutor::new(parallelism, || {}).unwrap();
            let counts: Vec<_> = (0..20).map(|_| AtomicUsize::new(0)).collect();
            let partitions: Vec<_> = (0..20).collect();
            let task = |partition: usize, _| {
                counts[partition].fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            executor.run(&stage(&origin, &partitions), &task).unwrap();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn tasks_run_at_the_same_time() {
        let executor = PoolExecutor::new(3, || {}).unwrap();
        let all_here = Barrier::new(3);
        let task = |_, _| {
            all_here.wait();
            Ok(())
        };
        executor.run(&stage(&origin(), &[0, 1, 2]), &task).unwrap();
    }

    #[test]
    fn the_first_error_ends_the_stage() {
        let executor = PoolExecutor::new(2, || {}).unwrap();
        let partitions: Vec<_> = (0..1000).collect();
        let task = |partition, _| match partition {
            4 => Err(Error::new(ErrorKind::User, "four")),
            _ => Ok(()),
        };
        let error = executor.run(&stage(&origin(), &partitions), &task).unwrap_err();
        assert_eq!(error.to_string(), "task failed in 2 attempts: four");
    }

    #[test]
    fn a_stage_that_was_cheap_runs_on_the_caller() {
        let executor = PoolExecutor::new(4, || {}).unwrap();
        let caller = std::thread::current().id();
        let origin = origin();
        let partitions = [0, 1, 2, 3];
        let mut stage = stage(&origin, &partitions);
        stage.records = Some(1_000_000);
        executor.run(&stage, &|_, _| Ok(())).unwrap();
        stage.records = Some(1);
        let task = |_, _| {
            assert_eq!(std::thread::current().id(), caller);
            Ok(())
        };
        executor.run(&stage, &task).unwrap();
    }
}
