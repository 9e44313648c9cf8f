use super::chunk::Mark;
use super::journal::Slot;
use super::{ChunkWriter, KeyIds, Rolling, Saved, Table, chunk};
use crate::codec::encode_value;
use crate::data::{Exchange, Key};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::time::Time;

/// How many keys a snapshot comes round with each batch, at least. In tests few, so that one takes several batches.
const SHARE: usize = if cfg!(test) { 2 } else { 1000 };

/// What a table has to know to be saved: what has changed since it last was, and how far its snapshot is.
///
/// Most of what a batch changes is [written down](Table::write_down) while it is at hand: later on it would have to be
/// fetched from memory again, and that is most of the cost. What changes once more after that is written once more when
/// the table is saved.
///
/// A snapshot goes round the table: each batch writes what it has changed, and goes on from where the last one stopped,
/// past half as many keys, of which it writes those that nobody has written since the snapshot began. When it has been
/// round, the chunks from before it began are not needed any more. So there is no batch that writes everything, and a
/// round leaves between two and three times as many entries as there are keys.
pub(super) struct Saving<K, S> {
    is_on: bool,
    /// What is to be saved next, as far as it is written down.
    chunk: ChunkWriter<K, S>,
    /// What of it was there before the batch: all of the last one, if that is committed and not saved yet.
    before: Mark,
    is_committed: bool,
    /// Whether something could not be written down. What the batch leaves may be fit to be, and is written at its end.
    waits: bool,
    /// Why the chunk is not whole.
    failure: Option<Error>,
    /// The numbers of keys that have changed, whose last change is not written down; some may have lost their key since.
    changed: Vec<u32>,
    rolling: Rolling,
    /// Where the snapshot is that is under way.
    snapshot: Snapshot,
    buffer: Vec<u8>,
}

/// How far a snapshot has come.
#[derive(Default)]
struct Snapshot {
    /// The number of the next key.
    next: u32,
    /// A bit for each number: whether its key was written since the snapshot began. Those before `next` do not matter.
    ticked_off: Vec<u64>,
}

impl Snapshot {
    /// Makes room for so many numbers.
    fn reach(&mut self, all: u32) {
        self.ticked_off.resize((all as usize).div_ceil(64), 0);
    }

    #[inline]
    fn tick_off(&mut self, id: u32) {
        self.ticked_off[id as usize / 64] |= 1 << (id % 64);
    }

    #[inline]
    fn is_ticked_off(&self, id: u32) -> bool {
        self.ticked_off[id as usize / 64] >> (id % 64) & 1 == 1
    }

    /// As if nothing was: what is not come to yet is written, some of it once more.
    fn begin_anew(&mut self) {
        self.ticked_off = Vec::new();
    }
}

