//! States by key: Spark's vectors, what is called when, and that a batch changes the states once whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidemill::testing::TestRun;
use tidemill::{
    DStream, Data, Exchange, KeyState, MapWithState, Partitions, QueueSource, StateSpec, StreamingContext, Time,
    UpdateSpec,
};

use crate::harness::{SECOND, at, check_set, error_of, every_run, line};

type Words = Vec<(String, i32)>;

/// Batches of words with ones; `-` is a batch that is not there.
fn words<const N: usize>(batches: [&str; N]) -> Vec<Option<Words>> {
    let words = |batch: &str| batch.split_whitespace().map(|word| (word.to_string(), 1)).collect();
    batches.into_iter().map(|batch| (batch != "-").then(|| words(batch))).collect()
}

/// States as the tables of vectors have them: `a1 b-2`.
fn states<const N: usize>(batches: [&str; N]) -> Vec<Vec<(String, i32)>> {
    let state = |text: &str| (text[..1].to_string(), text[1..].parse().unwrap());
    batches.into_iter().map(|batch| batch.split_whitespace().map(state).collect()).collect()
}

const SINGLE_BATCHES: [&str; 6] = ["a", "a b", "a b c", "a b", "a", ""];

fn sum(values: Vec<i32>, state: Option<i32>) -> Option<i32> {
    Some(values.iter().sum::<i32>() + state.unwrap_or(0))
}

/// The same function, for a whole partition.
fn sums(keys: std::vec::IntoIter<(String, Vec<i32>, Option<i32>)>) -> impl Iterator<Item = (String, i32)> {
    keys.filter_map(|(key, values, state)| Some((key, sum(values, state)?)))
}

#[test]
fn s1_a_running_sum() {
    let expected = states(["a1", "a2 b1", "a3 b2 c1", "a4 b3 c1", "a5 b3 c1", "a5 b3 c1"]);
    check_set("S-1", words(SINGLE_BATCHES), |s| s.update_state_by_key(sum), &expected);
    check_set(
        "S-1 by partition",
        words(SINGLE_BATCHES),
        |s| s.update_state_by_key_with(UpdateSpec::partition_function(sums)),
        &expected,
    );
}

#[test]
fn s2_a_running_sum_with_states_to_begin_with() {
    let expected = states(["a2 c2", "a3 b1 c2", "a4 b2 c3", "a5 b3 c3", "a6 b3 c3", "a6 b3 c3"]);
    let initial = || [("a".to_string(), 1), ("c".to_string(), 2), ("a".to_string(), 50)];
    for spec in [|| UpdateSpec::function(sum), || UpdateSpec::partition_function(sums)] {
        let build = |s: DStream<(String, i32)>| s.update_state_by_key_with(spec().initial_state(initial()));
        check_set("S-2", words(SINGLE_BATCHES), build, &expected);
    }
    // From a dataset, in other partitions.
    let run = TestRun::new().shuffle_partitions(3);
    let out = run.run_with_context(words(SINGLE_BATCHES), |context, s| {
        let initial = context.parallelize(initial(), 2).inspect(|_| ());
        s.update_state_by_key_with(UpdateSpec::function(sum).initial_dataset(&initial))
    });
    assert_eq!(out.unwrap().sorted(), expected);
}

/// Spark has no states before the first batch, and a window over them asks for those times again later on.
#[test]
fn a_window_over_states_that_begin_late() {
    let expected = states(["a1", "a1 a2", "a1 a2 a2"]);
    let build = |s: DStream<(String, i32)>| s.update_state_by_key(sum).window(3 * SECOND, SECOND);
    check_set("late", words(["-", "a", "a", ""]), build, [vec![vec![]], expected].concat());
}

#[test]
fn s3_the_function_sees_the_time() {
    let zero = || [("a".to_string(), 0), ("c".to_string(), 0)];
    let add_time = |time: Time, _: &String, values: Vec<i32>, state: Option<i32>| {
        let state = state.unwrap_or(0);
        Some(if values.is_empty() { state } else { state + time.as_millis() as i32 })
    };
    check_set(
        "S-3",
        words(SINGLE_BATCHES),
        |s| s.update_state_by_key_with(UpdateSpec::function_with_time(add_time).initial_state(zero())),
        states([
            "a1000 c0",
            "a3000 b2000 c0",
            "a6000 b5000 c3000",
            "a10000 b9000 c3000",
            "a15000 b9000 c3000",
            "a15000 b9000 c3000",
        ]),
    );
}

