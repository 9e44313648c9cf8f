use std::collections::VecDeque;

use crate::data::{Data, Exchange, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::state::chunk::Said;
use crate::state::{ChunkWriter, KeyIds};
use crate::time::Time;

/// How the value of a key over a window follows from its values in the panes. `inverse` takes the value of a pane back
/// out of the value of a window.
pub(super) struct Reducer<F, I> {
    pub(super) reduce: F,
    pub(super) inverse: Option<I>,
}

/// The reducer of a function that cannot be undone.
pub(super) fn plain<V, F: Fn(V, V) -> V>(reduce: F) -> Reducer<F, fn(V, V) -> V> {
    Reducer { reduce, inverse: None }
}

/// The values of one partition of a sliding window: panes, each reduced by key, and what they add up to.
///
/// A slide costs the panes that come and go, not the window. With an inverse function a key has one total: panes are
/// added and taken off. Without one there are two stacks. The back stack is the total of the panes that came since the
/// last flip. The front stack holds the older panes, and its total is built from the newest of them to the oldest; on
/// the way each entry of a pane is replaced by what the key's total was before, so that taking the oldest pane off puts
/// those values back. When the front is empty, the panes of the back become the front.
pub(super) struct Panes<K, V> {
    keys: KeyIds<K>,
    /// By key number: what the keys' panes add up to.
    totals: Vec<Total<V>>,
    /// Oldest first. The first `front` of them are the front stack.
    panes: VecDeque<Pane<V>>,
    front: usize,
    /// Keys whose last pane was taken off, and of which it has not been decided whether they stay.
    orphans: Vec<u32>,
    /// What has changed since a checkpoint has asked; `None` if there is none.
    changes: Option<Changes<K, V>>,
}

/// What has changed with an inverse function: the keys whose totals have, and those that were forgotten. One may be
/// among both.
struct Changes<K, V> {
    totals: Vec<u32>,
    forgotten: Vec<K>,
    /// Where a snapshot that is under way goes on.
    next: usize,
    /// What is being saved.
    chunk: ChunkWriter<K, V>,
}

struct Total<V> {
    /// The total of the front stack; with an inverse function, of all panes.
    front: Option<V>,
    back: Option<V>,
    /// In how many panes the key is.
    panes: u32,
    /// Whether the key is among the changes.
    has_changed: bool,
}

impl<V> Total<V> {
    const NONE: Total<V> = Total { front: None, back: None, panes: 0, has_changed: false };
}

struct Pane<V> {
    time: Time,
    /// In the back stack, and with an inverse function, the pane's value of each of its keys; in the front stack, the
    /// key's front total without this pane and all older ones.
    entries: Vec<(u32, Option<V>)>,
}

/// Without an inverse function a value is taken out of its slot for the call of a closure and put back after it; only a
/// panic of the closure leaves a slot empty, and the panes are thrown away then. With one they cannot be: keys that are
/// in no pane any more exist only here. So each entry is done with in one step after its closure has returned.
const PRESENT: &str = "the value is present between calls";

impl<K: Key, V: Data> Panes<K, V> {
    pub(super) fn new() -> Self {
        Panes {
            keys: KeyIds::new(),
            totals: Vec::new(),
            panes: VecDeque::new(),
            front: 0,
            orphans: Vec::new(),
            changes: None,
        }
    }

    /// Adds the newest pane: every key once. With an inverse function, a call that a panic broke off is taken up again
    /// by the next one with the same pane.
    pub(super) fn push<F: Fn(V, V) -> V, I>(&mut self, time: Time, records: &[(K, V)], reducer: &Reducer<F, I>) {
        let inverse = reducer.inverse.is_some();
        let place = self.panes.iter().rposition(|pane| pane.time == time).unwrap_or_else(|| {
            self.panes.push_back(Pane { time, entries: Vec::with_capacity(records.len()) });
            self.panes.len() - 1
        });
        let pane = &mut self.panes[place];
        for (key, value) in &records[pane.entries.len()..] {
            let id = self.keys.intern(key);
            if id as usize >= self.totals.len() {
                self.totals.push(Total::NONE);
            }
            let total = &mut self.totals[id as usize];
            note_change(&mut self.changes, total, id);
            let slot = if inverse { &mut total.front } else { &mut total.back };
            *slot = Some(match if inverse { slot.clone() } else { slot.take() } {
                Some(sum) => (reducer.reduce)(sum, value.clone()),
                None => value.clone(),
            });
            total.panes += 1;
            pane.entries.push((id, Some(value.clone())));
        }
    }

    /// Takes off the panes up to `horizon`. A call that a panic broke off is taken up again as that of
    /// [`push`](Panes::push) is.
    pub(super) fn pop_until<F: Fn(V, V) -> V, I: Fn(V, V) -> V>(&mut self, horizon: Time, reducer: &Reducer<F, I>) {
        while self.panes.front().is_some_and(|pane| pane.time <= horizon) {
            if reducer.inverse.is_none() && self.front == 0 {
                self.flip(&reducer.reduce);
            }
            let Some(pane) = self.panes.front_mut() else { return };
            while let Some((id, value)) = pane.entries.last_mut() {
                let id = *id;
                let total = &mut self.totals[id as usize];
                note_change(&mut self.changes, total, id);
                total.front = match (&reducer.inverse, &mut *value) {
                    (Some(inverse), Some(value)) => Some(inverse(total.front.clone().expect(PRESENT), value.clone())),
                    (_, before) => before.take(),
                };
                pane.entries.pop();
                total.panes -= 1;
                if total.panes == 0 {
                    self.orphans.push(id);
                }
            }
            self.panes.pop_front();
            self.front = self.front.saturating_sub(1);
        }
    }

    /// Forgets the keys that are in no pane any more: without an inverse function all of them, with one those that are
    /// not to be kept with what the function has left of them. A call that a panic broke off is taken up again.
    pub(super) fn settle(&mut self, keep: impl Fn(&K, &V) -> bool) {
        while let Some(&id) = self.orphans.last() {
            let total = &mut self.totals[id as usize];
            let stays = match (self.keys.key(id as usize), &total.front) {
                (Some(key), Some(value)) => total.panes > 0 || keep(key, value),
                _ => total.panes > 0,
            };
            if !stays {
                *total = Total::NONE;
                if let (Some(changes), Some(key)) = (&mut self.changes, self.keys.key(id as usize)) {
                    changes.forgotten.push(key.clone());
                }
                self.keys.remove(id);
            }
            self.orphans.pop();
        }
        self.orphans.shrink_to_fit();
        self.shrink();
    }

    /// Gives memory back after most keys have gone.
    fn shrink(&mut self) {
        let Some(moved) = self.keys.shrink() else { return };
        let mut totals = Vec::with_capacity(self.keys.capacity());
        totals.extend(self.totals.drain(..).zip(&moved).filter(|(_, to)| to.is_some()).map(|(total, _)| total));
        self.totals = totals;
        for (id, _) in self.panes.iter_mut().flat_map(|pane| &mut pane.entries) {
            *id = moved[*id as usize].expect("a key of a pane has a number");
        }
        if let Some(changes) = &mut self.changes {
            changes.totals = changes.totals.iter().filter_map(|id| moved[*id as usize]).collect();
            // The order stays: what was before the place still is.
            changes.next = moved.iter().take(changes.next).flatten().count();
        }
    }

    /// Turns the panes of the back stack into the front stack.
    fn flip(&mut self, reduce: &impl Fn(V, V) -> V) {
        for pane in self.panes.iter_mut().rev() {
            for (id, value) in &mut pane.entries {
                let total = &mut self.totals[*id as usize];
                total.back = None;
                let newer = total.front.take();
                let own = value.take().expect(PRESENT);
                total.front = Some(match &newer {
                    Some(newer) => reduce(own, newer.clone()),
                    None => own,
                });
                *value = newer;
            }
        }
        self.front = self.panes.len();
    }

    /// How many keys the window has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The value of every key over the window, in the order of the keys' numbers.
    pub(super) fn totals<'p>(&'p self, reduce: &'p impl Fn(V, V) -> V) -> impl Iterator<Item = (&'p K, V)> + 'p {
        self.totals.iter().enumerate().filter_map(move |(id, total)| {
            let value = match (&total.front, &total.back) {
                (Some(front), Some(back)) => reduce(front.clone(), back.clone()),
                (Some(value), None) | (None, Some(value)) => value.clone(),
                (None, None) => return None,
            };
            Some((self.keys.key(id)?, value))
        })
    }
}

