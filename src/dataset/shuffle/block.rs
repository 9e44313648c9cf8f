use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Aggregate;
use super::table::Entry;
use super::transfer::ShuffleBlock;
use crate::codec;
use crate::data::{Exchange, Key, hash_key};
use crate::error::Result;

/// What one map task wrote for one reduce partition: values as they came, and combiners, each in `buckets` lists by the
/// part of the key's hash that tells the buckets of the partition apart.
pub(super) struct MapBlock<K, V, C> {
    /// Either empty, when the map task passed no value on, or one list a bucket.
    pub(super) values: Vec<Vec<Entry<K, V>>>,
    /// One list a bucket.
    pub(super) combined: Vec<Vec<Entry<K, C>>>,
}

/// What one map task of an aggregation wrote for one reduce partition.
pub(super) type BlockOf<K, A> = MapBlock<K, <A as Aggregate>::Value, <A as Aggregate>::Combiner>;

/// A block between processes: hashes are left out and computed anew.
#[derive(Serialize, Deserialize)]
struct Wire<K, V, C> {
    values: Vec<Vec<(K, V)>>,
    combined: Vec<Vec<(K, C)>>,
}

impl<K, V, C> MapBlock<K, V, C> {
    pub(super) fn buckets(&self) -> usize {
        self.combined.len()
    }
}

impl<K: Key, V: Exchange, C: Exchange> ShuffleBlock for MapBlock<K, V, C> {
    fn records(&self) -> usize {
        self.values.iter().map(Vec::len).sum::<usize>() + self.combined.iter().map(Vec::len).sum::<usize>()
    }

    fn encode(self) -> Result<Arc<[u8]>> {
        let wire = Wire { values: pairs(self.values), combined: pairs(self.combined) };
        let mut bytes = Vec::new();
        codec::encode_frame(&wire, &mut bytes)?;
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let (wire, _) = codec::decode_frame::<Wire<K, V, C>>(bytes)?;
        Ok(MapBlock { values: entries(wire.values), combined: entries(wire.combined) })
    }
}

fn pairs<K, V>(lists: Vec<Vec<Entry<K, V>>>) -> Vec<Vec<(K, V)>> {
    lists.into_iter().map(|list| list.into_iter().map(|entry| (entry.key, entry.value)).collect()).collect()
}

fn entries<K: Key, V>(lists: Vec<Vec<(K, V)>>) -> Vec<Vec<Entry<K, V>>> {
    let entry = |(key, value)| Entry { hash: hash_key(&key), key, value };
    lists.into_iter().map(|list| list.into_iter().map(entry).collect()).collect()
}
