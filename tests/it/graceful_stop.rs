//! Stopping gracefully loses nothing: one more tick, all batches run, all of them completed, then the inputs stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use tidemill::{Error, ErrorKind, QueueSource, State, Stop};

use crate::harness::{Call, Gate, Run, SECOND, at, next, numbers};

/// The batch times of the calls of one kind.
fn times(calls: &[Call], kind: fn(i64) -> Call) -> Vec<i64> {
    let of_kind = |call: &Call| match *call {
        Call::Batch(time) | Call::Completed(time) if kind(time) == *call => Some(time),
        _ => None,
    };
    calls.iter().filter_map(of_kind).collect()
}

#[test]
fn one_more_tick_takes_what_has_come_in() {
    let run = Run::new();
    let queue = QueueSource::all_at_once();
    let (send, seen) = unbounded();
    run.context
        .input(queue.clone())
        .foreach_batch(move |dataset, _| dataset.foreach(|n| send.send(n).map_err(Error::user)));
    run.context.start().unwrap();
    queue.push([1]);
    run.batches(1);
    queue.push([2, 3]);
    run.stop_gracefully().unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(run.context.state(), State::Stopped);
}

/// Also the last batch: Spark forgets to commit it (SPARK-20050).
#[test]
fn every_batch_is_completed_before_the_inputs_stop() {
    for (jobs, queued) in [(1, 8), (1, 1), (3, 2)] {
        let run = Run::with(|builder| builder.concurrent_jobs(jobs).max_queued_batches(queued));
        let (numbers, calls) = run.source(numbers());
        let sum = Arc::new(AtomicI64::new(0));
        let total = Arc::clone(&sum);
        numbers.foreach_batch(move |dataset, _| {
            total.fetch_add(dataset.reduce(|a, b| a + b)?.unwrap_or(0), Ordering::Relaxed);
            Ok(())
        });
        run.context.start().unwrap();
        run.batches(3);
        run.clock.advance(20 * SECOND);
        run.stop_gracefully().unwrap();
        let calls: Vec<_> = calls.try_iter().collect();
        assert_eq!((calls.first(), calls.last()), (Some(&Call::Start), Some(&Call::Stop)));
        let (batches, completed) = (times(&calls, Call::Batch), times(&calls, Call::Completed));
        let last = batches.len() as i64;
        assert!(last > 3, "one more tick");
        assert_eq!(batches, (1..=last).map(|n| 1000 * n).collect::<Vec<_>>());
        assert!(completed.is_sorted() && completed.last() == batches.last(), "{calls:?}");
        assert_eq!(sum.load(Ordering::Relaxed), (1..=last).sum::<i64>());
    }
}

#[test]
fn a_context_that_has_not_ticked_ticks_once() {
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run.stop_gracefully().unwrap();
    let expected = [Call::Start, Call::Batch(1000), Call::Completed(1000), Call::Stop];
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), expected);
}

/// Batches that wait for room when the stop comes run too.
#[test]
fn late_batches_run() {
    let run = Run::with(|builder| builder.max_queued_batches(2));
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, _| {
        waiting.pass();
        Ok(())
    });
    run.context.start().unwrap();
    run.clock.advance(5 * SECOND);
    gate.wait();
    let mut late = 0;
    while late < 3 {
        late += u32::from(matches!(next(&run.events), tidemill::Event::FallingBehind { .. }));
    }
    gate.let_through(100);
    run.stop_gracefully().unwrap();
    let calls: Vec<_> = calls.try_iter().collect();
    assert_eq!(times(&calls, Call::Batch)[..6], [1000, 2000, 3000, 4000, 5000, 6000]);
    assert_eq!(times(&calls, Call::Completed).last(), times(&calls, Call::Batch).last());
}

/// A stop at once leaves what waits: it was not completed and comes again.
#[test]
fn a_stop_at_once_drops_what_waits() {
    let run = Run::new();
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let (waiting, (send, ran)) = (gate.clone(), unbounded());
    numbers.foreach_batch(move |_, batch| {
        let _ = send.send(batch.time);
        waiting.pass();
        Ok(())
    });
    run.context.start().unwrap();
    run.clock.advance(4 * SECOND);
    gate.wait();
    while next(&calls) != Call::Batch(4000) {}
    let mut has_begun = false;
    let outcome = run.stop_while(Stop::Now, || {
        // The job that runs is waited for.
        if !std::mem::replace(&mut has_begun, true) {
            gate.let_through(1);
        }
    });
    outcome.unwrap();
    let ran: Vec<_> = ran.try_iter().collect();
    assert!(ran == [at(1000)] || ran == [at(1000), at(2000)], "{ran:?}");
    let calls: Vec<_> = calls.try_iter().collect();
    assert_eq!(calls.last(), Some(&Call::Stop));
    assert!(times(&calls, Call::Completed).iter().all(|time| *time <= 2000), "{calls:?}");
}

/// An output of a longer slide has not seen the last batches: they are not completed.
#[test]
fn batches_that_a_longer_slide_has_not_seen_are_not_completed() {
    let run = Run::with(|builder| builder.batch_interval(SECOND));
    let (numbers, calls) = run.source(numbers());
    numbers.window(1000 * SECOND, 1000 * SECOND).foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(2);
    run.stop_gracefully().unwrap();
    let calls: Vec<_> = calls.try_iter().collect();
    assert_eq!(times(&calls, Call::Completed), [0i64; 0]);
    assert_eq!(calls.last(), Some(&Call::Stop));
}

/// If the last tick would come after the deadline there is none, and what was planned is finished.
#[test]
fn the_deadline_comes_before_the_last_tick() {
    let run = Run::stopping_within(5 * SECOND, |builder| builder.batch_interval(60 * SECOND));
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run.clock.advance(60 * SECOND);
    run.completed();
    let mut spent = Duration::ZERO;
    let stopped = run.stop_while(Stop::Gracefully, || {
        if spent < 5 * SECOND {
            run.tick();
            spent += SECOND;
        }
    });
    stopped.unwrap();
    let expected = [Call::Start, Call::Batch(60_000), Call::Completed(60_000), Call::Stop];
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_batch_that_fails_during_the_stop() {
    let run = Run::new();
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, batch| {
        waiting.pass();
        if batch.time == at(2000) { Err(Error::new(ErrorKind::User, "too late")) } else { Ok(()) }
    });
    run.context.start().unwrap();
    run.clock.advance(3 * SECOND);
    gate.wait();
    while next(&calls) != Call::Batch(3000) {}
    gate.let_through(100);
    let error = run.stop_gracefully().unwrap_err();
    assert!(error.to_string().ends_with("too late"), "{error}");
    let calls: Vec<_> = calls.try_iter().collect();
    assert_eq!(times(&calls, Call::Completed), [1000]);
    assert_eq!(calls.last(), Some(&Call::Stop));
}

/// A context that has failed does not tick again, however it is stopped.
#[test]
fn a_graceful_stop_after_a_failure() {
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Err(Error::new(ErrorKind::User, "no")));
    run.context.start().unwrap();
    run.tick();
    while run.context.state() == State::Active {
        let _ = next(&run.events);
    }
    // The clock stands still: a stop that waited for a tick would wait for ever.
    assert!(run.context.stop(Stop::Gracefully).unwrap_err().to_string().ends_with(": no"));
    let expected = [Call::Start, Call::Batch(1000), Call::Stop];
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), expected);
}
