//! Batches are exact ranges, read once or again.

use super::*;

#[test]
fn batches_are_exact_ranges_of_all_topic_partitions() {
    let broker = broker(&[("b", 1), ("a", 3)]);
    broker.send("a", numbers(0..5)).unwrap();
    let mut stream = start(&["b", "a"], params(&broker));
    assert_eq!(stream.source.name(), "kafka a,b");

    let first = stream.batch();
    assert_eq!(ranges(&first), ["a/0 offsets 0..2", "a/1 offsets 0..2", "a/2 offsets 0..1", "b/0 offsets 0..0"]);
    assert_eq!(first.records, 5);
    assert_eq!(first.description, "a/0 offsets 0..2, a/1 offsets 0..2, a/2 offsets 0..1");
    // What arrives after the plan belongs to the next batch, also when it is there before the batch is read.
    broker.send("a", ["5"]).unwrap();
    broker.send("b", ["x", "y"]).unwrap();
    assert_eq!(values(&first), [vec!["0", "3"], vec!["1", "4"], vec!["2"], vec![]]);

    let second = stream.batch();
    assert_eq!(second.description, "b/0 offsets 0..2, a/2 offsets 1..2");
    assert_eq!(values(&second), [vec![], vec![], vec!["5"], vec!["x", "y"]]);

    let third = stream.batch();
    assert_eq!((third.records, &*third.description), (0, ""));
    assert_eq!(values(&third), vec![vec![""; 0]; 4]);
    stream.stop();
}

#[test]
fn a_range_can_be_read_again_and_batches_in_any_order() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..2000)).unwrap();
    let first = stream.batch();
    broker.send("a", numbers(2000..2010)).unwrap();
    let second = stream.batch();
    let later = values(&second);
    assert_eq!(later[0], ["2000", "2002", "2004", "2006", "2008"]);
    let earlier = values(&first);
    assert_eq!(earlier[1].len(), 1000);
    assert_eq!(values(&first), earlier);
    assert_eq!(values(&second), later);
    // Two outputs at a time.
    let (one, two) = rayon::join(|| values(&first), || values(&first));
    assert_eq!((one, two), (earlier.clone(), earlier));
    // An operator that wants no more than a few.
    assert_eq!(first.dataset.take(3).unwrap().len(), 3);
    assert_eq!(values(&second), later);
    stream.stop();
}

#[test]
fn a_task_that_fails_reads_the_same_records_again() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..700)).unwrap();
    let mut source = direct_source(Subscription::topics(["a"]), params(&broker));
    let (context, _errors) = context_of(3);
    source.start(&context).unwrap();
    let batch = source.batch(Time::from_millis(1)).unwrap().unwrap();
    let failures = std::sync::atomic::AtomicU32::new(0);
    let numbers = batch.dataset.map(move |record| {
        let panic = record.offset == 600 && failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
        assert!(!panic, "no luck");
        record.offset
    });
    assert_eq!(numbers.collect().unwrap(), Vec::from_iter(0..700));
    source.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_stream_that_was_stopped_says_so() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", ["x"]).unwrap();
    let batch = stream.batch();
    stream.stop();
    let error = batch.dataset.collect().unwrap_err();
    assert!(error.to_string().contains("the Kafka stream was stopped"), "{error}");
    assert!(direct_source(Subscription::topics(["a"]), params(&broker)).batch(Time::ZERO).is_err());
}

#[test]
fn offset_ranges_are_found_behind_narrow_operations_only() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker));
    let dataset = stream.batch().dataset;
    assert_eq!(dataset.map(|record| record.offset).filter(|_| true).offset_ranges().unwrap().len(), 2);
    let counted = dataset.map(|record| (record.offset, 1)).reduce_by_key(|a, b| a + b);
    assert_eq!(counted.offset_ranges(), None);
    stream.stop();
}

#[test]
fn an_operator_may_read_the_batch_that_it_is_computed_from() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker));
    let dataset = stream.batch().dataset;
    let same = dataset.clone();
    let first =
        dataset.map(move |record| (record.offset, if record.offset % 400 == 0 { same.count().unwrap() } else { 0 }));
    let counts: Vec<_> = first.collect().unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [(0, 1000), (400, 1000), (800, 1000)]);
    stream.stop();
}

#[test]
fn nothing_is_lost_or_doubled_while_records_arrive() {
    const RECORDS: u32 = 20_000;
    let broker = broker(&[("a", 5)]);
    let mut stream = start(&["a"], params(&broker));
    let mut read: Vec<Vec<u32>> = vec![Vec::new(); 5];
    let mut expected = [0; 5];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in (0..RECORDS).step_by(500) {
                broker.send("a", numbers(start..start + 500)).unwrap();
            }
        });
        while read.iter().map(Vec::len).sum::<usize>() < RECORDS as usize {
            let batch = stream.batch();
            for (n, range) in batch.dataset.offset_ranges().unwrap().iter().enumerate() {
                assert_eq!(range.from, expected[n]);
                expected[n] = range.until;
            }
            for (all, part) in read.iter_mut().zip(values(&batch)) {
                all.extend(part.iter().map(|value| value.parse::<u32>().unwrap()));
            }
            stream.completed();
        }
    });
    for (n, part) in (0..).zip(&read) {
        assert_eq!(*part, Vec::from_iter((n..RECORDS).step_by(5)));
    }
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn a_backlog_is_cut_into_tasks_that_read_it_once_in_order() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker).max_records_per_task(100));
    let batch = stream.batch();
    let ranges = ranges(&batch);
    assert_eq!((ranges.len(), &*ranges[1]), (10, "a/0 offsets 100..200"));
    let expected: Vec<String> = numbers(0..1000).step_by(2).chain(numbers(0..1000).skip(1).step_by(2)).collect();
    for _ in 0..3 {
        assert_eq!(values(&batch).concat(), expected);
    }
    broker.send("a", numbers(1000..1010)).unwrap();
    assert_eq!(
        values(&stream.batch()),
        [["1000", "1002", "1004", "1006", "1008"], ["1001", "1003", "1005", "1007", "1009"]]
    );
    stream.stop();
}

#[test]
fn a_batch_has_no_more_than_the_rates_allow() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker).max_rate_per_partition(30.0));
    // A batch a second.
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 0..30", "a/1 offsets 0..30"]);
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 30..60", "a/1 offsets 30..60"]);
    stream.stop();
    let error = try_start(&["a"], params(&broker).max_rate_per_partition(0.0)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("a/0: the maximum rate per partition is 0 records per second"), "{error}");
}
