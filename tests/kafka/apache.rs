//! Programs over a real Apache Kafka: what no broker inside the process can show.
//!
//! Most share one broker and keep to topics of their own; it ends with the process. Those that kill or stop a broker
//! take turns at another one. Without Java and Maven they are skipped, loudly.

mod compaction;
mod consumers;
mod datasets;
mod direct_stream;
mod discovery;
mod errors;
mod harness;
mod limits;
mod load;
mod loss;
mod outages;
mod output;
mod places;
mod recovered;
mod starts;
mod tasks;
mod transactions;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tidemill::Event;
use tidemill::kafka::{self, HasOffsetRanges, KafkaParams, KafkaRecord, OffsetRange, Subscription};
use tidemill::prelude::{DStream, Error, Result, Stop, StreamingContext};
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
        let kafka = kafka
            // Who does not say who it is may do anything, the user what nobody is asked to be allowed to.
            .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
            .property("super.users", "User:ANONYMOUS")
            .property("allow.everyone.if.no.acl.found", "true");
        // Compacted topics are looked through all the time.
        kafka.property("log.cleaner.backoff.ms", "100").start()
    };
    or_skip(KAFKA.get_or_init(start).as_ref())
}

/// The broker of those tests that kill it, one after the other. It runs.
#[track_caller]
fn mortal() -> Option<MutexGuard<'static, ApacheKafka>> {
    static KAFKA: OnceLock<tidemill_test_broker::Result<Mutex<ApacheKafka>>> = OnceLock::new();
    let kafka = or_skip(KAFKA.get_or_init(|| ApacheKafka::builder().start().map(Mutex::new)).as_ref())?;
    let mut kafka = kafka.lock().unwrap_or_else(PoisonError::into_inner);
    // A test that has failed may have left it dead.
    kafka.restart().unwrap();
    Some(kafka)
}

fn context(name: &str) -> StreamingContext {
    StreamingContext::builder(name).batch_interval(Duration::from_millis(50)).build().unwrap()
}

/// A program over Kafka that hands over whatever its batches read, and what it has read so far.
struct Program {
    context: StreamingContext,
    batches: Receiver<Batch>,
    partitions: BTreeMap<(String, i32), Partition>,
    /// What was reported as lost. Ranges may have gaps then.
    lost: Receiver<String>,
    may_lose: bool,
}

type Batch = Vec<(OffsetRange, Vec<KafkaRecord>)>;

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

    fn numbers(&self) -> Vec<usize> {
        self.values().into_iter().map(|value| value.parse().unwrap()).collect()
    }
}

impl Program {
    fn start<const N: usize>(params: KafkaParams, topics: [&str; N]) -> Result<Self> {
        Program::subscribe(params, Subscription::topics(topics))
    }

    fn subscribe(params: KafkaParams, subscription: Subscription) -> Result<Self> {
        Program::run(context("program"), params, subscription)
    }

    fn run(context: StreamingContext, params: KafkaParams, subscription: Subscription) -> Result<Self> {
        let records = kafka::direct_stream(&context, params, subscription);
        Program::over(context, &records)
    }

    /// A program over records that have come a way of their own.
    fn over(context: StreamingContext, records: &DStream<KafkaRecord>) -> Result<Self> {
        let (report, lost) = mpsc::channel();
        context.add_listener(move |event: &Event| {
            if let Event::DataLost { what, .. } = event {
                // The test may have ended.
                let _ = report.send(what.clone());
            }
        });
        let (send, batches) = mpsc::channel();
        records.foreach_batch(move |records, _| {
            let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
            let parts = records.collect_partitions()?;
            assert_eq!(ranges.len(), parts.len(), "a range for each partition");
            send.send(ranges.into_iter().zip(parts).collect()).map_err(Error::user)
        });
        context.start()?;
        Ok(Program { context, batches, partitions: BTreeMap::new(), lost, may_lose: false })
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
        let begun = Instant::now();
        while goes_on(self) {
            self.read_batch();
            assert!(begun.elapsed() < 3 * PATIENCE, "{} records were read, and the others do not come", self.records());
        }
    }

    /// Reads a batch. Returns how many records it had.
    fn read_batch(&mut self) -> usize {
        let batch = self.batches.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let outcome = self.context.await_termination_or_timeout(Duration::ZERO);
            panic!("{} records were read, and then {error}: {outcome:?}", self.records());
        });
        let records = batch.iter().map(|(_, records)| records.len()).sum();
        self.note(batch);
        records
    }

    /// What ends the program.
    fn error(&self) -> Error {
        super::error_of(&self.context)
    }

    /// Stops the program gracefully and reads what it still had to do.
    fn stop(&mut self) {
        self.context.stop(Stop::Gracefully).unwrap();
        while let Ok(batch) = self.batches.try_recv() {
            self.note(batch);
        }
    }

    /// Whatever the test is about: ranges follow each other without a gap, and records lie in order in their range.
    fn note(&mut self, batch: Batch) {
        for (range, records) in batch {
            let seen = self.partitions.entry((range.topic.to_string(), range.partition)).or_default();
            if let Some(last) = seen.ranges.last() {
                assert!(range.from == last.until || self.may_lose, "{range} follows {last}");
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
