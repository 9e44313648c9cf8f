use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// With a [checkpoint](SourceContext::has_checkpoint) it keeps what it has handed out, so that a clone of it can go on in
/// another context of the same process: for tests of recovery. It is not kept beyond the process.
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
    shared: Arc<Mutex<Shared<T>>>,
    take: Take,
    partitions: usize,
    context: Option<(SourceContext, RateLimit)>,
    /// Whether what was handed out and that no checkpoint knows of is in the queue again.
    went_back: bool,
}

/// What clones share.
#[derive(Debug)]
struct Shared<T> {
    items: Items<T>,
    /// What was handed out, by the number of the batch; a time without a batch has a number too.
    handed_out: Vec<HandedOut<T>>,
}

#[derive(Debug)]
struct HandedOut<T> {
    time: Time,
    /// `None` for a time without a batch.
    records: Option<Vec<T>>,
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
        let shared = Arc::new(Mutex::new(Shared { items: VecDeque::new(), handed_out: Vec::new() }));
        QueueSource { shared, take: Take::One, partitions: 2, context: None, went_back: true }
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
        self.shared().items.push_back(Some(records.into_iter().collect::<Vec<T>>().into_iter()));
    }

    /// Appends a batch time at which the stream has no batch at all, which is not the same as an empty one. Only for
    /// queues of which batches take one at a time.
    pub fn push_none(&self) {
        self.shared().items.push_back(None);
    }

    /// How many collections wait, whole or in part.
    pub fn len(&self) -> usize {
        self.shared().items.len()
    }

    /// Whether no collection waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shared(&self) -> MutexGuard<'_, Shared<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn context(&mut self) -> Result<&mut (SourceContext, RateLimit)> {
        self.context.as_mut().ok_or_else(|| Error::new(ErrorKind::State, "the queue was not started"))
    }

    /// The batch with a number.
    fn batch_of(&mut self, number: usize, records: Vec<T>) -> Result<InputBatch<T>> {
        let partitions = self.partitions;
        let (context, _) = self.context()?;
        let count = records.len() as u64;
        let dataset = context.dataset(cut(records, partitions));
        let plan = if context.has_checkpoint() { (number as u64).to_le_bytes().to_vec() } else { Vec::new() };
        Ok(InputBatch { dataset, records: count, description: format!("{count} records"), plan })
    }
}

impl<T> Shared<T> {
    /// Puts back what was handed out behind the last batch of which a checkpoint knows. Times without a batch have no
    /// plan: those before `time` have been.
    fn put_back(&mut self, last: Option<usize>, time: Time) {
        let begin = last.map_or(0, |last| last + 1);
        let gone = self.handed_out[begin..].iter().take_while(|item| item.records.is_none() && item.time < time);
        let begin = begin + gone.count();
        for item in self.handed_out.drain(begin..).rev() {
            self.items.push_front(item.records.map(Vec::into_iter));
        }
    }

    /// What a plan tells: which batch it was.
    fn number(&self, plan: &[u8]) -> Result<usize> {
        let number = plan.try_into().ok().and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes)).ok());
        let Some(number) = number else {
            let message = "what the checkpoint has of a batch of the queue is no number: another source has written it";
            return Err(Error::new(ErrorKind::Codec, message));
        };
        if self.handed_out.get(number).is_some_and(|item| item.records.is_some()) {
            return Ok(number);
        }
        let message = format!(
            "the checkpoint knows of batch {number} of the queue, and this queue does not have it: queues are not kept \
             beyond the process; go on with a clone of the queue, or begin with another checkpoint directory"
        );
        Err(Error::new(ErrorKind::Input, message))
    }
}