#[test]
fn s4_keys_are_called_without_a_batch_and_removed() {
    let age = |values: Vec<i32>, state: Option<(i32, i32)>| {
        let (count, age) = state.unwrap_or((0, -1));
        match values.len() as i32 {
            0 => Some((count, age + 1)).filter(|(_, age)| *age < 2),
            more => Some((count + more, 0)),
        }
    };
    check_set(
        "S-4",
        words(["a b", "-", "a c a", "c", "-", "-"]),
        |s| s.update_state_by_key(age).map_values(|(count, _)| count),
        states(["a1 b1", "a1 b1", "a3 c1", "a3 c2", "c2", ""]),
    );
}

#[test]
fn before_the_first_batch_there_is_no_state() {
    for initial in [vec![], vec![("z".to_string(), 5)]] {
        let out = TestRun::new().run(words(["-", "-", "a", "-"]), move |s| {
            s.update_state_by_key_with(UpdateSpec::function(sum).initial_state(initial))
        });
        let out = out.unwrap();
        assert_eq!(out.times(), [at(3000), at(4000)]);
        assert_eq!(out.batches()[0], out.batches()[1]);
    }
}

#[test]
fn a_key_that_was_removed_starts_fresh() {
    let drop_at_two = |values: Vec<i32>, state: Option<i32>| sum(values, state).filter(|sum| *sum < 2);
    let expected = states(["a1", "", "a1", "a1"]);
    check_set("fresh", words(["a", "a", "a", ""]), |s| s.update_state_by_key(drop_at_two), expected);
}

#[test]
fn values_of_a_key_keep_the_order_of_the_batch() {
    let numbers: Vec<(u8, u32)> = (0..1000).map(|n| ((n % 3) as u8, n)).collect();
    for run in every_run() {
        let out = run.run([numbers.clone()], |s| {
            s.update_state_by_key(|values: Vec<u32>, _: Option<bool>| Some(values.is_sorted()))
        });
        assert_eq!(out.unwrap().sorted(), [vec![(0, true), (1, true), (2, true)]], "{run:?}");
    }
}

const MAPPED_BATCHES: [&str; 7] = ["", "a", "a b", "a b c", "a b", "a", ""];
const SUMS: [&str; 7] = ["", "a1", "a2 b1", "a3 b2 c1", "a4 b3 c1", "a5 b3 c1", "a5 b3 c1"];

/// Checks what `map_with_state` emits and its snapshots, read each alone and both.
#[track_caller]
fn check_mapped<U: Data + Ord + Debug, S: Exchange + Ord + Debug, const N: usize>(
    id: &str,
    input: [&str; N],
    spec: impl Fn() -> StateSpec<String, i32, S, U>,
    mapped: impl AsRef<[Vec<U>]>,
    snapshots: impl AsRef<[Vec<(String, S)>]>,
) {
    check_set(id, words(input), |s| s.map_with_state(spec()).mapped(), &mapped);
    check_set(id, words(input), |s| s.map_with_state(spec()).state_snapshots(), &snapshots);
    let both = mapped.as_ref().iter().zip(snapshots.as_ref()).map(|(mapped, snapshots)| {
        let mapped = mapped.iter().map(|record| (Some(record.clone()), None));
        mapped.chain(snapshots.iter().map(|state| (None, Some(state.clone())))).collect::<Vec<_>>()
    });
    let both: Vec<_> = both.collect();
    check_set(
        id,
        words(input),
        |s| {
            let stream = s.map_with_state(spec());
            let states = stream.state_snapshots().map(|state| (None, Some(state)));
            states.union(&stream.map(|record| (Some(record), None)))
        },
        both,
    );
}

fn add(value: Option<i32>, state: &mut KeyState<'_, i32>) -> i32 {
    let sum = value.unwrap_or(0) + state.get().unwrap_or(&0);
    state.update(sum);
    sum
}

#[test]
fn m1_the_simple_form() {
    let mapped = [vec![], vec![1], vec![1, 2], vec![1, 2, 3], vec![3, 4], vec![5], vec![]];
    let spec = || StateSpec::function(|_: &String, value, state: &mut KeyState<i32>| add(value, state));
    check_mapped("M-1", MAPPED_BATCHES, spec, mapped, states(SUMS));
}

