use std::time::Duration;

use super::journal::{Journal, Slot};
use super::key_state::Phase;
use super::queue::Queue;
use super::saving::Saving;
use super::{KeyIds, KeyState, TOGETHER};
use crate::data::{Exchange, Key};
use crate::time::Time;

/// The states of the keys of one partition, changed in place batch by batch.
///
/// What a batch changes stands in a journal until the batch is [committed](Table::commit) or
/// [taken back](Table::roll_back). Keys have numbers that stay for as long as they have a state; a key without one
/// loses its number at the end of the batch.
pub(crate) struct Table<K, S> {
    pub(super) keys: KeyIds<K, Slot<S>>,
    pub(super) journal: Journal<S>,
    /// Numbers of keys that may be without a state when the batch ends: the last that was done with them has left none.
    doubtful: Vec<u32>,
    /// The keys that can time out, if any can.
    pub(super) queue: Option<Queue>,
    pub(super) saving: Saving<K, S>,
}

impl<K: Key, S: Exchange> Table<K, S> {
    /// A table whose keys time out when they have been idle for longer than `timeout`.
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Table {
            keys: KeyIds::new(),
            journal: Journal::new(),
            doubtful: Vec::new(),
            queue: timeout.map(Queue::new),
            saving: Saving::new(timeout.is_some()),
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
        self.keys.iter().filter_map(|(_, key, slot)| Some((key, slot.state()?)))
    }

    /// The number of a key. Whoever gives a key its number also [calls](Table::call) a function with it, or
    /// [replaces](Table::replace) its state, in the same batch.
    pub(crate) fn intern(&mut self, key: &K) -> u32 {
        self.keys.intern(key)
    }

    /// As [`intern`](Table::intern) for the keys of the first of these pairs, [`TOGETHER`] at most.
    pub(crate) fn intern_some<V>(&mut self, pairs: &[(K, V)]) -> [u32; TOGETHER] {
        self.keys.intern_some(pairs)
    }

    /// Gives a key its first state, from before the first batch: it was touched at `time`. Nothing happens to a key
    /// that has one.
    pub(crate) fn begin_with(&mut self, key: &K, state: S, time: Time) {
        let id = self.keys.intern(key);
        let Some((_, slot @ Slot::Empty { .. })) = self.keys.get_mut(id) else { return };
        slot.replace(Some(state));
        self.saving.changed(id);
        if let Some(queue) = &mut self.queue {
            queue.touch(id, time);
        }
    }

    /// Lets `f` look at a key and change its state.
    #[inline]
    pub(crate) fn call<R>(&mut self, id: u32, f: impl FnOnce(&K, &mut KeyState<'_, S>) -> R) -> R {
        let Some((key, slot)) = self.keys.get_mut(id) else { unreachable!("a number in use has a key") };
        let mut state = KeyState::new(id, slot, &mut self.journal, false);
        let result = f(key, &mut state);
        let phase = state.phase();
        if slot.state().is_none() {
            self.doubtful.push(id);
        } else if phase == Phase::Unchanged && self.queue.is_some() {
            // A timeout is for keys that nobody asks for: reading is enough to stay (SPARK-11681).
            self.journal.touch(id, slot);
        }
        result
    }

    /// Lets `f` look at a key for the last time, and takes its state.
    pub(crate) fn time_out<R>(&mut self, id: u32, f: impl FnOnce(&K, &mut KeyState<'_, S>) -> R) -> R {
        let Some((key, slot)) = self.keys.get_mut(id) else { unreachable!("a number in use has a key") };
        let result = f(key, &mut KeyState::new(id, slot, &mut self.journal, true));
        self.journal.put(id, slot, None);
        self.doubtful.push(id);
        result
    }

    /// The numbers of the keys that time out in the batch at `time`, those that waited longest first. A key that the
    /// batch has been at does not.
    pub(crate) fn due(&self, time: Time) -> Vec<u32> {
        let has_idled = |id: u32, slot: &Slot<S>| slot.state().is_some() && !self.journal.has(id, slot);
        let due = self.queue.iter().flat_map(|queue| queue.due(time));
        due.filter(|&id| self.keys.get(id).is_some_and(|(_, slot)| has_idled(id, slot))).collect()
    }

    /// The numbers of the keys that this batch has not been at.
    pub(crate) fn untouched(&self) -> Vec<u32> {
        let untouched = self.keys.iter().filter(|(id, _, slot)| !self.journal.has(*id, slot));
        untouched.map(|(id, _, _)| id).collect()
    }

    /// Whether this batch has been at the key of a number.
    pub(crate) fn is_done(&self, id: u32) -> bool {
        self.keys.get(id).is_some_and(|(_, slot)| self.journal.has(id, slot))
    }

    /// The key of a number in use and its state.
    pub(crate) fn get(&self, id: u32) -> Option<(&K, Option<&S>)> {
        self.keys.get(id).map(|(key, slot)| (key, slot.state()))
    }

    /// Puts everything back as it was before the batch. This costs a look at every key.
    pub(crate) fn roll_back(&mut self) {
        self.journal.undo(&mut self.keys);
        self.saving.roll_back();
        self.doubtful.clear();
        let new: Vec<u32> =
            self.keys.iter().filter(|(_, _, slot)| slot.state().is_none()).map(|(id, _, _)| id).collect();
        for id in new {
            self.keys.remove(id);
        }
    }

    /// Replaces the state of a key by what `f` makes of a copy: the state itself may have to come back. One whose bytes come
    /// out the same is not saved again.
    pub(crate) fn replace(&mut self, id: u32, f: impl FnOnce(&K, Option<S>) -> Option<S>) {
        let Some((key, slot)) = self.keys.get_mut(id) else { unreachable!("a number in use has a key") };
        let state = f(key, slot.state().cloned());
        if state.is_none() {
            self.doubtful.push(id);
        }
        if self.saving.is_same(slot.state(), state.as_ref()) {
            self.journal.put_same(id, slot, state);
        } else {
            self.journal.put(id, slot, state);
        }
    }

    /// Ends the batch at `time`: what it has changed stays.
    pub(crate) fn commit(&mut self, time: Time) {
        for id in self.doubtful.drain(..) {
            let Some((_, slot @ Slot::Empty { .. })) = self.keys.get(id) else { continue };
            let is_known = self.journal.before(id, slot).is_some() || self.journal.is_written(id, slot);
            if let (Some((key, _)), true) = (self.keys.remove(id), is_known) {
                self.saving.gone(&key);
            }
        }
        if self.saving.is_on() {
            let rest = self.journal.changed_again().chain(self.journal.unwritten(self.queue.is_some()));
            rest.for_each(|id| self.saving.changed(id));
            self.saving.committed();
        }
        if let Some(queue) = &mut self.queue {
            self.journal.ids().filter(|id| self.keys.get(*id).is_some()).for_each(|id| queue.touch(id, time));
            queue.advance(time, &self.keys);
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
