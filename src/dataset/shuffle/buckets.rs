use std::mem::take;

use super::table::Entry;
use crate::data::{Data, Key, hash_key, part_of};
use crate::dataset::{Chunk, Flow, Lineage};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

/// How many buckets many entries are cut into, all partitions together: the table of a bucket then fits into a
/// second-level cache.
const FINE_BUCKETS: usize = 256;

/// So many entries are written in one bucket a partition.
pub(super) const SMALL: usize = 1 << 15;

/// How many lists there are once there are many entries: the buckets of each of `partitions` partitions.
pub(super) fn fine(partitions: usize) -> usize {
    FINE_BUCKETS.div_ceil(partitions) * partitions
}

/// Pairs as they came, by the hash of their keys: in a list for each partition, or in several once there are many.
pub(in crate::dataset) struct Buckets<K, V> {
    lists: Vec<Vec<Entry<K, V>>>,
    /// How many entries there may be before the lists are cut further.
    room: usize,
}

impl<K: Key, V: Data> Buckets<K, V> {
    /// Cut from the start, if there will be many.
    pub(super) fn new(partitions: usize, are_many: bool) -> Self {
        let fine = fine(partitions);
        let lists = if are_many { fine } else { partitions };
        let room = if lists < fine { SMALL } else { usize::MAX };
        Buckets { lists: (0..lists).map(|_| Vec::new()).collect(), room }
    }

    /// Gathers a partition, for the operator of `origin`.
    pub(in crate::dataset) fn gather<'t>(
        lineage: &'t dyn Lineage<(K, V)>,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
    ) -> Result<Self> {
        let mut buckets = Buckets::new(1, false);
        let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, (K, V)>| {
            task.enter(origin);
            buckets.push(chunk);
            Ok(Flow::Continue(()))
        })?;
        Ok(buckets)
    }

    pub(super) fn push(&mut self, chunk: Chunk<'_, (K, V)>) {
        if self.room < chunk.len() {
            self.cut(fine(self.lists.len()));
        }
        self.room = self.room.saturating_sub(chunk.len());
        let lists = &mut self.lists;
        let parts = lists.len();
        match chunk {
            Chunk::Owned(records) => {
                for (key, value) in records.drain(..) {
                    let hash = hash_key(&key);
                    lists[part_of(hash, parts)].push(Entry { hash, key, value });
                }
            }
            Chunk::Shared(records) => {
                for (key, value) in records {
                    let hash = hash_key(key);
                    let entry = Entry { hash, key: key.clone(), value: value.clone() };
                    lists[part_of(hash, parts)].push(entry);
                }
            }
        }
    }

    #[inline]
    pub(super) fn push_entry(&mut self, entry: Entry<K, V>) {
        let parts = self.lists.len();
        self.lists[part_of(entry.hash, parts)].push(entry);
    }

    pub(in crate::dataset) fn len(&self) -> usize {
        self.lists.len()
    }

    /// Cuts what is in fewer lists into so many.
    #[cold]
    pub(in crate::dataset) fn cut(&mut self, lists: usize) {
        if self.lists.len() < lists {
            let coarse = take(&mut self.lists);
            self.lists.resize_with(lists, Vec::new);
            coarse.into_iter().flatten().for_each(|entry| self.push_entry(entry));
            self.room = usize::MAX;
        }
    }

    /// Takes a list out.
    pub(in crate::dataset) fn take(&mut self, list: usize) -> Vec<Entry<K, V>> {
        take(&mut self.lists[list])
    }

    pub(super) fn into_lists(self) -> Vec<Vec<Entry<K, V>>> {
        self.lists
    }
}
