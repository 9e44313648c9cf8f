use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::push_shared;
use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Note, Partition, Sink, stage};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Returns this dataset with a memory: each partition is kept when it is first computed, and computed no more.
    ///
    /// The records stay in memory, as they are, until the returned dataset and all that was derived from it are gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let calls = Arc::new(AtomicU32::new(0));
    /// let counted = Arc::clone(&calls);
    /// let squares = context.parallelize(1..=3, 1).map(move |n| {
    ///     counted.fetch_add(1, Ordering::Relaxed);
    ///     n * n
    /// });
    /// let squares = squares.persist();
    /// assert_eq!((squares.count()?, squares.collect()?), (3, vec![1, 4, 9]));
    /// assert_eq!(calls.load(Ordering::Relaxed), 3);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn persist(&self) -> Dataset<T> {
        if self.lineage().is_kept() {
            return self.clone();
        }
        let slots = (0..self.num_partitions()).map(|_| Mutex::new(None)).collect();
        self.derive(Persist {
            header: Header::new("persist"),
            note: self.lineage().note(),
            key_partitions: self.lineage().key_partitions(),
            parent: Mutex::new(Some(Arc::clone(self.lineage()))),
            missing: AtomicUsize::new(self.num_partitions()),
            slots,
        })
    }
}

struct Persist<T> {
    header: Header,
    note: Option<Note>,
    key_partitions: Option<usize>,
    /// Let go of once every partition is kept, and with it all that the records were made from: the records of
    /// streams before this one, the blocks of shuffles.
    parent: Mutex<Option<Arc<dyn Lineage<T>>>>,
    /// How many partitions are not kept yet.
    missing: AtomicUsize,
    /// A partition is computed under its lock: a second task that wants it waits instead of computing it again.
    slots: Vec<Mutex<Option<Partition<T>>>>,
}

impl<T: Data> Persist<T> {
    fn slot(&self, partition: usize) -> MutexGuard<'_, Option<Partition<T>>> {
        lock(&self.slots[partition])
    }

    fn parent(&self) -> Option<Arc<dyn Lineage<T>>> {
        lock(&self.parent).clone()
    }
}

impl<T: Data> Lineage<T> for Persist<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let mut slot = self.slot(partition);
        let records = match &*slot {
            Some(records) => Arc::clone(records),
            None => {
                let parent = self.parent().expect("the parent is there until every partition is kept");
                let part = task.part();
                let records = part.run(|| stage::gather(&*parent, partition, &part))?;
                *slot = Some(Arc::clone(&records));
                if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    *lock(&self.parent) = None;
                }
                records
            }
        };
        drop(slot);
        push_shared(&records, sink)
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        self.slot(partition).clone()
    }

    fn is_kept(&self) -> bool {
        true
    }
}

impl<T: Data> AnyLineage for Persist<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.slots.len()
    }

    fn records(&self) -> Option<u64> {
        match self.parent() {
            Some(parent) => parent.records(),
            None => (0..self.slots.len()).map(|n| self.slot(n).as_ref().map(|kept| kept.len() as u64)).sum(),
        }
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        if let Some(parent) = self.parent() {
            visit(parent.any());
        }
    }

    fn kept_partitions(&self) -> Option<usize> {
        Some(self.slots.len() - self.missing.load(Ordering::Acquire))
    }

    fn note(&self) -> Option<Note> {
        self.note.clone()
    }

    fn key_partitions(&self) -> Option<usize> {
        self.key_partitions
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
