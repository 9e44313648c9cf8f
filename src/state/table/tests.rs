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

/// 0: nothing, 1: one more or 0, 2: remove, 3: all that was changed so far is written down.
fn code(table: &mut Sums, key: u64, code: u8) {
    if code == 3 {
        return table.write_down();
    }
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
        assert_eq!(save(&mut table, 2000, false).1.len() > NOTHING, written);
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
    table.save(at(time), due).unwrap()
}

/// How long the chunk of a batch is that has changed nothing, and an entry of the sums.
const NOTHING: usize = 2;
const ENTRY: usize = 10;

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
    assert_eq!((saved, bytes.len()), (Saved { since: at(1), keys: 7 }, NOTHING + 7 * ENTRY));
    batch(&mut table, 2, &[]);
    let (saved, bytes) = save(&mut table, 2, false);
    assert_eq!((saved, bytes.len()), (Saved { since: at(1), keys: 7 }, NOTHING));
    // A round of four batches, two keys each.
    for (time, since) in [(3, 1), (4, 1), (5, 1), (6, 3), (7, 3)] {
        batch(&mut table, time, &[]);
        assert_eq!(save(&mut table, time, time == 3).0.since, at(since), "{time}");
    }
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
        assert_eq!(save(&mut table, time, false).1.len(), NOTHING + if time == 1 { 100 * ENTRY } else { ENTRY });
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
        let (_, bytes) = table.save(at(time), false).unwrap();
        assert_eq!(bytes.len() > NOTHING, time == 1);
    }
    assert!(table.iter().map(|(_, state)| (state.sum, state.calls)).eq([(5, 3)]));
}

/// What a batch writes down as it goes, what it changes after that, what it removes, and what it has not been at.
#[test]
fn the_entries_of_a_chunk() {
    let update = |table: &mut Sums, key, state| {
        let id = table.intern(&key);
        table.call(id, |_, slot| slot.update(state));
    };
    let remove = |table: &mut Sums, key| {
        let id = table.intern(&key);
        table.call(id, |_, slot| slot.remove());
    };
    let said = |bytes: &[u8]| {
        let mut all = Vec::new();
        chunk::read(bytes, codec::decode_value, |said: chunk::Said<u64, u64>| all.push((said.key, said.kept))).unwrap();
        all
    };
    let mut table = table(Some(1000));
    table.record();
    for key in 1..=6 {
        update(&mut table, key, 10 * key);
    }
    table.commit(at(1));
    let expected: Vec<_> = (1..=6).map(|key| (key, Some((0, 10 * key)))).collect();
    assert_eq!(said(&save(&mut table, 1, false).1), expected);

    update(&mut table, 1, 11);
    update(&mut table, 2, 21);
    remove(&mut table, 3);
    table.write_down();
    // Again, and once more; gone; back.
    update(&mut table, 1, 12);
    update(&mut table, 1, 13);
    remove(&mut table, 2);
    update(&mut table, 3, 31);
    // For the first time; only read; new, and gone at once; new.
    update(&mut table, 4, 41);
    code(&mut table, 5, 0);
    update(&mut table, 7, 70);
    table.write_down();
    remove(&mut table, 7);
    update(&mut table, 8, 80);
    remove(&mut table, 8);
    update(&mut table, 9, 90);
    table.commit(at(4));
    let written = [(1, 11), (2, 21), (4, 41), (5, 50), (7, 70)].map(|(key, state)| (key, Some((0, state))));
    let gone = [(2, None), (7, None)];
    let again = [(1, 13), (3, 31), (9, 90)].map(|(key, state)| (key, Some((0, state))));
    let expected = [&written[..], &gone, &again].concat();
    assert_eq!(said(&save(&mut table, 4, false).1), expected);
    // A snapshot comes round, with a key that has been idle.
    let mut saved = Vec::new();
    for time in 5..9 {
        table.commit(at(time));
        saved.extend(said(&save(&mut table, time, true).1).into_iter().map(|said| (time, said)));
    }
    assert!(saved.iter().any(|(time, said)| *said == (6, Some((*time as u64 - 1, 60)))), "{saved:?}");
}

/// A state that is in order if it is 0, cannot be written if it is 1, and panics if it is 2.
#[derive(Clone, serde::Deserialize)]
struct Fragile(u8);

impl serde::Serialize for Fragile {
    fn serialize<T: serde::Serializer>(&self, to: T) -> std::result::Result<T::Ok, T::Error> {
        match self.0 {
            0 => to.serialize_u8(0),
            1 => Err(serde::ser::Error::custom("one")),
            _ => panic!("two"),
        }
    }
}

#[test]
fn what_cannot_be_written_is_an_error_if_a_batch_leaves_it() {
    for (state, expected) in [(1, "Fragile cannot be written"), (2, "two")] {
        let mut table: Table<u64, Fragile> = Table::new(None);
        table.record();
        let update = |table: &mut Table<u64, Fragile>, key: u64, state| {
            let id = table.intern(&key);
            table.call(id, |_, slot| slot.update(Fragile(state)));
            table.write_down();
        };
        // In an attempt that fails; and in between.
        update(&mut table, 7, state);
        table.roll_back();
        for (key, state) in [(8, 0), (7, state), (9, 0), (7, 0)] {
            update(&mut table, key, state);
        }
        table.commit(at(1));
        assert_eq!(table.save(at(1), false).unwrap().1.len(), NOTHING + 3 * ENTRY);
        update(&mut table, 7, state);
        table.commit(at(2));
        let said = |said: &str| crate::error::Error::new(crate::error::ErrorKind::User, said);
        let saved = crate::error::guarded(|| table.save(at(2), false), said);
        let error = saved.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_batch_that_is_not_saved_before_the_next_is_an_error() {
    let mut table = table(None);
    table.record();
    batch(&mut table, 1, &[(1, 1)]);
    batch(&mut table, 2, &[(1, 1)]);
    assert!(table.save(at(2), false).unwrap_err().to_string().contains("not saved before the next"));
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
        batches in prop::collection::vec((prop::collection::vec((0..40u64, 0..4u8), 0..30), any::<bool>(), any::<bool>()), 1..25),
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
                // Another batch than the one that goes well: nothing of it may be left.
                codes.iter().for_each(|(key, what)| code(&mut table, key + 1, *what));
                table.write_down();
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
                    (Some(state), 0) => state.1 = touched,
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
            if fails {
                // An attempt at the next one, before this one is saved.
                codes.iter().for_each(|(key, what)| code(&mut table, key + 2, *what));
                table.roll_back();
            }
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