#[test]
fn m2_several_records_a_call() {
    let spec = || {
        StateSpec::function(|key: &String, value, state: &mut KeyState<i32>| {
            add(value, state);
            vec![key.clone(), key.clone()]
        })
    };
    let expected = ["", "a a", "a a b b", "a a b b c c", "a a b b", "a a", ""]
        .map(|batch| batch.split_whitespace().map(str::to_string).collect::<Vec<_>>());
    check_set("M-2", words(MAPPED_BATCHES), |s| s.map_with_state(spec()).flat_map(|keys| keys), expected);
    check_set("M-2", words(MAPPED_BATCHES), |s| s.map_with_state(spec()).state_snapshots(), states(SUMS));
}

#[test]
fn m3_keys_with_sums() {
    let spec = || {
        StateSpec::function_with_time(|_, key: &String, value, state: &mut KeyState<i32>| {
            Some((key.clone(), add(value, state)))
        })
    };
    let mapped = states(["", "a1", "a2 b1", "a3 b2 c1", "a4 b3", "a5", ""]);
    check_mapped("M-3", MAPPED_BATCHES, spec, mapped, states(SUMS));
}

#[test]
fn m4_states_to_begin_with_cause_no_calls() {
    let spec = || {
        let spec = StateSpec::function_with_time(|_, _: &String, value, state: &mut KeyState<i32>| {
            add(value, state);
            None::<()>
        });
        spec.initial_state(states(["a5 b10 c-20 d0"]).remove(0))
    };
    let snapshots = states([
        "a5 b10 c-20 d0",
        "a6 b10 c-20 d0",
        "a7 b11 c-20 d0",
        "a8 b12 c-19 d0",
        "a9 b13 c-19 d0",
        "a10 b13 c-19 d0",
        "a10 b13 c-19 d0",
    ]);
    check_mapped("M-4", MAPPED_BATCHES, spec, vec![vec![]; 7], snapshots);
}

#[test]
fn m5_states_are_removed() {
    let spec = || {
        StateSpec::function_with_time(|_, key: &String, value: Option<i32>, state: &mut KeyState<i32>| {
            if state.exists() {
                state.remove();
                Some(key.clone())
            } else {
                state.update(value?);
                None
            }
        })
    };
    let keys = ["", "", "a", "b", "a c", "b", "a", ""];
    let mapped = keys.map(|batch| batch.split_whitespace().map(str::to_string).collect::<Vec<_>>());
    let snapshots = states(["", "a1", "b1", "a1 c1", "b1", "a1", "", ""]);
    check_mapped("M-5", ["", "a", "a b", "a b c", "a b c", "a b", "a", ""], spec, mapped, snapshots);
}

/// Counts, and tells the keys that time out after three seconds.
fn timing_out() -> StateSpec<String, i32, i32, (i64, String)> {
    let spec = StateSpec::function_with_time(|time, key: &String, value: Option<i32>, state: &mut KeyState<i32>| {
        assert_eq!(state.is_timing_out(), value.is_none());
        if state.is_timing_out() {
            assert!(state.exists());
            return Some((time.as_millis(), key.clone()));
        }
        state.update(value?);
        None
    });
    spec.timeout(3 * SECOND)
}

#[test]
fn m6_keys_time_out_in_the_batch_in_which_they_are_due() {
    let mut batches = vec!["a b c", "a b", "a", "", "", "a"];
    batches.extend(["a"; 14]);
    let batches: [&str; 20] = batches.try_into().unwrap();
    // c was touched at 1 s and b at 2 s: Spark looks every tenth batch, at 10 s.
    let mut mapped = vec![vec![]; 20];
    mapped[4] = vec![(5000, "c".to_string())];
    mapped[5] = vec![(6000, "b".to_string())];
    let mut snapshots = states(["a1 b1 c1"; 20]);
    snapshots[4] = states(["a1 b1"]).remove(0);
    (5..20).for_each(|batch| snapshots[batch] = states(["a1"]).remove(0));
    check_mapped("M-6", batches, timing_out, mapped, snapshots);
}

