//! A context goes one way: built, started once, stopped once. Who may stop it, what listeners see of it, and what is
//! left of it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use tidemill::{Error, ErrorKind, Event, QueueSource, Result, State, Stop, StreamingContext};

use crate::harness::{Call, Gate, Run, SECOND, Scripted, alone, at, line, next, numbers};

/// A started context with an output that does nothing.
fn running() -> Run {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run
}

#[track_caller]
fn is_state_error(outcome: Result<()>, expected: &str) {
    let error = outcome.expect_err("it is refused");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::State, expected.to_string()));
}

#[test]
fn a_context_starts_once() {
    let run = running();
    assert_eq!(run.context.state(), State::Active);
    is_state_error(run.context.start(), "the context is Active and cannot be started: build another one");
    assert_eq!(run.batches(1)[0].time, at(1000), "the first start goes on");
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(run.context.state(), State::Stopped);
    is_state_error(run.context.start(), "the context is Stopped and cannot be started: build another one");
}

#[test]
fn a_context_stops_as_often_as_it_is_told_to() {
    let run = running();
    for how in [Stop::Now, Stop::Now, Stop::Gracefully] {
        run.context.stop(how).unwrap();
        assert_eq!(run.context.state(), State::Stopped);
    }
    assert!(run.context.await_termination().is_ok());
    assert!(run.context.await_termination_or_timeout(Duration::ZERO).unwrap());
}

#[test]
fn a_context_that_never_ran_stops() {
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    assert_eq!(run.context.state(), State::Initialized);
    assert!(!run.context.await_termination_or_timeout(Duration::ZERO).unwrap());
    run.context.stop(Stop::Gracefully).unwrap();
    is_state_error(run.context.start(), "the context is Stopped and cannot be started: build another one");
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), []);
}

#[test]
fn waiting_ends_with_the_stop() {
    let run = running();
    assert!(!run.context.await_termination_or_timeout(Duration::ZERO).unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run.context.await_termination());
        run.batches(2);
        assert!(!waiting.is_finished());
        run.context.stop(Stop::Now).unwrap();
        assert!(waiting.join().unwrap().is_ok());
    });
}

/// The second stop came back while the first was still waiting, and had closed the listeners and called the context
/// stopped.
#[test]
fn two_stops_at_the_same_time_both_wait() {
    let run = Run::new();
    let gate = Gate::new();
    let (numbers, calls) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, _| {
        waiting.pass();
        Ok(())
    });
    run.context.start().unwrap();
    run.tick();
    gate.wait();
    let (send, stopped) = unbounded();
    std::thread::scope(|scope| {
        for how in [Stop::Now, Stop::Gracefully] {
            let (send, context) = (send.clone(), &run.context);
            scope.spawn(move || send.send((context.stop(how).is_ok(), context.state())).unwrap());
        }
        assert!(stopped.recv_timeout(Duration::from_millis(20)).is_err(), "a job still runs");
        assert_eq!(run.context.state(), State::Active);
        gate.let_through(1);
        while !stopped.is_full() && stopped.len() < 2 {
            run.tick();
            gate.let_through(1);
            std::thread::yield_now();
        }
    });
    assert_eq!(stopped.try_iter().collect::<Vec<_>>(), [(true, State::Stopped); 2]);
    assert_eq!(calls.try_iter().last(), Some(Call::Stop));
}

const REFUSED: &str = "stop() was called on a thread of the engine, which would wait for itself: \
                       tell another thread to stop the context";

#[test]
fn a_listener_cannot_stop_its_context() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    let (send, outcomes) = unbounded();
    let context = Arc::downgrade(&run.context);
    run.context.add_listener(move |event: &Event| {
        if let (Event::BatchCompleted(_), Some(context)) = (event, context.upgrade()) {
            send.send(context.stop(Stop::Now)).unwrap();
        }
    });
    run.context.start().unwrap();
    run.batches(1);
    is_state_error(next(&outcomes), REFUSED);
    assert_eq!(run.context.state(), State::Active);
    run.context.stop(Stop::Now).unwrap();
}

