//! Parts that misbehave: the context ends with one error that says what, where and when, its inputs are never told of
//! a batch that was not done, and neither the process nor a stop hangs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::Receiver;
use tidemill::testing::TestRun;
use tidemill::{DStream, Error, ErrorKind, Event, Result, State, Stop};

use crate::harness::{Call, Gate, Run, SECOND, Scripted, at, error_of, input_error, line, next, numbers, numbers_but};

/// Runs a program whose batch of 2 s fails while others wait behind it. Checks what the world sees of it and returns
/// the error.
#[track_caller]
fn failing(build: impl FnOnce(&DStream<i64>)) -> Error {
    let run = Run::with(|builder| builder.max_task_attempts(2));
    let (numbers, calls) = run.source(numbers());
    build(&numbers);
    run.context.start().unwrap();
    run.tick();
    while next(&calls) != Call::Completed(1000) {}
    run.clock.advance(6 * SECOND);
    let error = run.ended().expect_err("the batch of 2 s fails");
    assert_eq!(run.context.state(), State::Stopped);
    let again = run.context.stop(Stop::Gracefully).expect_err("the error stays");
    assert_eq!(again.to_string(), error.to_string());
    let calls: Vec<_> = calls.try_iter().collect();
    assert!(!calls.iter().any(|call| matches!(call, Call::Completed(_))), "{calls:?}");
    assert_eq!(calls.iter().filter(|call| **call == Call::Stop).count(), 1, "{calls:?}");
    assert_eq!(calls.last(), Some(&Call::Stop), "{calls:?}");
    let failures: Vec<_> = run
        .events
        .try_iter()
        .filter_map(|e| if let Event::Failed { error } = e { Some(error) } else { None })
        .collect();
    assert_eq!(failures, [error.to_string()]);
    error
}

/// The second number is the one that is not liked.
fn refuse(n: i64) -> i64 {
    assert!(n != 2, "no {n} please");
    n
}

/// A closure that panics in a task: the error names batch, output, operator with its line, and partition.
#[test]
fn closures_that_panic_in_tasks() {
    #[track_caller]
    fn check(name: &str, site: &str, build: impl FnOnce(&DStream<i64>)) {
        let error = failing(build);
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Task, "{text}");
        assert!(text.starts_with("batch 2000 ms: output foreach_batch (tests/it/failures.rs:"), "{text}");
        let place = format!("task failed in 2 attempts: operator {name} ({site}): partition ");
        assert!(text.contains(&place), "{text}\nwas to contain {place}");
        assert!(text.ends_with("panicked: no 2 please"), "{text}");
    }
    #[track_caller]
    fn count<T: tidemill::Data>(stream: DStream<T>) {
        stream.foreach_batch(|dataset, _| dataset.count().map(drop));
    }
    check("map", &line(0), |numbers| count(numbers.map(refuse)));
    check("filter", &line(0), |numbers| count(numbers.filter(|n| refuse(*n) > 0)));
    check("flat_map", &line(0), |numbers| count(numbers.flat_map(|n| [refuse(n)])));
    check("flat_map_ref", &line(0), |numbers| count(numbers.flat_map_ref(|n, out| out.emit(refuse(*n)))));
    check("map_partitions", &line(0), |numbers| count(numbers.map_partitions(|part| part.map(refuse))));
    check("map_values", &line(0), |numbers| count(numbers.map(|n| ((), n)).map_values(refuse)));
    check("flat_map_values", &line(0), |numbers| count(numbers.map(|n| ((), n)).flat_map_values(|n| [refuse(n)])));
    check("shares", &line(0), |numbers| count(numbers.map(refuse).named("shares")));
    // Two records a batch, so that there is something to reduce.
    let twice = |numbers: &DStream<i64>| numbers.flat_map(|n| [n, n]);
    check("reduce", &line(0), |numbers| count(twice(numbers).reduce(|a, _| refuse(a))));
    let pairs = |numbers: &DStream<i64>| numbers.flat_map(|n| [((), n), ((), n)]);
    check("reduce_by_key", &line(0), |numbers| count(pairs(numbers).reduce_by_key(|a, _| refuse(a))));
    // A key that cannot be compared.
    check("reduce_by_key", &line(0), |n| count(n.flat_map(|n| [(Odd(n), 1), (Odd(n), 1)]).reduce_by_key(|a, b| a + b)));
    // Behind a shuffle, behind a stream that is kept, and inside of a transform: its own line.
    check("map", &line(0), |numbers| count(pairs(numbers).group_by_key().map(|(_, n)| refuse(n[0]))));
    check("map", &line(0), |numbers| count(numbers.window(SECOND, SECOND).map(refuse)));
    check("map", &line(0), |numbers| count(numbers.transform(|batch, _| Ok(batch.map(refuse)))));
    check("map", &line(1), |numbers| {
        let shared = numbers.map(refuse);
        count(shared.union(&shared));
    });
}

