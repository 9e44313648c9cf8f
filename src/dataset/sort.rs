//! Puts records in order: over all partitions, or within each.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::RangeBounds;
use std::sync::{Arc, OnceLock};

use super::random::Random;
use super::shuffle::Place;
use super::{Chunk, Dataset, Flow, Header, Lineage, PartitionIter};
use crate::data::{Data, Exchange, Key, Ordered, Partitions};
use crate::error::Result;
use crate::exec::TaskContext;

/// Which way a sort goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// The smallest key first.
    Ascending,
    /// The largest key first.
    Descending,
}

impl<T: Data> Dataset<T> {
    /// Sorts the records by the key that `key` says, smallest first: every record of a partition comes before every
    /// one of the next. Records with the same key keep their order, and are in one partition together.
    ///
    /// The first action computes the dataset twice: once to learn from a sample which keys each partition gets, and
    /// once to move the records. [Persist](Dataset::persist) what is dear. A partition is sorted in memory.
    ///
    /// Floats have no order that all of them follow; wrap them in [`TotalOrder`](crate::TotalOrder).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::TotalOrder;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let readings = context.parallelize([("north".to_string(), 7.1), ("south".to_string(), 1.2)], 2);
    /// let lowest_first = readings.sort_by(|(_, level)| TotalOrder(*level));
    /// assert_eq!(lowest_first.keys().collect()?, ["south", "north"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by<K: Data + Ordered>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Dataset<T>
    where
        T: Exchange,
    {
        self.sort_into("sort_by", Made(key), SortOrder::Ascending, self.runtime().default_partitions())
    }

    /// As [`sort_by`](Dataset::sort_by), in this order and into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{Partitions, SortOrder};
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let words = context.parallelize(["ebb", "flood", "mill"].map(String::from), 2);
    /// let longest_first = words.sort_by_with(|word| word.len(), SortOrder::Descending, Partitions::new(1));
    /// assert_eq!(longest_first.collect()?, ["flood", "mill", "ebb"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by_with<K: Data + Ordered>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        order: SortOrder,
        partitions: Partitions,
    ) -> Dataset<T>
    where
        T: Exchange,
    {
        self.sort_into("sort_by", Made(key), order, partitions)
    }

    #[track_caller]
    fn sort_into<K: Data + Ord>(
        &self,
        name: &'static str,
        key: impl SortKey<T, K>,
        order: SortOrder,
        partitions: Partitions,
    ) -> Dataset<T>
    where
        T: Exchange,
    {
        let key = Arc::new(key);
        let place = ByRange {
            header: Header::new(name),
            parent: self.clone(),
            key: Arc::clone(&key),
            order,
            partitions,
            bounds: OnceLock::new(),
        };
        let placed = self.scatter_with(Header::new(name), place, partitions);
        placed.map_partitions_into(Header::new(name), move |_, records| sorted(records, &*key, order))
    }
}

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Sorts the pairs by their keys, smallest first, as [`sort_by`](Dataset::sort_by) does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let places = context.parallelize([(2, 's'), (1, 'g'), (3, 'b')], 2);
    /// assert_eq!(places.sort_by_key().collect()?, [(1, 'g'), (2, 's'), (3, 'b')]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by_key(&self) -> Dataset<(K, V)>
    where
        K: Exchange + Ordered,
        V: Exchange,
    {
        self.sort_by_key_with(SortOrder::Ascending, self.runtime().default_partitions())
    }

    /// As [`sort_by_key`](Dataset::sort_by_key), in this order and into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn sort_by_key_with(&self, order: SortOrder, partitions: Partitions) -> Dataset<(K, V)>
    where
        K: Exchange + Ordered,
        V: Exchange,
    {
        self.sort_into("sort_by_key", First, order, partitions)
    }

    /// Moves every pair to the partition that the hash of its key says, as [`partition_by`](Dataset::partition_by)
    /// does, and sorts each partition by key: the keys of a partition come one after the other, smallest first.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::Partitions;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(8, 'x'), (7, 'a'), (8, 'y'), (7, 'b')], 3);
    /// let in_order = visits.repartition_and_sort_within_partitions(Partitions::new(1));
    /// assert_eq!(in_order.collect()?, [(7, 'a'), (7, 'b'), (8, 'x'), (8, 'y')]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn repartition_and_sort_within_partitions(&self, partitions: Partitions) -> Dataset<(K, V)>
    where
        K: Key + Ordered,
        V: Exchange,
    {
        const NAME: &str = "repartition_and_sort_within_partitions";
        let placed = self.co_partition(Header::new(NAME), partitions);
        let sort = |_, records| sorted(records, &First, SortOrder::Ascending);
        placed.map_partitions_into(Header::new(NAME), sort).with_keys_of(&placed)
    }

    /// Keeps the pairs whose key lies in `range`. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let pairs = context.parallelize((1..=9).map(|n| (n, n * n)), 2);
    /// assert_eq!(pairs.filter_by_range(3..=4).collect()?, [(3, 9), (4, 16)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn filter_by_range(&self, range: impl RangeBounds<K> + Send + Sync + 'static) -> Dataset<(K, V)>
    where
        K: Ordered,
    {
        self.filter_into(Header::new("filter_by_range"), move |(key, _)| range.contains(key))
    }
}

