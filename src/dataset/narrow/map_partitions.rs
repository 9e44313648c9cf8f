use std::marker::PhantomData;
use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Emitter, Flow, Header, Lineage, Partition, Sink, resuming, stage};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

impl<T: Data> Dataset<T> {
    /// Replaces every partition by what `f` makes of its records. `f` is called for empty partitions too.
    ///
    /// The records of a partition are gathered before `f` is called, so they have to fit into memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let sums = context.parallelize([1, 2, 3, 4], 2).map_partitions(|numbers| [numbers.sum::<i32>()]);
    /// assert_eq!(sums.collect()?, [3, 7]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> Dataset<U> {
        self.map_partitions_into(Header::new("map_partitions"), move |_, records| f(records))
    }

    /// As [`map_partitions`](Dataset::map_partitions), with the number of the partition, from 0 on.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let lengths = context.parallelize(1..=5, 2).map_partitions_with_index(|part, numbers| [(part, numbers.count())]);
    /// assert_eq!(lengths.collect()?, [(0, 2), (1, 3)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(usize, PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> Dataset<U> {
        self.map_partitions_into(Header::new("map_partitions_with_index"), f)
    }

    /// Makes one record of each partition: the list of its records. An empty partition gives an empty list.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([1, 2, 3, 4], 2).glom().collect()?, [[1, 2], [3, 4]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn glom(&self) -> Dataset<Vec<T>> {
        self.map_partitions_into(Header::new("glom"), |_, records| [records.collect()])
    }

    /// [`map_partitions_with_index`](Dataset::map_partitions_with_index), under the name of the operation it is a part
    /// of.
    pub(in crate::dataset) fn map_partitions_into<U: Data, I: IntoIterator<Item = U>>(
        &self,
        header: Header,
        f: impl Fn(usize, PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> Dataset<U> {
        self.derive(MapPartitions { header, parent: Arc::clone(self.lineage()), f, record: PhantomData })
    }
}

impl<T: Data> Dataset<T> {
    /// Folds every partition into one record, without gathering its records.
    #[track_caller]
    pub(crate) fn fold_partitions<A: Data>(
        &self,
        zero: A,
        fold: impl Fn(A, T) -> A + Send + Sync + 'static,
    ) -> Dataset<A> {
        let header = Header::new("fold_partitions");
        self.derive(FoldPartitions { header, parent: Arc::clone(self.lineage()), zero, fold })
    }
}

struct FoldPartitions<T, A, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    zero: A,
    fold: F,
}

impl<T: Data, A: Data, F: Fn(A, T) -> A + Send + Sync> Lineage<A> for FoldPartitions<T, A, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<A>) -> Result<Flow> {
        let origin = self.header.origin();
        let mut folded = Some(self.zero.clone());
        let _ = self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            folded = folded.take().map(|folded| chunk.fold(folded, &self.fold));
            Ok(Flow::Continue(()))
        })?;
        task.enter(origin);
        sink.push(Chunk::Owned(&mut folded.into_iter().collect()))
    }
}

impl<T: Data, A: Data, F: Fn(A, T) -> A + Send + Sync> AnyLineage for FoldPartitions<T, A, F> {
    narrow_node!();
}

/// The records of one partition, in order.
#[derive(Debug)]
pub struct PartitionIter<T>(Records<T>);

#[derive(Debug)]
enum Records<T> {
    Owned(std::vec::IntoIter<T>),
    Shared { records: Partition<T>, next: usize },
}

impl<T: Data> PartitionIter<T> {
    /// Takes the records out of their partition if nobody else holds it.
    pub(crate) fn new(records: Partition<T>) -> Self {
        PartitionIter(match Arc::try_unwrap(records) {
            Ok(records) => Records::Owned(records.into_iter()),
            Err(records) => Records::Shared { records, next: 0 },
        })
    }
}

impl<T: Data> Iterator for PartitionIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Records::Owned(records) => records.next(),
            Records::Shared { records, next } => {
                let record = records.get(*next)?.clone();
                *next += 1;
                Some(record)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Records::Owned(records) => records.len(),
            Records::Shared { records, next } => records.len() - next,
        };
        (left, Some(left))
    }
}

impl<T: Data> ExactSizeIterator for PartitionIter<T> {}

struct MapPartitions<T, U, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    f: F,
    record: PhantomData<fn() -> U>,
}

impl<T: Data, U: Data, I, F> Lineage<U> for MapPartitions<T, U, F>
where
    I: IntoIterator<Item = U>,
    F: Fn(usize, PartitionIter<T>) -> I + Send + Sync,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<U>) -> Result<Flow> {
        let records = stage::gather(&*self.parent, partition, task)?;
        let origin = self.header.origin();
        task.enter(origin);
        emit_all((self.f)(partition, PartitionIter::new(records)), origin, task, sink)
    }
}

/// Sends on what an iterator of the program gives, in chunks.
pub(super) fn emit_all<'t, U>(
    records: impl IntoIterator<Item = U>,
    origin: &'t Origin,
    task: &TaskContext<'t>,
    sink: &mut dyn Sink<U>,
) -> Result<Flow> {
    let mut down = resuming(task, origin, sink);
    let mut out = Emitter::new(&mut down);
    out.extend(records);
    out.finish()
}

impl<T: Data, U: Data, I, F> AnyLineage for MapPartitions<T, U, F>
where
    I: IntoIterator<Item = U>,
    F: Fn(usize, PartitionIter<T>) -> I + Send + Sync,
{
    narrow_node!();
}
