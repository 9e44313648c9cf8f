//! What counts: everything that an attempt which succeeded has added, once, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tidemill::Accumulator;
use tidemill::prelude::*;

use crate::harness::{Run, every_run, numbers};

fn context(workers: usize) -> StreamingContext {
    StreamingContext::builder("accumulators").workers(workers).max_task_attempts(3).build().unwrap()
}

/// A closure that adds 1 for each record, and panics after that as often as `failures` says for the record.
fn counting(seen: &Accumulator<u64>, failures: fn(i64) -> u32) -> impl Fn(i64) -> i64 + Send + Sync + 'static {
    let (seen, tries) = (seen.clone(), Mutex::new(BTreeMap::<i64, u32>::new()));
    move |n| {
        seen.add(1);
        let tried = {
            let mut tries = tries.lock().unwrap();
            let tried = tries.entry(n).or_default();
            *tried += 1;
            *tried
        };
        assert!(tried > failures(n), "{n} fails");
        n
    }
}

#[test]
fn a_task_that_is_tried_again_counts_once() {
    for workers in [1, 2, 5] {
        let context = context(workers);
        let seen = context.accumulator::<u64>("seen");
        let numbers = context.parallelize(0..1000, 5).map(counting(&seen, |n| u32::from(n % 300 == 299)));
        numbers.count().unwrap();
        assert_eq!(seen.value(), 1000);
        // On both sides of a shuffle.
        let (seen, reduced) = (context.accumulator::<u64>("seen"), context.accumulator::<u64>("reduced"));
        let count = counting(&seen, |n| u32::from(n == 7));
        let pairs = context.parallelize(0..1000, 5).map(move |n| (count(n) % 10, 1)).reduce_by_key(|a, b| a + b);
        let count = counting(&reduced, |key| u32::from(key == 4));
        pairs.map(move |(key, _)| count(key)).count().unwrap();
        assert_eq!((seen.value(), reduced.value()), (1000, 10));
    }
}

#[test]
fn a_task_that_fails_for_good_counts_nothing() {
    let context = context(1);
    let seen = context.accumulator::<u64>("seen");
    let numbers = context.parallelize(0..10, 2).map(counting(&seen, |n| if n == 9 { 9 } else { 0 }));
    assert!(numbers.count().unwrap_err().to_string().contains("9 fails"));
    assert_eq!(seen.value(), 5, "of the first partition");
}

#[test]
fn what_is_computed_twice_counts_twice_and_what_is_kept_once() {
    let context = context(2);
    let seen = context.accumulator::<u64>("seen");
    let numbers = context.parallelize(0..100, 4).map(counting(&seen, |_| 0));
    numbers.count().unwrap();
    numbers.collect().unwrap();
    assert_eq!(seen.value(), 200);

    let seen = context.accumulator::<u64>("seen");
    let numbers = context.parallelize(0..100, 4).map(counting(&seen, |_| 0)).persist();
    numbers.count().unwrap();
    numbers.collect().unwrap();
    assert_eq!(seen.value(), 100);

    // What a shuffle has written stands.
    let seen = context.accumulator::<u64>("seen");
    let count = counting(&seen, |_| 0);
    let sums = context.parallelize(0..100, 4).map(move |n| (count(n) % 3, n)).reduce_by_key(|a, b| a + b);
    sums.count().unwrap();
    sums.collect().unwrap();
    assert_eq!(seen.value(), 100);
}

/// Records that were kept before the attempt failed are not computed again, and have counted.
#[test]
fn what_is_kept_by_an_attempt_that_fails_later_counts_once() {
    let context = context(2);
    let (above, below) = (context.accumulator::<u64>("above"), context.accumulator::<u64>("below"));
    let kept = context.parallelize(0..100, 4).map(counting(&above, |n| u32::from(n == 50))).persist();
    let numbers = kept.map(counting(&below, |n| u32::from(n % 30 == 29)));
    assert_eq!(numbers.count().unwrap(), 100);
    assert_eq!((above.value(), below.value()), (100, 100));
}

#[test]
fn a_stream_of_several_outputs_counts_once_a_batch() {
    let run = Run::new();
    let seen = run.context.accumulator::<u64>("seen");
    let (numbers, _) = run.source(numbers());
    let counted = numbers.map(counting(&seen, |n| u32::from(n == 2)));
    counted.foreach_batch(|batch, _| batch.count().map(drop));
    counted.filter(|n| n % 2 == 0).foreach_batch(|batch, _| batch.count().map(drop));
    counted.map(|n| (n % 2, n)).reduce_by_key(|a, b| a + b).foreach_batch(|batch, _| batch.count().map(drop));
    run.context.start().unwrap();
    for batch in 1..=4 {
        run.batches(1);
        assert_eq!(seen.value(), batch);
    }
}

