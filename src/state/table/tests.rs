use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::state::{Chunk, Rolling, Saved, TakenBack, chunk};

fn at(time: i64) -> Time {
    Time::from_micros(time)
}

type Sums = Table<u64, u64>;

fn table(timeout: Option<u64>) -> Sums {
    Table::new(timeout.map(Duration::from_micros))
}

/// 0: nothing, 1: one more or 0, 2: remove.
fn code(table: &mut Sums, key: u64, code: u8) {
    let id = table.intern(&key);
    table.call(id, |_, state| match code {
        1 => state.update(state.get().map_or(0, |state| state + 1)),
        2 => state.remove(),
        _ => {}
    });
}

fn batch(table: &mut Sums, time: i64, codes: &[(u64, u8)]) {
    codes.iter().for_each(|(key, what)| code(table, *key, *what));
    table.commit(at(time));
}

/// Keys, states and when they were touched: 0 without a timeout.
fn all(table: &Sums) -> BTreeMap<u64, (u64, i64)> {
    let touched = |id| table.queue.as_ref().map_or(0, |queue| queue.touched(id).as_micros());
    table.keys.iter().map(|(id, key, slot)| (*key, (*slot.state().unwrap(), touched(id)))).collect()
}

#[test]
fn spark_state_handle_truth_table() {
    let mut table = table(None);
    let id = table.intern(&1);
    table.call(id, |_, state| {
        assert_eq!((state.exists(), state.get(), state.is_timing_out()), (false, None, false));
        state.update(2);
        assert_eq!((state.exists(), state.get()), (true, Some(&2)));
        state.update(3);
        assert_eq!(state.get(), Some(&3));
        state.remove();
        assert_eq!((state.exists(), state.get(), state.is_timing_out()), (false, None, false));
    });
    table.call(id, |_, state| state.update(3));
    table.time_out(id, |_, state| {
        assert_eq!((state.exists(), state.get(), state.is_timing_out()), (true, Some(&3), true));
    });
    table.commit(at(1));
    assert_eq!((table.len(), table.iter().count()), (0, 0));
}

#[test]
fn spark_chain_of_states() {
    let base = || {
        let mut table = table(Some(1000));
        (1..=2).for_each(|key| table.begin_with(&key, 0, at(123)));
        table
    };
    let check = |batches: &[&[(u64, u8)]], expected: &[(u64, (u64, i64))]| {
        let mut table = base();
        batches.iter().for_each(|codes| batch(&mut table, 345, codes));
        assert_eq!(all(&table), expected.iter().copied().collect(), "{batches:?}");
    };
    let (k1, k2) = ((1, (0, 123)), (2, (0, 123)));
    for unchanged in [&[][..], &[(3, 0)]] {
        check(&[unchanged], &[k1, k2]);
    }
    // With a timeout reading is a touch.
    check(&[&[(1, 0)]], &[(1, (0, 345)), k2]);
    check(&[&[(3, 1)]], &[k1, k2, (3, (0, 345))]);
    check(&[&[(3, 1)], &[(4, 1)]], &[k1, k2, (3, (0, 345)), (4, (0, 345))]);
    check(&[&[(1, 1)]], &[(1, (1, 345)), k2]);
    let (r3, r4): (&[_], &[_]) = (&[(1, 1)], &[(9, 0), (2, 1), (2, 1), (3, 1)]);
    check(&[r3, r4], &[(1, (1, 345)), (2, (2, 345)), (3, (0, 345))]);
    check(&[r3, r4, &[(3, 1)]], &[(1, (1, 345)), (2, (2, 345)), (3, (1, 345))]);
    let (r6, r7): (&[_], &[_]) = (&[(1, 2)], &[(2, 2), (0, 2), (3, 1)]);
    check(&[r6], &[k2]);
    check(&[r6, r7], &[(3, (0, 345))]);
    check(&[r6, r7, &[(3, 2)]], &[]);
}

