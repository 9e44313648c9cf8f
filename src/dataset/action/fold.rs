use std::sync::Arc;

use super::{fold_partition, reduce_partition};
use crate::data::Data;
use crate::dataset::narrow::Memory;
use crate::dataset::{Dataset, Header};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// Merges all records with `f`, which has to be associative and commutative, beginning with `zero`.
    ///
    /// As in Spark `zero` goes in once for each partition and once more when their results are merged: it has to be
    /// neutral, or it is counted as often as there are partitions and one.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=4, 2).fold(0, |a, b| a + b)?, 10);
    /// assert_eq!(context.parallelize(1..=4, 2).fold(100, |a, b| a + b)?, 310);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn fold(&self, zero: T, f: impl Fn(T, T) -> T + Send + Sync) -> Result<T> {
        self.aggregate(zero, &f, &f)
    }

    /// As [`reduce`](Dataset::reduce), where the results of many partitions are merged in two levels: groups of them on
    /// the pool, and only the results of the groups on the calling thread. Pays where one call of `f` takes long.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=100, 16).tree_reduce(|a, b| a + b)?, Some(5050));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn tree_reduce(&self, f: impl Fn(T, T) -> T + Send + Sync) -> Result<Option<T>> {
        let header = || Header::new("tree_reduce");
        let parts = self.run(|lineage, partition, task| reduce_partition(lineage, partition, task, &f))?;
        self.merge_in_levels(header, parts.into_iter().flatten().collect(), 2, f)
    }

    /// As [`aggregate`](Dataset::aggregate), where the results of the partitions are merged in `depth` levels, all but
    /// the last on the pool. Pays where one call of `merge` takes long, as for large sketches.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect), and if `depth` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(1..=100, 16);
    /// let in_all = numbers.tree_aggregate(0, |sum, n| sum + n, |a, b| a + b, 3)?;
    /// assert_eq!(in_all, 5050);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn tree_aggregate<A: Data>(
        &self,
        zero: A,
        fold: impl Fn(A, T) -> A + Send + Sync,
        merge: impl Fn(A, A) -> A + Send + Sync,
        depth: usize,
    ) -> Result<A> {
        let header = || Header::new("tree_aggregate");
        if depth == 0 {
            return Err(header().mistake("the depth 0: it has to be 1 at least"));
        }
        let start = zero.clone();
        let parts =
            self.run(|lineage, partition, task| fold_partition(lineage, partition, task, start.clone(), &fold))?;
        let merged = self.merge_in_levels(header, parts.into_iter().flatten().collect(), depth, &merge)?;
        Ok(merged.into_iter().fold(zero, merge))
    }

    fn merge_in_levels<A: Data>(
        &self,
        header: impl Fn() -> Header,
        mut parts: Vec<A>,
        depth: usize,
        merge: impl Fn(A, A) -> A + Send + Sync,
    ) -> Result<Option<A>> {
        let group = (parts.len() as f64).powf(1.0 / depth as f64).ceil().max(2.0) as usize;
        // A level that leaves less for the next than it takes itself.
        while parts.len() > group + parts.len().div_ceil(group) {
            let groups = parts.chunks(group).map(|group| Arc::new(group.to_vec())).collect();
            let level = Dataset::new(Memory::new(header(), groups), self.runtime());
            let merged = level.run(|lineage, partition, task| reduce_partition(lineage, partition, task, &merge))?;
            parts = merged.into_iter().flatten().collect();
        }
        Ok(parts.into_iter().reduce(merge))
    }
}
