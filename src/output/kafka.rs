//! Writes records to Kafka, at least once: a [`Delivery`] is finished when the brokers have all that was sent with it.
//!
//! Delivery reports come to whoever polls the producer, for the records of all: each record carries a hold of the books
//! of its delivery. A queue that is full, or a broker that is away, is waited for in steps of a millisecond; never with
//! `flush`, which would wait for the records of others too, in steps of 100 ms.

mod params;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Partitioner as LibrdkafkaPartitioner, Producer as _, ProducerContext,
};

use self::params::Partitioner;
use crate::brokers::{Events, not_accepted, text};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Time};

pub use params::ProducerParams;
pub use record::{ProducerRecord, RecordBytes};

/// How long one look for delivery reports takes.
const SLICE: Duration = Duration::from_millis(1);

/// Writes to Kafka, for any number of threads. Cloning shares it.
///
/// [`DStream::write_to_kafka`](crate::DStream::write_to_kafka) makes one for itself. A program makes one for
/// [`Dataset::write_to_kafka`](crate::Dataset::write_to_kafka) in a `foreach_batch`, or to send records of its own.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::embedded::EmbeddedBroker;
/// use tidemill::kafka::{Producer, ProducerParams, ProducerRecord};
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("levels", 2)?;
/// let producer = Producer::new(ProducerParams::new(broker.bootstrap_servers()))?;
/// let delivery = producer.begin();
/// for (place, level) in [("north", "71"), ("south", "12")] {
///     delivery.send(&ProducerRecord::new("levels", level).with_key(place))?;
/// }
/// delivery.finish()?; // the brokers have both
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
pub struct Producer(Arc<Parts>);

struct Parts {
    client: BaseProducer<Context, Partitioner>,
    brokers: String,
    delivery_timeout: Duration,
    clock: Clock,
}

impl Producer {
    /// Makes a producer. It connects in the background, so brokers that are away are no error here.
    ///
    /// # Errors
    ///
    /// If librdkafka does not accept a setting, or a setting would break what is promised.
    pub fn new(params: ProducerParams) -> Result<Self> {
        let config = params.client_config()?;
        let ProducerParams { brokers, delivery_timeout, partitioner, .. } = params;
        let context = Context { events: Events::default(), partitioner };
        let client = config.create_with_context(context).map_err(not_accepted)?;
        Ok(Producer(Arc::new(Parts { client, brokers, delivery_timeout, clock: Clock::system() })))
    }

    /// Begins to send records that are waited for together.
    pub fn begin(&self) -> Delivery {
        Delivery { producer: self.clone(), books: Arc::default() }
    }

    /// Lets librdkafka tell what has become of records, for as long as `wait`.
    fn poll(&self, wait: Duration) {
        self.0.client.poll(wait);
    }

    /// The error for people of a record that was not delivered.
    fn error(&self, failure: Failure) -> Error {
        use RDKafkaErrorCode as Code;
        let Parts { client, brokers, delivery_timeout, .. } = &*self.0;
        let Failure { topic, partition, key, error } = failure;
        let why = match error.rdkafka_error_code() {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
                format!("the topic does not exist at the Kafka brokers {brokers}: create it, or correct its name")
            }
            Some(Code::UnknownPartition) => match (partition, &client.context().partitioner) {
                (None, Some(partitioner)) => partitioner.fault().clone().unwrap_or_else(|| text(&error)),
                _ => "the topic has no such partition".to_string(),
            },
            Some(Code::MessageSizeTooLarge) => {
                "it is larger than `message.max.bytes` of the producer or `max.message.bytes` of the topic allows"
                    .into()
            }
            Some(Code::MessageTimedOut | Code::QueueFull) => {
                let said = client.context().events.take_error().map(|said| format!(" ({said})")).unwrap_or_default();
                format!("the Kafka brokers {brokers} did not take it within {delivery_timeout:?}{said}")
            }
            Some(Code::Fatal) => match client.client().fatal_error() {
                Some((code, said)) => format!("the producer cannot go on: {code} ({said})"),
                None => text(&error),
            },
            _ => text(&error),
        };
        let place = match partition {
            Some(partition) => format!("{topic}/{partition}"),
            None => topic,
        };
        let key = key.map(|key| format!(" with the key {key}")).unwrap_or_default();
        Error::new(ErrorKind::Output, format!("{place}: a record{key} was not delivered: {why}")).caused_by(error)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({})", self.0.brokers)
    }
}

/// Records that are on their way to Kafka and are waited for together: those of one task, say.
///
/// Records go out in the order in which they were sent, and each partition keeps that order. Letting go of a delivery
/// without [`finish`](Delivery::finish) does not call its records back: they may arrive or not, and nobody is told.
#[derive(Debug)]
#[must_use = "nobody knows whether the records arrive before `finish`"]
pub struct Delivery {
    producer: Producer,
    books: Arc<Books>,
}

/// What has become of the records of a delivery.
#[derive(Debug, Default)]
struct Books {
    /// How many have neither arrived nor failed.
    pending: AtomicUsize,
    /// The first that failed.
    failure: Mutex<Option<Failure>>,
}

/// A record that was not delivered.
#[derive(Clone, Debug)]
struct Failure {
    topic: String,
    partition: Option<i32>,
    key: Option<String>,
    error: KafkaError,
}

