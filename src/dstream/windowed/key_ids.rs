use hashbrown::HashTable;

use crate::data::{Key, hash_key};

/// Gives keys small dense numbers, so that what belongs to a key lies in arrays. A number is given again once its key
/// was removed.
pub(super) struct KeyIds<K> {
    ids: HashTable<u32>,
    entries: Vec<Entry<K>>,
    free: Vec<u32>,
}

struct Entry<K> {
    hash: u64,
    /// `None` while the number is free.
    key: Option<K>,
}

impl<K: Key> KeyIds<K> {
    pub(super) fn new() -> Self {
        KeyIds { ids: HashTable::new(), entries: Vec::new(), free: Vec::new() }
    }

    /// How many numbers there are, free ones included: the length that arrays by number need.
    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The number of a key, which is cloned if it has none yet.
    #[inline]
    pub(super) fn intern(&mut self, key: &K) -> u32 {
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
        let entry = Entry { hash, key: Some(key) };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                let id = u32::try_from(self.entries.len()).expect("a partition holds less than 2^32 keys");
                self.entries.push(entry);
                id
            }
        };
        let entries = &self.entries;
        self.ids.insert_unique(hash, id, |&id| entries[id as usize].hash);
        id
    }

    /// The key of a number; `None` if it is free.
    #[inline]
    pub(super) fn key(&self, id: usize) -> Option<&K> {
        self.entries[id].key.as_ref()
    }

    /// Takes the number from its key.
    pub(super) fn remove(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        entry.key = None;
        if let Ok(slot) = self.ids.find_entry(entry.hash, |&other| other == id) {
            slot.remove();
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_given_again() {
        let mut ids = KeyIds::new();
        let number = |ids: &mut KeyIds<String>, key: &str| ids.intern(&key.to_string());
        assert_eq!([number(&mut ids, "a"), number(&mut ids, "b"), number(&mut ids, "a")], [0, 1, 0]);
        ids.remove(0);
        assert_eq!((ids.key(0), ids.key(1).map(String::as_str)), (None, Some("b")));
        assert_eq!([number(&mut ids, "c"), number(&mut ids, "a"), number(&mut ids, "b")], [0, 2, 1]);
        assert_eq!(ids.capacity(), 3);
    }

    #[test]
    fn many_keys_come_and_go() {
        let mut ids = KeyIds::new();
        for round in 0..10u64 {
            let numbers: Vec<u32> = (0..1000).map(|key| ids.intern(&(round * 1000 + key))).collect();
            assert!(
                numbers.iter().enumerate().all(|(key, &id)| ids.key(id as usize) == Some(&(round * 1000 + key as u64)))
            );
            numbers.into_iter().for_each(|id| ids.remove(id));
        }
        assert_eq!(ids.capacity(), 1000);
    }
}
