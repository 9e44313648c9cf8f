use std::collections::VecDeque;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, Events, Planner};
use super::native::{Headers, Message, Messages, PartitionQueue};
use super::offset_range::OffsetRange;
use super::params::KafkaParams;
use super::record::{KafkaHeaders, KafkaRecord};
use super::topic_partition::TopicPartition;
use crate::dataset::{Emitter, ReadPartition};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// How many messages are taken from librdkafka at a time: enough to make the call cheap, few enough for the cache.
const MESSAGES: usize = 512;

/// How many bytes of keys, values and headers share an allocation, unless one record has more.
const ARENA_BYTES: usize = 256 * 1024;

/// How much librdkafka fetches ahead of the batches: in all, and at least for each partition.
const QUEUED: &str = "queued.max.messages.kbytes";
const QUEUED_KBYTES: usize = 128 * 1024;
const QUEUED_KBYTES_EACH: usize = 4 * 1024;

/// A task that finds nothing waits this long before it looks whether the end has come in another way: by the marker
/// of a transaction, or by an error of the connections.
const WAIT: Duration = Duration::from_millis(10);

/// How long librdkafka may take to note a seek, for which it asks nobody, or to find out why records are missing.
const SEEK: Duration = Duration::from_secs(5);

/// Reads the records of ranges. Every partition is read from its start offset on, one range after the other, so that
/// librdkafka can fetch ahead of the batches; only a range that is read again seeks.
pub(super) struct Reader {
    slots: Vec<Slot>,
    /// `None` once the stream was stopped: batches that are kept must not keep the connection.
    consumer: Mutex<Option<Arc<BaseConsumer<Events>>>>,
    planner: Weak<Planner>,
    brokers: String,
    max_idle: Duration,
    headers: bool,
    closed: AtomicBool,
}

/// One partition. It is read by one task at a time.
struct Slot {
    partition: TopicPartition,
    lane: Mutex<Option<Lane>>,
    /// Which thread reads, and how many ranges inside each other.
    reading: Mutex<Option<(ThreadId, usize)>>,
    free: Condvar,
}

struct Lane {
    queue: PartitionQueue,
    /// The offset from which the leftover and then the queue go on. `None` if that is not known.
    next: Option<i64>,
    /// Records after the end of the last range, which came with its last ones.
    leftover: VecDeque<KafkaRecord>,
}

impl Reader {
    /// Starts to fetch: each partition from its offset on.
    pub(super) fn new(
        config: &ClientConfig,
        starts: &[(TopicPartition, i64)],
        planner: &Arc<Planner>,
        params: &KafkaParams,
    ) -> Result<Self> {
        let mut config = config.clone();
        // What is not there any more is an error with a name, not a jump.
        config.set("auto.offset.reset", "error");
        if config.get(QUEUED).is_none() {
            // librdkafka counts each queue by itself.
            config.set(QUEUED, (QUEUED_KBYTES / starts.len().max(1)).max(QUEUED_KBYTES_EACH).to_string());
        }
        let consumer = client::create(&config)?;
        let slot = |(partition, start): &(TopicPartition, i64)| {
            let queue = PartitionQueue::new(&consumer, &partition.topic, partition.partition);
            let queue = queue
                .ok_or_else(|| Error::new(ErrorKind::Internal, format!("librdkafka has no queue for {partition}")))?;
            let lane = Lane { queue, next: Some(*start), leftover: VecDeque::new() };
            let (lane, partition) = (Mutex::new(Some(lane)), partition.clone());
            Ok(Slot { partition, lane, reading: Mutex::default(), free: Condvar::new() })
        };
        let slots = starts.iter().map(slot).collect::<Result<_>>()?;
        let all = client::list(starts.iter().map(|(partition, start)| (partition, Offset::Offset(*start))));
        consumer.assign(&all).map_err(|error| {
            Error::new(ErrorKind::Internal, "librdkafka does not take the partitions").caused_by(error)
        })?;
        Ok(Reader {
            slots,
            consumer: Mutex::new(Some(consumer)),
            planner: Arc::downgrade(planner),
            brokers: planner.brokers().to_string(),
            max_idle: params.max_outage,
            headers: params.headers,
            closed: AtomicBool::new(false),
        })
    }

