use std::sync::Arc;

use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Note, Partition, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// This dataset of pairs, known to have every key in the partition where `other`, which it was made from, has it.
    pub(in crate::dataset) fn with_keys_of<U: Data>(self, other: &Dataset<U>) -> Dataset<T> {
        match other.lineage().key_partitions() {
            Some(partitions) => self.derive(SameKeys { lineage: Arc::clone(self.lineage()), partitions }),
            None => self,
        }
    }
}

/// A recipe, with what is known of its keys besides.
struct SameKeys<T> {
    lineage: Arc<dyn Lineage<T>>,
    partitions: usize,
}

impl<T: Data> Lineage<T> for SameKeys<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        self.lineage.compute(partition, task, sink)
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        self.lineage.in_memory(partition)
    }

    fn is_kept(&self) -> bool {
        self.lineage.is_kept()
    }
}

impl<T: Data> AnyLineage for SameKeys<T> {
    fn header(&self) -> &Header {
        self.lineage.header()
    }

    fn partitions(&self) -> usize {
        self.lineage.partitions()
    }

    fn records(&self) -> Option<u64> {
        self.lineage.records()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.lineage.parents(visit);
    }

    fn prepare(&self) -> Result<()> {
        self.lineage.prepare()
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions)
    }

    fn kept_partitions(&self) -> Option<usize> {
        self.lineage.kept_partitions()
    }

    fn note(&self) -> Option<Note> {
        self.lineage.note()
    }
}
