//! What operators keep from batch to batch, and how a checkpoint sees it: as chunks of bytes that only the operator
//! understands. Knows nothing of streams, of batches but their times, or of where chunks go.

pub(crate) mod chunk;
mod journal;
mod key_ids;
mod key_state;
mod migrations;
mod queue;
mod rolling;
mod saving;
pub(crate) mod shape;
mod table;

use crate::error::Result;
use crate::id::OperatorId;
use crate::time::Time;

pub(crate) use chunk::ChunkWriter;
pub(crate) use key_ids::{KeyIds, TOGETHER};
pub use key_state::KeyState;
pub(crate) use migrations::Migrations;
pub(crate) use rolling::{Rolling, TakenBack};
pub(crate) use table::Table;

/// What an operator keeps from batch to batch, partition by partition.
///
/// A checkpoint calls, in this order: `restore` with every chunk that is left of an earlier run and then `restored`, if
/// there was one; `record`; and then, for every batch in the order of time, `save` once for each partition.
pub(crate) trait Durable: Send + Sync {
    /// What is kept, to be compared with what a checkpoint has.
    fn schema(&self) -> Schema;

    /// The older versions of the states that can be taken back, with the shapes of their types.
    fn migrations(&self) -> Vec<(u32, String)> {
        Vec::new()
    }

    /// In how many partitions it lies.
    fn partitions(&self) -> usize;

    /// Whether a partition is as the batch at `time` leaves it.
    fn is_at(&self, partition: usize, time: Time) -> bool;

    /// From here on `save` is called after every batch: what changes has to be noted.
    fn record(&self);

    /// Takes what the batch at `time` has changed in a partition, which is at `time`, and a share of what it has left
    /// alone, so that older chunks are not needed for ever: the bytes of a chunk. `due` says that the time has come to
    /// begin with a snapshot, if the last one is complete. Calls for different partitions run at the same time. What was
    /// taken is never asked for again.
    fn save(&self, partition: usize, time: Time, due: bool) -> Result<(Saved, Vec<u8>)>;

    /// Takes back a chunk. All chunks of one partition come in the order in which they were saved; those of different
    /// partitions at the same time, on several threads. There may have been another number of partitions: all chunks from
    /// before the number has changed come before those from after.
    fn restore(&self, chunk: &Chunk<'_>) -> Result<()>;

    /// All chunks were taken back: what is kept is as the batch at `time` left it.
    fn restored(&self, time: Time) -> Result<()>;
}

/// How much an operator keeps from batch to batch: see [`DStream::state_info`](crate::DStream::state_info).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateInfo {
    /// How many keys have a state.
    pub keys: u64,
    /// How many bytes the tables of keys and states take: room that is free counts, what keys and states have on the
    /// heap (the letters of a `String`) does not.
    pub bytes: u64,
}

/// What a partition said of what it has saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The batch from which on chunks are needed to restore the partition as it is now.
    pub(crate) since: Time,
    /// How many keys the partition has.
    pub(crate) keys: u64,
}

/// What [`Durable::save`] has written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'b> {
    /// The batch after which it was saved.
    pub(crate) time: Time,
    /// The partition, of so many.
    pub(crate) partition: usize,
    pub(crate) partitions: usize,
    /// The version of the schema that it was saved under.
    pub(crate) version: u32,
    pub(crate) bytes: &'b [u8],
}

/// A chunk on its way to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateChunk {
    pub(crate) operator: OperatorId,
    pub(crate) kind: ChunkKind,
    pub(crate) partition: usize,
    pub(crate) partitions: usize,
    pub(crate) saved: Saved,
    pub(crate) bytes: Vec<u8>,
}

/// What is in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChunkKind {
    /// What an operator keeps from batch to batch.
    State,
    /// The records of the batch of a stream at this time, which somebody may ask for later.
    Batch(Time),
}

/// What an operator keeps: which operator, and of which types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    /// The method that keeps it: `map_with_state`.
    pub(crate) method: &'static str,
    /// The version that the program has given it; 1 if none.
    pub(crate) version: u32,
    /// Its parts, `key` and `state` say, each with the shape of its type.
    pub(crate) parts: Vec<(&'static str, String)>,
}
