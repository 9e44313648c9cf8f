use std::sync::{Arc, Mutex, PoisonError};

use super::memory::push_shared;
use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Partition, Sink, stage};
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
        self.derive(Persist { header: Header::new("persist"), parent: Arc::clone(self.lineage()), slots })
    }
}

struct Persist<T> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    /// A partition is computed under its lock: a second task that wants it waits instead of computing it again.
    slots: Vec<Mutex<Option<Partition<T>>>>,
}

impl<T: Data> Persist<T> {
    fn slot(&self, partition: usize) -> std::sync::MutexGuard<'_, Option<Partition<T>>> {
        self.slots[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Data> Lineage<T> for Persist<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let mut slot = self.slot(partition);
        let records = match &*slot {
            Some(records) => Arc::clone(records),
            None => Arc::clone(slot.insert(stage::gather(&*self.parent, partition, task)?)),
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
        let kept: Option<u64> =
            (0..self.slots.len()).map(|partition| self.slot(partition).as_ref().map(|kept| kept.len() as u64)).sum();
        kept.or_else(|| self.parent.records())
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        if (0..self.slots.len()).any(|partition| self.slot(partition).is_none()) {
            visit(self.parent.any());
        }
    }

    fn narrow_parent(&self) -> Option<&dyn AnyLineage> {
        Some(self.parent.any())
    }
}