/// On the threads of jobs and on those of the pool, which small stages do not use.
#[test]
fn a_job_cannot_stop_its_context() {
    let run = Run::with(|builder| builder.workers(3));
    let context = Arc::clone(&run.context);
    let (send, outcomes) = unbounded();
    let all_here = Arc::new(std::sync::Barrier::new(3));
    let source = Scripted::new(|call| Ok(matches!(call, Call::Batch(_)).then(|| vec![(); 3])));
    let (records, _) = run.source(source);
    let spread = run.context.parallelize(0..3, 3);
    records.foreach_batch(move |_, _| {
        send.send(context.stop(Stop::Now)).unwrap();
        // All three wait for each other, so that each runs on a thread of its own.
        spread.foreach(|_| {
            all_here.wait();
            send.send(context.stop(Stop::Now)).map_err(Error::user)
        })
    });
    run.context.start().unwrap();
    run.batches(1);
    for _ in 0..4 {
        is_state_error(next(&outcomes), REFUSED);
    }
    run.context.stop(Stop::Now).unwrap();
}

/// What a job can do: end with an error, or tell another thread.
#[test]
fn a_job_tells_another_thread_to_stop() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    let (tell, told) = bounded(1);
    numbers.foreach_batch(move |_, _| tell.try_send(()).map_err(Error::user));
    run.context.start().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            next(&told);
            run.context.stop(Stop::Now)
        });
        run.tick();
        run.ended().unwrap();
    });
}

/// The names of the threads of the engine that this process has.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists the threads of a process");
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let mut names: Vec<_> = tasks.filter_map(name).map(|name| name.trim().to_string()).collect();
    names.retain(|name| name.starts_with("tidemill-"));
    names.sort();
    names
}

