//! What Spark Streaming's own suites assert of operators that look at one batch, under the ids of the collection that
//! was made from them.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tidemill::testing::{TestRun, run};
use tidemill::{DStream, Data, Dataset, Error, ErrorKind, Interval, QueueSource, Stop, Time};

use crate::harness::{
    Call, Run, SECOND, Scripted, alone, at, check_list, check_set, error_of, every_run, line, strings,
};

fn one_to_twelve() -> [Vec<i32>; 3] {
    [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10, 11, 12]]
}

fn texts() -> [Vec<String>; 3] {
    one_to_twelve().map(|batch| batch.iter().map(i32::to_string).collect())
}

/// The words of the keyed vectors, each with 1.
fn words() -> [Vec<(String, i32)>; 3] {
    [strings(["a", "a", "b"]), strings(["", ""]), vec![]].map(|words| words.into_iter().map(|word| (word, 1)).collect())
}

fn pairs<V: Clone, const N: usize>(pairs: [(&str, V); N]) -> Vec<(String, V)> {
    pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

#[test]
fn b_1_map() {
    check_list("B-1", one_to_twelve(), |numbers| numbers.map(|n| n.to_string()), texts());
}

#[test]
fn b_2_flat_map() {
    let doubled = one_to_twelve().map(|batch| batch.into_iter().flat_map(|n| [n, 2 * n]).collect::<Vec<_>>());
    check_list("B-2", one_to_twelve(), |numbers| numbers.flat_map(|n| [n, 2 * n]), &doubled);
    let by_reference = |numbers: DStream<i32>| {
        numbers.flat_map_ref(|&n, out| {
            out.emit(n);
            out.emit(2 * n);
        })
    };
    check_list("B-2 by reference", one_to_twelve(), by_reference, doubled);
}

#[test]
fn b_3_filter() {
    let even = [vec![2, 4], vec![6, 8], vec![10, 12]];
    check_list("B-3", one_to_twelve(), |numbers| numbers.filter(|n| n % 2 == 0), even);
}

#[test]
fn b_4_glom() {
    let lists = |[a, b, c, d]: [i32; 4]| vec![vec![a, b], vec![c, d]];
    let expected = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]].map(lists);
    assert_eq!(TestRun::new().partitions(2).run(one_to_twelve(), |numbers| numbers.glom()).unwrap(), expected, "B-4");
}

#[test]
fn b_5_map_partitions() {
    let run = TestRun::new().partitions(2);
    let sums = run.run(one_to_twelve(), |numbers| numbers.map_partitions(|part| [part.sum::<i32>()])).unwrap();
    assert_eq!(sums, [vec![3, 7], vec![11, 15], vec![19, 23]], "B-5");
}

/// Runs a repartition in both kinds of shuffle and compares the number of partitions and what is in them.
#[track_caller]
fn check_repartition(id: &str, from: usize, to: usize) {
    let hundreds = [1..=100, 101..=200, 201..=300].map(Vec::from_iter);
    for run in [TestRun::new().partitions(from), TestRun::new().partitions(from).encoded_shuffle()] {
        let lists = run.run(hundreds.clone(), |numbers| numbers.repartition(to).glom()).unwrap();
        for (batch, expected) in lists.batches().iter().zip(&hundreds) {
            let mut records = batch.concat();
            records.sort();
            assert_eq!((batch.len(), &records), (to, expected), "{id} by {run:?}");
        }
        assert_eq!(lists.batches().len(), hundreds.len(), "{id} by {run:?}");
    }
}

#[test]
fn b_6_repartition_to_more() {
    check_repartition("B-6", 2, 5);
}

#[test]
fn b_7_repartition_to_fewer() {
    check_repartition("B-7", 5, 2);
}

#[test]
fn b_8_group_by_key() {
    let groups = [pairs([("a", vec![1, 1]), ("b", vec![1])]), pairs([("", vec![1, 1])]), vec![]];
    check_set("B-8", words(), |words| words.group_by_key(), groups);
}

#[test]
fn b_9_reduce_by_key() {
    let sums = [pairs([("a", 2), ("b", 1)]), pairs([("", 2)]), vec![]];
    check_set("B-9", words(), |words| words.reduce_by_key(|a, b| a + b), sums);
}

