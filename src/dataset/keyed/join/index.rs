use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::data::{Data, Key, hash_key};
use crate::dataset::{Partition, PartitionIter};
use crate::error::{Error, ErrorKind, Result};

/// The pairs of a partition by key. They stay where they are; a key leads to the first of its records and each record
/// to the next: nothing is allocated for a key, and a key with most of the records costs no more than any.
pub(super) struct Index<K, W> {
    records: Partition<(K, W)>,
    /// Of each key its first record. Small, to be found in a cache: the key itself is looked at where it is.
    keys: HashTable<u32>,
    /// Of each record the next one of its key, of the last one itself; empty if no key comes twice.
    next: Vec<u32>,
}

impl<K: Key, W: Data> Index<K, W> {
    pub(super) fn new(records: Partition<(K, W)>) -> Result<Self> {
        let Ok(count) = u32::try_from(records.len()) else {
            let message = format!("{} records in a partition of a join: use more partitions", records.len());
            return Err(Error::new(ErrorKind::Task, message));
        };
        let key_of = |place: &u32| &records[*place as usize].0;
        let mut keys = HashTable::with_capacity(records.len());
        // Of the first record of each key the last one so far.
        let (mut next, mut last) = (Vec::new(), Vec::new());
        for (place, (key, _)) in (0..count).zip(&*records) {
            match keys.entry(hash_key(key), |first| key_of(first) == key, |first| hash_key(key_of(first))) {
                Slot::Vacant(slot) => {
                    slot.insert(place);
                }
                Slot::Occupied(slot) => {
                    if next.is_empty() {
                        next.extend(0..count);
                        last.extend(0..count);
                    }
                    let last = &mut last[*slot.get() as usize];
                    next[*last as usize] = place;
                    *last = place;
                }
            }
        }
        Ok(Index { records, keys, next })
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The first record with a key.
    #[inline]
    pub(super) fn first(&self, key: &K) -> Option<u32> {
        self.keys.find(hash_key(key), |first| self.records[*first as usize].0 == *key).copied()
    }

    /// The next record with the key of this one.
    #[inline]
    pub(super) fn after(&self, place: u32) -> Option<u32> {
        self.next.get(place as usize).copied().filter(|next| *next != place)
    }

    #[inline]
    pub(super) fn value(&self, place: u32) -> &W {
        &self.records[place as usize].1
    }

    /// Sets the marks of the records of a key, given its first, unless they are set.
    pub(super) fn mark(&self, first: u32, marks: &mut [bool]) {
        if !marks[first as usize] {
            std::iter::successors(Some(first), |place| self.after(*place))
                .for_each(|place| marks[place as usize] = true);
        }
    }

    /// Returns the records, in order.
    pub(super) fn into_records(self) -> PartitionIter<(K, W)> {
        PartitionIter::new(self.records)
    }
}
