use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::batches::{BatchFormat, Restoring};
use super::name::{Named, Names};
use super::{DStream, GraphBuilder, Operator, Predicate};
use crate::data::Data;
use crate::dataset::{Chunk, Dataset, Flow, Keeping, StorageLevel};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::exec::Runtime;
use crate::id::Origin;
use crate::state::{self, ChunkKind, Durable, Saved, StateChunk, StateInfo};
use crate::time::{Interval, Time};

/// An operator in the graph, with what all operators share. Spark's `DStream.getOrCompute` and what it rests on.
pub(crate) struct Node<T> {
    operator: Box<dyn Operator<T>>,
    site: &'static Location<'static>,
    names: Names,
    /// What to know of the operator to name it; found without a bound on `T`, which who names a variable has not.
    named: fn(&Self) -> Named<'_>,
    /// How the program has the records kept.
    keeping: OnceLock<Keeping<T>>,
    /// Whether a window reads the stream.
    in_window: AtomicBool,
    /// What the program has said of its checkpoints.
    checkpoint: OnceLock<Checkpoint<T>>,
    /// The interval of the stream that this one stands for, where the program says nothing of this one.
    checkpoint_as: OnceLock<(Duration, &'static Location<'static>)>,
    life: OnceLock<Life>,
    /// The datasets of the batches that somebody may still ask for.
    remembered: Mutex<BTreeMap<Time, Dataset<T>>>,
    /// The times of those that a checkpoint has.
    saved: Mutex<BTreeSet<Time>>,
    /// Batches on their way back from a checkpoint.
    restoring: Mutex<BTreeMap<Time, Restoring<T>>>,
    /// The microseconds up to which batches are forgotten.
    forgotten: AtomicI64,
    /// The microseconds up to which all batches that there are have come from a checkpoint.
    restored: AtomicI64,
    /// Batches of before a restart that could not be planned again, and why: for whoever asks for one.
    broken: Mutex<BTreeMap<Time, Error>>,
    /// The microseconds of the batch that the operator is computing.
    computing: AtomicI64,
}

/// What a node is told when the graph starts.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) zero_time: Time,
    /// For how long a batch is remembered after its time.
    pub(crate) remember: Duration,
    /// How long after its time a batch can be asked for the first time.
    pub(crate) late: Duration,
    /// Whether datasets keep their records: somebody reads them more than once, or late.
    pub(crate) keep: bool,
    /// Whether the operator, or one that it is made of, keeps something from batch to batch.
    pub(crate) follows_state: bool,
    /// For how long a checkpoint has the batches, if it has them.
    pub(crate) saves: Option<Duration>,
    /// How often a snapshot of what the operator keeps begins.
    pub(crate) checkpoint_interval: Duration,
    pub(crate) origin: Arc<Origin>,
}

/// A stream that an operator reads.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) node: Arc<dyn AnyNode>,
    /// For how long before its own time the operator reads batches; zero for those that read one batch.
    pub(crate) window: Duration,
    /// Whether the operator reads each batch for one batch of its own only.
    pub(crate) once: bool,
}

/// What the program has said of a stream's checkpoints.
pub(crate) struct Checkpoint<T> {
    pub(crate) interval: Duration,
    pub(crate) format: BatchFormat<T>,
    /// The line that said it.
    pub(crate) site: &'static Location<'static>,
}

/// One of the streams that an operator reads together.
pub(crate) struct Member {
    pub(crate) edge: Edge,
    /// The graph that the stream belongs to.
    pub(crate) graph: Arc<GraphBuilder>,
}

impl Member {
    pub(crate) fn slide(&self) -> Duration {
        self.edge.node.slide()
    }
}

/// What can be said of a node whatever its records are.
pub(crate) trait AnyNode: Send + Sync {
    fn name(&self) -> &str;
    fn operator_name(&self) -> &str;

    /// See [`Operator::kind`].
    fn kind(&self) -> &str;

    /// See [`Operator::part`].
    fn part(&self) -> Option<&'static str>;

    fn names(&self) -> &Names;

    fn site(&self) -> &'static Location<'static>;
    fn slide(&self) -> Duration;
    fn parents(&self) -> Vec<Edge>;
    fn needs_order(&self) -> bool;
    fn set_life(&self, life: Life);

    /// What the operator keeps from batch to batch.
    fn durable(&self) -> Option<Arc<dyn Durable>>;

    /// How often the program has a snapshot begin, and the line that says so.
    fn chosen_checkpoint(&self) -> Option<(Duration, &'static Location<'static>)>;