#[test]
fn data_comes_before_expiry_and_just_as_long_is_not_longer() {
    // Touched at 1 s, with a timeout of 3 s: at 4 s it is idle for just as long; at 5 s a record comes in time.
    let mapped = TestRun::new()
        .run(words(["a", "", "", "", "a", "", "", "", ""]), |s| s.map_with_state(timing_out()).mapped())
        .unwrap();
    let told: Vec<_> = mapped.batches().concat();
    assert_eq!(told, [(9000, "a".to_string())]);
}

#[test]
fn reading_refreshes_the_clock_and_a_key_that_comes_back_starts_fresh() {
    let out = TestRun::new()
        .run(words(["a", "a", "a", "", "", "", "a", "", "", ""]), |s| {
            let spec =
                StateSpec::function_with_time(|time, _: &String, value: Option<i32>, state: &mut KeyState<i64>| {
                    match value {
                        None => Some(-time.as_millis()),
                        Some(_) if state.exists() => None,
                        Some(_) => {
                            state.update(time.as_millis());
                            Some(time.as_millis())
                        }
                    }
                });
            s.map_with_state(spec.timeout(2 * SECOND)).mapped()
        })
        .unwrap();
    assert_eq!(out.batches().concat(), [1000, -6000, 7000, -10_000]);
}

#[test]
fn records_are_called_in_order_and_then_the_keys_that_time_out() {
    let batches = [vec![(9, 0)], vec![(3, 1), (1, 2), (3, 3), (2, 4), (1, 5)], vec![], vec![(1, 6)]];
    let out = TestRun::new().partitions(1).run(batches, |s| {
        let spec = StateSpec::function(|key: &u8, value: Option<u8>, state: &mut KeyState<u8>| {
            if let Some(value) = value {
                state.update(value);
            }
            (*key, value)
        });
        s.map_with_state(spec.partitions(Partitions::new(1)).timeout(SECOND)).mapped()
    });
    let some = |pairs: &[(u8, u8)]| pairs.iter().map(|(key, value)| (*key, Some(*value))).collect::<Vec<_>>();
    let mut last = some(&[(1, 6)]);
    last.extend([(3, None), (2, None)]);
    let expected = vec![some(&[(9, 0)]), some(&[(3, 1), (1, 2), (3, 3), (2, 4), (1, 5)]), vec![(9, None)], last];
    assert_eq!(out.unwrap(), expected);
}

#[test]
fn a_state_may_be_changed_again_by_a_later_record_of_the_batch() {
    // 1: set, 2: remove.
    let out = TestRun::new().run([vec![(7, 1), (7, 2), (7, 1), (7, 1)], vec![(7, 2), (7, 2)]], |s| {
        let spec = StateSpec::function(|_: &u8, value: Option<u8>, state: &mut KeyState<u32>| {
            let before = state.get().copied();
            match value {
                Some(1) => state.update(before.unwrap_or(0) + 1),
                _ => state.remove(),
            }
            before
        });
        s.map_with_state(spec).mapped()
    });
    assert_eq!(out.unwrap(), [vec![None, Some(1), None, Some(1)], vec![Some(2), None]]);
}

#[test]
fn what_must_not_be_done_to_a_state_is_an_error_with_its_place() {
    let twice = |_: &u8, _: Option<u8>, state: &mut KeyState<u8>| {
        state.remove();
        state.update(1);
    };
    let place = line(1);
    let error = error_of([vec![(7, 1)]], |s| s.map_with_state(StateSpec::function(twice)).mapped()).to_string();
    assert!(error.contains(&format!("operator map_with_state ({place})")), "{error}");
    assert!(error.contains("partition ") && error.contains("batch at 1000 ms"), "{error}");
    assert!(error.contains("the state of a key cannot be updated: it was removed in the same call"), "{error}");
    let late = |_: &u8, _: Option<u8>, state: &mut KeyState<u8>| {
        if state.is_timing_out() { state.remove() } else { state.update(1) }
    };
    let error = error_of([vec![(7, 1)], vec![], vec![]], |s| {
        s.map_with_state(StateSpec::function(late).timeout(SECOND)).mapped()
    });
    assert!(error.to_string().contains("cannot be removed: it is timing out"), "{error}");
    assert!(error.to_string().contains("batch at 3000 ms"), "{error}");
}

