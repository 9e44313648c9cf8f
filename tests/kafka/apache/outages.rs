//! Brokers go away and come back while records go in and out. In the run of one program every record is read once, in
//! the order of its partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidemill_test_broker::ApacheKafka;

use super::super::{committed, params};
use super::Program;

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 4;
/// How many records of each partition come before the next thing happens.
const BETWEEN: usize = 1_000;

/// Sends 0, 1, 2, ... to each partition, about 10,000 records a second.
struct Load {
    end: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Load {
    fn start(brokers: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .unwrap();
        let thread = thread::spawn({
            let end = Arc::clone(&end);
            move || send_numbers(&producer, &end)
        });
        Load { end, thread }
    }

    /// Returns how many records each partition has got.
    fn end(self) -> usize {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn send_numbers(producer: &BaseProducer, end: &AtomicBool) -> usize {
    let mut next = 0;
    while !end.load(Ordering::Relaxed) {
        for number in next..next + 25 {
            let value = number.to_string();
            for partition in 0..PARTITIONS {
                let mut record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value);
                while let Err((error, back)) = producer.send(record) {
                    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                    record = back;
                    producer.poll(Duration::from_millis(10));
                }
            }
        }
        next += 25;
        producer.poll(Duration::from_millis(10));
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    next
}

/// Reads on until all partitions have come further.
fn read_on(program: &mut Program) {
    let read = |program: &Program, partition| {
        program.partitions.get(&(TOPIC.to_string(), partition)).map_or(0, |read| read.records.len())
    };
    let before: Vec<usize> = (0..PARTITIONS).map(|partition| read(program, partition)).collect();
    program.read_while(|program| {
        (0..).zip(&before).any(|(partition, before)| read(program, partition) < before + BETWEEN)
    });
}

/// Runs a program under load, and `disturb` meanwhile; then checks what it has read and committed.
fn check(mut kafka: ApacheKafka, group: &str, disturb: impl FnOnce(&mut ApacheKafka, &mut Program)) {
    kafka.create_topic(TOPIC, PARTITIONS as usize, &[]).unwrap();
    let brokers = kafka.bootstrap_servers().to_string();
    let mut program = Program::start(params(&brokers, group), [TOPIC]).unwrap();
    let load = Load::start(&brokers);
    read_on(&mut program);
    disturb(&mut kafka, &mut program);
    read_on(&mut program);
    let sent = load.end();
    program.read(sent * PARTITIONS as usize);
    program.stop();

    println!("{group}: {sent} records sent to each of {PARTITIONS} partitions, {} read", program.records());
    for partition in 0..PARTITIONS {
        let read = program.partition(TOPIC, partition);
        let numbers: Vec<usize> = read.values().iter().map(|value| value.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..sent), "partition {partition}: {} of {sent} records", numbers.len());
    }
    assert_eq!(committed(&brokers, group, TOPIC, PARTITIONS), [sent as i64; PARTITIONS as usize]);
}

#[test]
fn a_broker_killed_three_times_under_load() {
    let Some(kafka) = ApacheKafka::builder().or_skip() else { return };
    check(kafka, "killed", |kafka, program| {
        for _ in 0..3 {
            kafka.kill();
            kafka.restart().unwrap();
            read_on(program);
        }
    });
}

#[test]
fn partitions_whose_leader_is_killed_go_on_with_another() {
    let Some(kafka) = ApacheKafka::builder().brokers(2).or_skip() else { return };
    check(kafka, "led", |kafka, program| {
        assert!(kafka.leaders(TOPIC).unwrap().contains(&2));
        kafka.kill_broker(2);
        read_on(program);
        kafka.restart().unwrap();
    });
}
