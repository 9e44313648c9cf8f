//! What others do beside the batches of a context with a checkpoint: they stop it while it waits, look back at states,
//! and stay away for long.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::unbounded;
use tidemill::{Checkpoint, ErrorKind, Event, Stop};

use crate::harness::{BySecond, Gate, Run, SECOND, at, next};

fn one(_: usize) -> Option<Vec<i64>> {
    Some(vec![1])
}

fn sum(values: Vec<i64>, sum: Option<i64>) -> Option<i64> {
    Some(values.iter().sum::<i64>() + sum.unwrap_or(0))
}

/// It held the context while it waited, and a stop waited for it for as long as the other process lived.
#[test]
fn a_standby_is_stopped_while_it_waits() {
    let directory = tempfile::tempdir().unwrap();
    let owner = Run::going_on(directory.path(), 0, |builder| builder);
    owner.context.input(BySecond::new(1, one)).foreach_batch(|_, _| Ok(()));
    owner.context.start().unwrap();

    let checkpoint = Checkpoint::new(directory.path()).standby(1_000_000 * SECOND);
    let standby = Run::with(|builder| builder.checkpoint(checkpoint));
    standby.context.input(BySecond::new(1, one)).foreach_batch(|_, _| Ok(()));
    let error = thread::scope(|scope| {
        let start = scope.spawn(|| standby.context.start().unwrap_err());
        while standby.clock.alarms().is_empty() {
            thread::yield_now();
        }
        standby.context.stop(Stop::Gracefully).unwrap();
        start.join().unwrap()
    });
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().ends_with("the context was stopped while it waited as a standby"), "{error}");
    owner.context.stop(Stop::Now).unwrap();
}

/// The states of a batch that is not its turn yet would have been saved as those of the one before.
#[test]
fn a_slice_of_states_does_not_run_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let start = |seconds| {
        let run = Run::going_on(directory.path(), seconds, |builder| builder.remember(100 * SECOND));
        let sums = run.context.input(BySecond::new(1, one)).map(|n| ("all".to_string(), n)).update_state_by_key(sum);
        let (gate, (send, emitted)) = (Arc::new(Gate::new()), unbounded());
        let output = Arc::clone(&gate);
        sums.foreach_batch(move |sums, batch| {
            output.pass();
            send.send((batch.time, sums.collect()?[0].1)).map_err(tidemill::Error::user)
        });
        run.context.start().unwrap();
        (run, sums, gate, emitted)
    };
    let (run, sums, gate, emitted) = start(0);
    (0..3).for_each(|_| run.tick());
    gate.wait();
    let planned = |event: &Event| matches!(event, Event::BatchSubmitted(info) if info.time == at(3000));
    while !planned(&next(&run.events)) {}
    assert_eq!(sums.slice(at(1000), at(3000)).unwrap().len(), 0, "no batch has ended");
    gate.let_through(3);
    run.has_done(3).unwrap();
    run.context.stop(Stop::Now).unwrap();
    drop((run, sums));
    let (run, _sums, gate, later) = start(3);
    gate.let_through(1);
    run.tick();
    run.has_done(4).unwrap();
    run.context.stop(Stop::Now).unwrap();
    let all: Vec<_> = emitted.try_iter().chain(later.try_iter()).collect();
    assert_eq!(all, [1, 2, 3, 4].map(|n| (at(1000 * n), n)));
}

/// A window that looks back over batches which nobody makes up for asked for the states of one that never was.
#[test]
fn a_window_over_states_goes_on_after_a_long_time() {
    let directory = tempfile::tempdir().unwrap();
    let start = |seconds| {
        let run = Run::going_on(directory.path(), seconds, |builder| builder.max_missed_batches(0));
        let sums = run.context.input(BySecond::new(1, one)).map(|n| ("all".to_string(), n)).update_state_by_key(sum);
        let (send, emitted) = unbounded();
        sums.foreach_batch(|sums, _| sums.count().map(drop));
        sums.window(3 * SECOND, SECOND).foreach_batch(move |sums, batch| {
            let mut sums: Vec<i64> = sums.collect()?.into_iter().map(|(_, sum)| sum).collect();
            sums.sort();
            send.send((batch.time, sums)).map_err(tidemill::Error::user)
        });
        run.context.start().unwrap();
        (run, emitted)
    };
    let (run, first) = start(0);
    run.batches(3);
    run.context.stop(Stop::Now).unwrap();
    let (run, second) = start(100);
    // What the window holds is made up for first: three batches, each remembered for its second and three more.
    for made_up in [4, 5, 6, 7] {
        run.has_done(made_up).unwrap();
    }
    run.tick();
    run.has_done(101).unwrap();
    run.tick();
    run.has_done(102).unwrap();
    run.context.stop(Stop::Now).unwrap();
    let all: Vec<_> = first.try_iter().chain(second.try_iter()).collect();
    let expected = [
        (1, vec![1]),
        (2, vec![1, 2]),
        (3, vec![1, 2, 3]),
        (4, vec![2, 3, 4]),
        (5, vec![3, 4, 5]),
        (6, vec![4, 5, 6]),
        (7, vec![5, 6, 7]),
        (101, vec![8]),
        (102, vec![8, 9]),
    ];
    assert_eq!(all, expected.map(|(second, sums)| (at(1000 * second), sums)));
}
