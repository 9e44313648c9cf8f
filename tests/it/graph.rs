//! The graph: mistakes in building it, what is computed once, and for how long batches are kept.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crossbeam_channel::unbounded;
use tidemill::testing::TestRun;
use tidemill::{DStream, Dataset, Error, ErrorKind, QueueSource, State, Stop};

use crate::harness::{Call, Gate, Run, SECOND, Scripted, at, line, next, numbers};

/// Builds a graph that cannot start and returns what `start` says.
#[track_caller]
fn mistakes(build: impl FnOnce(&Run)) -> String {
    let run = Run::new();
    build(&run);
    let error = run.context.start().expect_err("the graph has a mistake");
    assert_eq!((error.kind(), run.context.state()), (ErrorKind::Graph, State::Stopped), "{error}");
    error.to_string()
}

fn queue() -> QueueSource<i32> {
    QueueSource::one_at_a_time()
}

#[test]
fn a_graph_without_output() {
    let text = mistakes(|run| {
        run.context.input(queue()).map(|n| n + 1);
    });
    assert_eq!(text, "the program has no output operation: end a stream in foreach_batch or print");
}

#[test]
fn windows_that_are_no_multiples() {
    let text = mistakes(|run| run.context.input(queue()).window(SECOND * 3 / 2, SECOND).print());
    let site = line(-1);
    let expected = format!(
        "{site}: the window duration 1.5s is no multiple of 1s, the slide duration of the stream queue ({site})"
    );
    assert_eq!(text, expected);
    let text = mistakes(|run| run.context.input(queue()).map(|n| (n, n)).window(SECOND, SECOND / 2).print());
    let site = line(-1);
    let expected =
        format!("{site}: the slide duration 500ms is no multiple of 1s, the slide duration of the stream map ({site})");
    assert_eq!(text, expected);
    // Above a window its slide counts.
    let text = mistakes(|run| {
        let pairs = run.context.input(queue()).map(|n| (n, n)).window(2 * SECOND, 2 * SECOND).named("pairs");
        pairs.reduce_by_key_and_window(|a, _| a, 4 * SECOND, 3 * SECOND).print();
    });
    let (named, used) = (line(-3), line(-2));
    let expected =
        format!("{used}: the slide duration 3s is no multiple of 2s, the slide duration of the stream pairs ({named})");
    assert_eq!(text, expected);
}

#[test]
fn a_slide_of_nothing() {
    let text = mistakes(|run| run.context.input(queue()).window(SECOND, Duration::ZERO).print());
    assert_eq!(text, format!("{}: the slide duration is zero", line(-1)));
}

#[test]
fn streams_that_do_not_fit_together() {
    let text = mistakes(|run| {
        let numbers = run.context.input(queue());
        numbers.union(&numbers.window(2 * SECOND, 2 * SECOND)).print();
    });
    assert_eq!(text, format!("{}: union of streams with different slide durations: queue 1s, window 2s", line(-2)));
    let other = Run::new();
    let text = mistakes(|run| run.context.input(queue()).union(&other.context.input(queue())).print());
    assert_eq!(text, format!("{}: union of streams that belong to different contexts", line(-1)));
    let text = mistakes(|run| {
        let numbers = run.context.input(queue());
        let window = numbers.window(2 * SECOND, 2 * SECOND).named("pairs");
        numbers.transform_with(&window, |left, _, _| Ok(left)).print();
    });
    let expected = "transform_with of streams with different slide durations: queue 1s, pairs 2s";
    assert_eq!(text, format!("{}: {expected}", line(-3)));
    let text = mistakes(|run| {
        let none: [DStream<i32>; 0] = [];
        run.context.union(none.clone()).print();
        run.context.transform(none, |_, _| Err::<Dataset<i32>, _>(Error::user("never called"))).print();
    });
    assert!(text.contains(&format!("{}: union of no streams", line(-3))), "{text}");
    assert!(text.contains(&format!("{}: transform of no streams", line(-3))), "{text}");
}

