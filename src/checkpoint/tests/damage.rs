//! Files that were cut, changed or lost: what is recovered was once true, or the error names the file.

use proptest::prelude::*;

use super::memory::{Files, Memory};
use super::*;

/// From which batch on a partition needs its chunks: a snapshot is complete every third batch.
fn since(second: i64, partition: i64) -> i64 {
    (second - (second + partition) % 3).max(1)
}

fn text(second: i64, partition: i64) -> String {
    format!("{second}/{partition}")
}

pub(super) fn chunks(second: i64) -> Vec<StateChunk> {
    (0..2).map(|p| chunk(p as usize, 2, since(second, p), &text(second, p))).collect()
}

/// What is restored after a batch.
pub(super) fn state(second: i64) -> Vec<(i64, usize, String)> {
    let mut chunks = Vec::new();
    for p in 0..2 {
        let needed = since(second, p)..=second;
        chunks.extend(needed.filter(|_| second > 0).map(|second| (second, p as usize, text(second, p))));
    }
    chunks.sort();
    chunks
}

pub(super) fn small(memory: &Memory) -> Checkpoint {
    Checkpoint { state_segment_bytes: 400, batch_segment_bytes: 1000, ..Checkpoint::on(memory.clone()) }
}

/// Opens what is left, and checks that it was once true; which batch it was, and all that is said.
fn check(files: Files) -> Result<(i64, Vec<String>)> {
    check_with(small, files)
}

fn check_with(settings: impl Fn(&Memory) -> Checkpoint, files: Files) -> Result<(i64, Vec<String>)> {
    let (_, recovered) = open_with(&settings(&Memory::of(files)))?;
    let recovered = recovered.expect("a checkpoint");
    let second = recovered.done_up_to().as_millis() / 1000;
    assert_eq!(restored(&recovered), state(second));
    assert_eq!(recovered.manifest(), &manifest());
    for batch in recovered.batches() {
        assert_eq!(batch.inputs, planned(batch.time.as_millis() / 1000).inputs);
        assert!(!batch.done || batch.time <= at(second));
    }
    // Those that are not done can be run again.
    let pending = recovered.batches().iter().filter(|batch| !batch.done);
    let pending: Vec<Time> = pending.map(|batch| batch.time).collect();
    let expected: Vec<Time> = (1..).map(|ahead| at(second + ahead)).take(pending.len()).collect();
    assert_eq!(pending, expected);
    Ok((second, [recovered.reports(), recovered.notes()].concat()))
}

/// What a run of so many batches leaves when it is killed.
pub(super) fn history(batches: i64) -> Files {
    let memory = Memory::default();
    let (journal, _) = open_with(&small(&memory)).unwrap();
    journal.begin(&manifest()).unwrap();
    (1..=batches).for_each(|second| run(&journal, second, chunks(second)));
    journal.abandon();
    memory.files()
}

/// All bits there are.
pub(super) fn bits(files: &Files) -> impl Iterator<Item = (&String, usize)> {
    files.iter().flat_map(|(name, bytes)| (0..bytes.len() * 8).map(move |bit| (name, bit)))
}

pub(super) fn flip(files: &mut Files, name: &str, bit: usize) {
    files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
}

pub(super) fn of_kind(files: &Files, kind: &str) -> Vec<String> {
    files.keys().filter(|name| name.starts_with(kind)).cloned().collect()
}

#[test]
fn a_batch_log_cut_at_every_byte_recovers_a_prefix() {
    let files = history(4);
    let [log] = &of_kind(&files, "batches")[..] else { panic!("one log") };
    let whole = files[log].len();
    let mut last = 0;
    for length in 0..=whole {
        let mut cut = files.clone();
        cut.get_mut(log).unwrap().truncate(length);
        match check(cut) {
            Ok((second, _)) => {
                assert!(second >= last, "{second} after {last} at {length}");
                last = second;
            }
            // The beginning of the file is written at once.
            Err(error) => assert!(last == 0 && error.to_string().contains(log), "{length}: {error}"),
        }
    }
    assert_eq!(last, 4);
}

#[test]
fn a_torn_end_is_no_damage() {
    let mut files = history(4);
    let log = of_kind(&files, "batches").pop().unwrap();
    files.get_mut(&log).unwrap().extend_from_slice(b"never complete");
    let (_, recovered) = open_with(&small(&Memory::of(files))).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!((recovered.done_up_to(), recovered.reports()), (at(4), &[][..]));
    let [note] = recovered.notes() else { panic!("one note") };
    assert!(note.contains(&log) && note.ends_with("the last 14 bytes were never complete, and are cut"), "{note}");
}