#[test]
fn batches_have_to_be_in_order() {
    for build in [
        |s: &DStream<(u8, i32)>| s.update_state_by_key(sum).map(|_| ()),
        |s: &DStream<(u8, i32)>| s.map_with_state(StateSpec::function(|_: &u8, _, _: &mut KeyState<u8>| ())).mapped(),
    ] {
        let run = crate::harness::Run::with(|builder| builder.concurrent_jobs(2));
        let queue = tidemill::QueueSource::one_at_a_time();
        build(&run.context.input(queue)).print();
        let error = run.context.start().unwrap_err();
        assert!(error.to_string().contains("concurrent_jobs has to be 1"), "{error}");
    }
}

#[test]
fn too_many_partitions_are_a_mistake() {
    let error = error_of([vec![(7, 1)]], |s| {
        s.update_state_by_key_with(UpdateSpec::function(sum).partitions(Partitions::new(0)))
    });
    assert!(error.to_string().contains("0 partitions: there can be 1 to 4096"), "{error}");
}

/// A function that counts its calls, and a stream of it that several read.
fn counted(s: &DStream<(u8, i32)>, calls: &Arc<AtomicU32>) -> MapWithState<u8, i32, (u8, i32)> {
    let calls = Arc::clone(calls);
    s.map_with_state(StateSpec::function(move |key: &u8, value, state: &mut KeyState<i32>| {
        calls.fetch_add(1, Ordering::Relaxed);
        (*key, add(value, state))
    }))
}

#[test]
fn many_readers_update_once() {
    let input = [vec![(1, 1), (2, 1)], vec![(1, 1)], vec![(2, 5)], vec![(1, 1)]];
    let calls = Arc::new(AtomicU32::new(0));
    let out = TestRun::new().run(input, |s| {
        let stream = counted(&s, &calls);
        // Outputs of their own, before and after; one that reads one partition; windows of two batches.
        stream.foreach_batch(|batch, _| batch.collect().map(drop));
        stream.state_snapshots().foreach_batch(|batch, _| batch.take(1).map(drop));
        let windows = stream.window(2 * SECOND, 2 * SECOND).map(|pair| ('w', pair));
        let whole = stream.state_snapshots().window(2 * SECOND, 2 * SECOND).map(|pair| ('s', pair));
        stream.map(|pair| ('m', pair)).foreach_batch(|batch, _| batch.count().map(drop));
        windows.union(&whole)
    });
    let out = out.unwrap().sorted();
    let mapped = |pairs: &[(u8, i32)]| pairs.iter().map(|pair| ('w', *pair)).collect::<Vec<_>>();
    let states = |pairs: &[(u8, i32)]| pairs.iter().map(|pair| ('s', *pair)).collect::<Vec<_>>();
    let expected = [
        [states(&[(1, 1), (1, 2), (2, 1), (2, 1)]), mapped(&[(1, 1), (1, 2), (2, 1)])].concat(),
        [states(&[(1, 2), (1, 3), (2, 6), (2, 6)]), mapped(&[(1, 3), (2, 6)])].concat(),
    ];
    assert_eq!(out, expected);
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[test]
fn a_later_batch_does_not_change_what_an_earlier_one_emits() {
    // A reduced window reads every batch once, and those between its own times when later ones were computed.
    let input: Vec<Vec<(u8, i32)>> = (1..=6).map(|n| vec![(0, n), ((n % 3) as u8, 1)]).collect();
    let mut sums = BTreeMap::new();
    let mut all = Vec::new();
    for batch in &input {
        batch.iter().for_each(|(key, value)| *sums.entry(*key).or_insert(0) += value);
        all.push(sums.clone().into_iter().collect::<Vec<(u8, i32)>>());
    }
    let expected: Vec<Vec<(u8, i32)>> = all
        .chunks(3)
        .map(|batches| {
            let mut window = BTreeMap::new();
            batches.concat().into_iter().for_each(|(key, sum)| *window.entry(key).or_insert(0) += sum);
            window.into_iter().collect()
        })
        .collect();
    let window = |s: DStream<(u8, i32)>| s.reduce_by_key_and_window(|a, b| a + b, 3 * SECOND, 3 * SECOND);
    check_set("update", &input, |s| window(s.update_state_by_key(sum)), &expected);
    check_set(
        "snapshots",
        &input,
        |s| {
            let stream = counted(&s, &Arc::default());
            stream.print();
            window(stream.state_snapshots())
        },
        &expected,
    );
}

#[test]
fn a_panic_midway_leaves_counts_exact() {
    let input: Vec<Vec<(u8, i32)>> = (0..6).map(|_| (0..2000).map(|n| ((n % 50) as u8, 1)).collect()).collect();
    let expected: Vec<Vec<(u8, i32)>> = (1..=6).map(|n| (0..50).map(|key| (key, 40 * n)).collect()).collect();
    for run in every_run() {
        for downstream in [false, true] {
            let calls = Arc::new(AtomicU32::new(0));
            let failing = {
                let calls = Arc::clone(&calls);
                // Some records into every batch.
                move || assert!(calls.fetch_add(1, Ordering::Relaxed) % 3001 != 700, "now and then")
            };
            let out = run.run(input.clone(), |s| {
                let fails = failing.clone();
                let spec = StateSpec::function(move |key: &u8, value, state: &mut KeyState<i32>| {
                    let sum = add(value, state);
                    if !downstream {
                        fails();
                    }
                    (*key, sum)
                });
                let stream = s.map_with_state(spec);
                stream
                    .filter(move |_| {
                        if downstream {
                            failing()
                        }
                        true
                    })
                    .foreach_batch(|batch, _| batch.collect().map(drop));
                stream.state_snapshots()
            });
            assert_eq!(out.unwrap().sorted(), expected, "{run:?}");
        }
    }
    // The whole state, where the function fails in the middle of its keys.
    let calls = AtomicU32::new(0);
    let fails = move |values: Vec<i32>, state| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) % 60 != 30, "now and then");
        sum(values, state)
    };
    let out = TestRun::new().run(input, |s| s.update_state_by_key(fails)).unwrap();
    assert_eq!(out.sorted(), expected);
}