/// A key whose `Hash` panics at 2.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Odd(i64);

impl std::hash::Hash for Odd {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        refuse(self.0).hash(state);
    }
}

#[test]
fn a_transform_that_panics() {
    let error = failing(|numbers| {
        numbers.transform(|batch, time| if time == at(2000) { panic!("not {time}") } else { Ok(batch) }).print();
    });
    let site = line(-2);
    assert_eq!(error.kind(), ErrorKind::User);
    assert_eq!(
        error.to_string(),
        format!("batch 2000 ms: operator transform ({site}): transform panicked: not 2000 ms")
    );
}

#[test]
fn an_output_that_panics_or_fails() {
    let error = failing(|numbers| {
        numbers.foreach_batch(|_, batch| if batch.time == at(2000) { panic!("the sink leaks") } else { Ok(()) });
    });
    let site = line(-2);
    assert_eq!(error.kind(), ErrorKind::Output);
    assert_eq!(error.to_string(), format!("batch 2000 ms: output foreach_batch ({site}): panicked: the sink leaks"));
    let error = failing(|numbers| {
        numbers.foreach_batch(|_, batch| {
            let full = || Err(Error::user(std::io::Error::other("disk full")));
            if batch.time == at(2000) { full() } else { Ok(()) }
        });
    });
    let site = line(-5);
    assert_eq!(error.kind(), ErrorKind::User);
    assert_eq!(error.to_string(), format!("batch 2000 ms: output foreach_batch ({site}): disk full"));
}

/// A sink called from tasks is tried again before it is an error, record or partition.
#[test]
fn a_sink_in_a_task_that_panics_or_fails() {
    let error = failing(|numbers| {
        numbers.foreach_batch(|dataset, _| {
            dataset.foreach(|n| {
                refuse(n);
                Ok(())
            })
        })
    });
    let text = error.to_string();
    assert!(
        text.contains("task failed in 2 attempts: ") && text.ends_with("partition 0: panicked: no 2 please"),
        "{text}"
    );
    let error = failing(|numbers| {
        numbers.foreach_batch(|dataset, _| {
            dataset.foreach_partition(|mut part| match part.next() {
                Some(2) => Err(Error::new(ErrorKind::User, "table is locked")),
                _ => Ok(()),
            })
        });
    });
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(text.starts_with("batch 2000 ms: output foreach_batch ("), "{text}");
    assert!(text.contains("task failed in 2 attempts: ") && text.ends_with("partition 0: table is locked"), "{text}");
}

/// Only one output of a batch fails: the batch is not done, and later outputs of it do not run.
#[test]
fn one_of_several_outputs_that_fails() {
    let outputs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outputs);
    let error = failing(|numbers| {
        for output in 0..3 {
            let seen = Arc::clone(&seen);
            numbers.foreach_batch(move |_, batch| {
                seen.lock().unwrap().push((batch.time.as_millis(), output));
                match (batch.time.as_millis(), output) {
                    (2000, 1) => Err(Error::new(ErrorKind::User, "one of three")),
                    _ => Ok(()),
                }
            });
        }
    });
    assert!(error.to_string().ends_with("one of three"), "{error}");
    assert_eq!(*outputs.lock().unwrap(), [(1000, 0), (1000, 1), (1000, 2), (2000, 0), (2000, 1)]);
}

#[test]
fn a_task_is_tried_again_alone() {
    for workers in [1, 3] {
        let attempts: Arc<Vec<AtomicU32>> = Arc::new((0..4).map(|_| AtomicU32::new(0)).collect());
        let counted = Arc::clone(&attempts);
        let build = |numbers: DStream<usize>| {
            numbers.map(move |n| {
                let attempt = 1 + counted[n].fetch_add(1, Ordering::Relaxed);
                assert!(n != 2 || attempt == 3, "attempt {attempt}");
                n
            })
        };
        let run = TestRun::new().partitions(4).workers(workers).max_task_attempts(3);
        assert_eq!(run.run([vec![0, 1, 2, 3]], build).unwrap(), [vec![0, 1, 2, 3]]);
        assert_eq!(attempts.iter().map(|n| n.load(Ordering::Relaxed)).collect::<Vec<_>>(), [1, 1, 3, 1]);
    }
}