/// Threads take their names when they begin, and stay listed for a moment after they have been joined.
#[track_caller]
fn threads_become(expected: &[&str], when: &str) {
    let tries = (0..100_000).map(|_| {
        std::thread::yield_now();
        threads()
    });
    let found = { tries }.find(|threads| threads == expected);
    assert!(found.is_some(), "{when}: {:?} instead of {expected:?}", threads());
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_of_a_context() {
    type End = fn(&Run);
    let end: [(&str, End); 4] = [
        ("dropped", |_| {}),
        ("stopped", |run| run.context.stop(Stop::Now).unwrap()),
        ("stopped gracefully", |run| run.stop_gracefully().unwrap()),
        ("failed", |run| {
            run.context.input(QueueSource::<i32>::one_at_a_time());
            run.ended().unwrap_err();
        }),
    ];
    alone("lifecycle::nothing_is_left_of_a_context", || {
        for (how, end) in end {
            let run = Run::with(|builder| builder.workers(3).concurrent_jobs(2));
            let (numbers, calls) = run.source(numbers());
            numbers.map(|n| n + 1).foreach_batch(|dataset, _| dataset.count().map(drop));
            run.context.start().unwrap();
            run.batches(2);
            // The kernel keeps 15 characters of a name.
            let expected =
                ["tidemill-genera", "tidemill-jobs-0", "tidemill-jobs-1", "tidemill-listen", "tidemill-timer"];
            let workers = ["tidemill-worker"; 2];
            threads_become(&[&expected[..], &workers].concat(), "running");
            end(&run);
            drop((run, numbers));
            threads_become(&[], how);
            assert_eq!(calls.try_iter().last(), Some(Call::Stop), "{how}");
        }
    });
}

/// A job, or a listener, may be the last to let go of its context: it ends without waiting for itself.
#[test]
#[cfg(target_os = "linux")]
fn a_context_that_is_dropped_by_its_own_job() {
    alone("lifecycle::a_context_that_is_dropped_by_its_own_job", || {
        let run = Run::new();
        let (numbers, calls) = run.source(numbers());
        let gate = Gate::new();
        let (hand_over, handle) = bounded::<Arc<StreamingContext>>(1);
        let waiting = gate.clone();
        numbers.foreach_batch(move |_, _| {
            waiting.pass();
            drop(next(&handle));
            Ok(())
        });
        drop(numbers);
        run.context.start().unwrap();
        run.tick();
        gate.wait();
        let Run { context, clock, events, .. } = run;
        hand_over.send(context).unwrap();
        gate.let_through(1);
        while next(&calls) != Call::Stop {}
        // The listeners are let go of with the context, and the bus with its thread.
        while events.recv().is_ok() {}
        threads_become(&[], "dropped by its job");
        drop(clock);
    });
}

/// What listeners are told, and what of the batch.
#[test]
fn listeners_see_a_batch_from_its_plan_to_its_end() {
    let run = Run::new();
    let (one, _) =
        run.source(Scripted::new(|call| Ok(matches!(call, Call::Batch(_)).then(|| vec![1, 2]))).named("one"));
    let (two, _) = run.source(numbers().named("two"));
    one.union(&two).foreach_batch(|_, _| Ok(()));
    two.print_first(0);
    let outputs = [format!("foreach_batch ({})", line(-2)), format!("print ({})", line(-1))];
    run.context.start().unwrap();
    assert!(matches!(next(&run.events), Event::StreamingStarted { zero_time } if zero_time == at(0)));
    run.tick();
    let Event::BatchSubmitted(batch) = next(&run.events) else { panic!("the batch is planned") };
    assert_eq!((batch.time, batch.submitted, batch.started, batch.ended), (at(1000), at(1000), None, None));
    assert_eq!(batch.records(), 3);
    let inputs = batch.inputs.iter().map(|i| (i.stream.0, i.name.as_str(), i.records, i.description.as_str()));
    assert_eq!(inputs.collect::<Vec<_>>(), [(0, "one", 2, "2 scripted"), (1, "two", 1, "1 scripted")]);
    assert_eq!(batch.outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>(), outputs);
    assert_eq!((batch.scheduling_delay(), batch.processing_delay(), batch.total_delay()), (None, None, None));
    let Event::BatchStarted(batch) = next(&run.events) else { panic!("its first job begins") };
    assert_eq!((batch.started, batch.ended, batch.scheduling_delay()), (Some(at(1000)), None, Some(Duration::ZERO)));
    for number in [0, 1] {
        let Event::OutputStarted(output) = next(&run.events) else { panic!("output {number} begins") };
        assert_eq!((output.batch, output.output, &output.name), (at(1000), number, &outputs[number]));
        assert_eq!((output.started, output.ended, output.duration()), (Some(at(1000)), None, None));
        let Event::OutputCompleted(output) = next(&run.events) else { panic!("output {number} ends") };
        assert_eq!((output.output, output.ended, output.failure), (number, Some(at(1000)), None));
    }
    let Event::BatchCompleted(batch) = next(&run.events) else { panic!("its last job has ended") };
    assert_eq!((batch.time, batch.ended, batch.total_delay()), (at(1000), Some(at(1000)), Some(Duration::ZERO)));
    assert!(batch.outputs.iter().all(|output| output.ended.is_some() && output.failure.is_none()));
    run.context.stop(Stop::Now).unwrap();
    assert!(run.events.try_recv().is_err(), "nothing comes after the end");
}

/// Delays are those of the clock of the context.
#[test]
fn delays_are_measured_on_the_clock() {
    let run = Run::with(|builder| builder.batch_interval(5 * SECOND));
    let gate = Gate::new();
    let (numbers, _) = run.source(numbers());
    let waiting = gate.clone();
    numbers.foreach_batch(move |_, _| {
        waiting.pass();
        Ok(())
    });
    run.context.start().unwrap();
    run.clock.advance(5 * SECOND);
    gate.wait();
    // The second batch waits for the first.
    run.clock.advance(5 * SECOND);
    let submitted = |time| loop {
        if matches!(next(&run.events), Event::BatchSubmitted(info) if info.time == at(time)) {
            break;
        }
    };
    submitted(10_000);
    run.clock.advance(2 * SECOND);
    gate.let_through(1);
    let first = run.completed();
    assert_eq!((first.scheduling_delay(), first.processing_delay()), (Some(Duration::ZERO), Some(7 * SECOND)));
    gate.wait();
    run.clock.advance(SECOND);
    gate.let_through(1);
    let second = run.completed();
    assert_eq!((second.scheduling_delay(), second.processing_delay()), (Some(2 * SECOND), Some(SECOND)));
    assert_eq!(second.total_delay(), Some(3 * SECOND));
}

#[test]
fn a_failed_output_is_in_the_events_of_its_batch() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Err(Error::new(ErrorKind::User, "no")));
    run.context.start().unwrap();
    run.tick();
    let error = run.ended().unwrap_err().to_string();
    let events: Vec<_> = run.events.try_iter().collect();
    assert!(events.iter().any(|e| matches!(e, Event::OutputCompleted(o) if o.failure.as_ref() == Some(&error))));
    let ended = |e: &&Event| matches!(e, Event::BatchCompleted(b) if b.outputs[0].failure.as_ref() == Some(&error));
    assert_eq!(events.iter().filter(ended).count(), 1);
    assert!(matches!(events.last(), Some(Event::Failed { error: told }) if *told == error));
}