#[test]
fn outside_of_tasks_an_add_counts_at_once() {
    let run = Run::new();
    let batches = run.context.accumulator::<u32>("batches");
    let spent = run.context.accumulator::<Duration>("spent");
    let (planned, done) = (batches.clone(), batches.clone());
    let (numbers, _) = run.source(numbers());
    let numbers = numbers.transform(move |batch, _| {
        planned.add(1);
        Ok(batch)
    });
    numbers.foreach_batch(move |batch, _| {
        batch.count()?;
        done.add(10);
        Ok(())
    });
    run.context.start().unwrap();
    run.batches(3);
    assert_eq!(batches.value(), 33);
    spent.add(Duration::from_secs(1));
    spent.add(Duration::from_secs(2));
    assert_eq!(spent.value(), Duration::from_secs(3));
}

/// Threads that a closure starts run no attempt.
#[test]
fn threads_of_a_closure_add_at_once() {
    let context = context(2);
    let seen = context.accumulator::<u64>("seen");
    let (adds, tries) = (seen.clone(), Arc::new(AtomicU32::new(0)));
    let numbers = context.parallelize([1], 1).map(move |n: u64| {
        std::thread::scope(|scope| scope.spawn(|| adds.add(n)).join().unwrap());
        assert!(tries.fetch_add(1, Ordering::Relaxed) == 1, "not yet");
    });
    numbers.count().unwrap();
    assert_eq!(seen.value(), 2);
}

/// A task whose closure runs an action works on other tasks meanwhile.
#[test]
fn tasks_inside_of_tasks_keep_their_adds_apart() {
    let context = Arc::new(context(2));
    let (outer, inner) = (context.accumulator::<u64>("outer"), context.accumulator::<u64>("inner"));
    let (count_outer, count_inner) = (counting(&outer, |n| u32::from(n % 3 == 0)), inner.clone());
    let inside = Arc::clone(&context);
    let numbers = context.parallelize(0..8, 8).map(move |n| {
        let count = count_inner.clone();
        let adds = move |_| {
            count.add(1);
            Ok(())
        };
        inside.parallelize(0..10, 4).foreach(adds).unwrap();
        count_outer(n)
    });
    assert_eq!(numbers.count().unwrap(), 8);
    // An action inside of a closure counts by itself: again for each of the three attempts that failed.
    assert_eq!((outer.value(), inner.value()), (8, 110));
}

#[test]
fn a_merge_that_panics_fails_the_job_and_is_not_tried_again() {
    let context = context(1);
    let small = context.accumulator::<u8>("small");
    let adds = small.clone();
    let numbers = context.parallelize([200, 100], 2).map(move |n| adds.add(n));
    let error = numbers.count().unwrap_err();
    assert_eq!(error.to_string(), "the accumulator small panicked: attempt to add with overflow");
    assert_eq!(small.value(), 200);
}

#[test]
fn collections_hold_what_was_seen_in_every_run() {
    for run in every_run() {
        let context = context(1);
        let seen = context.accumulator_with("seen", BTreeSet::new(), |all, mut more| all.append(&mut more));
        let adds = seen.clone();
        let batches = [vec![("a", 1), ("b", 1)], vec![], vec![("a", 1)]];
        run.run(batches, move |pairs| {
            let adds = adds.clone();
            pairs.map(|(key, n)| (key.to_string(), n)).reduce_by_key(|a, b| a + b).map(move |(key, n)| {
                adds.add(BTreeSet::from([(key, n)]));
                n
            })
        })
        .unwrap();
        assert_eq!(seen.value(), [("a".to_string(), 1), ("b".to_string(), 1)].into(), "{run:?}");
    }
}

#[test]
fn a_broadcast_is_read_by_all_tasks_and_numbered() {
    let context = context(2);
    let table = context.broadcast(vec![10, 20, 30]);
    let other = context.broadcast("other");
    let looked_up = table.clone();
    let tens = context.parallelize(0..3, 3).map(move |n: usize| looked_up[n]);
    assert_eq!(tens.collect().unwrap(), *table.value());
    assert_eq!((table.id(), table.clone().id(), other.id()), (0, 0, 1));
    assert_eq!(format!("{table:?}"), "Broadcast(0, [10, 20, 30])");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever fails how often, and wherever: sums are those of the records.
    #[test]
    fn sums_are_right_whatever_fails(
        records in prop::collection::vec(0i64..1000, 0..200),
        failing in prop::collection::btree_set(0i64..1000, 0..8),
        partitions in 1usize..6,
        workers in 1usize..4,
        persists in any::<bool>(),
    ) {
        let attempts = 2 + failing.len() as u32 * 2;
        let context = StreamingContext::builder("sums").workers(workers).max_task_attempts(attempts).build().unwrap();
        let (before, after) = (context.accumulator::<i64>("before"), context.accumulator::<i64>("after"));
        let fails = |sum: &Accumulator<i64>| {
            let (sum, left) = (sum.clone(), Mutex::new(failing.clone()));
            move |n: i64| {
                sum.add(n);
                let fails = left.lock().unwrap().remove(&n);
                assert!(!fails, "{n} fails");
                n
            }
        };
        let mut numbers = context.parallelize(records.clone(), partitions).map(fails(&before));
        if persists {
            numbers = numbers.persist();
        }
        let moved = numbers.map(fails(&after)).repartition(3);
        prop_assert_eq!(moved.count().unwrap(), records.len() as u64);
        let sum: i64 = records.iter().sum();
        prop_assert_eq!((before.value(), after.value()), (sum, sum));
    }
}
