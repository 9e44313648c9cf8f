//! What `write_to_kafka` leaves in Kafka, and what it says when it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tidemill::Event;
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, Producer, ProducerParams, ProducerRecord, Subscription};
use tidemill::prelude::*;

use super::{PATIENCE, Program, committed, params};

fn context() -> StreamingContext {
    StreamingContext::builder("output").batch_interval(Duration::from_millis(20)).build().unwrap()
}

fn broker(topics: &[&str], partitions: usize) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    topics.iter().for_each(|topic| broker.create_topic(topic, partitions).unwrap());
    broker
}

/// A record as it lies in a topic: key, value and the values of its headers.
pub(super) type Lying = (Option<String>, Option<String>, Vec<String>);

/// Everything that each partition of a topic holds.
pub(super) fn contents(brokers: &str, topic: &str, partitions: i32) -> Vec<Vec<Lying>> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut all = vec![Vec::new(); partitions as usize];
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in 0..partitions {
        missing += client.fetch_watermarks(topic, partition, PATIENCE).unwrap().1;
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    client.assign(&list).unwrap();
    while missing > 0 {
        let record = client.poll(PATIENCE).expect("a record in time").unwrap();
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter().filter_map(|h| text(h.value)));
        all[record.partition() as usize].push((text(record.key()), text(record.payload()), headers.collect()));
        missing -= 1;
    }
    all
}

/// The values of a topic with one partition.
fn values(brokers: &str, topic: &str) -> Vec<String> {
    contents(brokers, topic, 1).remove(0).into_iter().filter_map(|(_, value, _)| value).collect()
}

#[test]
fn each_record_has_its_topic_key_headers_and_may_be_a_tombstone() {
    let broker = broker(&["high", "low"], 3);
    let context = context();
    let levels = QueueSource::one_at_a_time();
    levels.push([("north", Some(171)), ("south", Some(12)), ("west", None)]);
    levels.push([("north", Some(9)), ("west", Some(120))]);
    let levels = context.input(levels).map(|(place, level)| (place.to_string(), level));
    levels.write_to_kafka(ProducerParams::new(broker.bootstrap_servers()), |(place, level)| match level {
        Some(level) => {
            let topic = if *level > 100 { "high" } else { "low" };
            ProducerRecord::new(topic, level.to_string()).with_key(place).with_header("by", "test")
        }
        None => ProducerRecord::tombstone("low", place),
    });
    let (send, batches) = mpsc::channel();
    levels.count().foreach_batch(move |counts, _| counts.foreach(|count| send.send(count).map_err(Error::user)));
    context.start().unwrap();
    while batches.recv_timeout(PATIENCE).unwrap() != 2 {}
    context.stop(Stop::Gracefully).unwrap();
    let flat = |topic| {
        let partitions = contents(&broker.bootstrap_servers(), topic, 3);
        // Records with one key lie in one partition.
        let places: Vec<BTreeMap<_, _>> =
            partitions.iter().map(|records| records.iter().map(|(key, ..)| (key.clone(), ())).collect()).collect();
        let total: usize = places.iter().map(BTreeMap::len).sum();
        let mut all = partitions.concat();
        all.sort();
        assert_eq!(all.iter().map(|(key, ..)| key).collect::<BTreeSet<_>>().len(), total);
        all
    };
    let record = |place: &str, level: Option<&str>| {
        let headers = level.iter().map(|_| "test".to_string()).collect();
        (Some(place.to_string()), level.map(String::from), headers)
    };
    assert_eq!(flat("high"), [record("north", Some("171")), record("west", Some("120"))]);
    assert_eq!(flat("low"), [record("north", Some("9")), record("south", Some("12")), record("west", None)]);
}

#[test]
fn batches_follow_each_other_in_every_partition() {
    let broker = broker(&["in", "out"], 4);
    let context = context();
    let records =
        kafka::direct_stream(&context, params(&broker.bootstrap_servers(), "order"), Subscription::topics(["in"]));
    // A partition of the input goes to the partition of the output of the same number.
    records.write_to_kafka(ProducerParams::new(broker.bootstrap_servers()), |record| {
        ProducerRecord::new("out", record.value.as_ref()).with_partition(record.partition)
    });
    let (send, counts) = mpsc::channel();
    records.count().foreach_batch(move |counts, _| counts.foreach(|count| send.send(count).map_err(Error::user)));
    context.start().unwrap();
    for part in 0..10 {
        broker.send("in", (0..200).map(|n| (part * 200 + n).to_string())).unwrap();
    }
    let mut seen = 0;
    while seen < 2000 {
        seen += counts.recv_timeout(PATIENCE).unwrap();
    }
    context.stop(Stop::Gracefully).unwrap();
    let brokers = broker.bootstrap_servers();
    assert_eq!(contents(&brokers, "out", 4), contents(&brokers, "in", 4));
}

