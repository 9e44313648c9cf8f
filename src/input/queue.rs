use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{InputBatch, Source, SourceContext};
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// Delivers collections of records that the program pushes: for tests, demos and programs that feed themselves.
///
/// Clones share the queue. Nothing bounds it but the program that pushes.
///
/// # Examples
///
/// ```
/// use tidemill::QueueSource;
///
/// let queue = QueueSource::one_at_a_time();
/// queue.push([1, 2, 3]);
/// queue.push([4]);
/// assert_eq!(queue.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct QueueSource<T> {
    items: Arc<Mutex<VecDeque<Option<Vec<T>>>>>,
    take: Take,
    partitions: usize,
    context: Option<SourceContext>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    One,
    All,
}

impl<T: Data> QueueSource<T> {
    /// A queue of which each batch takes one collection; a batch without one is empty.
    pub fn one_at_a_time() -> Self {
        QueueSource { items: Arc::default(), take: Take::One, partitions: 2, context: None }
    }

    /// A queue of which each batch takes all that is there.
    pub fn all_at_once() -> Self {
        QueueSource { take: Take::All, ..QueueSource::one_at_a_time() }
    }

    /// Cuts every collection into this many partitions of equal size; at least 1, by default 2.
    #[must_use]
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// Appends a collection.
    pub fn push(&self, records: impl IntoIterator<Item = T>) {
        self.items().push_back(Some(records.into_iter().collect()));
    }

    /// Appends a batch time at which the stream has no batch at all, which is not the same as an empty one. Only for
    /// queues of which batches take one at a time.
    pub fn push_none(&self) {
        self.items().push_back(None);
    }

    /// How many collections wait.
    pub fn len(&self) -> usize {
        self.items().len()
    }

    /// Whether no collection waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn items(&self) -> std::sync::MutexGuard<'_, VecDeque<Option<Vec<T>>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Data> Source<T> for QueueSource<T> {
    fn name(&self) -> String {
        "queue".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<T>>> {
        let context = self.context.as_ref().ok_or_else(|| Error::new(ErrorKind::State, "the queue was not started"))?;
        let records: Vec<T> = match self.take {
            Take::One => match self.items().pop_front() {
                Some(None) => return Ok(None),
                Some(Some(records)) => records,
                None => Vec::new(),
            },
            Take::All => self.items().drain(..).flatten().flatten().collect(),
        };
        let count = records.len() as u64;
        let dataset = context.dataset(cut(records, self.partitions));
        Ok(Some(InputBatch { dataset, records: count, description: format!("{count} records") }))
    }
}

/// Cuts records into parts whose lengths differ by at most one, in order.
pub(crate) fn cut<T>(mut records: Vec<T>, parts: usize) -> Vec<Vec<T>> {
    let total = records.len();
    let mut cut: Vec<Vec<T>> = (1..parts).rev().map(|part| records.split_off(total * part / parts)).collect();
    cut.push(records);
    cut.reverse();
    cut
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn parts_are_even_and_in_order() {
        assert_eq!(cut(vec![1, 2, 3, 4], 2), [vec![1, 2], vec![3, 4]]);
        assert_eq!(cut(vec![1], 3), [vec![], vec![], vec![1]]);
        assert_eq!(cut((0..5).collect(), 2), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(cut(Vec::<u8>::new(), 2), [Vec::<u8>::new(), Vec::new()]);
    }
}
