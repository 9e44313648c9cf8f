//! Programs over a real Apache Kafka: what no broker inside the process can show.
//!
//! Most share one broker and keep to topics of their own; it ends with the process. Those that kill or stop a broker
//! start one for themselves. Without Java and Maven they are skipped, loudly.

mod compaction;
mod consumers;
mod direct_stream;
mod errors;
mod harness;
mod outages;
mod transactions;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tidemill::kafka::{self, HasOffsetRanges, KafkaParams, KafkaRecord, OffsetRange, Subscription};
use tidemill::prelude::{Error, Result, Stop, StreamingContext};
use tidemill_test_broker::{ApacheKafka, or_skip};

use super::PATIENCE;

/// Who may come in at the port that authenticates.
const USER: (&str, &str) = ("alice", "wonderland");

/// The broker of all tests that leave it alive.
#[track_caller]
fn shared() -> Option<&'static ApacheKafka> {
    static KAFKA: OnceLock<tidemill_test_broker::Result<ApacheKafka>> = OnceLock::new();
    let start = || {
        let kafka = ApacheKafka::builder().user(USER.0, USER.1);
        // Compacted topics are looked through all the time.
        kafka.property("log.cleaner.backoff.ms", "100").start()
    };
    or_skip(KAFKA.get_or_init(start).as_ref())
}

fn context(name: &str) -> StreamingContext {
    StreamingContext::builder(name).batch_interval(Duration::from_millis(50)).build().unwrap()
}

/// A program over Kafka that hands over whatever its batches read, and what it has read so far.
struct Program {
    context: StreamingContext,
    batches: Receiver<Vec<(OffsetRange, Vec<KafkaRecord>)>>,
    partitions: BTreeMap<(String, i32), Partition>,
}

/// What was read of a topic partition, in the order in which it was read.
#[derive(Default)]
struct Partition {
    /// The ranges that are not empty.
    ranges: Vec<OffsetRange>,
    records: Vec<KafkaRecord>,
}

impl Partition {
    fn values(&self) -> Vec<&str> {
        self.records.iter().map(|record| record.value_utf8().unwrap()).collect()
    }
}

impl Program {
    fn start<const N: usize>(params: KafkaParams, topics: [&str; N]) -> Result<Self> {
        let context = context("program");
        let records = kafka::direct_stream(&context, params, Subscription::topics(topics));
        let (send, batches) = mpsc::channel();
        records.foreach_batch(move |records, _| {
            let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
            let parts = records.collect_partitions()?;
            assert_eq!(ranges.len(), parts.len(), "a range for each partition");
            send.send(ranges.into_iter().zip(parts).collect()).map_err(Error::user)
        });
        context.start()?;
        Ok(Program { context, batches, partitions: BTreeMap::new() })
    }

    fn partition(&self, topic: &str, partition: i32) -> &Partition {
        &self.partitions[&(topic.to_string(), partition)]
    }

    fn records(&self) -> usize {
        self.partitions.values().map(|partition| partition.records.len()).sum()
    }

    /// Reads batches until so many records have come since the start.
    fn read(&mut self, records: usize) {
        self.read_while(|program| program.records() < records);
    }

    fn read_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        while goes_on(self) {
            let batch = self.batches.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let outcome = self.context.await_termination_or_timeout(Duration::ZERO);
                panic!("{} records were read, and then {error}: {outcome:?}", self.records());
            });
            self.note(batch);
        }
    }

    /// Stops the program gracefully and reads what it still had to do.
    fn stop(&mut self) {
        self.context.stop(Stop::Gracefully).unwrap();
        while let Ok(batch) = self.batches.try_recv() {
            self.note(batch);
        }
    }

    /// Whatever the test is about: ranges follow each other without a gap, and records lie in order in their range.
    fn note(&mut self, batch: Vec<(OffsetRange, Vec<KafkaRecord>)>) {
        for (range, records) in batch {
            let seen = self.partitions.entry((range.topic.to_string(), range.partition)).or_default();
            if let Some(last) = seen.ranges.last() {
                assert_eq!(range.from, last.until, "{range} follows {last}");
            }
            let mut next = range.from;
            for record in &records {
                assert!(record.offset >= next && record.offset < range.until, "{record:?} of {range}");
                assert_eq!((&record.topic, record.partition), (&range.topic, range.partition));
                next = record.offset + 1;
            }
            seen.records.extend(records);
            if !range.is_empty() {
                seen.ranges.push(range);
            }
        }
    }
}
