//! Outputs that fail are tried again, and then the context stops or goes on, as it was told.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use tidemill::{Batch, DStream, Error, ErrorKind, Event, OutputFailure, Result, Stop, StreamingContext, Time};

use crate::harness::{Call, Run, SECOND, at, line, next, numbers};

const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(25));

fn run(attempts: u32, then: OutputFailure) -> Run {
    Run::with(|builder| builder.output_attempts(attempts).output_backoff(BACKOFF.0, BACKOFF.1).on_output_failure(then))
}

/// An output of numbers that says which batch it was asked for, and does there what it is told.
fn output(
    numbers: &DStream<i64>,
    fails: impl Fn(Batch, u32) -> bool + Send + Sync + 'static,
) -> Receiver<(Time, Vec<i64>)> {
    let (send, calls) = unbounded();
    let attempt = Mutex::new((at(0), 0));
    numbers.foreach_batch(move |numbers, batch| {
        let mut attempt = attempt.lock().unwrap();
        *attempt = if attempt.0 == batch.time { (batch.time, attempt.1 + 1) } else { (batch.time, 1) };
        send.send((batch.time, numbers.collect()?)).unwrap();
        if fails(batch, attempt.1) { Err(Error::user("the database is away")) } else { Ok(()) }
    });
    calls
}

/// Moves the clock to the alarm that comes in so many milliseconds, once somebody waits for it.
fn ring(run: &Run, millis: u64) {
    let time = run.clock.now() + Duration::from_millis(millis);
    while !run.clock.alarms().contains(&time) {
        std::thread::yield_now();
    }
    run.clock.advance(Duration::from_millis(millis));
}

#[test]
fn an_output_that_fails_is_tried_again_on_the_same_records() {
    let run = run(4, OutputFailure::Stop);
    let (numbers, calls) = run.source(numbers());
    let seen = output(&numbers, |batch, attempt| batch.time == at(1000) && attempt < 4);
    run.context.start().unwrap();
    run.tick();
    // Doubled up to the longest.
    for pause in [10, 20, 25] {
        assert_eq!(next(&seen), (at(1000), vec![1]));
        ring(&run, pause);
    }
    assert_eq!(next(&seen), (at(1000), vec![1]));
    let info = run.completed();
    assert_eq!((info.outputs[0].failure.as_deref(), info.processing_delay()), (None, Some(Duration::from_millis(55))));
    while next(&calls) != Call::Completed(1000) {}
    run.stop_gracefully().unwrap();
}

#[test]
fn after_the_last_attempt_the_context_stops() {
    let run = run(2, OutputFailure::Stop);
    let (numbers, calls) = run.source(numbers());
    let seen = output(&numbers, |_, _| true);
    numbers.foreach_batch(|_, _| panic!("comes after the one that fails"));
    run.context.start().unwrap();
    run.tick();
    next(&seen);
    ring(&run, 10);
    next(&seen);
    let error = run.ended().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    let text = error.to_string();
    assert!(text.starts_with("batch 1000 ms: output foreach_batch (tests/it/outputs_fail.rs:"), "{text}");
    assert!(text.ends_with("): attempt 2 of 2: the database is away"), "{text}");
    assert!(seen.is_empty());
    assert!(!calls.try_iter().any(|call| matches!(call, Call::Completed(_))));
}

#[test]
fn a_panic_is_tried_again_as_an_error_is() {
    let run = run(2, OutputFailure::Stop);
    let (numbers, _calls) = run.source(numbers());
    let attempts = AtomicU32::new(0);
    numbers.foreach_batch(move |_, _| match attempts.fetch_add(1, Ordering::Relaxed) {
        0 => panic!("no luck"),
        _ => Ok(()),
    });
    run.context.start().unwrap();
    run.tick();
    ring(&run, 10);
    assert_eq!(run.completed().outputs[0].failure, None);
    run.stop_gracefully().unwrap();
}

