use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::panes::Panes;
use super::window::Span;
use crate::codec::decode_value;
use crate::data::{Exchange, Key, hash_key, part_of};
use crate::error::Result;
use crate::state::shape::shape;
use crate::state::{Chunk, Durable, Rolling, Saved, Schema, TakenBack, chunk};
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
    fn save(&mut self, time: Time, due: bool) -> Result<(Saved, Vec<u8>)> {
        let State { panes, rolling, .. } = self;
        let share = rolling.share(time, due, panes.changed().max(LEAST_SHARE));
        let (is_complete, bytes) = panes.save(share)?;
        Ok((Saved { since: rolling.saved(time, is_complete), keys: panes.len() as u64 }, bytes))
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

    fn save(&self, partition: usize, time: Time, due: bool) -> Result<(Saved, Vec<u8>)> {
        self.partitions[partition].lock().save(time, due)
    }

    fn restore(&self, chunk: &Chunk<'_>) -> Result<()> {
        let count = self.partitions.len();
        let mut placed: Vec<Vec<chunk::Said<K, V>>> = (0..count).map(|_| Vec::new()).collect();
        chunk::read(chunk.bytes, decode_value, |said| placed[part_of(hash_key(&said.key), count)].push(said))?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dstream::windowed::panes::Reducer;

    type Sums = Kept<u64, i64>;

    fn at(second: i64) -> Time {
        Time::from_millis(1000 * second)
    }

    fn kept(partitions: usize) -> Sums {
        let second = std::time::Duration::from_secs(1);
        let kept = Sums::new("sums", Span { window: 2 * second, slide: second }, partitions);
        kept.record();
        kept
    }

    /// A chunk: its batch, its partition of so many, and its bytes.
    type Saved = (i64, usize, usize, Vec<u8>);

    /// What is saved of a batch, and from which second on each partition needs chunks.
    fn save(kept: &Sums, second: i64) -> (Vec<Saved>, Vec<i64>) {
        let count = kept.partitions.len();
        let save = |partition| {
            let (saved, bytes) = kept.save(partition, at(second), false).unwrap();
            ((second, partition, count, bytes), saved.since.as_millis() / 1000)
        };
        (0..count).map(save).unzip()
    }

    fn restored(partitions: usize, chunks: &[Saved]) -> Sums {
        let kept = kept(partitions);
        for (second, partition, partitions, bytes) in chunks {
            let (partition, partitions) = (*partition, *partitions);
            kept.restore(&Chunk { time: at(*second), partition, partitions, version: 1, bytes }).unwrap();
        }
        kept.restored(at(9)).unwrap();
        kept.record();
        kept
    }

    fn totals(kept: &Sums) -> BTreeMap<u64, i64> {
        let mut all = BTreeMap::new();
        for partition in &*kept.partitions {
            let state = partition.lock();
            assert_eq!((state.at, state.is_bare), (Some(at(1)), true));
            all.extend(state.panes.totals(&|a, b| a + b).map(|(key, total)| (*key, total)));
        }
        all
    }

    /// Twelve keys in two partitions.
    fn written() -> Vec<Saved> {
        let reducer = Reducer { reduce: |a, b| a + b, inverse: Some(|a: i64, b: i64| a - b) };
        let sums = kept(2);
        for (partition, part) in sums.partitions.iter().enumerate() {
            let records: Vec<_> =
                (0..12).filter(|key| part_of(hash_key(key), 2) == partition).map(|key| (key, 10)).collect();
            part.lock().panes.push(at(1), &records, &reducer);
        }
        save(&sums, 1).0
    }

    #[test]
    fn totals_go_on_in_other_partitions_and_are_written_anew_soon() {
        let expected: BTreeMap<u64, i64> = (0..12).map(|key| (key, 10)).collect();
        let sums = restored(1, &written());
        assert_eq!(totals(&sums), expected);
        // Three keys at a time.
        let needed: Vec<(usize, Vec<i64>)> =
            (2..8).map(|second| save(&sums, second)).map(|(chunks, since)| (chunks[0].3.len(), since)).collect();
        let (share, nothing) = (needed[0].0, 2);
        let expected = [(share, 1), (share, 1), (share, 1), (share, 2), (nothing, 2), (nothing, 2)];
        assert_eq!(needed, expected.map(|(bytes, since)| (bytes, vec![since])));
        assert!(share > nothing);
    }

    /// As if the hash of keys had been another one: the second partition has had the keys of the first.
    #[test]
    fn totals_whose_keys_have_moved_are_written_at_once() {
        let mut chunks = written();
        chunks.iter_mut().for_each(|chunk| chunk.1 = 1 - chunk.1);
        let sums = restored(2, &chunks);
        let (mut chunks, since) = save(&sums, 2);
        assert_eq!(since, [2, 2]);
        chunks.iter_mut().for_each(|chunk| chunk.0 = 1);
        assert_eq!(totals(&restored(3, &chunks)), totals(&sums));
        assert_eq!(totals(&sums).len(), 12);
    }
}