    /// Lets librdkafka tell what it has to, without waiting.
    pub(super) fn serve(&self) {
        if let Some(consumer) = &*self.consumer.lock().unwrap_or_else(PoisonError::into_inner) {
            client::serve(consumer);
        }
    }

    /// Ends reading: a task that waits fails, and so does every later one.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.consumer.lock().unwrap_or_else(PoisonError::into_inner).take());
        for slot in &self.slots {
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

    fn read(&self, slot: usize, range: &OffsetRange, out: &mut Emitter<'_, KafkaRecord>) -> Result<()> {
        let slot = &self.slots[slot];
        let _turn = slot.turn();
        let mut next = range.from;
        let mut records = Vec::new();
        while next < range.until && !out.is_done() {
            next = self.fetch(slot, range, next, &mut records)?;
            // Here operators run, and the lane is free: one of them may read the same partition.
            records.drain(..).for_each(|record| out.emit(record));
        }
        Ok(())
    }

    /// Takes some records of a range, from `next` on. Returns where they end: the offset after the last, or the end of
    /// the range if there are no more.
    fn fetch(&self, slot: &Slot, range: &OffsetRange, next: i64, records: &mut Vec<KafkaRecord>) -> Result<i64> {
        let mut lane = slot.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lane.as_mut().filter(|_| !self.is_closed()).ok_or_else(stopped)?;
        if lane.next != Some(next) {
            self.seek(slot, lane, next)?;
        }
        // Until the records are here. An error leaves it like that.
        lane.next = None;
        let end = match lane.take_leftover(range, records) {
            Some(end) => end,
            None => self.take_fetched(slot, lane, range, next, records)?,
        };
        lane.next = Some(end);
        Ok(end)
    }

    fn take_fetched(
        &self,
        slot: &Slot,
        lane: &mut Lane,
        range: &OffsetRange,
        next: i64,
        records: &mut Vec<KafkaRecord>,
    ) -> Result<i64> {
        // No more than there can be: without gaps nothing is ever left over.
        let wanted = usize::try_from(range.until - next).unwrap_or(MESSAGES).min(MESSAGES);
        let mut waited = Duration::ZERO;
        loop {
            let mut messages = lane.queue.consume(wanted, Duration::ZERO);
            if messages.is_empty() {
                drop(messages);
                if lane.queue.position() >= Some(range.until) {
                    return Ok(range.until);
                }
                client::serve(lane.queue.consumer());
                messages = lane.queue.consume(1, WAIT);
            }
            if !messages.is_empty() {
                let decoded = self.decode(&messages, &slot.partition.topic, range, &mut lane.leftover, records);
                return decoded.map_err(|bad| self.explain(bad, range));
            }
            drop(messages);
            if self.is_closed() {
                return Err(stopped());
            }
            waited += WAIT;
            if waited >= self.max_idle {
                return Err(self.nothing_came(lane, next, waited));
            }
        }
    }

    /// Goes to an offset, back or forward.
    #[cold]
    fn seek(&self, slot: &Slot, lane: &mut Lane, offset: i64) -> Result<()> {
        tracing::debug!(partition = %slot.partition, offset, from = lane.next, "seek");
        lane.next = None;
        lane.leftover.clear();
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
        // After an error like "offset out of range" librdkafka reads the partition no more, and takes no seek either.
        consumer.incremental_unassign(&only).map_err(failed)?;
        let again = client::list([(partition, Offset::Offset(offset))].into_iter());
        consumer.incremental_assign(&again).map_err(failed)
    }

    /// Names what is behind an error that came in the place of a record.
    #[cold]
    fn explain(&self, bad: BadMessage, range: &OffsetRange) -> Error {
        let BadMessage { code, text } = bad;
        if code == RDKafkaErrorCode::AutoOffsetReset {
            let partition = TopicPartition { topic: Arc::clone(&range.topic), partition: range.partition };
            let planner = self.planner.upgrade();
            let start = planner.and_then(|planner| planner.beginnings(&[partition], SEEK).ok());
            let now = match start.and_then(|start| start.offsets[0]) {
                Some(start) if start > range.from => {
                    let end = start.min(range.until);
                    format!("offsets {}..{end} are gone, the log now starts at {start}", range.from)
                }
                _ => "the offsets do not exist any more".to_string(),
            };
            let advice = "the topic keeps its records for less time than the stream needs to read them";
            return Error::new(ErrorKind::Input, format!("{now}: {advice}")).caused_by(text);
        }
        Error::new(ErrorKind::Input, format!("{code}: {text}"))
    }

    #[cold]
    fn nothing_came(&self, lane: &mut Lane, next: i64, waited: Duration) -> Error {
        let reached = lane.queue.position().unwrap_or(next).max(next);
        let why = client::take_error(lane.queue.consumer())
            .unwrap_or_else(|| format!("the brokers at {} answer, but without these records", self.brokers));
        let message = format!("no record came for {waited:?}, offset {reached} was reached: {why}");
        Error::new(ErrorKind::Input, message)
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::State, "the Kafka stream was stopped, its records cannot be read any more")
}

impl Slot {
    /// Waits until no task of another thread reads the partition: two that take turns would seek for every chunk.
    fn turn(&self) -> Turn<'_> {
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

/// The right of a thread to read a partition.
struct Turn<'s>(&'s Slot);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut reading = self.0.reading();
        *reading = reading.take().filter(|(_, depth)| *depth > 1).map(|(thread, depth)| (thread, depth - 1));
        if reading.is_none() {
            self.0.free.notify_one();
        }
    }
}