#[test]
fn spark_state_map_older_than() {
    let mut table = table(Some(0));
    let put = |table: &mut Sums, key, state, time| {
        let id = table.intern(&key);
        table.call(id, |_, slot| slot.update(state));
        table.commit(at(time));
    };
    put(&mut table, 1, 100, 10);
    let older = |table: &Sums, than| table.due(at(than)).len();
    assert_eq!([older(&table, 11), older(&table, 10), older(&table, 9)], [1, 0, 0]);
    put(&mut table, 2, 200, 10);
    assert_eq!([older(&table, 11), older(&table, 10)], [2, 0]);
    batch(&mut table, 10, &[(1, 2)]);
    assert_eq!((all(&table).len(), older(&table, 11)), (1, 1));
}

#[test]
fn reading_is_a_touch_with_a_timeout_only() {
    for (timeout, written) in [(None, false), (Some(1000), true)] {
        let mut table = table(timeout);
        table.record();
        batch(&mut table, 1000, &[(1, 1)]);
        save(&mut table, 1000, false);
        batch(&mut table, 2000, &[(1, 0), (2, 0)]);
        assert_eq!(all(&table), BTreeMap::from([(1, (0, if written { 2000 } else { 0 }))]));
        assert_eq!(save(&mut table, 2000, false).1.len() > 1, written);
    }
}

#[test]
fn a_key_stands_in_the_queue_once() {
    let mut table = table(Some(5));
    for time in 0..100 {
        batch(&mut table, time, &[(1, 1), (2, if time % 3 == 0 { 2 } else { 1 })]);
        assert!(table.due(at(time)).is_empty());
        assert!(table.bytes() < 10_000);
    }
    assert_eq!((table.due(at(104)), table.due(at(105)).len()), (vec![], 1));
}

#[test]
fn memory_goes_back_after_a_burst() {
    let mut table = table(Some(1));
    let burst: Vec<_> = (0..10_000).map(|key| (key, 1)).collect();
    batch(&mut table, 1, &burst);
    let full = table.bytes();
    for time in 2..6 {
        for id in table.due(at(time)) {
            table.time_out(id, |_, _| ());
        }
        batch(&mut table, time, &[(5, 1)]);
    }
    assert_eq!(table.len(), 1);
    assert!(table.bytes() * 100 < full, "{} of {full}", table.bytes());
}

fn save(table: &mut Sums, time: i64, due: bool) -> (Saved, Vec<u8>) {
    let mut bytes = Vec::new();
    let saved = table.save(at(time), due, &mut bytes).unwrap();
    (saved, bytes)
}

fn restore(timeout: Option<u64>, chunks: &[(i64, Vec<u8>)]) -> Sums {
    let mut restored = table(timeout);
    for (time, bytes) in chunks {
        chunk::read(bytes, codec::decode_value, |said| restored.restore(said, at(*time))).unwrap();
    }
    restored.go_on(Rolling::default());
    restored
}

#[test]
fn a_batch_that_changes_nothing_writes_nothing_and_a_snapshot_goes_round() {
    let mut table = table(None);
    table.record();
    let many: Vec<_> = (0..7).map(|key| (key, 1)).collect();
    batch(&mut table, 1, &many);
    let (saved, bytes) = save(&mut table, 1, false);
    assert_eq!((saved, bytes.len() > 14), (Saved { since: at(1), keys: 7 }, true));
    batch(&mut table, 2, &[]);
    assert_eq!(save(&mut table, 2, false), (Saved { since: at(1), keys: 7 }, vec![1]));
    // A round of four batches, two keys each.
    for (time, since) in [(3, 1), (4, 1), (5, 1), (6, 3), (7, 3)] {
        batch(&mut table, time, &[]);
        assert_eq!(save(&mut table, time, time == 3).0.since, at(since), "{time}");
    }
}

