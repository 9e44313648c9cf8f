//! A checkpoint as its users see it.

mod damage;
mod disk;
mod format;
mod memory;
mod outage;
mod owed;
mod ownership;
mod partitions;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{never, unbounded};
use tempfile::TempDir;

use super::*;
use crate::error::Error;
use crate::id::OperatorId;
use crate::state::{ChunkKind, Saved, StateChunk};
use crate::time::{ManualClock, Time};

pub(super) fn counter() -> OperatorId {
    OperatorId::derive("update_state_by_key", &[], 0)
}

pub(super) fn source() -> OperatorId {
    OperatorId::derive("queue", &[], 0)
}

pub(super) fn output() -> OperatorId {
    OperatorId::derive("foreach_batch", &[], 0)
}

pub(super) fn manifest() -> Manifest {
    let operator = |id, name: &str, role, schema| SavedOperator {
        id,
        name: name.to_string(),
        site: "src/main.rs:7".to_string(),
        role,
        schema,
    };
    let schema = SavedSchema {
        method: "update_state_by_key".to_string(),
        version: 3,
        parts: vec![("key".to_string(), "String".to_string())],
    };
    Manifest {
        app: "clicks".to_string(),
        batch_interval: Duration::from_secs(1),
        zero_time: Time::ZERO,
        key_groups: 1024,
        operators: vec![
            operator(source(), "queue", Role::Input, None),
            operator(counter(), "counts", Role::State, Some(schema)),
            operator(output(), "foreach_batch", Role::Output, None),
        ],
    }
}

pub(super) fn at(second: i64) -> Time {
    Time::from_millis(1000 * second)
}

pub(super) fn planned(second: i64) -> LoggedBatch {
    let input = LoggedInput {
        operator: source(),
        plan: Arc::from(format!("plan {second}").as_bytes()),
        records: second.unsigned_abs(),
        description: format!("records of {second}"),
    };
    LoggedBatch { time: at(second), inputs: vec![input], outputs: Vec::new(), done: false }
}

pub(super) fn chunk(partition: usize, partitions: usize, since: i64, bytes: &str) -> StateChunk {
    StateChunk {
        operator: counter(),
        kind: ChunkKind::State,
        partition,
        partitions,
        saved: Saved { since: at(since), keys: 1 },
        bytes: bytes.as_bytes().to_vec(),
    }
}

pub(super) fn open_with(settings: &Checkpoint) -> Result<(Journal, Option<Recovered>)> {
    let on_error: OnError = Arc::new(|error: Error| tracing::error!("{error}"));
    open(settings, "clicks", &Clock::manual(&ManualClock::new()), &never(), &on_error)
}

pub(super) fn open_in(directory: &Path) -> (Journal, Option<Recovered>) {
    open_with(&Checkpoint::new(directory)).unwrap()
}

pub(super) fn run(journal: &Journal, second: i64, chunks: Vec<StateChunk>) {
    journal.wait(&journal.planned(&planned(second))).unwrap();
    journal.output_ended(at(second), output(), None);
    let (done, is_done) = unbounded();
    journal.settled(at(second), chunks, at(second), Box::new(move || done.send(()).unwrap())).unwrap();
    is_done.recv().unwrap();
}

/// The texts of the chunks that are restored, with their partitions, in the order of time.
pub(super) fn restored(recovered: &Recovered) -> Vec<(i64, usize, String)> {
    let chunks = Mutex::new(Vec::new());
    recovered
        .restore(counter(), &|kind, chunk| {
            assert_eq!((kind, chunk.version), (ChunkKind::State, 3));
            let text = String::from_utf8(chunk.bytes.to_vec()).unwrap();
            chunks.lock().unwrap().push((chunk.time.as_millis() / 1000, chunk.partition, text));
            Ok(())
        })
        .unwrap();
    let mut chunks = chunks.into_inner().unwrap();
    chunks.sort();
    chunks
}

#[test]
fn what_is_written_comes_back() {
    let directory = TempDir::new().unwrap();
    let (journal, recovered) = open_in(directory.path());
    assert!(recovered.is_none());
    journal.begin(&manifest()).unwrap();
    run(&journal, 1, vec![chunk(0, 2, 1, "a"), chunk(1, 2, 1, "b")]);
    run(&journal, 2, vec![chunk(0, 2, 2, "c"), chunk(1, 2, 1, "d")]);
    journal.wait(&journal.planned(&planned(3))).unwrap();
    journal.output_ended(at(3), output(), Some("no luck"));
    journal.close(&never::<()>()).unwrap();
    drop(journal);

    let (journal, recovered) = open_in(directory.path());
    let recovered = recovered.unwrap();
    assert_eq!(recovered.manifest(), &manifest());
    assert_eq!(recovered.done_up_to(), at(2));
    assert_eq!(recovered.reports(), [""; 0]);
    let expected = |second, failure: Option<&str>, done| LoggedBatch {
        outputs: vec![(output(), failure.map(str::to_string))],
        done,
        ..planned(second)
    };
    // The plan of the first is not needed any more, but for a fall-back.
    let batches = [expected(2, None, true), expected(3, Some("no luck"), false)];
    assert_eq!(recovered.batches(), batches);
    let chunks = [(1, 1, "b".to_string()), (2, 0, "c".to_string()), (2, 1, "d".to_string())];
    assert_eq!(restored(&recovered), chunks);

    // The next epoch has all of it too.
    journal.begin(&manifest()).unwrap();
    drop(journal);
    let (_, recovered) = open_in(directory.path());
    let recovered = recovered.unwrap();
    assert_eq!(recovered.batches(), batches);
    assert_eq!(restored(&recovered), chunks);
}

#[test]
fn the_last_plan_is_kept_though_nobody_needs_it() {
    let directory = TempDir::new().unwrap();
    let settings = Checkpoint::new(directory.path()).generations(0);
    let (journal, _) = open_with(&settings).unwrap();
    journal.begin(&manifest()).unwrap();
    for second in 1..=40 {
        journal.planned(&planned(second));
        journal.settled(at(second), Vec::new(), at(second + 1), Box::new(|| ())).unwrap();
    }
    drop(journal);
    let (_, recovered) = open_with(&settings).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!(recovered.done_up_to(), at(40));
    assert_eq!(recovered.batches(), [LoggedBatch { done: true, ..planned(40) }]);
}
