//! Operations that look at one partition at a time. They are fused: a chain of them is one task.

mod broken;
mod cartesian;
mod coalesce;
mod filter;
mod flat_map;
mod inspect;
mod map;
mod map_partitions;
mod memory;
mod persist;
mod pipe;
mod same_keys;
mod sample;
mod union;
mod zip;
mod zip_with_index;

pub use map_partitions::PartitionIter;
pub(crate) use memory::push_shared;
pub(crate) use memory::{Memory, Partition};
pub(crate) use persist::Keeping;
pub use persist::StorageLevel;

/// The parts of [`AnyLineage`](super::AnyLineage) that every node with one parent and the same partitions shares.
macro_rules! narrow_node {
    () => {
        fn header(&self) -> &$crate::dataset::Header {
            &self.header
        }

        fn partitions(&self) -> usize {
            self.parent.partitions()
        }

        fn records(&self) -> Option<u64> {
            self.parent.records()
        }

        fn parents(&self, visit: &mut dyn FnMut(&dyn $crate::dataset::AnyLineage)) {
            visit(self.parent.any());
        }

        fn note(&self) -> Option<$crate::dataset::Note> {
            self.parent.note()
        }
    };
}
pub(crate) use narrow_node;
