//! What Spark Streaming's own suites assert of operators that look at one batch, under the ids of the collection that
//! was made from them.

use std::fmt::Debug;

use tidemill::testing::{TestRun, run};
use tidemill::{DStream, Data, Dataset, Error, ErrorKind, QueueSource, Stop, Time};

use crate::harness::{Call, Run, SECOND, Scripted, alone, at, check_list, check_set, error_of, line, strings};

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
