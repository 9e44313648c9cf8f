//! Tables that go on in another number of partitions, or with another hash of keys: what is needed of the chunks from
//! before, and for how long.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::damage::{of_kind, small};
use super::memory::Memory;
use super::*;
use crate::checkpoint::format::FileId;
use crate::codec::decode_value;
use crate::data::{hash_key, part_of};
use crate::state::{Table, TakenBack, chunk};

type States = BTreeMap<u64, u64>;

/// The tables of a run, each with the keys that belong there.
struct Tables {
    tables: Vec<Mutex<Table<u64, u64>>>,
    /// Which of several hash functions says where keys belong.
    hash: u8,
}

impl Tables {
    /// What was restored, if anything was.
    fn of(partitions: usize, hash: u8, recovered: Option<&Recovered>) -> Self {
        let tables = Tables { tables: (0..partitions).map(|_| Mutex::new(Table::new(None))).collect(), hash };
        let taken_back = Mutex::new(TakenBack::default());
        let take_back = |_, chunk: &crate::state::Chunk<'_>| {
            let mut placed: Vec<Vec<_>> = (0..partitions).map(|_| Vec::new()).collect();
            chunk::read(chunk.bytes, decode_value, |said| placed[tables.place(said.key)].push(said))?;
            taken_back.lock().unwrap().note(chunk, &placed);
            for (table, said) in tables.tables.iter().zip(placed) {
                let mut table = table.lock().unwrap();
                said.into_iter().for_each(|said| table.restore(said, chunk.time));
            }
            Ok(())
        };
        recovered.into_iter().for_each(|recovered| recovered.restore(counter(), &take_back).unwrap());
        let taken_back = taken_back.into_inner().unwrap();
        for (partition, table) in tables.tables.iter().enumerate() {
            let mut table = table.lock().unwrap();
            table.go_on(taken_back.rolling(partition));
            table.record();
        }
        tables
    }

    fn place(&self, key: u64) -> usize {
        part_of(hash_key(&(key, self.hash)), self.tables.len())
    }

    /// What all tables have, each key once and where it belongs.
    fn states(&self) -> States {
        let mut states = States::new();
        for (partition, table) in self.tables.iter().enumerate() {
            for (key, state) in table.lock().unwrap().iter() {
                assert_eq!((self.place(*key), states.insert(*key, *state)), (partition, None), "key {key}");
            }
        }
        states
    }

    /// Changes the states of keys, or removes them, and saves that.
    fn batch(&self, second: i64, changes: &[(u64, Option<u64>)], due: bool) -> Vec<StateChunk> {
        for (key, state) in changes {
            let mut table = self.tables[self.place(*key)].lock().unwrap();
            let id = table.intern(key);
            table.replace(id, |_, _| *state);
        }
        let partitions = self.tables.len();
        let save = |(partition, table): (usize, &Mutex<Table<u64, u64>>)| {
            let mut table = table.lock().unwrap();
            if second % 2 == 0 {
                table.write_down();
            }
            table.commit(at(second));
            let (saved, bytes) = table.save(at(second), due).unwrap();
            StateChunk { operator: counter(), kind: ChunkKind::State, partition, partitions, saved, bytes }
        };
        self.tables.iter().enumerate().map(save).collect()
    }
}

/// Writes twelve keys from two partitions, and goes on in one for so many batches of which no snapshot is due. Returns the
/// oldest batch of which chunks are needed then, and whether the file that it is in is still there.
fn left_of_two_partitions(batches: i64) -> (i64, bool) {
    let memory = Memory::default();
    let settings = small(&memory).generations(0);
    for (partitions, seconds) in [(2, 1..=1), (1, 2..=1 + batches)] {
        let (journal, recovered) = open_with(&settings).unwrap();
        let tables = Tables::of(partitions, 0, recovered.as_ref());
        journal.begin(&manifest()).unwrap();
        for second in seconds {
            let changes = (0..12).map(|key| (key, Some(key))).filter(|_| second == 1);
            run(&journal, second, tables.batch(second, &changes.collect::<Vec<_>>(), false));
        }
    }
    let first = FileId::state(1, 0).name();
    let (_, recovered) = open_with(&settings).unwrap();
    let oldest = Mutex::new(i64::MAX);
    let look = |_, chunk: &crate::state::Chunk<'_>| {
        let mut oldest = oldest.lock().unwrap();
        *oldest = chunk.time.as_millis().min(*oldest);
        Ok(())
    };
    recovered.unwrap().restore(counter(), &look).unwrap();
    (oldest.into_inner().unwrap() / 1000, memory.files().contains_key(&first))
}

