use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

use super::{InputBatch, Source, SourceContext};
use crate::backpressure::RateLimit;
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// Delivers collections of records that the program pushes: for tests, demos and programs that feed themselves.
///
/// Clones share the queue. Nothing bounds it but the program that pushes.
///
/// With [back-pressure](crate::Backpressure) a batch of [`all_at_once`](QueueSource::all_at_once) takes as many records
/// as the rate allows, in order, and cuts the last collection; the others wait. A batch of
/// [`one_at_a_time`](QueueSource::one_at_a_time) is always one collection, as in Spark: what a batch is, is up to the
/// program.
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
    items: Arc<Mutex<Items<T>>>,
    take: Take,
    partitions: usize,
    context: Option<(SourceContext, RateLimit)>,
}

/// The collections, or what is left of them; `None` for a time without a batch.
type Items<T> = VecDeque<Option<IntoIter<T>>>;

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

    /// A queue of which each batch takes all that is there, or what back-pressure allows.
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
        self.items().push_back(Some(records.into_iter().collect::<Vec<T>>().into_iter()));
    }

    /// Appends a batch time at which the stream has no batch at all, which is not the same as an empty one. Only for
    /// queues of which batches take one at a time.
    pub fn push_none(&self) {
        self.items().push_back(None);
    }

    /// How many collections wait, whole or in part.
    pub fn len(&self) -> usize {
        self.items().len()
    }

    /// Whether no collection waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn items(&self) -> std::sync::MutexGuard<'_, Items<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Data> Source<T> for QueueSource<T> {
    fn name(&self) -> String {
        "queue".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some((context.clone(), context.rate_limit()));
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<T>>> {
        let started = self.context.as_mut().ok_or_else(|| Error::new(ErrorKind::State, "the queue was not started"));
        let (context, limit) = started?;
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let records: Vec<T> = match self.take {
            Take::One => match items.pop_front() {
                Some(None) => return Ok(None),
                Some(Some(records)) => records.collect(),
                None => Vec::new(),
            },
            Take::All => {
                let most = limit.next_batch().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
                take(&mut items, most)
            }
        };
        drop(items);
        let count = records.len() as u64;
        let dataset = context.dataset(cut(records, self.partitions));
        Ok(Some(InputBatch { dataset, records: count, description: format!("{count} records"), plan: Vec::new() }))
    }
}

/// Takes the first records of the collections, up to `most`.
fn take<T>(items: &mut Items<T>, most: usize) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some(item) = items.front_mut() {
        let Some(records) = item else {
            items.pop_front();
            continue;
        };
        taken.extend(records.by_ref().take(most - taken.len()));
        if records.len() > 0 {
            break;
        }
        items.pop_front();
    }
    taken
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
    use super::*;

    #[test]
    fn collections_are_cut_and_their_order_is_kept() {
        let queue = QueueSource::all_at_once();
        queue.push(1..=3);
        queue.push([]);
        queue.push_none();
        queue.push([4, 5]);
        queue.push([6]);
        let take = |most| {
            let taken = take(&mut queue.items(), most);
            (taken, queue.len())
        };
        assert_eq!(take(0), (vec![], 5));
        assert_eq!(take(2), (vec![1, 2], 5));
        assert_eq!(take(2), (vec![3, 4], 2));
        assert_eq!(take(1), (vec![5], 1));
        assert_eq!(take(usize::MAX), (vec![6], 0));
        assert_eq!(take(usize::MAX), (vec![], 0));
    }

    #[test]
    fn parts_are_even_and_in_order() {
        assert_eq!(cut(vec![1, 2, 3, 4], 2), [vec![1, 2], vec![3, 4]]);
        assert_eq!(cut(vec![1], 3), [vec![], vec![], vec![1]]);
        assert_eq!(cut((0..5).collect(), 2), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(cut(Vec::<u8>::new(), 2), [Vec::<u8>::new(), Vec::new()]);
    }
}