impl Lane {
    /// Takes what is left from the range before, and returns where the lane goes on; `None` if nothing is left.
    fn take_leftover(&mut self, range: &OffsetRange, records: &mut Vec<KafkaRecord>) -> Option<i64> {
        let mut next = None;
        while let Some(record) = self.leftover.pop_front() {
            if record.offset >= range.until {
                self.leftover.push_front(record);
                return Some(range.until);
            }
            next = Some(record.offset + 1);
            records.push(record);
        }
        next
    }
}

/// An error that came in the place of a record.
struct BadMessage {
    code: RDKafkaErrorCode,
    text: String,
}

impl Reader {
    /// Takes the records of the range and keeps those after it. Returns the offset after the last, at most
    /// `range.until`.
    fn decode(
        &self,
        messages: &Messages<'_>,
        topic: &Arc<str>,
        range: &OffsetRange,
        leftover: &mut VecDeque<KafkaRecord>,
        records: &mut Vec<KafkaRecord>,
    ) -> Result<i64, BadMessage> {
        let mut next = range.from;
        let mut done = 0;
        while done < messages.len() {
            let part = self.next_part(messages, done)?;
            done += part.messages.len();
            let mut arena = Vec::with_capacity(part.bytes);
            for (message, headers) in &part.messages {
                arena.extend_from_slice(message.key().unwrap_or_default());
                arena.extend_from_slice(message.payload().unwrap_or_default());
                headers.for_each(|(_, value)| arena.extend_from_slice(value.unwrap_or_default()));
            }
            let mut arena = Slices { arena: Bytes::from(arena), at: 0 };
            for (message, headers) in part.messages {
                let record = KafkaRecord {
                    topic: Arc::clone(topic),
                    partition: range.partition,
                    offset: message.offset(),
                    timestamp: message.timestamp_millis().map(Time::from_millis),
                    key: message.key().map(|key| arena.take(key.len())),
                    value: message.payload().map(|value| arena.take(value.len())),
                    headers: arena.take_headers(headers),
                };
                if record.offset < range.until {
                    next = record.offset + 1;
                    records.push(record);
                } else {
                    next = range.until;
                    leftover.push_back(record);
                }
            }
        }
        Ok(next)
    }