#[test]
fn settings_that_cannot_be_used_are_reported_with_their_lines() {
    let context = context();
    let numbers = context.input(QueueSource::<i32>::one_at_a_time());
    for (key, value) in [("acks", "0"), ("linger.ms", "soon"), ("no.such.setting", "1")] {
        numbers.write_to_kafka(ProducerParams::new("b:1").set(key, value), |n| ProducerRecord::new("t", n.to_string()));
    }
    let error = context.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    let error = error.to_string();
    let line = line!() - 5;
    assert!(error.contains("3 mistakes"), "{error}");
    assert!(
        error.contains(&format!("tests/kafka/output.rs:{line}: write_to_kafka: the Kafka setting acks ")),
        "{error}"
    );
    assert!(error.contains("setting linger.ms is not accepted") && error.contains("no.such.setting"), "{error}");
}

/// Runs a program that writes what is in the topic `in` to the topic `out`, until it fails.
fn error_of(brokers: &str, producer: ProducerParams, topic: &'static str) -> String {
    let context = context();
    let records = kafka::direct_stream(&context, params(brokers, "g"), Subscription::topics(["in"]));
    records
        .write_to_kafka(producer, move |record| ProducerRecord::new(topic, record.value.as_ref()).with_key("the key"));
    let error = context.start().err().unwrap_or_else(|| super::error_of(&context));
    assert_eq!((error.kind(), context.state()), (ErrorKind::Output, State::Stopped));
    assert_eq!(committed(brokers, "g", "in", 1), [0], "nothing of the batch is committed");
    let error = error.to_string();
    assert!(!error.contains('\n'), "{error}");
    assert!(
        error.starts_with("batch ") && error.contains(" ms: output write_to_kafka (tests/kafka/output.rs:"),
        "{error}"
    );
    error
}

#[test]
fn a_record_that_is_too_large() {
    let broker = broker(&["in", "out"], 1);
    broker.send("in", [vec![b'x'; 10], vec![b'x'; 5000]]).unwrap();
    let producer = ProducerParams::new(broker.bootstrap_servers()).set("message.max.bytes", "2000");
    let error = error_of(&broker.bootstrap_servers(), producer, "out");
    assert!(error.contains("out: a record with the key \"the key\" was not delivered: it is larger than "), "{error}");
}

#[test]
fn a_topic_to_write_to_that_does_not_exist() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("in", 1, 1).unwrap();
    cluster.topic_error("typo", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let brokers = cluster.bootstrap_servers();
    let producer = Producer::new(ProducerParams::new(&brokers)).unwrap();
    let delivery = producer.begin();
    delivery.send(&ProducerRecord::new("in", "1")).unwrap();
    delivery.finish().unwrap();
    let quick = ProducerParams::new(&brokers).set("topic.metadata.propagation.max.ms", "50");
    let error = error_of(&brokers, quick, "typo");
    assert!(error.contains(&format!("the topic does not exist at the Kafka brokers {brokers}: create it")), "{error}");
}

