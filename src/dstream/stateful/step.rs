//! A batch of a stateful operator: what it makes of the tables that the batch before has left, partition by partition.

use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::kept::{Held, Kept};
use crate::data::{Data, Exchange, Key};
use crate::dataset::{
    AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Partition, Sink, chunk_len, gather, push_shared,
};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::exec::{Adds, TaskContext};
use crate::state::{Durable, Table};
use crate::time::Time;

/// What a batch does to the table of a partition.
pub(super) trait Change<K, S>: Send + Sync + 'static {
    type Input: Data;
    type Output: Data;
    /// What is carried from chunk to chunk.
    type Scratch: Default;

    /// Takes in records of the partition, in order.
    fn take(&self, table: &mut Table<K, S>, time: Time, records: Chunk<'_, Self::Input>, to: &mut Taken<Self, K, S>);

    /// All records were taken in.
    fn finish(&self, table: &mut Table<K, S>, time: Time, to: &mut Taken<Self, K, S>);
}

/// What has come of a batch so far.
pub(super) struct Taken<C: Change<K, S> + ?Sized, K, S> {
    pub(super) out: Vec<C::Output>,
    pub(super) scratch: C::Scratch,
}

type Steps<K, S, C> = BTreeMap<Time, Weak<Step<K, S, C>>>;

/// A stateful operator, whatever it does in a batch.
pub(super) struct Stateful<K, S, C: Change<K, S>> {
    method: &'static str,
    pub(super) kept: Arc<Kept<K, S>>,
    change: C,
    /// The states to begin with, where their keys belong, until every partition has begun.
    initial: Mutex<Option<Dataset<(K, S)>>>,
    /// The batches that were planned and that somebody may still ask for; and the last one in any case.
    steps: Mutex<Steps<K, S, C>>,
    /// How many streams read all the states of a batch.
    readers: AtomicUsize,
}

impl<K: Key, S: Exchange, C: Change<K, S>> Stateful<K, S, C> {
    pub(super) fn new(
        method: &'static str,
        kept: Kept<K, S>,
        change: C,
        initial: Option<Dataset<(K, S)>>,
    ) -> Arc<Self> {
        Arc::new(Stateful {
            method,
            kept: Arc::new(kept),
            change,
            initial: Mutex::new(initial),
            steps: Mutex::default(),
            readers: AtomicUsize::new(0),
        })
    }

