//! Moves records to the partition of their key and aggregates them on both sides of the way.
//!
//! The map side watches how often keys repeat and decides by itself whether to combine (see `write.rs`); the reduce
//! side merges what it gets one cache-sized bucket at a time (see `read.rs`). Both are deterministic: they decide by
//! counts, never by time, and take blocks in the order of the map tasks.

mod block;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink};
use crate::data::{Data, Exchange, KEY_GROUPS, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Block, Runtime, ShuffleId, TaskContext};
use crate::id::Origin;
use block::{BlockOf, MapBlock};
pub(super) use write::MapWriter;

/// What a keyed operation does with the values of one key. Values arrive in the order of the map tasks.
pub(crate) trait Aggregate: Send + Sync + 'static {
    type Value: Exchange;
    /// What is kept for a key while its values come in.
    type Combiner: Exchange;
    type Output: Data;

    /// Whether values may be combined before the shuffle: pointless where nothing gets smaller.
    const COMBINES: bool;

    fn create(&self, value: Self::Value) -> Self::Combiner;
    fn merge_value(&self, combiner: &mut Self::Combiner, value: Self::Value);
    fn merge_combiners(&self, combiner: &mut Self::Combiner, other: Self::Combiner);
    fn finish(&self, combiner: Self::Combiner) -> Self::Output;
}

/// A stage that writes the blocks of a shuffle.
pub(crate) trait ShuffleMap: Send + Sync {
    fn id(&self) -> ShuffleId;

    fn map_tasks(&self) -> usize;

    /// How many records the map tasks will look at, when that is known.
    fn map_records(&self) -> Option<u64>;

    fn run_map_task<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<()>;
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
    /// The shuffle behind every keyed operation.
    pub(crate) fn aggregate_with<A: Aggregate<Value = V>>(
        &self,
        header: Header,
        aggregate: A,
        partitions: usize,
    ) -> Dataset<(K, A::Output)> {
        self.shuffle(header, Pairs(Arc::clone(self.lineage())), aggregate, partitions)
    }
}

impl<T: Data> Dataset<T> {
    /// The shuffle of what `feed`, which reads this dataset, makes of it.
    pub(super) fn shuffle<K: Key, A: Aggregate>(
        &self,
        header: Header,
        feed: impl Feed<K, A>,
        aggregate: A,
        partitions: usize,
    ) -> Dataset<(K, A::Output)> {
        self.derive(Shuffled {
            header,
            feed: Box::new(feed),
            aggregate,
            partitions: partitions.clamp(1, KEY_GROUPS),
            id: self.runtime().next_shuffle(),
            runtime: self.runtime().clone(),
            written: (0..self.num_partitions()).map(|_| AtomicU64::new(0)).collect(),
        })
    }
}

struct Shuffled<K, A: Aggregate> {
    header: Header,
    feed: Box<dyn Feed<K, A>>,
    aggregate: A,
    partitions: usize,
    id: ShuffleId,
    runtime: Runtime,
    /// How many records each map task wrote.
    written: Vec<AtomicU64>,
}

impl<K: Key, A: Aggregate> ShuffleMap for Shuffled<K, A> {
    fn id(&self) -> ShuffleId {
        self.id
    }

    fn map_tasks(&self) -> usize {
        self.feed.parent().partitions()
    }

    fn map_records(&self) -> Option<u64> {
        self.feed.parent().records()
    }

    fn run_map_task<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let origin = self.header.origin();
        let mut writer = MapWriter::new(&self.aggregate, self.partitions);
        self.feed.feed(partition, task, origin, &mut writer)?;
        task.enter(origin);
        let blocks: Vec<BlockOf<K, A>> = writer.finish();
        let records: usize = blocks.iter().map(MapBlock::records).sum();
        self.written[partition].store(records as u64, Ordering::Relaxed);
        let store = self.runtime.shuffles();
        let wants_bytes = store.wants_bytes();
        let blocks = blocks
            .into_iter()
            .map(
                |block| {
                    if wants_bytes { block.encode().map(Block::Encoded) } else { Ok(Block::Typed(Arc::new(block))) }
                },
            )
            .collect::<Result<Vec<_>>>()?;
        store.put(self.id, partition, blocks);
        Ok(())
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
        let blocks = self.blocks(partition, task)?;
        let mut down = |chunk: Chunk<'_, (K, A::Output)>| {
            let flow = sink.push(chunk);
            task.enter(origin);
            flow
        };
        read::merge(&self.aggregate, &blocks, self.partitions, &mut down)
    }
}

impl<K: Key, A: Aggregate> Shuffled<K, A> {
    /// What the map tasks wrote for a partition. What the store has lost since is written again.
    fn blocks<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<Vec<Arc<BlockOf<K, A>>>> {
        let get = || self.runtime.shuffles().get(self.id, self.map_tasks(), partition);
        let mut blocks = get();
        let lost: Vec<usize> = (0..blocks.len()).filter(|&map| blocks[map].is_none()).collect();
        if !lost.is_empty() {
            tracing::warn!(shuffle = ?self.id, ?lost, "blocks of a shuffle were lost and are computed again");
            lost.into_iter().try_for_each(|map| self.run_map_task(map, task))?;
            blocks = get();
        }
        blocks.into_iter().enumerate().map(|(map, block)| self.open(map, block)).collect()
    }

    fn open(&self, map: usize, block: Option<Block>) -> Result<Arc<BlockOf<K, A>>> {
        let wrong = |what: &str| Error::new(ErrorKind::Internal, format!("the block of map task {map} {what}"));
        match block {
            None => Err(wrong("is not in the shuffle store")),
            Some(Block::Typed(any)) => any.downcast().map_err(|_| wrong("has another type")),
            Some(Block::Encoded(bytes)) => {
                MapBlock::decode(&bytes).map(Arc::new).map_err(|e| wrong("cannot be read").caused_by(e))
            }
        }
    }
}

impl<K: Key, A: Aggregate> AnyLineage for Shuffled<K, A> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn records(&self) -> Option<u64> {
        Some(self.written.iter().map(|written| written.load(Ordering::Relaxed)).sum())
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.feed.parent());
    }

    fn shuffle(&self) -> Option<&dyn ShuffleMap> {
        Some(self)
    }
}

impl<K, A: Aggregate> Drop for Shuffled<K, A> {
    fn drop(&mut self) {
        self.runtime.shuffles().remove(self.id);
    }
}