/// Notes that the total of a key is about to change.
#[inline]
fn note_change<K, V>(changes: &mut Option<Changes<K, V>>, total: &mut Total<V>, id: u32) {
    if let Some(changes) = changes {
        if !total.has_changed {
            total.has_changed = true;
            changes.totals.push(id);
        }
    }
}

/// With an inverse function, what a checkpoint has of the panes: the totals.
impl<K: Key, V: Exchange> Panes<K, V> {
    /// From here on what changes is noted.
    pub(super) fn record(&mut self) {
        self.changes =
            Some(Changes { totals: Vec::new(), forgotten: Vec::new(), next: 0, chunk: ChunkWriter::new(false) });
    }

    /// Of how many keys something has changed.
    pub(super) fn changed(&self) -> usize {
        self.changes.as_ref().map_or(0, |changes| changes.totals.len() + changes.forgotten.len())
    }

    /// Saves what has changed, and the totals of the next `share` keys of a snapshot if one is under way; returns whether
    /// it is complete then.
    pub(super) fn save(&mut self, share: Option<usize>) -> Result<(bool, Vec<u8>)> {
        let Panes { keys, totals, changes: Some(changes), .. } = self else { return Ok((false, Vec::new())) };
        let chunk = &mut changes.chunk;
        changes.forgotten.iter().try_for_each(|key| chunk.remove(key))?;
        let mut write = |id: usize| match (keys.key(id), &totals[id].front) {
            (Some(key), Some(total)) => chunk.put(key, 0, total),
            _ => Ok(()),
        };
        changes.totals.iter().try_for_each(|&id| write(id as usize))?;
        let end = share.map_or(0, |share| changes.next.saturating_add(share).min(totals.len()));
        (changes.next..end).try_for_each(write)?;
        let is_complete = share.is_some() && end == totals.len();
        if share.is_some() {
            changes.next = if is_complete { 0 } else { end };
        }
        for id in changes.totals.drain(..) {
            totals[id as usize].has_changed = false;
        }
        changes.forgotten.clear();
        // A burst of keys leaves no room behind.
        changes.totals.shrink_to(totals.len() / 4);
        changes.forgotten.shrink_to(totals.len() / 4);
        Ok((is_complete, changes.chunk.take()))
    }

