//! A checkpoint in a storage of the program, which cannot always be asked.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tidemill::{Checkpoint, Event, Stop, Storage, StorageClaim};

use crate::harness::{BySecond, Run, SECOND, next};

/// Files in memory. While it is blind, it tells job threads nothing, and that one has asked.
#[derive(Clone)]
struct Shelf {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    is_blind: Arc<AtomicBool>,
    /// It tells nobody anything.
    is_gone: Arc<AtomicBool>,
    asked: Sender<()>,
}

impl Shelf {
    fn new(asked: Sender<()>) -> Self {
        Shelf { files: Arc::default(), is_blind: Arc::default(), is_gone: Arc::default(), asked }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().expect("nobody has panicked")
    }
}

impl Storage for Shelf {
    fn place(&self) -> String {
        "shelf".to_string()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        if self.is_gone.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let asks_job = thread::current().name().is_some_and(|name| name.starts_with("tidemill-jobs"));
        if asks_job && self.is_blind.load(Ordering::SeqCst) {
            let _ = self.asked.send(());
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(self.files().contains_key(name))
    }

    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let files = self.files();
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let end = range.end.min(bytes.len() as u64) as usize;
        Ok(bytes.get(range.start as usize..end).unwrap_or_default().to_vec())
    }

    fn claim(&self, name: &str, content: &[u8]) -> io::Result<Option<StorageClaim>> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Ok(None);
        }
        files.insert(name.to_string(), content.to_vec());
        Ok(Some(StorageClaim::new(())))
    }

    fn is_held(&self, _name: &str) -> io::Result<Option<bool>> {
        Ok(None)
    }

    fn append(&self, name: &str, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut files = self.files();
        let file = files.entry(name.to_string()).or_default();
        file.truncate(at as usize);
        file.extend(parts.concat());
        Ok(())
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn write_atomically(&self, name: &str, content: &[u8], _durable: bool) -> io::Result<()> {
        self.files().insert(name.to_string(), content.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        Ok(())
    }
}

/// A context that is about to run its first output, but does not get to know whether the checkpoint is still its own.
struct Blind {
    run: Run,
    shelf: Shelf,
    asked: Receiver<()>,
    /// How often the output has run.
    ran: Arc<AtomicUsize>,
}

impl Blind {
    fn new() -> Self {
        let (send, asked) = unbounded();
        let shelf = Shelf::new(send);
        shelf.is_blind.store(true, Ordering::SeqCst);
        let run = Run::with(|builder| builder.checkpoint(Checkpoint::on(shelf.clone())));
        let runs = Arc::new(AtomicUsize::new(0));
        let blind = Blind { run, shelf, asked, ran: Arc::clone(&runs) };
        blind.run.context.input(BySecond::new(1, |_| Some(vec![1]))).foreach_batch(move |_, _| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        blind.run.context.start().expect("a new context starts");
        blind.run.tick();
        next(&blind.asked);
        assert_eq!(blind.ran(), 0);
        blind
    }

    fn ran(&self) -> usize {
        self.ran.load(Ordering::SeqCst)
    }
}

/// Lets time pass until a context has ended by itself, and says how.
fn ends(run: &Run) -> String {
    thread::scope(|scope| {
        let ending = scope.spawn(|| run.ended().expect_err("nothing works"));
        while !ending.is_finished() {
            run.clock.advance(SECOND / 2);
            thread::yield_now();
        }
        ending.join().expect("it has ended").to_string()
    })
}

#[test]
fn an_output_waits_until_the_storage_says_whose_the_checkpoint_is() {
    let blind = Blind::new();
    let clock = &blind.run.clock;
    for back_off in [10, 20, 40].map(Duration::from_millis) {
        let again = clock.now() + back_off;
        while clock.alarms().first() != Some(&again) {
            thread::yield_now();
        }
        clock.advance(back_off);
        next(&blind.asked);
    }
    assert_eq!(blind.ran(), 0);
    blind.shelf.is_blind.store(false, Ordering::SeqCst);
    clock.advance(SECOND);
    blind.run.has_done(1).unwrap();
    blind.run.context.stop(Stop::Now).unwrap();
}

/// The clock stands still: nobody waits any longer.
#[test]
fn a_stop_ends_the_wait_for_a_storage_and_the_output_does_not_begin() {
    let blind = Blind::new();
    blind.run.context.stop(Stop::Now).unwrap();
    assert_eq!(blind.ran(), 0);
}

#[test]
fn a_storage_that_never_says_whose_the_checkpoint_is_ends_the_context_and_the_output_does_not_begin() {
    let blind = Blind::new();
    let error = ends(&blind.run);
    for part in ["checkpoint shelf: epoch-0000000002 could not be looked up for ", "timed out"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(blind.ran(), 0);
}

/// Those that write, that look before an output, and that wait for a batch to be saved find out at the same time.
#[test]
fn the_end_of_the_journal_is_told_once() {
    for _ in 0..20 {
        let shelf = Shelf::new(unbounded().0);
        let run = Run::with(|builder| builder.checkpoint(Checkpoint::on(shelf.clone())));
        let numbers = run.context.input(BySecond::new(1, |_| Some(vec![1])));
        let output = shelf.clone();
        numbers.foreach_batch(move |_, _| {
            output.is_gone.store(true, Ordering::SeqCst);
            Ok(())
        });
        numbers.foreach_batch(|_, _| panic!("nobody knows whose the checkpoint is"));
        run.context.start().unwrap();
        run.tick();
        let error = ends(&run);
        assert!(error.contains("checkpoint shelf: ") && error.contains("for "), "{error}");
        assert_eq!(run.context.stop(Stop::Now).unwrap_err().to_string(), error);
        let Run { context, events, .. } = run;
        drop(context);
        let told = events.try_iter().filter_map(|event| match event {
            Event::Failed { error } => Some(error),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [error]);
    }
}
