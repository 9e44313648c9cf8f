//! A Kafka broker inside the process, for demos and tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::error::{Error, ErrorKind, Result};

/// The mock cluster of librdkafka: brokers on ports of 127.0.0.1 that live as long as this value and its clones.
///
/// Good for demos and for tests of programs. It is no Kafka:
///
/// - it keeps 5 MiB for each partition, in memory, and forgets older records silently;
/// - a fetch that finds nothing is answered after `fetch.wait.max.ms` (half a batch interval, at most 50 ms), also when
///   records arrive;
/// - transactions are accepted and mean nothing: aborted records are visible;
/// - sequence numbers of idempotent producers are not checked: what is sent again may be there twice, or out of order.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::embedded::EmbeddedBroker;
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("lines", 4)?;
/// broker.send("lines", ["to be or not to be", "that is the question"])?;
/// assert!(broker.bootstrap_servers().starts_with("127.0.0.1:"));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedBroker(Arc<Parts>);

struct Parts {
    /// It also owns the brokers.
    producer: BaseProducer<Deliveries>,
    topics: Mutex<BTreeMap<String, Topic>>,
}

#[derive(Clone)]
struct Topic {
    partitions: usize,
    next: Arc<AtomicUsize>,
}

/// Remembers what could not be delivered.
#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

impl EmbeddedBroker {
    /// Starts this many brokers, at least one.
    ///
    /// # Errors
    ///
    /// If librdkafka cannot open the ports.
    pub fn start(brokers: usize) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("test.mock.num.brokers", brokers.max(1).to_string())
            // Of compressed records the 5 MiB hold more.
            .set("compression.type", "lz4")
            .create_with_context(Deliveries::default())
            .map_err(|error| failed("the embedded Kafka broker did not start", error))?;
        Ok(EmbeddedBroker(Arc::new(Parts { producer, topics: Mutex::default() })))
    }

    /// Where clients find the brokers, for `KafkaParams::new`.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Makes a topic.
    ///
    /// # Errors
    ///
    /// If it is there already, or has no partitions.
    pub fn create_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        self.cluster()
            .create_topic(name, count, 1)
            .map_err(|error| failed(&format!("topic {name} with {partitions} partitions was not made"), error))?;
        let topic = Topic { partitions, next: Arc::default() };
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), topic);
        Ok(())
    }

    /// Sends records that have a value and nothing else, to the partitions in turn. Returns when the brokers have them.
    ///
    /// # Errors
    ///
    /// If the topic was not made with [`create_topic`](EmbeddedBroker::create_topic), or a record is not delivered.
    pub fn send<V: AsRef<[u8]>>(&self, topic: &str, values: impl IntoIterator<Item = V>) -> Result<()> {
        let found = self.0.topics.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        let Topic { partitions, next } = found.ok_or_else(|| {
            Error::new(ErrorKind::State, format!("topic {topic} was not made: call `create_topic` first"))
        })?;
        for value in values {
            let partition = next.fetch_add(1, Ordering::Relaxed) % partitions;
            let partition = i32::try_from(partition).unwrap_or_default();
            self.enqueue(BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value.as_ref()))?;
        }
        self.flush(topic)
    }

    /// Hands a record to librdkafka, waiting while its queue is full.
    pub(super) fn enqueue<K: rdkafka::message::ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, [u8]>) -> Result<()> {
        let topic = record.topic.to_string();
        let mut record = record;
        loop {
            match self.0.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.0.producer.poll(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(failed(&format!("a record for topic {topic} was not sent"), error)),
            }
        }
    }

    /// Waits for the brokers to have what was sent. Not with `flush`, which sleeps in steps of 100 ms.
    pub(super) fn flush(&self, topic: &str) -> Result<()> {
        while self.0.producer.in_flight_count() > 0 {
            self.0.producer.poll(Duration::from_millis(1));
        }
        let error = self.0.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map_or(Ok(()), |error| Err(failed(&format!("a record for topic {topic} was not delivered"), error)))
    }

    /// The brokers, to make them misbehave.
    pub(crate) fn cluster(&self) -> MockCluster<'_, impl ClientContext> {
        self.0.producer.client().mock_cluster().expect("the producer was created with brokers")
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedBroker({})", self.bootstrap_servers())
    }
}

fn failed(what: &str, error: KafkaError) -> Error {
    let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
    Error::new(ErrorKind::Input, format!("{what}: {why}")).caused_by(error)
}
