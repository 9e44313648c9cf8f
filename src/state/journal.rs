use std::mem::replace;

use super::KeyIds;
use crate::data::Key;
use crate::time::Time;

/// What belongs to a key.
#[derive(Debug)]
pub(super) struct Slot<S> {
    /// `None` while the key has no state: in the batch that brought it, and in the one that took it.
    pub(super) state: Option<S>,
    pub(super) touched: Time,
    /// Whether the number of the key stands in the queue of those that time out.
    pub(super) queued: bool,
    /// Where the journal has the key, if it does.
    undo: u32,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Slot { state: None, touched: Time::ZERO, queued: false, undo: 0 }
    }
}

/// What a batch has changed: for each key, what it was before. It takes the batch back if it fails, and says what has
/// changed when it does not. States that were replaced move here; nothing is cloned.
pub(super) struct Journal<S>(Vec<Before<S>>);

struct Before<S> {
    id: u32,
    touched: Time,
    /// `None` if the key was only touched.
    state: Option<Option<S>>,
}

impl<S> Journal<S> {
    pub(super) fn new() -> Self {
        Journal(Vec::new())
    }

    #[inline]
    fn find(&mut self, id: u32, slot: &Slot<S>) -> Option<&mut Before<S>> {
        self.0.get_mut(slot.undo as usize).filter(|before| before.id == id)
    }

    #[inline]
    fn push(&mut self, id: u32, slot: &mut Slot<S>, state: Option<Option<S>>) {
        // There are as many numbers at most.
        slot.undo = self.0.len() as u32;
        self.0.push(Before { id, touched: slot.touched, state });
    }

    /// Replaces the state of a key.
    #[inline]
    pub(super) fn put(&mut self, id: u32, slot: &mut Slot<S>, state: Option<S>, time: Time) {
        let old = replace(&mut slot.state, state);
        match self.find(id, slot) {
            Some(before) if before.state.is_none() => before.state = Some(old),
            Some(_) => {}
            None => self.push(id, slot, Some(old)),
        }
        slot.touched = time;
    }

    /// Notes that a key whose state stays was used.
    #[inline]
    pub(super) fn touch(&mut self, id: u32, slot: &mut Slot<S>, time: Time) {
        if !self.has(id, slot) {
            self.push(id, slot, None);
        }
        slot.touched = time;
    }

    /// Whether a key was changed or touched.
    #[inline]
    pub(super) fn has(&self, id: u32, slot: &Slot<S>) -> bool {
        self.0.get(slot.undo as usize).is_some_and(|before| before.id == id)
    }

    /// The state of a key before the batch, if it was changed.
    pub(super) fn before(&self, id: u32, slot: &Slot<S>) -> Option<&S> {
        let before = self.0.get(slot.undo as usize).filter(|before| before.id == id)?;
        before.state.as_ref()?.as_ref()
    }

    /// The numbers of the keys that were changed or touched, in the order in which they first were.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|before| before.id)
    }

    /// Those of them whose state was changed, and if touches count, those that were touched.
    pub(super) fn changed(&self, or_touched: bool) -> impl Iterator<Item = u32> {
        self.0.iter().filter(move |before| or_touched || before.state.is_some()).map(|before| before.id)
    }

    /// Puts everything back as it was.
    pub(super) fn undo<K: Key>(&mut self, keys: &mut KeyIds<K, Slot<S>>) {
        for Before { id, touched, state } in self.0.drain(..) {
            let (_, slot) = keys.entry_mut(id);
            slot.touched = touched;
            if let Some(state) = state {
                slot.state = state;
            }
        }
    }

    /// Forgets how it was.
    pub(super) fn clear(&mut self) {
        let used = self.0.len();
        self.0.clear();
        // After a burst the room goes back; a batch of the usual size finds it there.
        if self.0.capacity() / 4 > used {
            self.0.shrink_to(2 * used);
        }
    }
}