#[test]
fn b_10_reduce() {
    check_list("B-10", one_to_twelve(), |numbers| numbers.reduce(|a, b| a + b), [vec![10], vec![26], vec![42]]);
}

#[test]
fn b_11_count() {
    let growing = [vec![], vec![1], vec![1, 2], vec![1, 2, 3], vec![1, 2, 3, 4]];
    check_list("B-11", growing, |numbers| numbers.count(), [vec![0], vec![1], vec![2], vec![3], vec![4]]);
}

#[test]
fn b_12_count_by_value() {
    let input = [vec![1], vec![1, 1, 1], vec![1, 2], vec![1, 1, 2, 2]];
    let counts = [vec![(1, 1)], vec![(1, 3)], vec![(1, 1), (2, 1)], vec![(1, 2), (2, 2)]];
    check_set("B-12", input, |numbers| numbers.count_by_value(), counts);
}

#[test]
fn b_13_map_values() {
    let plus_ten = [pairs([("a", 12), ("b", 11)]), pairs([("", 12)]), vec![]];
    check_set("B-13", words(), |words| words.reduce_by_key(|a, b| a + b).map_values(|n| n + 10), plus_ten);
}

#[test]
fn b_14_flat_map_values() {
    let both = [pairs([("a", 2), ("a", 12), ("b", 1), ("b", 11)]), pairs([("", 2), ("", 12)]), vec![]];
    check_set("B-14", words(), |words| words.reduce_by_key(|a, b| a + b).flat_map_values(|n| [n, n + 10]), both);
}

#[test]
fn b_15_union() {
    let halves: [Vec<i32>; 3] = [(1..=4).collect(), (101..=104).collect(), (201..=204).collect()];
    let whole: [Vec<i32>; 3] = [(1..=8).collect(), (101..=108).collect(), (201..=208).collect()];
    check_list("B-15", halves, |numbers| numbers.union(&numbers.map(|n| n + 4)), whole);
}

#[test]
fn b_16_context_union_and_b_18_context_transform() {
    let thirds: [Vec<i32>; 3] = [(1..=4).collect(), (101..=104).collect(), (201..=204).collect()];
    let whole: [Vec<i32>; 3] = [(1..=12).collect(), (101..=112).collect(), (201..=212).collect()];
    for run in every_run() {
        let plus = |numbers: &DStream<i32>, n| numbers.map(move |number| number + n);
        let union = run.run_with_context(thirds.clone(), |context, numbers| {
            context.union([&numbers, &plus(&numbers, 4), &plus(&numbers, 8)])
        });
        assert_eq!(union.unwrap(), whole, "B-16 by {run:?}");
        let of_array = run.run_with_context(thirds.clone(), |context, numbers| {
            context.transform([plus(&numbers, 0), plus(&numbers, 4), plus(&numbers, 8)], |[a, b, c], _| {
                Ok(a.union(&b).union(&c))
            })
        });
        assert_eq!(of_array.unwrap(), whole, "B-18 by {run:?}");
        let of_tuple = run.run_with_context(thirds.clone(), |context, numbers| {
            let (more, texts) = (plus(&numbers, 4), plus(&numbers, 8).map(|n| n.to_string()));
            context.transform((&numbers, more, &texts), |(a, b, texts), _| {
                Ok(a.union(&b).union(&texts.try_map(|text| text.parse().map_err(Error::user))))
            })
        });
        assert_eq!(of_tuple.unwrap(), whole, "B-18 of a tuple by {run:?}");
        let of_vec = run.run_with_context(thirds.clone(), |context, numbers| {
            let streams: Vec<_> = [0, 4, 8].map(|n| plus(&numbers, n)).into();
            context.transform(streams, |batches, time| {
                assert_eq!((batches.len(), time.as_millis() % 1000), (3, 0));
                batches.into_iter().reduce(|all, batch| all.union(&batch)).ok_or_else(refusal)
            })
        });
        assert_eq!(of_vec.unwrap(), whole, "B-18 of a vec by {run:?}");
        let borrowed = run.run_with_context(thirds.clone(), |context, numbers| {
            let streams = [0, 4, 8].map(|n| plus(&numbers, n));
            let of_array = context.transform(&streams, |[a, b, c], _| Ok(a.union(&b).union(&c)));
            let rest = context.transform(&streams[1..], |batches, _| Ok(batches[0].union(&batches[1])));
            let both = vec![plus(&numbers, 0), rest];
            let of_vec = context.transform(&both, |batches, _| Ok(batches[0].union(&batches[1])));
            assert_eq!(both.len(), 2);
            of_array.transform_with(&of_vec, |left, right, _| {
                assert_eq!(left.collect()?, right.collect()?);
                Ok(left)
            })
        });
        assert_eq!(borrowed.unwrap(), whole, "B-18 of references by {run:?}");
    }
}