    /// Takes back totals that were saved, and that keys have gone.
    pub(super) fn restore(&mut self, all: Vec<Said<K, V>>) {
        for Said { key, kept } in all {
            let id = self.keys.intern(&key);
            if id as usize >= self.totals.len() {
                self.totals.push(Total::NONE);
            }
            match kept {
                Some((_, value)) => self.totals[id as usize].front = Some(value),
                None => {
                    self.totals[id as usize] = Total::NONE;
                    self.keys.remove(id);
                }
            }
        }
    }

    /// Adds a pane that is in the totals already: all of them were taken back, and their panes come after, oldest first.
    pub(super) fn link(&mut self, time: Time, records: &[(K, V)]) -> Result<()> {
        let mut entries = Vec::with_capacity(records.len());
        for (key, value) in records {
            let id = self.keys.intern(key);
            let total = self.totals.get_mut(id as usize).filter(|total| total.front.is_some());
            let Some(total) = total else {
                let message = format!("the pane at {time} has a key that the totals of the checkpoint have not");
                return Err(Error::new(ErrorKind::Codec, message));
            };
            total.panes += 1;
            entries.push((id, Some(value.clone())));
        }
        self.panes.push_back(Pane { time, entries });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Summing = Reducer<fn(i64, i64) -> i64, fn(i64, i64) -> i64>;

    fn concatenate(mut a: Vec<u8>, b: Vec<u8>) -> Vec<u8> {
        a.extend(b);
        a
    }

    /// Now and then there are many keys, so that most of their numbers are free later.
    fn panes<V: std::fmt::Debug>(
        value: impl Strategy<Value = V> + Clone,
    ) -> impl Strategy<Value = Vec<BTreeMap<u8, V>>> {
        let few = prop::collection::btree_map(0u8..6, value.clone(), 0..6);
        let many = prop::collection::btree_map(0u8..60, value, 20..40);
        prop::collection::vec(prop_oneof![4 => few, 1 => many], 1..40)
    }

    proptest! {
        /// Concatenation tells whether panes are merged in order, and each exactly once.
        #[test]
        fn two_stacks_equal_recomputation(panes in panes(any::<u8>()), window in 1usize..8, slide in 1usize..5) {
            let reducer = plain(concatenate);
            let mut state = Panes::<u8, Vec<u8>>::new();
            let at = |pane: usize| Time::from_millis(pane as i64 + 1);
            for (now, pane) in panes.iter().enumerate() {
                let records: Vec<_> = pane.iter().map(|(key, value)| (*key, vec![*value])).collect();
                state.push(at(now), &records, &reducer);
                if now % slide != 0 {
                    continue;
                }
                let first = (now + 1).saturating_sub(window);
                state.pop_until(Time::from_millis(first as i64), &reducer);
                state.settle(|_, _| unreachable!("keys without panes have no value"));
                let mut expected = BTreeMap::<u8, Vec<u8>>::new();
                for (key, value) in panes[first..=now].iter().flatten() {
                    expected.entry(*key).or_default().push(*value);
                }
                let totals: BTreeMap<_, _> = state.totals(&reducer.reduce).map(|(k, v)| (*k, v)).collect();
                prop_assert_eq!(state.len(), expected.len());
                prop_assert_eq!(totals, expected);
            }
        }

        /// Of the keys that have left the window those stay which `kept` divides.
        #[test]
        fn the_inverse_equals_recomputation(panes in panes(any::<i32>()), window in 1usize..8, kept in 1u8..60) {
            let reducer = Summing { reduce: |a, b| a + b, inverse: Some(|a, b| a - b) };
            let mut state = Panes::<u8, i64>::new();
            let mut seen = BTreeMap::<u8, i64>::new();
            for (now, pane) in panes.iter().enumerate() {
                let records: Vec<_> = pane.iter().map(|(key, value)| (*key, i64::from(*value))).collect();
                let first = (now + 1).saturating_sub(window);
                state.pop_until(Time::from_millis(first as i64), &reducer);
                state.push(Time::from_millis(now as i64 + 1), &records, &reducer);
                state.settle(|key, value| {
                    assert_eq!(*value, 0);
                    key % kept == 0
                });
                seen.retain(|key, _| key % kept == 0);
                seen.values_mut().for_each(|sum| *sum = 0);
                for (key, value) in panes[first..=now].iter().flatten() {
                    *seen.entry(*key).or_default() += i64::from(*value);
                }
                let totals: BTreeMap<_, _> = state.totals(&reducer.reduce).map(|(k, v)| (*k, v)).collect();
                prop_assert_eq!(state.len(), seen.len());
                prop_assert_eq!(&totals, &seen);
            }
        }
    }

    /// After a burst of keys the memory follows those that are left, in either form.
    #[test]
    fn a_burst_of_keys_leaves_no_room_behind() {
        fn check<I: Fn(i64, i64) -> i64>(reducer: &Reducer<fn(i64, i64) -> i64, I>) {
            let mut state = Panes::<u64, i64>::new();
            for now in 1..=6 {
                let keys = if now == 3 { 0..10_000 } else { 9_990..10_000 };
                state.pop_until(Time::from_millis(now - 2), reducer);
                state.push(Time::from_millis(now), &keys.map(|key| (key, now)).collect::<Vec<_>>(), reducer);
                state.settle(|_, _| false);
                let expected = if now == 3 || now == 4 { 10_000 } else { 10 };
                assert_eq!(state.len(), expected, "at {now}");
                let room = state.totals.capacity().max(state.keys.capacity()).max(state.orphans.capacity());
                assert!(room <= 2 * expected, "room for {room} at {now}");
                let sums = state.totals(&reducer.reduce).filter(|(_, sum)| *sum == now + (now - 1)).count();
                assert!(now == 1 || sums == 10, "{sums} sums are right at {now}");
            }
        }
        check(&plain(|a, b| a + b));
        check(&Reducer { reduce: |a, b| a + b, inverse: Some(|a, b| a - b) });
    }
}