    /// One more stream will read all the states of a batch.
    pub(super) fn will_be_read(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is a batch before the one at `at`, or the state of one. A batch that is not there may be asked for
    /// again when later ones are.
    pub(super) fn has_begun_before(&self, at: Time) -> bool {
        lock(&self.steps).range(..at).next().is_some() || self.kept.oldest().is_some_and(|kept| kept < at)
    }

    /// The batch at a time, made of `input`. `None` if later ones were planned without it: nobody was there when it was
    /// due, and it is not made up for.
    pub(super) fn step(self: &Arc<Self>, at: Time, input: Option<Dataset<C::Input>>) -> Option<Arc<Step<K, S, C>>> {
        let mut steps = lock(&self.steps);
        if let Some(step) = steps.get(&at).and_then(Weak::upgrade) {
            return Some(step);
        }
        let next = steps.range(at..).next().and_then(|(_, step)| step.upgrade());
        if next.is_some_and(|next| next.previous.is_none_or(|previous| previous < at)) {
            return None;
        }
        let newest = steps.last_key_value().filter(|(newest, _)| **newest < at);
        let partitions = Durable::partitions(&*self.kept);
        let step = Arc::new(Step {
            header: Header::new(self.method),
            stateful: Arc::clone(self),
            at,
            previous: newest.map(|(time, _)| *time),
            before: newest.map_or_else(Weak::new, |(_, step)| Weak::clone(step)),
            input: Mutex::new(input),
            open: AtomicUsize::new(partitions),
            outputs: (0..partitions).map(|_| OnceLock::new()).collect(),
            states: (0..partitions).map(|_| Mutex::new(States { reads: 0, copied: None })).collect(),
        });
        steps.retain(|_, step| step.strong_count() > 0);
        steps.insert(at, Arc::downgrade(&step));
        Some(step)
    }

    /// The batch at a time, if it was planned and is not forgotten.
    pub(super) fn planned(&self, at: Time) -> Option<Arc<Step<K, S, C>>> {
        lock(&self.steps).get(&at).and_then(Weak::upgrade)
    }
}

/// One batch.
pub(super) struct Step<K, S, C: Change<K, S>> {
    header: Header,
    stateful: Arc<Stateful<K, S, C>>,
    at: Time,
    /// The time of the batch before, if this is not the first one of this run.
    previous: Option<Time>,
    /// The batch before, as long as somebody can ask for it.
    before: Weak<Step<K, S, C>>,
    /// What the batch is made of, until it is; `None` if there is nothing.
    input: Mutex<Option<Dataset<C::Input>>>,
    /// How many partitions were not computed yet.
    open: AtomicUsize,
    /// What came of the batch, for whoever asks next: a batch changes the tables once.
    outputs: Vec<OnceLock<Partition<C::Output>>>,
    states: Vec<Mutex<States<K, S>>>,
}

/// What is known of all the states of a partition, as a batch has left them in the table.
struct States<K, S> {
    /// How many streams have read them.
    reads: usize,
    /// A copy from when the next batch began, if not all had.
    copied: Option<Partition<(K, S)>>,
}

impl<K: Key, S: Exchange, C: Change<K, S>> Step<K, S, C> {
    /// Brings a partition up to this batch, if it is not that far.
    fn reach(self: &Arc<Self>, partition: usize, task: &TaskContext<'_>) -> Result<MutexGuard<'_, Held<K, S>>> {
        let mut held = self.stateful.kept.hold(partition);
        if held.at.is_none_or(|at| at < self.at) {
            for step in self.unserved(held.at)? {
                let part = task.part();
                part.run(|| step.run(&mut held, partition, &part))?;
            }
        }
        Ok(held)
    }

    /// The batches up to this one that come after the one at `held`, oldest first.
    fn unserved(self: &Arc<Self>, held: Option<Time>) -> Result<Vec<Arc<Self>>> {
        let is_open = |step: &Arc<Self>| held.is_none_or(|at| step.at > at);
        let mut steps: Vec<Arc<Self>> =
            successors(Some(Arc::clone(self)), |step| step.before.upgrade().filter(is_open)).collect();
        steps.reverse();
        match steps[0].previous {
            Some(previous) if Some(previous) > held => {
                let message = format!("the batch at {previous} was forgotten before it was computed");
                Err(Error::new(ErrorKind::Internal, message))
            }
            _ => Ok(steps),
        }
    }

    /// Does to a table, which is as the batch before has left it, what this batch does.
    fn run<'t>(&'t self, held: &mut Held<K, S>, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        // The table stays, also if the attempt fails further on: so does what was added on the way to it.
        let adds = Adds::keep_apart();
        self.begin(held, partition)?;
        if let Some(before) = self.before.upgrade() {
            before.copy_states(held, partition);
        }
        match self.change_table(&mut held.table, partition, task) {
            Ok(out) => {
                held.table.commit(self.at);
                held.at = Some(self.at);
                let _ = self.outputs[partition].set(Arc::new(out));
                self.stateful.kept.note(partition, held);
                if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                    // It may be the last to hold a lot: free that without the lock.
                    let (input, initial) = (lock(&self.input).take(), lock(&self.stateful.initial).take());
                    drop((input, initial));
                }
                adds.apply()
            }
            Err(error) => {
                held.table.roll_back();
                Err(error)
            }
        }
    }

    /// Gives a table the states that it begins with.
    fn begin(&self, held: &mut Held<K, S>, partition: usize) -> Result<()> {
        if held.has_begun {
            return Ok(());
        }
        let initial = lock(&self.stateful.initial).clone();
        if let Some(initial) = initial {
            let part = TaskContext::new(partition);
            let states = part.run(|| gather(&**initial.lineage(), partition, &part))?;
            states.iter().for_each(|(key, state)| held.table.begin_with(key, state.clone(), self.at));
        }
        held.has_begun = true;
        Ok(())
    }

