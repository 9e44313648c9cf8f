use std::borrow::Borrow;
use std::hash::Hash;

use super::Aggregate;
use super::block::{BlockOf, MapBlock};
use super::buckets::{Buckets, SMALL, fine};
use super::table::{Entry, KeyTable};
use crate::data::{Key, hash_key, part_of};
use crate::dataset::Chunk;

/// The first table size at which the writer asks whether combining pays.
const FIRST_LOOK: usize = 4096;

/// The map side of a shuffle: combines the values of repeated keys, or passes records on when keys do not repeat.
///
/// It starts combining. Each time the table has doubled it compares the records since the last look with the keys
/// they added: if more than every second record brought a new key, the table costs more than it saves, and from there
/// on records are scattered into buckets as they come.
pub(in crate::dataset) struct MapWriter<'a, K, A: Aggregate> {
    aggregate: &'a A,
    partitions: usize,
    table: KeyTable<K, A::Combiner>,
    next_look: usize,
    records_since_look: usize,
    keys_at_look: usize,
    /// Records that are passed on; `None` while the writer combines.
    scattered: Option<Buckets<K, A::Value>>,
}

impl<'a, K: Key, A: Aggregate> MapWriter<'a, K, A> {
    pub(super) fn new(aggregate: &'a A, partitions: usize) -> Self {
        MapWriter {
            aggregate,
            partitions,
            table: KeyTable::new(),
            next_look: FIRST_LOOK,
            records_since_look: 0,
            keys_at_look: 0,
            scattered: (!A::COMBINES).then(|| Buckets::new(partitions, false)),
        }
    }

    pub(super) fn push(&mut self, chunk: Chunk<'_, (K, A::Value)>) {
        match &mut self.scattered {
            Some(scattered) => scattered.push(chunk),
            None => self.combine(chunk),
        }
    }

    fn combine(&mut self, chunk: Chunk<'_, (K, A::Value)>) {
        let aggregate = self.aggregate;
        let table = &mut self.table;
        self.records_since_look += chunk.len();
        match chunk {
            Chunk::Owned(records) => {
                for (key, value) in records.drain(..) {
                    let hash = hash_key(&key);
                    table.merge(hash, key, value, |v| aggregate.create(v), |c, v| aggregate.merge_value(c, v));
                }
            }
            Chunk::Shared(records) => {
                for (key, value) in records {
                    let value = value.clone();
                    let hash = hash_key(key);
                    table.merge_ref(hash, key, value, |v| aggregate.create(v), |c, v| aggregate.merge_value(c, v));
                }
            }
        }
        self.look();
    }

    /// Takes a pair whose key is borrowed: it is made an owned one at its first sight only, while the writer combines.
    #[inline]
    pub(in crate::dataset) fn push_ref<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, value: A::Value)
    where
        K: Borrow<Q>,
    {
        let hash = hash_key(key);
        if let Some(scattered) = &mut self.scattered {
            scattered.push_entry(Entry { hash, key: key.to_owned(), value });
        } else {
            let aggregate = self.aggregate;
            self.records_since_look += 1;
            self.table.merge_ref(hash, key, value, |v| aggregate.create(v), |c, v| aggregate.merge_value(c, v));
            self.look();
        }
    }

    /// Asks, whenever the table has doubled, whether combining pays.
    #[inline]
    fn look(&mut self) {
        if self.table.len() >= self.next_look {
            let new_keys = self.table.len() - self.keys_at_look;
            if new_keys * 2 > self.records_since_look {
                self.scattered = Some(Buckets::new(self.partitions, true));
            }
            self.keys_at_look = self.table.len();
            self.records_since_look = 0;
            self.next_look = self.table.len() * 2;
        }
    }

    /// Returns the block of each partition.
    pub(super) fn finish(mut self) -> Vec<BlockOf<K, A>> {
        let parts = match &self.scattered {
            Some(scattered) => scattered.len(),
            None if self.table.len() <= SMALL => self.partitions,
            None => fine(self.partitions),
        };
        let buckets = parts / self.partitions;
        let room = self.table.len() / parts;
        let mut combined: Vec<Vec<_>> = (0..parts).map(|_| Vec::with_capacity(room + room / 8)).collect();
        for entry in self.table.drain() {
            combined[part_of(entry.hash, parts)].push(entry);
        }
        let values = self.scattered.map_or_else(Vec::new, Buckets::into_lists);
        let (mut combined, mut values) = (combined.into_iter(), values.into_iter());
        (0..self.partitions)
            .map(|_| MapBlock {
                values: values.by_ref().take(buckets).collect(),
                combined: combined.by_ref().take(buckets).collect(),
            })
            .collect()
    }
}
