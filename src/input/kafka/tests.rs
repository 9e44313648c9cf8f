//! The source against the embedded broker, driven as the scheduler drives it.

mod batches;
mod losses;
mod outages;
mod places;
mod reading;
mod records;
mod restored;
mod starts;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::client::Planner;
use super::embedded::EmbeddedBroker;
use super::place::GroupOffsets;
use super::*;
use crate::data::Partitions;
use crate::exec::{MemoryStore, PoolExecutor, Runtime};
use crate::time::Clock;

/// How long a test reads batches. Far more than it needs, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A started source and the context around it.
struct Stream {
    source: DirectSource<Copied>,
    errors: Receiver<Error>,
    now: i64,
    /// When the test has waited for long enough.
    deadline: Time,
}

fn broker(topics: &[(&str, usize)]) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    topics.iter().for_each(|(topic, partitions)| broker.create_topic(topic, *partitions).unwrap());
    broker
}

fn params(broker: &EmbeddedBroker) -> KafkaParams {
    KafkaParams::new(broker.bootstrap_servers())
        .group_id("g")
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .set("fetch.wait.max.ms", "10")
}

fn context_of(attempts: u32) -> (SourceContext, Receiver<Error>) {
    let executor = Box::new(PoolExecutor::new(2, || {}).unwrap());
    let runtime = Runtime::new(executor, Arc::new(MemoryStore::default()), attempts, Partitions::new(2));
    let (failed, errors) = unbounded();
    let on_error = Arc::new(move |error| failed.send(error).unwrap());
    (SourceContext::new(&runtime, &Clock::system(), Duration::from_secs(1), on_error, Arc::new(|_| ())), errors)
}

fn direct_source(subscription: Subscription, params: KafkaParams) -> DirectSource<Copied> {
    let headers = params.headers;
    DirectSource::new(subscription, params, Copied { headers })
}

fn try_start(topics: &[&str], params: KafkaParams) -> Result<Stream> {
    subscribe(Subscription::topics(topics.iter().copied()), params)
}

fn subscribe(subscription: Subscription, params: KafkaParams) -> Result<Stream> {
    let mut source = direct_source(subscription, params);
    let (context, errors) = context_of(1);
    source.start(&context)?;
    Ok(Stream { source, errors, now: 0, deadline: Clock::system().now() + PATIENCE })
}

fn start(topics: &[&str], params: KafkaParams) -> Stream {
    try_start(topics, params).unwrap()
}

impl Stream {
    fn batch(&mut self) -> InputBatch<KafkaRecord> {
        assert!(Clock::system().now() < self.deadline, "what the test waits for has not come");
        self.now += 1000;
        self.source.batch(Time::from_millis(self.now)).unwrap().unwrap()
    }

    /// The next batch that is not empty: on a busy machine brokers may answer later than a batch waits.
    fn next_with_records(&mut self) -> InputBatch<KafkaRecord> {
        std::iter::repeat_with(|| self.batch()).find(|batch| batch.records > 0).unwrap()
    }

    /// Says that all batches up to the last one are done.
    fn completed(&mut self) {
        self.source.completed(Time::from_millis(self.now)).unwrap();
    }

    fn stop(mut self) {
        self.source.stop(Duration::from_secs(10)).unwrap();
        assert!(self.errors.try_recv().is_err());
    }
}

/// The offsets of the group, as another program has them.
fn group_offsets(params: &KafkaParams) -> GroupOffsets {
    let planner = Planner::new(params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
    GroupOffsets::new(Arc::new(planner), Duration::from_secs(10))
}

fn values(batch: &InputBatch<KafkaRecord>) -> Vec<Vec<String>> {
    texts(&batch.dataset)
}

fn texts(dataset: &Dataset<KafkaRecord>) -> Vec<Vec<String>> {
    let partitions = dataset.collect_partitions().unwrap();
    partitions.iter().map(|part| part.iter().map(|r| r.value_utf8().unwrap().to_string()).collect()).collect()
}

fn ranges(batch: &InputBatch<KafkaRecord>) -> Vec<String> {
    batch.dataset.offset_ranges().unwrap().iter().map(ToString::to_string).collect()
}

fn numbers(range: Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}