#[test]
fn what_an_attempt_that_failed_has_added_does_not_count() {
    let added = Arc::new(Mutex::new(0));
    let out = TestRun::new().run_with_context([vec![(1, 1), (2, 1), (3, 1)]], |context, s| {
        let total = context.accumulator::<u64>("calls");
        let has_failed = AtomicBool::new(false);
        let counter = total.clone();
        let spec = StateSpec::function(move |key: &u8, value, state: &mut KeyState<i32>| {
            counter.add(1);
            assert!(*key != 3 || has_failed.swap(true, Ordering::Relaxed), "once");
            add(value, state)
        });
        let stream = s.map_with_state(spec.partitions(Partitions::new(1)));
        let added = Arc::clone(&added);
        stream.foreach_batch(move |batch, _| {
            batch.count()?;
            *added.lock().unwrap() = total.value();
            Ok(())
        });
        stream.mapped()
    });
    assert_eq!(out.unwrap(), [vec![1, 1, 1]]);
    assert_eq!(*added.lock().unwrap(), 3);
}

#[test]
fn states_that_nobody_reads_are_kept_up() {
    // An output every three batches; in between, the end of each batch brings the states up to it.
    let input: Vec<Vec<(u8, i32)>> = (0..6).map(|_| vec![(1, 1)]).collect();
    let calls = Arc::new(AtomicU32::new(0));
    let out = TestRun::new().run(input, |s| {
        let seen = Arc::clone(&calls);
        let last = counted(&s, &calls).window(SECOND, 3 * SECOND);
        last.foreach_batch(move |_, batch| {
            assert_eq!(i64::from(seen.load(Ordering::Relaxed)), batch.time.as_millis() / 1000 - 1);
            Ok(())
        });
        last
    });
    assert_eq!(out.unwrap(), [vec![(1, 3)], vec![(1, 6)]]);
}

#[test]
fn the_size_of_the_state_is_told() {
    let input = [(0..1000).map(|n| (n, 1)).collect::<Vec<(u64, u64)>>(), vec![]];
    TestRun::new()
        .run(input, |s| {
            assert_eq!(s.state_info(), None);
            let spec = StateSpec::function_with_time(|_, _: &u64, one: Option<u64>, state: &mut KeyState<u64>| {
                state.update(one?);
                Some(())
            });
            let stream = s.map_with_state(spec);
            let sized = stream.clone();
            stream.foreach_batch(move |batch, _| {
                batch.count()?;
                let info = sized.state_info().expect("a stream with states");
                assert_eq!(info.keys, 1000);
                assert!((32_000..200_000).contains(&info.bytes), "{info:?}");
                Ok(())
            });
            stream.mapped()
        })
        .unwrap();
}

