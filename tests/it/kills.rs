//! A program that ends in the middle of something, or finds its checkpoint damaged, goes on as if nothing had been.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::unbounded;
use proptest::prelude::*;
use tidemill::{DStream, Error, Event, Inspection, Stop};

use crate::harness::{BySecond, Run, SECOND, at};
use crate::recovery::{programs, setting};

/// What came out: of which output, at which second, and the records.
type Emission = (usize, usize, Vec<(u8, i64)>);

/// What came out, by output and second.
type ByBatch = BTreeMap<(usize, usize), Vec<(u8, i64)>>;

/// One that is there twice is a mistake.
fn by_batch(emissions: &[Emission]) -> Result<ByBatch, TestCaseError> {
    let mut found = BTreeMap::new();
    for (output, second, records) in emissions {
        let before = found.insert((*output, *second), records.clone());
        prop_assert!(before.is_none(), "output {} repeats the batch at {} s", output, second);
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One of the outputs fails at a batch, which stops the context. An output that is done with the batch is not
    /// repeated, the others and all batches after it are made up for.
    #[test]
    fn an_output_that_failed_runs_again_and_the_others_do_not(
        program in programs(),
        fails in (0usize..2, 1usize..9),
        away in 0usize..3,
    ) {
        let last = program.input.len() + away;
        let unbroken = program.run([last]);
        let directory = tempfile::tempdir().unwrap();
        let (send, emitted) = unbounded();
        let fail = Arc::new(AtomicBool::new(true));
        let mut from = 0;
        for (part, until) in [fails.1.min(program.input.len() - 1), last].into_iter().enumerate() {
            let run = Run::going_on(directory.path(), from, |builder| setting(part, builder));
            let (send, fails_once) = (send.clone(), Arc::clone(&fail));
            program.build(&run.context, 1 + part, move |output, second, records| {
                if (output, second) == (fails.0, until) && fails_once.swap(false, Ordering::SeqCst) {
                    return Err(Error::user("no luck"));
                }
                send.send((output, second, records)).map_err(Error::user)
            });
            run.context.start().unwrap();
            for second in from + 1..=until {
                run.tick();
                if run.has_done(second).is_err() {
                    break;
                }
            }
            // The error has been told, if there is one.
            let _ = run.context.stop(Stop::Now);
            fail.store(false, Ordering::SeqCst);
            // The program is away for so long.
            from = until + away;
        }
        let emitted: Vec<Emission> = emitted.try_iter().collect();
        prop_assert_eq!(by_batch(&emitted)?, by_batch(&unbroken)?);
    }
}

/// Copies a directory while somebody writes to it: the log of batches first, so that what it speaks of is there.
fn copy(from: &Path, to: &Path) {
    let names = || fs::read_dir(from).unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names().collect();
    names.sort();
    for name in names {
        // It may be gone since.
        if let Ok(bytes) = fs::read(from.join(&name)) {
            fs::write(to.join(&name), bytes).unwrap();
        }
    }
}

/// What a program has emitted, and how much of it when the directory was copied.
#[derive(Default)]
struct Witness {
    emitted: Mutex<Vec<Emission>>,
    /// The last batch that was known to be done when the copy began, and what was emitted when it ended.
    copied: Mutex<Option<(usize, Vec<Emission>)>>,
    done: AtomicUsize,
    ticks: AtomicUsize,
}

impl Witness {
    fn copy_once(&self, from: &Path, to: &Path) {
        let mut copied = self.copied.lock().unwrap();
        if copied.is_none() {
            let done = self.done.load(Ordering::SeqCst);
            copy(from, to);
            *copied = Some((done, self.emitted.lock().unwrap().clone()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The checkpoint is copied in the middle of a batch, as a kill would leave it: from an output before or after what
    /// it does, or when a listener hears of some event. A run that goes on from the copy has all that had not come out,
    /// and of the batches that were done before nothing.
    #[test]
    fn a_run_that_is_killed_anywhere_goes_on(
        program in programs(),
        place in (0usize..2, 2usize..8, any::<bool>()),
        event in prop::option::of(3usize..60),
    ) {
        let last = program.input.len();
        let unbroken = by_batch(&program.run([last]))?;
        let [original, copied] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let witness = Arc::new(Witness::default());
        let run = Run::going_on(original.path(), 0, |builder| setting(0, builder));
        let places = (original.path().to_path_buf(), copied.path().to_path_buf());
        {
            let (seen, (from, to)) = (Arc::clone(&witness), places.clone());
            program.build(&run.context, 2, move |output, second, records| {
                let is_here = event.is_none() && (output, second) == (place.0, place.1);
                if is_here && place.2 {
                    seen.copy_once(&from, &to);
                }
                seen.emitted.lock().unwrap().push((output, second, records));
                if is_here && !place.2 {
                    seen.copy_once(&from, &to);
                }
                Ok(())
            });
            let (witness, (from, to), mut heard) = (Arc::clone(&witness), places, 0);
            run.context.add_listener(move |told: &Event| {
                if let Event::BatchCompleted(info) = told {
                    witness.done.store(info.time.as_millis() as usize / 1000, Ordering::SeqCst);
                }
                heard += 1;
                if Some(heard) == event {
                    witness.copy_once(&from, &to);
                }
            });
        }
        run.context.start().unwrap();
        for second in 1..last {
            witness.ticks.store(second, Ordering::SeqCst);
            run.tick();
            run.has_done(second).unwrap();
            if witness.copied.lock().unwrap().is_some() {
                break;
            }
        }
        run.context.stop(Stop::Now).unwrap();
        // The event may not have come, and the output may not slide by it.
        witness.copy_once(original.path(), copied.path());
        let (done, before) = witness.copied.lock().unwrap().clone().unwrap();

        let run = Run::going_on(copied.path(), witness.ticks.load(Ordering::SeqCst), |builder| setting(1, builder));
        let (send, after) = unbounded();
        program.build(&run.context, 1, move |output, second, records| {
            send.send((output, second, records)).map_err(Error::user)
        });
        run.context.start().unwrap();
        run.clock.advance((last - witness.ticks.load(Ordering::SeqCst)) as u32 * SECOND);
        prop_assert_eq!(run.has_done(last), Ok(()));
        run.context.stop(Stop::Now).unwrap();

        let (before, after) = (by_batch(&before)?, by_batch(&after.try_iter().collect::<Vec<_>>())?);
        let repeated: Vec<_> = after.keys().filter(|(_, second)| *second <= done).collect();
        prop_assert!(repeated.is_empty(), "{:?} are repeated, and {} was done", repeated, done);
        for (batch, records) in &after {
            prop_assert_eq!(Some(records), unbroken.get(batch), "{:?} goes on after {}", batch, done);
        }
        let missing: Vec<_> =
            unbroken.keys().filter(|batch| !before.contains_key(batch) && !after.contains_key(batch)).collect();
        prop_assert!(missing.is_empty(), "{:?} are missing, done {}", missing, done);
    }

    /// Damage of what operators keep is told, and costs nothing but time: batches run again, without their outputs.
    #[test]
    fn damaged_state_is_made_again(
        program in programs(),
        cut in 2usize..9,
        place in any::<prop::sample::Index>(),
    ) {
        let (last, cut) = (program.input.len(), cut.min(program.input.len() - 1));
        let unbroken = program.run([last]);
        let directory = tempfile::tempdir().unwrap();
        let (send, emitted) = unbounded();
        for (part, (from, until)) in [(0, cut), (cut, last)].into_iter().enumerate() {
            if from > 0 {
                flip(directory.path(), place);
            }
            let run = Run::going_on(directory.path(), from, |builder| setting(part, builder));
            let send = send.clone();
            program.build(&run.context, 1 + part, move |output, second, records| {
                send.send((output, second, records)).map_err(Error::user)
            });
            run.context.start().unwrap();
            run.clock.advance((until - from) as u32 * SECOND);
            prop_assert_eq!(run.has_done(until), Ok(()));
            run.context.stop(Stop::Now).unwrap();
        }
        prop_assert_eq!(by_batch(&emitted.try_iter().collect::<Vec<_>>())?, by_batch(&unbroken)?);
    }
}

/// The segments of the log of state.
fn state_segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("state-")).collect()
}

/// Flips a bit of one byte of what operators have saved, if they have.
fn flip(directory: &Path, place: prop::sample::Index) {
    let mut segments = state_segments(directory);
    segments.sort();
    if let Some(segment) = segments.last() {
        let mut bytes = fs::read(segment).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1;
        fs::write(segment, bytes).unwrap();
    }
}

/// The same where damage is certain, and its report: of the head of the file and of the bytes at its end; of a state,
/// and of a program that keeps nothing but batches, of which the damage then leaves nothing to be found.
#[test]
fn damage_of_state_is_reported() {
    type Build = fn(&DStream<((), i64)>) -> DStream<i64>;
    let state: Build = |numbers| {
        let add = |values: Vec<i64>, sum: Option<i64>| Some(sum.unwrap_or(0) + values.iter().sum::<i64>());
        numbers.update_state_by_key(add).map(|(_, sum)| sum)
    };
    let batches: Build = |numbers| {
        let groups = numbers.group_by_key_and_window(4 * SECOND, 2 * SECOND);
        groups.map(|(_, numbers)| numbers.iter().sum())
    };
    let cases = [(state, 4, &[1, 3, 6, 10, 15, 21][..]), (batches, 2, &[3, 10, 18])];
    for ((build, cut, expected), is_head) in cases.into_iter().flat_map(|case| [(case, true), (case, false)]) {
        let directory = tempfile::tempdir().unwrap();
        let (send, sums) = unbounded();
        for (from, until) in [(0, cut), (cut, 6)] {
            if from > 0 {
                let segment = state_segments(directory.path()).pop().unwrap();
                let mut bytes = fs::read(&segment).unwrap();
                let place = if is_head { 0 } else { bytes.len() - 1 };
                bytes[place] ^= 1;
                fs::write(&segment, bytes).unwrap();
                let found = Inspection::open(directory.path()).unwrap();
                assert!(found.damage()[0].contains("state-0000000001"), "{:?}", found.damage());
                assert!(found.done_up_to() < at(1000 * cut as i64), "{}", found.done_up_to());
            }
            let run = Run::going_on(directory.path(), from, |builder| builder);
            let send = send.clone();
            let numbers = run.context.input(BySecond::new(1, |second| Some(vec![((), second as i64)])));
            build(&numbers).foreach_batch(move |batch, _| send.send(batch.collect()?[0]).map_err(Error::user));
            run.context.start().unwrap();
            run.clock.advance((until - from) as u32 * SECOND);
            run.has_done(until).unwrap();
            run.context.stop(Stop::Now).unwrap();
        }
        assert_eq!(sums.try_iter().collect::<Vec<_>>(), expected, "damaged head: {is_head}");
    }
}
