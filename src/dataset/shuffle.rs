//! Moves records to the partition of their key and aggregates them on both sides of the way; or, in `scatter.rs`, to any
//! partition, and leaves them as they are.
//!
//! The map side watches how often keys repeat and decides by itself whether to combine (see `write.rs`); the reduce
//! side merges what it gets one cache-sized bucket at a time (see `buckets.rs` and `read.rs`). Both are deterministic: they decide by
//! counts, never by time, and take blocks in the order of the map tasks.

mod block;
mod buckets;
mod read;
mod scatter;
mod table;
#[cfg(test)]
mod tests;
mod transfer;
mod write;

use std::sync::{Arc, MutexGuard};

use super::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink, resuming};
use crate::data::{Data, Exchange, Key, Partitions};
use crate::error::Result;
use crate::exec::{ShuffleId, TaskContext};
use crate::id::Origin;
pub(super) use buckets::Buckets;
pub(super) use scatter::Place;
pub(super) use table::{Entry, KeyTable};
pub(crate) use transfer::ShuffleMap;
use transfer::Transfer;
pub(super) use write::MapWriter;

/// What a keyed operation does with the values of one key. Values arrive in the order of the map tasks.
pub(crate) trait Aggregate: Send + Sync + 'static {
    type Value: Exchange;
    /// What is kept for a key while its values come in.
    type Combiner: Exchange;
    type Output: Data;

    /// Whether values may be combined before the shuffle: pointless where nothing gets smaller.
    const COMBINES: bool;

    /// Whether the values of every partition make a combiner of their own, also those that crossed the shuffle
    /// uncombined: what `create` begins with shows in the result.
    const APART: bool = false;

    fn create(&self, value: Self::Value) -> Self::Combiner;
    fn merge_value(&self, combiner: &mut Self::Combiner, value: Self::Value);
    fn merge_combiners(&self, combiner: &mut Self::Combiner, other: Self::Combiner);
    fn finish(&self, combiner: Self::Combiner) -> Self::Output;
}

/// Where the pairs of a shuffle come from.
pub(super) trait Feed<K, A: Aggregate>: Send + Sync + 'static {
    fn parent(&self) -> &dyn AnyLineage;

    /// Writes the pairs of one partition of the parent.
    fn feed<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
        writer: &mut MapWriter<'_, K, A>,
    ) -> Result<()>;
}

/// Pairs that are there as records.
struct Pairs<K, V>(Arc<dyn Lineage<(K, V)>>);

impl<K: Key, V: Exchange, A: Aggregate<Value = V>> Feed<K, A> for Pairs<K, V> {
    fn parent(&self) -> &dyn AnyLineage {
        self.0.any()
    }

    fn feed<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
        writer: &mut MapWriter<'_, K, A>,
    ) -> Result<()> {
        let _ = self.0.compute(partition, task, &mut |chunk: Chunk<'_, (K, V)>| {
            task.enter(origin);
            writer.push(chunk);
            Ok(Flow::Continue(()))
        })?;
        Ok(())
    }
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    /// What is behind every keyed operation: brings the values of a key together, by a shuffle unless they are, and
    /// aggregates them.
    pub(crate) fn aggregate_with<A: Aggregate<Value = V>>(
        &self,
        header: Header,
        aggregate: A,
        partitions: Partitions,
    ) -> Dataset<(K, A::Output)> {
        let pairs = Pairs(Arc::clone(self.lineage()));
        if self.lineage().key_partitions() == Some(partitions.get()) {
            return self.derive(Aggregated { header, feed: Box::new(pairs), aggregate });
        }
        self.shuffle(header, pairs, aggregate, partitions)
    }
}

impl<T: Data> Dataset<T> {
    /// The shuffle of what `feed`, which reads this dataset, makes of it.
    pub(super) fn shuffle<K: Key, A: Aggregate>(
        &self,
        header: Header,
        feed: impl Feed<K, A>,
        aggregate: A,
        partitions: Partitions,
    ) -> Dataset<(K, A::Output)> {
        if let Some(mistake) = partitions.mistake() {
            return self.broken(header, mistake);
        }
        let transfer = Transfer::new(self.runtime(), self.num_partitions(), partitions.get());
        self.derive(Shuffled { header, feed: Box::new(feed), aggregate, transfer })
    }
}

/// Pairs that are aggregated where they are.
struct Aggregated<K, A: Aggregate> {
    header: Header,
    feed: Box<dyn Feed<K, A>>,
    aggregate: A,
}

impl<K: Key, A: Aggregate> Lineage<(K, A::Output)> for Aggregated<K, A> {
    fn compute<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        sink: &mut dyn Sink<(K, A::Output)>,
    ) -> Result<Flow> {
        let origin = self.header.origin();
        let mut writer = MapWriter::new(&self.aggregate, 1);
        self.feed.feed(partition, task, origin, &mut writer)?;
        task.enter(origin);
        let blocks: Vec<_> = writer.finish().into_iter().map(Arc::new).collect();
        read::merge(&self.aggregate, &blocks, 1, &mut resuming(task, origin, sink))
    }
}

impl<K: Key, A: Aggregate> AnyLineage for Aggregated<K, A> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.feed.parent().partitions()
    }

    fn records(&self) -> Option<u64> {
        self.feed.parent().records()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.feed.parent());
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions())
    }
}

struct Shuffled<K, A: Aggregate> {
    header: Header,
    feed: Box<dyn Feed<K, A>>,
    aggregate: A,
    transfer: Transfer,
}

impl<K: Key, A: Aggregate> ShuffleMap for Shuffled<K, A> {
    fn id(&self) -> ShuffleId {
        self.transfer.id()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.transfer.turn()
    }

    fn map_tasks(&self) -> usize {
        self.feed.parent().partitions()
    }

    fn map_records(&self) -> Option<u64> {
        self.feed.parent().records()
    }

    fn has_run(&self, map: usize) -> bool {
        self.transfer.has_run(map)
    }

    fn run_map_task<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let origin = self.header.origin();
        let mut writer = MapWriter::new(&self.aggregate, self.transfer.partitions());
        self.feed.feed(partition, task, origin, &mut writer)?;
        task.enter(origin);
        self.transfer.put(partition, writer.finish())
    }
}

impl<K: Key, A: Aggregate> Lineage<(K, A::Output)> for Shuffled<K, A> {
    fn compute<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        sink: &mut dyn Sink<(K, A::Output)>,
    ) -> Result<Flow> {
        let origin = self.header.origin();
        task.enter(origin);
        let blocks = self.transfer.blocks(self, partition, task)?;
        read::merge(&self.aggregate, &blocks, self.transfer.partitions(), &mut resuming(task, origin, sink))
    }
}

impl<K: Key, A: Aggregate> AnyLineage for Shuffled<K, A> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.transfer.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.transfer.records())
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.feed.parent());
    }

    fn shuffle(&self) -> Option<&dyn ShuffleMap> {
        Some(self)
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions())
    }
}
