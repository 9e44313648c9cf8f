//! The one place where this crate calls C, for what the `rdkafka` crate has no safe form of: librdkafka's batch fetch
//! (a record costs 70-100 ns of CPU this way, 220-260 ns with `BaseConsumer::poll`), commits whose outcome can be waited
//! for with a time limit, and the ids of topics.
//!
//! What the rest of the crate can rely on:
//!
//! - a queue keeps its client alive and is given back before it, as librdkafka demands;
//! - it is used by one thread at a time, since its methods take `&mut self`;
//! - messages keep their client alive, and each is destroyed exactly once, when its [`Messages`] go, also during a
//!   panic;
//! - what a [`Message`] lends cannot outlive it.

#![expect(unsafe_code, reason = "librdkafka's batch fetch and commit queue have no safe form")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use serde::{Deserialize, Serialize};

use super::client::Events;

/// A queue of a client.
struct Queue {
    queue: NonNull<c::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<Events>>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue for answers.
    fn new(consumer: &Arc<BaseConsumer<Events>>) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the client is alive, it is held by `consumer`.
        let queue = unsafe { c::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or(RDKafkaErrorCode::Fail)?;
        Ok(Queue { queue, consumer: Arc::clone(consumer) })
    }

    fn client(&self) -> *mut c::rd_kafka_t {
        self.consumer.client().native_ptr()
    }

