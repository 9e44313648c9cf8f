use std::collections::BTreeMap;

use super::Chunk;
use crate::time::Time;

/// Which chunks a partition needs, and how far the snapshot is that makes the older ones needless.
///
/// A snapshot is written along with what the batches change, a share with each. When it has been round, the chunks from
/// before it began are not needed any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rolling {
    /// The batch from which on chunks are needed; `None` before the first.
    since: Option<Time>,
    /// The batch at which the snapshot has begun that is under way.
    begun: Option<Time>,
    haste: Haste,
}

/// When the first snapshot after a restart is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Haste {
    /// When it is due.
    #[default]
    None,
    /// It begins with the first batch.
    Begin,
    /// The first batch writes all of it.
    End,
}

impl Rolling {
    /// How many keys of a snapshot the batch at `time` has to write, `usual` ones unless there is haste; `None` if no
    /// snapshot is under way. One begins if it is `due`.
    pub(crate) fn share(&mut self, time: Time, due: bool, usual: usize) -> Option<usize> {
        let haste = std::mem::take(&mut self.haste);
        if due || haste != Haste::None {
            self.begun.get_or_insert(time);
        }
        self.begun.map(|_| if haste == Haste::End { usize::MAX } else { usual })
    }

    /// Whether a snapshot has begun and is not complete.
    pub(crate) fn is_under_way(&self) -> bool {
        self.begun.is_some()
    }

    /// The batch at `time` is saved, and has completed the snapshot or not; returns from which batch on chunks are needed.
    pub(crate) fn saved(&mut self, time: Time, is_complete: bool) -> Time {
        if is_complete {
            self.since = self.begun.take().or(self.since);
        }
        *self.since.get_or_insert(time)
    }
}

/// Which chunks of an operator a restart has taken back.
#[derive(Debug, Default)]
pub(crate) struct TakenBack {
    /// The oldest of each partition, while there were as many partitions as now.
    oldest: BTreeMap<usize, Time>,
    /// The oldest from when there was another number of partitions.
    oldest_of_others: Option<Time>,
    newest: Option<Time>,
    /// Whether there were as many partitions, and a key belongs into another of them now.
    has_moved: bool,
}

impl TakenBack {
    /// A chunk was taken back, whose entries belong into these partitions now.
    pub(crate) fn note<T>(&mut self, chunk: &Chunk<'_>, placed: &[Vec<T>]) {
        self.newest = self.newest.max(Some(chunk.time));
        if chunk.partitions == placed.len() {
            let oldest = self.oldest.entry(chunk.partition).or_insert(chunk.time);
            *oldest = chunk.time.min(*oldest);
            let mut others = placed.iter().enumerate().filter(|(partition, _)| *partition != chunk.partition);
            self.has_moved |= others.any(|(_, entries)| !entries.is_empty());
        } else {
            let oldest = self.oldest_of_others.get_or_insert(chunk.time);
            *oldest = chunk.time.min(*oldest);
        }
    }

    /// The newest batch of which there was a chunk.
    pub(crate) fn newest(&self) -> Option<Time> {
        self.newest
    }

    /// How a partition goes on.
    ///
    /// If there was another number of partitions, its keys may be in any chunk: all of them are needed until every
    /// partition has a snapshot, so that begins at once. They come before those that are written now, whatever partition
    /// those are of. If there were as many partitions and the hash of a key was another, there is no such order, and no
    /// partition may need what is there already.
    pub(crate) fn rolling(&self, partition: usize) -> Rolling {
        let (since, haste) = match self.oldest_of_others {
            _ if self.has_moved => (self.oldest_of_others, Haste::End),
            Some(others) => (self.oldest.values().copied().chain([others]).min(), Haste::Begin),
            None => (self.oldest.get(&partition).copied(), Haste::None),
        };
        Rolling { since, begun: None, haste }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64) -> Time {
        Time::from_micros(time)
    }

    /// Takes chunks back into two partitions: their times, partitions and numbers of partitions, and which partitions
    /// the keys belong into now. Says from when on the partitions need chunks after the batches 10 to 12, of which none
    /// is due, if a snapshot takes two of them.
    fn since<'c>(chunks: impl IntoIterator<Item = (i64, [usize; 2], &'c [usize])>) -> [[i64; 2]; 3] {
        let mut taken_back = TakenBack::default();
        for (time, [partition, partitions], places) in chunks {
            let mut placed = vec![Vec::new(); 2];
            places.iter().for_each(|place| placed[*place].push("a key"));
            taken_back.note(&Chunk { time: at(time), partition, partitions, version: 1, bytes: &[] }, &placed);
        }
        let mut rollings = [0, 1].map(|partition| (taken_back.rolling(partition), 0));
        [10, 11, 12].map(|time| {
            rollings.each_mut().map(|(rolling, keys)| {
                *keys += rolling.share(at(time), false, 1).unwrap_or(0).min(2);
                rolling.saved(at(time), *keys == 2).as_micros()
            })
        })
    }

    #[test]
    fn what_a_partition_needs_after_a_restart() {
        assert_eq!(since([]), [[10; 2]; 3], "a new operator");
        let same: [(_, _, &[_]); 3] = [(3, [0, 2], &[0]), (4, [1, 2], &[1]), (5, [0, 2], &[])];
        assert_eq!(since(same), [[3, 4]; 3], "as many partitions");
        let other: [(_, _, &[_]); 3] = [(3, [0, 3], &[0, 1]), (4, [1, 2], &[1]), (4, [0, 2], &[])];
        assert_eq!(since(other), [[3; 2], [10; 2], [10; 2]], "another number");
        let back: [(_, _, &[_]); 3] = [(3, [0, 2], &[0]), (4, [0, 1], &[1]), (5, [1, 2], &[])];
        assert_eq!(since(back), [[3; 2], [10; 2], [10; 2]], "as many again");
        // The first partition has lost a key, and needs its old chunks as little as the one that has got it.
        let moved: [(_, _, &[_]); 2] = [(3, [0, 2], &[1]), (3, [1, 2], &[1])];
        assert_eq!(since(moved), [[10; 2]; 3], "another hash");
    }

    #[test]
    fn a_snapshot_begins_when_it_is_due_and_the_last_is_complete() {
        let mut rolling = Rolling::default();
        let mut save = |time, due, is_complete| {
            let share = rolling.share(at(time), due, 7);
            (share, rolling.saved(at(time), is_complete && share.is_some()).as_micros())
        };
        let saves = [(1, false, true), (2, true, false), (3, true, true), (4, false, true), (5, true, true)];
        let expected = [(None, 1), (Some(7), 1), (Some(7), 2), (None, 2), (Some(7), 5)];
        assert_eq!(saves.map(|(time, due, is_complete)| save(time, due, is_complete)), expected);
    }
}
