//! Datasets as sets of records.

use super::{Dataset, Header};
use crate::data::{Data, Key, Partitions};

impl<T: Data> Dataset<T> {
    /// Every different record once, in no particular (but in each run the same) order. The different records of a
    /// partition are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ports = context.parallelize(["Brest", "Dover", "Brest"].map(String::from), 2);
    /// assert_eq!(ports.distinct().sort_by(String::clone).collect()?, ["Brest", "Dover"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> Dataset<T>
    where
        T: Key,
    {
        self.distinct_with(self.runtime().default_partitions())
    }

    /// As [`distinct`](Dataset::distinct), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn distinct_with(&self, partitions: Partitions) -> Dataset<T>
    where
        T: Key,
    {
        self.map_into(Header::new("distinct"), |record| (record, ()))
            .reduce_by_key_into(Header::new("distinct"), |(), ()| (), partitions)
            .map_into(Header::new("distinct"), |(record, ())| record)
    }

    /// Every different record that both this dataset and `other` have, once, in no particular order. The different
    /// records that a partition has of both are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let (here, there) = (context.parallelize([1, 2, 2, 3], 2), context.parallelize([2, 3, 4], 1));
    /// assert_eq!(here.intersection(&there).sort_by(|n| *n).collect()?, [2, 3]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn intersection(&self, other: &Dataset<T>) -> Dataset<T>
    where
        T: Key,
    {
        self.intersection_with(other, self.runtime().default_partitions())
    }

    /// As [`intersection`](Dataset::intersection), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn intersection_with(&self, other: &Dataset<T>, partitions: Partitions) -> Dataset<T>
    where
        T: Key,
    {
        const HERE: u8 = 1;
        const THERE: u8 = 2;
        let name = "intersection";
        let seen = [(self, HERE), (other, THERE)]
            .map(|(dataset, side)| dataset.map_into(Header::new(name), move |record| (record, side)));
        Dataset::union_all(seen, self.runtime())
            .reduce_by_key_into(Header::new(name), |a, b| a | b, partitions)
            .filter_into(Header::new(name), |(_, sides)| *sides == HERE | THERE)
            .map_into(Header::new(name), |(record, _)| record)
    }

    /// The records of this dataset that `other` does not have; duplicates stay. Every partition keeps the order in
    /// which its records came.
    ///
    /// The different records of a partition of `other` are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let (here, there) = (context.parallelize([1, 2, 1, 3], 2), context.parallelize([2, 4], 1));
    /// assert_eq!(here.subtract(&there).sort_by(|n| *n).collect()?, [1, 1, 3]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn subtract(&self, other: &Dataset<T>) -> Dataset<T>
    where
        T: Key,
    {
        self.subtract_with(other, self.runtime().default_partitions())
    }

    /// As [`subtract`](Dataset::subtract), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn subtract_with(&self, other: &Dataset<T>, partitions: Partitions) -> Dataset<T>
    where
        T: Key,
    {
        let name = "subtract";
        let [here, there] = [self, other].map(|dataset| dataset.map_into(Header::new(name), |record| (record, ())));
        let there = there.reduce_by_key_into(Header::new(name), |(), ()| (), partitions);
        here.without_keys_of(name, &there, partitions).map_into(Header::new(name), |(record, ())| record)
    }
}