#[test]
fn b_26_transform_with() {
    let left = [strings(["a", "b"]), strings(["a", ""]), strings([""])];
    let right = [strings(["a", "b"]), strings(["b", ""]), strings([])];
    let expected = [strings(["a", "b", "a", "b"]), strings(["a", "", "b", ""]), strings([""])];
    let build = |left: DStream<String>, right: DStream<String>| {
        left.transform_with(&right, |left, right, _| Ok(left.union(&right)))
    };
    for run in every_run() {
        assert_eq!(run.run2(left.clone(), right.clone(), build).unwrap(), expected, "B-26 by {run:?}");
    }
    let with_none = |mut batches: Vec<Vec<String>>| {
        let mut batches: Vec<_> = batches.drain(..).map(Some).collect();
        batches.push(None);
        batches
    };
    let error = TestRun::new().run2(with_none(left.into()), with_none(right.into()), build).unwrap_err().to_string();
    assert!(error.starts_with("batch 4000 ms: operator queue ("), "{error}");
    assert!(error.ends_with("the stream has no batch at 4000 ms, and transform_with needs one"), "{error}");
}

/// Slice of section 1: both ends belong to it, and what is not due yet is not in it.
#[test]
fn slice_has_both_ends() {
    let run = Run::with(|builder| builder.remember(10 * SECOND));
    let queue = QueueSource::one_at_a_time();
    (1..=4).for_each(|n| queue.push([n]));
    let numbers = run.context.input(queue);
    numbers.foreach_batch(|_, _| Ok(()));
    let error = numbers.slice(at(0), at(1000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.to_string().contains("before its context was started"), "{error}");
    run.context.start().unwrap();
    let slice = |from, to| -> Vec<i32> {
        let datasets = numbers.slice(at(from), at(to)).unwrap();
        datasets.iter().flat_map(|dataset| dataset.collect().unwrap()).collect()
    };
    assert_eq!(slice(0, 4000), [0; 0], "nothing is planned yet");
    run.batches(4);
    assert_eq!(slice(0, 1000), [1]);
    assert_eq!(slice(0, 2000), [1, 2]);
    assert_eq!(slice(1000, 2000), [1, 2]);
    assert_eq!(slice(2000, 4000), [2, 3, 4]);
    assert_eq!(slice(3000, 2000), [0; 0], "from after to");
    assert_eq!(slice(-5000, 1999), [1], "bounds are moved down to batch times");
    assert_eq!(slice(3000, 9000), [3, 4], "later batches are not due");
    let interval = Interval::new(at(1000), at(3000));
    let of_interval = numbers.slice_interval(interval).unwrap();
    assert_eq!(of_interval.iter().flat_map(|d| d.collect().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    run.batches(1);
    assert_eq!(slice(0, 9000), [1, 2, 3, 4], "a slice takes nothing from the input");
    run.context.stop(Stop::Now).unwrap();
}

/// A slice that is computed when it is asked for is the one that everybody gets, whoever asks first.
#[test]
fn slices_from_a_job_a_closure_and_another_thread() {
    let run = Run::with(|builder| builder.remember(5 * SECOND));
    let calls = Arc::new(AtomicUsize::new(0));
    let queue = QueueSource::one_at_a_time();
    (1..=20).for_each(|n| queue.push([n]));
    let counted = Arc::clone(&calls);
    let numbers = run.context.input(queue).window(SECOND, SECOND).map(move |n: i32| {
        counted.fetch_add(1, Ordering::Relaxed);
        n
    });
    let kept = numbers.window(3 * SECOND, SECOND);
    let earlier = numbers.clone();
    let sums = kept.transform(move |window, time| {
        let two: Vec<_> = earlier.slice(time - SECOND, time)?;
        Ok(two.iter().fold(window.filter(|_| false), |all, batch| all.union(batch)))
    });
    let (send, seen) = crossbeam_channel::unbounded();
    let sliced = numbers.clone();
    sums.foreach_batch(move |dataset, batch| {
        let again = sliced.slice(batch.time - SECOND, batch.time)?;
        let again: Vec<i32> = again.iter().map(|d| d.collect()).collect::<Result<Vec<_>, _>>()?.concat();
        assert_eq!(dataset.collect()?, again);
        send.send(again).map_err(Error::user)
    });
    run.context.start().unwrap();
    std::thread::scope(|scope| {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let reader = numbers.clone();
        let asked = scope.spawn(move || {
            let mut asked = 0;
            while let Err(crossbeam_channel::TryRecvError::Empty) = stopped.try_recv() {
                asked += reader.slice(at(0), at(100_000)).map_or(0, |datasets| datasets.len());
            }
            asked
        });
        run.batches(20);
        drop(stop);
        assert!(asked.join().unwrap() > 0);
    });
    run.context.stop(Stop::Now).unwrap();
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen.len(), 20);
    assert!(seen[1..].iter().enumerate().all(|(n, pair)| *pair == [n as i32 + 1, n as i32 + 2]), "{seen:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 20, "each record was mapped once");
}

#[test]
fn a_slice_of_what_is_forgotten_says_so() {
    let run = Run::new();
    let numbers = run.context.input(QueueSource::<i32>::one_at_a_time());
    let site = line(-1);
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    run.batches(5);
    let error = numbers.slice(at(1000), at(5000)).unwrap_err().to_string();
    let expected = format!(
        "operator queue ({site}): a slice from 1000 ms to 5000 ms: the batch at 1000 ms is forgotten; \
         a longer `remember` of the context keeps it"
    );
    assert_eq!(error, expected);
    assert_eq!(numbers.slice(at(5000), at(5000)).unwrap().len(), 1);
    run.context.stop(Stop::Now).unwrap();
}

/// A task that waits for the planner, which may wait for the task, would wait for ever.
#[test]
fn a_slice_from_within_a_task_is_refused() {
    let error = error_of([vec![1]], |numbers| {
        let sliced = numbers.clone();
        numbers.try_map(move |n| sliced.slice(at(1000), at(1000)).map(|datasets| n + datasets.len()))
    });
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.to_string().contains("a slice from within a task"), "{error}");
}

/// A closure that slices the very stream it builds would never end.
#[test]
fn a_stream_that_is_made_of_itself() {
    let own: Arc<OnceLock<DStream<i32>>> = Arc::default();
    let itself = Arc::clone(&own);
    let error = error_of([vec![1]], move |numbers| {
        let stream = numbers.transform(move |batch, time| {
            let own = itself.get().map_or(Ok(Vec::new()), |own| own.slice(time, time))?;
            Ok(own.iter().fold(batch, |all, own| all.union(own)))
        });
        own.set(stream.clone()).unwrap();
        stream
    });
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.to_string().contains("the batch at 1000 ms was asked for while it was being built"), "{error}");
}

#[test]
fn b_17_transform() {
    let build = |numbers: DStream<i32>| numbers.transform(|batch, _| Ok(batch.map(|n| n.to_string())));
    check_list("B-17", one_to_twelve(), build, texts());
}

/// At a time at which the input has no batch, an operator that needs one says so.
#[test]
fn b_19_operators_that_need_a_batch() {
    #[track_caller]
    fn check<U: Data + Debug>(without: &str, by: &str, build: impl Fn(DStream<i32>) -> DStream<U>) {
        let error = error_of([Some(vec![1]), None], build);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("batch 2000 ms: operator {without} (")), "{text}");
        assert!(text.ends_with(&format!("): the stream has no batch at 2000 ms, and {by} needs one")), "{text}");
    }
    check("queue", "union", |numbers| numbers.union(&numbers.map(|n| n + 4)));
    check("map", "union", |numbers| numbers.map(|n| n + 4).union(&numbers));
    check("queue", "transform", |numbers| numbers.transform(|batch, _| Ok(batch)));
    check("queue", "transform_with", |numbers| numbers.transform_with(&numbers, |left, _, _| Ok(left)));
    check("queue", "repartition", |numbers| numbers.repartition(3));
    check("queue", "count", |numbers| numbers.count());
    check("queue", "count", |numbers| numbers.count().map(|n| n + 1).window(SECOND, SECOND));
}

