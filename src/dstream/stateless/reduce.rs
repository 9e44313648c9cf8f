use std::sync::Arc;

use crate::data::{Data, Exchange, Partitions};
use crate::dataset::{Dataset, Header};
use crate::dstream::DStream;

impl<T: Data> DStream<T> {
    /// Counts the records of every batch: exactly one record a batch, `0` for an empty one. Only numbers are moved.
    ///
    /// # Errors
    ///
    /// A batch that the stream does not have at all is an error and stops the context, as for every operator that Spark
    /// builds on `transform`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let counts = run([vec![], vec![7], vec![7, 8]], |numbers| numbers.count())?;
    /// assert_eq!(counts, [vec![0], vec![1], vec![2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count(&self) -> DStream<u64> {
        self.lift_required("count", |batch| {
            let counts = batch.fold_partitions(0, |count, _| count + 1).map(|count| ((), count));
            let zero = Dataset::of(vec![vec![((), 0)]], batch.runtime());
            total(counts.union(&zero), |a, b| a + b)
        })
    }

    /// Merges all records of a batch into one with `f`, which has to be associative and commutative. An empty batch
    /// stays empty. Each partition is reduced to a record first; only these are moved.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let sums = run([vec![1, 2, 3, 4], vec![], vec![5]], |numbers| numbers.reduce(|a, b| a + b))?;
    /// assert_eq!(sums, [vec![10], vec![], vec![5]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> DStream<T>
    where
        T: Exchange,
    {
        let f = Arc::new(f);
        self.lift("reduce", move |batch| {
            let f = Arc::clone(&f);
            total(batch.map(|record| ((), record)), move |a, b| f(a, b))
        })
    }
}

/// Reduces everything to at most one record, in one partition.
fn total<T: Exchange>(keyed: Dataset<((), T)>, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Dataset<T> {
    keyed.reduce_by_key_into(Header::new("reduce"), f, Partitions::new(1)).map(|((), total)| total)
}