/// Design, 5.13: in Spark a batch without a job leaves no trace and is never marked as processed.
#[test]
fn batches_without_jobs_have_events_and_are_done() {
    let run = Run::new();
    let (numbers, calls) = run.source(Scripted::<i64>::new(|_| Ok(None)));
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    for (number, batch) in run.batches(3).into_iter().enumerate() {
        assert_eq!(batch.time, at(1000 * (number as i64 + 1)));
        assert!(batch.outputs.is_empty() && batch.inputs.is_empty());
        assert_eq!(batch.total_delay(), Some(Duration::ZERO));
    }
    run.context.stop(Stop::Now).unwrap();
    let completed: Vec<_> = calls.try_iter().filter(|call| matches!(call, Call::Completed(_))).collect();
    assert_eq!(completed, [1000, 2000, 3000].map(Call::Completed));
}

/// What a batch gets is decided when it is planned, and it is planned when there is room.
#[test]
fn batches_that_fall_behind_are_planned_late() {
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
    for (late, before_it) in [(3000, 2), (4000, 3), (5000, 4)] {
        let (batch, waiting) = loop {
            if let Event::FallingBehind { batch, waiting } = next(&run.events) {
                break (batch, waiting);
            }
        };
        assert_eq!((batch, waiting), (at(late), before_it));
    }
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), [Call::Start, Call::Batch(1000), Call::Batch(2000)]);
    gate.let_through(1);
    assert_eq!(run.completed().time, at(1000));
    assert_eq!([next(&calls), next(&calls)], [Call::Completed(1000), Call::Batch(3000)]);
    gate.let_through(4);
    assert_eq!([(); 4].map(|()| run.completed().time), [2000, 3000, 4000, 5000].map(at));
    run.context.stop(Stop::Now).unwrap();
}

/// A queue of which a batch takes all: what comes while batches wait goes to the batch that is planned next.
#[test]
fn a_late_batch_gets_what_has_come_by_then() {
    let run = Run::with(|builder| builder.max_queued_batches(1));
    let gate = Gate::new();
    let queue = QueueSource::all_at_once();
    let (send, batches) = unbounded();
    let waiting = gate.clone();
    run.context.input(queue.clone()).foreach_batch(move |dataset, batch| {
        waiting.pass();
        send.send((batch.time, dataset.collect()?)).map_err(Error::user)
    });
    run.context.start().unwrap();
    queue.push([1]);
    run.tick();
    gate.wait();
    run.tick();
    queue.push([2]);
    run.tick();
    queue.push([3]);
    gate.let_through(3);
    let batches = [(); 3].map(|()| next(&batches));
    assert_eq!(batches, [(at(1000), vec![1]), (at(2000), vec![2, 3]), (at(3000), vec![])]);
}

