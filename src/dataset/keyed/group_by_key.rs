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

impl<T: Data> Dataset<T> {
    /// Gathers the records for which `f` says the same. Every key comes once, in no particular order, with its records
    /// in the order of their partitions.
    ///
    /// All records of a key are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let by_rest = context.parallelize(1..=5, 2).group_by(|n| n % 2).sort_by_key();
    /// assert_eq!(by_rest.collect()?, [(0, vec![2, 4]), (1, vec![1, 3, 5])]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn group_by<K: Key>(&self, f: impl Fn(&T) -> K + Send + Sync + 'static) -> Dataset<(K, Vec<T>)>
    where
        T: Exchange,
    {
        self.group_by_with(f, self.runtime().default_partitions())
    }

    /// As [`group_by`](Dataset::group_by), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn group_by_with<K: Key>(
        &self,
        f: impl Fn(&T) -> K + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, Vec<T>)>
    where
        T: Exchange,
    {
        let keyed = self.map_into(Header::new("group_by"), move |record| (f(&record), record));
        keyed.aggregate_with(Header::new("group_by"), Group(PhantomData), partitions)
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
