use std::sync::Arc;

use crate::data::{Data, Exchange, Partitions};
use crate::dataset::PartitionIter;
use crate::dstream::DStream;

impl<T: Data> DStream<T> {
    /// Replaces every partition by what `f` makes of its records. `f` is called for empty partitions too.
    ///
    /// The records of a partition are gathered before `f` is called, so they have to fit into memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let sums = run([vec![1, 2, 3, 4], vec![5]], |numbers| numbers.map_partitions(|part| [part.sum::<i32>()]))?;
    /// assert_eq!(sums, [vec![3, 7], vec![0, 5]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("map_partitions", move |batch| {
            let f = Arc::clone(&f);
            batch.map_partitions(move |records| f(records))
        })
    }

    /// As [`map_partitions`](DStream::map_partitions), with the number of the partition, from 0 on.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let lengths = run([vec![1, 2, 3]], |numbers| {
    ///     numbers.map_partitions_with_index(|part, numbers| [(part, numbers.count())])
    /// })?;
    /// assert_eq!(lengths, [[(0, 1), (1, 2)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(usize, PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("map_partitions_with_index", move |batch| {
            let f = Arc::clone(&f);
            batch.map_partitions_with_index(move |partition, records| f(partition, records))
        })
    }

    /// Makes one record of each partition: the list of its records. An empty partition gives an empty list.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let lists = run([vec![1, 2, 3, 4], vec![5]], |numbers| numbers.glom())?;
    /// assert_eq!(lists, [[vec![1, 2], vec![3, 4]], [vec![], vec![5]]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn glom(&self) -> DStream<Vec<T>> {
        self.lift("glom", |batch| batch.glom())
    }

    /// Deals the records of every batch out to `partitions` partitions of about the same size: more of them for more
    /// parallel work. Every record crosses a shuffle.
    ///
    /// # Errors
    ///
    /// A number that is not from 1 to 4096 is reported by `StreamingContext::start`. A batch that the stream does not
    /// have at all is an error and stops the context, as for every operator that Spark builds on `transform`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let lengths = run([vec![1, 2, 3, 4, 5, 6]], |numbers| {
    ///     numbers.repartition(3).map_partitions(|part| [part.count()])
    /// })?;
    /// assert_eq!(lengths, [vec![2, 2, 2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> DStream<T>
    where
        T: Exchange,
    {
        self.check_partitions(Partitions::new(partitions));
        self.lift_required("repartition", move |batch| batch.repartition(partitions))
    }
}