    fn change_table<'t>(
        &'t self,
        table: &mut Table<K, S>,
        partition: usize,
        task: &TaskContext<'t>,
    ) -> Result<Vec<C::Output>> {
        let (change, at) = (&self.stateful.change, self.at);
        let said =
            |said: &str| Error::new(ErrorKind::Task, format!("panicked: {said}")).within(format!("batch at {at}"));
        let mut taken = Taken { out: Vec::new(), scratch: C::Scratch::default() };
        let input = lock(&self.input).clone();
        if let Some(input) = input {
            let part = task.part();
            let origin = self.header.origin();
            let _ = part.run(|| {
                input.lineage().compute(partition, &part, &mut |chunk: Chunk<'_, C::Input>| {
                    part.enter(origin);
                    guarded(
                        || {
                            change.take(table, at, chunk, &mut taken);
                            Ok(())
                        },
                        said,
                    )?;
                    Ok(Flow::Continue(()))
                })
            })?;
        }
        task.enter(self.header.origin());
        guarded(
            || {
                change.finish(table, at, &mut taken);
                Ok(())
            },
            said,
        )?;
        Ok(taken.out)
    }

    /// Copies the states before the next batch changes them, if somebody may still ask for them.
    fn copy_states(&self, held: &Held<K, S>, partition: usize) {
        let mut states = lock(&self.states[partition]);
        let readers = self.stateful.readers.load(Ordering::Relaxed);
        if held.at == Some(self.at) && states.reads < readers && states.copied.is_none() {
            states.copied = Some(Arc::new(copy(&held.table)));
        }
    }

    /// What came of a partition of the batch.
    fn output(self: &Arc<Self>, partition: usize, task: &TaskContext<'_>) -> Result<&Partition<C::Output>> {
        if self.outputs[partition].get().is_none() {
            drop(self.reach(partition, task)?);
        }
        self.outputs[partition].get().ok_or_else(|| self.is_gone())
    }

    /// All the states of a partition, as the batch has left them. `is_first` says that the stream reads them for the
    /// first time.
    fn states(&self, held: &Held<K, S>, partition: usize, is_first: bool) -> Result<Whole<K, S>> {
        let mut states = lock(&self.states[partition]);
        if held.at == Some(self.at) {
            states.reads += usize::from(is_first);
            return Ok(Whole::Own(copy(&held.table)));
        }
        states.copied.as_ref().map(|copied| Whole::Shared(Arc::clone(copied))).ok_or_else(|| self.is_gone())
    }

    fn is_gone(&self) -> Error {
        let at = self.at;
        let message = format!(
            "the batch at {at} was computed before, and a later one has changed the states since: \
             persist the stream, so that it can be read again"
        );
        Error::new(ErrorKind::State, message)
    }

    fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    fn partitions(&self) -> usize {
        self.outputs.len()
    }

    fn input_records(&self) -> Option<u64> {
        lock(&self.input).as_ref().map_or(Some(0), |input| input.lineage().records())
    }

    /// What has to be there before a partition can be computed.
    fn visit_parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        let kept_at = self.stateful.kept.oldest();
        if self.is_done() || kept_at.is_some_and(|at| at >= self.at) {
            return;
        }
        if let Some(before) = self.before.upgrade() {
            before.visit_parents(visit);
        }
        let initial = lock(&self.stateful.initial).clone();
        if let (Some(initial), None) = (initial, kept_at) {
            visit(initial.lineage().any());
        }
        let input = lock(&self.input).clone();
        if let Some(input) = input {
            visit(input.lineage().any());
        }
    }
}

fn copy<K: Key, S: Exchange>(table: &Table<K, S>) -> Vec<(K, S)> {
    let mut states = Vec::with_capacity(table.len());
    states.extend(table.iter().map(|(key, state)| (key.clone(), state.clone())));
    states
}

