//! A storage in memory that can be copied as a crash leaves it, fills up, and holds writes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::storage::{Storage, StorageClaim};

pub(super) type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    files: Mutex<Files>,
    held: Arc<Mutex<BTreeSet<String>>>,
    /// Whether there is no room: half of what is appended still fits.
    is_full: Mutex<bool>,
    /// Whether nobody can say what files there are.
    is_blind: Mutex<bool>,
    syncs: AtomicUsize,
    /// Told of an append, and then waited for.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// Told of a read of the state log, and then waited for.
    read_gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// The files after each write, with what was known to be done then.
    history: Mutex<Option<Vec<(Files, i64)>>>,
    known: AtomicI64,
}

struct Held(String, Arc<Mutex<BTreeSet<String>>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.1.lock().unwrap().remove(&self.0);
    }
}

impl Memory {
    /// What is left when all processes have died.
    pub(super) fn of(files: Files) -> Self {
        let memory = Memory::default();
        *memory.0.files.lock().unwrap() = files;
        memory
    }

    pub(super) fn files(&self) -> Files {
        self.0.files.lock().unwrap().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Files)) {
        change(&mut self.0.files.lock().unwrap());
    }

    pub(super) fn set_full(&self, is_full: bool) {
        *self.0.is_full.lock().unwrap() = is_full;
    }

    pub(super) fn set_blind(&self, is_blind: bool) {
        *self.0.is_blind.lock().unwrap() = is_blind;
    }

    pub(super) fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// The next append tells the first channel and waits for the second.
    pub(super) fn gate(&self) -> (Receiver<()>, Sender<()>) {
        let (reached, reaches) = bounded(1);
        let (open, opens) = bounded(1);
        *self.0.gate.lock().unwrap() = Some((reached, opens));
        (reaches, open)
    }

    /// The next read of the state log tells the first channel and waits for the second.
    pub(super) fn gate_reads(&self) -> (Receiver<()>, Sender<()>) {
        let (reached, reaches) = bounded(1);
        let (open, opens) = bounded(1);
        *self.0.read_gate.lock().unwrap() = Some((reached, opens));
        (reaches, open)
    }

    pub(super) fn record(&self) {
        *self.0.history.lock().unwrap() = Some(Vec::new());
    }

    pub(super) fn history(&self) -> Vec<(Files, i64)> {
        self.0.history.lock().unwrap().clone().unwrap()
    }

    /// This batch is known to be done.
    pub(super) fn know(&self, second: i64) {
        self.0.known.store(second, Ordering::SeqCst);
    }

    fn write(&self, write: impl FnOnce(&mut Files) -> io::Result<()>) -> io::Result<()> {
        let mut files = self.0.files.lock().unwrap();
        let written = write(&mut files);
        if let Some(history) = &mut *self.0.history.lock().unwrap() {
            history.push((files.clone(), self.0.known.load(Ordering::SeqCst)));
        }
        written
    }

    fn full(&self) -> io::Result<()> {
        let is_full = *self.0.is_full.lock().unwrap();
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Storage for Memory {
    fn place(&self) -> String {
        "memory".to_string()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let is_blind = *self.0.is_blind.lock().unwrap();
        if is_blind {
            Err(io::ErrorKind::HostUnreachable.into())
        } else {
            Ok(self.0.files.lock().unwrap().contains_key(name))
        }
    }

    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        if name.starts_with("state") {
            let gate = self.0.read_gate.lock().unwrap().take();
            if let Some((reached, opens)) = gate {
                reached.send(()).unwrap();
                opens.recv().unwrap();
            }
        }
        let files = self.0.files.lock().unwrap();
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let end = range.end.min(bytes.len() as u64) as usize;
        Ok(bytes.get(range.start as usize..end).unwrap_or_default().to_vec())
    }

    fn claim(&self, name: &str, content: &[u8]) -> io::Result<Option<StorageClaim>> {
        self.full()?;
        let mut files = self.0.files.lock().unwrap();
        if files.contains_key(name) {
            return Ok(None);
        }
        files.insert(name.to_string(), content.to_vec());
        self.0.held.lock().unwrap().insert(name.to_string());
        Ok(Some(StorageClaim::new(Held(name.to_string(), Arc::clone(&self.0.held)))))
    }

    fn is_held(&self, name: &str) -> io::Result<Option<bool>> {
        Ok(Some(self.0.held.lock().unwrap().contains(name)))
    }

    fn append(&self, name: &str, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        if let Some((reached, opens)) = self.0.gate.lock().unwrap().take() {
            reached.send(()).unwrap();
            opens.recv().unwrap();
        }
        let fits = if self.full().is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.write(|files| {
            let file = files.entry(name.to_string()).or_default();
            assert!(file.len() as u64 >= at, "{name} has a hole before {at}");
            file.truncate(at as usize);
            file.extend_from_slice(&bytes[..fits]);
            Ok(())
        })?;
        self.full()
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write_atomically(&self, name: &str, content: &[u8], _durable: bool) -> io::Result<()> {
        self.full()?;
        self.write(|files| {
            files.insert(name.to_string(), content.to_vec());
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.write(|files| {
            files.remove(name);
            Ok(())
        })
    }
}