/// After a batch with many changes the next chunk took as much room, whatever was in it.
#[test]
fn a_chunk_takes_the_room_that_it_needs() {
    let mut table = table(None);
    table.record();
    let many: Vec<_> = (0..10_000).map(|key| (key, 1)).collect();
    batch(&mut table, 1, &many);
    let (_, bytes) = save(&mut table, 1, false);
    batch(&mut table, 2, &[(1, 1)]);
    assert!(save(&mut table, 2, true).1.capacity() * 100 < bytes.len());
    // As before, and this time it is known how much that is.
    batch(&mut table, 3, &many);
    let (_, bytes) = save(&mut table, 3, false);
    assert!((bytes.len()..2 * bytes.len()).contains(&bytes.capacity()));
}

#[test]
fn states_that_come_out_the_same_are_not_written_again() {
    let mut table = table(None);
    table.record();
    for time in 1..=2 {
        for key in 0..100 {
            let id = table.intern(&key);
            table.replace(id, |key, state| Some(state.unwrap_or(0) + u64::from(time == 1 || *key == 7)));
        }
        table.commit(at(time));
        assert_eq!(save(&mut table, time, false).1.len(), if time == 1 { 401 } else { 5 });
    }
    assert_eq!(all(&table)[&7].0, 2);
}

/// The new state was thrown away.
#[test]
fn what_is_not_saved_changes_all_the_same() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Cached {
        sum: u64,
        #[serde(skip)]
        calls: u32,
    }
    let mut table: Table<u64, Cached> = Table::new(None);
    table.record();
    for time in 1..=3 {
        for attempt in 1..=2 {
            let id = table.intern(&7);
            table.replace(id, |_, state| Some(Cached { sum: 5, calls: state.map_or(0, |state| state.calls) + 1 }));
            if attempt == 1 {
                table.roll_back();
            }
        }
        table.commit(at(time));
        let mut bytes = Vec::new();
        table.save(at(time), false, &mut bytes).unwrap();
        assert_eq!(bytes.len() > 1, time == 1);
    }
    assert!(table.iter().map(|(_, state)| (state.sum, state.calls)).eq([(5, 3)]));
}

#[test]
fn the_bytes_of_a_chunk() {
    let mut table: Table<u64, String> = Table::new(Some(Duration::from_micros(1000)));
    table.record();
    for (key, time) in [(7, 1), (300, 2)] {
        let id = table.intern(&key);
        table.call(id, |_, state| state.update("ebb".to_string()));
        table.commit(at(time));
    }
    let id = table.intern(&7);
    let mut bytes = Vec::new();
    table.save(at(3), false, &mut bytes).unwrap();
    assert_eq!(bytes, *b"\x01\x01\x07\x02\x03ebb\x01\xfb\x2c\x01\x01\x03ebb");
    table.call(id, |_, state| state.remove());
    table.commit(at(4));
    bytes.clear();
    table.save(at(4), false, &mut bytes).unwrap();
    assert_eq!(bytes, *b"\x01\x00\x07");
}

#[test]
fn bytes_that_lie_are_errors() {
    let read = |bytes: &[u8]| chunk::read::<u64, Vec<u64>>(bytes, codec::decode_value, |_| ()).unwrap_err().to_string();
    assert!(read(b"").contains("it is empty"));
    assert!(read(b"\x02").contains("it has version 2, and this program knows 1"));
    assert!(read(b"\x01\x05\x07").contains("neither put nor removed"));
    assert!(read(b"\x01\x01\x07").contains("do not fit"));
    // A state of 2^62 numbers.
    assert!(read(b"\x01\x01\x07\x00\xfd\0\0\0\0\0\0\0\x40").contains("do not fit"));
}

/// The number of a key that is gone goes to one that was touched earlier, of which an older chunk says nothing.
#[test]
fn keys_that_were_taken_back_time_out_when_they_are_due() {
    let touched = |key, idle| chunk::Said { key, kept: Some((idle, key)) };
    let mut table = table(Some(10));
    table.restore(touched(1, 0), at(20));
    table.restore(chunk::Said { key: 1, kept: None }, at(21));
    table.restore(touched(2, 18), at(21));
    table.go_on(Rolling::default());
    assert_eq!((table.due(at(13)).len(), table.due(at(14)).len()), (0, 1));
}

