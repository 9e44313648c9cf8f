//! The limits of `DirectKafkaStreamSuite`, with records that wait at a broker, on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill::kafka::{KafkaParams, PerPartitionConfig, Subscription};
use tidemill::prelude::*;

use tidemill::{Backpressure, BatchLoad, Clock, ManualClock, RateEstimator};

use super::super::{PATIENCE, params};
use super::Program;

/// A program over a topic of which each partition has `lags` records waiting.
struct Limited {
    program: Program,
    topic: &'static str,
    clock: ManualClock,
    interval: Duration,
}

impl Limited {
    fn start(
        topic: &'static str,
        lags: &[usize],
        interval: Duration,
        backpressure: Option<Backpressure>,
        limits: impl FnOnce(KafkaParams) -> KafkaParams,
    ) -> Option<Self> {
        let kafka = super::shared()?;
        kafka.create_topic(topic, lags.len(), &[]).unwrap();
        for (partition, lag) in (0..).zip(lags) {
            kafka.send(topic, partition, (0..*lag).map(|n| n.to_string())).unwrap();
        }
        let clock = ManualClock::new();
        let context = StreamingContext::builder(topic).batch_interval(interval).clock(Clock::manual(&clock));
        let context = match backpressure {
            Some(backpressure) => context.backpressure(backpressure),
            None => context,
        };
        let params = limits(params(kafka.bootstrap_servers(), topic));
        let program = Program::run(context.build().unwrap(), params, Subscription::topics([topic])).unwrap();
        Some(Limited { program, topic, clock, interval })
    }

    /// How many records the next batch has of each partition.
    fn batch(&mut self) -> Vec<usize> {
        let topic = self.topic;
        let read = |program: &Program| -> Vec<usize> {
            let partitions = program.partitions.range((topic.to_string(), 0)..);
            partitions.map(|(_, read)| read.records.len()).collect()
        };
        let mut before = read(&self.program);
        self.clock.advance(self.interval);
        self.program.read_batch();
        let after = read(&self.program);
        before.resize(after.len(), 0);
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Always the same rate, which the test may change: 0 is none.
#[derive(Clone, Default)]
struct Constant(Arc<AtomicU64>);

impl Constant {
    fn set(&self, records_per_second: u64) {
        self.0.store(records_per_second, Ordering::Relaxed);
    }

    fn backpressure(&self) -> Backpressure {
        let constant = self.clone();
        Backpressure::with(move |_| Ok(constant.clone()))
    }
}

impl RateEstimator for Constant {
    fn compute(&mut self, _: &BatchLoad) -> Option<f64> {
        let rate = self.0.load(Ordering::Relaxed);
        (rate > 0).then_some(rate as f64)
    }
}

#[test]
fn l_1_the_maximum_of_a_partition_without_back_pressure() {
    let limits = |params: KafkaParams| params.max_rate_per_partition(100.0);
    let Some(mut limited) = Limited::start("l-1", &[50, 50], ms(100), None, limits) else { return };
    for _ in 0..5 {
        assert_eq!(limited.batch(), [10, 10]);
    }
    assert_eq!(limited.batch(), [0, 0]);
}

#[test]
fn l_2_nothing_is_limited_where_nothing_waits() {
    let backpressure = Constant::default().backpressure().initial_rate(100.0);
    let limits = |params: KafkaParams| params.max_rate_per_partition(100.0);
    let Some(mut limited) = Limited::start("l-2", &[0, 0], ms(100), Some(backpressure), limits) else { return };
    assert_eq!(limited.batch(), [0, 0]);
    assert_eq!(limited.batch(), [0, 0]);
}

#[test]
fn l_3_a_share_is_no_more_than_the_maximum_of_the_partition() {
    let backpressure = Constant::default().backpressure().initial_rate(1000.0);
    let limits = |params: KafkaParams| {
        params.per_partition_config(|_, partition| {
            PerPartitionConfig::default().max_rate([50.0, 100.0][partition as usize])
        })
    };
    let Some(mut limited) = Limited::start("l-3", &[1000, 1000], ms(100), Some(backpressure), limits) else { return };
    for _ in 0..3 {
        assert_eq!(limited.batch(), [5, 10]);
    }
}

#[test]
fn l_4_the_initial_rate_counts_until_there_is_an_estimate() {
    let backpressure = Backpressure::pid().initial_rate(500.0);
    let limits = |params: KafkaParams| params.max_rate_per_partition(1000.0);
    let Some(mut limited) = Limited::start("l-4", &[1000], ms(500), Some(backpressure), limits) else { return };
    assert_eq!(limited.batch(), [250]);
}

#[test]
fn l_5_the_maximum_counts_below_the_initial_rate() {
    let backpressure = Backpressure::pid().initial_rate(1000.0);
    let limits = |params: KafkaParams| params.max_rate_per_partition(300.0);
    let Some(mut limited) = Limited::start("l-5", &[1000], ms(500), Some(backpressure), limits) else { return };
    assert_eq!(limited.batch(), [150]);
}

/// The minimum is a rate here, so that Spark's 5 records a batch are 5 a minute; a partition without records gets them
/// and has none.
#[test]
fn l_6_each_partition_has_its_minimum() {
    let backpressure = Constant::default().backpressure().initial_rate(1.0);
    let limits = |params: KafkaParams| params.max_rate_per_partition(100.0).min_rate_per_partition(5.0 / 60.0);
    let lags = [0, 100, 200, 300];
    let Some(mut limited) = Limited::start("l-6", &lags, ms(60_000), Some(backpressure), limits) else { return };
    assert_eq!(limited.batch(), [0, 10, 20, 30]);
}

#[test]
fn l_7_batches_shrink_with_the_estimate() {
    let constant = Constant::default();
    let backpressure = Some(constant.backpressure());
    let limits = |params: KafkaParams| params.max_rate_per_partition(100.0);
    let Some(mut limited) = Limited::start("l-7", &[5000], ms(500), backpressure, limits) else { return };
    for (rate, expected) in [(100, 50), (50, 25), (20, 10)] {
        constant.set(rate);
        // An estimate counts from the batch on that is planned when it has come.
        let begun = Instant::now();
        while limited.batch() != [expected] {
            assert!(begun.elapsed() < PATIENCE, "no batch has {expected} records");
        }
        for _ in 0..3 {
            assert_eq!(limited.batch(), [expected]);
        }
    }
    println!("{} of 5000 records were read", limited.program.records());
}
