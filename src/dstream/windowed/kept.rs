use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::panes::Panes;
use super::window::Span;
use crate::data::{Exchange, Key, hash_key, part_of};
use crate::error::Result;
use crate::state::shape::shape;
use crate::state::{Chunk, Durable, Entries, Rolling, Saved, Schema, TakenBack, read_entries};
use crate::time::Time;

/// What a sliding window keeps from one time to the next, partition by partition.
///
/// A checkpoint sees it if the window has an inverse function: the totals, as the entries of a table. Panes are batches
/// of their own, and saved as such.
pub(super) struct Kept<K, V> {
    method: &'static str,
    span: Span,
    pub(super) partitions: Box<[KeptPartition<K, V>]>,
    taken_back: Mutex<TakenBack>,
}

/// What is kept of one partition, and what planning has to know of it while a task holds it.
pub(super) struct KeptPartition<K, V> {
    state: Mutex<State<K, V>>,
    /// The microseconds of the window that the panes hold; the least number if there is none, or panes are missing.
    at: AtomicI64,
    /// The microseconds of the window whose totals came from a checkpoint, until they have their panes; else the least.
    bare_at: AtomicI64,
    keys: AtomicUsize,
}

/// The panes of one partition.
pub(super) struct State<K, V> {
    /// The window that the panes hold; `None` when an update was broken off and they hold nothing of use. An update
    /// with an inverse function that was broken off is taken up again.
    pub(super) at: Option<Time>,
    pub(super) panes: Panes<K, V>,
    /// Whether the totals came from a checkpoint and are still without the panes that they were made from.
    pub(super) is_bare: bool,
    rolling: Rolling,
}

/// A batch adds at least so many keys to a snapshot that is under way. In tests few, so that one takes several batches.
const LEAST_SHARE: usize = if cfg!(test) { 3 } else { 1000 };

impl<K: Key, V: Exchange> Kept<K, V> {
    pub(super) fn new(method: &'static str, span: Span, partitions: usize) -> Self {
        let partitions = (0..partitions).map(|_| KeptPartition::new()).collect();
        Kept { method, span, partitions, taken_back: Mutex::default() }
    }

    /// The oldest window that came from a checkpoint and is without its panes in some partition.
    pub(super) fn bare_at(&self) -> Option<Time> {
        let bare = self.partitions.iter().filter_map(|partition| some_time(&partition.bare_at));
        bare.min()
    }
}

impl<K: Key, V: Exchange> KeptPartition<K, V> {
    fn new() -> Self {
        let none = || AtomicI64::new(i64::MIN);
        KeptPartition { state: Mutex::new(State::new()), at: none(), bare_at: none(), keys: AtomicUsize::new(0) }
    }

    pub(super) fn note(&self, state: &State<K, V>) {
        let at = state.at.map_or(i64::MIN, Time::as_micros);
        let (held, bare) = if state.is_bare { (i64::MIN, at) } else { (at, i64::MIN) };
        self.at.store(held, Ordering::Release);
        self.bare_at.store(bare, Ordering::Release);
        self.keys.store(state.panes.len(), Ordering::Release);
    }
}

impl<K, V> KeptPartition<K, V> {
    pub(super) fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The window that the panes hold.
    pub(super) fn at(&self) -> Option<Time> {
        some_time(&self.at)
    }

    /// How many keys the panes have.
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Acquire)
    }
}

fn some_time(micros: &AtomicI64) -> Option<Time> {
    Some(micros.load(Ordering::Acquire)).filter(|micros| *micros != i64::MIN).map(Time::from_micros)
}

impl<K: Key, V: Exchange> State<K, V> {
    pub(super) fn new() -> Self {
        State { at: None, panes: Panes::new(), is_bare: false, rolling: Rolling::default() }
    }

    /// See [`Durable::save`].
    fn save(&mut self, time: Time, due: bool, into: &mut Vec<u8>) -> Result<Saved> {
        let State { panes, rolling, .. } = self;
        let mut entries = Entries::new(into);
        let changed = panes.save_changes(&mut entries)?;
        let is_complete = match rolling.share(time, due, changed.max(LEAST_SHARE)) {
            Some(share) => panes.save_share(&mut entries, share)?,
            None => false,
        };
        panes.forget_changes();
        Ok(Saved { since: rolling.saved(time, is_complete), keys: panes.len() as u64 })
    }
}

impl<K: Key, V: Exchange> Durable for Kept<K, V> {
    fn schema(&self) -> Schema {
        let Span { window, slide } = self.span;
        let parts =
            vec![("key", shape::<K>()), ("value", shape::<V>()), ("window", format!("{window:?} each {slide:?}"))];
        Schema { method: self.method, version: 1, parts }
    }

    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn is_at(&self, partition: usize, time: Time) -> bool {
        self.partitions[partition].at() == Some(time)
    }

    fn record(&self) {
        self.partitions.iter().for_each(|partition| partition.lock().panes.record());
    }

    fn save(&self, partition: usize, time: Time, due: bool, into: &mut Vec<u8>) -> Result<Saved> {
        self.partitions[partition].lock().save(time, due, into)
    }

    fn restore(&self, chunk: &Chunk<'_>) -> Result<()> {
        let count = self.partitions.len();
        let mut placed: Vec<Vec<(K, Option<V>)>> = (0..count).map(|_| Vec::new()).collect();
        read_entries(chunk.bytes, |key: K, total| placed[part_of(hash_key(&key), count)].push((key, total)))?;
        self.taken_back.lock().unwrap_or_else(PoisonError::into_inner).note(chunk, &placed);
        for (partition, entries) in self.partitions.iter().zip(placed) {
            if !entries.is_empty() {
                partition.lock().panes.restore(entries);
            }
        }
        Ok(())
    }

    fn restored(&self, _: Time) -> Result<()> {
        let taken_back = self.taken_back.lock().unwrap_or_else(PoisonError::into_inner);
        // A window may slide by several batches: its totals are as of the last of its own times.
        let Some(at) = taken_back.newest() else { return Ok(()) };
        for (number, partition) in self.partitions.iter().enumerate() {
            let mut state = partition.lock();
            (state.at, state.is_bare, state.rolling) = (Some(at), true, taken_back.rolling(number));
            partition.note(&state);
        }
        Ok(())
    }
}