#[test]
fn a_program_that_goes_on_tells_of_the_failure_and_commits() {
    let run = run(2, OutputFailure::Continue);
    let (numbers, calls) = run.source(numbers());
    let seen = output(&numbers, |batch, _| batch.time == at(2000));
    let site = line(-1);
    let other = output(&numbers, |_, _| false);
    run.context.start().unwrap();
    run.tick();
    run.completed();
    run.tick();
    next(&seen);
    ring(&run, 10);
    let outputs = run.completed().outputs;
    let failure = outputs[0].failure.clone().unwrap();
    assert!(failure.starts_with("batch 2000 ms: output foreach_batch (tests/it/outputs_fail.rs:"), "{failure} {site}");
    assert!(failure.ends_with("attempt 2 of 2: the database is away"), "{failure}");
    assert!(outputs[0].ended.is_some() && outputs[1].failure.is_none());
    run.tick();
    assert_eq!(run.completed().outputs[0].failure, None);
    run.stop_gracefully().unwrap();
    assert_eq!(other.try_iter().take(3).map(|(_, numbers)| numbers[0]).collect::<Vec<_>>(), [1, 2, 3]);
    let calls: Vec<Call> = calls.try_iter().collect();
    assert!(calls.contains(&Call::Completed(2000)) && calls.contains(&Call::Completed(3000)), "{calls:?}");
    assert!(!run.events.try_iter().any(|event| matches!(event, Event::Failed { .. })));
    run.context.await_termination().unwrap();
}

#[test]
fn a_program_that_goes_on_still_stops_for_the_engine() {
    let run = run(1, OutputFailure::Continue);
    let failing = crate::harness::numbers_but(Call::Batch(2000), || Err(crate::harness::input_error("no more")));
    let (numbers, _calls) = run.source(failing);
    output(&numbers, |_, _| false);
    run.context.start().unwrap();
    run.clock.advance(2 * SECOND);
    assert_eq!(run.ended().unwrap_err().kind(), ErrorKind::Input);
}

/// Stops a program while its output waits to be tried again. Nothing of the batch may be committed, and nobody may wait
/// for the clock, which stands still.
fn stopped_in_the_wait(then: OutputFailure, stop: impl FnOnce(&Run) -> Result<()>) {
    let run = run(3, then);
    let (numbers, calls) = run.source(numbers());
    let seen = output(&numbers, |_, _| true);
    run.context.start().unwrap();
    run.tick();
    next(&seen);
    while run.clock.alarms().iter().all(|time| *time != at(1010)) {
        std::thread::yield_now();
    }
    stop(&run).unwrap();
    assert!(seen.is_empty(), "tried again");
    assert!(!calls.try_iter().any(|call| matches!(call, Call::Completed(_))), "committed");
    let failures: Vec<String> = run
        .events
        .try_iter()
        .filter_map(|event| if let Event::OutputCompleted(info) = event { info.failure } else { None })
        .collect();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].ends_with("attempt 1 of 3: the database is away"), "{failures:?}");
}

#[test]
fn a_stop_ends_the_wait_and_the_batch_is_not_done() {
    for then in [OutputFailure::Stop, OutputFailure::Continue] {
        stopped_in_the_wait(then, |run| run.context.stop(Stop::Now));
    }
}

#[test]
fn a_graceful_stop_waits_for_the_attempts() {
    let run = run(3, OutputFailure::Stop);
    let (numbers, calls) = run.source(numbers());
    let seen = output(&numbers, |batch, attempt| batch.time == at(1000) && attempt < 3);
    run.context.start().unwrap();
    run.tick();
    next(&seen);
    run.stop_gracefully().unwrap();
    let attempts = seen.try_iter().filter(|(time, _)| *time == at(1000)).count();
    assert_eq!(attempts, 2);
    assert!(calls.try_iter().any(|call| call == Call::Completed(1000)));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let builder = StreamingContext::builder("test").output_attempts(0);
    let error = builder.output_backoff(2 * SECOND, SECOND).build().map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "output_attempts is 0, the least is 1; output_backoff begins with 2s, which is more than 1s, its longest"
    );
}

/// Every batch comes to every output, however often others fail.
#[test]
fn with_jobs_at_the_same_time_an_output_holds_up_no_other() {
    let run = Run::with(|builder| builder.concurrent_jobs(2).output_attempts(2).output_backoff(BACKOFF.0, BACKOFF.1));
    let (numbers, _calls) = run.source(numbers());
    let failing = output(&numbers, |_, attempt| attempt == 1);
    let sums = Arc::new(AtomicU32::new(0));
    let sum = Arc::clone(&sums);
    let (send, done) = unbounded();
    numbers.foreach_batch(move |_, _| {
        sum.fetch_add(1, Ordering::Relaxed);
        send.send(()).map_err(Error::user)
    });
    run.context.start().unwrap();
    run.tick();
    next(&failing);
    next(&done);
    ring(&run, 10);
    next(&failing);
    run.completed();
    assert_eq!(sums.load(Ordering::Relaxed), 1);
    run.context.stop(Stop::Now).unwrap();
}