    /// How often a snapshot begins if nobody says so.
    fn automatic_checkpoint(&self) -> Duration;

    /// Whether batches can be saved.
    fn can_save(&self) -> bool;

    /// The shape of the records of batches that can be saved.
    fn saved_shape(&self) -> Option<String>;

    /// Brings what the operator keeps up to the batch at `time`, as far as no output has, and returns it to be saved if
    /// `saving`, and with it the batches that were planned up to there and are not saved yet.
    fn settle(&self, time: Time, saving: bool) -> Result<Vec<StateChunk>>;

    /// Takes back a partition of the batch at `time`, or says that it is of another slide duration. All come before
    /// `resume`, on any threads.
    fn restore_batch(&self, time: Time, chunk: &state::Chunk<'_>) -> Result<bool>;

    /// The graph goes on after the batch at `done`: remembers what was taken back, and if `again` plans the batches that
    /// it would remember if it had not stopped.
    fn resume(&self, done: Time, again: bool, runtime: &Runtime) -> Result<()>;

    /// Makes sure that the batch at `time` is planned.
    fn plan(&self, time: Time) -> Result<()>;

    /// Forgets the batches that nobody asks for once the batch at `done` is done.
    fn clear(&self, done: Time);

    /// The times of the batches that are remembered.
    #[cfg(test)]
    fn remembered_times(&self) -> Vec<Time>;
}

impl<T: Data> Node<T> {
    pub(crate) fn new(operator: Box<dyn Operator<T>>, site: &'static Location<'static>) -> Self {
        Node {
            operator,
            site,
            names: Names::new(),
            named: |node| Named { names: &node.names, method: node.operator.name(), parents: node.operator.parents() },
            keeping: OnceLock::new(),
            in_window: AtomicBool::new(false),
            checkpoint: OnceLock::new(),
            checkpoint_as: OnceLock::new(),
            life: OnceLock::new(),
            remembered: Mutex::default(),
            saved: Mutex::default(),
            restoring: Mutex::default(),
            forgotten: AtomicI64::new(i64::MIN),
            restored: AtomicI64::new(i64::MIN),
            broken: Mutex::default(),
            computing: AtomicI64::new(i64::MIN),
        }
    }

    /// Returns the dataset of the batch at `time`, the same one however often it is asked for. `None` if `time` is no
    /// time of this stream, or the operator has nothing there; that is not remembered.
    pub(crate) fn get_or_compute(&self, time: Time) -> Result<Option<Dataset<T>>> {
        if let Some(dataset) = self.remembered().get(&time) {
            return Ok(Some(dataset.clone()));
        }
        let life = self.life().ok_or_else(|| {
            let message = "a batch was asked for before the context was started";
            Error::new(ErrorKind::State, message).within_operator(|| self.place())
        })?;
        let is_gone = || time.as_micros() <= self.restored.load(Ordering::Relaxed);
        if !is_valid(time, life.zero_time, self.operator.slide()) || is_gone() {
            return Ok(None);
        }
        if let Some(error) = self.broken().get(&time) {
            return Err(error.clone());
        }
        // One thread plans at a time, but a closure that is asked to build a batch may ask for a slice.
        let outer = self.computing.swap(time.as_micros(), Ordering::Relaxed);
        let computed = if outer == time.as_micros() {
            let message = format!("the batch at {time} was asked for while it was being built: it is made of itself");
            Err(Error::new(ErrorKind::State, message))
        } else {
            self.operator.compute(time)
        };
        self.computing.store(outer, Ordering::Relaxed);
        let computed = computed.map_err(|error| error.within_operator(|| self.place()))?;
        let Some(dataset) = computed else { return Ok(None) };
        dataset.attribute(if self.operator.runs_user_code() { None } else { Some(&life.origin) });
        let dataset = match self.keeping.get() {
            None if !life.keep => dataset,
            chosen => dataset.keep(chosen.cloned()),
        };
        dataset.attribute(Some(&life.origin));
        self.remembered().insert(time, dataset.clone());
        Ok(Some(dataset))
    }

    /// See [`Operator::filtered`]. The new operator is called what this one is called, unless it is given a name.
    pub(crate) fn filtered(&self, filter: &Predicate<T>) -> Option<Box<dyn Operator<T>>> {
        self.operator.filtered(self.names.given().unwrap_or(self.operator.name()), filter)
    }

    /// The part of an interval that comes after the zero time.
    pub(crate) fn since_start(&self, interval: Interval) -> Interval {
        let zero_time = self.life().map_or(interval.begin(), |life| life.zero_time);
        let begin = interval.begin().max(zero_time);
        Interval::new(begin, interval.end().max(begin))
    }