#[test]
fn attempts_are_used_up() {
    for (attempts, text) in [(1, "task failed in 1 attempt: "), (3, "task failed in 3 attempts: ")] {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let build = |numbers: DStream<i32>| {
            numbers.map(move |_| -> i32 {
                counted.fetch_add(1, Ordering::Relaxed);
                panic!("never")
            })
        };
        let error = TestRun::new().partitions(1).max_task_attempts(attempts).run([vec![1]], build).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(calls.load(Ordering::Relaxed), attempts);
    }
}

/// What a stream has computed and keeps is not computed again when a task that reads it fails.
#[test]
fn a_kept_partition_survives_a_retry() {
    for workers in [1, 2] {
        let (computed, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (count, fail) = (Arc::clone(&computed), Arc::clone(&failed));
        let build = |numbers: DStream<i32>| {
            let shared = numbers.map(move |n| {
                count.fetch_add(1, Ordering::Relaxed);
                n
            });
            let fragile = shared.map(move |n| {
                assert!(n != 3 || fail.fetch_add(1, Ordering::Relaxed) == 2, "fragile");
                n * 10
            });
            shared.union(&fragile)
        };
        let run = TestRun::new().partitions(2).workers(workers);
        assert_eq!(run.run([vec![1, 2, 3, 4]], build).unwrap(), [vec![1, 2, 3, 4, 10, 20, 30, 40]]);
        assert_eq!((computed.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (4, 3));
    }
}

/// What a shuffle has written stands when a task behind it fails.
#[test]
fn a_shuffle_survives_a_retry() {
    let (mapped, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, fail) = (Arc::clone(&mapped), Arc::clone(&failed));
    let build = |pairs: DStream<(i32, i32)>| {
        let counted = pairs.map(move |pair| {
            count.fetch_add(1, Ordering::Relaxed);
            pair
        });
        counted.reduce_by_key(|a, b| a + b).map(move |pair| {
            assert!(pair.0 != 3 || fail.fetch_add(1, Ordering::Relaxed) == 1, "fragile");
            pair
        })
    };
    let out = TestRun::new().run([(0..6).map(|n| (n % 4, 1)).collect::<Vec<_>>()], build).unwrap().sorted();
    assert_eq!(out, [vec![(0, 2), (1, 2), (2, 1), (3, 1)]]);
    assert_eq!((mapped.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (6, 2));
}

/// A source whose method fails or panics at one call.
fn breaking(when: Call, panics: bool) -> Scripted<i64> {
    numbers_but(when, move || if panics { panic!("the wire broke") } else { Err(input_error("the wire broke")) })
}

fn what(method: &str, panics: bool) -> String {
    if panics { format!("its method `{method}` panicked: the wire broke") } else { "the wire broke".to_string() }
}

#[test]
fn a_source_that_cannot_plan_a_batch() {
    for panics in [false, true] {
        let run = Run::new();
        let (numbers, calls) = run.source(breaking(Call::Batch(3000), panics));
        let site = line(-1);
        numbers.foreach_batch(|_, _| Ok(()));
        run.context.start().unwrap();
        run.batches(2);
        run.tick();
        let error = run.ended().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        let expected = format!("batch 3000 ms: input scripted ({site}): {}", what("batch", panics));
        assert_eq!(error.to_string(), expected);
        let calls: Vec<_> = calls.try_iter().collect();
        let expected = [
            Call::Start,
            Call::Batch(1000),
            Call::Completed(1000),
            Call::Batch(2000),
            Call::Completed(2000),
            Call::Batch(3000),
            Call::Stop,
        ];
        assert_eq!(calls, expected);
    }
}

/// The inputs that were started are stopped, the others were never touched.
#[test]
fn a_source_that_cannot_start() {
    for panics in [false, true] {
        let run = Run::new();
        let (first, first_calls) = run.source(numbers());
        let (second, second_calls) = run.source(breaking(Call::Start, panics).named("broken"));
        let site = line(-1);
        let (third, third_calls) = run.source(numbers());
        first.union(&second).union(&third).foreach_batch(|_, _| Ok(()));
        let error = run.context.start().unwrap_err();
        let text = error.to_string();
        assert_eq!((error.kind(), run.context.state()), (ErrorKind::Input, State::Stopped), "{text}");
        assert_eq!(text, format!("input broken ({site}): {}", what("start", panics)));
        assert_eq!(first_calls.try_iter().collect::<Vec<_>>(), [Call::Start, Call::Stop]);
        assert_eq!(second_calls.try_iter().collect::<Vec<_>>(), [Call::Start]);
        assert_eq!(third_calls.try_iter().collect::<Vec<_>>(), []);
        assert!(run.context.stop(Stop::Gracefully).is_ok());
        assert_eq!(run.events.try_iter().count(), 0, "nothing has started");
    }
}

#[test]
fn a_source_that_cannot_commit() {
    for panics in [false, true] {
        let run = Run::new();
        let (numbers, calls) = run.source(breaking(Call::Completed(2000), panics));
        numbers.foreach_batch(|_, _| Ok(()));
        run.context.start().unwrap();
        for _ in 0..4 {
            run.tick();
        }
        let error = run.ended().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("batch 2000 ms: input scripted ("), "{text}");
        assert!(text.ends_with(&what("completed", panics)), "{text}");
        let last = calls.try_iter().filter(|call| matches!(call, Call::Completed(_) | Call::Stop)).collect::<Vec<_>>();
        assert_eq!(last[..2], [Call::Completed(1000), Call::Completed(2000)]);
        assert_eq!(last.last(), Some(&Call::Stop));
    }
}

/// The other inputs are stopped nevertheless.
#[test]
fn a_source_that_cannot_stop() {
    for panics in [false, true] {
        let run = Run::new();
        let (first, _) = run.source(breaking(Call::Stop, panics));
        let (second, calls) = run.source(numbers());
        first.union(&second).foreach_batch(|_, _| Ok(()));
        run.context.start().unwrap();
        run.batches(1);
        let error = run.context.stop(Stop::Now).unwrap_err();
        assert!(error.to_string().starts_with("input scripted ("), "{error}");
        assert!(error.to_string().ends_with(&what("stop", panics)), "{error}");
        assert_eq!(calls.try_iter().last(), Some(Call::Stop));
        assert_eq!(run.context.state(), State::Stopped);
    }
}

/// A source may have threads of its own; what they find out ends the context.
#[test]
fn a_source_that_fails_in_the_background() {
    struct Background(Receiver<()>);
    impl tidemill::Source<i64> for Background {
        fn name(&self) -> String {
            "background".to_string()
        }
        fn start(&mut self, context: &tidemill::SourceContext) -> Result<()> {
            let (context, failed) = (context.clone(), self.0.clone());
            let body = move || {
                let _ = failed.recv();
                context.fail(input_error("the connection is gone"));
            };
            std::thread::Builder::new().spawn(body).map(drop).map_err(Error::from)
        }
        fn batch(&mut self, _: tidemill::Time) -> Result<Option<tidemill::InputBatch<i64>>> {
            Ok(None)
        }
    }
    let run = Run::new();
    let (fail, failed) = crossbeam_channel::bounded(0);
    run.context.input(Background(failed)).foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    assert!(!run.context.await_termination_or_timeout(Duration::ZERO).unwrap());
    fail.send(()).unwrap();
    assert_eq!(run.ended().unwrap_err().to_string(), "the connection is gone");
}

/// Batches end out of order; inputs are told in order, and not before the older batch is done.
#[test]
fn batches_that_end_out_of_order() {
    let run = Run::with(|builder| builder.concurrent_jobs(2));
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, batch| {
        if batch.time == at(1000) {
            waiting.pass();
        }
        Ok(())
    });
    run.context.start().unwrap();
    run.tick();
    gate.wait();
    assert_eq!(
        [run.batches(1), run.batches(1)].concat().iter().map(|b| b.time).collect::<Vec<_>>(),
        [at(2000), at(3000)]
    );
    let so_far: Vec<_> = calls.try_iter().collect();
    assert_eq!(so_far, [Call::Start, Call::Batch(1000), Call::Batch(2000), Call::Batch(3000)]);
    gate.let_through(1);
    assert_eq!(run.completed().time, at(1000));
    assert_eq!(next(&calls), Call::Completed(3000), "of it and all before it");
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), [Call::Stop]);
}

