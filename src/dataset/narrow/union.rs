use std::sync::Arc;

use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Partition, Sink};
use crate::error::Result;
use crate::exec::{Runtime, TaskContext};

impl<T: Data> Dataset<T> {
    /// The records of this dataset, then those of `other`; duplicates stay. Partitions are kept, none is copied.
    ///
    /// If both have their pairs where the hash of the key says among the same number of partitions, as after
    /// [`reduce_by_key`](Dataset::reduce_by_key), so has the union: partition `n` is that of this dataset, then that of
    /// the other. Spark's `PartitionerAwareUnionRDD`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let all = context.parallelize([1, 2], 1).union(&context.parallelize([2, 3], 1));
    /// assert_eq!((all.num_partitions(), all.collect()?), (2, vec![1, 2, 2, 3]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn union(&self, other: &Dataset<T>) -> Dataset<T> {
        Dataset::union_all([self.clone(), other.clone()], self.runtime())
    }

    /// The records of all datasets, in their order.
    #[track_caller]
    pub(crate) fn union_all(datasets: impl IntoIterator<Item = Dataset<T>>, runtime: &Runtime) -> Dataset<T> {
        let datasets: Vec<Dataset<T>> = datasets.into_iter().collect();
        let mut layouts = datasets.iter().map(|dataset| dataset.lineage().key_partitions());
        if let Some(Some(partitions)) = layouts.next() {
            if layouts.all(|other| other == Some(partitions)) {
                let parts = datasets.iter().map(|dataset| Arc::clone(dataset.lineage())).collect();
                return Dataset::new(UnionByKey { header: Header::new("union"), parts, partitions }, runtime);
            }
        }
        let mut parts = Vec::new();
        let mut partitions = 0;
        for dataset in datasets {
            parts.push((partitions, Arc::clone(dataset.lineage())));
            partitions += dataset.num_partitions();
        }
        Dataset::new(Union { header: Header::new("union"), parts, partitions }, runtime)
    }
}

/// Pairs of which all have the same layout: each partition is the union of those with its number.
struct UnionByKey<T> {
    header: Header,
    parts: Vec<Arc<dyn Lineage<T>>>,
    partitions: usize,
}

impl<T: Data> Lineage<T> for UnionByKey<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        for part in &self.parts {
            if part.compute(partition, task, sink)?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        match &self.parts[..] {
            [part] => part.in_memory(partition),
            _ => None,
        }
    }

    fn is_kept(&self) -> bool {
        self.parts.iter().all(|part| part.is_kept())
    }
}

impl<T: Data> AnyLineage for UnionByKey<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn records(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.records()).sum()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.parts.iter().for_each(|part| visit(part.any()));
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions)
    }
}

struct Union<T> {
    header: Header,
    /// The datasets, each with the number of its first partition in the union.
    parts: Vec<(usize, Arc<dyn Lineage<T>>)>,
    partitions: usize,
}

impl<T> Union<T> {
    fn part(&self, partition: usize) -> (&dyn Lineage<T>, usize) {
        // Datasets without partitions share the number of their successor: the last one that begins here has it.
        let after = self.parts.partition_point(|(first, _)| *first <= partition);
        let (first, part) = &self.parts[after - 1];
        (&**part, partition - first)
    }
}

impl<T: Data> Lineage<T> for Union<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let (part, partition) = self.part(partition);
        part.compute(partition, task, sink)
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        let (part, partition) = self.part(partition);
        part.in_memory(partition)
    }

    fn is_kept(&self) -> bool {
        self.parts.iter().all(|(_, part)| part.is_kept())
    }
}

impl<T: Data> AnyLineage for Union<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn records(&self) -> Option<u64> {
        self.parts.iter().map(|(_, part)| part.records()).sum()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.parts.iter().for_each(|(_, part)| visit(part.any()));
    }
}