/// A table of seven keys that a restart into so many partitions has taken back: what it needs, and how many keys it writes,
/// batch by batch.
fn goes_on(partitions: usize, placed: &[Vec<u64>]) -> Vec<(i64, usize)> {
    let mut taken_back = TakenBack::default();
    taken_back.note(&Chunk { time: at(5), partition: 0, partitions, version: 1, bytes: &[] }, placed);
    let mut table = table(None);
    (0..7).for_each(|key| table.restore(chunk::Said { key, kept: Some((0, key)) }, at(5)));
    table.go_on(taken_back.rolling(0));
    table.record();
    let save = |time| {
        batch(&mut table, time, &[]);
        let (saved, bytes) = save(&mut table, time, false);
        (saved.since.as_micros(), restore(None, &[(time, bytes)]).len())
    };
    (9..14).map(save).collect()
}

#[test]
fn tables_of_other_partitions_are_written_anew_soon_and_those_of_another_hash_at_once() {
    assert_eq!(goes_on(2, &[vec![1], vec![]]), [(5, 0); 5]);
    assert_eq!(goes_on(3, &[vec![1], vec![]]), [(5, 2), (5, 2), (5, 2), (9, 1), (9, 0)]);
    assert_eq!(goes_on(2, &[vec![], vec![1]]), [(9, 7), (9, 0), (9, 0), (9, 0), (9, 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_is_a_map_that_can_go_back_and_be_restored(
        batches in prop::collection::vec((prop::collection::vec((0..40u64, 0..3u8), 0..30), any::<bool>(), any::<bool>()), 1..25),
        timeout in prop::option::of(0..6u64),
    ) {
        let mut table = table(timeout);
        table.record();
        let mut expected: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
        let mut chunks: Vec<(i64, Vec<u8>)> = Vec::new();
        for ((codes, fails, due), time) in batches.into_iter().zip(1..) {
            let before = all(&table);
            let touched = if timeout.is_some() { time } else { 0 };
            if fails {
                codes.iter().for_each(|(key, what)| code(&mut table, *key, *what));
                for id in table.due(at(time)) {
                    table.time_out(id, |_, _| ());
                }
                table.roll_back();
                prop_assert_eq!(all(&table), before);
            }
            for (key, what) in &codes {
                code(&mut table, *key, *what);
                match (expected.get_mut(key), what) {
                    (Some(state), 1) => *state = (state.0 + 1, touched),
                    (None, 1) => _ = expected.insert(*key, (0, touched)),
                    (_, 2) => _ = expected.remove(key),
                    (Some(state), _) => state.1 = touched,
                    _ => {}
                }
            }
            if let Some(timeout) = timeout {
                let old: Vec<u64> =
                    expected.iter().filter(|(_, (_, touched))| time - touched > timeout as i64).map(|(key, _)| *key).collect();
                let mut due: Vec<u64> = Vec::new();
                for id in table.due(at(time)) {
                    table.time_out(id, |key, _| due.push(*key));
                }
                due.sort();
                prop_assert_eq!(&due, &old);
                expected.retain(|key, _| !old.contains(key));
            }
            table.commit(at(time));
            prop_assert_eq!(all(&table), expected.clone());
            prop_assert_eq!(table.len(), expected.len());
            let (saved, bytes) = save(&mut table, time, due);
            chunks.push((time, bytes));
            chunks.retain(|(time, _)| at(*time) >= saved.since);
            let restored = restore(timeout, &chunks);
            prop_assert_eq!(all(&restored), expected.clone());
            for later in time + 1..time + 8 {
                let due = |table: &Sums| -> Vec<u64> {
                    let mut due: Vec<u64> = table.due(at(later)).into_iter().map(|id| *table.get(id).unwrap().0).collect();
                    due.sort();
                    due
                };
                prop_assert_eq!(due(&restored), due(&table), "at {} after {}", later, time);
            }
        }
    }
}
