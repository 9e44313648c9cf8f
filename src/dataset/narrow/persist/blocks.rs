use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::file::{FileBlock, Files, SharedFile};
use super::level::ReadBlock;
use crate::codec;
use crate::data::Data;
use crate::dataset::Emitter;
use crate::error::{Error, ErrorKind, Result};

/// A block ends once its records take this many bytes, encoded or as they are: whoever reads a partition holds one
/// block of it.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where blocks are kept.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Memory,
    Disk(Arc<Files>),
}

/// The records of one partition as bytes: blocks, each a frame with its checksum.
pub(super) struct Blocks<T> {
    written: Written,
    read: ReadBlock<T>,
}

/// Blocks that are complete.
#[derive(Debug)]
pub(super) struct Written {
    store: Store,
    /// How many records are in each block.
    records: Vec<usize>,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<Box<[u8]>>),
    File(Arc<SharedFile>, Vec<FileBlock>),
}

impl Store {
    fn new(place: &Place, partition: usize) -> io::Result<Self> {
        Ok(match place {
            Place::Memory => Store::Memory(Vec::new()),
            Place::Disk(files) => Store::File(files.of(partition)?, Vec::new()),
        })
    }

    fn push(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Store::Memory(blocks) => blocks.push(block.into()),
            Store::File(file, blocks) => blocks.push(FileBlock::write(file, block)?),
        }
        Ok(())
    }

    fn get(&self, block: usize) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Store::Memory(blocks) => Ok(Cow::Borrowed(&blocks[block])),
            Store::File(_, blocks) => blocks[block].read().map(Cow::Owned),
        }
    }
}

/// Writes the blocks of one partition.
#[derive(Debug)]
pub(super) struct Writer {
    written: Written,
    /// The block that is being written.
    block: codec::Block,
    /// How many records are in it.
    records: usize,
}

impl Writer {
    pub(super) fn new(place: &Place, partition: usize) -> Result<Self> {
        let store = Store::new(place, partition).map_err(not_written)?;
        Ok(Writer { written: Written { store, records: Vec::new() }, block: codec::Block::new(), records: 0 })
    }

    pub(super) fn push<T: Serialize>(&mut self, record: &T) -> Result<()> {
        self.block.push(record)?;
        self.records += 1;
        let is_full = self.block.is_full() || self.records * size_of::<T>() >= BLOCK_BYTES;
        if is_full { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<()> {
        let store = &mut self.written.store;
        self.block.flush(|frame| store.push(frame).map_err(not_written))?;
        self.written.records.push(std::mem::take(&mut self.records));
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Written> {
        if self.records > 0 {
            self.end_block()?;
        }
        Ok(self.written)
    }
}

fn not_written(error: io::Error) -> Error {
    let directory = std::env::temp_dir();
    let what = format!("the records cannot be kept in a temporary file in {}: {error}", directory.display());
    Error::new(ErrorKind::Task, what).caused_by(error)
}

impl<T: Data> Blocks<T> {
    pub(super) fn new(written: Written, read: ReadBlock<T>) -> Self {
        Blocks { written, read }
    }

    pub(super) fn len(&self) -> usize {
        self.written.records.len()
    }

    pub(super) fn records(&self) -> u64 {
        self.written.records.iter().map(|records| *records as u64).sum()
    }

    /// Emits the records of a block.
    ///
    /// # Errors
    ///
    /// Why the block cannot be read. What becomes of the records is the emitter's to tell.
    pub(super) fn read(&self, block: usize, out: &mut Emitter<'_, T>) -> Result<()> {
        let frame = self.written.store.get(block).map_err(Error::from);
        frame.and_then(|frame| (self.read)(&frame, out)).map_err(|why| {
            let what = format!("block {block} of the {} that were kept cannot be read: {why}", self.len());
            Error::new(ErrorKind::Task, what)
        })
    }

    /// How many bytes a block takes.
    #[cfg(test)]
    pub(super) fn bytes(&self, block: usize) -> usize {
        self.written.store.get(block).unwrap().len()
    }

    /// Changes a byte of a block, as a failing disk may.
    #[cfg(test)]
    pub(super) fn flip(&mut self, block: usize, at: usize) {
        match &mut self.written.store {
            Store::Memory(blocks) => blocks[block][at] ^= 1,
            Store::File(_, blocks) => blocks[block].flip(at),
        }
    }

    /// Loses a block, if it is in a file.
    #[cfg(test)]
    pub(super) fn lose(&mut self, block: usize) {
        if let Store::File(_, blocks) = &mut self.written.store {
            blocks[block].lose();
        }
    }
}
