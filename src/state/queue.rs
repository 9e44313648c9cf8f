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
    /// By the number of the key.
    touches: Vec<Touch>,
}

#[derive(Clone, Copy)]
struct Touch {
    /// The batch that has touched the key last.
    last: Time,
    /// Whether the number of the key stands at a place.
    is_queued: bool,
}

impl Queue {
    pub(super) fn new(timeout: Duration) -> Self {
        Queue { timeout, places: BTreeMap::new(), touches: Vec::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        let place = |ids: &Vec<u32>| size_of::<Time>() + size_of_val(ids) + ids.capacity() * size_of::<u32>();
        self.places.values().map(place).sum::<usize>() + self.touches.capacity() * size_of::<Touch>()
    }

    /// Whoever was touched before this is due in the batch at `time`: idle for longer than the timeout, as in Spark, and
    /// not just as long.
    fn horizon(&self, time: Time) -> Time {
        time - self.timeout
    }

    /// The batch that has touched a key last.
    pub(super) fn touched(&self, id: u32) -> Time {
        self.touches[id as usize].last
    }

    /// A key was touched.
    pub(super) fn touch(&mut self, id: u32, time: Time) {
        self.restore(id, time);
        self.queue(id);
    }

    /// Takes back when a key was touched. While chunks are read, a number may go from a key to one that was touched before
    /// it, and would stand at a place that comes too late: keys are queued when all are [known](Queue::restored).
    pub(super) fn restore(&mut self, id: u32, time: Time) {
        if id as usize >= self.touches.len() {
            self.touches.resize(id as usize + 1, Touch { last: Time::ZERO, is_queued: false });
        }
        self.touches[id as usize].last = time;
    }

    /// Queues all keys by the touches that were taken back.
    pub(super) fn restored<K: Key, S>(&mut self, keys: &KeyIds<K, Slot<S>>) {
        keys.iter().for_each(|(id, _, _)| self.queue(id));
    }

    fn queue(&mut self, id: u32) {
        let touch = &mut self.touches[id as usize];
        if !touch.is_queued {
            touch.is_queued = true;
            self.places.entry(touch.last).or_default().push(id);
        }
    }

    /// The numbers that time out in the batch at `time`, if they have keys that the batch leaves alone.
    pub(super) fn due(&self, time: Time) -> impl Iterator<Item = u32> {
        let horizon = self.horizon(time);
        let places = self.places.range(..horizon).flat_map(|(_, ids)| ids).copied();
        places.filter(move |id| self.touched(*id) < horizon)
    }

    /// Ends the batch at `time`.
    pub(super) fn advance<K: Key, S>(&mut self, time: Time, keys: &KeyIds<K, Slot<S>>) {
        let later = self.places.split_off(&self.horizon(time));
        for id in std::mem::replace(&mut self.places, later).into_values().flatten() {
            self.touches[id as usize].is_queued = false;
            if keys.get(id).is_some() {
                self.queue(id);
            }
        }
    }

    /// Takes over the new number of each old one.
    pub(super) fn renumber(&mut self, moved: &[Option<u32>]) {
        self.places.retain(|_, ids| {
            *ids = ids.iter().filter_map(|id| moved[*id as usize]).collect();
            !ids.is_empty()
        });
        let kept = self.touches.iter().zip(moved).filter(|(_, moved)| moved.is_some());
        self.touches = kept.map(|(touch, _)| *touch).collect();
    }
}
