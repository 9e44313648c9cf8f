//! The limits of a direct stream, on batches that come when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill::{Backpressure, BatchLoad, Clock, Event, ManualClock, RateEstimator};

use super::{PATIENCE, params};

/// A program that reads a topic in which records wait, as many in each partition.
struct Run {
    clock: ManualClock,
    interval: Duration,
    records: Receiver<u64>,
    context: StreamingContext,
    _broker: EmbeddedBroker,
}

impl Run {
    fn start(
        interval: Duration,
        (partitions, waiting): (usize, u32),
        backpressure: Option<Backpressure>,
        limits: impl FnOnce(KafkaParams) -> KafkaParams,
    ) -> Run {
        let broker = EmbeddedBroker::start(1).unwrap();
        broker.create_topic("numbers", partitions).unwrap();
        broker.send("numbers", (0..waiting).map(|n| n.to_string())).unwrap();
        let clock = ManualClock::new();
        let builder =
            StreamingContext::builder("limits").batch_interval(interval).clock(Clock::manual(&clock)).workers(2);
        let builder = match backpressure {
            Some(backpressure) => builder.backpressure(backpressure),
            None => builder,
        };
        let context = builder.build().unwrap();
        let (send, records) = mpsc::channel();
        context.add_listener(move |event: &Event| match event {
            Event::BatchCompleted(batch) => drop(send.send(batch.records())),
            Event::Failed { error } => panic!("{error}"),
            _ => {}
        });
        let params = limits(params(&broker.bootstrap_servers(), "limits"));
        let numbers = kafka::direct_stream(&context, params, Subscription::topics(["numbers"]));
        numbers.foreach_batch(|records, _| records.count().map(drop));
        context.start().unwrap();
        Run { clock, interval, records, context, _broker: broker }
    }

    /// How many records the next batch has.
    fn batch(&self) -> u64 {
        self.clock.advance(self.interval);
        self.records.recv_timeout(PATIENCE).unwrap()
    }

    fn end(self) {
        self.context.stop(Stop::Now).unwrap();
    }
}

/// Says the rate that the test wants, and tells that it was asked.
struct Told(Arc<AtomicU64>, Sender<()>);

impl RateEstimator for Told {
    fn compute(&mut self, _: &BatchLoad) -> Option<f64> {
        let _ = self.1.send(());
        Some(self.0.load(Ordering::SeqCst) as f64)
    }
}

#[test]
fn l_7_batches_shrink_with_the_estimate() {
    let rate = Arc::new(AtomicU64::new(100));
    let told = Arc::clone(&rate);
    let (send, asked) = mpsc::channel();
    let backpressure = Backpressure::with(move |_| Ok(Told(Arc::clone(&told), send.clone())));
    let run = Run::start(Duration::from_millis(500), (1, 5000), Some(backpressure), |params| {
        params.max_rate_per_partition(100.0)
    });
    for (estimate, expected) in [(100, 50), (50, 25), (20, 10)] {
        rate.store(estimate, Ordering::SeqCst);
        let batches = [(); 4].map(|()| {
            let records = run.batch();
            // The estimate of the batch before is the limit by now.
            asked.recv_timeout(PATIENCE).unwrap();
            records
        });
        assert!(batches.iter().all(|records| *records <= 50), "{batches:?} and a maximum of 50");
        assert_eq!(batches[3], expected, "an estimate of {estimate} records per second");
    }
    run.end();
}

/// L-4 and L-5 through the source.
#[test]
fn the_first_batch_after_a_long_time_has_the_initial_rate() {
    for (initial, max, expected) in [(500.0, 1000.0, 250), (1000.0, 300.0, 150)] {
        let backpressure = Backpressure::pid().initial_rate(initial);
        let run = Run::start(Duration::from_millis(500), (1, 1000), Some(backpressure), |params| {
            params.max_rate_per_partition(max)
        });
        assert_eq!(run.batch(), expected);
        run.end();
    }
}

/// A record per second is not one for each batch, and neither none nor all.
#[test]
fn low_rates_hold_at_short_intervals() {
    let run = Run::start(Duration::from_millis(10), (2, 200), None, |params| {
        params.per_partition_config(|_, partition| match partition {
            0 => kafka::PerPartitionConfig::default().max_rate(10.0),
            _ => kafka::PerPartitionConfig::default().max_rate(30.0),
        })
    });
    assert_eq!((0..100).map(|_| run.batch()).sum::<u64>(), 40, "in a second");
    run.end();
}

#[test]
fn limits_that_cannot_be_used_keep_the_context_from_starting() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("numbers", 1).unwrap();
    let context = StreamingContext::builder("limits").build().unwrap();
    let params = params(&broker.bootstrap_servers(), "limits").max_rate_per_partition(-1.0);
    kafka::direct_stream(&context, params, Subscription::topics(["numbers"])).print();
    let error = context.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("topic numbers/0: the maximum rate per partition is -1"), "{error}");
}
