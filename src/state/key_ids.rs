use hashbrown::HashTable;

use crate::data::{Key, hash_key};

/// Gives keys small dense numbers, so that what belongs to a key lies in arrays: in its own, a `T` for each number, or in
/// those of the user. A number is given again once its key was removed; when most numbers are free,
/// [`shrink`](KeyIds::shrink) numbers the keys anew.
pub(crate) struct KeyIds<K, T = ()> {
    ids: HashTable<u32>,
    entries: Vec<Entry<K, T>>,
    free: Vec<u32>,
}

struct Entry<K, T> {
    hash: u64,
    /// `None` while the number is free.
    key: Option<K>,
    value: T,
}

impl<K: Key, T: Default> KeyIds<K, T> {
    pub(crate) fn new() -> Self {
        KeyIds { ids: HashTable::new(), entries: Vec::new(), free: Vec::new() }
    }

    /// How many numbers there are, free ones included: the length that arrays by number need.
    pub(crate) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How many bytes the keys and what belongs to them take, without what they have on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.ids.allocation_size()
            + self.entries.capacity() * size_of::<Entry<K, T>>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// The number of a key, which is cloned if it has none yet.
    #[inline]
    pub(crate) fn intern(&mut self, key: &K) -> u32 {
        let hash = hash_key(key);
        let entries = &self.entries;
        let same = |&id: &u32| {
            let entry = &entries[id as usize];
            entry.hash == hash && entry.key.as_ref() == Some(key)
        };
        match self.ids.find(hash, same) {
            Some(&id) => id,
            None => self.add(hash, key.clone()),
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, key: K) -> u32 {
        let id = match self.free.pop() {
            Some(id) => {
                let entry = &mut self.entries[id as usize];
                (entry.hash, entry.key) = (hash, Some(key));
                id
            }
            None => {
                let id = u32::try_from(self.entries.len()).expect("a partition holds less than 2^32 keys");
                self.make_room();
                self.entries.push(Entry { hash, key: Some(key), value: T::default() });
                id
            }
        };
        let entries = &self.entries;
        self.ids.insert_unique(hash, id, |&id| entries[id as usize].hash);
        id
    }

    /// A large table grows by a quarter and not to twice its size: much of the memory of a process may be one.
    fn make_room(&mut self) {
        let len = self.entries.len();
        if len >= MANY && len == self.entries.capacity() {
            self.entries.reserve_exact(len / 4);
        }
    }

    /// The key of a number; `None` if it is free.
    #[inline]
    pub(crate) fn key(&self, id: usize) -> Option<&K> {
        self.entries[id].key.as_ref()
    }

    /// What belongs to a number.
    #[inline]
    pub(crate) fn value(&self, id: u32) -> &T {
        &self.entries[id as usize].value
    }

    /// The key of a number, and what belongs to it.
    #[inline]
    pub(crate) fn entry_mut(&mut self, id: u32) -> (Option<&K>, &mut T) {
        let entry = &mut self.entries[id as usize];
        (entry.key.as_ref(), &mut entry.value)
    }

    /// All keys in the order of their numbers, from the number `from` on, with these and what belongs to them.
    pub(crate) fn iter_from(&self, from: u32) -> impl Iterator<Item = (u32, &K, &T)> {
        let entries = self.entries.get(from as usize..).unwrap_or_default();
        (from..).zip(entries).filter_map(|(id, entry)| Some((id, entry.key.as_ref()?, &entry.value)))
    }

    /// Takes the number from its key, which comes back. What belongs to the number stays with it.
    pub(crate) fn remove(&mut self, id: u32) -> Option<K> {
        let entry = &mut self.entries[id as usize];
        let key = entry.key.take();
        if let Ok(slot) = self.ids.find_entry(entry.hash, |&other| other == id) {
            slot.remove();
            self.free.push(id);
        }
        key
    }
}

/// From this many numbers on a table is large. In tests that is soon.
const MANY: usize = if cfg!(test) { 1024 } else { 256 * 1024 };

/// Fewer numbers than this are not worth being numbered anew. In tests they are, so that it happens often.
const FEW: usize = if cfg!(test) { 4 } else { 1024 };

impl<K: Key, T> KeyIds<K, T> {
    /// If more than three in four numbers are free, numbers the keys anew, without gaps and in the same order, and
    /// returns the new number of each old one. That many keys were removed before, so it costs each of them a little.
    pub(crate) fn shrink(&mut self) -> Option<Vec<Option<u32>>> {
        if self.entries.len() < FEW || self.entries.len() - self.free.len() > self.entries.len() / 4 {
            return None;
        }
        let mut next = 0..;
        let moved = self.entries.iter().map(|entry| entry.key.as_ref().and_then(|_| next.next())).collect();
        self.entries.retain(|entry| entry.key.is_some());
        self.entries.shrink_to_fit();
        self.free = Vec::new();
        let entries = &self.entries;
        self.ids = HashTable::with_capacity(entries.len());
        for (entry, id) in entries.iter().zip(0..) {
            self.ids.insert_unique(entry.hash, id, |&id| entries[id as usize].hash);
        }
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_given_again() {
        let mut ids = KeyIds::<_>::new();
        let number = |ids: &mut KeyIds<String>, key: &str| ids.intern(&key.to_string());
        assert_eq!([number(&mut ids, "a"), number(&mut ids, "b"), number(&mut ids, "a")], [0, 1, 0]);
        ids.remove(0);
        assert_eq!((ids.key(0), ids.key(1).map(String::as_str)), (None, Some("b")));
        assert_eq!([number(&mut ids, "c"), number(&mut ids, "a"), number(&mut ids, "b")], [0, 2, 1]);
        assert_eq!(ids.capacity(), 3);
    }

    #[test]
    fn numbers_are_closed_up_when_most_are_free() {
        let mut ids = KeyIds::<_>::new();
        (0..8000u64).for_each(|key| assert_eq!(u64::from(ids.intern(&key)), key));
        (0..5999).for_each(|id| assert_eq!(ids.remove(id), Some(u64::from(id))));
        assert_eq!((ids.len(), ids.capacity(), ids.shrink()), (2001, 8000, None));
        ids.remove(6001);
        let moved = ids.shrink().unwrap();
        assert_eq!((ids.len(), ids.capacity()), (2000, 2000));
        assert_eq!(moved[5998..6003], [None, Some(0), Some(1), None, Some(2)]);
        assert!((0..8000).all(|old| moved[old].is_none_or(|new| ids.key(new as usize) == Some(&(old as u64)))));
        assert_eq!((ids.intern(&7999), ids.intern(&9000), ids.intern(&0)), (1999, 2000, 2001));
        (0..2000).for_each(|id| assert!(ids.remove(id).is_some()));
        ids.shrink().unwrap();
        assert_eq!((ids.capacity(), ids.key(0), ids.key(1)), (2, Some(&9000), Some(&0)));
        // Few are left as they are.
        ids.remove(0);
        assert_eq!((ids.len(), ids.shrink()), (1, None));
    }

    #[test]
    fn a_large_table_has_no_more_than_a_quarter_of_free_room() {
        let mut ids = KeyIds::<u64, [u64; 8]>::new();
        (0..100_000).for_each(|key| {
            ids.intern(&key);
            let room = ids.entries.capacity();
            assert!(room <= 2 * MANY || room <= ids.len() * 5 / 4, "{room} for {}", ids.len());
        });
    }

    #[test]
    fn many_keys_come_and_go() {
        let mut ids = KeyIds::<_>::new();
        for round in 0..10u64 {
            let numbers: Vec<u32> = (0..1000).map(|key| ids.intern(&(round * 1000 + key))).collect();
            assert!(
                numbers.iter().enumerate().all(|(key, &id)| ids.key(id as usize) == Some(&(round * 1000 + key as u64)))
            );
            numbers.into_iter().for_each(|id| assert!(ids.remove(id).is_some()));
        }
        assert_eq!(ids.capacity(), 1000);
    }
}
