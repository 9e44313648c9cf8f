use std::marker::PhantomData;
use std::sync::Arc;

use super::PartitionIter;
use super::map_partitions::emit_all;
use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Sink, stage};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Pairs the records of this dataset with those of `other`: the first with the first, and so on in each partition.
    ///
    /// Meant for datasets that were made from each other by `map`: both need the same number of partitions, and of
    /// records in each. A partition of both is held in memory.
    ///
    /// # Errors
    ///
    /// Of every action, if the numbers of partitions differ; of the task, if in its partition those of records do.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let words = context.parallelize(["ebb", "flood"], 2);
    /// assert_eq!(words.zip(&words.map(str::len)).collect()?, [("ebb", 3), ("flood", 5)]);
    ///
    /// let error = words.zip(&context.parallelize([1, 2, 3], 2)).collect().unwrap_err().to_string();
    /// assert!(error.ends_with("partition 1: 1 record here and 2 in the other dataset"), "{error}");
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn zip<U: Data>(&self, other: &Dataset<U>) -> Dataset<(T, U)> {
        self.zip_into(Header::new("zip"), other, |left, right| {
            if left.len() == right.len() {
                return Ok(left.zip(right));
            }
            let records = if left.len() == 1 { "record" } else { "records" };
            let message = format!("{} {records} here and {} in the other dataset", left.len(), right.len());
            Err(Error::new(ErrorKind::Task, message))
        })
    }

    /// What `f` makes of each partition of this dataset together with the partition of the same number of `other`.
    ///
    /// `f` is called for empty partitions too. A partition of both is held in memory.
    ///
    /// # Errors
    ///
    /// Of every action, if the numbers of partitions differ.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let (old, new) = (context.parallelize([1, 2, 3, 4], 2), context.parallelize([5, 6], 2));
    /// let grown = old.zip_partitions(&new, |old, new| [new.sum::<i32>() - old.sum::<i32>()]);
    /// assert_eq!(grown.collect()?, [2, -1]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn zip_partitions<U: Data, V: Data, I: IntoIterator<Item = V>>(
        &self,
        other: &Dataset<U>,
        f: impl Fn(PartitionIter<T>, PartitionIter<U>) -> I + Send + Sync + 'static,
    ) -> Dataset<V> {
        self.zip_into(Header::new("zip_partitions"), other, move |left, right| Ok(f(left, right)))
    }

    /// [`zip_partitions`](Dataset::zip_partitions) with an `f` that may fail, under the name of the operation it is a
    /// part of.
    fn zip_into<U: Data, V: Data, I: IntoIterator<Item = V>>(
        &self,
        header: Header,
        other: &Dataset<U>,
        f: impl Fn(PartitionIter<T>, PartitionIter<U>) -> Result<I> + Send + Sync + 'static,
    ) -> Dataset<V> {
        let (here, there) = (self.num_partitions(), other.num_partitions());
        if here != there {
            let mistake = format!("{here} partitions here and {there} in the other dataset: there have to be as many");
            return self.broken(header, mistake);
        }
        let (left, right) = (Arc::clone(self.lineage()), Arc::clone(other.lineage()));
        self.derive(Zip { header, left, right, f, record: PhantomData })
    }
}

struct Zip<T, U, V, F> {
    header: Header,
    left: Arc<dyn Lineage<T>>,
    right: Arc<dyn Lineage<U>>,
    f: F,
    record: PhantomData<fn() -> V>,
}

impl<T: Data, U: Data, V: Data, I, F> Lineage<V> for Zip<T, U, V, F>
where
    I: IntoIterator<Item = V>,
    F: Fn(PartitionIter<T>, PartitionIter<U>) -> Result<I> + Send + Sync,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<V>) -> Result<Flow> {
        let left = stage::gather(&*self.left, partition, task)?;
        let right = stage::gather(&*self.right, partition, task)?;
        let origin = self.header.origin();
        task.enter(origin);
        emit_all((self.f)(PartitionIter::new(left), PartitionIter::new(right))?, origin, task, sink)
    }
}

impl<T: Data, U: Data, V: Data, I, F> AnyLineage for Zip<T, U, V, F>
where
    I: IntoIterator<Item = V>,
    F: Fn(PartitionIter<T>, PartitionIter<U>) -> Result<I> + Send + Sync,
{
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.left.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.left.records()? + self.right.records()?)
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.left.any());
        visit(self.right.any());
    }
}
