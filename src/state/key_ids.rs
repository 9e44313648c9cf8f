use crate::data::{Key, hash_key};

/// Gives keys small dense numbers, so that what belongs to a key lies in arrays: in its own, a `T` for each number, or in
/// those of the user. A number is given again once its key was removed; when most numbers are free,
/// [`shrink`](KeyIds::shrink) numbers the keys anew.
pub(crate) struct KeyIds<K, T = ()> {
    /// Which numbers there are, by the hashes of their keys: open addressing with linear probing, a power of two of
    /// slots that are half full at most.
    slots: Vec<Slot>,
    /// `None` while a number is free.
    entries: Vec<Option<(K, T)>>,
    free: Vec<u32>,
}

/// A number plus one, in as many low bits as it takes to count the slots, below what the hash of its key has in the
/// others; or [`EMPTY`]. Four bytes, because the slots are read all over the place: the fewer bytes they are, the more of
/// them are in the caches.
type Slot = u32;

const EMPTY: Slot = 0;
const FEWEST_SLOTS: usize = 8;

/// So many keys are looked up together, for the processor to wait for their memory once and not one after the other.
pub(crate) const TOGETHER: usize = 32;

/// What is used of the hash of a key: its low bits say which slot the key wants, and the others are in the slot.
fn half_hash<K: Key>(key: &K) -> u32 {
    hash_key(key) as u32
}

impl<K: Key, T: Default> KeyIds<K, T> {
    pub(crate) fn new() -> Self {
        KeyIds { slots: vec![EMPTY; FEWEST_SLOTS], entries: Vec::new(), free: Vec::new() }
    }

    /// The number of a key, which is cloned if it has none yet.
    #[inline]
    pub(crate) fn intern(&mut self, key: &K) -> u32 {
        self.make_room(1);
        self.find_or_add(half_hash(key), key)
    }

    /// The numbers of the keys of the first of these pairs, [`TOGETHER`] at most; faster than one by one.
    pub(crate) fn intern_some<V>(&mut self, pairs: &[(K, V)]) -> [u32; TOGETHER] {
        let pairs = &pairs[..pairs.len().min(TOGETHER)];
        self.make_room(pairs.len());
        // Loops that do little: the processor is at many keys at a time, and waits for their memory once; first for that of
        // their slots, then for that of their entries.
        let (mut halves, mut slots) = ([0; TOGETHER], [EMPTY; TOGETHER]);
        for ((half, slot), (key, _)) in halves.iter_mut().zip(&mut slots).zip(pairs) {
            *half = half_hash(key);
            *slot = self.slots[self.home(*half)];
        }
        for (half, slot) in halves.iter().zip(&mut slots).take(pairs.len()) {
            let mut place = self.home(*half);
            while *slot != EMPTY && !self.may_be(*slot, *half) {
                place = self.after(place);
                *slot = self.slots[place];
            }
        }
        let (mut ids, mut is_known) = ([0; TOGETHER], [false; TOGETHER]);
        for (((id, is_known), slot), (key, _)) in ids.iter_mut().zip(&mut is_known).zip(slots).zip(pairs) {
            if slot != EMPTY {
                (*id, *is_known) = (self.id_of(slot), self.is_of(slot, key));
            }
        }
        for (((id, is_known), half), (key, _)) in ids.iter_mut().zip(is_known).zip(halves).zip(pairs) {
            if !is_known {
                *id = self.find_or_add(half, key);
            }
        }
        ids
    }

    #[inline]
    fn find_or_add(&mut self, half: u32, key: &K) -> u32 {
        let mut place = self.home(half);
        loop {
            let slot = self.slots[place];
            if slot == EMPTY {
                return self.add(place, half, key.clone());
            }
            if self.may_be(slot, half) && self.is_of(slot, key) {
                return self.id_of(slot);
            }
            place = self.after(place);
        }
    }

    #[cold]
    fn add(&mut self, place: usize, half: u32, key: K) -> u32 {
        let entry = Some((key, T::default()));
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                let len = self.entries.len();
                // A large table grows by a quarter and not to twice its size: it may be much of what the process has.
                if len >= MANY && len == self.entries.capacity() {
                    self.entries.reserve_exact(len / 4);
                }
                self.entries.push(entry);
                len as u32
            }
        };
        self.slots[place] = self.slot(half, id);
        id
    }
}