/// Others have no batch either, and go on with the next: each at its own time.
#[test]
fn operators_that_do_without_a_batch() {
    let input = || [Some(vec![1]), None, Some(vec![2]), None, None, Some(vec![3])];
    let times = [at(1000), at(3000), at(6000)];
    #[track_caller]
    fn check<U: Data>(input: [Option<Vec<i32>>; 6], times: &[Time], build: impl Fn(DStream<i32>) -> DStream<U>) {
        assert_eq!(TestRun::new().run(input, build).unwrap().times(), times);
    }
    check(input(), &times, |numbers| numbers);
    check(input(), &times, |numbers| numbers.map(|n| n + 1));
    check(input(), &times, |numbers| numbers.reduce(|a, b| a + b));
    check(input(), &times, |numbers| numbers.map(|n| (n, n)).reduce_by_key(|a, b| a + b));
    check(input(), &times, |numbers| numbers.map(|n| (n, n)).group_by_key());
    check(input(), &times, |numbers| numbers.glom());
    check(input(), &times, |numbers| numbers.distinct());
    check(input(), &times, |numbers| numbers.count_by_value());
    let every = [1000, 2000, 3000, 4000, 5000, 6000].map(at);
    check(input(), &every, |numbers| numbers.window(SECOND, SECOND));
}