    /// Whether the operator, or one that it is made of, keeps something from batch to batch.
    pub(crate) fn follows_state(&self) -> bool {
        self.life().is_some_and(|life| life.follows_state)
    }

    /// The time before the first batch; `None` before the graph starts.
    pub(crate) fn zero_time(&self) -> Option<Time> {
        self.life().map(|life| life.zero_time)
    }

    /// Whether the batch at `time` was forgotten, and is not made anew.
    pub(crate) fn has_forgotten(&self, time: Time) -> bool {
        time.as_micros() <= self.forgotten.load(Ordering::Relaxed) && !self.remembered().contains_key(&time)
    }

    /// The error of an operator that needs a batch which this stream does not have.
    pub(crate) fn no_batch(&self, time: Time, by: &str) -> Error {
        let message = format!("the stream has no batch at {time}, and {by} needs one");
        Error::new(ErrorKind::Input, message).within_operator(|| self.place())
    }

    /// Names the stream; comes back with the name it has already.
    pub(crate) fn set_label(&self, label: &str) -> std::result::Result<(), String> {
        self.names.give(label).map_err(|_| self.name().to_string())
    }

    /// The stream whose records are kept instead of those of this one.
    pub(crate) fn keeper(&self) -> Option<&DStream<T>> {
        self.operator.keeper()
    }

    /// Has the records of the batches kept; comes back with the level that they have already.
    pub(crate) fn set_keeping(&self, keeping: Keeping<T>) -> std::result::Result<(), StorageLevel> {
        let level = self.keeping.get_or_init(|| keeping.clone()).level();
        if level == keeping.level() { Ok(()) } else { Err(level) }
    }

    /// Notes that a window keeps the records of this stream unless the program says how.
    pub(crate) fn set_in_window(&self) {
        self.in_window.store(true, Ordering::Relaxed);
    }

    /// Notes what the program says of checkpoints; comes back with the interval that they have already.
    pub(crate) fn set_checkpoint(&self, checkpoint: Checkpoint<T>) -> std::result::Result<(), Duration> {
        self.checkpoint
            .set(checkpoint)
            .map_err(|_| self.checkpoint.get().map_or(Duration::ZERO, |taken| taken.interval))
    }

    /// Has snapshots begin as often as the program says of `other`, unless it says how often of this stream.
    pub(crate) fn set_checkpoint_as(&self, other: &Node<T>) {
        if let Some(chosen) = other.chosen_checkpoint() {
            let _ = self.checkpoint_as.set(chosen);
        }
    }

    /// Has the stream found by the name that the program has given `other`, unless it has one itself.
    pub(crate) fn set_named_as(&self, other: &Node<T>) {
        self.names.give_as(&other.names);
    }

    /// How often a snapshot of what the operator keeps begins, or so the program has said.
    pub(crate) fn checkpoint_interval(&self) -> Option<Duration> {
        let automatic = || self.operator.durable().map(|_| self.operator.automatic_checkpoint());
        self.chosen_checkpoint().map(|(interval, _)| interval).or_else(automatic)
    }

    /// How batches are saved.
    fn format(&self) -> Option<&BatchFormat<T>> {
        self.operator.batch_format().or_else(|| self.checkpoint.get().map(|checkpoint| &checkpoint.format))
    }

    pub(crate) fn storage_level(&self) -> Option<StorageLevel> {
        let by_window = || self.in_window.load(Ordering::Relaxed).then_some(StorageLevel::MemoryOnly);
        self.keeping.get().map(Keeping::level).or_else(by_window)
    }

    pub(crate) fn state_info(&self) -> Option<StateInfo> {
        self.operator.state_info()
    }

    pub(crate) fn place(&self) -> String {
        format!("operator {} ({}:{})", self.name(), self.site.file(), self.site.line())
    }

