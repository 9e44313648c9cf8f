use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;

/// Names the blocks of one shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ShuffleId(pub(crate) u64);

/// What one map task wrote for one reduce partition. Cloning shares it.
#[derive(Clone)]
pub(crate) enum Block {
    /// As the values themselves: the reader is in this process.
    Typed(Arc<dyn Any + Send + Sync>),
    /// As bytes.
    Encoded(Arc<[u8]>),
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Block::Typed(_) => f.write_str("Typed"),
            Block::Encoded(bytes) => write!(f, "Encoded({} bytes)", bytes.len()),
        }
    }
}

/// Keeps the blocks of shuffles until nobody can ask for them any more.
pub(crate) trait ShuffleStore: fmt::Debug + Send + Sync {
    /// Whether blocks have to be bytes.
    fn wants_bytes(&self) -> bool;

    /// Takes what map task `map` wrote: one block for every reduce partition, in order. Replaces what an earlier
    /// attempt of the task wrote.
    fn put(&self, shuffle: ShuffleId, map: usize, blocks: Vec<Block>);

    /// Returns the block that each of the `maps` map tasks wrote for a reduce partition; `None` where a map task has
    /// not run, or its blocks were lost.
    fn get(&self, shuffle: ShuffleId, maps: usize, reduce: usize) -> Vec<Option<Block>>;

    /// The map tasks of `maps` whose blocks are not here.
    fn missing(&self, shuffle: ShuffleId, maps: usize) -> Vec<usize>;

    /// Forgets a shuffle.
    fn remove(&self, shuffle: ShuffleId);
}

/// Blocks in the memory of this process.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    encoded: bool,
    shuffles: Mutex<AHashMap<ShuffleId, Maps>>,
}

/// Blocks by map task and, inside, by reduce partition.
type Maps = Vec<Option<Vec<Block>>>;

impl MemoryStore {
    /// Keeps blocks as they are.
    pub(crate) fn typed() -> Self {
        MemoryStore::default()
    }

    /// Has every block encoded, as a store between processes has to.
    pub(crate) fn encoded() -> Self {
        MemoryStore { encoded: true, ..MemoryStore::default() }
    }

    fn shuffles(&self) -> std::sync::MutexGuard<'_, AHashMap<ShuffleId, Maps>> {
        self.shuffles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShuffleStore for MemoryStore {
    fn wants_bytes(&self) -> bool {
        self.encoded
    }

    fn put(&self, shuffle: ShuffleId, map: usize, blocks: Vec<Block>) {
        let mut shuffles = self.shuffles();
        let maps = shuffles.entry(shuffle).or_default();
        if maps.len() <= map {
            maps.resize_with(map + 1, || None);
        }
        maps[map] = Some(blocks);
    }

    fn get(&self, shuffle: ShuffleId, maps: usize, reduce: usize) -> Vec<Option<Block>> {
        let shuffles = self.shuffles();
        let written = shuffles.get(&shuffle);
        (0..maps).map(|map| written?.get(map)?.as_ref()?.get(reduce).cloned()).collect()
    }

    fn missing(&self, shuffle: ShuffleId, maps: usize) -> Vec<usize> {
        let shuffles = self.shuffles();
        let written = shuffles.get(&shuffle);
        let here = |map: &usize| written.and_then(|maps| maps.get(*map)).is_some_and(Option::is_some);
        (0..maps).filter(|map| !here(map)).collect()
    }

    fn remove(&self, shuffle: ShuffleId) {
        let removed = self.shuffles().remove(&shuffle);
        // Blocks may be large: free them without the lock.
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_map_and_reduce_until_removed() {
        let store = MemoryStore::typed();
        let block = |value: u32| Block::Typed(Arc::new(value));
        let value = |block: &Option<Block>| match block {
            Some(Block::Typed(any)) => any.downcast_ref::<u32>().copied(),
            _ => None,
        };
        let id = ShuffleId(7);
        assert_eq!(store.missing(id, 2), [0, 1]);
        store.put(id, 1, vec![block(10), block(11)]);
        assert_eq!(store.missing(id, 2), [0]);
        let second: Vec<_> = store.get(id, 2, 1).iter().map(value).collect();
        assert_eq!(second, [None, Some(11)]);
        store.put(id, 1, vec![block(20), block(21)]);
        assert_eq!(value(&store.get(id, 2, 0)[1]), Some(20), "a later attempt replaces an earlier one");
        store.remove(id);
        assert_eq!(store.missing(id, 2), [0, 1]);
    }
}
