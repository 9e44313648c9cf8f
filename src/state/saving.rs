use super::{Entries, Rolling, Saved, Table, chunk};
use crate::codec::encode_value;
use crate::data::{Exchange, Key};
use crate::error::Result;
use crate::time::Time;

/// How many keys a snapshot comes round with each batch, at least. In tests few, so that one takes several batches.
const SHARE: usize = if cfg!(test) { 2 } else { 1000 };

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
    rolling: Rolling,
    /// Where the snapshot is that is under way.
    snapshot: Snapshot,
    buffer: Vec<u8>,
    /// How many bytes the last chunk took for each key that had changed.
    entry_bytes: usize,
}

/// How far a snapshot has come.
#[derive(Default)]
struct Snapshot {
    /// The number of the next key.
    next: u32,
    /// A bit for each number: whether its key was written since the snapshot began. Those before `next` do not matter.
    written: Vec<u64>,
}

impl Snapshot {
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
        let (rolling, snapshot) = (Rolling::default(), Snapshot::default());
        Saving { is_on: false, changed, gone, rolling, snapshot, buffer, entry_bytes: 0 }
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
        let snapshot = &mut self.snapshot;
        snapshot.next = moved[..snapshot.next as usize].iter().flatten().count() as u32;
        // Some are written once more.
        snapshot.written = Vec::new();
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
        let Saving { changed, gone, rolling, snapshot, entry_bytes, .. } = saving;
        let count = (changed.len() + gone.len()).max(2 * SHARE);
        let begin = into.len();
        into.reserve(count * *entry_bytes);
        let mut entries = chunk::begin(into);
        let write = |id: u32, into: &mut Entries<'_>| {
            let Some((key, slot)) = keys.get(id) else { return Ok(()) };
            let Some(state) = slot.state() else { return Ok(()) };
            let idle = queue.as_ref().map_or(0, |queue| (time - queue.touched(id)).as_micros() as u64);
            chunk::write_kept(key, idle, state, into)
        };
        gone.drain(..).try_for_each(|key| entries.remove(&key))?;
        changed.iter().try_for_each(|&id| write(id, &mut entries))?;
        let mut is_complete = false;
        if let Some(share) = rolling.share(time, due, count / 2) {
            let all = keys.capacity() as u32;
            snapshot.reach(all);
            changed.iter().for_each(|&id| snapshot.note_written(id));
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            let end = all.min(snapshot.next.saturating_add(share));
            let mut rest = (snapshot.next..end).filter(|id| !snapshot.is_written(*id));
            rest.try_for_each(|id| write(id, &mut entries))?;
            snapshot.next = end;
            is_complete = end == all;
        }
        if is_complete {
            *snapshot = Snapshot::default();
        }
        changed.clear();
        changed.shrink_to(2 * count);
        gone.shrink_to(2 * count);
        *entry_bytes = (into.len() - begin).div_ceil(count);
        Ok(Saved { since: rolling.saved(time, is_complete), keys: keys.len() as u64 })
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

    /// All chunks were taken back, and their snapshot goes on like this.
    pub(crate) fn go_on(&mut self, rolling: Rolling) {
        self.saving.rolling = rolling;
        if let Some(queue) = &mut self.queue {
            queue.restored(&self.keys);
        }
    }
}
