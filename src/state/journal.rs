use std::mem::replace;

use super::KeyIds;
use crate::data::Key;

/// What belongs to a key.
#[derive(Debug)]
pub(super) struct Slot<S> {
    /// `None` while the key has no state: in the batch that brought it, and in the one that took it.
    pub(super) state: Option<S>,
    /// Where the journal has the key, if it does.
    undo: u32,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Slot { state: None, undo: 0 }
    }
}

/// What a batch has changed: for each key, what it was before. It takes the batch back if it fails, and says what has
/// changed when it does not. States that were replaced move here; nothing is cloned.
pub(super) struct Journal<S> {
    entries: Vec<Before<S>>,
    /// The place of the first of them. Places count on from batch to batch, so that those of earlier batches say by
    /// themselves that nothing is there.
    first: u32,
}

struct Before<S> {
    id: u32,
    /// `None` if the key was only touched.
    state: Option<Option<S>>,
}

impl<S> Journal<S> {
    pub(super) fn new() -> Self {
        Journal { entries: Vec::new(), first: 0 }
    }

    #[inline]
    fn find(&mut self, id: u32, slot: &Slot<S>) -> Option<&mut Before<S>> {
        // A place comes again after 2^32 changes, and then belongs to another key.
        self.entries.get_mut(slot.undo.wrapping_sub(self.first) as usize).filter(|before| before.id == id)
    }

    #[inline]
    fn get(&self, id: u32, slot: &Slot<S>) -> Option<&Before<S>> {
        self.entries.get(slot.undo.wrapping_sub(self.first) as usize).filter(|before| before.id == id)
    }

    #[inline]
    fn push(&mut self, id: u32, slot: &mut Slot<S>, state: Option<Option<S>>) {
        // There are as many numbers at most.
        slot.undo = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push(Before { id, state });
    }

    /// Replaces the state of a key.
    #[inline]
    pub(super) fn put(&mut self, id: u32, slot: &mut Slot<S>, state: Option<S>) {
        let old = replace(&mut slot.state, state);
        match self.find(id, slot) {
            Some(before) if before.state.is_none() => before.state = Some(old),
            Some(_) => {}
            None => self.push(id, slot, Some(old)),
        }
    }

    /// Notes that a key whose state stays was used.
    #[inline]
    pub(super) fn touch(&mut self, id: u32, slot: &mut Slot<S>) {
        if !self.has(id, slot) {
            self.push(id, slot, None);
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

    /// Those of them whose state was changed, and if touches count, those that were touched.
    pub(super) fn changed(&self, or_touched: bool) -> impl Iterator<Item = u32> {
        self.entries.iter().filter(move |before| or_touched || before.state.is_some()).map(|before| before.id)
    }

    /// Puts everything back as it was.
    pub(super) fn undo<K: Key>(&mut self, keys: &mut KeyIds<K, Slot<S>>) {
        for Before { id, state } in self.entries.drain(..) {
            if let (Some((_, slot)), Some(state)) = (keys.get_mut(id), state) {
                slot.state = state;
            }
        }
    }

    /// Forgets how it was.
    pub(super) fn clear(&mut self) {
        let used = self.entries.len();
        self.first = self.first.wrapping_add(used as u32);
        self.entries.clear();
        // After a burst the room goes back; a batch of the usual size finds it there.
        if self.entries.capacity() / 4 > used {
            self.entries.shrink_to(2 * used);
        }
    }
}
