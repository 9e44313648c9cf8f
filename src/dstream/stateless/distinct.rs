use std::hash::Hash;
use std::sync::Arc;

use crate::data::{Data, Key, Partitions};
use crate::dataset::ValueEmitter;
use crate::dstream::DStream;

impl<T: Data> DStream<T> {
    /// Every different record of a batch once, in no particular order; an empty batch stays empty. The different
    /// records of a partition are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// assert_eq!(run([vec![7, 7], vec![], vec![7]], |numbers| numbers.distinct())?, [vec![7], vec![], vec![7]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> DStream<T>
    where
        T: Key,
    {
        self.lift("distinct", |batch| batch.distinct())
    }

    /// As [`distinct`](DStream::distinct), into so many partitions.
    ///
    /// # Errors
    ///
    /// A number that is not from 1 to 4096 is reported by `StreamingContext::start`, with the line of this call.
    #[track_caller]
    pub fn distinct_with(&self, partitions: Partitions) -> DStream<T>
    where
        T: Key,
    {
        self.check_partitions(partitions);
        self.lift("distinct", move |batch| batch.distinct_with(partitions))
    }

    /// Counts how often each record occurs in a batch. Every different record comes once, in no particular order, so
    /// that an empty batch stays empty. Counts are made before the shuffle where records repeat; the different records
    /// of a partition are in memory at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let counts = run([vec![7, 7], vec![], vec![8]], |numbers| numbers.count_by_value())?;
    /// assert_eq!(counts, [vec![(7, 2)], vec![], vec![(8, 1)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value(&self) -> DStream<(T, u64)>
    where
        T: Key,
    {
        self.count_by_value_with(self.runtime().default_partitions())
    }

    /// As [`count_by_value`](DStream::count_by_value), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`distinct_with`](DStream::distinct_with).
    #[track_caller]
    pub fn count_by_value_with(&self, partitions: Partitions) -> DStream<(T, u64)>
    where
        T: Key,
    {
        self.check_partitions(partitions);
        self.lift("count_by_value", move |batch| batch.counts_of_values(partitions))
    }

    /// Counts how often each of the values occurs that `values` finds in the records of a batch: words in lines. Values
    /// are borrowed from the record: one is copied when it is first seen in a partition, and not at each of its
    /// occurrences.
    ///
    /// Values are `&str` and come out as `String`, or `&[u8]` and `Vec<u8>`, or whatever else is [`ToOwned`]. Every
    /// value of a batch comes once, in no particular order.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let lines = [vec!["to be".to_string(), "to".to_string()], vec![]];
    /// let counts = run(lines, |lines| {
    ///     lines.count_by_value_ref(|line, words| words.extend(line.split(' '))).filter(|(_, count)| *count > 1)
    /// })?;
    /// assert_eq!(counts, [vec![("to".to_string(), 2)], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value_ref<Q>(
        &self,
        values: impl Fn(&T, &mut ValueEmitter<'_, Q>) + Send + Sync + 'static,
    ) -> DStream<(Q::Owned, u64)>
    where
        Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    {
        let values = Arc::new(values);
        self.lift("count_by_value_ref", move |batch| {
            let values = Arc::clone(&values);
            batch.count_by_value_ref(move |record, out| values(record, out))
        })
    }
}
