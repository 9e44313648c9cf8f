use std::mem::replace;

use super::KeyIds;
use crate::data::Key;

/// What belongs to a key: its state, none in the batch that brought the key and in the one that took the state; and where
/// the journal has the key, if it does. Laid out so that a small number and its tag share a word: the fewer bytes a key
/// takes, the more of them are in the caches.
#[derive(Debug)]
pub(super) enum Slot<S> {
    Empty { undo: u32 },
    Full { undo: u32, state: S },
}

impl<S> Slot<S> {
    #[inline]
    pub(super) fn state(&self) -> Option<&S> {
        match self {
            Slot::Empty { .. } => None,
            Slot::Full { state, .. } => Some(state),
        }
    }

    /// Puts another state in place of the one that comes back.
    #[inline]
    pub(super) fn replace(&mut self, state: Option<S>) -> Option<S> {
        let undo = self.undo();
        let slot = match state {
            None => Slot::Empty { undo },
            Some(state) => Slot::Full { undo, state },
        };
        match replace(self, slot) {
            Slot::Empty { .. } => None,
            Slot::Full { state, .. } => Some(state),
        }
    }

    #[inline]
    fn undo(&self) -> u32 {
        let (Slot::Empty { undo } | Slot::Full { undo, .. }) = self;
        *undo
    }

    #[inline]
    fn set_undo(&mut self, place: u32) {
        let (Slot::Empty { undo } | Slot::Full { undo, .. }) = self;
        *undo = place;
    }
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Slot::Empty { undo: 0 }
    }
}

/// What a batch has changed: for each key, what it was before. It takes the batch back if it fails, and says what has
/// changed when it does not. States that were replaced move here; nothing is cloned.
pub(super) struct Journal<S> {
    entries: Vec<Before<S>>,
    /// The place of the first of them. Places count on from batch to batch, so that those of earlier batches say by
    /// themselves that nothing is there.
    first: u32,
    /// How many of them, from the first on, somebody has written down.
    written: usize,
    /// The numbers of those that have changed once more after they were written down.
    again: Vec<u32>,
}

struct Before<S> {
    id: u32,
    /// Whether the key was changed and has the same bytes: what serde skips may be another.
    is_same: bool,
    /// Whether it is among those that have changed `again`.
    is_again: bool,
    /// `None` if the key was only touched.
    state: Option<Option<S>>,
}

impl<S> Journal<S> {
    pub(super) fn new() -> Self {
        Journal { entries: Vec::new(), first: 0, written: 0, again: Vec::new() }
    }

    /// Where a key is among the entries, if it is there.
    #[inline]
    fn place(&self, slot: &Slot<S>) -> usize {
        slot.undo().wrapping_sub(self.first) as usize
    }

    #[inline]
    fn get(&self, id: u32, slot: &Slot<S>) -> Option<&Before<S>> {
        // A place comes again after 2^32 changes, and then belongs to another key.
        self.entries.get(self.place(slot)).filter(|before| before.id == id)
    }

    #[inline]
    fn push(&mut self, id: u32, slot: &mut Slot<S>, is_same: bool, state: Option<Option<S>>) {
        // There are as many numbers at most.
        slot.set_undo(self.first.wrapping_add(self.entries.len() as u32));
        self.entries.push(Before { id, is_same, is_again: false, state });
    }

    /// Replaces the state of a key.
    #[inline]
    pub(super) fn put(&mut self, id: u32, slot: &mut Slot<S>, state: Option<S>) {
        self.put_as(false, id, slot, state);
    }

    /// Replaces the state of a key by one that has the same bytes.
    pub(super) fn put_same(&mut self, id: u32, slot: &mut Slot<S>, state: Option<S>) {
        self.put_as(true, id, slot, state);
    }

    #[inline]
    fn put_as(&mut self, is_same: bool, id: u32, slot: &mut Slot<S>, state: Option<S>) {
        let old = slot.replace(state);
        let place = self.place(slot);
        let Some(before) = self.entries.get_mut(place).filter(|before| before.id == id) else {
            return self.push(id, slot, is_same, Some(old));
        };
        if before.state.is_none() {
            (before.is_same, before.state) = (is_same, Some(old));
        } else {
            before.is_same &= is_same;
        }
        if place < self.written && !is_same && !before.is_again {
            before.is_again = true;
            self.again.push(id);
        }
    }

    /// Notes that a key whose state stays was used.
    #[inline]
    pub(super) fn touch(&mut self, id: u32, slot: &mut Slot<S>) {
        if !self.has(id, slot) {
            self.push(id, slot, false, None);
        }
    }

    /// Whether a key was changed or touched.
    #[inline]
    pub(super) fn has(&self, id: u32, slot: &Slot<S>) -> bool {
        self.get(id, slot).is_some()
    }

    /// The state of a key before the batch, if it was changed.
    pub(super) fn before(&self, id: u32, slot: &Slot<S>) -> Option<&S> {
        self.get(id, slot)?.state.as_ref()?.as_ref()
    }

    /// The numbers of the keys that were changed or touched, in the order in which they first were.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|before| before.id)
    }

    /// The numbers of the keys that are not written down and whose state has other bytes now, and if touches count, of
    /// those that were touched.
    #[inline]
    pub(super) fn unwritten(&self, or_touched: bool) -> impl Iterator<Item = u32> {
        let is_changed = move |before: &&Before<S>| or_touched || before.state.is_some() && !before.is_same;
        self.entries[self.written..].iter().filter(is_changed).map(|before| before.id)
    }

    /// All that was not is written down.
    pub(super) fn note_written(&mut self) {
        self.written = self.entries.len();
    }

    /// The numbers of the keys that were written down and have changed since, each once.
    pub(super) fn changed_again(&self) -> impl Iterator<Item = u32> {
        self.again.iter().copied()
    }

    /// Whether a key was written down, or would have been if it had had a state.
    pub(super) fn is_written(&self, id: u32, slot: &Slot<S>) -> bool {
        self.has(id, slot) && self.place(slot) < self.written
    }

    /// Puts everything back as it was.
    pub(super) fn undo<K: Key>(&mut self, keys: &mut KeyIds<K, Slot<S>>) {
        self.written = 0;
        self.again.clear();
        for Before { id, state, .. } in self.entries.drain(..) {
            if let (Some((_, slot)), Some(state)) = (keys.get_mut(id), state) {
                slot.replace(state);
            }
        }
    }

    /// Forgets how it was.
    pub(super) fn clear(&mut self) {
        let used = self.entries.len();
        self.first = self.first.wrapping_add(used as u32);
        self.entries.clear();
        self.written = 0;
        self.again.clear();
        // After a burst the room goes back; a batch of the usual size finds it there.
        if self.entries.capacity() / 4 > used {
            self.entries.shrink_to(2 * used);
            self.again.shrink_to(2 * used);
        }
    }
}
