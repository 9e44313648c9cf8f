use std::collections::BTreeMap;
use std::time::Duration;

use super::KeyIds;
use super::journal::Slot;
use crate::data::Key;
use crate::time::Time;

/// The keys of a table that can time out, by when they were touched. It costs what expires and not what there is: a key
/// that is touched again stays where it stands, once, and goes to its new place when its old one is due.
pub(super) struct Queue {
    timeout: Duration,
    /// Numbers of keys by a time at or before that of their last touch. A number that has lost its key stays until its
    /// time has come, and may have another key then.
    places: BTreeMap<Time, Vec<u32>>,
}

impl Queue {
    pub(super) fn new(timeout: Duration) -> Self {
        Queue { timeout, places: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.values().map(|ids| size_of::<Time>() + size_of_val(ids) + ids.capacity() * size_of::<u32>()).sum()
    }

    /// Whoever was touched before this is due in the batch at `time`: idle for longer than the timeout, as in Spark, and
    /// not just as long.
    fn horizon(&self, time: Time) -> Time {
        time - self.timeout
    }

    pub(super) fn add<S>(&mut self, id: u32, slot: &mut Slot<S>) {
        if !slot.queued {
            slot.queued = true;
            self.places.entry(slot.touched).or_default().push(id);
        }
    }

    /// The numbers of the keys that time out in the batch at `time`.
    pub(super) fn due<K: Key, S>(&self, time: Time, keys: &KeyIds<K, Slot<S>>) -> Vec<u32> {
        let horizon = self.horizon(time);
        let is_due = |id: &u32| {
            let slot = keys.value(*id);
            slot.state.is_some() && slot.touched < horizon
        };
        self.places.range(..horizon).flat_map(|(_, ids)| ids).copied().filter(is_due).collect()
    }

    /// Ends the batch at `time`, which has touched `changed`.
    pub(super) fn advance<K: Key, S>(
        &mut self,
        time: Time,
        changed: impl Iterator<Item = u32>,
        keys: &mut KeyIds<K, Slot<S>>,
    ) {
        for id in changed {
            let (_, slot) = keys.entry_mut(id);
            if slot.state.is_some() {
                self.add(id, slot);
            }
        }
        let later = self.places.split_off(&self.horizon(time));
        for id in std::mem::replace(&mut self.places, later).into_values().flatten() {
            let (_, slot) = keys.entry_mut(id);
            slot.queued = false;
            if slot.state.is_some() {
                self.add(id, slot);
            }
        }
    }

    /// Takes over the new number of each old one.
    pub(super) fn renumber(&mut self, moved: &[Option<u32>]) {
        self.places.retain(|_, ids| {
            *ids = ids.iter().filter_map(|id| moved[*id as usize]).collect();
            !ids.is_empty()
        });
    }
}
