use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::data::{Data, Key, hash_key};
use crate::dataset::{Partition, PartitionIter};
use crate::error::{Error, ErrorKind, Result};

/// The pairs of a partition by key. They stay where they are; a key leads to the first and the last of its records, and
/// each of these to the next: nothing is allocated for a key, and a key with most of the records costs no more than any.
pub(super) struct Index<K, W> {
    records: Partition<(K, W)>,
    keys: HashTable<(u64, Run)>,
    /// Of each record the next one of its key; empty if no key comes twice.
    next: Vec<u32>,
}

/// The records of a key, as their first and their last one.
#[derive(Clone, Copy)]
pub(super) struct Run {
    first: u32,
    last: u32,
}

impl<K: Key, W: Data> Index<K, W> {
    pub(super) fn new(records: Partition<(K, W)>) -> Result<Self> {
        if u32::try_from(records.len()).is_err() {
            let message = format!("{} records in a partition of a join: use more partitions", records.len());
            return Err(Error::new(ErrorKind::Task, message));
        }
        let mut keys = HashTable::<(u64, Run)>::with_capacity(records.len());
        let mut next = Vec::new();
        for (at, (key, _)) in (0..).zip(&*records) {
            let hash = hash_key(key);
            let is_key = |(other, run): &(u64, Run)| *other == hash && records[run.first as usize].0 == *key;
            match keys.entry(hash, is_key, |(hash, _)| *hash) {
                Slot::Occupied(slot) => {
                    let (_, run) = slot.into_mut();
                    next.resize(records.len(), 0);
                    next[run.last as usize] = at;
                    run.last = at;
                }
                Slot::Vacant(slot) => {
                    slot.insert((hash, Run { first: at, last: at }));
                }
            }
        }
        Ok(Index { records, keys, next })
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<Run> {
        let hash = hash_key(key);
        let is_key = |(other, run): &(u64, Run)| *other == hash && self.records[run.first as usize].0 == *key;
        self.keys.find(hash, is_key).map(|(_, run)| *run)
    }

    /// The places of the records of a key, in order: the last one, and those before.
    #[inline]
    pub(super) fn places(&self, run: Run) -> (usize, impl Iterator<Item = usize> + '_) {
        let mut at = run.first;
        let before_last = move || {
            let place = (at != run.last).then_some(at as usize)?;
            at = self.next[place];
            Some(place)
        };
        (run.last as usize, std::iter::from_fn(before_last))
    }

    /// Sets the marks of the records of a key, unless they are set.
    pub(super) fn mark(&self, run: Run, marks: &mut [bool]) {
        let (last, others) = self.places(run);
        if !marks[last] {
            marks[last] = true;
            others.for_each(|place| marks[place] = true);
        }
    }

    #[inline]
    pub(super) fn value(&self, place: usize) -> &W {
        &self.records[place].1
    }

    /// Returns the records, in order.
    pub(super) fn into_records(self) -> PartitionIter<(K, W)> {
        PartitionIter::new(self.records)
    }
}