impl<K: Key, T> KeyIds<K, T> {
    /// How many numbers there are, free ones included: the length that arrays by number need.
    pub(crate) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How many bytes the keys and what belongs to them take, without what they have on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.entries.capacity() * size_of::<Option<(K, T)>>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// The key of a number; `None` if it is free.
    #[inline]
    pub(crate) fn key(&self, id: usize) -> Option<&K> {
        self.entries[id].as_ref().map(|(key, _)| key)
    }

    /// The key of a number, and what belongs to it; `None` if it is free.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&(K, T)> {
        self.entries[id as usize].as_ref()
    }

    /// As [`get`](KeyIds::get), to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<(&K, &mut T)> {
        self.entries[id as usize].as_mut().map(|(key, value)| (&*key, value))
    }

    /// All keys in the order of their numbers, with these and what belongs to them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K, &T)> {
        (0..).zip(&self.entries).filter_map(|(id, entry)| entry.as_ref().map(|(key, value)| (id, key, value)))
    }

    /// Takes the number from its key, which comes back with what belonged to it.
    pub(crate) fn remove(&mut self, id: u32) -> Option<(K, T)> {
        let entry = self.entries[id as usize].take()?;
        let half = half_hash(&entry.0);
        let wanted = self.slot(half, id);
        let mut hole = self.home(half);
        while self.slots[hole] != wanted {
            hole = self.after(hole);
        }
        // What comes after moves up, unless it is between its home and the hole: no search ends too early.
        let mut next = self.after(hole);
        while self.slots[next] != EMPTY {
            let other = self.id_of(self.slots[next]) as usize;
            let Some(key) = self.key(other) else { unreachable!("a number in a slot has a key") };
            let home = self.home(half_hash(key));
            if self.distance(home, next) >= self.distance(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = EMPTY;
        self.free.push(id);
        Some(entry)
    }

    /// The bits that count the slots.
    #[inline]
    fn mask(&self) -> u32 {
        (self.slots.len() - 1) as u32
    }

    #[inline]
    fn slot(&self, half: u32, id: u32) -> Slot {
        half & !self.mask() | (id + 1)
    }

    #[inline]
    fn id_of(&self, slot: Slot) -> u32 {
        (slot & self.mask()) - 1
    }

    /// Whether a slot can be that of a key with this half of a hash.
    #[inline]
    fn may_be(&self, slot: Slot, half: u32) -> bool {
        (slot ^ half) & !self.mask() == 0
    }

    /// Where a key with this half of a hash wants to be.
    #[inline]
    fn home(&self, half: u32) -> usize {
        (half & self.mask()) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }

    #[inline]
    fn is_of(&self, slot: Slot, key: &K) -> bool {
        matches!(&self.entries[self.id_of(slot) as usize], Some((other, _)) if other == key)
    }

    /// Makes room for so many more keys.
    #[inline]
    fn make_room(&mut self, more: usize) {
        if 2 * (self.len() + more) > self.slots.len() {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        self.place_all((2 * (self.len() + more)).next_power_of_two());
    }

    /// Makes so many slots, and finds each number its place.
    fn place_all(&mut self, slots: usize) {
        assert!(slots < 1 << 32, "a partition holds less than 2^30 keys");
        // Two tables of slots at a time would be much memory for nothing.
        self.slots = Vec::new();
        self.slots = vec![EMPTY; slots];
        for id in 0..self.entries.len() {
            let Some(half) = self.key(id).map(half_hash) else { continue };
            let mut place = self.home(half);
            while self.slots[place] != EMPTY {
                place = self.after(place);
            }
            self.slots[place] = self.slot(half, id as u32);
        }
    }

    /// If more than three in four numbers are free, numbers the keys anew, without gaps and in the same order, and
    /// returns the new number of each old one. That many keys were removed before, so it costs each of them a little.
    pub(crate) fn shrink(&mut self) -> Option<Vec<Option<u32>>> {
        if self.entries.len() < FEW || self.len() > self.entries.len() / 4 {
            return None;
        }
        let mut next = 0..;
        let moved: Vec<_> = self.entries.iter().map(|entry| entry.as_ref().and_then(|_| next.next())).collect();
        self.entries.retain(Option::is_some);
        self.entries.shrink_to_fit();
        self.free = Vec::new();
        self.place_all((2 * self.len()).next_power_of_two().max(FEWEST_SLOTS));
        Some(moved)
    }
}

/// From this many numbers on a table is large. In tests that is soon.
const MANY: usize = if cfg!(test) { 1024 } else { 256 * 1024 };

/// Fewer numbers than this are not worth being numbered anew. In tests they are, so that it happens often.
const FEW: usize = if cfg!(test) { 4 } else { 1024 };

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_dense_and_given_again() {
        let mut ids = KeyIds::<_>::new();
        let number = |ids: &mut KeyIds<String>, key: &str| ids.intern(&key.to_string());
        assert_eq!([number(&mut ids, "a"), number(&mut ids, "b"), number(&mut ids, "a")], [0, 1, 0]);
        ids.remove(0);
        assert_eq!((ids.key(0), ids.key(1).map(String::as_str)), (None, Some("b")));
        assert_eq!([number(&mut ids, "c"), number(&mut ids, "a"), number(&mut ids, "b")], [0, 2, 1]);
        assert_eq!(ids.capacity(), 3);
    }

    #[test]
    fn numbers_are_closed_up_when_most_are_free() {
        let mut ids = KeyIds::<_>::new();
        (0..8000u64).for_each(|key| assert_eq!(u64::from(ids.intern(&key)), key));
        (0..5999).for_each(|id| assert_eq!(ids.remove(id), Some((u64::from(id), ()))));
        assert_eq!((ids.len(), ids.capacity(), ids.shrink()), (2001, 8000, None));
        ids.remove(6001);
        let moved = ids.shrink().unwrap();
        assert_eq!((ids.len(), ids.capacity()), (2000, 2000));
        assert_eq!(moved[5998..6003], [None, Some(0), Some(1), None, Some(2)]);
        assert!((0..8000).all(|old| moved[old].is_none_or(|new| ids.key(new as usize) == Some(&(old as u64)))));
        assert_eq!((ids.intern(&7999), ids.intern(&9000), ids.intern(&0)), (1999, 2000, 2001));
        (0..2000).for_each(|id| assert!(ids.remove(id).is_some()));
        ids.shrink().unwrap();
        assert_eq!((ids.capacity(), ids.key(0), ids.key(1)), (2, Some(&9000), Some(&0)));
        // Few are left as they are.
        ids.remove(0);
        assert_eq!((ids.len(), ids.shrink()), (1, None));
    }

    #[test]
    fn new_keys_whose_hash_looks_like_an_empty_slot_get_their_numbers() {
        let mut ids = KeyIds::<u64>::new();
        let pairs: Vec<_> = (0..300_000).map(|key| (key, ())).collect();
        // In 2^20 slots that is one in 2^12 of them.
        ids.make_room(pairs.len());
        assert!(pairs.iter().any(|(key, ())| ids.may_be(EMPTY, half_hash(key))));
        for _ in 0..2 {
            let found = pairs.chunks(TOGETHER).flat_map(|some| ids.intern_some(some).into_iter().take(some.len()));
            assert!(found.eq(0..300_000));
        }
    }

    #[test]
    fn many_keys_come_and_go() {
        let mut ids = KeyIds::<_>::new();
        for round in 0..10u64 {
            let numbers: Vec<u32> = (0..1000).map(|key| ids.intern(&(round * 1000 + key))).collect();
            assert!(
                numbers.iter().enumerate().all(|(key, &id)| ids.key(id as usize) == Some(&(round * 1000 + key as u64)))
            );
            numbers.into_iter().for_each(|id| assert!(ids.remove(id).is_some()));
        }
        assert_eq!(ids.capacity(), 1000);
    }

    proptest! {
        /// Many of the keys share a slot, in a small table and in one that has grown.
        #[test]
        fn every_key_is_found_however_they_come_and_go(
            rounds in prop::collection::vec((prop::collection::vec(0..200u64, 0..80), any::<bool>()), 1..30),
        ) {
            let mut ids = KeyIds::<u64>::new();
            let mut expected = BTreeMap::new();
            for (keys, come) in rounds {
                let pairs: Vec<_> = keys.into_iter().map(|key| (key, ())).collect();
                if come {
                    let of = |some: &[(u64, ())]| ids.intern_some(some).into_iter().take(some.len());
                    let found: Vec<u32> = pairs.chunks(TOGETHER).flat_map(of).collect();
                    for ((key, ()), id) in pairs.into_iter().zip(found) {
                        prop_assert_eq!(*expected.entry(key).or_insert(id), id);
                    }
                } else {
                    for (key, ()) in pairs {
                        let removed = expected.remove(&key).and_then(|id| ids.remove(id));
                        prop_assert!(removed.is_none_or(|(removed, ())| removed == key));
                    }
                    if let Some(moved) = ids.shrink() {
                        expected.values_mut().for_each(|id| *id = moved[*id as usize].unwrap());
                    }
                }
                prop_assert_eq!(ids.len(), expected.len());
                prop_assert!(expected.iter().all(|(key, id)| ids.intern(key) == *id));
            }
        }
    }
}