/// The older batch fails after the newer ones are done: none of them is completed.
#[test]
fn an_older_batch_that_fails_last() {
    let run = Run::with(|builder| builder.concurrent_jobs(2));
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, batch| {
        if batch.time == at(2000) {
            waiting.pass();
            return Err(Error::new(ErrorKind::User, "late"));
        }
        Ok(())
    });
    run.context.start().unwrap();
    run.batches(1);
    run.tick();
    gate.wait();
    run.batches(2);
    gate.let_through(1);
    let error = run.ended().unwrap_err();
    assert!(error.to_string().starts_with("batch 2000 ms: "), "{error}");
    let completed: Vec<_> = calls.try_iter().filter(|call| matches!(call, Call::Completed(_))).collect();
    assert_eq!(completed, [Call::Completed(1000)]);
}

/// An output of a longer slide sees the records of a batch later; the inputs are told after that.
#[test]
fn completed_waits_for_the_output_of_the_longest_slide() {
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    numbers.window(3 * SECOND, 3 * SECOND).foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(7);
    run.context.stop(Stop::Now).unwrap();
    let calls: Vec<_> = calls.try_iter().collect();
    let expected = [
        Call::Start,
        Call::Batch(1000),
        Call::Batch(2000),
        Call::Batch(3000),
        Call::Completed(3000),
        Call::Batch(4000),
        Call::Batch(5000),
        Call::Batch(6000),
        Call::Completed(6000),
        Call::Batch(7000),
        Call::Stop,
    ];
    assert_eq!(calls, expected);
}