#[test]
fn a_name_given_twice() {
    let text = mistakes(|run| run.context.input(queue()).named("clicks").named("visits").print());
    assert_eq!(text, format!("{}: the stream cannot be named visits: it has the name clicks already", line(-1)));
}

#[test]
fn mistakes_are_reported_together() {
    let text = mistakes(|run| {
        let numbers = run.context.input(queue());
        numbers.window(SECOND / 3, SECOND / 4);
        let _ = numbers.map(|n| n).named("a").named("b");
    });
    let (window, name) = (line(-3), line(-2));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "the graph has 4 mistakes:");
    assert!(lines[1].starts_with(&format!("  {window}: the window duration 333.333333ms is no multiple")), "{text}");
    assert!(lines[2].starts_with(&format!("  {window}: the slide duration 250ms is no multiple")), "{text}");
    assert!(lines[3].starts_with(&format!("  {name}: the stream cannot be named b")), "{text}");
    assert!(lines[4].starts_with("  the program has no output operation"), "{text}");
    assert_eq!(lines.len(), 5, "{text}");
}

/// Whoever adds to a graph that runs is told so, instead of waiting for records that never come.
#[test]
fn a_stream_that_comes_too_late() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run.batches(1);
    numbers.map(|n| n + 1);
    let site = line(-1);
    let error = run.context.await_termination().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert_eq!(error.to_string(), format!("{site}: map was added after the context was started; it would never run"));
}

#[test]
fn an_output_or_an_input_that_comes_too_late() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    numbers.print();
    let site = line(-1);
    let error = run.context.await_termination().unwrap_err();
    assert_eq!(error.to_string(), format!("{site}: print was added after the context was started; it would never run"));
    let run = Run::new();
    run.context.input(queue()).print();
    run.context.start().unwrap();
    run.context.input(queue());
    let site = line(-1);
    let error = run.context.await_termination().unwrap_err();
    assert_eq!(error.to_string(), format!("{site}: queue was added after the context was started; it would never run"));
}

#[test]
fn settings_that_cannot_be_used_are_named_together() {
    let builder =
        tidemill::StreamingContext::builder("bad").batch_interval(Duration::ZERO).workers(0).concurrent_jobs(0);
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let expected = "batch_interval is 0ns, the shortest is 1 ms; workers is 0, the least is 1; \
                    concurrent_jobs is 0, the least is 1";
    assert_eq!(error.to_string(), expected);
}

/// An input that feeds no output is not started: Spark starts it in vain.
#[test]
fn an_input_that_nobody_reads_is_left_alone() {
    let run = Run::new();
    let (_, unread) = run.source(numbers());
    let (read, calls) = run.source(numbers());
    read.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    let info = run.batches(1).remove(0);
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(unread.try_iter().collect::<Vec<_>>(), []);
    assert_eq!(calls.try_iter().next(), Some(Call::Start));
    assert_eq!(info.inputs.len(), 1);
}

fn counter() -> (Arc<AtomicU32>, impl Fn() + Clone + Send + Sync + 'static) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    (calls, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })
}

/// Spark computes the stream of a diamond once for each way to it, unless it is told to cache it.
#[test]
fn a_diamond_computes_its_shared_stream_once() {
    for (run, workers) in [(TestRun::new(), 1), (TestRun::new().encoded_shuffle(), 2), (TestRun::new(), 3)] {
        let (calls, count) = counter();
        let build = |numbers: tidemill::DStream<i32>| {
            let shared = numbers.map(move |n| {
                count();
                n * 10
            });
            let left = shared.map(|n| (n % 20, n));
            let right = shared.filter(|n| n % 20 == 0).map(|n| (0, n));
            left.union(&right).reduce_by_key(|a, b| a + b)
        };
        let out = run.workers(workers).run([vec![1, 2, 3, 4], vec![5]], build).unwrap().sorted();
        assert_eq!(out, [vec![(0, 120), (10, 40)], vec![(10, 50)]]);
        assert_eq!(calls.load(Ordering::Relaxed), 5, "{workers} workers");
    }
}

