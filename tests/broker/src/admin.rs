use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::PATIENCE;
use crate::error::{Error, Result};

/// How long one question may take before it is asked again.
const QUESTION: Duration = Duration::from_millis(500);
/// Between two looks at what the brokers know.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks brokers, makes topics and sends records.
pub(crate) struct Admin {
    client: AdminClient<DefaultClientContext>,
    producer: BaseProducer<Deliveries>,
    options: AdminOptions,
}

impl Admin {
    pub(crate) fn new(bootstrap_servers: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap_servers)
            // Brokers come back at any time; the default waits up to ten seconds between two looks.
            .set("reconnect.backoff.max.ms", "100")
            .set("enable.idempotence", "true");
        let client = config.create().map_err(|error| failed("no Kafka client", error))?;
        let producer = config.create_with_context(Deliveries).map_err(|error| failed("no Kafka client", error))?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        Ok(Admin { client, producer, options })
    }

    /// Whether all brokers answer, as those that were started and not as a stranger on one of their ports.
    pub(crate) fn is_complete(&self, brokers: usize, cluster_id: &str) -> bool {
        let client = self.client.inner();
        let known = client.fetch_metadata(None, QUESTION).map_or(0, |metadata| metadata.brokers().len());
        let is_complete = known == brokers && client.fetch_cluster_id(QUESTION).as_deref() == Some(cluster_id);
        if !is_complete {
            thread::park_timeout(PAUSE);
        }
        is_complete
    }

    pub(crate) fn create_topic(
        &self,
        topic: &str,
        partitions: usize,
        replicas: usize,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let what = format!("topic {topic} with {partitions} partitions was not made");
        let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(topic, count, TopicReplication::Fixed(replicas));
        for (name, value) in configs {
            new = new.set(name, value);
        }
        accepted(&what, block_on(self.client.create_topics([&new], &self.options)))?;
        self.await_partitions(topic, Some(partitions))
    }

    pub(crate) fn add_partitions(&self, topic: &str, total: usize) -> Result<()> {
        let what = format!("topic {topic} did not get {total} partitions");
        let new = NewPartitions::new(topic, total);
        accepted(&what, block_on(self.client.create_partitions([&new], &self.options)))?;
        self.await_partitions(topic, Some(total))
    }

    pub(crate) fn delete_topic(&self, topic: &str) -> Result<()> {
        let what = format!("topic {topic} was not deleted");
        accepted(&what, block_on(self.client.delete_topics(&[topic], &self.options)))?;
        self.await_partitions(topic, None)
    }

    pub(crate) fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let what = format!("the records of {topic}/{partition} before offset {before} were not deleted");
        let mut list = TopicPartitionList::new();
        let offset = list.add_partition_offset(topic, partition, Offset::Offset(before));
        offset.map_err(|error| failed(&what, error))?;
        let deleted = block_on(self.client.delete_records(&list, &self.options));
        let deleted = deleted.map_err(|error| failed(&what, error))?;
        deleted.elements().iter().try_for_each(|element| element.error()).map_err(|error| failed(&what, error))
    }

    pub(crate) fn leaders(&self, topic: &str) -> Result<Vec<i32>> {
        let what = format!("the leaders of topic {topic} are not known");
        let leaders = self.find_leaders(topic).map_err(|error| failed(&what, error))?;
        leaders.ok_or_else(|| Error::Failed(format!("{what}: there is no such topic")))
    }

    /// The leader of each partition; `None` if there is no such topic.
    fn find_leaders(&self, topic: &str) -> Result<Option<Vec<i32>>, KafkaError> {
        let metadata = self.client.inner().fetch_metadata(Some(topic), QUESTION)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && !found.partitions().is_empty());
        Ok(found.map(|found| {
            let leaders: BTreeMap<i32, i32> =
                found.partitions().iter().map(|partition| (partition.id(), partition.leader())).collect();
            leaders.into_values().collect()
        }))
    }

    /// Waits until a topic has this many partitions with a leader; with `None` until there is no such topic.
    fn await_partitions(&self, topic: &str, partitions: Option<usize>) -> Result<()> {
        let begun = Instant::now();
        loop {
            match (self.find_leaders(topic), partitions) {
                (Ok(None), None) => return Ok(()),
                (Ok(Some(leaders)), Some(count)) if leaders.len() == count && !leaders.contains(&-1) => return Ok(()),
                _ => {}
            }
            if begun.elapsed() >= PATIENCE {
                let wanted = partitions.map_or("no".to_string(), |count| count.to_string());
                return Err(Error::Failed(format!("topic {topic} has not {wanted} partitions after {PATIENCE:?}")));
            }
            thread::park_timeout(PAUSE);
        }
    }

    pub(crate) fn send<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = V>,
    ) -> Result<()> {
        let failed = |error| failed(&format!("a record for {topic}/{partition} was not delivered"), error);
        let sent = Arc::new(Sent::default());
        for value in values {
            sent.open.fetch_add(1, Ordering::Relaxed);
            let record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, Arc::clone(&sent));
            let mut record = record.partition(partition).payload(value.as_ref());
            while let Err((error, back)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(failed(error));
                }
                record = back;
                self.producer.poll(Duration::from_millis(1));
            }
        }
        // Not with `flush`, which sleeps in steps of 100 ms.
        while sent.open.load(Ordering::Acquire) > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        let error = sent.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map_or(Ok(()), |error| Err(failed(error)))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// What has become of the records of one call.
#[derive(Default)]
struct Sent {
    open: AtomicUsize,
    failed: Mutex<Option<KafkaError>>,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Arc<Sent>) {
        if let Err((error, _)) = result {
            sent.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
        sent.open.fetch_sub(1, Ordering::Release);
    }
}

fn failed(what: &str, error: KafkaError) -> Error {
    Error::Failed(format!("{what}: {error}"))
}

fn accepted(what: &str, answer: Result<Vec<TopicResult>, KafkaError>) -> Result<()> {
    let refused = answer.map_err(|error| failed(what, error))?.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |(_, code)| Err(Error::Failed(format!("{what}: {code}"))))
}

/// Waits for an answer; librdkafka works on it on threads of its own.
fn block_on<A>(answer: impl Future<Output = A>) -> A {
    struct Caller(Thread);

    impl Wake for Caller {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Caller(thread::current())));
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
