use std::borrow::Borrow;
use std::hash::Hash;
use std::mem::take;

use super::Aggregate;
use super::block::{BlockOf, MapBlock};
use super::table::{Entry, KeyTable};
use crate::data::{Key, hash_key, part_of};
use crate::dataset::Chunk;

/// The first table size at which the writer asks whether combining pays.
const FIRST_LOOK: usize = 4096;

/// How many buckets a large map output is cut into, all partitions together: the table of a bucket then fits into a
/// second-level cache.
const FINE_BUCKETS: usize = 256;

/// So many keys, or values that are not combined, are written in one bucket a partition.
const SMALL: usize = 1 << 15;

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
    /// Records that were passed on, by bucket; empty while the writer combines.
    scattered: Vec<Vec<Entry<K, A::Value>>>,
}

impl<'a, K: Key, A: Aggregate> MapWriter<'a, K, A> {
    pub(super) fn new(aggregate: &'a A, partitions: usize) -> Self {
        let mut writer = MapWriter {
            aggregate,
            partitions,
            table: KeyTable::new(),
            next_look: FIRST_LOOK,
            records_since_look: 0,
            keys_at_look: 0,
            scattered: Vec::new(),
        };
        if !A::COMBINES {
            writer.scatter_from_here(1);
        }
        writer
    }

    pub(super) fn push(&mut self, chunk: Chunk<'_, (K, A::Value)>) {
        if self.scattered.is_empty() {
            self.combine(chunk);
        } else {
            self.scatter(chunk);
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
        if self.scattered.is_empty() {
            let aggregate = self.aggregate;
            self.records_since_look += 1;
            self.table.merge_ref(hash, key, value, |v| aggregate.create(v), |c, v| aggregate.merge_value(c, v));
            self.look();
        } else {
            let parts = self.scattered.len();
            self.scattered[part_of(hash, parts)].push(Entry { hash, key: key.to_owned(), value });
        }
    }

    /// Asks, whenever the table has doubled, whether combining pays.
    #[inline]
    fn look(&mut self) {
        if self.table.len() >= self.next_look {
            let new_keys = self.table.len() - self.keys_at_look;
            if new_keys * 2 > self.records_since_look {
                self.scatter_from_here(FINE_BUCKETS.div_ceil(self.partitions));
            }
            self.keys_at_look = self.table.len();
            self.records_since_look = 0;
            self.next_look = self.table.len() * 2;
        }
    }

    fn scatter_from_here(&mut self, buckets: usize) {
        self.scattered.resize_with(buckets * self.partitions, Vec::new);
    }

    /// Cuts the one list of each partition further, once the output has grown: its tables would not fit into a cache.
    #[cold]
    fn refine(&mut self) {
        let coarse = take(&mut self.scattered);
        self.scatter_from_here(FINE_BUCKETS.div_ceil(self.partitions));
        let parts = self.scattered.len();
        for entry in coarse.into_iter().flatten() {
            self.scattered[part_of(entry.hash, parts)].push(entry);
        }
    }

    fn scatter(&mut self, chunk: Chunk<'_, (K, A::Value)>) {
        if !A::COMBINES && self.scattered.len() == self.partitions && self.partitions < FINE_BUCKETS {
            self.records_since_look += chunk.len();
            if self.records_since_look > SMALL {
                self.refine();
            }
        }
        let scattered = &mut self.scattered;
        let parts = scattered.len();
        match chunk {
            Chunk::Owned(records) => {
                for (key, value) in records.drain(..) {
                    let hash = hash_key(&key);
                    scattered[part_of(hash, parts)].push(Entry { hash, key, value });
                }
            }
            Chunk::Shared(records) => {
                for (key, value) in records {
                    let hash = hash_key(key);
                    let entry = Entry { hash, key: key.clone(), value: value.clone() };
                    scattered[part_of(hash, parts)].push(entry);
                }
            }
        }
    }

    /// Returns the block of each partition.
    pub(super) fn finish(mut self) -> Vec<BlockOf<K, A>> {
        let parts = match self.scattered.len() {
            0 if self.table.len() <= SMALL => self.partitions,
            0 => FINE_BUCKETS.div_ceil(self.partitions) * self.partitions,
            parts => parts,
        };
        let buckets = parts / self.partitions;
        let room = self.table.len() / parts;
        let mut combined: Vec<Vec<_>> = (0..parts).map(|_| Vec::with_capacity(room + room / 8)).collect();
        for entry in self.table.drain() {
            combined[part_of(entry.hash, parts)].push(entry);
        }
        let (mut combined, mut values) = (combined.into_iter(), self.scattered.into_iter());
        (0..self.partitions)
            .map(|_| MapBlock {
                values: values.by_ref().take(buckets).collect(),
                combined: combined.by_ref().take(buckets).collect(),
            })
            .collect()
    }
}