/// There are twice as many ways to the start with each diamond. Getting a batch ready used to go all of them: twenty
/// diamonds took a second, and thirty a quarter of an hour.
#[test]
fn a_long_chain_of_diamonds() {
    let build = |numbers: DStream<i32>| {
        let start = numbers.map(|n| (n, 1)).reduce_by_key(|a, b| a + b);
        (0..50).fold(start, |sums, _| sums.join(&sums.map_values(|sum| sum + 1)).map_values(|(sum, _)| sum))
    };
    let out = TestRun::new().run([vec![7, 7], vec![8]], build).unwrap();
    assert_eq!(out, [vec![(7, 2)], vec![(8, 1)]]);
}

#[test]
fn two_outputs_compute_their_shared_stream_once() {
    for jobs in [1, 2] {
        let run = Run::with(|builder| builder.concurrent_jobs(jobs));
        let (calls, count) = counter();
        let (numbers, _) = run.source(numbers());
        let shared = numbers.map(move |n| {
            count();
            n
        });
        shared.map(|n| n + 1).foreach_batch(|dataset, _| dataset.collect().map(drop));
        shared.foreach_batch(|dataset, _| dataset.collect().map(drop));
        run.context.start().unwrap();
        run.batches(3);
        run.context.stop(Stop::Now).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 3, "{jobs} jobs at a time");
    }
}

/// Two jobs that begin at the same moment both find the blocks of their shuffle missing. Each used to run the map tasks
/// then: closures ran twice, and accumulators counted twice, now and then.
#[test]
fn two_outputs_at_the_same_time_run_their_shared_shuffle_once() {
    let run = Run::with(|builder| builder.concurrent_jobs(2));
    let seen = run.context.accumulator::<u64>("seen");
    let (calls, count) = counter();
    let counted = seen.clone();
    let (numbers, _) = run.source(numbers());
    let sums = numbers.flat_map(|n| 1000 * n..1000 * (n + 1)).map(move |n| {
        count();
        counted.add(1);
        (n % 7, n)
    });
    let sums = sums.reduce_by_key(|a, b| a + b);
    let sorted = sums.repartition(3).transform(|batch, _| Ok(batch.sort_by_key()));
    let together = Arc::new(Barrier::new(2));
    for output in [&sums, &sorted, &sums, &sorted] {
        let together = Arc::clone(&together);
        output.foreach_batch(move |dataset, _| {
            together.wait();
            dataset.collect().map(drop)
        });
    }
    run.context.start().unwrap();
    run.batches(20);
    run.context.stop(Stop::Now).unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), seen.value()), (20_000, 20_000));
}

/// Windows read a batch several times: what it was made of is computed once.
#[test]
fn overlapping_windows_compute_a_batch_once() {
    let (calls, count) = counter();
    let build = |numbers: tidemill::DStream<i32>| {
        let counted = numbers.map(move |n| {
            count();
            n
        });
        counted.window(3 * SECOND, SECOND)
    };
    let out = TestRun::new().run((1..=6).map(|n| vec![n]), build).unwrap();
    assert_eq!(out.batches()[5], [4, 5, 6]);
    assert_eq!(calls.load(Ordering::Relaxed), 6);
}

