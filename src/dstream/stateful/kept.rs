use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::data::{Exchange, Key, Partitions, hash_key, part_of};
use crate::error::{Error, ErrorKind, Result};
use crate::state::shape::shape;
use crate::state::{Chunk, Durable, Migrations, Saved, Schema, StateInfo, Table, TakenBack, chunk};
use crate::time::Time;

/// The tables of a stateful operator, one a partition.
pub(super) struct Kept<K, S> {
    method: &'static str,
    migrations: Migrations<S>,
    parts: Box<[Part<K, S>]>,
    taken_back: Mutex<TakenBack>,
}

/// One partition, and what has to be known of it while a task holds it.
struct Part<K, S> {
    held: Mutex<Held<K, S>>,
    /// The microseconds of the batch that the table holds; the least number before the first.
    at: AtomicI64,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// A table as a batch has left it.
pub(super) struct Held<K, S> {
    pub(super) table: Table<K, S>,
    /// The batch; `None` before the first.
    pub(super) at: Option<Time>,
    /// Whether the table has the initial state, or one that makes it needless.
    pub(super) has_begun: bool,
}

impl<K: Key, S: Exchange> Kept<K, S> {
    pub(super) fn new(
        method: &'static str,
        migrations: Migrations<S>,
        partitions: Partitions,
        timeout: Option<Duration>,
    ) -> Self {
        let part = |_| Part {
            held: Mutex::new(Held { table: Table::new(timeout), at: None, has_begun: false }),
            at: AtomicI64::new(i64::MIN),
            keys: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        // A number of partitions that is a mistake may be one that no memory holds.
        let count = if partitions.mistake().is_some() { 0 } else { partitions.get() };
        Kept { method, migrations, parts: (0..count).map(part).collect(), taken_back: Mutex::default() }
    }

    pub(super) fn hold(&self, partition: usize) -> MutexGuard<'_, Held<K, S>> {
        self.parts[partition].held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes known how a partition is now.
    pub(super) fn note(&self, partition: usize, held: &Held<K, S>) {
        let part = &self.parts[partition];
        part.keys.store(held.table.len() as u64, Ordering::Release);
        part.bytes.store(held.table.bytes() as u64, Ordering::Release);
        part.at.store(held.at.map_or(i64::MIN, Time::as_micros), Ordering::Release);
    }

    /// The batch that a partition holds; `None` before the first.
    pub(super) fn at(&self, partition: usize) -> Option<Time> {
        match self.parts[partition].at.load(Ordering::Acquire) {
            i64::MIN => None,
            micros => Some(Time::from_micros(micros)),
        }
    }

    /// The oldest batch that a partition holds; `None` if one has had no batch.
    pub(super) fn oldest(&self) -> Option<Time> {
        (0..self.parts.len()).map(|partition| self.at(partition)).min().flatten()
    }

    pub(super) fn info(&self) -> StateInfo {
        let sum = |number: fn(&Part<K, S>) -> &AtomicU64| {
            self.parts.iter().map(|part| number(part).load(Ordering::Acquire)).sum()
        };
        StateInfo { keys: sum(|part| &part.keys), bytes: sum(|part| &part.bytes) }
    }
}

impl<K: Key, S: Exchange> Durable for Kept<K, S> {
    fn schema(&self) -> Schema {
        let parts = vec![("key", shape::<K>()), ("state", shape::<S>())];
        Schema { method: self.method, version: self.migrations.version(), parts }
    }

    fn migrations(&self) -> Vec<(u32, String)> {
        self.migrations.versions()
    }

    fn partitions(&self) -> usize {
        self.parts.len()
    }

    fn is_at(&self, partition: usize, time: Time) -> bool {
        self.at(partition) == Some(time)
    }

    fn record(&self) {
        (0..self.parts.len()).for_each(|partition| self.hold(partition).table.record());
    }

    fn save(&self, partition: usize, time: Time, due: bool) -> Result<(Saved, Vec<u8>)> {
        let mut held = self.hold(partition);
        if held.at != Some(time) {
            let at = held.at.map_or_else(|| "no batch".to_string(), |at| format!("the batch at {at}"));
            let message = format!("was to be saved as of {time}, and holds {at}");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        held.table.save(time, due)
    }

    fn restore(&self, chunk: &Chunk<'_>) -> Result<()> {
        // Keys are hashed anew: where they lay then says nothing, even of as many partitions.
        let parts = self.parts.len();
        let mut lists: Vec<Vec<_>> = (0..parts).map(|_| Vec::new()).collect();
        let mut keys = 0u64;
        let read_state = |bytes: &[u8]| self.migrations.read(chunk.version, bytes);
        chunk::read::<K, S>(chunk.bytes, read_state, |said| {
            keys += 1;
            lists[part_of(hash_key(&said.key), parts)].push(said);
        })
        .map_err(|error| error.within(format!("partition {}: the key after {keys} others", chunk.partition)))?;
        self.taken_back.lock().unwrap_or_else(PoisonError::into_inner).note(chunk, &lists);
        for (partition, list) in lists.into_iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let mut held = self.hold(partition);
            list.into_iter().for_each(|said| held.table.restore(said, chunk.time));
        }
        Ok(())
    }

    fn restored(&self, time: Time) -> Result<()> {
        for (version, states) in self.migrations.migrated() {
            let now = self.migrations.version();
            tracing::warn!("{}: {states} states of version {version} were migrated to version {now}", self.method);
        }
        let taken_back = self.taken_back.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in 0..self.parts.len() {
            let mut held = self.hold(partition);
            held.table.go_on(taken_back.rolling(partition));
            (held.at, held.has_begun) = (Some(time), true);
            self.note(partition, &held);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_with_keys_of_other_partitions_are_not_needed_for_long() {
        let at = Time::from_micros;
        let key = (0..).find(|key| part_of(hash_key(key), 2) == 1).unwrap();
        // As it lay when keys were hashed differently.
        let mut table = Table::<u64, u64>::new(None);
        table.record();
        table.begin_with(&key, 7, at(1));
        let (_, bytes) = table.save(at(1), false).unwrap();
        let kept = Kept::<u64, u64>::new("test", Migrations::new(), Partitions::new(2), None);
        kept.restore(&Chunk { time: at(1), partition: 0, partitions: 2, version: 1, bytes: &bytes }).unwrap();
        kept.restored(at(1)).unwrap();
        kept.record();
        for (partition, keys) in [(0, 0), (1, 1)] {
            kept.hold(partition).at = Some(at(2));
            let (saved, _) = kept.save(partition, at(2), false).unwrap();
            assert_eq!(saved, Saved { since: at(2), keys }, "partition {partition}");
        }
    }
}