#[test]
fn brokers_that_stay_away() {
    let broker = broker(&["in"], 1);
    broker.send("in", ["1"]).unwrap();
    let away = ProducerParams::new("127.0.0.1:1").delivery_timeout(Duration::from_secs(1));
    let error = error_of(&broker.bootstrap_servers(), away, "out");
    assert!(error.contains("the Kafka brokers 127.0.0.1:1 did not take it within 1s ("), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn brokers_that_come_back_get_everything_once_and_in_order() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("out", 1, 1).unwrap();
    let context = context();
    let numbers = QueueSource::one_at_a_time().partitions(1);
    (0..5).for_each(|batch| numbers.push(batch * 100..(batch + 1) * 100));
    let numbers = context.input(numbers);
    // The mock cluster heeds sequence numbers in transactions only: a request that is tried again comes behind those
    // that were under way with it, which an Apache Kafka would have refused. So there is one at a time.
    let params = ProducerParams::new(cluster.bootstrap_servers()).set("max.in.flight", "1");
    numbers.write_to_kafka(params, |n| ProducerRecord::new("out", n.to_string()));
    let (send, started) = mpsc::channel();
    context.add_listener(move |event: &Event| {
        if let Event::BatchStarted(batch) = event {
            // The test may have ended.
            let _ = send.send(batch.records());
        }
    });
    cluster.broker_down(1).unwrap();
    context.start().unwrap();
    while started.recv_timeout(PATIENCE).unwrap() == 0 {}
    cluster.broker_up(1).unwrap();
    for _ in 0..4 {
        started.recv_timeout(PATIENCE).unwrap();
    }
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!(values(&cluster.bootstrap_servers(), "out"), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_stop_does_not_wait_for_brokers() {
    let interval = Duration::from_millis(20);
    let builder = StreamingContext::builder("stop").batch_interval(interval).stop_timeout(Duration::from_millis(300));
    let context = builder.build().unwrap();
    let numbers = QueueSource::one_at_a_time();
    numbers.push([1]);
    let (send, writes) = mpsc::channel();
    context.input(numbers).write_to_kafka(ProducerParams::new("127.0.0.1:1"), move |n: &i32| {
        send.send(()).unwrap();
        ProducerRecord::new("out", n.to_string())
    });
    context.start().unwrap();
    writes.recv_timeout(PATIENCE).unwrap();
    let error = context.stop(Stop::Now).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("output write_to_kafka (tests/kafka/output.rs:"), "{error}");
}

/// A task that fails behind records that it has sent sends them again: nothing is missing, and the last that there is of
/// each is in order.
#[test]
fn a_task_that_is_tried_again_sends_again() {
    let broker = broker(&["out"], 1);
    let context = StreamingContext::builder("retry").build().unwrap();
    let producer = Producer::new(ProducerParams::new(broker.bootstrap_servers())).unwrap();
    let has_failed = AtomicBool::new(false);
    let numbers = context.parallelize(0..2000_u64, 1).map(move |n| {
        assert!(n < 1999 || has_failed.swap(true, Ordering::Relaxed), "the first attempt fails at the last record");
        n
    });
    numbers.write_to_kafka(&producer, |n| ProducerRecord::new("out", n.to_string())).unwrap();
    let written = values(&broker.bootstrap_servers(), "out");
    let all: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    let (first, second) = written.split_at(written.len() - 2000);
    assert_eq!(second, all);
    assert_eq!((first, first.is_empty()), (&all[..first.len()], false));
}

const BROKERS: &str = "TIDEMILL_TEST_OUTPUT_BROKERS";
/// After how many records the child waits to be killed.
const FATAL_RECORD: &str = "TIDEMILL_TEST_FATAL_RECORD";
const PARTITIONS: usize = 2;

/// The program under test: this test binary, started once more with the variables set. It writes the numbers that it
/// reads to another topic, and says `begin` when it waits in the middle of that.
#[test]
fn child() {
    let Ok(brokers) = env::var(BROKERS) else { return };
    let fatal: u64 = env::var(FATAL_RECORD).unwrap().parse().unwrap();
    let context = context();
    let records = kafka::direct_stream(&context, params(&brokers, "killed"), Subscription::topics(["in"]));
    let sent = AtomicU64::new(0);
    records.write_to_kafka(ProducerParams::new(&brokers), move |record| {
        if sent.fetch_add(1, Ordering::Relaxed) + 1 == fatal {
            let mut out = std::io::stdout().lock();
            writeln!(out, "begin").and_then(|()| out.flush()).unwrap();
            loop {
                std::thread::park();
            }
        }
        ProducerRecord::new("out", record.value.as_ref()).with_partition(record.partition)
    });
    // The harness has begun a line of its own.
    println!();
    context.start().unwrap();
    // The parent lets go of standard input to end the program gracefully.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    context.stop(Stop::Gracefully).unwrap();
}

/// How many records the topic `out` has.
fn end(brokers: &str) -> i64 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    (0..PARTITIONS as i32).map(|partition| client.fetch_watermarks("out", partition, PATIENCE).unwrap().1).sum()
}

#[test]
fn killed_while_it_writes_nothing_is_lost() {
    let broker = broker(&["in", "out"], PARTITIONS);
    let brokers = broker.bootstrap_servers();
    let start = |fatal_record: u64| {
        Program::start("output::child", &[(BROKERS, &brokers), (FATAL_RECORD, &fatal_record.to_string())])
    };
    let mut sent = 0;
    let mut send = |count: usize| {
        broker.send("in", (sent..sent + count).map(|n| n.to_string())).unwrap();
        sent += count;
    };
    // A record may be there more than once, never later than one that came after it for the first time.
    let firsts = || {
        let mut written = contents(&brokers, "out", PARTITIONS as i32);
        let mut times = 0;
        for records in &mut written {
            times += records.len();
            let mut seen = BTreeSet::new();
            records.retain(|record| seen.insert(record.clone()));
        }
        (written, times)
    };
    for fatal_record in [10, 300, 650] {
        send(700);
        let before = end(&brokers);
        let mut program = start(fatal_record);
        while program.line() != "begin" {}
        // Some of the records that were sent have arrived, or are about to: they will come twice.
        let started = std::time::Instant::now();
        while end(&brokers) == before {
            assert!(started.elapsed() < PATIENCE, "a record arrives in time");
        }
        program.kill();
        // What is committed is in the other topic.
        let (written, _) = firsts();
        let input = contents(&brokers, "in", PARTITIONS as i32);
        for (partition, committed) in committed(&brokers, "killed", "in", PARTITIONS as i32).into_iter().enumerate() {
            let committed = committed as usize;
            assert!(written[partition].len() >= committed, "partition {partition}: committed {committed}");
            assert_eq!(written[partition][..committed], input[partition][..committed]);
        }
    }
    send(100);
    let program = start(u64::MAX);
    let all = contents(&brokers, "in", PARTITIONS as i32);
    let started = std::time::Instant::now();
    while committed(&brokers, "killed", "in", PARTITIONS as i32).iter().sum::<i64>() < 2200 {
        assert!(started.elapsed() < PATIENCE, "all is committed in time");
    }
    program.end();
    let (written, times) = firsts();
    assert_eq!(written, all);
    assert!(times > 2200, "the kills were in the middle of batches, and records were written {times} times in all");
}
