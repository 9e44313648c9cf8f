//! What a restart owes to outputs: a batch that one failed for, and a batch that one was in the middle of.

use std::fs;
use std::path::Path;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tidemill::{Error, Event, KeyState, OutputFailure, QueueSource, StateSpec, Stop, Time};

use crate::harness::{Gate, Run, SECOND, at, next};

/// What an output has seen.
type Seen = (&'static str, Time, Vec<i64>);

/// A program that adds up numbers, with two outputs of the sums; the second fails for the batch at a time.
fn sums(queue: &QueueSource<i64>, directory: &Path, now: i64, fails: Time) -> (Run, Receiver<Seen>) {
    let run = Run::with(|builder| builder.checkpoint(directory).on_output_failure(OutputFailure::Continue));
    run.clock.advance(u32::try_from(now).unwrap() * SECOND);
    let add = |_: &i64, number: Option<i64>, sum: &mut KeyState<'_, i64>| {
        let total = sum.get().unwrap_or(&0) + number.unwrap_or(0);
        sum.update(total);
        total
    };
    let numbers = run.context.input(queue.clone()).map(|number| (0, number));
    let sums = numbers.map_with_state(StateSpec::function(add)).mapped();
    let (send, seen) = unbounded();
    for name in ["first", "second"] {
        let send: Sender<Seen> = send.clone();
        sums.foreach_batch(move |sums, batch| {
            let sums = sums.collect()?;
            if name == "second" && batch.time == fails {
                return Err(Error::user("the database is away"));
            }
            send.send((name, batch.time, sums)).map_err(Error::user)
        });
    }
    run.context.start().unwrap();
    (run, seen)
}

/// What listeners are told of where the program goes on: the last batch done, and how many run again.
fn recovered(run: &Run) -> (Time, usize) {
    assert!(matches!(next(&run.events), Event::StreamingStarted { zero_time } if zero_time == at(0)));
    match next(&run.events) {
        Event::Recovered { done_up_to, pending, missed: 0, not_made_up: 0, reports } if reports.is_empty() => {
            (done_up_to, pending)
        }
        event => panic!("{event:?}"),
    }
}

#[test]
fn an_output_that_failed_gets_its_batch_at_the_next_start_and_the_others_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let queue = QueueSource::one_at_a_time();
    (1..=7).for_each(|number| queue.push([number]));

    let (run, seen) = sums(&queue, directory.path(), 0, at(3000));
    run.batches(5);
    run.context.stop(Stop::Now).unwrap();
    let expected = [(1000, 1), (2000, 3), (3000, 6), (4000, 10), (5000, 15)].map(|(time, sum)| (at(time), vec![sum]));
    let of = |seen: &[Seen], name| -> Vec<(Time, Vec<i64>)> {
        seen.iter().filter(|seen| seen.0 == name).map(|(_, time, sums)| (*time, sums.clone())).collect()
    };
    let all: Vec<Seen> = seen.try_iter().collect();
    assert_eq!(of(&all, "first"), expected);
    let without_third: Vec<_> = expected.iter().filter(|(time, _)| *time != at(3000)).cloned().collect();
    assert_eq!(of(&all, "second"), without_third);

    // It fails once more, and is still owed the batch.
    for (fails, now) in [(at(3000), 5), (at(0), 6)] {
        let (run, seen) = sums(&queue, directory.path(), now, fails);
        assert_eq!(recovered(&run), (at(2000), now as usize - 2));
        let outputs: Vec<usize> = (3..=now).map(|_| run.completed().outputs.len()).collect();
        assert_eq!((outputs[0], outputs[1..].iter().sum::<usize>()), (1, 0));
        let last = run.batches(1).remove(0);
        assert_eq!((last.time, last.records()), (at(1000 * (now + 1)), 1));
        run.context.stop(Stop::Now).unwrap();
        let (time, sum) = (at(1000 * (now + 1)), (1..=now + 1).sum::<i64>());
        let mut expected = vec![("first", time, vec![sum]), ("second", time, vec![sum])];
        if fails == at(0) {
            expected.insert(0, ("second", at(3000), vec![6]));
        }
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected);
    }

    let (run, seen) = sums(&queue, directory.path(), 7, at(0));
    assert_eq!(recovered(&run), (at(7000), 0));
    run.batches(1);
    run.context.stop(Stop::Now).unwrap();
    assert_eq!(
        seen.try_iter().map(|(name, time, _)| (name, time)).collect::<Vec<_>>(),
        [("first", at(8000)), ("second", at(8000))]
    );
}

/// What a crash would leave of a directory now.
fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_batch_is_not_done_while_an_output_of_it_runs_however_many_jobs_run_beside_it() {
    let (directory, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = QueueSource::one_at_a_time();
    (1..=3).for_each(|number| queue.push([number]));
    let program = |directory: &Path, gate: Option<Gate>, now| {
        let run = Run::with(|builder| builder.checkpoint(directory).concurrent_jobs(2));
        run.clock.advance(now * SECOND);
        let (send, seen) = unbounded();
        run.context.input(queue.clone()).foreach_batch(move |numbers, batch| {
            if let Some(gate) = gate.as_ref().filter(|_| batch.time == at(1000)) {
                gate.pass();
            }
            send.send((batch.time, numbers.collect()?)).map_err(Error::user)
        });
        run.context.start().unwrap();
        (run, seen)
    };
    let gate = Gate::new();
    let (run, seen) = program(directory.path(), Some(gate.clone()), 0);
    run.tick();
    gate.wait();
    run.tick();
    assert_eq!(next(&seen), (at(2000), vec![2]));
    copy(directory.path(), crashed.path());
    gate.let_through(1);
    assert_eq!((run.completed().time, run.completed().time), (at(1000), at(2000)));
    run.context.stop(Stop::Now).unwrap();
    drop(run);

    let (run, seen) = program(crashed.path(), None, 2);
    assert_eq!(recovered(&run), (at(0), 2));
    (0..2).for_each(|_| drop(run.completed()));
    run.context.stop(Stop::Now).unwrap();
    assert!(seen.try_iter().any(|seen| seen == (at(1000), vec![1])));

    let (run, _) = program(directory.path(), None, 2);
    assert_eq!(recovered(&run), (at(2000), 0));
    run.context.stop(Stop::Now).unwrap();
}
