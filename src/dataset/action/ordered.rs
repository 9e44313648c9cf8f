use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::each_chunk;
use crate::data::{Data, Ordered};
use crate::dataset::{Dataset, Flow};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// The `n` smallest records, smallest first. Of equal ones the earlier comes first.
    ///
    /// A task keeps no more than `n` records: to see the ends of a large dataset there is no need to sort it.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([71, 12, 99, 40], 2).take_ordered(2)?, [12, 40]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn take_ordered(&self, n: usize) -> Result<Vec<T>>
    where
        T: Ordered,
    {
        self.first_in_order(n, T::cmp)
    }

    /// As [`take_ordered`](Dataset::take_ordered), by the key that `key` says. It is asked for a record more than once.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let counts = context.parallelize([("ebb", 3), ("flood", 8), ("mill", 5)], 2);
    /// assert_eq!(counts.take_ordered_by(1, |(_, count)| *count)?, [("ebb", 3)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn take_ordered_by<K: Ordered>(&self, n: usize, key: impl Fn(&T) -> K + Send + Sync) -> Result<Vec<T>> {
        self.first_in_order(n, |a, b| key(a).cmp(&key(b)))
    }

    /// The `n` largest records, largest first. Of equal ones the earlier comes first.
    ///
    /// A task keeps no more than `n` records.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([71, 12, 99, 40], 2).top(2)?, [99, 71]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn top(&self, n: usize) -> Result<Vec<T>>
    where
        T: Ordered,
    {
        self.first_in_order(n, |a, b| b.cmp(a))
    }

    /// As [`top`](Dataset::top), by the key that `key` says. It is asked for a record more than once.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let counts = context.parallelize([("ebb", 3), ("flood", 8), ("mill", 5)], 2);
    /// assert_eq!(counts.top_by(1, |(_, count)| *count)?, [("flood", 8)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn top_by<K: Ordered>(&self, n: usize, key: impl Fn(&T) -> K + Send + Sync) -> Result<Vec<T>> {
        self.first_in_order(n, |a, b| key(b).cmp(&key(a)))
    }

    /// The largest record, if there is one; of equal ones the first.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let levels = context.parallelize([71, 12, 99], 2);
    /// assert_eq!((levels.max()?, levels.min()?), (Some(99), Some(12)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn max(&self) -> Result<Option<T>>
    where
        T: Ordered,
    {
        self.reduce(|a, b| if b > a { b } else { a })
    }

    /// As [`max`](Dataset::max), by the key that `key` says.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::TotalOrder;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let readings = context.parallelize([("north", 7.1), ("south", 1.2)], 2);
    /// assert_eq!(readings.max_by(|(_, level)| TotalOrder(*level))?, Some(("north", 7.1)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn max_by<K: Ordered>(&self, key: impl Fn(&T) -> K + Send + Sync) -> Result<Option<T>> {
        self.reduce(|a, b| if key(&b) > key(&a) { b } else { a })
    }

    /// The smallest record, if there is one; of equal ones the first.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([71, 12, 99], 2).min()?, Some(12));
    /// assert_eq!(context.parallelize(Vec::<i32>::new(), 2).min()?, None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn min(&self) -> Result<Option<T>>
    where
        T: Ordered,
    {
        self.reduce(|a, b| if b < a { b } else { a })
    }

    /// As [`min`](Dataset::min), by the key that `key` says.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::TotalOrder;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let readings = context.parallelize([("north", 7.1), ("south", 1.2)], 2);
    /// assert_eq!(readings.min_by(|(_, level)| TotalOrder(*level))?, Some(("south", 1.2)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn min_by<K: Ordered>(&self, key: impl Fn(&T) -> K + Send + Sync) -> Result<Option<T>> {
        self.reduce(|a, b| if key(&b) < key(&a) { b } else { a })
    }

    /// The first `n` records in the order of `compare`.
    pub(super) fn first_in_order(
        &self,
        n: usize,
        compare: impl Fn(&T, &T) -> Ordering + Send + Sync,
    ) -> Result<Vec<T>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let parts = self.run(|lineage, partition, task| {
            let mut first = BinaryHeap::new();
            let mut index = 0;
            each_chunk(lineage, partition, task, |chunk| {
                for record in chunk.as_slice() {
                    let is_wanted = first.len() < n
                        || first.peek().is_some_and(|last: &Ranked<_, _>| compare(record, &last.record).is_lt());
                    if is_wanted {
                        first.push(Ranked { record: record.clone(), index, compare: &compare });
                        if first.len() > n {
                            first.pop();
                        }
                    }
                    index += 1;
                }
                Flow::Continue(())
            })?;
            Ok(first.into_sorted_vec().into_iter().map(|ranked| ranked.record).collect::<Vec<T>>())
        })?;
        let mut all = parts.concat();
        all.sort_by(&compare);
        all.truncate(n);
        Ok(all)
    }
}

/// A record in a heap: greater the later it comes, and among equals the later it came.
struct Ranked<'c, T, C> {
    record: T,
    index: usize,
    compare: &'c C,
}

impl<T, C: Fn(&T, &T) -> Ordering> Ord for Ranked<'_, T, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.compare)(&self.record, &other.record).then(self.index.cmp(&other.index))
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> PartialOrd for Ranked<'_, T, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> PartialEq for Ranked<'_, T, C> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T, C: Fn(&T, &T) -> Ordering> Eq for Ranked<'_, T, C> {}
