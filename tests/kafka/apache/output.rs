//! What is written to a broker that is killed meanwhile.

use std::sync::mpsc;
use std::time::Duration;

use tidemill::Event;
use tidemill::kafka::{ProducerParams, ProducerRecord};
use tidemill::prelude::*;

use super::super::PATIENCE;
use super::super::output::contents;

const PARTITIONS: usize = 4;
const BATCHES: usize = 400;
const RECORDS: usize = 400;

/// The broker is killed three times in the middle of batches. The producer is idempotent: what it sends again, because
/// no answer came, is not there twice.
#[test]
fn a_broker_that_is_killed_has_every_record_once_and_in_order() {
    let Some(mut kafka) = super::mortal() else { return };
    kafka.create_topic("out", PARTITIONS, &[]).unwrap();
    let context = StreamingContext::builder("killed").batch_interval(Duration::from_millis(20)).build().unwrap();
    // Each partition of a batch goes to the partition of the topic of the same number.
    let numbers = QueueSource::one_at_a_time().partitions(PARTITIONS);
    (0..BATCHES).for_each(|batch| numbers.push(batch * RECORDS..(batch + 1) * RECORDS));
    let (write, writing) = mpsc::channel();
    let partition = |n: &usize| n % RECORDS / (RECORDS / PARTITIONS);
    context.input(numbers).write_to_kafka(ProducerParams::new(kafka.bootstrap_servers()), move |n| {
        if n % RECORDS == RECORDS / 2 {
            // The test may have seen enough.
            let _ = write.send(n / RECORDS);
        }
        ProducerRecord::new("out", n.to_string()).with_partition(partition(n) as i32)
    });
    let (send, completed) = mpsc::channel();
    context.add_listener(move |event: &Event| {
        if let Event::BatchCompleted(batch) = event {
            let _ = send.send(batch.records());
        }
    });
    context.start().unwrap();
    for kill_in in [60, 160, 260] {
        while writing.recv_timeout(PATIENCE).unwrap() < kill_in {}
        kafka.kill();
        kafka.restart().unwrap();
    }
    let mut records = 0;
    while records < (BATCHES * RECORDS) as u64 {
        records += completed.recv_timeout(PATIENCE).unwrap();
    }
    context.stop(Stop::Gracefully).unwrap();

    let written = contents(kafka.bootstrap_servers(), "out", PARTITIONS as i32);
    let counts: Vec<usize> = written.iter().map(Vec::len).collect();
    println!("three kills, {} records sent, in Kafka: {counts:?}", BATCHES * RECORDS);
    for (number, records) in written.into_iter().enumerate() {
        let values: Vec<usize> = records.into_iter().map(|(_, value, _)| value.unwrap().parse().unwrap()).collect();
        let expected: Vec<usize> = (0..BATCHES * RECORDS).filter(|n| partition(n) == number).collect();
        assert!(values == expected, "partition {number}: not each record once and in order");
    }
}