/// The second output of the batch of 2 s fails after the window over it was put off: nothing of 1 s or 2 s is completed.
#[test]
fn completed_is_not_called_for_what_a_longer_slide_has_not_seen() {
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.window(2 * SECOND, 2 * SECOND).foreach_batch(|_, _| Err(Error::new(ErrorKind::User, "no window")));
    run.context.start().unwrap();
    run.batches(1);
    run.tick();
    assert!(run.ended().is_err());
    assert!(!calls.try_iter().any(|call| matches!(call, Call::Completed(_))));
}

/// A batch whose jobs were thrown away was not processed: listeners must not take it for one that was.
#[test]
fn a_dropped_batch_is_not_reported_as_completed() {
    let run = Run::new();
    let gate = Gate::new();
    let (numbers, _) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, _| {
        waiting.pass();
        Err(Error::new(ErrorKind::User, "no"))
    });
    run.context.start().unwrap();
    run.clock.advance(4 * SECOND);
    gate.wait();
    let mut submitted = 0;
    while submitted < 4 {
        submitted += u32::from(matches!(next(&run.events), Event::BatchSubmitted(_)));
    }
    gate.let_through(1);
    assert!(run.ended().is_err());
    let ended = run.events.try_iter().filter_map(|event| match event {
        Event::BatchCompleted(info) => Some((info.time, info.outputs[0].failure.is_some())),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [(at(1000), true)]);
}

