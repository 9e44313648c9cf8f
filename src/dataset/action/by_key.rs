use std::collections::HashMap;
use std::hash::Hash;

use ahash::AHashMap;

use super::each_chunk;
use crate::data::{Data, Key, hash_key, part_of};
use crate::dataset::{Dataset, Flow};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// How often each record occurs. All different records are in memory at once.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let counts = context.parallelize(["ebb", "flood", "ebb"], 2).count_by_value()?;
    /// assert_eq!((counts["ebb"], counts["flood"]), (2, 1));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn count_by_value(&self) -> Result<HashMap<T, u64>>
    where
        T: Eq + Hash,
    {
        self.reduce_locally(|record| (record, 1), |a, b| a + b)
    }

    /// Reduces the pairs that the records are made into, in each partition and then here.
    fn reduce_locally<K: Eq + Hash + Send, V: Send>(
        &self,
        pair: impl Fn(T) -> (K, V) + Send + Sync,
        f: impl Fn(V, V) -> V + Send + Sync,
    ) -> Result<HashMap<K, V>> {
        let add = |slot: &mut Option<V>, value| {
            *slot = Some(match slot.take() {
                None => value,
                Some(reduced) => f(reduced, value),
            });
        };
        let parts = self.run(|lineage, partition, task| {
            let mut reduced = AHashMap::new();
            each_chunk(lineage, partition, task, |chunk| {
                chunk.for_each(|record| {
                    let (key, value) = pair(record);
                    add(reduced.entry(key).or_default(), value);
                });
                Flow::Continue(())
            })?;
            Ok(reduced)
        })?;
        let mut all: AHashMap<K, Option<V>> = AHashMap::new();
        for (key, value) in parts.into_iter().flatten() {
            if let Some(value) = value {
                add(all.entry(key).or_default(), value);
            }
        }
        Ok(all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// How many pairs each key has. All keys are in memory at once.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(7, 'a'), (8, 'b'), (7, 'c')], 2);
    /// assert_eq!(visits.count_by_key()?, [(7, 2), (8, 1)].into());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn count_by_key(&self) -> Result<HashMap<K, u64>>
    where
        K: Eq + Hash,
    {
        self.reduce_locally(|(key, _)| (key, 1), |a, b| a + b)
    }

    /// All pairs as a map. Of a key that has several the last one stays, in the order of the partitions.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(7, 'a'), (8, 'b'), (7, 'c')], 2);
    /// assert_eq!(visits.collect_as_map()?, [(7, 'c'), (8, 'b')].into());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn collect_as_map(&self) -> Result<HashMap<K, V>>
    where
        K: Eq + Hash,
    {
        self.reduce_locally(|pair| pair, |_, later| later)
    }

    /// Merges the values of each key with `f`, which has to be associative and commutative, into a map. As
    /// [`reduce_by_key`](Dataset::reduce_by_key) without a shuffle, for keys that fit into memory.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(7, 1), (8, 1), (7, 1)], 2);
    /// assert_eq!(visits.reduce_by_key_locally(|a, b| a + b)?, [(7, 2), (8, 1)].into());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn reduce_by_key_locally(&self, f: impl Fn(V, V) -> V + Send + Sync) -> Result<HashMap<K, V>>
    where
        K: Eq + Hash,
    {
        self.reduce_locally(|pair| pair, f)
    }

    /// The values of a key, in the order of their partitions. Of pairs that lie where the hash of their key says, as
    /// after [`partition_by`](Dataset::partition_by) or a reduction, only the one partition is computed.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(7, 'a'), (8, 'b'), (7, 'c')], 2);
    /// assert_eq!(visits.lookup(&7)?, ['a', 'c']);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn lookup(&self, key: &K) -> Result<Vec<V>>
    where
        K: Key,
    {
        let partitions: Vec<usize> = match self.lineage().key_partitions() {
            Some(partitions) => vec![part_of(hash_key(key), partitions)],
            None => (0..self.num_partitions()).collect(),
        };
        let found = self.run_on(&partitions, |lineage, partition, task| {
            let mut values = Vec::new();
            each_chunk(lineage, partition, task, |chunk| {
                let of_key = chunk.as_slice().iter().filter(|(other, _)| other == key);
                values.extend(of_key.map(|(_, value)| value.clone()));
                Flow::Continue(())
            })?;
            Ok(values)
        })?;
        Ok(found.concat())
    }
}
