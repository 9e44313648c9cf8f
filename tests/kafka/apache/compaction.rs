//! A compacted topic has offsets without records. Spark's "non-consecutive offsets" are a switch; here they are read as
//! they come.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tidemill_test_broker::ApacheKafka;

use super::super::{PATIENCE, committed, params};
use super::Program;

/// Sends pairs of key and value. The last goes to a segment of its own, since the newest segment is never compacted.
fn send(kafka: &ApacheKafka, topic: &str, pairs: &[(&str, &str)]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for (n, (key, value)) in pairs.iter().enumerate() {
        let is_last = n + 1 == pairs.len();
        if is_last {
            // What goes in one request goes to one segment.
            producer.flush(PATIENCE).unwrap();
        }
        let record = BaseRecord::to(topic).partition(0).key(*key).payload(*value);
        // A segment ends when the next record is younger than its first by `segment.ms`.
        let record = record.timestamp(if is_last { now } else { now - 60_000 });
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// What another consumer sees of a partition, up to this offset.
pub(super) fn visible(kafka: &ApacheKafka, topic: &str, until: i64) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("group.id", "onlooker")
        .create()
        .unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let mut offsets = Vec::new();
    while offsets.last() < Some(&(until - 1)) {
        let message = consumer.poll(PATIENCE).expect("the last record is always there").unwrap();
        offsets.push(message.offset());
    }
    offsets
}

/// Makes a topic of these pairs and another one, and waits until only the last of each key is left.
pub(super) fn compacted(kafka: &ApacheKafka, topic: &str, pairs: &[(&str, &str)]) {
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "10000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    kafka.create_topic(topic, 1, &configs).unwrap();
    let pairs: Vec<_> = pairs.iter().copied().chain([("end", "0")]).collect();
    send(kafka, topic, &pairs);
    let keys: BTreeSet<&str> = pairs.iter().map(|(key, _)| *key).collect();
    let begun = SystemTime::now();
    while visible(kafka, topic, pairs.len() as i64).len() > keys.len() {
        assert!(begun.elapsed().unwrap() < PATIENCE, "the topic is not compacted");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_compacted_topic_has_the_last_value_of_each_key() {
    let Some(kafka) = super::shared() else { return };
    let pairs = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("c", "2"), ("b", "2"), ("b", "3")];
    compacted(kafka, "latest", &pairs);
    let brokers = kafka.bootstrap_servers();
    let mut program = Program::start(params(brokers, "latest"), ["latest"]).unwrap();
    program.read(4);
    program.stop();
    let read = program.partition("latest", 0);
    let pairs: Vec<_> = read.records.iter().map(|record| (record.key_utf8().unwrap(), record.offset)).collect();
    assert_eq!(pairs, [("a", 1), ("c", 4), ("b", 6), ("end", 7)]);
    assert_eq!(read.values(), ["2", "2", "3", "0"]);
    assert_eq!((read.ranges.len(), read.ranges[0].from, read.ranges[0].until), (1, 0, 8));
    assert_eq!(committed(brokers, "latest", "latest", 1), [8]);
}
