//! Back-pressure: inputs are kept to what the program can process. A closure that advances the clock stands for work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tidemill::{
    Backpressure, BatchInfo, BatchLoad, Clock, Error, ErrorKind, Event, InputBatch, PidRateEstimator, PidSettings,
    QueueSource, RateEstimator, RateLimit, RatedInput, Result, Source, SourceContext, Stop, StreamingContext, Time,
};

use crate::harness::{Gate, Run, SECOND, next};

/// Counts up by as many records as have arrived until now and were not taken: `rate(second)` in that second.
struct Arrivals {
    rate: fn(u64) -> u64,
    taken: Arc<AtomicU64>,
    context: Option<(SourceContext, RateLimit)>,
}

impl Arrivals {
    fn until(rate: fn(u64) -> u64, now: Time) -> u64 {
        (0..now.as_millis() as u64 / 1000).map(rate).sum()
    }
}

impl Source<u64> for Arrivals {
    fn name(&self) -> String {
        "arrivals".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some((context.clone(), context.rate_limit()));
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<u64>>> {
        let (context, limit) = self.context.as_mut().expect("a source is started first");
        let from = self.taken.load(Ordering::SeqCst);
        let waiting = Arrivals::until(self.rate, context.clock().now()) - from;
        let records = waiting.min(limit.next_batch().unwrap_or(u64::MAX));
        self.taken.store(from + records, Ordering::SeqCst);
        let dataset = context.dataset(vec![(from..from + records).collect()]);
        Ok(Some(InputBatch { dataset, records, description: String::new(), plan: Vec::new() }))
    }
}

/// An estimator, and a channel that tells what it has said of each batch.
struct Told<E>(E, Sender<Option<f64>>);

impl<E: RateEstimator> RateEstimator for Told<E> {
    fn compute(&mut self, batch: &BatchLoad) -> Option<f64> {
        let rate = self.0.compute(batch);
        let _ = self.1.send(rate);
        rate
    }
}

/// Says the same of every batch.
struct Constant(f64);

impl RateEstimator for Constant {
    fn compute(&mut self, _: &BatchLoad) -> Option<f64> {
        Some(self.0)
    }
}

/// Estimators of the program's own, and what they say.
fn told<E: RateEstimator>(
    make: impl Fn(&RatedInput) -> Result<E> + Send + Sync + 'static,
) -> (Backpressure, Receiver<Option<f64>>) {
    let (sender, estimates) = unbounded();
    (Backpressure::with(move |input| Ok(Told(make(input)?, sender.clone()))), estimates)
}

fn pid(input: &RatedInput) -> Result<PidRateEstimator> {
    PidRateEstimator::new(input.batch_interval, PidSettings::default())
}

/// The batches of a program that takes a millisecond for each record, until it has seen all that comes in `seconds`,
/// with how many records waited after each.
fn overload(backpressure: Option<Backpressure>, estimates: &Receiver<Option<f64>>) -> Vec<(BatchInfo, u64)> {
    /// Three times as many as can be processed, for a minute, and then a fifth.
    fn rate(second: u64) -> u64 {
        if second < 60 { 3000 } else { 200 }
    }
    let estimates = backpressure.as_ref().map(|_| estimates.clone());
    let run = Run::with(|builder| match backpressure {
        Some(backpressure) => builder.backpressure(backpressure),
        None => builder,
    });
    let taken = Arc::new(AtomicU64::new(0));
    let numbers = run.context.input(Arrivals { rate, taken: Arc::clone(&taken), context: None });
    let hands = run.clock.clone();
    let seen = Arc::new(Mutex::new(0));
    let expected = Arc::clone(&seen);
    numbers.foreach_batch(move |numbers, batch| {
        // What takes a second of this clock takes none of the machine's: an estimator would be far behind.
        if let Some(estimates) = estimates.as_ref().filter(|_| batch.time > Time::from_millis(1000)) {
            next(estimates);
        }
        for number in numbers.collect()? {
            let mut expected = expected.lock().unwrap();
            assert_eq!(number, *expected, "in order, and each once");
            *expected += 1;
            hands.advance(Duration::from_millis(1));
        }
        Ok(())
    });
    run.context.start().unwrap();
    let mut batches = Vec::new();
    loop {
        let due = run.clock.now().as_millis() as usize / 1000;
        if batches.len() == due {
            if due > 60 && taken.load(Ordering::SeqCst) == Arrivals::until(rate, run.clock.now()) {
                break;
            }
            run.clock.advance((due as u32 + 1) * SECOND - (run.clock.now() - Time::ZERO));
        }
        let batch = run.completed();
        let waiting = Arrivals::until(rate, run.clock.now()) - taken.load(Ordering::SeqCst);
        batches.push((batch, waiting));
    }
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(*seen.lock().unwrap(), taken.load(Ordering::SeqCst));
    batches
}

#[test]
fn on_overload_batches_settle_at_the_interval_and_the_backlog_is_worked_off() {
    let (backpressure, estimates) = told(pid);
    let batches = overload(Some(backpressure.initial_rate(2000.0)), &estimates);
    // The initial rate is twice what the program can do; the first estimates make up for it.
    let most = batches.iter().map(|(batch, _)| batch.records()).max();
    assert_eq!(most, Some(2000));
    for (batch, _) in batches.iter().filter(|(batch, _)| batch.time > Time::from_millis(40_000)) {
        let (processing, scheduling) = (batch.processing_delay().unwrap(), batch.scheduling_delay().unwrap());
        assert!(processing <= SECOND, "{batch:?}");
        assert!(scheduling <= SECOND / 2, "{batch:?}");
    }
    // 120,000 records are over when the input falls, and get fewer by 800 a second: that takes two minutes and a half.
    let (last, waiting) = batches.last().unwrap();
    assert_eq!(*waiting, 0);
    assert!(last.time < Time::from_millis(230_000), "{last:?}");
    let full = batches.iter().filter(|(batch, _)| (900..=1000).contains(&batch.records())).count();
    assert!(full >= 150, "the program is kept busy: {full} batches of {}", batches.len());
}

#[test]
fn without_back_pressure_batches_grow() {
    let (_, estimates) = told(pid);
    let batches = overload(None, &estimates);
    let longest = batches.iter().filter_map(|(batch, _)| batch.processing_delay()).max();
    assert!(longest > Some(10 * SECOND), "{longest:?}");
}

/// Spark's `RateControllerSuite` and the rule that a controller takes the records of its own stream.
#[test]
fn every_input_has_a_rate_of_its_own() {
    let (backpressure, estimates) = told(|input| {
        assert_eq!((input.name.as_str(), input.batch_interval), ("queue", SECOND));
        Ok(Constant([10.0, 20.0][input.stream.0 as usize]))
    });
    let run = Run::with(|builder| builder.backpressure(backpressure));
    let queues = [QueueSource::all_at_once(), QueueSource::all_at_once()];
    let streams = queues.each_ref().map(|queue| run.context.input(queue.clone()));
    streams[0].union(&streams[1]).foreach_batch(|numbers, _| numbers.count().map(drop));
    run.context.start().unwrap();
    let batch = || {
        let batch = run.batches(1).remove(0);
        // Who has said something of this batch has set what it said of the last one.
        (0..2).for_each(|_| assert!(next(&estimates).is_some()));
        batch.inputs.iter().map(|input| input.records).collect::<Vec<_>>()
    };
    queues.iter().for_each(|queue| queue.push(0..5));
    assert_eq!(batch(), [5, 5], "not limited before there is an estimate");
    assert_eq!(batch(), [0, 0]);
    queues.iter().for_each(|queue| queue.push(0..1000));
    assert_eq!(batch(), [10, 20]);
    assert_eq!(batch(), [10, 20]);
    assert_eq!(batch(), [10, 20]);
    run.context.stop(Stop::Now).unwrap();
}

#[test]
fn the_initial_rate_bounds_the_first_batches_and_order_is_kept() {
    let run = Run::with(|builder| builder.backpressure(Backpressure::pid().initial_rate(1000.0)));
    let queue = QueueSource::all_at_once();
    queue.push(0..1500);
    queue.push(1500..2500);
    let (send, batches) = unbounded();
    run.context.input(queue).foreach_batch(move |numbers, _| send.send(numbers.collect()?).map_err(Error::user));
    run.context.start().unwrap();
    run.batches(3);
    run.context.stop(Stop::Now).unwrap();
    // The first estimate comes after the second batch; on this clock batches take no time, and it is high.
    let batches: Vec<Vec<i32>> = batches.try_iter().collect();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert!(batches.concat().into_iter().eq(0..2500));
}

#[test]
fn a_queue_that_is_taken_one_at_a_time_is_not_limited() {
    let run = Run::with(|builder| builder.backpressure(Backpressure::pid().initial_rate(1.0)));
    let queue = QueueSource::one_at_a_time();
    queue.push(0..1500);
    run.context.input(queue).foreach_batch(|numbers, _| numbers.count().map(drop));
    run.context.start().unwrap();
    assert_eq!(run.batches(1)[0].records(), 1500);
    run.context.stop(Stop::Now).unwrap();
}

#[test]
fn a_listener_that_hangs_does_not_keep_rates_from_changing() {
    let (threads, names) = unbounded();
    let backpressure = Backpressure::with(move |_| {
        let threads = threads.clone();
        Ok(Told(Constant(1.0), threads))
    });
    let run = Run::with(|builder| builder.backpressure(backpressure));
    let gate = Gate::new();
    let hanging = gate.clone();
    run.context.add_listener(move |_: &Event| hanging.pass());
    run.context.input(QueueSource::<i32>::all_at_once()).foreach_batch(|numbers, _| numbers.count().map(drop));
    run.context.start().unwrap();
    gate.wait();
    for _ in 0..5 {
        run.tick();
        assert_eq!(next(&names), Some(1.0));
    }
    gate.let_through(1000);
    run.context.stop(Stop::Now).unwrap();
}

#[test]
fn an_estimator_that_hangs_does_not_hold_up_batches() {
    struct Hanging(Gate);
    impl RateEstimator for Hanging {
        fn compute(&mut self, _: &BatchLoad) -> Option<f64> {
            assert_eq!(std::thread::current().name(), Some("tidemill-rates"));
            self.0.pass();
            None
        }
    }
    let gate = Gate::new();
    let hanging = gate.clone();
    let backpressure = Backpressure::with(move |_| Ok(Hanging(hanging.clone())));
    let run = Run::with(|builder| builder.backpressure(backpressure));
    run.context.input(QueueSource::<i32>::all_at_once()).foreach_batch(|numbers, _| numbers.count().map(drop));
    run.context.start().unwrap();
    run.batches(5);
    gate.wait();
    gate.let_through(5);
    run.context.stop(Stop::Now).unwrap();
}

/// A program with one input and this back-pressure, in which something goes wrong.
fn error_of(backpressure: Backpressure) -> Error {
    let run = Run::with(|builder| builder.backpressure(backpressure));
    run.context.input(QueueSource::<i32>::all_at_once()).foreach_batch(|numbers, _| numbers.count().map(drop));
    if let Err(error) = run.context.start() {
        return error;
    }
    run.tick();
    run.ended().unwrap_err()
}

#[test]
fn what_is_wrong_with_an_estimator_ends_the_context() {
    let no_rate = error_of(Backpressure::with(|_| Ok(Constant(f64::NAN))));
    assert_eq!(
        no_rate.to_string(),
        "batch 1000 ms: input queue: the rate estimator returned NaN: a rate is a finite number above 0"
    );
    let none = error_of(Backpressure::with(|_| Err::<Constant, _>(Error::new(ErrorKind::User, "no estimator today"))));
    assert!(none.to_string().ends_with("no estimator today"), "{none}");
    assert!(none.to_string().contains("input queue (tests/it/backpressure.rs:"), "{none}");
}

#[test]
fn all_wrong_settings_are_named() {
    let backpressure = Backpressure::pid().proportional(-1.0).integral(f64::NAN).derivative(-0.5).min_rate(0.0);
    let builder = StreamingContext::builder("wrong").clock(Clock::system()).workers(0);
    let error = builder.backpressure(backpressure.initial_rate(-2.0)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "workers is 0, the least is 1; backpressure: proportional is -1, the least is 0; backpressure: integral is NaN, \
         the least is 0; backpressure: derivative is -0.5, the least is 0; backpressure: min_rate is 0, it has to be \
         above 0; backpressure: initial_rate is -2, it has to be above 0; without it there is none"
    );
    let own = Backpressure::with(|_| Ok(Constant(1.0))).min_rate(5.0);
    let error = StreamingContext::builder("wrong").backpressure(own).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "backpressure: min_rate is a setting of `Backpressure::pid`, the program has estimators of its own"
    );
}