    /// See [`AnyNode::settle`], for what the operator keeps.
    fn settle_state(&self, time: Time, saving: bool, life: &Life, durable: &dyn Durable) -> Result<Vec<StateChunk>> {
        let Some(dataset) = self.get_or_compute(time)? else { return Ok(Vec::new()) };
        let operator = life.origin.operator;
        let partitions = durable.partitions();
        let due = time.is_step_from(life.checkpoint_interval, life.zero_time);
        let open: Vec<usize> = (0..partitions).filter(|&partition| saving || !durable.is_at(partition, time)).collect();
        let chunks = dataset.run_on(&open, |lineage, partition, task| {
            if !durable.is_at(partition, time) {
                let _ = lineage.compute(partition, task, &mut |_: Chunk<'_, T>| Ok(Flow::Break(())))?;
            }
            if !saving {
                return Ok(None);
            }
            // Not tried again: what is noted of changes may be gone by then. The batch runs again after a restart.
            let panicked =
                |said: &str| Error::new(ErrorKind::User, format!("writing a key or a state panicked: {said}"));
            let saved = guarded(|| durable.save(partition, time, due), panicked);
            let saved = saved.map_err(|error| error.within(format!("partition {partition}")));
            let kind = ChunkKind::State;
            Ok(Some(saved.map(|(saved, bytes)| StateChunk { operator, kind, partition, partitions, saved, bytes })))
        })?;
        chunks.into_iter().flatten().collect()
    }

    /// Saves the batches up to `time` that are remembered and not saved yet, whoever has computed them. The checkpoint
    /// has them for as long as `kept_for` says.
    fn save_batches(&self, time: Time, kept_for: Duration, life: &Life, chunks: &mut Vec<StateChunk>) -> Result<()> {
        let Some(format) = self.format() else { return Ok(()) };
        let open: Vec<(Time, Dataset<T>)> = {
            let (remembered, saved) = (self.remembered(), self.saved());
            let planned = remembered.range(..=time).filter(|(time, _)| !saved.contains(time));
            planned.map(|(time, dataset)| (*time, dataset.clone())).collect()
        };
        let (operator, slide) = (life.origin.operator, self.operator.slide());
        // A batch is saved at its time or later.
        let since = time - kept_for + Duration::from_micros(1);
        for (batch, dataset) in open {
            let partitions = dataset.num_partitions();
            let mut parts = dataset.run(|lineage, partition, task| format.save(slide, lineage, partition, task))?;
            if parts.is_empty() {
                // That there is a batch is to be known all the same.
                parts.push(format.save_none(slide)?);
            }
            chunks.extend(parts.into_iter().enumerate().map(|(partition, (bytes, keys))| {
                let saved = Saved { since, keys };
                StateChunk { operator, kind: ChunkKind::Batch(batch), partition, partitions, saved, bytes }
            }));
            self.saved().insert(batch);
        }
        Ok(())
    }

    /// Remembers the batches that a checkpoint had, from `horizon` on. Those that can still be asked for the first time are made when they
    /// are, from batches that the parents remember.
    fn take_back(&self, horizon: Time, done: Time, life: &Life, runtime: &Runtime) -> Result<()> {
        let Some(format) = self.format() else { return Ok(()) };
        let restoring = std::mem::take(&mut *self.restoring.lock().unwrap_or_else(PoisonError::into_inner));
        let slide = self.operator.slide();
        let first = horizon.floor_from(slide, life.zero_time).max(life.zero_time) + slide;
        if restoring.is_empty() && first <= done - life.late {
            let (stream, site) = (self.name(), format!("{}:{}", self.site.file(), self.site.line()));
            tracing::warn!(
                stream,
                site,
                from = %first,
                to = %done,
                "the checkpoint has no batches of this stream: what looks back at them does without, as if they were empty"
            );
        }
        for (time, restoring) in restoring {
            if time <= horizon || time > done {
                continue;
            }
            let place = |error: Error| error.within(format!("the batch at {time}")).within_operator(|| self.place());
            let mut dataset = restoring.finish(format, runtime).map_err(place)?;
            dataset.attribute(Some(&life.origin));
            if let Some(keeping) = self.keeping.get().filter(|keeping| keeping.level() != StorageLevel::MemoryOnly) {
                dataset = dataset.keep(Some(keeping.clone()));
                dataset.attribute(Some(&life.origin));
                dataset.count().map_err(place)?;
            }
            self.remembered().insert(time, dataset);
            self.saved().insert(time);
        }
        self.restored.fetch_max((done - life.late).as_micros(), Ordering::Relaxed);
        Ok(())
    }

    fn broken(&self) -> std::sync::MutexGuard<'_, BTreeMap<Time, Error>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved(&self) -> std::sync::MutexGuard<'_, BTreeSet<Time>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> Option<&Life> {
        self.life.get()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<Time, Dataset<T>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Node<T> {
    pub(super) fn as_named(&self) -> Named<'_> {
        (self.named)(self)
    }
}

/// A time belongs to a stream if it lies a whole number of slides after the zero time, and not at it.
pub(crate) fn is_valid(time: Time, zero_time: Time, slide: Duration) -> bool {
    time > zero_time && time.is_step_from(slide, zero_time)
}

impl<T: Data> Node<T> {
    pub(crate) fn name(&self) -> &str {
        self.names.shown().unwrap_or(self.operator.name())
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    pub(crate) fn slide(&self) -> Duration {
        self.operator.slide()
    }
}

impl<T: Data> AnyNode for Node<T> {
    fn name(&self) -> &str {
        self.name()
    }

    fn operator_name(&self) -> &str {
        self.operator.name()
    }

    fn kind(&self) -> &str {
        self.operator.kind()
    }

    fn part(&self) -> Option<&'static str> {
        self.operator.part()
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn site(&self) -> &'static Location<'static> {
        self.site
    }

    fn slide(&self) -> Duration {
        self.operator.slide()
    }

    fn parents(&self) -> Vec<Edge> {
        self.operator.parents()
    }

    fn needs_order(&self) -> bool {
        self.operator.needs_order()
    }

    fn set_life(&self, life: Life) {
        // A graph starts once: a context has no way back from stopped to started.
        let _ = self.life.set(life);
    }

    fn durable(&self) -> Option<Arc<dyn Durable>> {
        self.operator.durable()
    }

    fn chosen_checkpoint(&self) -> Option<(Duration, &'static Location<'static>)> {
        let said = self.checkpoint.get().map(|checkpoint| (checkpoint.interval, checkpoint.site));
        said.or_else(|| self.checkpoint_as.get().copied())
    }

    fn automatic_checkpoint(&self) -> Duration {
        self.operator.automatic_checkpoint()
    }

    fn can_save(&self) -> bool {
        self.format().is_some()
    }

    fn saved_shape(&self) -> Option<String> {
        self.format().map(BatchFormat::shape)
    }

    fn settle(&self, time: Time, saving: bool) -> Result<Vec<StateChunk>> {
        let Some(life) = self.life() else { return Ok(Vec::new()) };
        let chunks = match self.operator.durable() {
            Some(durable) => self.settle_state(time, saving, life, &*durable),
            None => Ok(Vec::new()),
        };
        let chunks = chunks.and_then(|mut chunks| {
            if let Some(kept_for) = life.saves.filter(|_| saving) {
                self.save_batches(time, kept_for, life, &mut chunks)?;
            }
            Ok(chunks)
        });
        chunks.map_err(|error| error.within_operator(|| self.place()))
    }

    fn restore_batch(&self, time: Time, chunk: &state::Chunk<'_>) -> Result<bool> {
        let Some(format) = self.format() else { return Ok(true) };
        let place = |error: Error| error.within(format!("the batch at {time}")).within_operator(|| self.place());
        let Some(records) = format.read(self.operator.slide(), chunk.bytes).map_err(place)? else {
            tracing::warn!(stream = self.name(), %time, "a batch of another slide duration is left in the checkpoint");
            return Ok(false);
        };
        let mut restoring = self.restoring.lock().unwrap_or_else(PoisonError::into_inner);
        restoring.entry(time).or_default().add(chunk, records);
        Ok(true)
    }

    fn resume(&self, done: Time, again: bool, runtime: &Runtime) -> Result<()> {
        let Some(life) = self.life() else { return Ok(()) };
        if let Some(saved) = life.saves {
            self.take_back(done - saved, done, life, runtime)?;
        } else if again {
            let slide = self.operator.slide();
            let first = (done - life.remember).floor_from(slide, life.zero_time) + slide;
            for time in first.max(life.zero_time + slide).to(done, slide) {
                // It may be one that nobody has asked for, and nobody will, since no window has it.
                if let Err(error) = self.plan(time) {
                    self.broken().insert(time, error);
                }
            }
        } else {
            self.forgotten.fetch_max(done.as_micros(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn plan(&self, time: Time) -> Result<()> {
        self.get_or_compute(time).map(|_| ())
    }

    fn clear(&self, done: Time) {
        let Some(life) = self.life() else { return };
        let horizon = done - life.remember;
        self.forgotten.fetch_max(horizon.as_micros(), Ordering::Relaxed);
        self.saved().retain(|time| *time > horizon);
        self.broken().retain(|time, _| *time > horizon);
        let mut remembered = self.remembered();
        let kept = remembered.split_off(&(horizon + Duration::from_micros(1)));
        let forgotten = std::mem::replace(&mut *remembered, kept);
        drop(remembered);
        // Datasets may be large: free them without the lock.
        drop(forgotten);
    }

    #[cfg(test)]
    fn remembered_times(&self) -> Vec<Time> {
        self.remembered().keys().copied().collect()
    }
}
