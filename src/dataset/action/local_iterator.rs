use crate::data::Data;
use crate::dataset::{Dataset, PartitionIter, stage};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// All records, one partition in memory at a time: each is computed, by an action of its own, when the iterator
    /// gets there.
    ///
    /// # Errors
    ///
    /// Those of the actions, as items; the iterator ends with the first.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let mut sum = 0;
    /// for n in context.parallelize(1..=10, 3).to_local_iterator() {
    ///     sum += n?;
    /// }
    /// assert_eq!(sum, 55);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn to_local_iterator(&self) -> LocalIterator<T> {
        LocalIterator { dataset: self.clone(), next: 0, records: None }
    }
}

/// The records of a dataset, partition after partition. Made by [`Dataset::to_local_iterator`].
#[derive(Debug)]
pub struct LocalIterator<T> {
    dataset: Dataset<T>,
    /// The partition to compute next.
    next: usize,
    records: Option<PartitionIter<T>>,
}

impl<T: Data> Iterator for LocalIterator<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Iterator::next) {
                return Some(Ok(record));
            }
            self.records = None;
            if self.next >= self.dataset.num_partitions() {
                return None;
            }
            match self.dataset.run_on(&[self.next], |lineage, partition, task| stage::gather(lineage, partition, task))
            {
                Ok(parts) => self.records = parts.into_iter().next().map(PartitionIter::new),
                Err(error) => {
                    self.next = usize::MAX;
                    return Some(Err(error));
                }
            }
            self.next += 1;
        }
    }
}
