use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::level::{Keeping, StorageLevel};
use super::slots::Slots;
use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Note, Partition, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// The batch of a stream that is computed once: at the level that the program chose for the stream, or because the
    /// stream is read more than once. Records that are kept already are not kept again for that.
    pub(crate) fn keep(&self, chosen: Option<Keeping<T>>) -> Dataset<T> {
        if chosen.is_none() && self.lineage().is_kept() {
            return self.clone();
        }
        self.derive(Keep::over(self, chosen))
    }
}

/// A dataset that its stream has kept. It is never asked to do without its records.
pub(super) struct Keep<T> {
    header: Header,
    note: Option<Note>,
    key_partitions: Option<usize>,
    /// What the program chose.
    level: Option<StorageLevel>,
    /// Let go of once every partition is kept, and with it all that the records were made from: the records of
    /// streams before this one, the blocks of shuffles.
    parent: Mutex<Option<Arc<dyn Lineage<T>>>>,
    /// What the parent says of its records, asked once: in a chain of diamonds each would ask twice.
    estimate: OnceLock<Option<u64>>,
    slots: Slots<T>,
}

impl<T: Data> Keep<T> {
    pub(super) fn over(dataset: &Dataset<T>, chosen: Option<Keeping<T>>) -> Self {
        let parent = dataset.lineage();
        Keep {
            header: Header::new("persist"),
            note: parent.note(),
            key_partitions: parent.key_partitions(),
            level: chosen.as_ref().map(Keeping::level),
            parent: Mutex::new(Some(Arc::clone(parent))),
            estimate: OnceLock::new(),
            slots: Slots::new(parent.partitions(), chosen.unwrap_or_else(Keeping::records)),
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&mut self) -> &mut Slots<T> {
        &mut self.slots
    }

    fn parent(&self) -> Option<Arc<dyn Lineage<T>>> {
        self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn let_go(&self) {
        let parent = self.parent.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It may be the last to hold a lot: free that without the lock.
        drop(parent);
    }
}

impl<T: Data> Lineage<T> for Keep<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let origin = self.header.origin();
        let kept = self.slots.get_or_fill(partition, || {
            let parent = self.parent().expect("the parent is there until every partition is kept");
            let part = task.part();
            part.run(|| self.slots.keeping().fill(&*parent, partition, &part, origin))
        })?;
        if self.slots.is_full() {
            self.let_go();
        }
        // Nothing is left to make the records from again: what cannot be read fails all attempts.
        kept.push(task, origin, sink, || {})
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        self.slots.in_memory(partition)
    }

    fn is_kept(&self) -> bool {
        true
    }
}

impl<T: Data> AnyLineage for Keep<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.slots.len()
    }

    fn records(&self) -> Option<u64> {
        match self.parent() {
            Some(parent) => *self.estimate.get_or_init(|| parent.records()),
            None => Some(self.slots.records()),
        }
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        if let Some(parent) = self.parent() {
            visit(parent.any());
        }
    }

    fn kept_partitions(&self) -> Option<usize> {
        Some(self.slots.kept())
    }

    fn note(&self) -> Option<Note> {
        self.note.clone()
    }

    fn key_partitions(&self) -> Option<usize> {
        self.key_partitions
    }

    fn storage_level(&self) -> Option<StorageLevel> {
        self.level
    }
}
