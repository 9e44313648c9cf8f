//! What makes a dataset run. An action returns when all its tasks have ended, with the error of the one that failed.

mod by_key;
mod fold;
mod histogram;
mod local_iterator;
mod ordered;
mod stats;
mod take_sample;
#[cfg(feature = "kafka")]
mod write_to_kafka;

use std::mem::take;

use super::{Chunk, Dataset, Flow, Lineage, PartitionIter, stage};
use crate::data::Data;
use crate::error::Result;
use crate::exec::TaskContext;

pub use local_iterator::LocalIterator;
pub use stats::{Number, Stats};

impl<T: Data> Dataset<T> {
    /// All records, partition after partition.
    ///
    /// # Errors
    ///
    /// As for every action: the error of the task that failed in all its attempts, naming operator and partition.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=3, 2).map(|n| n * n).collect()?, [1, 4, 9]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn collect(&self) -> Result<Vec<T>> {
        let mut partitions = self.collect_partitions()?.into_iter();
        let mut all = partitions.next().unwrap_or_default();
        partitions.for_each(|mut partition| all.append(&mut partition));
        Ok(all)
    }

    /// The records of each partition: Spark's `glom().collect()`.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(1..=5, 2);
    /// assert_eq!(numbers.collect_partitions()?, [vec![1, 2], vec![3, 4, 5]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn collect_partitions(&self) -> Result<Vec<Vec<T>>> {
        self.run(|lineage, partition, task| Ok(PartitionIter::new(stage::gather(lineage, partition, task)?).collect()))
    }

    /// How many records there are.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=100, 4).filter(|n| n % 3 == 0).count()?, 33);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn count(&self) -> Result<u64> {
        let partitions: Vec<usize> = (0..self.num_partitions()).collect();
        Ok(self.count_on(&partitions)?.iter().sum())
    }

    /// How many records each of the given partitions has.
    pub(super) fn count_on(&self, partitions: &[usize]) -> Result<Vec<u64>> {
        self.run_on(partitions, |lineage, partition, task| {
            if let Some(records) = lineage.in_memory(partition) {
                return Ok(records.len() as u64);
            }
            let mut count = 0;
            each_chunk(lineage, partition, task, |chunk| {
                count += chunk.len() as u64;
                Flow::Continue(())
            })?;
            Ok(count)
        })
    }

    /// Whether there is no record. Looks at one partition after the other.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(1..=100, 4);
    /// assert!(!numbers.is_empty()?);
    /// assert!(numbers.filter(|n| *n > 100).is_empty()?);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }

    /// The first record, if there is one.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let words = context.parallelize(["ebb", "flood"], 2);
    /// assert_eq!(words.first()?, Some("ebb"));
    /// assert_eq!(words.filter(|word| word.len() > 9).first()?, None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn first(&self) -> Result<Option<T>> {
        Ok(self.take(1)?.pop())
    }

    /// The first `n` records, in order. Computes no more partitions than it needs, and no partition to its end.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=1_000_000, 4).take(2)?, [1, 2]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn take(&self, n: usize) -> Result<Vec<T>> {
        let mut taken = Vec::new();
        for partition in 0..self.num_partitions() {
            let missing = n - taken.len();
            if missing == 0 {
                break;
            }
            let parts = self.run_on(&[partition], |lineage, partition, task| {
                let mut part = Vec::new();
                each_chunk(lineage, partition, task, |chunk| {
                    part.extend(chunk.as_slice().iter().take(missing - part.len()).cloned());
                    if part.len() == missing { Flow::Break(()) } else { Flow::Continue(()) }
                })?;
                Ok(part)
            })?;
            parts.into_iter().for_each(|mut part| taken.append(&mut part));
        }
        Ok(taken)
    }

    /// Merges all records with `f`, which has to be associative and commutative; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=4, 2).reduce(|a, b| a + b)?, Some(10));
    /// assert_eq!(context.parallelize(Vec::<i32>::new(), 2).reduce(|a, b| a + b)?, None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync) -> Result<Option<T>> {
        let parts = self.run(|lineage, partition, task| reduce_partition(lineage, partition, task, &f))?;
        Ok(parts.into_iter().flatten().reduce(f))
    }

    /// Folds each partition into a copy of `zero`, and the results of the partitions, in order, into another one.
    ///
    /// As in Spark `zero` goes in once for each partition, an empty one too, and once more when their results are
    /// merged: it should change nothing, as 0 does in a sum.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let words = context.parallelize(["tide", "mill"], 2);
    /// let letters = words.aggregate(0, |sum, word| sum + word.len(), |a, b| a + b)?;
    /// assert_eq!(letters, 8);
    /// assert_eq!(words.aggregate(100, |sum, word| sum + word.len(), |a, b| a + b)?, 308);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn aggregate<A: Data>(
        &self,
        zero: A,
        fold: impl Fn(A, T) -> A + Send + Sync,
        merge: impl Fn(A, A) -> A,
    ) -> Result<A> {
        let start = zero.clone();
        let parts =
            self.run(|lineage, partition, task| fold_partition(lineage, partition, task, start.clone(), &fold))?;
        Ok(parts.into_iter().flatten().fold(zero, merge))
    }

    /// Calls `f` with every record, on the threads of the pool.
    ///
    /// # Errors
    ///
    /// What `f` returns, after the task was tried again as often as the context allows: `f` may see a record twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicI64, Ordering};
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let sum = AtomicI64::new(0);
    /// context.parallelize(1..=4, 2).foreach(|n| {
    ///     sum.fetch_add(n, Ordering::Relaxed);
    ///     Ok(())
    /// })?;
    /// assert_eq!(sum.into_inner(), 10);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn foreach(&self, f: impl Fn(T) -> Result<()> + Send + Sync) -> Result<()> {
        self.run(|lineage, partition, task| {
            let mut outcome = Ok(());
            each_chunk(lineage, partition, task, |chunk| {
                outcome = chunk.try_for_each(&f);
                if outcome.is_ok() { Flow::Continue(()) } else { Flow::Break(()) }
            })?;
            outcome
        })?;
        Ok(())
    }

    /// Calls `f` once with the records of each partition, on the threads of the pool: the place to open a connection.
    ///
    /// A task that is tried again calls `f` again, with the same records. To write them exactly once all the same, write
    /// in one transaction the records and a row that names the batch time and the partition, and write nothing if that
    /// row is there. This holds for one run of the program; after a restart the same records may come in another batch,
    /// and a name that lasts is made of their offsets. The guide's chapter on outputs has the recipe.
    ///
    /// # Errors
    ///
    /// What `f` returns, after the task was tried again as often as the context allows: `f` may see a partition twice.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let (send, sums) = std::sync::mpsc::channel();
    /// let numbers = context.parallelize(1..=4, 2);
    /// numbers.foreach_partition(|records| send.send(records.sum::<i32>()).map_err(tidemill::Error::user))?;
    /// let mut sums: Vec<i32> = sums.try_iter().collect();
    /// sums.sort();
    /// assert_eq!(sums, [3, 7]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn foreach_partition(&self, f: impl Fn(PartitionIter<T>) -> Result<()> + Send + Sync) -> Result<()> {
        self.foreach_partition_with_index(|_, records| f(records))
    }

    /// As [`foreach_partition`](Dataset::foreach_partition), with the number of the partition, from 0 on: Spark's
    /// `TaskContext.partitionId`. A batch that is computed again has the same records in the same partitions, so what
    /// is written under the time of the batch and this number can be written twice and is there once.
    ///
    /// # Errors
    ///
    /// As [`foreach_partition`](Dataset::foreach_partition).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::sync::Mutex;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let store = Mutex::new(BTreeMap::new());
    /// let write = |part: usize, records: Vec<i32>| drop(store.lock().unwrap().insert(part, records));
    /// let numbers = context.parallelize(1..=3, 2);
    /// for _try in 0..2 {
    ///     numbers.foreach_partition_with_index(|part, records| Ok(write(part, records.collect())))?;
    /// }
    /// assert_eq!(*store.lock().unwrap(), [(0, vec![1]), (1, vec![2, 3])].into());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn foreach_partition_with_index(
        &self,
        f: impl Fn(usize, PartitionIter<T>) -> Result<()> + Send + Sync,
    ) -> Result<()> {
        self.run(|lineage, partition, task| {
            f(partition, PartitionIter::new(stage::gather(lineage, partition, task)?))
        })?;
        Ok(())
    }
}