/// Says what records are sorted by.
trait SortKey<T, K: Clone>: Send + Sync + 'static {
    fn of<'r>(&self, record: &'r T) -> Cow<'r, K>;

    /// Sorts records; those with the same key keep their order, whichever way it goes.
    fn sort(&self, records: &mut [T], order: SortOrder);
}

/// Keys that a function makes, which may be dear: of each record only once.
struct Made<F>(F);

impl<T, K: Clone + Ord, F: Fn(&T) -> K + Send + Sync + 'static> SortKey<T, K> for Made<F> {
    fn of<'r>(&self, record: &'r T) -> Cow<'r, K> {
        Cow::Owned((self.0)(record))
    }

    fn sort(&self, records: &mut [T], order: SortOrder) {
        match order {
            SortOrder::Ascending => records.sort_by_cached_key(&self.0),
            SortOrder::Descending => records.sort_by_cached_key(|record| Reverse((self.0)(record))),
        }
    }
}

/// The keys of pairs, compared where they are.
struct First;

impl<K: Clone + Ord, V> SortKey<(K, V), K> for First {
    fn of<'r>(&self, (key, _): &'r (K, V)) -> Cow<'r, K> {
        Cow::Borrowed(key)
    }

    fn sort(&self, records: &mut [(K, V)], order: SortOrder) {
        match order {
            SortOrder::Ascending => records.sort_by(|(a, _), (b, _)| a.cmp(b)),
            SortOrder::Descending => records.sort_by(|(a, _), (b, _)| b.cmp(a)),
        }
    }
}

fn sorted<T: Data, K: Clone>(records: PartitionIter<T>, key: &impl SortKey<T, K>, order: SortOrder) -> Vec<T> {
    let mut records: Vec<T> = records.collect();
    key.sort(&mut records, order);
    records
}

/// Gives each partition a range of keys that has about as many records as any other.
struct ByRange<T, K, S> {
    /// Of the keys that are looked at.
    header: Header,
    parent: Dataset<T>,
    key: Arc<S>,
    order: SortOrder,
    partitions: Partitions,
    /// The last key of each range but the last, smallest first. There may be fewer: a key is in one range whole.
    bounds: OnceLock<Vec<K>>,
}

/// How many keys are looked at for each range, as in Spark, and how many at most in all.
const SAMPLED_FOR_A_RANGE: usize = 20;
const SAMPLED_AT_MOST: usize = 1_000_000;

