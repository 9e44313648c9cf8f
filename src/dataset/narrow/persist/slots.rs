use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::Blocks;
use super::level::Keeping;
use crate::data::Data;
use crate::dataset::narrow::push_shared;
use crate::dataset::{Emitter, Flow, Partition, Sink};
use crate::error::Result;
use crate::exec::{Adds, TaskContext};
use crate::id::Origin;

/// The partitions of a dataset that are kept.
pub(super) struct Slots<T> {
    keeping: Keeping<T>,
    /// A partition is computed under its lock: a second task that wants it waits instead of computing it again. What
    /// fails or panics on the way leaves it empty.
    slots: Vec<Mutex<Option<Arc<Kept<T>>>>>,
    /// How many partitions are not kept.
    missing: AtomicUsize,
    /// Whether partitions are kept at all. Changed before the slots are emptied, looked at under their locks.
    open: AtomicBool,
}

/// A partition that is kept.
pub(super) enum Kept<T> {
    Records(Partition<T>),
    Blocks(Blocks<T>),
}

impl<T: Data> Slots<T> {
    pub(super) fn new(partitions: usize, keeping: Keeping<T>) -> Self {
        let slots = (0..partitions).map(|_| Mutex::new(None)).collect();
        Slots { keeping, slots, missing: AtomicUsize::new(partitions), open: AtomicBool::new(true) }
    }

    pub(super) fn keeping(&self) -> &Keeping<T> {
        &self.keeping
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// How many partitions are kept.
    pub(super) fn kept(&self) -> usize {
        self.len() - self.missing.load(Ordering::Acquire)
    }

    pub(super) fn is_full(&self) -> bool {
        self.kept() == self.len()
    }

    /// The partition, after `fill` has made it if it was not kept.
    pub(super) fn get_or_fill(&self, partition: usize, fill: impl FnOnce() -> Result<Kept<T>>) -> Result<Arc<Kept<T>>> {
        let mut slot = self.slot(partition);
        if let Some(kept) = &*slot {
            return Ok(Arc::clone(kept));
        }
        // The records stay, also if the attempt fails further on: so does what was added on the way to them.
        let adds = Adds::keep_apart();
        let kept = Arc::new(fill()?);
        adds.apply()?;
        if self.is_open() {
            *slot = Some(Arc::clone(&kept));
            self.missing.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(kept)
    }

    pub(super) fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        match self.slot(partition).as_deref() {
            Some(Kept::Records(records)) => Some(Arc::clone(records)),
            _ => None,
        }
    }

    /// How many records are kept.
    pub(super) fn records(&self) -> u64 {
        (0..self.len()).filter_map(|partition| self.slot(partition).as_deref().map(Kept::records)).sum()
    }

    /// Empties a slot.
    pub(super) fn forget(&self, partition: usize) {
        let kept = self.slot(partition).take();
        if kept.is_some() {
            self.missing.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Empties all slots, for good.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Release);
        (0..self.len()).for_each(|partition| self.forget(partition));
    }

    fn slot(&self, partition: usize) -> MutexGuard<'_, Option<Arc<Kept<T>>>> {
        self.slots[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a partition, to be spoilt.
    #[cfg(test)]
    pub(super) fn blocks(&mut self, partition: usize) -> &mut Blocks<T> {
        let kept = self.slots[partition].get_mut().unwrap().as_mut().expect("the partition is kept");
        match Arc::get_mut(kept) {
            Some(Kept::Blocks(blocks)) => blocks,
            _ => panic!("the partition is not kept as bytes, or is being read"),
        }
    }
}

impl<T: Data> Kept<T> {
    fn records(&self) -> u64 {
        match self {
            Kept::Records(records) => records.len() as u64,
            Kept::Blocks(blocks) => blocks.records(),
        }
    }

    /// Pushes the records of the partition. Calls `unreadable` if there is a block that cannot be read.
    pub(super) fn push<'t>(
        &self,
        task: &TaskContext<'t>,
        origin: &'t Origin,
        sink: &mut dyn Sink<T>,
        unreadable: impl FnOnce(),
    ) -> Result<Flow> {
        let blocks = match self {
            Kept::Records(records) => return push_shared(records, sink),
            Kept::Blocks(blocks) => blocks,
        };
        for block in 0..blocks.len() {
            task.enter(origin);
            let mut out = Emitter::new(sink);
            if let Err(error) = blocks.read(block, &mut out) {
                unreadable();
                return Err(error);
            }
            if out.finish()?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }
}
