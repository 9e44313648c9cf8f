use super::*;
use crate::input::kafka::embedded::EmbeddedBroker;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const PATIENCE: Duration = Duration::from_secs(60);

fn broker(partitions: usize) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("t", partitions).unwrap();
    broker
}

fn params(broker: &EmbeddedBroker) -> ProducerParams {
    ProducerParams::new(broker.bootstrap_servers())
}

type Bytes = Option<Vec<u8>>;

/// A record as it lies in a topic: key, value, headers and timestamp.
type Lying = (Bytes, Bytes, Vec<(String, Bytes)>, i64);

/// What a partition holds, once it holds so many.
fn read(broker: &EmbeddedBroker, partition: i32, count: usize) -> Vec<Lying> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", partition, Offset::Beginning).unwrap();
    client.assign(&list).unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        let record = client.poll(PATIENCE).expect("a record in time").unwrap();
        let headers = record.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect()
        });
        let millis = match record.timestamp() {
            Timestamp::CreateTime(millis) => millis,
            other => panic!("{other:?}"),
        };
        records.push((record.key().map(<[u8]>::to_vec), record.payload().map(<[u8]>::to_vec), headers, millis));
    }
    records
}

fn end(broker: &EmbeddedBroker, partition: i32) -> i64 {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap_servers()).create().unwrap();
    client.fetch_watermarks("t", partition, PATIENCE).unwrap().1
}

fn bytes(text: &str) -> Bytes {
    Some(text.as_bytes().to_vec())
}

#[test]
fn a_record_arrives_as_it_was_made() {
    let broker = broker(2);
    let producer = Producer::new(params(&broker)).unwrap();
    let delivery = producer.begin();
    let full = ProducerRecord::new("t", "v").with_key("k").with_header("a", "1").with_header("a", None::<&str>);
    delivery.send(&full.with_partition(1).with_timestamp(Time::from_micros(1_234_567))).unwrap();
    delivery.send(&ProducerRecord::tombstone("t", "k").with_partition(1)).unwrap();
    delivery.send(&ProducerRecord::new("t", "").with_key("").with_partition(1)).unwrap();
    delivery.finish().unwrap();
    let records = read(&broker, 1, 3);
    let headers = vec![("a".to_string(), bytes("1")), ("a".to_string(), None)];
    assert_eq!(records[0], (bytes("k"), bytes("v"), headers, 1234));
    assert_eq!((&records[1].0, &records[1].1), (&bytes("k"), &None));
    assert_eq!((&records[2].0, &records[2].1), (&bytes(""), &bytes("")));
    assert_eq!(end(&broker, 0), 0);
}

/// The partitions that Kafka's own clients choose: `toPositive(murmur2(key)) % partitions`, computed by hand.
#[test]
fn keys_lie_where_clients_in_java_put_them() {
    let broker = broker(1000);
    let producer = Producer::new(params(&broker)).unwrap();
    let delivery = producer.begin();
    // The hashes are those of the test of Kafka's `Utils.murmur2`.
    let hashes: [(&str, i32); 5] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ];
    for (key, _) in hashes {
        delivery.send(&ProducerRecord::new("t", "v").with_key(key)).unwrap();
    }
    delivery.finish().unwrap();
    for (key, hash) in hashes {
        assert_eq!(read(&broker, (hash & 0x7fff_ffff) % 1000, 1)[0].0, bytes(key));
    }
}

#[test]
fn a_partitioner_of_the_program_decides() {
    let broker = broker(4);
    let by_length = params(&broker).partitioner(|topic, key, partitions| {
        assert_eq!((topic, partitions), ("t", 4));
        key.map_or(3, |key| key.len() as i32)
    });
    let producer = Producer::new(by_length).unwrap();
    let delivery = producer.begin();
    delivery.send(&ProducerRecord::new("t", "v").with_key("ab")).unwrap();
    delivery.send(&ProducerRecord::new("t", "no key")).unwrap();
    delivery.send(&ProducerRecord::new("t", "asks").with_key("ab").with_partition(0)).unwrap();
    delivery.finish().unwrap();
    assert_eq!([0, 1, 2, 3].map(|partition| end(&broker, partition)), [1, 0, 1, 1]);
    let delivery = producer.begin();
    let sent = delivery.send(&ProducerRecord::new("t", "v").with_key("a-long-key"));
    let error = sent.and_then(|()| delivery.finish()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t: a record with the key \"a-long-key\" was not delivered: the partitioner chose 10, and there are 4 partitions"
    );
}