    /// Waits up to `wait` for an answer.
    fn poll(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is alive.
        let event = unsafe { c::rd_kafka_queue_poll(self.queue.as_ptr(), millis(wait)) };
        NonNull::new(event).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue was given to us and is given back once. The client still lives: its field goes after this.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// The messages that librdkafka has fetched of one partition.
pub(super) struct PartitionQueue {
    queue: Queue,
    /// The partition alone, to ask for its position.
    position: TopicPartitionList,
}

impl PartitionQueue {
    /// Takes the queue of a partition out of the consumer's common one. To be done before the partition is assigned,
    /// or records that came earlier are missed: librdkafka then leaves the queue as it is (`RD_KAFKA_Q_F_FWD_APP`).
    ///
    /// `None` if librdkafka knows no such queue.
    pub(super) fn new(consumer: &Arc<BaseConsumer<Events>>, topic: &str, partition: i32) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let mut position = TopicPartitionList::new();
        position.add_partition(topic, partition);
        // SAFETY: the client is alive, it is held by `consumer`; the name is a C string that librdkafka copies.
        let queue =
            unsafe { c::rd_kafka_queue_get_partition(consumer.client().native_ptr(), name.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue was just given to us; no destination means that it keeps its messages.
        unsafe { c::rd_kafka_queue_forward(queue.as_ptr(), null_mut()) };
        let queue = Queue { queue, consumer: Arc::clone(consumer) };
        Some(PartitionQueue { queue, position })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<Events> {
        &self.queue.consumer
    }

    /// Takes up to `at_most` messages. Waits until there are that many, or `wait` is over.
    pub(super) fn consume(&mut self, at_most: usize, wait: Duration) -> Messages {
        let mut messages = Vec::with_capacity(at_most);
        // SAFETY: the queue is ours and its client alive. There is room for `at_most` pointers, and librdkafka writes
        // no more. Nobody else reads this queue or seeks in it during the call: both take `&mut self`.
        let count = unsafe {
            c::rd_kafka_consume_batch_queue(
                self.queue.queue.as_ptr(),
                millis(wait),
                messages.as_mut_ptr(),
                messages.capacity().min(at_most),
            )
        };
        // An error shows as -1; what there is to know about it comes as a message.
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka has written this many pointers, at most as many as there is room for.
        unsafe { messages.set_len(count.min(at_most)) };
        Messages { messages, _client: Some(Arc::clone(&self.queue.consumer)) }
    }

    /// The offset after the last record that was taken, or after the last marker of a transaction: what came before
    /// it will not come any more. `None` before the first and after a seek.
    pub(super) fn position(&mut self) -> Option<i64> {
        // SAFETY: the client is alive and the list is ours; librdkafka fills in offsets.
        let error = unsafe { c::rd_kafka_position(self.queue.client(), self.position.ptr()) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        match self.position.elements().first()?.offset() {
            Offset::Offset(position) => Some(position),
            _ => None,
        }
    }
}

/// Messages that were taken from a queue, in the order of their offsets. They are destroyed when this goes.
#[derive(Default)]
pub(super) struct Messages {
    messages: Vec<*mut c::rd_kafka_message_t>,
    /// Goes after the messages, which librdkafka demands. `None` only if there are none.
    _client: Option<Arc<BaseConsumer<Events>>>,
}

// SAFETY: the messages belong to nobody but this value, and librdkafka takes them back on any thread.
unsafe impl Send for Messages {}

impl Messages {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Message<'_>> {
        // SAFETY: librdkafka gave us valid pointers, which are destroyed only when `self` goes. While they are lent,
        // nobody writes to the messages but librdkafka itself when it is asked for headers: `self` is no `Sync`, so
        // that this happens on one thread.
        self.messages.iter().map(|message| Message(unsafe { &**message }))
    }

    /// The first error that came in the place of a message. Takes it away, and what came after it.
    pub(super) fn take_error(&mut self) -> Option<(RDKafkaErrorCode, String)> {
        let (place, error) = self.iter().enumerate().find_map(|(place, message)| Some((place, message.error()?)))?;
        drop(Messages { messages: self.messages.split_off(place), _client: self._client.clone() });
        Some(error)
    }

    /// Takes away the messages from the first on that is at `offset` or behind it.
    pub(super) fn split_off(&mut self, offset: i64) -> Messages {
        let before = self.messages.partition_point(|message| {
            // SAFETY: as in `iter`.
            unsafe { (**message).offset < offset }
        });
        Messages { messages: self.messages.split_off(before), _client: self._client.clone() }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: each pointer came from librdkafka, is destroyed here only, and leaves the vector here.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

/// One message: a record, or an error in the place of one.
#[derive(Clone, Copy)]
pub(super) struct Message<'m>(&'m c::rd_kafka_message_t);

impl<'m> Message<'m> {
    /// The error that came instead of a record.
    fn error(self) -> Option<(RDKafkaErrorCode, String)> {
        if self.0.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let text = String::from_utf8_lossy(self.payload().unwrap_or_default()).into_owned();
        Some((self.0.err.into(), text))
    }

    pub(super) fn offset(self) -> i64 {
        self.0.offset
    }

    pub(super) fn key(self) -> Option<&'m [u8]> {
        // SAFETY: librdkafka says that `key` points to `key_len` bytes, or is null; they live as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    pub(super) fn payload(self) -> Option<&'m [u8]> {
        // SAFETY: as in `key`.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// When the record was made or appended, in milliseconds since the epoch.
    pub(super) fn timestamp_millis(self) -> Option<i64> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; librdkafka writes the type.
        let millis = unsafe { c::rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis >= 0).then_some(millis)
    }

    /// The headers in order. Costs about 100 ns also when there are none: librdkafka makes a buffer to find that out.
    pub(super) fn headers(self) -> Headers<'m> {
        let mut headers = null_mut();
        // SAFETY: the message is alive; librdkafka parses its headers, keeps them with the message and writes where.
        let error = unsafe { c::rd_kafka_message_headers(self.0, &mut headers) };
        let found = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        Headers { headers: if found { headers } else { null() }, next: 0, message: PhantomData }
    }
}

/// The headers of a message, in order.
#[derive(Clone, Copy)]
pub(super) struct Headers<'m> {
    /// Null if there are none.
    headers: *const c::rd_kafka_headers_t,
    next: usize,
    message: PhantomData<&'m c::rd_kafka_message_t>,
}

impl Headers<'_> {
    /// Those of a message that has none.
    pub(super) fn none() -> Self {
        Headers { headers: null(), next: 0, message: PhantomData }
    }

    pub(super) fn is_empty(self) -> bool {
        self.headers.is_null()
    }
}

impl<'m> Iterator for Headers<'m> {
    type Item = (&'m CStr, Option<&'m [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.headers.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (null(), null(), 0);
        // SAFETY: the headers belong to the message, which is alive; librdkafka writes where name and value are.
        let error = unsafe { c::rd_kafka_header_get_all(self.headers, self.next, &mut name, &mut value, &mut size) };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        self.next += 1;
        // SAFETY: librdkafka ends names with a zero; a value is `size` bytes or null. Both live as long as the message.
        unsafe { Some((CStr::from_ptr(name), bytes(value, size))) }
    }
}

/// The metadata of an offset. The `rdkafka` crate panics if it is no UTF-8, and anybody may have committed it.
pub(super) fn metadata<'l>(list: &'l TopicPartitionList, topic: &str, partition: i32) -> Option<&'l [u8]> {
    let name = CString::new(topic).ok()?;
    // SAFETY: the list and the name are alive; librdkafka only reads them, and returns an element of the list or null.
    let element = unsafe { c::rd_kafka_topic_partition_list_find(list.ptr(), name.as_ptr(), partition).as_ref() }?;
    // SAFETY: librdkafka says that `metadata` points to `metadata_size` bytes, or is null; they live as long as the
    // list, and nobody writes to them while it is lent.
    unsafe { bytes(element.metadata, element.metadata_size) }
}

/// A commit on its way.
pub(super) struct Commit {
    /// Gets the answer and nothing else.
    queue: Queue,
}

impl Commit {
    /// Sends offsets to the group of the client.
    pub(super) fn send(
        consumer: &Arc<BaseConsumer<Events>>,
        offsets: &TopicPartitionList,
    ) -> Result<Self, RDKafkaErrorCode> {
        let queue = Queue::new(consumer)?;
        // SAFETY: client, list and queue are alive; librdkafka copies the list and counts itself among the users of
        // the queue. Without a callback the answer is an event on the queue.
        let error =
            unsafe { c::rd_kafka_commit_queue(queue.client(), offsets.ptr(), queue.queue.as_ptr(), None, null_mut()) };
        outcome(error)?;
        Ok(Commit { queue })
    }

