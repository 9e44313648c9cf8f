mod blocks;
mod file;
mod keep;
mod level;
mod slots;

use std::sync::Arc;

use crate::data::{Data, Exchange};
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Note, Partition, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

pub(crate) use level::Keeping;
pub use level::StorageLevel;
use slots::Slots;

impl<T: Data> Dataset<T> {
    /// Returns this dataset with a memory: each partition is kept when it is first computed, and computed no more.
    ///
    /// The records stay in memory, as they are ([`StorageLevel::MemoryOnly`]), until they are
    /// [let go of](Dataset::unpersist), or the returned dataset and all that was derived from it are gone. As for all
    /// operations, it is the returned dataset that keeps them, and not this one.
    ///
    /// # Errors
    ///
    /// A dataset that has another level already: every action says so.
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
        self.persist_by(Keeping::records())
    }

    /// As [`persist`](Dataset::persist), under Spark's other name.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::StorageLevel;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let squares = context.parallelize(1..=3, 1).map(|n| n * n).cache();
    /// assert_eq!(squares.storage_level(), Some(StorageLevel::MemoryOnly));
    /// assert_eq!((squares.count()?, squares.collect()?), (3, vec![1, 4, 9]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn cache(&self) -> Dataset<T> {
        self.persist()
    }

    /// As [`persist`](Dataset::persist), at a level: in memory as records or as bytes, or on disk.
    ///
    /// # Errors
    ///
    /// A dataset that has another level already: every action says so. Bytes that cannot be written or read fail the
    /// task, with the operator and the partition; the next attempt computes the records again.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::StorageLevel;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let squares = context.parallelize(1..=3, 1).map(|n| n * n).persist_with(StorageLevel::DiskOnly);
    /// assert_eq!(squares.storage_level(), Some(StorageLevel::DiskOnly));
    /// assert_eq!((squares.count()?, squares.collect()?), (3, vec![1, 4, 9]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn persist_with(&self, level: StorageLevel) -> Dataset<T>
    where
        T: Exchange,
    {
        self.persist_by(Keeping::at(level))
    }

    #[track_caller]
    fn persist_by(&self, keeping: Keeping<T>) -> Dataset<T> {
        let header = Header::new("persist");
        match self.storage_level() {
            Some(level) if level == keeping.level() => self.clone(),
            Some(level) => {
                let asked = keeping.level();
                self.broken(header, format!("the dataset cannot be persisted as {asked:?}: it is as {level:?} already"))
            }
            None => {
                let slots = Slots::new(self.num_partitions(), keeping);
                self.derive(Persist { header, parent: Arc::clone(self.lineage()), slots })
            }
        }
    }

    /// Lets go of what [`persist`](Dataset::persist) has kept, and keeps nothing from here on: a later action computes
    /// the records again. Waits for tasks that are computing a partition to be kept.
    ///
    /// Does nothing to a dataset without a level, and to the batch of a stream that is
    /// [persisted](crate::DStream::persist): its records belong to the stream, which forgets them when nobody can ask
    /// for them any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let squares = context.parallelize(1..=3, 1).map(|n| n * n).persist();
    /// assert_eq!(squares.count()?, 3);
    /// squares.unpersist();
    /// assert_eq!((squares.storage_level(), squares.collect()?), (None, vec![1, 4, 9]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn unpersist(&self) {
        self.lineage().unpersist();
    }

    /// How the records of this dataset are kept, if it was [persisted](Dataset::persist), or is the batch of a stream
    /// that [was](crate::DStream::persist).
    ///
    /// What the engine keeps by itself, for a window or a second reader of a stream, is no level.
    pub fn storage_level(&self) -> Option<StorageLevel> {
        self.lineage().storage_level()
    }
}

/// A dataset that the program has kept. It can be told to let go of its records, so it stays with what they were made
/// from.
struct Persist<T> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    slots: Slots<T>,
}

impl<T: Data> Lineage<T> for Persist<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        if !self.slots.is_open() {
            return self.parent.compute(partition, task, sink);
        }
        let origin = self.header.origin();
        let fill = || self.slots.keeping().fill(&*self.parent, partition, task, origin);
        let kept = self.slots.get_or_fill(partition, fill)?;
        // What cannot be read is made again by the next attempt.
        kept.push(task, origin, sink, || self.slots.forget(partition))
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        if self.slots.is_open() { self.slots.in_memory(partition) } else { self.parent.in_memory(partition) }
    }
}

impl<T: Data> AnyLineage for Persist<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.parent.partitions()
    }

    fn records(&self) -> Option<u64> {
        if self.slots.is_full() { Some(self.slots.records()) } else { self.parent.records() }
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        if !self.slots.is_full() {
            visit(self.parent.any());
        }
    }

    fn kept_partitions(&self) -> Option<usize> {
        self.slots.is_open().then(|| self.slots.kept())
    }

    fn note(&self) -> Option<Note> {
        self.parent.note()
    }

    fn key_partitions(&self) -> Option<usize> {
        self.parent.key_partitions()
    }

    fn storage_level(&self) -> Option<StorageLevel> {
        self.slots.is_open().then(|| self.slots.keeping().level())
    }

    fn unpersist(&self) {
        self.slots.close();
    }
}

#[cfg(test)]
mod tests;