/// All the states of a partition.
enum Whole<K, S> {
    Own(Vec<(K, S)>),
    Shared(Partition<(K, S)>),
}

/// What came of a batch, record by record.
pub(super) struct Outputs<K, S, C: Change<K, S>>(pub(super) Arc<Step<K, S, C>>);

impl<K: Key, S: Exchange, C: Change<K, S>> Lineage<C::Output> for Outputs<K, S, C> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<C::Output>) -> Result<Flow> {
        let Outputs(step) = self;
        task.enter(step.header.origin());
        push_shared(step.output(partition, task)?, sink)
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<C::Output>> {
        self.0.outputs[partition].get().map(Arc::clone)
    }

    fn is_kept(&self) -> bool {
        true
    }
}

impl<K: Key, S: Exchange, C: Change<K, S>> AnyLineage for Outputs<K, S, C> {
    fn header(&self) -> &Header {
        &self.0.header
    }

    fn partitions(&self) -> usize {
        self.0.partitions()
    }

    fn records(&self) -> Option<u64> {
        let Outputs(step) = self;
        if step.is_done() {
            return Some(step.outputs.iter().filter_map(OnceLock::get).map(|records| records.len() as u64).sum());
        }
        step.input_records()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.0.visit_parents(visit);
    }

    fn kept_partitions(&self) -> Option<usize> {
        Some(self.partitions() - self.0.open.load(Ordering::Acquire))
    }
}

/// All the states that a batch has left, as the dataset of the operator itself or of another one.
pub(super) struct AllStates<K, S, C: Change<K, S>> {
    step: Arc<Step<K, S, C>>,
    own_header: Option<Header>,
    /// Which partitions were read.
    read: Vec<AtomicBool>,
}

impl<K: Key, S: Exchange, C: Change<K, S>> AllStates<K, S, C> {
    pub(super) fn of_operator(step: Arc<Step<K, S, C>>) -> Self {
        AllStates::new(step, None)
    }

    pub(super) fn of_other(name: &'static str, step: Arc<Step<K, S, C>>) -> Self {
        AllStates::new(step, Some(Header::new(name)))
    }

    fn new(step: Arc<Step<K, S, C>>, own_header: Option<Header>) -> Self {
        let read = (0..step.partitions()).map(|_| AtomicBool::new(false)).collect();
        AllStates { step, own_header, read }
    }
}

impl<K: Key, S: Exchange, C: Change<K, S>> Lineage<(K, S)> for AllStates<K, S, C> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(K, S)>) -> Result<Flow> {
        task.enter(self.header().origin());
        drop(self.step.reach(partition, task)?);
        // Whoever only wants the batch to be computed says so here, and nothing is copied.
        if sink.push(Chunk::Shared(&[]))?.is_break() {
            return Ok(Flow::Break(()));
        }
        task.enter(self.header().origin());
        let is_first = !self.read[partition].swap(true, Ordering::Relaxed);
        // The table is held for as long as it takes to copy it: what is done with the states may take its time.
        let states = self.step.states(&*self.step.reach(partition, task)?, partition, is_first)?;
        let mut states = match states {
            Whole::Shared(states) => return push_shared(&states, sink),
            Whole::Own(states) => states.into_iter(),
        };
        let mut out = Vec::with_capacity(chunk_len::<(K, S)>());
        loop {
            out.clear();
            out.extend(states.by_ref().take(chunk_len::<(K, S)>()));
            if out.is_empty() {
                return Ok(Flow::Continue(()));
            }
            if sink.push(Chunk::Owned(&mut out))?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
    }
}

impl<K: Key, S: Exchange, C: Change<K, S>> AnyLineage for AllStates<K, S, C> {
    fn header(&self) -> &Header {
        self.own_header.as_ref().unwrap_or(&self.step.header)
    }

    fn partitions(&self) -> usize {
        self.step.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.step.stateful.kept.info().keys + self.step.input_records()?)
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.step.visit_parents(visit);
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