impl<T: Data> Source<T> for QueueSource<T> {
    fn name(&self) -> String {
        "queue".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        if let Some(plan) = context.last_plan() {
            self.shared().number(plan)?;
        }
        self.went_back = !context.has_checkpoint();
        self.context = Some((context.clone(), context.rate_limit()));
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>> {
        let (kind, went_back) = (self.take, std::mem::replace(&mut self.went_back, true));
        let shared = Arc::clone(&self.shared);
        let (context, limit) = self.context()?;
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !went_back {
            let last = context.last_plan().map(|plan| shared.number(plan)).transpose()?;
            shared.put_back(last, time);
        }
        let records = match kind {
            Take::One => shared.items.pop_front().map_or(Some(Vec::new()), |item| item.map(Iterator::collect)),
            Take::All => {
                let most = limit.next_batch().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
                Some(take(&mut shared.items, most))
            }
        };
        let number = shared.handed_out.len();
        if context.has_checkpoint() {
            shared.handed_out.push(HandedOut { time, records: records.clone() });
        }
        drop(shared);
        records.map(|records| self.batch_of(number, records)).transpose()
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, _: Time, plan: &[u8]) -> Result<InputBatch<T>> {
        let shared = self.shared();
        let number = shared.number(plan)?;
        let records = shared.handed_out[number].records.clone().unwrap_or_default();
        drop(shared);
        self.batch_of(number, records)
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
    use crate::context::StreamingContext;

    #[test]
    fn collections_are_cut_and_their_order_is_kept() {
        let queue = QueueSource::all_at_once();
        queue.push(1..=3);
        queue.push([]);
        queue.push_none();
        queue.push([4, 5]);
        queue.push([6]);
        let take = |most| {
            let taken = take(&mut queue.shared().items, most);
            (taken, queue.len())
        };
        assert_eq!(take(0), (vec![], 5));
        assert_eq!(take(2), (vec![1, 2], 5));
        assert_eq!(take(2), (vec![3, 4], 2));
        assert_eq!(take(1), (vec![5], 1));
        assert_eq!(take(usize::MAX), (vec![6], 0));
        assert_eq!(take(usize::MAX), (vec![], 0));
    }

    /// Starts the queue in a context that has a checkpoint whose last plan this is.
    fn start<T: Data>(queue: &QueueSource<T>, last: Option<&[u8]>) -> Result<QueueSource<T>> {
        let context = StreamingContext::builder("queue").workers(1).build().unwrap();
        let mut queue = queue.clone();
        queue.start(&context.source_context().behind(last.map(Arc::from)))?;
        Ok(queue)
    }

    fn at(seconds: i64) -> Time {
        Time::from_millis(1000 * seconds)
    }

    fn records<T: Data>(batch: &InputBatch<T>) -> Vec<T> {
        batch.dataset.collect().unwrap()
    }

    #[test]
    fn a_clone_goes_on_behind_what_the_checkpoint_knows() {
        let queue = QueueSource::one_at_a_time();
        queue.push([1, 2, 3]);
        queue.push_none();
        queue.push([4]);
        queue.push_none();
        queue.push([5]);
        let mut first = start(&queue, None).unwrap();
        let one = first.batch(at(1)).unwrap().unwrap();
        assert!(first.batch(at(2)).unwrap().is_none());
        let three = first.batch(at(3)).unwrap().unwrap();
        assert!(first.batch(at(4)).unwrap().is_none());
        assert_eq!(records(&first.batch(at(5)).unwrap().unwrap()), [5]);
        // Of the last batch the checkpoint has not heard, of the time without one before it has.
        let mut again = start(&queue, Some(&three.plan)).unwrap();
        let restored = again.restore(at(1), &one.plan).unwrap();
        assert_eq!((records(&restored), restored.records), (vec![1, 2, 3], 3));
        assert_eq!(records(&again.restore(at(3), &three.plan).unwrap()), [4]);
        queue.push([6]);
        let five = again.batch(at(5)).unwrap().unwrap();
        assert_eq!(records(&five), [5]);
        assert_eq!(records(&again.batch(at(6)).unwrap().unwrap()), [6]);
        assert!(queue.is_empty());
        // Nothing at all was noted: all of it comes again.
        let mut anew = start(&queue, None).unwrap();
        assert_eq!(records(&anew.batch(at(1)).unwrap().unwrap()), [1, 2, 3]);
        assert!(anew.batch(at(2)).unwrap().is_none());
    }

    #[test]
    fn what_was_cut_comes_again_as_it_was() {
        let queue = QueueSource::all_at_once();
        queue.push([1, 2]);
        let mut first = start(&queue, None).unwrap();
        let one = first.batch(at(1)).unwrap().unwrap();
        queue.push([3]);
        queue.push([4]);
        first.batch(at(2)).unwrap();
        queue.push([5]);
        let mut again = start(&queue, Some(&one.plan)).unwrap();
        assert_eq!(records(&again.batch(at(2)).unwrap().unwrap()), [3, 4, 5]);
    }

    #[test]
    fn a_queue_of_another_process_is_an_error() {
        let queue = QueueSource::one_at_a_time();
        queue.push([1]);
        let error = start(&queue, Some(&7u64.to_le_bytes())).map(drop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the checkpoint knows of batch 7 of the queue, and this queue does not have it: queues are not kept beyond \
             the process; go on with a clone of the queue, or begin with another checkpoint directory"
        );
        assert_eq!(start(&queue, Some(&[1])).map(drop).unwrap_err().kind(), ErrorKind::Codec);
    }

    #[test]
    fn nothing_is_kept_without_a_checkpoint() {
        let queue = QueueSource::one_at_a_time();
        queue.push([1]);
        let context = StreamingContext::builder("queue").workers(1).build().unwrap();
        let mut started = queue.clone();
        started.start(&context.source_context()).unwrap();
        let batch = started.batch(at(1)).unwrap().unwrap();
        assert_eq!((records(&batch), batch.plan), (vec![1], Vec::new()));
        assert!(queue.shared().handed_out.is_empty());
    }

    #[test]
    fn parts_are_even_and_in_order() {
        assert_eq!(cut(vec![1, 2, 3, 4], 2), [vec![1, 2], vec![3, 4]]);
        assert_eq!(cut(vec![1], 3), [vec![], vec![], vec![1]]);
        assert_eq!(cut((0..5).collect(), 2), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(cut(Vec::<u8>::new(), 2), [Vec::<u8>::new(), Vec::new()]);
    }
}
