use std::marker::PhantomData;
use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Emitter, Flow, Header, Lineage, Partition, Sink, stage};
use crate::error::Result;
use crate::exec::TaskContext;

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
        let header = Header::new("map_partitions");
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
    F: Fn(PartitionIter<T>) -> I + Send + Sync,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<U>) -> Result<Flow> {
        let records = stage::gather(&*self.parent, partition, task)?;
        let origin = self.header.origin();
        task.enter(origin);
        let mut down = |chunk: Chunk<'_, U>| {
            let flow = sink.push(chunk);
            task.enter(origin);
            flow
        };
        let mut out = Emitter::new(&mut down);
        for record in (self.f)(PartitionIter::new(records)) {
            out.emit(record);
            if out.is_done() {
                break;
            }
        }
        out.finish()
    }
}

impl<T: Data, U: Data, I, F> AnyLineage for MapPartitions<T, U, F>
where
    I: IntoIterator<Item = U>,
    F: Fn(PartitionIter<T>) -> I + Send + Sync,
{
    narrow_node!();
}
