use std::time::Duration;

use super::journal::{Journal, Slot};
use super::key_state::Phase;
use super::queue::Queue;
use super::saving::Saving;
use super::{KeyIds, KeyState};
use crate::data::{Exchange, Key};
use crate::time::Time;

/// The states of the keys of one partition, changed in place batch by batch.
///
/// What a batch changes stands in a journal until the batch is [committed](Table::commit) or
/// [taken back](Table::roll_back). Keys have numbers that stay for as long as they have a state; a key without one
/// loses its number at the end of the batch.
pub(crate) struct Table<K, S> {
    pub(super) keys: KeyIds<K, Slot<S>>,
    journal: Journal<S>,
    /// Numbers of keys that may be without a state when the batch ends: new ones, and those that lost it.
    doubtful: Vec<u32>,
    /// The keys that can time out, if any can.
    pub(super) queue: Option<Queue>,
    pub(super) saving: Saving<K>,
}

impl<K: Key, S> Table<K, S> {
    /// A table whose keys time out when they have been idle for longer than `timeout`.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Table {
            keys: KeyIds::new(),
            journal: Journal::new(),
            doubtful: Vec::new(),
            queue: timeout.map(Queue::new),
            saving: Saving::new(),
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many bytes the table takes, without what keys and states have on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.queue.as_ref().map_or(0, Queue::bytes)
    }

    /// The keys with their states, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.keys.iter_from(0).filter_map(|(_, key, slot)| Some((key, slot.state.as_ref()?)))
    }

    /// The number of a key; a new one is taken from it again if it has no state when the batch ends.
    #[inline]
    pub(crate) fn intern(&mut self, key: &K) -> u32 {
        let known = self.keys.len();
        let id = self.keys.intern(key);
        if self.keys.len() > known {
            self.doubtful.push(id);
        }
        id
    }

    /// Gives a key its first state, from before the first batch: it was touched at `time`. Nothing happens to a key
    /// that has one.
    pub(crate) fn begin_with(&mut self, key: &K, state: S, time: Time) {
        let id = self.keys.intern(key);
        let (_, slot) = self.keys.entry_mut(id);
        if slot.state.is_none() {
            (slot.state, slot.touched) = (Some(state), time);
            self.saving.changed(id);
            if let Some(queue) = &mut self.queue {
                queue.add(id, slot);
            }
        }
    }

    /// Lets `f` look at a key and change its state.
    #[inline]
    pub(crate) fn call<R>(&mut self, id: u32, time: Time, f: impl FnOnce(&K, &mut KeyState<'_, S>) -> R) -> R {
        let (Some(key), slot) = self.keys.entry_mut(id) else { unreachable!("a number in use has a key") };
        let mut state = KeyState::new(id, time, slot, &mut self.journal, false);
        let result = f(key, &mut state);
        match state.phase() {
            Phase::Removed => self.doubtful.push(id),
            // A timeout is for keys that nobody asks for: reading is enough to stay (SPARK-11681).
            Phase::Unchanged if self.queue.is_some() && state.exists() => self.journal.touch(id, slot, time),
            _ => {}
        }
        result
    }

    /// Lets `f` look at a key for the last time, and takes its state.
    pub(crate) fn time_out<R>(&mut self, id: u32, time: Time, f: impl FnOnce(&K, &mut KeyState<'_, S>) -> R) -> R {
        let (Some(key), slot) = self.keys.entry_mut(id) else { unreachable!("a number in use has a key") };
        let result = f(key, &mut KeyState::new(id, time, slot, &mut self.journal, true));
        self.journal.put(id, slot, None, time);
        self.doubtful.push(id);
        result
    }

    /// The numbers of the keys that time out in the batch at `time`, those that waited longest first.
    pub(crate) fn due(&self, time: Time) -> Vec<u32> {
        self.queue.as_ref().map_or_else(Vec::new, |queue| queue.due(time, &self.keys))
    }

    /// The numbers of the keys that this batch has not been at.
    pub(crate) fn untouched(&self) -> Vec<u32> {
        let untouched = self.keys.iter_from(0).filter(|(id, _, slot)| !self.journal.has(*id, slot));
        untouched.map(|(id, _, _)| id).collect()
    }

    /// Whether this batch has been at the key of a number.
    pub(crate) fn is_done(&self, id: u32) -> bool {
        self.journal.has(id, self.keys.value(id))
    }

    /// The key of a number in use and its state.
    pub(crate) fn get(&self, id: u32) -> Option<(&K, Option<&S>)> {
        Some((self.keys.key(id as usize)?, self.keys.value(id).state.as_ref()))
    }

    /// Puts everything back as it was before the batch.
    pub(crate) fn roll_back(&mut self) {
        self.journal.undo(&mut self.keys);
        for id in self.doubtful.drain(..) {
            if self.keys.value(id).state.is_none() {
                self.keys.remove(id);
            }
        }
    }
}

impl<K: Key, S: Exchange> Table<K, S> {
    /// Replaces the state of a key by what `f` makes of a copy: the state itself may have to come back. One that comes out
    /// the same is not saved again.
    pub(crate) fn replace(&mut self, id: u32, time: Time, f: impl FnOnce(&K, Option<S>) -> Option<S>) {
        let (Some(key), slot) = self.keys.entry_mut(id) else { unreachable!("a number in use has a key") };
        let state = f(key, slot.state.clone());
        if state.is_none() {
            self.doubtful.push(id);
        }
        if self.saving.is_same(&slot.state, &state) {
            self.journal.touch(id, slot, time);
        } else {
            self.journal.put(id, slot, state, time);
        }
    }

    /// Ends the batch at `time`: what it has changed stays.
    pub(crate) fn commit(&mut self, time: Time) {
        if self.saving.is_on() {
            for id in self.journal.changed(self.queue.is_some()) {
                self.saving.changed(id);
            }
        }
        for id in self.doubtful.drain(..) {
            let slot = self.keys.value(id);
            if slot.state.is_some() {
                continue;
            }
            let existed = self.journal.before(id, slot).is_some();
            if let (Some(key), true) = (self.keys.remove(id), existed) {
                self.saving.gone(key);
            }
        }
        if let Some(queue) = &mut self.queue {
            queue.advance(time, self.journal.ids(), &mut self.keys);
        }
        self.journal.clear();
        self.shrink();
    }

    /// Gives memory back after most keys have gone.
    fn shrink(&mut self) {
        let Some(moved) = self.keys.shrink() else { return };
        if let Some(queue) = &mut self.queue {
            queue.renumber(&moved);
        }
        self.saving.renumber(&moved);
    }
}

#[cfg(test)]
mod tests;