    /// The messages from `start` on whose bytes fit into an arena, at least one.
    fn next_part<'m>(&self, messages: &'m Messages<'_>, start: usize) -> Result<Part<'m>, BadMessage> {
        let mut part = Part { messages: Vec::with_capacity(messages.len() - start), bytes: 0 };
        for message in messages.iter_from(start) {
            if let Some((code, text)) = message.error() {
                return Err(BadMessage { code, text });
            }
            let headers = if self.headers { message.headers() } else { Headers::none() };
            let in_headers: usize = headers.map(|(_, value)| value.unwrap_or_default().len()).sum();
            let bytes =
                message.key().unwrap_or_default().len() + message.payload().unwrap_or_default().len() + in_headers;
            if !part.messages.is_empty() && part.bytes + bytes > ARENA_BYTES {
                break;
            }
            part.bytes += bytes;
            part.messages.push((message, headers));
        }
        Ok(part)
    }
}

#[cfg(test)]
impl Reader {
    /// Leaves a lane as it is after `..until` was read and records up to `beyond` came with it.
    pub(super) fn read_too_far(&self, slot: usize, until: i64, beyond: i64) {
        let slot = &self.slots[slot];
        let mut lane = slot.lane.lock().unwrap();
        let lane = lane.as_mut().unwrap();
        self.seek(slot, lane, 0).unwrap();
        let messages = lane.queue.consume(usize::try_from(beyond).unwrap(), Duration::from_secs(10));
        let range = OffsetRange { topic: Arc::clone(&slot.partition.topic), partition: 0, from: 0, until };
        let next = self.decode(&messages, &range.topic, &range, &mut lane.leftover, &mut Vec::new());
        drop(messages);
        assert_eq!(next.ok(), Some(until));
        assert_eq!(lane.leftover.len(), usize::try_from(beyond - until).unwrap());
        lane.next = Some(until);
    }
}

/// Messages whose bytes share an arena.
struct Part<'m> {
    messages: Vec<(Message<'m>, Headers<'m>)>,
    bytes: usize,
}

/// Hands out an arena piece by piece, in the order in which it was filled.
struct Slices {
    arena: Bytes,
    at: usize,
}

impl Slices {
    fn take(&mut self, length: usize) -> Bytes {
        let start = self.at;
        self.at += length;
        self.arena.slice(start..self.at)
    }

    fn take_headers(&mut self, headers: Headers<'_>) -> KafkaHeaders {
        if headers.is_empty() {
            return KafkaHeaders::default();
        }
        let header = |(name, value): (&CStr, Option<&[u8]>)| {
            (name.to_string_lossy().into(), value.map(|value| self.take(value.len())))
        };
        KafkaHeaders::from_vec(headers.map(header).collect())
    }
}

/// One range of one batch.
pub(super) struct KafkaPartition {
    pub(super) reader: Arc<Reader>,
    /// The number of the topic partition in the reader.
    pub(super) slot: usize,
    pub(super) range: OffsetRange,
}

impl ReadPartition<KafkaRecord> for KafkaPartition {
    fn records(&self) -> Option<u64> {
        Some(self.range.count())
    }

    fn describe(&self) -> String {
        self.range.to_string()
    }

    fn read(&self, out: &mut Emitter<'_, KafkaRecord>) -> Result<()> {
        if self.range.is_empty() {
            return Ok(());
        }
        let outcome = self.reader.read(self.slot, &self.range, out);
        if self.reader.is_closed() {
            self.reader.close();
        }
        outcome
    }
}