/// The first batch comes at the next multiple of the batch interval, of which there is a whole interval to wait at an
/// exact one.
#[test]
fn batches_are_aligned_to_the_clock() {
    for (started, zero, first) in [(0, 0, 1000), (350, 0, 1000), (999, 0, 1000), (1000, 1000, 2000), (4500, 4000, 5000)]
    {
        let run = Run::new();
        let (numbers, _) = run.source(numbers());
        numbers.foreach_batch(|_, _| Ok(()));
        run.clock.advance(Duration::from_millis(started));
        run.context.start().unwrap();
        assert!(
            matches!(next(&run.events), Event::StreamingStarted { zero_time } if zero_time == at(zero)),
            "{started}"
        );
        run.tick();
        assert_eq!(run.completed().time, at(first), "started at {started}");
    }
}

/// A slide counts from the zero time and not from the epoch.
#[test]
fn slides_count_from_the_zero_time() {
    let run = Run::new();
    run.clock.advance(3 * SECOND);
    let (numbers, _) = run.source(numbers());
    let (send, windows) = unbounded();
    numbers
        .window(2 * SECOND, 2 * SECOND)
        .foreach_batch(move |dataset, batch| send.send((batch.time, dataset.collect()?)).map_err(Error::user));
    run.context.start().unwrap();
    run.batches(4);
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(windows.try_iter().collect::<Vec<_>>(), [(at(5000), vec![4, 5]), (at(7000), vec![6, 7])]);
}

/// Ticks are never merged or skipped, however late they are.
#[test]
fn a_leap_of_the_clock_runs_every_batch() {
    const BATCHES: usize = 3000;
    for jobs in [1, 3] {
        let run = Run::with(|builder| builder.concurrent_jobs(jobs));
        let (numbers, calls) = run.source(numbers());
        let (send, sums) = unbounded();
        numbers.window(3 * SECOND, SECOND).foreach_batch(move |dataset, batch| {
            let sum = dataset.reduce(|a, b| a + b)?.unwrap_or(0);
            send.send((batch.time.as_millis() / 1000, sum)).map_err(Error::user)
        });
        run.context.start().unwrap();
        run.clock.advance(BATCHES as u32 * SECOND);
        let mut sums: Vec<_> = (0..BATCHES).map(|_| next(&sums)).collect();
        while next(&calls) != Call::Completed(1000 * BATCHES as i64) {}
        run.context.stop(Stop::Now).unwrap();
        if jobs > 1 {
            sums.sort();
        }
        let expected = (1..=BATCHES as i64).map(|n| (n, (1.max(n - 2)..=n).sum()));
        assert!(sums.into_iter().eq(expected), "{jobs} jobs at a time");
    }
}

/// Batches of a millisecond, the shortest there are.
#[test]
fn the_shortest_batch_interval() {
    let millisecond = Duration::from_millis(1);
    let out = tidemill::testing::TestRun::new()
        .batch_interval(millisecond)
        .run([vec![1], vec![2], vec![3]], |numbers| numbers.window(2 * millisecond, millisecond))
        .unwrap();
    assert_eq!(out, [vec![1], vec![1, 2], vec![2, 3]]);
    assert_eq!(out.times(), [1, 2, 3].map(at));
}

/// Two contexts in one process do not know of each other. Spark allows one.
#[test]
fn two_contexts_at_a_time() {
    let (first, second) = (running(), running());
    assert_eq!((first.batches(2).len(), second.batches(1).len()), (2, 1));
    first.context.stop(Stop::Now).unwrap();
    assert_eq!(second.batches(1)[0].time, at(2000));
}

/// The clock of the machine, once: what the tests on a manual clock leave out.
#[test]
fn a_context_on_the_clock_of_the_machine() {
    let context = StreamingContext::builder("wall").batch_interval(Duration::from_millis(2)).build().unwrap();
    let (numbers, (send, times)) = (QueueSource::one_at_a_time(), unbounded());
    numbers.push([1]);
    context
        .input(numbers)
        .foreach_batch(move |dataset, batch| send.send((batch.time, dataset.count()?)).map_err(Error::user));
    context.start().unwrap();
    let (first, count) = next(&times);
    let (second, _) = next(&times);
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!((count, second - first), (1, Duration::from_millis(2)));
    assert!(first.is_multiple_of(Duration::from_millis(2)));
}