/// What is said of the record that `record` is, when it is sent after one that arrives.
fn said_of(producer: &Producer, record: &ProducerRecord<'_>) -> String {
    let delivery = producer.begin();
    let first = delivery.send(&ProducerRecord::new("t", "fine").with_partition(0));
    let error = first.and_then(|()| delivery.send(record)).and_then(|()| delivery.finish()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
    assert!(!error.to_string().contains('\n'), "{error}");
    error.to_string()
}

#[test]
fn a_record_that_cannot_be_delivered_is_named() {
    let broker = broker(1);
    let producer = Producer::new(params(&broker).set("message.max.bytes", "2000")).unwrap();
    let key = "k".repeat(60);
    assert_eq!(
        said_of(&producer, &ProducerRecord::new("t", vec![7; 3000]).with_key(&key)),
        format!(
            "t: a record with the key \"{}\"... of 60 bytes was not delivered: it is larger than \
             `message.max.bytes` of the producer or `max.message.bytes` of the topic allows",
            "k".repeat(48)
        )
    );
    assert_eq!(
        said_of(&producer, &ProducerRecord::new("t", "v").with_partition(5)),
        "t/5: a record was not delivered: the topic has no such partition"
    );
    assert_eq!(
        said_of(&producer, &ProducerRecord::new("t", "v").with_partition(-2)),
        "t: the partition -2 of a record is negative"
    );
    let unknown = said_of(&producer, &ProducerRecord::new("no\0topic", "v"));
    assert!(unknown.starts_with("no\0topic: a record was not delivered: "), "{unknown}");
}

#[test]
fn a_topic_that_does_not_exist_is_told_soon() {
    let broker = broker(1);
    broker.cluster().topic_error("lost", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let producer = Producer::new(params(&broker).set("topic.metadata.propagation.max.ms", "100")).unwrap();
    assert_eq!(
        said_of(&producer, &ProducerRecord::new("lost", "v").with_key([0, 255])),
        format!(
            "lost: a record with the key \"\\x00\\xff\" was not delivered: the topic does not exist at the Kafka \
             brokers {}: create it, or correct its name",
            broker.bootstrap_servers()
        )
    );
}

#[test]
fn brokers_that_are_away_are_waited_for_and_no_longer() {
    let params = ProducerParams::new("127.0.0.1:1").delivery_timeout(Duration::from_millis(1200));
    let producer = Producer::new(params).unwrap();
    let delivery = producer.begin();
    delivery.send(&ProducerRecord::new("t", "v").with_key("k")).unwrap();
    let error = delivery.finish().unwrap_err().to_string();
    let expected = "t: a record with the key \"k\" was not delivered: the Kafka brokers 127.0.0.1:1 did not take it \
                    within 1.2s (";
    assert!(error.starts_with(expected) && error.contains("Connection refused"), "{error}");
}

#[test]
fn a_full_queue_is_waited_for_and_loses_nothing() {
    let broker = broker(3);
    let producer = Producer::new(params(&broker).set("queue.buffering.max.messages", "7")).unwrap();
    let deliveries = [producer.begin(), producer.begin()];
    for n in 0..1000 {
        let value = n.to_string();
        deliveries[n % 2].send(&ProducerRecord::new("t", &value).with_partition(1)).unwrap();
    }
    deliveries.into_iter().for_each(|delivery| delivery.finish().unwrap());
    let values: Vec<_> = read(&broker, 1, 1000).into_iter().map(|record| record.1).collect();
    assert_eq!(values, (0..1000).map(|n| bytes(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(end(&broker, 1), 1000);
}

#[test]
fn a_full_queue_is_not_waited_for_longer_than_the_delivery_timeout() {
    let params = ProducerParams::new("127.0.0.1:1").delivery_timeout(Duration::from_millis(1200));
    let producer = Producer::new(params.set("queue.buffering.max.messages", "1")).unwrap();
    let delivery = producer.begin();
    let sent =
        delivery.send(&ProducerRecord::new("t", "1")).and_then(|()| delivery.send(&ProducerRecord::new("t", "2")));
    let error = sent.and_then(|()| delivery.finish()).unwrap_err().to_string();
    assert!(error.contains("did not take it within 1.2s"), "{error}");
}

#[test]
fn errors_that_pass_are_not_seen_and_change_no_order() {
    let broker = broker(1);
    // The mock cluster heeds sequence numbers in transactions only, and would take what comes behind a request that it
    // has refused.
    let producer = Producer::new(params(&broker).set("max.in.flight", "1")).unwrap();
    let passing = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    ];
    broker.cluster().request_errors(RDKafkaApiKey::Produce, &passing);
    let delivery = producer.begin();
    for n in 0..100 {
        delivery.send(&ProducerRecord::new("t", n.to_string())).unwrap();
    }
    delivery.finish().unwrap();
    let values: Vec<_> = read(&broker, 0, 100).into_iter().map(|record| record.1).collect();
    assert_eq!(values, (0..100).map(|n| bytes(&n.to_string())).collect::<Vec<_>>());
    assert_eq!(end(&broker, 0), 100);
}

/// A delivery waits for its own records, and is told of none but its own.
#[test]
fn deliveries_know_nothing_of_each_other() {
    let broker = broker(1);
    let producer = Producer::new(params(&broker)).unwrap();
    let (bad, good) = (producer.begin(), producer.begin());
    let refused = bad.send(&ProducerRecord::new("t", "v").with_partition(9));
    good.send(&ProducerRecord::new("t", "v")).unwrap();
    good.finish().unwrap();
    assert!(refused.and_then(|()| bad.finish()).is_err());
    producer.begin().finish().unwrap();
}

#[test]
fn settings_are_checked_when_the_producer_is_made() {
    let error = Producer::new(ProducerParams::new("b:1").set("linger.ms", "soon")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("the Kafka setting linger.ms is not accepted: "), "{error}");
    let error = Producer::new(ProducerParams::new("b:1").set("max.in.flight", "6")).unwrap_err();
    assert!(error.to_string().contains("max.in.flight"), "{error}");
}