#[test]
fn a_state_log_cut_at_every_byte_recovers_an_earlier_state() {
    let files = history(6);
    for name in of_kind(&files, "state") {
        for length in 0..files[&name].len() {
            let mut cut = files.clone();
            cut.get_mut(&name).unwrap().truncate(length);
            let (second, reports) = check(cut).unwrap();
            // What lies before what is needed may be lost without any harm.
            assert!(second == 6 || reports[0].contains(&name), "{name} at {length}: {second} {reports:?}");
        }
        let mut lost = files.clone();
        lost.remove(&name);
        let (second, reports) = check(lost).unwrap();
        assert!(second == 6 || reports[0].contains(&format!("{name} is missing")), "{reports:?}");
    }
}

#[test]
fn every_flipped_bit_is_found_or_does_no_harm() {
    let files = history(5);
    let log = of_kind(&files, "batches").pop().unwrap();
    for (name, bit) in bits(&files) {
        let mut flipped = files.clone();
        flip(&mut flipped, name, bit);
        match check(flipped) {
            // Who had it is of no interest any more. Of a heart one hears.
            Ok((5, said)) if name.starts_with("epoch") => assert_eq!(said, [""; 0]),
            Ok((5, said)) if name.starts_with("alive") => {
                assert!(said[0].starts_with(name), "{name} bit {bit}: {said:?}")
            }
            Ok((5, _)) => assert!(*name != log, "{name} bit {bit} was not found"),
            Ok((_, reports)) => assert!(reports[0].contains(name), "{name} bit {bit}: {reports:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(name) && error.contains("at byte"), "{name} bit {bit}: {error}");
            }
        }
    }
}

#[test]
fn a_damaged_middle_of_the_batch_log_takes_consent() {
    let mut files = history(4);
    let log = of_kind(&files, "batches").pop().unwrap();
    let middle = files[&log].len() * 3 / 4;
    files.get_mut(&log).unwrap()[middle] ^= 1;
    let error = check(files.clone()).unwrap_err().to_string();
    assert!(error.contains(&format!("{log} at byte")) && error.contains("start_from_last_good"), "{error}");
    let (second, reports) = check_with(|memory| small(memory).start_from_last_good(), files).unwrap();
    assert!(second > 0 && second < 4 && reports[0].contains("are left out"), "{second} {reports:?}");
}

#[test]
fn a_lost_segment_of_the_batch_log_is_found() {
    let mut files = history(40);
    let logs = of_kind(&files, "batches");
    assert_eq!(logs.len(), 2, "the newest and the one before");
    files.remove(&logs[1]);
    let error = check(files.clone()).unwrap_err().to_string();
    assert!(error.contains(&format!("{} is missing", logs[1])), "{error}");
    // What is left of state has to do.
    match check_with(|memory| small(memory).start_from_last_good(), files) {
        Ok((second, reports)) => assert!(second < 40 && !reports.is_empty()),
        Err(error) => assert!(error.to_string().contains("operator counts"), "{error}"),
    }
}

#[test]
fn what_is_needless_goes_and_older_generations_stay() {
    let mut files = history(200);
    let bytes: usize = files.values().map(Vec::len).sum();
    assert!(bytes < 40_000, "{bytes} bytes after 200 batches");
    let mut seconds = Vec::new();
    for name in of_kind(&files, "state").into_iter().rev() {
        let middle = files[&name].len() / 2;
        files.get_mut(&name).unwrap()[middle] ^= 1;
        match check(files.clone()) {
            Ok((second, reports)) => {
                assert!(second == 200 || reports[0].contains("falls back from batch 200000 ms"), "{reports:?}");
                seconds.push(second);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("operator counts") && error.contains("reset the operator"), "{error}");
            }
        }
    }
    assert!(seconds.iter().any(|second| (190..200).contains(second)), "{seconds:?}");
}

/// However little batches save: a start looks at as many of them, however many there were.
#[test]
fn segments_of_many_small_batches_end_too() {
    let read_by_a_start = |state_segment_batches, batches| {
        let memory = Memory::default();
        let settings = Checkpoint { state_segment_batches, ..Checkpoint::on(memory.clone()).generations(0) };
        let (journal, _) = open_with(&settings).unwrap();
        journal.begin(&manifest()).unwrap();
        (1..=batches).for_each(|second| run(&journal, second, chunks(second)));
        journal.abandon();
        check(memory.files()).unwrap();
        let storage: Arc<dyn crate::storage::Storage> = Arc::new(memory);
        let ledger = crate::checkpoint::reader::read(&storage, false).unwrap().unwrap().ledger();
        ledger.done.values().filter(|done| done.group.is_some()).count()
    };
    assert_eq!(read_by_a_start(usize::MAX, 300), 300);
    let [few, many] = [100, 1000].map(|batches| read_by_a_start(8, batches));
    assert!(few < 50 && many < 50, "{few}, {many}");
    // As it is by default.
    let by_default = Checkpoint::on(Memory::default()).state_segment_batches;
    let [one, two] = [4096, 9000].map(|batches| read_by_a_start(by_default, batches));
    assert!(one == 4096 && two < 9000 - 4096, "{one}, {two}");
}