impl<T: Exchange, K: Data + Ord, S: SortKey<T, K>> Place<T> for ByRange<T, K, S> {
    fn prepare(&self) -> Result<()> {
        if self.bounds.get().is_none() {
            let found = if self.partitions.get() == 1 { Vec::new() } else { self.find_bounds()? };
            self.bounds.get_or_init(|| found);
        }
        Ok(())
    }

    fn place(&self, _: usize, _: usize, record: &T) -> usize {
        let bounds = self.bounds.get().expect("found before records are placed");
        let key = self.key.of(record);
        let range = bounds.partition_point(|bound| bound < &*key);
        match self.order {
            SortOrder::Ascending => range,
            SortOrder::Descending => bounds.len() - range,
        }
    }
}

impl<T: Data, K: Data + Ord, S: SortKey<T, K>> ByRange<T, K, S> {
    fn find_bounds(&self) -> Result<Vec<K>> {
        let parts = self.parent.num_partitions().max(1);
        let sampled = (SAMPLED_FOR_A_RANGE * self.partitions.get()).min(SAMPLED_AT_MOST / parts).max(1);
        let samples =
            self.parent.run(|lineage, partition, task| self.sample(lineage, partition, &task.part(), sampled))?;
        // A key of a partition stands for as many records as the partition has for each of its sampled keys.
        let weighted = samples.into_iter().flat_map(|(keys, records)| {
            let weight = records as f64 / keys.len() as f64; // records
            keys.into_iter().map(move |key| (key, weight))
        });
        Ok(cut(weighted.collect(), self.partitions.get()))
    }

    /// Returns up to `size` keys of a partition, each record's as likely as any other's, and how many records there
    /// are.
    fn sample<'p>(
        &'p self,
        lineage: &'p dyn Lineage<T>,
        partition: usize,
        part: &TaskContext<'p>,
        size: usize,
    ) -> Result<(Vec<K>, u64)> {
        let origin = self.header.origin();
        let mut random = Random::of(0, partition);
        let (mut keys, mut records) = (Vec::new(), 0);
        let mut look = |chunk: Chunk<'_, T>| {
            part.enter(origin);
            for record in chunk.as_slice() {
                records += 1;
                if keys.len() < size {
                    keys.push(self.key.of(record).into_owned());
                } else if let Some(replaced) = keys.get_mut(random.below(records) as usize) {
                    *replaced = self.key.of(record).into_owned();
                }
            }
            Ok(Flow::Continue(()))
        };
        let _ = part.run(|| lineage.compute(partition, part, &mut look))?;
        Ok((keys, records))
    }
}

/// Cuts weighted keys into ranges of about the same weight; returns the last key of each range but the last.
fn cut<K: Ord>(mut keys: Vec<(K, f64)>, ranges: usize) -> Vec<K> {
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    let total: f64 = keys.iter().map(|(_, weight)| weight).sum();
    let range = total / ranges as f64;
    let mut bounds = Vec::with_capacity(ranges - 1);
    let (mut sum, mut target) = (0.0, range);
    for (key, weight) in keys {
        if bounds.len() + 1 == ranges {
            break;
        }
        sum += weight;
        if sum >= target && bounds.last() != Some(&key) {
            bounds.push(key);
            target += range;
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn ranges_have_about_the_same_weight() {
        #[track_caller]
        fn check(keys: impl IntoIterator<Item = (i32, f64)>, ranges: usize, bounds: &[i32]) {
            assert_eq!(cut(keys.into_iter().collect(), ranges), bounds);
        }
        check([], 3, &[]);
        check([(5, 1.0)], 1, &[]);
        check([(5, 1.0)], 3, &[5]);
        check((0..100).rev().map(|key| (key, 1.0)), 4, &[24, 49, 74]);
        check([(1, 1.0), (2, 1.0), (3, 8.0), (4, 2.0)], 2, &[3]);
        // One key has nearly all records: it is a range of its own, and what comes behind it is in another.
        check((0..100).map(|key| (if key < 90 { 7 } else { key }, 1.0)), 4, &[7, 90, 91]);
    }
}
