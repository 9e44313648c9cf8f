use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::panes::Panes;
use super::window::Span;
use crate::data::{Exchange, Key, hash_key, part_of};
use crate::error::Result;
use crate::state::shape::shape;
use crate::state::{Chunk, Durable, Entries, Saved, Schema, read_entries};
use crate::time::Time;

/// What a sliding window keeps from one time to the next, partition by partition.
///
/// A checkpoint sees it if the window has an inverse function: the totals, as the entries of a table. Panes are batches
/// of their own, and saved as such.
pub(super) struct Kept<K, V> {
    method: &'static str,
    span: Span,
    pub(super) partitions: Box<[KeptPartition<K, V>]>,
    /// The window up to which chunks were taken back, and whether there were some of other partitions among them.
    restored: Mutex<Option<(Time, bool)>>,
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

/// How far a snapshot has come. It is written along with what each batch has changed, so that nothing waits for it.
#[derive(Default)]
struct Rolling {
    /// The batch from which on chunks are needed; `None` if the next one has to have it all.
    since: Option<Time>,
    /// The batch at which a snapshot has begun that is not complete.
    under_way: Option<Time>,
}

/// A batch adds at least so many keys to a snapshot that is under way. In tests few, so that one takes several batches.
const LEAST_SHARE: usize = if cfg!(test) { 3 } else { 1000 };

impl<K: Key, V: Exchange> Kept<K, V> {
    pub(super) fn new(method: &'static str, span: Span, partitions: usize) -> Self {
        let partitions = (0..partitions).map(|_| KeptPartition::new()).collect();
        Kept { method, span, partitions, restored: Mutex::default() }
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
        let since = match rolling.since {
            Some(since) => {
                let changed = panes.save_changes(&mut entries)?;
                if due && rolling.under_way.is_none() {
                    rolling.under_way = Some(time);
                }
                match rolling.under_way {
                    Some(begun) if panes.save_share(&mut entries, changed.max(LEAST_SHARE))? => {
                        rolling.under_way = None;
                        begun
                    }
                    _ => since,
                }
            }
            None => {
                panes.save_all(&mut entries)?;
                time
            }
        };
        rolling.since = Some(since);
        panes.forget_changes();
        Ok(Saved { since, keys: panes.len() as u64 })
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
        // Keys are hashed anew, and may lie elsewhere even if there are as many partitions.
        let has_moved = |(partition, entries): (usize, &Vec<_>)| partition != chunk.partition && !entries.is_empty();
        let is_mixed = chunk.partitions != count || placed.iter().enumerate().any(has_moved);
        for (partition, entries) in self.partitions.iter().zip(placed) {
            if !entries.is_empty() {
                partition.lock().panes.restore(entries);
            }
        }
        if chunk.partitions == count && chunk.partition < count {
            let rolling = &mut self.partitions[chunk.partition].lock().rolling;
            rolling.since = rolling.since.min(Some(chunk.time)).or(Some(chunk.time));
        }
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, was_mixed) = restored.unwrap_or((chunk.time, false));
        *restored = Some((newest.max(chunk.time), was_mixed || is_mixed));
        Ok(())
    }

    fn restored(&self, _: Time) -> Result<()> {
        let restored = *self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, is_mixed)) = restored else { return Ok(()) };
        for partition in &*self.partitions {
            let mut state = partition.lock();
            (state.at, state.is_bare) = (Some(at), true);
            if is_mixed {
                // Chunks of two ways to cut the keys have no order among them: the next has all keys.
                state.rolling = Rolling::default();
            }
            partition.note(&state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn chunks_with_keys_of_other_partitions_are_not_needed_for_long() {
        let at = Time::from_micros;
        let second = Duration::from_secs(1);
        let kept = Kept::<u64, u64>::new("test", Span { window: second, slide: second }, 2);
        let key = (0..).find(|key| part_of(hash_key(key), 2) == 1).unwrap();
        // As it lay when keys were hashed differently.
        let mut bytes = Vec::new();
        Entries::new(&mut bytes).put(&key, &7u64).unwrap();
        kept.restore(&Chunk { time: at(1), partition: 0, partitions: 2, version: 1, bytes: &bytes }).unwrap();
        kept.restored(at(1)).unwrap();
        kept.record();
        for (partition, keys) in [(0, 0), (1, 1)] {
            let saved = kept.save(partition, at(2), false, &mut Vec::new()).unwrap();
            assert_eq!(saved, Saved { since: at(2), keys }, "partition {partition}");
        }
    }
}