#[test]
fn a_newer_format_is_said_to_be_one() {
    let mut files = history(1);
    let log = of_kind(&files, "batches").pop().unwrap();
    let head = files.get_mut(&log).unwrap();
    head[8] = 2;
    let checksum = crc32fast::hash(&head[..28]).to_le_bytes();
    head[28..32].copy_from_slice(&checksum);
    let error = check(files).unwrap_err().to_string();
    assert!(error.contains("has format version 2, and this program knows 1"), "{error}");
}

#[test]
fn a_reset_operator_begins_again() {
    let memory = Memory::of(history(4));
    let (journal, _) = open_with(&small(&memory)).unwrap();
    journal.forget(counter());
    journal.begin(&manifest()).unwrap();
    drop(journal);
    let (_, recovered) = open_with(&small(&memory)).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!(recovered.done_up_to(), at(4));
    assert_eq!(restored(&recovered), []);
}

#[test]
fn chunks_of_another_number_of_partitions_come_first() {
    let memory = Memory::default();
    let (journal, _) = open_with(&small(&memory)).unwrap();
    journal.begin(&manifest()).unwrap();
    run(&journal, 1, vec![chunk(0, 2, 1, "a"), chunk(1, 2, 1, "b")]);
    run(&journal, 2, vec![chunk(0, 3, 1, "c"), chunk(1, 3, 2, "d"), chunk(2, 3, 2, "e")]);
    run(&journal, 3, vec![chunk(0, 3, 1, "f"), chunk(1, 3, 3, "g"), chunk(2, 3, 2, "h")]);
    drop(journal);
    let (_, recovered) = open_with(&small(&memory)).unwrap();
    let texts: Vec<String> = restored(&recovered.unwrap()).into_iter().map(|(_, _, text)| text).collect();
    // With those that come first, nothing is left out of what follows: it may say what has become of their keys.
    assert_eq!(texts, ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Runs of random lengths, ended in random ways, one after the other; killed after each write there was.
    #[test]
    fn a_crash_after_any_write_loses_nothing_that_was_known(
        runs in prop::collection::vec((0i64..12, 0u8..3), 1..6),
        state_segment_bytes in 100u64..2000,
        batch_segment_bytes in 300u64..3000,
        generations in 0usize..3,
        sync in prop::sample::select(vec![SyncPolicy::EveryBatch, SyncPolicy::Never]),
    ) {
        let settings = |memory: &Memory| Checkpoint {
            state_segment_bytes, batch_segment_bytes, generations, sync, ..Checkpoint::on(memory.clone())
        };
        let memory = Memory::default();
        memory.record();
        let mut second = 0;
        for (batches, end) in runs {
            let (journal, recovered) = open_with(&settings(&memory)).unwrap();
            prop_assert_eq!(recovered.map_or(0, |r| r.done_up_to().as_millis() / 1000), second);
            journal.begin(&manifest()).unwrap();
            for _ in 0..batches {
                second += 1;
                run(&journal, second, chunks(second));
                memory.know(second);
            }
            match end {
                0 => journal.abandon(),
                1 => journal.close(&never::<()>()).unwrap(),
                _ => drop(journal),
            }
        }
        for (files, known) in memory.history() {
            if of_kind(&files, "batches").is_empty() {
                continue;
            }
            // Nobody has claimed a directory without an epoch: the history begins with the first write after that.
            let (recovered, reports) = check_with(settings, files).unwrap();
            prop_assert!((known..=known + 1).contains(&recovered), "{} known, {} recovered", known, recovered);
            prop_assert!(reports.is_empty(), "{:?}", reports);
        }
    }

    /// Whatever bytes are in the files, opening them ends, and in an orderly way.
    #[test]
    fn bytes_from_anywhere_are_an_error_or_an_earlier_state(
        place in 0usize..10_000, bytes in prop::collection::vec(any::<u8>(), 1..64), file in 0usize..10,
    ) {
        let mut files = history(4);
        let names: Vec<String> = files.keys().cloned().collect();
        let content = files.get_mut(&names[file % names.len()]).unwrap();
        let at = place % content.len();
        for (byte, new) in content[at..].iter_mut().zip(bytes) {
            *byte = new;
        }
        let _ = check(files);
    }
}
