use std::cell::Cell;

use super::{Entries, Saved, Table, chunk};
use crate::codec::encode_value;
use crate::data::{Exchange, Key};
use crate::error::Result;
use crate::time::Time;

/// How many keys a snapshot comes round with each batch, at least. In tests that is few, so that it takes many batches.
const SHARE: usize = if cfg!(test) { 4 } else { 1000 };

/// What a table has to know to be saved: what has changed since it last was, and how far its snapshot is.
///
/// A snapshot goes round the table: each batch writes what it has changed, and goes on from where the last one stopped,
/// past half as many keys, of which it writes those that nobody has written since the snapshot began. When it has been
/// round, the chunks from before it began are not needed any more. So there is no batch that writes everything, and a
/// round leaves between two and three times as many entries as there are keys.
pub(super) struct Saving<K> {
    is_on: bool,
    /// The numbers of keys that have changed; some may have lost their key since.
    changed: Vec<u32>,
    /// The keys that lost their state.
    gone: Vec<K>,
    snapshot: Option<Snapshot>,
    /// From which batch on the chunks are needed.
    since: Option<Time>,
    /// Whether there are chunks of other partitions among them, which cannot be told from later ones of this.
    is_mixed: bool,
    buffer: Vec<u8>,
    /// How many bytes an entry of the last chunk took, on the average.
    entry_bytes: usize,
}

/// A snapshot under way.
struct Snapshot {
    begun: Time,
    /// The number of the next key.
    next: u32,
    /// A bit for each number: whether its key was written since the snapshot began. Those before `next` do not matter.
    written: Vec<u64>,
}

impl Snapshot {
    fn begin(time: Time) -> Self {
        Snapshot { begun: time, next: 0, written: Vec::new() }
    }

    /// Makes room for the keys up to this number.
    fn reach(&mut self, all: u32) {
        self.written.resize((all as usize).div_ceil(64), 0);
    }

    #[inline]
    fn note_written(&mut self, id: u32) {
        self.written[id as usize / 64] |= 1 << (id % 64);
    }

    #[inline]
    fn is_written(&self, id: u32) -> bool {
        self.written[id as usize / 64] >> (id % 64) & 1 == 1
    }
}

impl<K> Saving<K> {
    pub(super) fn new() -> Self {
        let (changed, gone, buffer) = (Vec::new(), Vec::new(), Vec::new());
        Saving { is_on: false, changed, gone, snapshot: None, since: None, is_mixed: false, buffer, entry_bytes: 0 }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether two states are the same as far as their bytes tell. Nobody asks while nothing is saved.
    pub(super) fn is_same<S: Exchange>(&mut self, old: Option<&S>, new: Option<&S>) -> bool {
        let (true, Some(old), Some(new)) = (self.is_on, old, new) else { return false };
        let buffer = &mut self.buffer;
        buffer.clear();
        if encode_value(old, buffer).is_err() {
            return false;
        }
        let middle = buffer.len();
        encode_value(new, buffer).is_ok() && buffer[..middle] == buffer[middle..]
    }

    #[inline]
    pub(super) fn changed(&mut self, id: u32) {
        if self.is_on {
            self.changed.push(id);
        }
    }

    pub(super) fn gone(&mut self, key: K) {
        if self.is_on {
            self.gone.push(key);
        }
    }

    pub(super) fn renumber(&mut self, moved: &[Option<u32>]) {
        self.changed = self.changed.iter().filter_map(|id| moved[*id as usize]).collect();
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.next = moved[..snapshot.next as usize].iter().flatten().count() as u32;
            // Some are written once more.
            snapshot.written = Vec::new();
        }
    }
}

impl<K: Key, S: Exchange> Table<K, S> {
    /// From here on, what changes is noted, to be saved after every batch.
    pub(crate) fn record(&mut self) {
        self.saving.is_on = true;
    }

    /// Appends what the batch at `time` has changed, and some of the rest while a snapshot is under way. A new one begins
    /// if it is `due`.
    pub(crate) fn save(&mut self, time: Time, due: bool, into: &mut Vec<u8>) -> Result<Saved> {
        let Table { keys, saving, queue, .. } = self;
        let Saving { changed, gone, snapshot, since, is_mixed, entry_bytes, .. } = saving;
        let share = ((changed.len() + gone.len()) / 2).max(SHARE);
        let rest = if due || snapshot.is_some() { share.min(keys.len()) } else { 0 };
        let expected = (gone.len() + changed.len() + rest) * *entry_bytes;
        let begin = into.len();
        into.reserve(expected + expected / 8);
        let written = Cell::new(gone.len());
        let mut entries = chunk::begin(into);
        let write = |id: u32, into: &mut Entries<'_>| {
            let Some((key, slot)) = keys.get(id) else { return Ok(()) };
            let Some(state) = slot.state() else { return Ok(()) };
            written.set(written.get() + 1);
            let idle = queue.as_ref().map_or(0, |queue| (time - queue.touched(id)).as_micros() as u64);
            chunk::write_kept(key, idle, state, into)
        };
        gone.drain(..).try_for_each(|key| entries.remove(&key))?;
        let all = keys.capacity() as u32;
        if std::mem::take(is_mixed) {
            (*since, *snapshot) = (Some(time), None);
            (0..all).try_for_each(|id| write(id, &mut entries))?;
        } else {
            changed.iter().try_for_each(|&id| write(id, &mut entries))?;
            if due {
                snapshot.get_or_insert_with(|| Snapshot::begin(time));
            }
        }
        if let Some(under_way) = snapshot {
            under_way.reach(all);
            changed.iter().for_each(|&id| under_way.note_written(id));
            let end = all.min(under_way.next.saturating_add(share as u32));
            let mut rest = (under_way.next..end).filter(|id| !under_way.is_written(*id));
            rest.try_for_each(|id| write(id, &mut entries))?;
            under_way.next = end;
            if end == all {
                *since = Some(under_way.begun);
                *snapshot = None;
            }
        }
        changed.clear();
        changed.shrink_to(4 * share);
        gone.shrink_to(4 * share);
        if written.get() > 0 {
            *entry_bytes = (into.len() - begin).div_ceil(written.get());
        }
        Ok(Saved { since: *since.get_or_insert(time), keys: keys.len() as u64 })
    }

    /// Takes back what a chunk of the batch at `time` says of a key.
    pub(crate) fn restore(&mut self, said: chunk::Said<K, S>, time: Time) {
        let id = self.keys.intern(&said.key);
        let Some((idle_micros, state)) = said.kept else {
            self.keys.remove(id);
            return;
        };
        if let Some((_, slot)) = self.keys.get_mut(id) {
            slot.replace(Some(state));
        }
        if let Some(queue) = &mut self.queue {
            let idle = i64::try_from(idle_micros).unwrap_or(i64::MAX);
            queue.restore(id, Time::from_micros(time.as_micros().saturating_sub(idle)));
        }
    }

    /// All chunks were taken back.
    pub(crate) fn restored(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.restored(&self.keys);
        }
    }

    /// Notes that there was a chunk of the batch at `time`, of the same partitions or of others.
    pub(crate) fn restored_chunk(&mut self, time: Time, is_mixed: bool) {
        let saving = &mut self.saving;
        saving.since = Some(saving.since.map_or(time, |since| since.min(time)));
        saving.is_mixed |= is_mixed;
    }
}
