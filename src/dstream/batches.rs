//! The records of remembered batches as bytes, for a checkpoint, and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{self, Block, FRAME_HEAD, block_len, decode_block, decode_frame, encode_frame};
use crate::data::{Data, Exchange, Key, Partitions, hash_key, part_of};
use crate::dataset::{Chunk, Dataset, Flow, Header, Lineage, Memory};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Runtime, TaskContext};
use crate::state::{self, shape::shape};
use crate::time::micros;

/// How the batches of a stream are saved: chosen where the type of the records is known to have bytes, used where it
/// need not.
///
/// The bytes of a partition are a frame with the slide duration of the stream in microseconds, and blocks of records.
pub(crate) struct BatchFormat<T> {
    write: fn(&mut Block, &T) -> Result<()>,
    read: fn(&[u8], &mut Vec<T>) -> Result<()>,
    by_key: Option<ByKey<T>>,
    shape: fn() -> String,
}

/// That records are pairs that lie where the hash of their key says.
struct ByKey<T> {
    partitions: usize,
    /// The partition of a pair, among so many.
    place: fn(&T, usize) -> usize,
}

impl<T: Exchange> BatchFormat<T> {
    /// Of any records: a batch comes back with the partitions that it had.
    pub(crate) fn records() -> Self {
        BatchFormat { write: |block, record| block.push(record), read: read_block, by_key: None, shape: shape::<T> }
    }
}

impl<K: Key, V: Exchange> BatchFormat<(K, V)> {
    /// Of pairs that lie by their keys: they come back in this many partitions.
    pub(crate) fn pairs(partitions: Partitions) -> Self {
        let place = |(key, _): &(K, V), partitions: usize| part_of(hash_key(key), partitions);
        BatchFormat { by_key: Some(ByKey { partitions: partitions.get(), place }), ..BatchFormat::records() }
    }
}

fn read_block<T: Exchange>(block: &[u8], records: &mut Vec<T>) -> Result<()> {
    decode_block(block, |record| records.push(record)).map(drop)
}

impl<T> BatchFormat<T> {
    /// The shape of the records.
    pub(crate) fn shape(&self) -> String {
        (self.shape)()
    }
}

impl<T: Data> BatchFormat<T> {
    /// The bytes of a batch that has no partitions: as of one without records.
    pub(crate) fn save_none(&self, slide: Duration) -> Result<(Vec<u8>, u64)> {
        let mut bytes = Vec::new();
        encode_frame(&micros(slide), &mut bytes)?;
        Ok((bytes, 0))
    }

    /// Computes a partition of a stream that slides by `slide`; returns its bytes and how many records it has.
    pub(crate) fn save<'t>(
        &self,
        slide: Duration,
        lineage: &'t dyn Lineage<T>,
        partition: usize,
        task: &TaskContext<'t>,
    ) -> Result<(Vec<u8>, u64)> {
        let ((mut bytes, mut records), mut block) = (self.save_none(slide)?, Block::new());
        let mut flush = |block: &mut Block| {
            block.flush(|frame| {
                bytes.extend_from_slice(frame);
                Ok(())
            })
        };
        let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            for record in chunk.as_slice() {
                (self.write)(&mut block, record)?;
                records += 1;
                if block.is_full() {
                    flush(&mut block)?;
                }
            }
            Ok(Flow::Continue(()))
        })?;
        flush(&mut block)?;
        Ok((bytes, records))
    }

    /// The records of a partition; `None` if the stream had another slide duration when they were saved, so that its
    /// batches held the records of another span.
    pub(crate) fn read(&self, slide: Duration, bytes: &[u8]) -> Result<Option<Vec<T>>> {
        let (saved_slide, mut blocks) = decode_frame::<i64>(bytes)?;
        if saved_slide != micros(slide) {
            return Ok(None);
        }
        let mut records = Vec::new();
        while !blocks.is_empty() {
            let torn = || codec::torn::<T>("its block is cut short");
            let head = blocks.first_chunk::<FRAME_HEAD>().ok_or_else(torn)?;
            let (block, rest) = blocks.split_at_checked(FRAME_HEAD + block_len::<T>(*head)?).ok_or_else(torn)?;
            (self.read)(block, &mut records)?;
            blocks = rest;
        }
        Ok(Some(records))
    }
}

/// A batch on its way back: the partitions that have come so far.
pub(crate) struct Restoring<T> {
    partitions: usize,
    parts: BTreeMap<usize, Vec<T>>,
}

impl<T> Default for Restoring<T> {
    fn default() -> Self {
        Restoring { partitions: 0, parts: BTreeMap::new() }
    }
}

impl<T: Data> Restoring<T> {
    pub(crate) fn add(&mut self, chunk: &state::Chunk<'_>, records: Vec<T>) {
        self.partitions = chunk.partitions;
        self.parts.insert(chunk.partition, records);
    }

    /// The batch as a dataset.
    pub(crate) fn finish(self, format: &BatchFormat<T>, runtime: &Runtime) -> Result<Dataset<T>> {
        let Restoring { partitions, parts } = self;
        if let Some(missing) = (0..partitions).find(|partition| !parts.contains_key(partition)) {
            let message = format!("partition {missing} of {partitions} is not in the checkpoint");
            return Err(Error::new(ErrorKind::Codec, message));
        }
        let header = Header::new("checkpoint");
        let Some(by_key) = &format.by_key else {
            return Ok(Dataset::new(
                Memory::new(header, parts.into_values().take(partitions).map(Arc::new).collect()),
                runtime,
            ));
        };
        // The hash of a key may be another one in another version: where a pair lay says nothing.
        let mut placed: Vec<Vec<T>> = (0..by_key.partitions).map(|_| Vec::new()).collect();
        for pair in parts.into_values().flatten() {
            placed[(by_key.place)(&pair, by_key.partitions)].push(pair);
        }
        Ok(Dataset::new(Memory::by_key(header, placed.into_iter().map(Arc::new).collect()), runtime))
    }
}
