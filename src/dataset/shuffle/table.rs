use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

/// A key with its hash, which is computed once, and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Entry<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) value: V,
}

/// A hash table that is handed the hashes of its keys.
pub(crate) struct KeyTable<K, C>(HashTable<Entry<K, C>>);

impl<K: Eq + Hash, C> KeyTable<K, C> {
    pub(crate) fn new() -> Self {
        KeyTable(HashTable::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes room, so that filling the table from another one in its order does not cluster.
    pub(crate) fn reserve(&mut self, entries: usize) {
        self.0.reserve(entries.saturating_sub(self.0.len()), |entry| entry.hash);
    }

    /// Merges a value into the key's entry, or makes one.
    #[inline]
    pub(crate) fn merge<V>(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        create: impl FnOnce(V) -> C,
        merge: impl FnOnce(&mut C, V),
    ) {
        match self.0.entry(hash, |entry| entry.hash == hash && entry.key == key, |entry| entry.hash) {
            Slot::Occupied(entry) => merge(&mut entry.into_mut().value, value),
            Slot::Vacant(slot) => {
                slot.insert(Entry { hash, key, value: create(value) });
            }
        }
    }

    /// As [`merge`](KeyTable::merge), with a key that is made an owned one only when it is new.
    #[inline]
    pub(crate) fn merge_ref<Q: Eq + ToOwned<Owned = K> + ?Sized, V>(
        &mut self,
        hash: u64,
        key: &Q,
        value: V,
        create: impl FnOnce(V) -> C,
        merge: impl FnOnce(&mut C, V),
    ) where
        K: Borrow<Q>,
    {
        match self.0.entry(hash, |entry| entry.hash == hash && entry.key.borrow() == key, |entry| entry.hash) {
            Slot::Occupied(entry) => merge(&mut entry.into_mut().value, value),
            Slot::Vacant(slot) => {
                slot.insert(Entry { hash, key: key.to_owned(), value: create(value) });
            }
        }
    }

    /// Takes all entries out and keeps the room.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry<K, C>> + '_ {
        self.0.drain()
    }
}