impl<K: Key, S: Exchange> Saving<K, S> {
    /// `has_idle_times` says whether keys can time out.
    pub(super) fn new(has_idle_times: bool) -> Self {
        Saving {
            is_on: false,
            chunk: ChunkWriter::new(has_idle_times),
            before: Mark::BEGIN,
            is_committed: false,
            waits: false,
            failure: None,
            changed: Vec::new(),
            rolling: Rolling::default(),
            snapshot: Snapshot::default(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether two states are the same as far as their bytes tell. Nobody asks while nothing is saved.
    pub(super) fn is_same(&mut self, old: Option<&S>, new: Option<&S>) -> bool {
        let (true, Some(old), Some(new)) = (self.is_on, old, new) else { return false };
        let buffer = &mut self.buffer;
        buffer.clear();
        if encode_value(old, buffer).is_err() {
            return false;
        }
        let middle = buffer.len();
        encode_value(new, buffer).is_ok() && buffer[..middle] == buffer[middle..]
    }

    /// What is to be written when the table is saved, since it has changed.
    #[inline]
    pub(super) fn changed(&mut self, id: u32) {
        if self.is_on {
            self.changed.push(id);
        }
    }

    /// A key has lost its state.
    pub(super) fn gone(&mut self, key: &K) {
        if self.is_on {
            let removed = guarded(|| self.chunk.remove(key), panicked);
            self.fail_if(removed.err());
        }
    }

    /// The batch is over. It has to be saved before the next one is committed: the idle times that are written down are
    /// those of the batch. The next one may begin, and be rolled back.
    pub(super) fn committed(&mut self) {
        if std::mem::replace(&mut self.is_committed, true) {
            self.fail_if(Some(Error::new(ErrorKind::Internal, "a batch was not saved before the next one")));
        }
        (self.before, self.waits) = (self.chunk.mark(), false);
    }

    pub(super) fn roll_back(&mut self) {
        if self.is_on {
            self.chunk.back_to(self.before);
            self.waits = false;
            self.snapshot.begin_anew();
        }
    }

    pub(super) fn renumber(&mut self, moved: &[Option<u32>]) {
        self.changed = self.changed.iter().filter_map(|id| moved[*id as usize]).collect();
        let snapshot = &mut self.snapshot;
        snapshot.next = moved[..snapshot.next as usize].iter().flatten().count() as u32;
        snapshot.begin_anew();
    }

    /// What is wrong is heard of when the table is saved.
    fn fail_if(&mut self, failure: Option<Error>) {
        self.failure = self.failure.take().or(failure);
    }
}

fn panicked(said: &str) -> Error {
    Error::new(ErrorKind::User, format!("writing a key or a state panicked: {said}"))
}

/// Writes a key and its state, if the number has both.
#[inline]
fn put<K: Key, S: Exchange>(
    keys: &KeyIds<K, Slot<S>>,
    id: u32,
    idle_micros: impl FnOnce() -> u64,
    chunk: &mut ChunkWriter<K, S>,
) -> Result<()> {
    let Some((key, slot)) = keys.get(id) else { return Ok(()) };
    let Some(state) = slot.state() else { return Ok(()) };
    chunk.put(key, idle_micros(), state)
}

impl<K: Key, S: Exchange> Table<K, S> {
    /// From here on, what changes is noted, to be saved after every batch.
    pub(crate) fn record(&mut self) {
        self.saving.is_on = true;
    }

    /// Writes what was changed since the last call: whoever changes many keys calls this while they are at hand, in the
    /// caches of the processor.
    #[inline]
    pub(crate) fn write_down(&mut self) {
        if self.saving.is_on && !self.saving.waits {
            self.write_changes();
        }
    }

    fn write_changes(&mut self) {
        let Table { keys, journal, saving, queue, .. } = self;
        let Saving { chunk, snapshot, rolling, waits, .. } = saving;
        let is_under_way = rolling.is_under_way();
        if is_under_way {
            snapshot.reach(keys.capacity() as u32);
        }
        let mark = chunk.mark();
        let write = || {
            journal.unwritten(queue.is_some()).try_for_each(|id| {
                if is_under_way {
                    snapshot.tick_off(id);
                }
                // Whatever was changed was used in this batch.
                put(keys, id, || 0, chunk)
            })
        };
        if guarded(write, panicked).is_ok() {
            journal.note_written();
        } else {
            chunk.back_to(mark);
            *waits = true;
        }
    }

    /// Takes the chunk of the batch at `time`: what it has changed, and some of the rest while a snapshot is under way. A
    /// new one begins if it is `due`.
    pub(crate) fn save(&mut self, time: Time, due: bool) -> Result<(Saved, Vec<u8>)> {
        let Table { keys, saving, queue, .. } = self;
        let Saving { chunk, before, is_committed, failure, changed, rolling, snapshot, .. } = saving;
        if let Some(failure) = failure.take() {
            return Err(failure);
        }
        let idle = |id| queue.as_ref().map_or(0, |queue| (time - queue.touched(id)).as_micros() as u64);
        changed.iter().try_for_each(|&id| put(keys, id, || idle(id), chunk))?;
        let mut is_complete = false;
        if let Some(share) = rolling.share(time, due, SHARE.max(chunk.entries() / 2)) {
            let all = keys.capacity() as u32;
            snapshot.reach(all);
            changed.iter().for_each(|&id| snapshot.tick_off(id));
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            let end = all.min(snapshot.next.saturating_add(share));
            let mut rest = (snapshot.next..end).filter(|id| !snapshot.is_ticked_off(*id));
            rest.try_for_each(|id| put(keys, id, || idle(id), chunk))?;
            snapshot.next = end;
            is_complete = end == all;
        }
        if is_complete {
            *snapshot = Snapshot::default();
        }
        (*before, *is_committed) = (Mark::BEGIN, false);
        changed.clear();
        changed.shrink_to(2 * chunk.entries());
        let bytes = chunk.take();
        Ok((Saved { since: rolling.saved(time, is_complete), keys: keys.len() as u64 }, bytes))
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
