use std::sync::Arc;

use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Flow, Header, Lineage, Sink, chunk_len};
use crate::error::Result;
use crate::exec::TaskContext;

/// The records of one partition, in memory and shared.
pub(crate) type Partition<T> = Arc<Vec<T>>;

/// Partitions that are in memory from the start.
pub(crate) struct Memory<T> {
    header: Header,
    partitions: Vec<Partition<T>>,
    /// Whether they are pairs that lie where the hash of their key says.
    by_key: bool,
}

impl<T> Memory<T> {
    pub(crate) fn new(header: Header, partitions: Vec<Partition<T>>) -> Self {
        Memory { header, partitions, by_key: false }
    }

    /// Pairs, each in the partition that the hash of its key says.
    pub(crate) fn by_key(header: Header, partitions: Vec<Partition<T>>) -> Self {
        Memory { header, partitions, by_key: true }
    }
}

impl<T: Data> Lineage<T> for Memory<T> {
    fn compute<'t>(&'t self, partition: usize, _: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        push_shared(&self.partitions[partition], sink)
    }

    fn in_memory(&self, partition: usize) -> Option<Partition<T>> {
        self.partitions.get(partition).map(Arc::clone)
    }

    fn is_kept(&self) -> bool {
        true
    }
}

impl<T: Data> AnyLineage for Memory<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn records(&self) -> Option<u64> {
        Some(self.partitions.iter().map(|partition| partition.len() as u64).sum())
    }

    fn parents(&self, _: &mut dyn FnMut(&dyn AnyLineage)) {}

    fn key_partitions(&self) -> Option<usize> {
        self.by_key.then_some(self.partitions.len())
    }
}

/// Pushes records that stay where they are.
pub(crate) fn push_shared<T>(records: &[T], sink: &mut dyn Sink<T>) -> Result<Flow> {
    for chunk in records.chunks(chunk_len::<T>()) {
        if sink.push(Chunk::Shared(chunk))?.is_break() {
            return Ok(Flow::Break(()));
        }
    }
    Ok(Flow::Continue(()))
}
