//! Outputs that failed for a batch that was gone on without: they run again at the next start.

use super::damage::{chunks, of_kind, small, state};
use super::memory::Memory;
use super::*;
use crate::checkpoint::ledger::MOST_BEHIND;

/// Runs a batch with two outputs, of which the second fails.
fn run_failing(journal: &Journal, second: i64) {
    journal.planned(&planned(second));
    journal.output_ended(at(second), print(), Some("no luck"));
    run_planned(journal, second);
}

fn run_planned(journal: &Journal, second: i64) {
    journal.output_ended(at(second), output(), None);
    let (done, is_done) = unbounded();
    journal.settled(at(second), chunks(second), at(second), Box::new(move || done.send(()).unwrap())).unwrap();
    is_done.recv().unwrap();
}

fn print() -> OperatorId {
    OperatorId::derive("print", &[], 0)
}

fn with_print() -> Manifest {
    let mut manifest = manifest();
    let output = manifest.operators.last().unwrap().clone();
    manifest.operators.push(SavedOperator { id: print(), name: "print".to_string(), ..output });
    manifest
}

fn open(memory: &Memory) -> (Journal, Recovered) {
    let (journal, recovered) = open_with(&small(memory)).unwrap();
    (journal, recovered.unwrap())
}

/// What a run leaves of which these batches fail.
fn history(memory: &Memory, batches: i64, failing: &[i64], generations: usize) {
    let (journal, _) = open_with(&small(memory).generations(generations)).unwrap();
    journal.begin(&with_print()).unwrap();
    for second in 1..=batches {
        if failing.contains(&second) { run_failing(&journal, second) } else { run(&journal, second, chunks(second)) }
    }
}

/// Where it goes on, with the state of then, and the batches that run again.
fn check(recovered: &Recovered, second: i64) -> Vec<Time> {
    assert_eq!(recovered.done_up_to(), at(second));
    assert_eq!(restored(recovered), state(second));
    recovered.batches().iter().filter(|batch| !batch.done).map(|batch| batch.time).collect()
}

#[test]
fn batches_run_again_from_the_first_that_an_output_is_owed() {
    for (generations, first) in [(0, 3), (2, 3), (0, 40), (2, 40), (2, 1)] {
        let memory = Memory::default();
        let last = first + 25;
        history(&memory, last, &[first, first + 2], generations);
        let (journal, recovered) = open(&memory);
        let again: Vec<Time> = (first..=last).map(at).collect();
        assert_eq!(check(&recovered, first - 1), again);
        assert_eq!(recovered.reports(), [""; 0]);
        let outputs =
            |second| recovered.batches().iter().find(|batch| batch.time == at(second)).unwrap().outputs.clone();
        let mut expected = [(output(), None), (print(), Some("no luck".to_string()))];
        expected.sort();
        assert_eq!(outputs(first), expected);
        assert_eq!(outputs(first + 1), [(output(), None)]);

        // One of the two works now: the other is owed its batch still.
        journal.begin(&with_print()).unwrap();
        for second in first..=last {
            let failure = (second == first + 2).then_some("no luck again");
            if [first, first + 2].contains(&second) {
                journal.output_ended(at(second), print(), failure);
            }
            run_planned(&journal, second);
        }
        drop(journal);
        let (journal, recovered) = open(&memory);
        assert_eq!(check(&recovered, first + 1).first(), Some(&at(first + 2)));

        journal.begin(&with_print()).unwrap();
        journal.output_ended(at(first + 2), print(), None);
        (first + 2..=last).for_each(|second| run_planned(&journal, second));
        drop(journal);
        let (_, recovered) = open(&memory);
        assert_eq!(check(&recovered, last), []);
    }
}

#[test]
fn what_is_owed_for_too_long_is_given_up() {
    let memory = Memory::default();
    let most = MOST_BEHIND as i64;
    history(&memory, most, &[5, 9], 0);
    let (journal, recovered) = open(&memory);
    check(&recovered, 4);
    journal.begin(&with_print()).unwrap();
    for second in 5..=2 * most {
        if second > most {
            journal.planned(&planned(second));
        }
        run_planned(&journal, second);
    }
    drop(journal);
    let (_, recovered) = open(&memory);
    assert_eq!(check(&recovered, 2 * most), []);
    assert_eq!(recovered.reports(), [""; 0], "it was said when it was given up");
    assert!(memory.files().len() < 20, "{} files", memory.files().len());
}

#[test]
fn what_cannot_be_gone_back_to_is_given_up_and_said_once() {
    let memory = Memory::default();
    history(&memory, 60, &[41, 43, 50], 0);
    // The states of 40 and 41 need this one, and nothing is left of older ones.
    let damage = |memory: &Memory| {
        memory.change(|files| {
            let names = of_kind(files, "state");
            let hit = names.iter().any(|name| {
                let bytes = files.get_mut(name).unwrap();
                let found = bytes.windows(4).position(|bytes| bytes == b"40/0");
                found.map(|at| bytes[at] = b'!').is_some()
            });
            assert!(hit);
        });
    };
    let whole = Memory::of(memory.files());
    damage(&memory);
    let (journal, recovered) = open(&memory);
    let again: Vec<Time> = (43..=60).map(at).collect();
    assert_eq!(check(&recovered, 42), again);
    let why = "no state from before that is whole is left to run again from";
    let loss =
        format!("output print (src/main.rs:7) never gets batch 41000 ms, for which it failed (\"no luck\"): {why}");
    assert_eq!(recovered.reports(), [loss]);
    journal.begin(&with_print()).unwrap();
    drop(journal);
    let (_, recovered) = open(&memory);
    assert_eq!(check(&recovered, 42), again);
    assert_eq!(recovered.reports(), [""; 0]);

    let (_, recovered) = open(&whole);
    assert_eq!(check(&recovered, 40).first(), Some(&at(41)));
}

#[test]
fn an_output_that_is_gone_is_owed_nothing() {
    let memory = Memory::default();
    history(&memory, 6, &[4], 2);
    let (journal, recovered) = open(&memory);
    check(&recovered, 3);
    journal.begin(&manifest()).unwrap();
    (4..=6).for_each(|second| run_planned(&journal, second));
    drop(journal);
    assert_eq!(check(&open(&memory).1, 6), []);
}

#[test]
fn damage_and_what_is_owed_go_together() {
    let memory = Memory::default();
    history(&memory, 9, &[4, 8], 2);
    memory.change(|files| {
        let name = of_kind(files, "state").pop().unwrap();
        let bytes = files.get_mut(&name).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
    });
    let (_, recovered) = open(&memory);
    assert_eq!(check(&recovered, 3), (4..=9).map(at).collect::<Vec<_>>());
    assert!(recovered.reports()[0].contains("the state falls back from batch 9000 ms to batch 8000 ms"));
}
