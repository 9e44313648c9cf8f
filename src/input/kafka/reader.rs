mod kafka_partition;
mod lane;
mod slot;

use std::mem::take;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use self::lane::{Aside, Lane};
use self::slot::LaneGuard;
use super::client::{self, Events, Planner};
use super::native::Messages;
use super::offset_range::OffsetRange;
use super::params::KafkaParams;
use super::topic_partition::TopicPartition;
use crate::error::{Error, ErrorKind, Result};
use crate::input::SourceContext;
use crate::time::Clock;

pub(super) use self::kafka_partition::KafkaPartition;
pub(super) use self::slot::Slot;

/// How many messages are taken from librdkafka at a time: enough to make the call cheap, few enough for the cache.
const MESSAGES: usize = 512;

/// How much librdkafka fetches ahead of the batches: in all, and at least for each partition. More is slower: what has
/// waited long lies in no cache any more, and memory that is given back elsewhere than it was taken comes from the
/// kernel anew.
const QUEUED: &str = "queued.max.messages.kbytes";
const QUEUED_KBYTES: usize = 32 * 1024;
const QUEUED_KBYTES_EACH: usize = 1024;

/// A task that finds nothing waits this long before it looks whether the end has come in another way: by the marker
/// of a transaction, or by an error of the connections.
const WAIT: Duration = Duration::from_millis(10);

/// How long librdkafka may take to note a seek, for which it asks nobody, or to find out why records are missing.
const SEEK: Duration = Duration::from_secs(5);

/// How many parts of a range are set aside at most for tasks that come later than those behind them.
const MOST_SET_ASIDE: i64 = 16;

/// Reads the records of ranges. Every partition is read from its start offset on, one range after the other, so that
/// librdkafka can fetch ahead of the batches; only a range that is read again seeks.
pub(super) struct Reader {
    /// `None` once the stream was stopped: batches that are kept must not keep the connections.
    clients: Mutex<Option<Clients>>,
    slots: Mutex<Vec<Arc<Slot>>>,
    brokers: String,
    max_idle: Duration,
    fail_on_data_loss: bool,
    context: SourceContext,
    /// Brokers are waited for on the machine's clock, whatever clock the batches follow.
    clock: Clock,
    closed: AtomicBool,
    /// A record that has not come by the queue of its partition.
    stray: OnceLock<String>,
}

#[derive(Clone)]
struct Clients {
    consumer: Arc<BaseConsumer<Events>>,
    planner: Arc<Planner>,
}

impl Reader {
    /// A reader without partitions, which will be so many, about, and share the memory.
    pub(super) fn new(
        config: &ClientConfig,
        partitions: usize,
        planner: Arc<Planner>,
        params: &KafkaParams,
        context: &SourceContext,
    ) -> Result<Self> {
        let mut config = config.clone();
        // What is not there any more is an error with a name, not a jump.
        config.set("auto.offset.reset", "error");
        if config.get(QUEUED).is_none() {
            // librdkafka counts each queue by itself.
            config.set(QUEUED, (QUEUED_KBYTES / partitions.max(1)).max(QUEUED_KBYTES_EACH).to_string());
        }
        let brokers = planner.brokers().to_string();
        let clients = Clients { consumer: client::create(&config)?, planner };
        Ok(Reader {
            clients: Mutex::new(Some(clients)),
            slots: Mutex::default(),
            brokers,
            max_idle: params.max_outage,
            fail_on_data_loss: params.fail_on_data_loss,
            context: context.clone(),
            clock: Clock::system(),
            closed: AtomicBool::new(false),
            stray: OnceLock::new(),
        })
    }

    /// Starts to fetch further partitions, each from its offset on.
    pub(super) fn add(&self, starts: &[(TopicPartition, i64)]) -> Result<Vec<Arc<Slot>>> {
        let consumer = self.clients()?.consumer;
        let slot = |(partition, start): &(TopicPartition, i64)| Slot::new(&consumer, partition, Some(*start), None);
        let slots: Vec<_> = starts.iter().map(slot).collect::<Result<_>>()?;
        let all = client::list(starts.iter().map(|(partition, start)| (partition, Offset::Offset(*start))));
        consumer.incremental_assign(&all).map_err(|error| {
            Error::new(ErrorKind::Internal, "librdkafka does not take the partitions").caused_by(error)
        })?;
        self.slots().extend(slots.iter().map(Arc::clone));
        Ok(slots)
    }

    /// Adds a partition that is fetched from the first read on, and not beyond `last`.
    pub(super) fn add_up_to(&self, partition: TopicPartition, last: i64) -> Result<Arc<Slot>> {
        let slot = Slot::new(&self.clients()?.consumer, &partition, None, Some(last))?;
        self.slots().push(Arc::clone(&slot));
        Ok(slot)
    }