/// A source was asked again for a batch time at which it had no batch: by every operator that read it, and by every
/// window that looked back. A queue then lost a collection, or delivered it to the wrong batch.
#[test]
fn a_source_is_asked_once_for_a_time() {
    let run = Run::new();
    let script = |call| Ok(if call == Call::Batch(2000) { None } else { Some(vec![1]) });
    let (numbers, calls) = run.source(Scripted::new(script));
    numbers.map(|n| n + 1).foreach_batch(|_, _| Ok(()));
    numbers.window(3 * SECOND, SECOND).foreach_batch(|dataset, _| dataset.count().map(drop));
    run.context.start().unwrap();
    run.batches(4);
    run.context.stop(Stop::Now).unwrap();
    let batches: Vec<_> = calls.try_iter().filter(|call| matches!(call, Call::Batch(_))).collect();
    assert_eq!(batches, [1000, 2000, 3000, 4000].map(Call::Batch));
}

/// A batch of the joins' vectors: the words, each with what the side pairs them with.
fn side<V: Clone>(batches: [&[&str]; 4], value: V) -> [Vec<(String, V)>; 4] {
    batches.map(|words| words.iter().map(|word| (word.to_string(), value.clone())).collect())
}

/// B-21 to B-25.
#[track_caller]
fn check_join<U: Data + Ord + Debug>(
    id: &str,
    sides: [[&[&str]; 4]; 2],
    build: impl Fn(DStream<(String, i32)>, DStream<(String, char)>) -> DStream<(String, U)>,
    expected: [Vec<(String, U)>; 4],
) {
    let mut expected = expected.to_vec();
    expected.iter_mut().for_each(|batch| batch.sort());
    for run in every_run() {
        let [left, right] = sides;
        let out = run.run2(side(left, 1), side(right, 'x'), &build).unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!(out.sorted().batches(), expected, "{id} by {run:?}");
    }
}

const JOINED: [[&[&str]; 4]; 2] = [[&["a", "b"], &["a", ""], &[""], &[]], [&["a", "b"], &["b", ""], &[], &[""]]];