/// Everything that can hang in a stop, and what the error then names.
#[test]
fn a_stop_that_something_holds_up() {
    #[track_caller]
    fn check(how: Stop, gate: &Gate, run: &Run, ticks: u32, undone: &[&str]) {
        run.context.start().unwrap();
        (0..ticks).for_each(|_| run.tick());
        gate.wait();
        let error = run.stop_while(how, || run.tick()).expect_err("the stop runs out of time");
        let text = error.to_string();
        assert_eq!((error.kind(), run.context.state()), (ErrorKind::Timeout, State::Stopped), "{text}");
        assert!(text.starts_with("stopping took too long; left undone: "), "{text}");
        undone.iter().for_each(|undone| assert!(text.contains(undone), "{text} was to name {undone}"));
        gate.let_through(10);
    }
    let slow = || Run::stopping_within(3 * SECOND, |builder| builder);
    for how in [Stop::Now, Stop::Gracefully] {
        // A job that does not end.
        let (run, gate) = (slow(), Gate::new());
        let (numbers, _) = run.source(numbers());
        let waiting = gate.clone();
        numbers.foreach_batch(move |_, _| {
            waiting.pass();
            Ok(())
        });
        let job = format!("batch 1000 ms output foreach_batch ({})", line(-4));
        check(how, &gate, &run, 1, &[&job]);
        // A task that does not end, and a batch behind it.
        let (run, gate) = (slow(), Gate::new());
        let (numbers, _) = run.source(numbers_but(Call::Start, || Ok(None)));
        let waiting = gate.clone();
        let mapped = numbers.map(move |n| {
            waiting.pass();
            n
        });
        mapped.foreach_batch(|dataset, _| dataset.count().map(drop));
        check(how, &gate, &run, 2, &["batch 1000 ms output foreach_batch"]);
        // A source that does not plan.
        let (run, gate) = (slow(), Gate::new());
        let waiting = gate.clone();
        let blocked = numbers_but(Call::Batch(1000), move || {
            waiting.pass();
            Ok(None)
        });
        let (numbers, _) = run.source(blocked);
        numbers.foreach_batch(|_, _| Ok(()));
        check(how, &gate, &run, 1, &["planning batch 1000 ms"]);
    }
    // Many batches that wait behind one.
    let (run, gate) = (Run::stopping_within(3 * SECOND, |builder| builder.max_queued_batches(1)), Gate::new());
    let (numbers, _) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, _| {
        waiting.pass();
        Ok(())
    });
    check(Stop::Gracefully, &gate, &run, 9, &["batch 1000 ms output", ", batches 2000 ms to ", " not planned"]);
    // A source that does not stop.
    let (run, gate) = (slow(), Gate::new());
    let waiting = gate.clone();
    let (numbers, _) = run.source(numbers_but(Call::Stop, move || {
        waiting.pass();
        Ok(None)
    }));
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    let error = run.stop_while(Stop::Now, || run.tick()).unwrap_err();
    assert_eq!(error.to_string(), "stopping took too long; left undone: stopping the inputs");
    gate.let_through(1);
}

/// After a stop that ran out of time, what runs is left to itself, and nothing begins any more.
#[test]
fn nothing_begins_after_a_stop_that_ran_out_of_time() {
    let run = Run::stopping_within(3 * SECOND, |builder| builder);
    let gate = Gate::new();
    let (numbers, _) = run.source(numbers());
    let (waiting, begun, held) = (gate.clone(), Arc::new(AtomicU32::new(0)), Arc::new(()));
    let (count, alive) = (Arc::clone(&begun), Arc::clone(&held));
    numbers.foreach_batch(move |_, _| {
        let _alive = &alive;
        count.fetch_add(1, Ordering::Relaxed);
        waiting.pass();
        Ok(())
    });
    drop(numbers);
    run.context.start().unwrap();
    (0..4).for_each(|_| run.tick());
    gate.wait();
    run.stop_while(Stop::Gracefully, || run.tick()).expect_err("the stop runs out of time");
    gate.let_through(10);
    drop(run);
    // The thread that was left behind lets go of the graph when it has nothing more to do.
    while Arc::strong_count(&held) > 1 {
        std::thread::yield_now();
    }
    assert_eq!(begun.load(Ordering::Relaxed), 1);
}

/// A listener that never returns holds up nothing but itself.
#[test]
fn a_listener_that_hangs() {
    let run = Run::stopping_within(3 * SECOND, |builder| builder);
    let gate = Gate::new();
    let waiting = gate.clone();
    run.context.add_listener(move |_: &Event| waiting.pass());
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    gate.wait();
    run.tick();
    while next(&calls) != Call::Completed(1000) {}
    let outcome = run.stop_while(Stop::Now, || run.tick());
    gate.let_through(1000);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("listener"), "{error}");
    assert_eq!(calls.try_iter().last(), Some(Call::Stop));
}

#[test]
fn a_listener_that_panics_ends_the_context() {
    let run = Run::new();
    run.context.add_listener(|event: &Event| assert!(!matches!(event, Event::BatchCompleted(_)), "seen enough"));
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run.tick();
    let error = run.ended().unwrap_err();
    assert!(error.to_string().ends_with("panicked: seen enough"), "{error}");
}

/// What a program does with `run`: the error of the batch, not of some consequence.
#[test]
fn the_first_error_is_the_one() {
    let error = error_of([vec![1], vec![2], vec![3]], |numbers| numbers.map(refuse).map(|n| n + 1));
    assert!(error.to_string().starts_with("batch 2000 ms: ") && error.to_string().ends_with("no 2 please"), "{error}");
}