    /// A partition that does not exist any more, though another one may have its name.
    pub(super) fn add_gone(&self, partition: &TopicPartition) -> Result<Arc<Slot>> {
        let slot = Slot::new(&self.clients()?.consumer, partition, None, None)?;
        slot.is_gone.store(true, Ordering::Release);
        self.slots().push(Arc::clone(&slot));
        Ok(slot)
    }

    /// Ends fetching a partition that does not exist any more.
    pub(super) fn give_up(&self, slot: &Slot) {
        slot.is_gone.store(true, Ordering::Release);
        self.remove(slot);
    }

    /// Ends fetching a partition until it is read again.
    fn remove(&self, slot: &Slot) {
        let only = client::list([(&slot.partition, Offset::Invalid)].into_iter());
        if let Ok(clients) = self.clients() {
            if let Err(error) = clients.consumer.incremental_unassign(&only) {
                tracing::debug!(partition = %slot.partition, %error, "librdkafka does not let go of the partition");
            }
        }
    }

    fn clients(&self) -> Result<Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(stopped)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets librdkafka tell what it has to, without waiting.
    pub(super) fn serve(&self) -> Result<()> {
        self.clients().map_or(Ok(()), |clients| self.serve_client(&clients.consumer))
    }

    fn serve_client(&self, consumer: &BaseConsumer<Events>) -> Result<()> {
        if let Some(record) = client::serve(consumer) {
            self.stray.get_or_init(|| record);
        }
        match self.stray.get() {
            None => Ok(()),
            Some(record) => {
                let message = format!("librdkafka has delivered {record} by the queue of all partitions: it is lost");
                Err(Error::new(ErrorKind::Internal, message))
            }
        }
    }