impl Failure {
    fn new(topic: &str, partition: i32, key: Option<&[u8]>, error: KafkaError) -> Self {
        // Nothing was decided of a record that did not come that far.
        let partition = Some(partition).filter(|partition| *partition >= 0);
        Failure { topic: topic.to_string(), partition, key: key.map(shortened), error }
    }
}

/// A key for people: its first bytes.
fn shortened(key: &[u8]) -> String {
    const AT_MOST: usize = 48;
    match key.get(..AT_MOST) {
        Some(start) if key.len() > AT_MOST => format!("\"{}\"... of {} bytes", start.escape_ascii(), key.len()),
        _ => format!("\"{}\"", key.escape_ascii()),
    }
}

impl Delivery {
    /// Sends a record, which is copied. Waits while librdkafka's queue is full, for as long as the delivery timeout.
    ///
    /// # Errors
    ///
    /// If the record cannot be sent, or one that was sent before with this delivery is known not to have arrived.
    pub fn send(&self, record: &ProducerRecord<'_>) -> Result<()> {
        /// After how many records reports are looked for, so that librdkafka's queue empties while it is filled.
        const SERVE_EVERY: usize = 256;
        if let Some(partition) = record.partition().filter(|partition| *partition < 0) {
            let message = format!("{}: the partition {partition} of a record is negative", record.topic());
            return Err(Error::new(ErrorKind::Output, message));
        }
        let mut native = BaseRecord::with_opaque_to(record.topic(), Arc::clone(&self.books));
        native.partition = record.partition();
        native.key = record.key();
        native.payload = record.value();
        native.timestamp = record.timestamp().map(Time::as_millis);
        native.headers = record.native_headers();
        // Before it is sent, since its report may come at once.
        let pending = self.books.pending.fetch_add(1, Ordering::Relaxed);
        if pending % SERVE_EVERY == SERVE_EVERY - 1 {
            self.producer.poll(Duration::ZERO);
        }
        let refused = self.enqueue(native).err();
        match refused {
            None => self.failed(),
            Some(error) => {
                self.books.pending.fetch_sub(1, Ordering::Relaxed);
                let partition = record.partition().unwrap_or(-1);
                Err(self.producer.error(Failure::new(record.topic(), partition, record.key(), error)))
            }
        }
    }

    /// Hands a record to librdkafka when there is room for it.
    fn enqueue(&self, mut record: BaseRecord<'_, [u8], [u8], Arc<Books>>) -> Result<(), KafkaError> {
        let Parts { client, clock, delivery_timeout, .. } = &*self.producer.0;
        let mut give_up = None;
        loop {
            let (error, back) = match client.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || clock.now() > *give_up.get_or_insert_with(|| clock.now() + *delivery_timeout) {
                return Err(error);
            }
            record = back;
            self.producer.poll(SLICE);
        }
    }

    /// Waits until the brokers have every record that was sent with this delivery, and the replicas that they wait for.
    ///
    /// It takes no longer than the delivery timeout of the [`ProducerParams`], from the last record on.
    ///
    /// # Errors
    ///
    /// The first record that did not arrive: its topic, its partition if one was found, its key, and why.
    pub fn finish(self) -> Result<()> {
        /// How much later than it should librdkafka may report that a record was not delivered.
        const GRACE: Duration = Duration::from_secs(10);
        /// After how long the log tells that records wait.
        const LONG: Duration = Duration::from_secs(5);
        let Parts { brokers, clock, delivery_timeout, .. } = &*self.producer.0;
        let give_up = clock.now() + *delivery_timeout + GRACE;
        let mut tell_at = Some(clock.now() + LONG);
        loop {
            let now = clock.now();
            if tell_at.is_some_and(|at| now > at) {
                tell_at = None;
                let pending = self.books.pending.load(Ordering::Relaxed);
                tracing::warn!(brokers, pending, ?delivery_timeout, "records wait for the Kafka brokers to take them");
            }
            self.failed()?;
            match self.books.pending.load(Ordering::Acquire) {
                0 => return self.failed(),
                pending if now > give_up => {
                    let message = format!(
                        "{pending} records were sent to the Kafka brokers {brokers}, and there is no report of them \
                         after {delivery_timeout:?}"
                    );
                    return Err(Error::new(ErrorKind::Output, message));
                }
                _ => self.producer.poll(SLICE),
            }
        }
    }

    /// The first failure that is known.
    fn failed(&self) -> Result<()> {
        let failure = self.books.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), |failure| Err(self.producer.error(failure)))
    }
}

/// What librdkafka calls back.
struct Context {
    events: Events,
    partitioner: Option<Partitioner>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.events.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ProducerContext<Partitioner> for Context {
    type DeliveryOpaque = Arc<Books>;

    fn delivery(&self, result: &DeliveryResult<'_>, books: Arc<Books>) {
        if let Err((error, record)) = result {
            let mut failure = books.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure
                .get_or_insert_with(|| Failure::new(record.topic(), record.partition(), record.key(), error.clone()));
        }
        // After the failure: whoever sees that none is pending sees it too.
        books.pending.fetch_sub(1, Ordering::Release);
    }

    fn get_custom_partitioner(&self) -> Option<&Partitioner> {
        self.partitioner.as_ref()
    }
}

impl LibrdkafkaPartitioner for Partitioner {
    fn partition(&self, topic: &str, key: Option<&[u8]>, partitions: i32, _: impl Fn(i32) -> bool) -> i32 {
        self.choose(topic, key, partitions)
    }
}