#[test]
fn b_21_join() {
    let both = (1, 'x');
    let expected = [pairs([("a", both), ("b", both)]), pairs([("", both)]), vec![], vec![]];
    check_join("B-21", JOINED, |left, right| left.join(&right), expected.clone());
    let transformed = |left: DStream<(String, i32)>, right: DStream<(String, char)>| {
        left.transform_with(&right, |left, right, _| Ok(left.join(&right)))
    };
    check_join("B-21 by transform_with", JOINED, transformed, expected);
}

#[test]
fn b_22_left_outer_join() {
    let (both, left) = ((1, Some('x')), (1, None));
    let expected = [pairs([("a", both), ("b", both)]), pairs([("", both), ("a", left)]), pairs([("", left)]), vec![]];
    check_join("B-22", JOINED, |left, right| left.left_outer_join(&right), expected);
}

#[test]
fn b_23_right_outer_join() {
    let (both, right) = ((Some(1), 'x'), (None, 'x'));
    let expected = [pairs([("a", both), ("b", both)]), pairs([("", both), ("b", right)]), vec![], pairs([("", right)])];
    check_join("B-23", JOINED, |left, right| left.right_outer_join(&right), expected);
}

#[test]
fn b_24_full_outer_join() {
    let (both, left, right) = ((Some(1), Some('x')), (Some(1), None), (None, Some('x')));
    let expected = [
        pairs([("a", both), ("b", both)]),
        pairs([("", both), ("a", left), ("b", right)]),
        pairs([("", left)]),
        pairs([("", right)]),
    ];
    check_join("B-24", JOINED, |left, right| left.full_outer_join(&right), expected);
}

#[test]
fn b_25_cogroup() {
    let sides: [[&[&str]; 4]; 2] =
        [[&["a", "a", "b"], &["a", ""], &[""], &[]], [&["a", "a", "b"], &["b", ""], &[], &[]]];
    let group = |ones, letters| (vec![1; ones], vec!['x'; letters]);
    let expected = [
        pairs([("a", group(2, 2)), ("b", group(1, 1))]),
        pairs([("a", group(1, 0)), ("b", group(0, 1)), ("", group(1, 1))]),
        pairs([("", group(1, 0))]),
        vec![],
    ];
    check_join("B-25", sides, |left, right| left.cogroup(&right), expected);
}

/// Section 9: five collections, one a batch or all that is there.
#[test]
fn queue() {
    let run = Run::new();
    let (one, all) = (QueueSource::one_at_a_time(), QueueSource::all_at_once());
    (1..=5).for_each(|n| one.push([n]));
    let (send, emitted) = crossbeam_channel::unbounded();
    for (name, queue) in [("one", &one), ("all", &all)] {
        let send = send.clone();
        run.context.input(queue.clone()).foreach_batch(move |dataset, batch| {
            let _ = send.send((name, batch.time.as_millis(), dataset.collect()?));
            Ok(())
        });
    }
    run.context.start().unwrap();
    for batch in 1..=7 {
        match batch {
            2 => (1..=3).for_each(|n| all.push([n])),
            4 => (4..=5).for_each(|n| all.push([n])),
            _ => {}
        }
        run.batches(1);
    }
    run.context.stop(Stop::Now).unwrap();
    let emitted: Vec<_> = emitted.try_iter().filter(|(_, _, records)| !records.is_empty()).collect();
    let of = |wanted: &str| {
        emitted.iter().filter(|e| e.0 == wanted).map(|(_, time, records)| (*time, records.clone())).collect::<Vec<_>>()
    };
    assert_eq!(of("one"), [1, 2, 3, 4, 5].map(|n| (1000 * n, vec![n])));
    assert_eq!(of("all"), [(2000, vec![1, 2, 3]), (4000, vec![4, 5])]);
}

