//! What a record costs: `cargo test --release --lib kafka::measure -- --ignored --nocapture`. CPU of the thread that
//! reads, in nanoseconds per record, for 1 million records of 100 bytes in 32 partitions of the embedded broker.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::client::{self, Planner, TopicPartition};
use super::embedded::EmbeddedBroker;
use super::native::PartitionQueue;
use super::*;
use crate::exec::{MemoryStore, PoolExecutor, Runtime};

const RECORDS: u64 = 1_000_000;
const PARTITIONS: usize = 32;

fn nanos_on_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

fn measured(what: &str, run: impl FnOnce() -> u64) {
    let clock = Clock::system();
    let (cpu, wall) = (nanos_on_cpu(), clock.now());
    let records = run();
    assert_eq!(records, RECORDS);
    let (cpu, wall) = (nanos_on_cpu() - cpu, clock.now() - wall);
    println!("{what:<40} {:>4} ns CPU per record, {wall:?} in all", cpu / records);
}

#[test]
#[ignore = "measures"]
fn cost_of_a_record() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("a", PARTITIONS).unwrap();
    let mut state = 1u64;
    let record = || {
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + (state % 26) as u8)
        };
        std::iter::repeat_with(next).take(100).collect::<String>()
    };
    broker.send("a", std::iter::repeat_with(record).take(RECORDS as usize)).unwrap();
    let params = |group: &str| {
        KafkaParams::new(broker.bootstrap_servers()).group_id(group).auto_offset_reset(AutoOffsetReset::Earliest)
    };
    let partitions: Vec<_> = (0..PARTITIONS)
        .map(|partition| TopicPartition { topic: "a".into(), partition: i32::try_from(partition).unwrap() })
        .collect();
    for round in 0..3 {
        measured("bare batch fetch", || {
            let params = params(&format!("bare-{round}"));
            let mut config = params.client_config().unwrap();
            config.set("queued.max.messages.kbytes", "4096");
            let planner = Planner::new(&params, &config).unwrap();
            let ends = planner.ends(&partitions, Duration::from_secs(5)).unwrap().offsets;
            let consumer = client::create(&config).unwrap();
            let mut queues: Vec<_> =
                partitions.iter().map(|p| PartitionQueue::new(&consumer, &p.topic, p.partition).unwrap()).collect();
            consumer.assign(&client::list(partitions.iter().map(|p| (p, rdkafka::Offset::Offset(0))))).unwrap();
            let mut records = 0;
            for (queue, end) in queues.iter_mut().zip(ends) {
                let mut missing = end.unwrap() as usize;
                while missing > 0 {
                    let mut messages = queue.consume(missing.min(512), Duration::ZERO);
                    if messages.is_empty() {
                        drop(messages);
                        messages = queue.consume(1, Duration::from_millis(10));
                    }
                    missing -= messages.len();
                    records += messages.len() as u64;
                }
            }
            records
        });
        for (what, headers) in [("DirectSource", true), ("DirectSource, without headers", false)] {
            measured(what, || {
                let params = params(&format!("{headers}-{round}"));
                let params = if headers { params } else { params.without_headers() };
                let mut source = DirectSource::new(Subscription::topics(["a"]), params);
                let executor = Box::new(PoolExecutor::new(1).unwrap());
                let runtime = Runtime::new(executor, Arc::new(MemoryStore::default()), 1, 1);
                let context =
                    SourceContext::new(&runtime, &Clock::system(), Duration::from_secs(1), Arc::new(|e| panic!("{e}")));
                source.start(&context).unwrap();
                let batch = source.batch(Time::ZERO).unwrap().unwrap();
                let sum = |sum, record: KafkaRecord| sum + record.value.map_or(0, |value| value.len() as u64);
                let count = batch.dataset.aggregate(0, sum, |a, b| a + b).unwrap() / 100;
                source.stop(Duration::from_secs(5)).unwrap();
                count
            });
        }
    }
}