    /// Ends reading: a task that waits fails, and so does every later one.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.clients.lock().unwrap_or_else(PoisonError::into_inner).take());
        for slot in self.slots().iter() {
            // Whoever holds a lane sees the flag and closes it.
            match slot.lane.try_lock() {
                Ok(mut lane) => *lane = None,
                Err(TryLockError::Poisoned(lane)) => *lane.into_inner() = None,
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes the messages of a range chunk by chunk and hands each to `each`, until that wants no more.
    ///
    /// While `each` runs, the lane is free: the operators in it may read the same partition.
    fn read(&self, slot: &Slot, range: &OffsetRange, mut each: impl FnMut(&Messages) -> Result<bool>) -> Result<()> {
        let _turn = slot.turn();
        let mut next = range.from;
        // Parts of an earlier range for tasks that did not come.
        self.lane(slot)?.aside.clear();
        while next < range.until {
            let mut lane = self.lane(slot)?;
            let (messages, end) = self.fetch(&mut lane, slot, range.until, next)?;
            drop(lane);
            next = end;
            if !each(&messages)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes the messages of a part of a range, all at once, so that the task of the next part can have its own while
    /// this one is worked on.
    fn take_part(&self, slot: &Slot, whole: &Range<i64>, part: &OffsetRange) -> Result<Vec<Messages>> {
        let _turn = slot.turn();
        let lane = &mut *self.lane(slot)?;
        lane.aside.retain(|aside| aside.of == *whole);
        let part = part.from..part.until;
        if let Some(messages) = lane.take_aside(&part) {
            return Ok(messages);
        }
        // Tasks begin in order, but the lane is not always theirs in order: what lies before is read along.
        let most = (part.end - part.start).saturating_mul(MOST_SET_ASIDE);
        if let Some(next) =
            lane.next.filter(|&next| whole.start <= next && next < part.start && part.start - next <= most)
        {
            let before = next..part.start;
            let messages = self.fetch_all(lane, slot, &before)?;
            lane.aside.push_back(Aside { of: whole.clone(), part: before, messages });
        }
        self.fetch_all(lane, slot, &part)
    }

    fn fetch_all(&self, lane: &mut Lane, slot: &Slot, offsets: &Range<i64>) -> Result<Vec<Messages>> {
        let mut all = Vec::new();
        let mut next = offsets.start;
        while next < offsets.end {
            let (messages, end) = self.fetch(lane, slot, offsets.end, next)?;
            all.push(messages);
            next = end;
        }
        Ok(all)
    }

    fn lane<'s>(&self, slot: &'s Slot) -> Result<LaneGuard<'s>> {
        let lane = slot.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() || lane.is_none() { Err(stopped()) } else { Ok(LaneGuard(lane)) }
    }

    /// Takes some messages from `next` on. Returns them and where they end: the offset after the last, or `until` if
    /// there are no more before it.
    fn fetch(&self, lane: &mut Lane, slot: &Slot, until: i64, next: i64) -> Result<(Messages, i64)> {
        if slot.take_stale() || lane.next != Some(next) {
            if slot.is_gone() {
                self.lose_with_partition(slot, next..until)?;
                return Ok((Messages::default(), until));
            }
            self.seek(slot, lane, next)?;
        }
        // Until the messages are here. An error leaves it like that.
        lane.next = None;
        let mut messages = take(&mut lane.leftover);
        if messages.is_empty() {
            messages = self.wait_for_messages(slot, lane, until, next)?;
        }
        lane.leftover = messages.split_off(until);
        let end = match messages.iter().next_back() {
            Some(last) if lane.leftover.is_empty() => last.offset() + 1,
            _ => until,
        };
        lane.next = if take(&mut lane.is_broken) { None } else { Some(end) };
        if slot.ends_at(end) {
            // What librdkafka has fetched beyond goes, too.
            lane.next = None;
            lane.leftover = Messages::default();
            self.remove(slot);
        }
        Ok((messages, end))
    }

    /// The next messages of the queue; none if what comes lies behind `until`.
    fn wait_for_messages(&self, slot: &Slot, lane: &mut Lane, until: i64, next: i64) -> Result<Messages> {
        // No more than there can be: without gaps nothing is ever left over.
        let wanted = usize::try_from(until - next).unwrap_or(MESSAGES).min(MESSAGES);
        let mut waits_since = None;
        loop {
            let mut messages = lane.queue.consume(wanted, Duration::ZERO);
            if messages.is_empty() {
                // Before the position is believed, which moves whichever queue records come by.
                self.serve_client(lane.queue.consumer())?;
                if lane.queue.position() >= Some(until) {
                    return Ok(messages);
                }
                messages = lane.queue.consume(1, WAIT);
            }
            match messages.take_error() {
                // The error comes again after the next seek.
                Some(_) if !messages.is_empty() => {
                    lane.is_broken = true;
                    return Ok(messages);
                }
                None if !messages.is_empty() => return Ok(messages),
                None if !slot.is_gone() => {}
                None => {
                    self.lose_with_partition(slot, next..until)?;
                    return Ok(messages);
                }
                Some((code, text)) => match self.recover(code, text, &slot.partition, next..until)? {
                    Some(goes_on) => self.seek(slot, lane, goes_on)?,
                    None => {
                        lane.is_broken = true;
                        return Ok(messages);
                    }
                },
            }
            if self.is_closed() {
                return Err(stopped());
            }
            // By the clock, since to find out what an error means can take longer than to wait for a record.
            let now = self.clock.now();
            if now - *waits_since.get_or_insert(now) >= self.max_idle {
                return Err(self.nothing_came(lane, next));
            }
        }
    }

    /// Goes to an offset, back or forward.
    #[cold]
    fn seek(&self, slot: &Slot, lane: &mut Lane, offset: i64) -> Result<()> {
        tracing::debug!(partition = %slot.partition, offset, from = lane.next, "seek");
        lane.next = None;
        lane.leftover = Messages::default();
        let mut only = TopicPartitionList::new();
        let partition = &slot.partition;
        only.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
            .expect("offsets of ranges are not negative");
        let failed = |error| {
            let message = format!("{partition} cannot be read from offset {offset} on");
            Error::new(ErrorKind::Input, message).caused_by(error)
        };
        let consumer = lane.queue.consumer();
        let only = consumer.seek_partitions(only, SEEK).map_err(failed)?;
        let sought = only.elements().first().map_or(Ok(()), |element| element.error());
        if sought.is_ok() {
            return Ok(());
        }
        // After an error like "offset out of range" librdkafka reads the partition no more, and takes no seek either;
        // nor does one that is not read yet, or not any more, of which there is nothing to let go.
        let _ = consumer.incremental_unassign(&only);
        // If it did not know the partition meanwhile, it has forgotten it, and its queue: the new one belongs to all.
        let consumer = self.clients()?.consumer;
        lane.queue = slot::queue(&consumer, partition)?;
        let again = client::list([(partition, Offset::Offset(offset))].into_iter());
        consumer.incremental_assign(&again).map_err(failed)
    }

    /// Names what is behind an error that came in the place of a record. If it is that records are lost, and the stream
    /// is to go on without them, returns the offset at which it does; `None` if that is behind what is wanted.
    #[cold]
    fn recover(
        &self,
        code: RDKafkaErrorCode,
        text: String,
        partition: &TopicPartition,
        wanted: Range<i64>,
    ) -> Result<Option<i64>> {
        use RDKafkaErrorCode as Code;
        let Range { start, end } = wanted;
        if !matches!(
            code,
            Code::AutoOffsetReset | Code::LogTruncation | Code::UnknownTopicOrPartition | Code::UnknownPartition
        ) {
            return Err(Error::new(ErrorKind::Input, format!("{code}: {text}")));
        }
        let planner = self.clients()?.planner;
        let (lost, goes_on) = match log(&planner, partition) {
            Some((first, _)) if first > start => {
                let lost = format!(
                    "offsets {start}..{} are gone, the log now starts at {first}: the topic keeps its records for less \
                     time than the stream needs to read them",
                    first.min(end)
                );
                (lost, Some(first).filter(|first| *first < end))
            }
            Some((_, last)) if last < end => {
                let lost = format!(
                    "offsets {}..{end} are gone, the log now ends at {last}: it was truncated, or the topic made anew",
                    last.max(start)
                );
                // What is still there of the range has been read, or cannot be told from what came since.
                (lost, None)
            }
            Some(_) if code == Code::LogTruncation => {
                (format!("the log was truncated and has grown again, with other records ({text})"), Some(start))
            }
            // It is there after all.
            Some(_) => return Ok(Some(start)),
            None if is_absent(&planner, partition) => (format!("offsets {start}..{end} do not exist any more"), None),
            // The brokers do not say. That is no reason to believe that anything is lost.
            None => return Ok(Some(start)),
        };
        self.lose(lost, partition, Some(text))?;
        Ok(goes_on)
    }

    fn lose_with_partition(&self, slot: &Slot, Range { start, end }: Range<i64>) -> Result<()> {
        self.lose(format!("offsets {start}..{end} are gone with the partition"), &slot.partition, None)
    }

    /// Fails, or tells the listeners.
    fn lose(&self, lost: String, partition: &TopicPartition, cause: Option<String>) -> Result<()> {
        if !self.fail_on_data_loss {
            self.context.report_data_loss(format!("{partition}: {lost}"));
            return Ok(());
        }
        let error = Error::new(ErrorKind::Input, lost);
        Err(match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }

    #[cold]
    fn nothing_came(&self, lane: &mut Lane, next: i64) -> Error {
        let reached = lane.queue.position().unwrap_or(next).max(next);
        let why = client::take_error(lane.queue.consumer())
            .unwrap_or_else(|| format!("the brokers at {} answer, but without these records", self.brokers));
        let message = format!("no record came for {:?}, offset {reached} was reached: {why}", self.max_idle);
        Error::new(ErrorKind::Input, message)
    }
}

/// The first offset that a partition still has, and the one behind its last; `None` if that is not to be learned.
fn log(planner: &Planner, partition: &TopicPartition) -> Option<(i64, i64)> {
    let only = std::slice::from_ref(partition);
    let (first, last) = (planner.beginnings(only, SEEK).ok()?, planner.ends(only, SEEK).ok()?);
    Some((first.offsets[0]?, last.offsets[0]?))
}

/// Whether the brokers say that there is no such partition.
fn is_absent(planner: &Planner, partition: &TopicPartition) -> bool {
    let number = usize::try_from(partition.partition).unwrap_or(usize::MAX);
    planner.partitions(&partition.topic, SEEK).is_ok_and(|count| count.is_none_or(|count| count <= number))
}

fn stopped() -> Error {
    Error::new(ErrorKind::State, "the Kafka stream was stopped, its records cannot be read any more")
}

#[cfg(test)]
impl Reader {
    /// Fetches a partition that has no queue of its own.
    pub(super) fn fetch_apart(&self, partition: &TopicPartition) {
        let only = client::list([(partition, Offset::Beginning)].into_iter());
        self.clients().unwrap().consumer.incremental_assign(&only).unwrap();
    }

    /// Has the client that fetches learn what there is of a topic.
    pub(super) fn look_up(&self, topic: &str) {
        self.clients().unwrap().consumer.fetch_metadata(Some(topic), SEEK).unwrap();
    }
}

#[cfg(test)]
impl Slot {
    /// Leaves the lane as it is after `..until` was read and messages up to `beyond` came with it.
    pub(super) fn read_too_far(&self, reader: &Reader, until: i64, beyond: i64) {
        let mut lane = reader.lane(self).unwrap();
        reader.seek(self, &mut lane, 0).unwrap();
        let mut messages = lane.queue.consume(usize::try_from(beyond).unwrap(), Duration::from_secs(10));
        lane.leftover = messages.split_off(until);
        assert_eq!((messages.len(), lane.leftover.len()), (until as usize, (beyond - until) as usize));
        lane.next = Some(until);
    }

    /// Where the stream goes on if librdkafka says that the partition is unknown.
    pub(super) fn goes_on_when_unknown(&self, reader: &Reader, wanted: Range<i64>) -> Result<Option<i64>> {
        reader.recover(RDKafkaErrorCode::UnknownTopicOrPartition, "unknown".to_string(), &self.partition, wanted)
    }

    /// The parts of ranges that wait for their tasks.
    pub(super) fn set_aside(&self) -> Vec<(i64, i64)> {
        let lane = self.lane.lock().unwrap();
        lane.as_ref().unwrap().aside.iter().map(|aside| (aside.part.start, aside.part.end)).collect()
    }
}