#[test]
fn foreach_batch_sees_every_batch_with_its_time_and_its_place() {
    let run = Run::new();
    let (send, seen) = crossbeam_channel::unbounded();
    let queue = QueueSource::one_at_a_time();
    queue.push([1]);
    queue.push_none();
    queue.push([2]);
    let numbers = run.context.input(queue);
    for factor in [1, 10] {
        let send = send.clone();
        numbers.map(move |n| n * factor).foreach_batch(move |dataset, batch| {
            send.send((batch.time, batch.output, dataset.collect()?)).map_err(Error::user)
        });
    }
    run.context.start().unwrap();
    run.batches(3);
    run.context.stop(Stop::Now).unwrap();
    // There is no job where there is no batch.
    let expected = [(at(1000), 0, vec![1]), (at(1000), 1, vec![10]), (at(3000), 0, vec![2]), (at(3000), 1, vec![20])];
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn print_writes_the_first_records_of_every_batch() {
    let printed = alone("vectors::print_writes_the_first_records_of_every_batch", || {
        let run = Run::new();
        let queue = QueueSource::one_at_a_time();
        queue.push(1..=11);
        let numbers = run.context.input(queue);
        numbers.print();
        numbers.print_first(2);
        run.context.start().unwrap();
        run.batches(2);
        run.context.stop(Stop::Now).unwrap();
    });
    let Some(printed) = printed else { return };
    let rule = "-".repeat(43);
    let head = |time| format!("{rule}\nTime: {time} ms\n{rule}\n");
    let ten = (1..=10).map(|n| format!("{n}\n")).collect::<String>();
    let first = format!("{}{ten}...\n\n{}1\n2\n...\n\n", head(1000), head(1000));
    let second = format!("{0}\n{0}\n", head(2000));
    assert!(printed.contains(&(first + &second)), "{printed}");
}

/// Section 5.
#[test]
fn time_arithmetic() {
    let ms = std::time::Duration::from_millis;
    for (time, step, zero, expected) in [
        (1350, 200, 0, 1200),
        (1200, 200, 0, 1200),
        (199, 200, 0, 0),
        (1, 1, 0, 1),
        (1350, 200, 50, 1250),
        (1350, 200, 150, 1350),
        (1350, 200, 200, 1200),
    ] {
        assert_eq!(at(time).floor_from(ms(step), at(zero)), at(expected), "floor({time}, {step}, {zero})");
    }
    for (end, step, until, to) in [
        (1100, 100, &[1000][..], &[1000, 1100][..]),
        (1000, 100, &[], &[1000]),
        (1100, 30, &[1000, 1030, 1060, 1090], &[1000, 1030, 1060, 1090]),
    ] {
        let millis = |time: Time| time.as_millis();
        assert_eq!(at(1000).until(at(end), ms(step)).map(millis).collect::<Vec<_>>(), until, "until {end} by {step}");
        assert_eq!(at(1000).to(at(end), ms(step)).map(millis).collect::<Vec<_>>(), to, "to {end} by {step}");
    }
    for (step, expected) in [(5, true), (1000, true), (1, true), (6, false)] {
        assert_eq!(at(1000).is_multiple_of(ms(step)), expected, "1000 multiple of {step}");
    }
    for (step, ratio) in [(5, 200.0), (1, 1000.0), (1000, 1.0), (2000, 0.5)] {
        assert_eq!(ms(1000).div_duration_f64(ms(step)), ratio, "1000 / {step}");
    }
}

/// B-20: a transform cannot return nothing in Rust; what it can return is an error.
#[test]
fn b_20_a_transform_that_fails() {
    let site = line(1);
    let error = error_of([vec![1]], |numbers| numbers.transform(|_, _| Err::<Dataset<i32>, _>(refusal())));
    assert_eq!(error.kind(), ErrorKind::User);
    let text = error.to_string();
    assert!(text.starts_with("batch 1000 ms: ") && text.ends_with("no today"), "{text}");
    assert!(text.contains(&format!("operator transform ({site})")), "{text}");
}

fn refusal() -> Error {
    Error::new(ErrorKind::User, "no today")
}

#[test]
fn an_input_that_is_used_up_is_empty() {
    let out = TestRun::new().batches(4).run([vec![1]], |numbers| numbers).unwrap();
    assert_eq!(out, [vec![1], vec![], vec![], vec![]]);
    let none: Vec<Vec<i32>> = Vec::new();
    assert_eq!(run(none, |numbers| numbers).unwrap(), Vec::<Vec<i32>>::new());
}
