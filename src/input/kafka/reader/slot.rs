use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use rdkafka::consumer::BaseConsumer;

use super::lane::Lane;
use crate::error::{Error, ErrorKind, Result};
use crate::input::kafka::client::Events;
use crate::input::kafka::native::PartitionQueue;
use crate::input::kafka::topic_partition::TopicPartition;

/// One partition. It is read by one task at a time.
pub(in crate::input::kafka) struct Slot {
    pub(super) partition: TopicPartition,
    /// The offset at which there is nothing more to read for anyone.
    last: AtomicI64,
    /// The partition does not exist any more.
    pub(super) is_gone: AtomicBool,
    /// What is fetched is of a topic that had the name before.
    is_stale: AtomicBool,
    pub(super) lane: Mutex<Option<Lane>>,
    /// Which thread reads, and how many ranges inside each other.
    reading: Mutex<Option<(ThreadId, usize)>>,
    free: Condvar,
}

impl Slot {
    /// The lane comes out of the queue of the partition, which has to be taken before the partition is assigned.
    pub(super) fn new(
        consumer: &Arc<BaseConsumer<Events>>,
        partition: &TopicPartition,
        next: Option<i64>,
        last: Option<i64>,
    ) -> Result<Arc<Self>> {
        let queue = queue(consumer, partition)?;
        let (lane, partition) = (Mutex::new(Some(Lane::new(queue, next))), partition.clone());
        let [is_gone, is_stale] = [false, false].map(AtomicBool::new);
        let last = AtomicI64::new(last.unwrap_or(i64::MAX));
        Ok(Arc::new(Slot { partition, last, is_gone, is_stale, lane, reading: Mutex::default(), free: Condvar::new() }))
    }

    /// There is more to read, up to this offset.
    pub(in crate::input::kafka) fn extend(&self, last: i64) {
        self.last.fetch_max(last, Ordering::AcqRel);
    }

    /// Whether nobody has anything more to read from this offset on.
    pub(super) fn ends_at(&self, offset: i64) -> bool {
        self.last.load(Ordering::Acquire) <= offset
    }

    /// Another topic has the name now: the next read seeks, wherever it starts.
    pub(in crate::input::kafka) fn begin_anew(&self) {
        self.is_stale.store(true, Ordering::Release);
    }

    /// Whether another topic has had the name since this was last asked.
    pub(super) fn take_stale(&self) -> bool {
        self.is_stale.swap(false, Ordering::AcqRel)
    }

    /// Whether the partition does not exist any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Waits until no task of another thread reads the partition: two that take turns would seek for every chunk.
    pub(super) fn turn(&self) -> Turn<'_> {
        let me = thread::current().id();
        let mut reading = self.reading();
        loop {
            match &mut *reading {
                None => {
                    *reading = Some((me, 1));
                    return Turn(self);
                }
                Some((thread, depth)) if *thread == me => {
                    *depth += 1;
                    return Turn(self);
                }
                Some(_) => reading = self.free.wait(reading).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn reading(&self) -> MutexGuard<'_, Option<(ThreadId, usize)>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of a partition, to be taken before librdkafka is told to fetch it.
pub(super) fn queue(consumer: &Arc<BaseConsumer<Events>>, partition: &TopicPartition) -> Result<PartitionQueue> {
    PartitionQueue::new(consumer, &partition.topic, partition.partition)
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("librdkafka has no queue for {partition}")))
}

/// The right of a thread to read a partition.
pub(super) struct Turn<'s>(&'s Slot);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut reading = self.0.reading();
        *reading = reading.take().filter(|(_, depth)| *depth > 1).map(|(thread, depth)| (thread, depth - 1));
        if reading.is_none() {
            self.0.free.notify_one();
        }
    }
}

/// A lane that is there, as long as nobody closes the stream.
pub(super) struct LaneGuard<'s>(pub(super) MutexGuard<'s, Option<Lane>>);

impl std::ops::Deref for LaneGuard<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.0.as_ref().expect("whoever makes a guard has seen the lane")
    }
}

impl std::ops::DerefMut for LaneGuard<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        self.0.as_mut().expect("whoever makes a guard has seen the lane")
    }
}