fn fold_partition<'t, T: Data, A>(
    lineage: &'t dyn Lineage<T>,
    partition: usize,
    task: &TaskContext<'t>,
    zero: A,
    fold: impl Fn(A, T) -> A,
) -> Result<Option<A>> {
    let mut folded = Some(zero);
    each_chunk(lineage, partition, task, |chunk| {
        folded = take(&mut folded).map(|folded| chunk.fold(folded, &fold));
        Flow::Continue(())
    })?;
    Ok(folded)
}

fn reduce_partition<'t, T: Data>(
    lineage: &'t dyn Lineage<T>,
    partition: usize,
    task: &TaskContext<'t>,
    f: impl Fn(T, T) -> T,
) -> Result<Option<T>> {
    let mut reduced: Option<T> = None;
    each_chunk(lineage, partition, task, |chunk| {
        let start = take(&mut reduced);
        reduced = match (start, chunk) {
            (None, Chunk::Owned(records)) => records.drain(..).reduce(&f),
            (None, Chunk::Shared(records)) => records.iter().cloned().reduce(&f),
            (Some(start), chunk) => Some(chunk.fold(start, &f)),
        };
        Flow::Continue(())
    })?;
    Ok(reduced)
}

fn each_chunk<'t, T: Data>(
    lineage: &'t dyn Lineage<T>,
    partition: usize,
    task: &TaskContext<'t>,
    mut f: impl FnMut(Chunk<'_, T>) -> Flow,
) -> Result<()> {
    lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| Ok(f(chunk))).map(|_| ())
}
