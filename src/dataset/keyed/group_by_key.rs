use std::marker::PhantomData;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{Aggregate, Dataset, Header};

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Gathers the values of each key, in the order of their partitions. Every key comes once, in no particular order.
    ///
    /// All values of a key are in memory at once; nothing is combined before the shuffle. To fold them, use
    /// [`reduce_by_key`](Dataset::reduce_by_key).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(1, "in".to_string()), (1, "out".to_string())], 2);
    /// assert_eq!(visits.group_by_key().collect()?, [(1, vec!["in".to_string(), "out".to_string()])]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn group_by_key(&self) -> Dataset<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        let header = Header::new("group_by_key");
        self.aggregate_with(header, Group(PhantomData), self.runtime().default_partitions())
    }

    /// As [`group_by_key`](Dataset::group_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn group_by_key_with(&self, partitions: Partitions) -> Dataset<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.aggregate_with(Header::new("group_by_key"), Group(PhantomData), partitions)
    }
}

struct Group<V>(PhantomData<fn() -> V>);

impl<V: Exchange> Aggregate for Group<V> {
    type Value = V;
    type Combiner = Vec<V>;
    type Output = Vec<V>;
    const COMBINES: bool = false;

    fn create(&self, value: V) -> Vec<V> {
        vec![value]
    }

    fn merge_value(&self, values: &mut Vec<V>, value: V) {
        values.push(value);
    }

    fn merge_combiners(&self, values: &mut Vec<V>, other: Vec<V>) {
        values.extend(other);
    }

    fn finish(&self, values: Vec<V>) -> Vec<V> {
        values
    }
}