    /// Waits up to `wait` for the answer: the error of the request, or of its first partition that has one.
    pub(super) fn outcome(&mut self, wait: Duration) -> Option<Result<(), RDKafkaErrorCode>> {
        Some(self.queue.poll(wait)?.commit_outcome())
    }
}

/// The answer to a question. It is destroyed when this goes.
struct Event(NonNull<c::rd_kafka_event_t>);

impl Event {
    fn commit_outcome(&self) -> Result<(), RDKafkaErrorCode> {
        self.error()?;
        // SAFETY: the event is alive; the list belongs to it.
        let list = unsafe { c::rd_kafka_event_topic_partition_list(self.0.as_ptr()) };
        // SAFETY: librdkafka returns a valid list that nobody writes to, or null.
        let Some(list) = (unsafe { list.as_ref() }) else { return Ok(()) };
        for n in 0..usize::try_from(list.cnt).unwrap_or(0) {
            // SAFETY: the list has `cnt` elements.
            outcome(unsafe { (*list.elems.add(n)).err })?;
        }
        Ok(())
    }

    fn topic_ids(&self) -> Result<BTreeMap<String, TopicId>, RDKafkaErrorCode> {
        self.error()?;
        // SAFETY: the event is alive; the result belongs to it. Null for an event of another kind.
        let result = unsafe { c::rd_kafka_event_DescribeTopics_result(self.0.as_ptr()) };
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        // SAFETY: the result is alive; librdkafka writes how many topics there are and returns as many pointers.
        let topics = unsafe { c::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
        let mut ids = BTreeMap::new();
        for n in 0..count {
            // SAFETY: there are `count` topics, which belong to the result, as do their names, errors and ids: librdkafka
            // ends names with a zero, and an error may be null, which its function takes for none.
            let (name, error, id) = unsafe {
                let topic = *topics.add(n);
                let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(topic));
                (
                    CStr::from_ptr(c::rd_kafka_TopicDescription_name(topic)),
                    error,
                    c::rd_kafka_TopicDescription_topic_id(topic),
                )
            };
            if id.is_null() || outcome(error).is_err() {
                continue;
            }
            // SAFETY: the id is alive, as above.
            let id =
                unsafe { (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id)) };
            // Brokers from before 2.8 have no ids, and say zero.
            if id != (0, 0) {
                ids.insert(name.to_string_lossy().into_owned(), TopicId(id.0, id.1));
            }
        }
        Ok(ids)
    }

    fn error(&self) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the event is alive.
        outcome(unsafe { c::rd_kafka_event_error(self.0.as_ptr()) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event was given to us, and is destroyed once.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// What tells a topic from another that has its name before or after it (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicId(i64, i64);

#[cfg(test)]
impl TopicId {
    pub(super) fn for_tests(high: i64, low: i64) -> Self {
        TopicId(high, low)
    }
}

/// A question for the ids of topics, on its way.
pub(super) struct TopicIds {
    /// Gets the answer and nothing else.
    queue: Queue,
}

impl TopicIds {
    /// Asks brokers, which have `patience` to answer.
    pub(super) fn ask<'t>(
        consumer: &Arc<BaseConsumer<Events>>,
        topics: impl Iterator<Item = &'t str>,
        patience: Duration,
    ) -> Result<Self, RDKafkaErrorCode> {
        let names: Vec<CString> = topics.filter_map(|topic| CString::new(topic).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let queue = Queue::new(consumer)?;
        let wanted = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the names and the client are alive. librdkafka copies the names into the collection, and the collection
        // and the options into its request; both are ours and given back once. A null for the text of an error means that
        // nobody wants it. The answer is an event on the queue, which the request keeps alive.
        unsafe {
            let collection = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let options = c::rd_kafka_AdminOptions_new(queue.client(), wanted);
            c::rd_kafka_AdminOptions_set_request_timeout(options, millis(patience), null_mut(), 0);
            c::rd_kafka_DescribeTopics(queue.client(), collection, options, queue.queue.as_ptr());
            c::rd_kafka_AdminOptions_destroy(options);
            c::rd_kafka_TopicCollection_destroy(collection);
        }
        Ok(TopicIds { queue })
    }

    /// The answer, if it has come: the ids of the topics that exist; of none, if the brokers are too old to have ids.
    pub(super) fn answer(&self) -> Option<Result<BTreeMap<String, TopicId>, RDKafkaErrorCode>> {
        self.wait(Duration::ZERO)
    }

    /// Waits for the answer.
    pub(super) fn wait(&self, wait: Duration) -> Option<Result<BTreeMap<String, TopicId>, RDKafkaErrorCode>> {
        Some(match self.queue.poll(wait)?.topic_ids() {
            Err(RDKafkaErrorCode::UnsupportedFeature) => Ok(BTreeMap::new()),
            answer => answer,
        })
    }
}

fn outcome(error: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    match error {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    }
}

fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

/// # Safety
///
/// `start` is null or points to `length` bytes that nobody writes to during `'m`.
unsafe fn bytes<'m>(start: *const std::ffi::c_void, length: usize) -> Option<&'m [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
