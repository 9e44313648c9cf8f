//! Records that come in all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Program;

/// How many records of each partition come before the next thing happens.
const BETWEEN: usize = 500;

/// Sends 0, 1, 2, ... to each partition of a topic, each about 2,000 a second.
pub(super) struct Load {
    topic: &'static str,
    partitions: Arc<AtomicI32>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<usize>>,
}

impl Load {
    pub(super) fn start(brokers: &str, topic: &'static str, partitions: i32) -> Self {
        let (partitions, end) = (Arc::new(AtomicI32::new(partitions)), Arc::new(AtomicBool::new(false)));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "200")
            // How soon it learns of new partitions.
            .set("topic.metadata.refresh.interval.ms", "100")
            .create()
            .unwrap();
        let thread = thread::spawn({
            let (partitions, end) = (Arc::clone(&partitions), Arc::clone(&end));
            move || send_numbers(&producer, topic, &partitions, &end)
        });
        Load { topic, partitions, end, thread }
    }

    /// Sends to this many partitions from now on.
    pub(super) fn grow(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Reads on until all partitions have come further.
    pub(super) fn read_on(&self, program: &mut Program) {
        let partitions = self.partitions.load(Ordering::Relaxed);
        let read = |program: &Program, partition| {
            program.partitions.get(&(self.topic.to_string(), partition)).map_or(0, |read| read.records.len())
        };
        let before: Vec<usize> = (0..partitions).map(|partition| read(program, partition)).collect();
        program.read_while(|program| {
            (0..).zip(&before).any(|(partition, before)| read(program, partition) < before + BETWEEN)
        });
    }

    /// Returns how many records each partition has got.
    pub(super) fn end(self) -> Vec<usize> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn send_numbers(producer: &BaseProducer, topic: &str, partitions: &AtomicI32, end: &AtomicBool) -> Vec<usize> {
    const ROUND: usize = 20;
    /// How many records wait for a broker at most.
    const WAITING: i32 = 5_000;
    let mut sent = Vec::new();
    while !end.load(Ordering::Relaxed) {
        if producer.in_flight_count() > WAITING {
            producer.poll(Duration::from_millis(10));
            continue;
        }
        sent.resize(partitions.load(Ordering::Relaxed) as usize, 0);
        for (partition, sent) in (0..).zip(&mut sent) {
            for number in *sent..*sent + ROUND {
                let value = number.to_string();
                let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
                while let Err((error, back)) = producer.send(record) {
                    use RDKafkaErrorCode::{QueueFull, UnknownPartition};
                    let code = error.rdkafka_error_code();
                    assert!(matches!(code, Some(QueueFull | UnknownPartition)), "{error}");
                    record = back;
                    producer.poll(Duration::from_millis(10));
                }
            }
            *sent += ROUND;
        }
        producer.poll(Duration::from_millis(10));
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
    sent
}

/// Whatever the programs have read, one after the other, is what was sent, once and in order. Says how much it was.
pub(super) fn assert_exact(topic: &str, programs: &[&Program], sent: &[usize]) {
    let mut read = 0;
    for (partition, sent) in (0..).zip(sent) {
        let of =
            |program: &&Program| program.partitions.get(&(topic.to_string(), partition)).map(|seen| seen.numbers());
        let numbers: Vec<usize> = programs.iter().filter_map(of).flatten().collect();
        assert!(numbers.iter().copied().eq(0..*sent), "{topic}/{partition}: {} of {sent} records", numbers.len());
        read += numbers.len();
    }
    println!("{topic}: {} records sent to {} partitions {sent:?}, {read} read", sent.iter().sum::<usize>(), sent.len());
}