/// A record that is counted as long as it is in memory.
#[derive(Clone)]
struct Tracked(#[expect(dead_code, reason = "held, not read")] Arc<()>);

/// The vector "RDD clean-up": ten batches, remember 3 s, map, window of 2 s by 1 s, window of 4 s by 2 s. After the
/// batch of 10 s the outer window remembers those of 8 s and 10 s, the inner one 4 s to 10 s, the map 2 s to 10 s: the
/// records of the batch of 2 s are in memory, those of 1 s are not.
#[test]
fn batches_are_remembered_for_as_long_as_windows_reach() {
    let run = Run::with(|builder| builder.remember(3 * SECOND));
    // Each batch has one record; whoever holds a clone of it keeps its handle alive.
    let handles: Vec<Arc<()>> = (0..=10).map(|_| Arc::default()).collect();
    let records = handles.clone();
    let source = Scripted::new(move |call| {
        let Call::Batch(time) = call else { return Ok(None) };
        Ok(Some(vec![Tracked(Arc::clone(&records[(time / 1000) as usize]))]))
    });
    let (numbers, calls) = run.source(source);
    let mapped = numbers.map(|record| record);
    let windows = mapped.window(2 * SECOND, SECOND).window(4 * SECOND, 2 * SECOND);
    windows.foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(10);
    // The inputs are told after the streams have forgotten.
    while next(&calls) != Call::Completed(10_000) {}
    // Two each: in this test and in the script.
    let in_memory: Vec<_> = (1..=10).filter(|batch| Arc::strong_count(&handles[*batch]) > 2).collect();
    assert_eq!(in_memory, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    run.context.stop(Stop::Now).unwrap();
    drop((run, numbers, mapped, windows));
    assert!(handles.iter().all(|handle| Arc::strong_count(handle) == 1), "nothing is kept after the end");
}

/// Without windows a batch is forgotten when the next one is done.
#[test]
fn batches_are_forgotten_once_they_are_done() {
    let run = Run::new();
    let handles: Vec<Arc<()>> = (0..=5).map(|_| Arc::default()).collect();
    let records = handles.clone();
    let (numbers, calls) = run.source(Scripted::new(move |call| {
        let Call::Batch(time) = call else { return Ok(None) };
        Ok(Some(vec![Tracked(Arc::clone(&records[(time / 1000) as usize]))]))
    }));
    let pairs = numbers.map(|record| record);
    pairs.union(&pairs.filter(|_| true)).foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(5);
    while next(&calls) != Call::Completed(5000) {}
    let in_memory: Vec<_> = (1..=5).filter(|batch| Arc::strong_count(&handles[*batch]) > 2).collect();
    assert_eq!(in_memory, [5]);
}

/// A window over reduced batches keeps what they were reduced to, and not what it was made from: also when the records
/// were kept for another output.
#[test]
fn a_reduced_window_does_not_keep_records() {
    let run = Run::new();
    let handles: Vec<Arc<()>> = (0..=8).map(|_| Arc::default()).collect();
    let records = handles.clone();
    let (numbers, calls) = run.source(Scripted::new(move |call| {
        let Call::Batch(time) = call else { return Ok(None) };
        Ok(Some(vec![Tracked(Arc::clone(&records[(time / 1000) as usize]))]))
    }));
    numbers.map(|record| record).foreach_batch(|dataset, _| dataset.count().map(drop));
    let counts = numbers.map(|_| ((), 1)).reduce_by_key_and_window(|a, b| a + b, 60 * SECOND, SECOND);
    counts.foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(8);
    while next(&calls) != Call::Completed(8000) {}
    let in_memory: Vec<_> = (1..=8).filter(|batch| Arc::strong_count(&handles[*batch]) > 2).collect();
    assert_eq!(in_memory, [8]);
}

/// An inverse window is made from the one before it.
#[test]
fn an_inverse_window_needs_batches_in_order() {
    let run = Run::with(|builder| builder.concurrent_jobs(2));
    let pairs = run.context.input(queue()).map(|n| (n, n));
    pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * SECOND, SECOND).print();
    let place = line(-1);
    let error = run.context.start().unwrap_err().to_string();
    let what = "reduce_by_key_and_window_inverse needs batches in order: concurrent_jobs has to be 1 and is 2";
    assert_eq!(error, format!("{place}: {what}"));
}

/// What is done with a window may take its time, and ask for the same window again.
#[test]
fn an_action_in_a_task_over_the_same_window() {
    let run = Run::new();
    let (send, shares) = unbounded();
    let numbers = QueueSource::one_at_a_time();
    numbers.push([1, 2, 3, 4]);
    let counts = run.context.input(numbers).map(|n| (n, 1)).reduce_by_key_and_window(|a, b| a + b, SECOND, SECOND);
    counts.foreach_batch(move |counts, _| {
        let all = counts.clone();
        counts.foreach(|(_, count)| send.send((count, all.count()?)).map_err(Error::user))
    });
    run.context.start().unwrap();
    run.clock.advance(SECOND);
    assert_eq!([(); 4].map(|()| next(&shares)), [(1, 4); 4]);
    run.context.stop(Stop::Now).unwrap();
}

/// A task that ran an action while it kept its partition was given, as it waited for the pool, another task that wanted
/// the same partition, and waited for itself: once in some hundred times.
#[test]
fn an_action_in_a_task_that_keeps_its_partition() {
    let (send, sums) = unbounded();
    let rounds = move || {
        let context = tidemill::StreamingContext::builder("nested").workers(4).build().unwrap();
        let other = context.parallelize(0..2000u64, 4).map(|n| (0..50).fold(n, |a, b| a ^ (b * n)));
        for _ in 0..300 {
            let counted = other.clone();
            let kept = context.parallelize(0..4, 4).try_map(move |n| Ok(counted.count()? + n)).persist();
            send.send(kept.union(&kept).reduce(|a, b| a + b).unwrap()).unwrap();
        }
    };
    let runner = std::thread::Builder::new().spawn(rounds).unwrap();
    assert!((0..300).all(|_| next(&sums) == Some(2 * (4 * 2000 + 6))));
    runner.join().unwrap();
}

/// A batch is planned when it is due, also while an output still works on the window before it.
#[test]
fn planning_does_not_wait_for_the_output_of_a_window() {
    let run = Run::new();
    let gate = Gate::new();
    let waiting = gate.clone();
    let (numbers, calls) = run.source(numbers());
    let counts = numbers.map(|n| (n, 1)).reduce_by_key_and_window(|a, b| a + b, 3 * SECOND, SECOND);
    counts.foreach_batch(move |counts, _| {
        counts.foreach(|_| {
            waiting.pass();
            Ok(())
        })
    });
    run.context.start().unwrap();
    run.clock.advance(SECOND);
    gate.wait();
    run.clock.advance(2 * SECOND);
    let planned = [next(&calls), next(&calls), next(&calls), next(&calls)];
    assert_eq!(planned, [Call::Start, Call::Batch(1000), Call::Batch(2000), Call::Batch(3000)]);
    gate.let_through(100);
    assert_eq!(run.completed().time, at(1000));
    run.context.stop(Stop::Now).unwrap();
}

/// The graph, its outputs and the context do not keep each other alive: also when it was never started, or was stopped
/// by a mistake.
#[test]
fn a_graph_is_freed_with_its_context() {
    for (start, mistake) in [(false, false), (true, false), (true, true)] {
        let held = Arc::new(());
        let run = Run::new();
        let (numbers, _) = run.source(numbers());
        let (in_map, in_output) = (Arc::clone(&held), Arc::clone(&held));
        let stream = numbers.map(move |n| (n, Arc::strong_count(&in_map)));
        stream.foreach_batch(move |_, _| {
            let _ = &in_output;
            Ok(())
        });
        if mistake {
            stream.window(SECOND, Duration::ZERO);
        }
        if start {
            assert_eq!(run.context.start().is_err(), mistake);
        }
        drop((run, numbers, stream));
        assert_eq!(Arc::strong_count(&held), 1, "start: {start}, mistake: {mistake}");
    }
}

/// An output operation may hold its context, to ask for its name or state.
#[test]
fn an_output_that_holds_its_context() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    let context = Arc::clone(&run.context);
    let (send, names) = unbounded();
    numbers
        .foreach_batch(move |_, _| send.send((context.app_name().to_string(), context.state())).map_err(Error::user));
    run.context.start().unwrap();
    run.batches(1);
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(next(&names), ("test".to_string(), State::Active));
    drop(numbers);
    assert_eq!(Arc::strong_count(&run.context), 1, "the graph was closed");
}