/// Two keys at a time, from the first batch on.
#[test]
fn what_other_partitions_have_written_is_needless_soon() {
    assert_eq!([0, 5, 6, 40].map(left_of_two_partitions), [(1, true), (1, true), (2, true), (2, false)]);
}

#[test]
fn batches_without_partitions_become_needless_too() {
    let memory = Memory::default();
    let (journal, _) = open_with(&small(&memory)).unwrap();
    journal.begin(&manifest()).unwrap();
    for second in 1..=120 {
        run(&journal, second, vec![StateChunk { kind: ChunkKind::Batch(at(second)), ..chunk(0, 0, second - 2, "") }]);
    }
    drop(journal);
    let kept = of_kind(&memory.files(), "state").len();
    assert!((1..12).contains(&kept), "{kept} segments");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_partitions_go_on_from_any_others(
        runs in prop::collection::vec(
            (
                (1usize..6, prop_oneof![4 => Just(0u8), 1 => 1u8..3]),
                prop::collection::vec(
                    (prop::collection::vec((0u64..40, prop::option::of(0u64..9)), 0..10), any::<bool>()),
                    0..6,
                ),
                prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<prop::sample::Index>())),
            ),
            1..12,
        ),
        state_segment_bytes in 100u64..2000,
        generations in 0usize..3,
    ) {
        let memory = Memory::default();
        let settings = Checkpoint { state_segment_bytes, generations, ..small(&memory) };
        // What there is after each batch.
        let mut history = vec![States::new()];
        for ((partitions, hash), batches, damage) in runs {
            if let Some((file, byte)) = damage {
                memory.change(|files| {
                    let names = of_kind(files, "state");
                    if !names.is_empty() {
                        let bytes = files.get_mut(file.get(&names)).unwrap();
                        let byte = byte.index(bytes.len());
                        bytes[byte] ^= 1;
                    }
                });
            }
            let (journal, recovered) = match open_with(&settings) {
                Ok(opened) => opened,
                Err(error) => {
                    prop_assert!(damage.is_some() && error.to_string().contains("no older state"), "{}", error);
                    return Ok(());
                }
            };
            if let Some(recovered) = &recovered {
                let second = recovered.done_up_to().as_millis() / 1000;
                prop_assert!(second as usize + 1 == history.len() || !recovered.reports().is_empty());
                history.truncate(second as usize + 1);
            }
            let tables = Tables::of(partitions, hash, recovered.as_ref());
            prop_assert_eq!(&tables.states(), &history[history.len() - 1]);
            journal.begin(&manifest()).unwrap();
            for (changes, due) in batches {
                let mut states = history[history.len() - 1].clone();
                for (key, state) in &changes {
                    match state {
                        Some(state) => states.insert(*key, *state),
                        None => states.remove(key),
                    };
                }
                let second = history.len() as i64;
                run(&journal, second, tables.batch(second, &changes, due));
                prop_assert_eq!(&tables.states(), &states);
                history.push(states);
            }
            drop(journal);
        }
    }
}

/// The segment of the older of two batches is damaged, which nobody needs any more but for a fall-back; and when that is
/// gone, the other is too. The first went unnoticed, and the state fell back to nothing.
#[test]
fn what_was_damaged_before_is_not_fallen_back_to() {
    let memory = Memory::default();
    let settings = Checkpoint { state_segment_bytes: 100, generations: 1, ..small(&memory) };
    let go_on = |partitions| {
        let (journal, recovered) = open_with(&settings)?;
        let tables = Tables::of(partitions, 0, recovered.as_ref());
        journal.begin(&manifest())?;
        Ok::<_, Error>((journal, tables, recovered.map_or(Vec::new(), |recovered| recovered.reports().to_vec())))
    };
    for (second, partitions, changes) in [(1, 1, &[(7, Some(1))][..]), (2, 2, &[])] {
        let (journal, tables, _) = go_on(partitions).unwrap();
        run(&journal, second, tables.batch(second, changes, false));
    }
    let damage = || memory.change(|files| files.get_mut(&of_kind(files, "state")[0]).unwrap()[0] ^= 1);
    damage();
    let (_, tables, reports) = go_on(1).unwrap();
    assert_eq!(tables.states(), States::from([(7, 1)]));
    assert!(reports[0].contains("the head of the file is damaged") && reports[0].contains("behind batch 2000 ms"));
    damage();
    let error = go_on(1).map(drop).unwrap_err().to_string();
    assert!(error.contains("no older state that is whole is left"), "{error}");
}