/// What a plain loop makes of it: sums by key; -1 removes; keys time out after two batches.
fn plainly(batches: &[Vec<(u8, i8)>], timeout: Option<i64>) -> Vec<BTreeMap<u8, i32>> {
    let mut states: HashMap<u8, (i32, i64)> = HashMap::new();
    let step = |(batch, time): (&Vec<(u8, i8)>, i64)| {
        for (key, value) in batch {
            if *value == -1 {
                states.remove(key);
            } else {
                let state = states.entry(*key).or_insert((0, time));
                *state = (state.0 + i32::from(*value), time);
            }
        }
        if let Some(timeout) = timeout {
            states.retain(|_, (_, touched)| time - *touched <= timeout);
        }
        states.iter().map(|(key, (sum, _))| (*key, *sum)).collect()
    };
    batches.iter().zip(1..).map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn map_with_state_is_update_state_by_key_is_a_map(
        batches in prop::collection::vec(prop::collection::vec((0..12u8, -1..4i8), 0..12), 1..12),
        timeout in prop::option::of(0..4u32),
        partitions in prop::sample::select(vec![1, 2, 7]),
    ) {
        let run = TestRun::new().shuffle_partitions(partitions);
        let expected: Vec<Vec<(u8, i32)>> =
            plainly(&batches, timeout.map(i64::from)).into_iter().map(|states| states.into_iter().collect()).collect();
        let mapped = run.run(batches.clone(), |s| {
            let spec = StateSpec::function(|_: &u8, value: Option<i8>, state: &mut KeyState<i32>| match value {
                None => assert!(state.is_timing_out()),
                Some(-1) => state.remove(),
                Some(value) => state.update(state.get().unwrap_or(&0) + i32::from(value)),
            });
            let spec = match timeout {
                Some(batches) => spec.timeout(batches * SECOND),
                None => spec,
            };
            s.map_with_state(spec).state_snapshots()
        });
        prop_assert_eq!(mapped.unwrap().sorted(), expected.clone());
        let updated = run.run(batches, move |s| {
            let update = move |time: Time, _: &u8, values: Vec<i8>, state: Option<(i32, i64)>| {
                let now = time.as_millis() / 1000;
                let mut state = state;
                for value in values {
                    state = (value != -1).then(|| (state.map_or(0, |(sum, _)| sum) + i32::from(value), now));
                }
                state.filter(|(_, touched)| timeout.is_none_or(|timeout| now - touched <= i64::from(timeout)))
            };
            s.update_state_by_key_with(UpdateSpec::function_with_time(update)).map_values(|(sum, _)| sum)
        });
        prop_assert_eq!(updated.unwrap().sorted(), expected);
    }
}

#[test]
fn keys_of_all_partitions_are_told_apart() {
    let keys: BTreeSet<u32> = (0..5000).collect();
    for partitions in [1, 2, 7] {
        let out = TestRun::new().run([keys.iter().map(|key| (*key, 1)).collect::<Vec<_>>(), vec![]], |s| {
            s.update_state_by_key_with(UpdateSpec::function(sum).partitions(Partitions::new(partitions)))
        });
        let out = out.unwrap().sorted();
        assert!(out.batches().iter().all(|batch| batch.iter().map(|(key, _)| *key).eq(keys.iter().copied())));
    }
}

#[test]
fn m_7_the_interval_of_snapshots_follows_the_slide() {
    for (slide, automatic, explicit) in
        [(SECOND / 10, SECOND, 2 * SECOND), (SECOND, 10 * SECOND, 2 * SECOND), (10 * SECOND, 100 * SECOND, 20 * SECOND)]
    {
        let context = StreamingContext::builder("m-7").batch_interval(slide).build().unwrap();
        let pairs = context.input(QueueSource::<(u8, u8)>::one_at_a_time());
        let stream =
            || pairs.map_with_state(StateSpec::function(|_: &u8, value: Option<u8>, _: &mut KeyState<u8>| value));
        assert_eq!(stream().checkpoint_interval(), Some(automatic));
        assert_eq!(stream().checkpoint(explicit).checkpoint_interval(), Some(explicit));
        assert_eq!(stream().map(|value| value).checkpoint_interval(), None);
        assert_eq!(stream().state_snapshots().checkpoint_interval(), None);
    }
}
