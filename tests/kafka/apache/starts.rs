//! Where programs start: at times and at offsets, whatever is committed, and where it is committed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidemill::Time;
use tidemill::kafka::{AutoOffsetReset, KafkaParams, Subscription};
use tidemill_test_broker::ApacheKafka;

use super::super::bad_input::assert_names;
use super::super::{PATIENCE, committed, params};
use super::Program;

/// Sends a record for each of these seconds after `begin`, with the second as its value.
fn send_at(kafka: &ApacheKafka, topic: &str, partition: i32, begin: Time, seconds: &[u64]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    for second in seconds {
        let (value, time) = (second.to_string(), begin + Duration::from_secs(*second));
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        let record = record.timestamp(time.as_micros() / 1000);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// What a program reads, by partition, that is stopped after so many records.
fn read(params: KafkaParams, subscription: Subscription, records: usize) -> Vec<Vec<String>> {
    let mut program = Program::subscribe(params, subscription).unwrap();
    program.read(records);
    program.stop();
    let values = |read: &super::Partition| read.values().into_iter().map(str::to_string).collect();
    program.partitions.values().map(values).collect()
}

#[test]
fn a_start_at_a_time_finds_the_first_record_that_is_as_young() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("log", 3, &[]).unwrap();
    // An hour ago, or they would be deleted for their age.
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(3600);
    let begin = Time::from_millis(begin.as_millis() as i64);
    let at = |second| begin + Duration::from_secs(second);
    send_at(kafka, "log", 0, begin, &[10, 20, 30, 40]);
    // What is old may come late: what counts is the first that is young.
    send_at(kafka, "log", 1, begin, &[10, 25, 5, 30]);
    send_at(kafka, "log", 2, begin, &[10]);
    let topics = || Subscription::topics(["log"]);

    // In place of what is committed, at each start.
    for _ in 0..2 {
        let seen = read(params(brokers, "log-at"), topics().starting_at_time(at(20)), 6);
        assert_eq!(seen, [vec!["20", "30", "40"], vec!["25", "5", "30"], vec![]]);
        assert_eq!(committed(brokers, "log-at", "log", 3), [4, 4, 1]);
    }
    // An explicit offset comes first; and a time between two records is that of the later one.
    let late = at(20) + Duration::from_micros(1);
    let subscription = topics().starting_at_time(late).starting_at([(("log", 1), 3)]);
    assert_eq!(read(params(brokers, "log-at"), subscription, 3), [vec!["30", "40"], vec!["30"], vec![]]);

    // Where nothing is committed, the first time.
    let reset = || params(brokers, "log-reset").auto_offset_reset(AutoOffsetReset::AtTime(at(30)));
    assert_eq!(read(reset(), topics(), 3), [vec!["30", "40"], vec!["30"], vec![]]);
    send_at(kafka, "log", 2, begin, &[1]);
    assert_eq!(read(reset(), topics(), 1), [vec![], vec![], vec!["1"]]);
}

#[test]
fn assigned_partitions_are_read_and_no_others() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("shares", 3, &[]).unwrap();
    for partition in 0..3 {
        kafka.send("shares", partition, (0..10).map(|n| format!("{partition}-{n}"))).unwrap();
    }
    let assign = |partitions: &[i32]| Subscription::assign(partitions.iter().map(|partition| ("shares", *partition)));
    let subscription = assign(&[2, 0]).starting_at([(("shares", 0), 8)]);
    let seen = read(params(brokers, "shares"), subscription, 12);
    assert_eq!(seen[0], ["0-8", "0-9"]);
    assert_eq!((seen.len(), seen[1].len()), (2, 10));
    assert_eq!(committed(brokers, "shares", "shares", 3), [10, 0, 10]);

    let refused = |subscription| match Program::subscribe(params(brokers, "shares"), subscription) {
        Ok(_) => panic!("the program started"),
        Err(error) => error,
    };
    assert_names(&refused(assign(&[1, 7])), &["shares/7 does not exist", "3 partitions"]);
    let error = refused(assign(&[0]).starting_at([(("shares", 0), 11)]));
    assert_names(&error, &["shares/0", "start at offset 11", "0..10", "starting_at"]);
    let error = refused(assign(&[0]).starting_at([(("shares", 1), 1)]));
    assert_names(&error, &["shares/1 has an offset to start at", "does not read it"]);
}
