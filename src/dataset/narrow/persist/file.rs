use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room in a file is given out in pieces of this many bytes.
const PAGE_BYTES: u64 = 4096;

/// The temporary files of what is kept on disk: one for each number of a partition, however many batches of a stream
/// are kept, so that a long window does not run out of open files.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<Vec<Option<Arc<SharedFile>>>>);

impl Files {
    /// The file for partitions of this number.
    pub(super) fn of(&self, partition: usize) -> io::Result<Arc<SharedFile>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() <= partition {
            files.resize(partition + 1, None);
        }
        let file = match files[partition].take() {
            Some(file) => file,
            None => Arc::new(SharedFile::new()?),
        };
        files[partition] = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// A file without a name, so that it is gone with the process. Blocks come and go; their room is used again, and given
/// back when there is no block left.
#[derive(Debug)]
pub(super) struct SharedFile(Mutex<Room>);

#[derive(Debug)]
struct Room {
    file: File,
    /// Where the file ends.
    end: u64,
    /// What is free before its end, in the order in which it became so. Whole pages, as all ranges are.
    free: VecDeque<Range<u64>>,
    /// How many bytes of the file are in use.
    used: u64,
}

/// Bytes in a file. Their room is free when they are dropped.
#[derive(Debug)]
pub(super) struct FileBlock {
    file: Arc<SharedFile>,
    places: Vec<Range<u64>>,
    length: usize,
}

impl SharedFile {
    fn new() -> io::Result<Self> {
        Ok(SharedFile(Mutex::new(Room { file: tempfile::tempfile()?, end: 0, free: VecDeque::new(), used: 0 })))
    }

    /// The lock is held for as long as a block takes.
    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn take(&mut self, length: usize) -> Vec<Range<u64>> {
        let mut missing = (length as u64).next_multiple_of(PAGE_BYTES);
        self.used += missing;
        let mut places = Vec::new();
        while missing > 0 {
            let Range { start, end } = self.free.pop_front().unwrap_or_else(|| {
                let start = self.end;
                self.end += missing;
                start..self.end
            });
            let taken = missing.min(end - start);
            if start + taken < end {
                self.free.push_front(start + taken..end);
            }
            places.push(start..start + taken);
            missing -= taken;
        }
        places
    }

    fn give_back(&mut self, places: Vec<Range<u64>>) {
        self.used -= places.iter().map(|place| place.end - place.start).sum::<u64>();
        self.free.extend(places);
        // If the file cannot be cut, its room is used again all the same.
        if self.used == 0 && self.file.set_len(0).is_ok() {
            self.free.clear();
            self.end = 0;
        }
    }
}

impl FileBlock {
    /// Writes bytes where there is room.
    pub(super) fn write(file: &Arc<SharedFile>, bytes: &[u8]) -> io::Result<Self> {
        let mut room = file.room();
        let block = FileBlock { file: Arc::clone(file), places: room.take(bytes.len()), length: bytes.len() };
        let written = block.write_all(&mut room.file, bytes);
        // What was written in part is given back when the block is dropped, and that takes the lock.
        drop(room);
        written.map(|()| block)
    }

    fn write_all(&self, file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
        for place in &self.places {
            let (here, rest) = bytes.split_at(bytes.len().min((place.end - place.start) as usize));
            file.seek(SeekFrom::Start(place.start))?;
            file.write_all(here)?;
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        let mut left = &mut bytes[..];
        let mut room = self.file.room();
        for place in &self.places {
            let (here, rest) = left.split_at_mut(left.len().min((place.end - place.start) as usize));
            room.file.seek(SeekFrom::Start(place.start))?;
            room.file.read_exact(here)?;
            left = rest;
        }
        drop(room);
        Ok(bytes)
    }

    /// Changes a byte, as a failing disk may.
    #[cfg(test)]
    pub(super) fn flip(&self, at: usize) {
        let mut bytes = self.read().unwrap();
        bytes[at] ^= 1;
        self.write_all(&mut self.file.room().file, &bytes).unwrap();
    }

    /// Cuts the file, as a failing disk may not, but so that it cannot be read.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        self.file.room().file.set_len(0).unwrap();
    }
}

impl Drop for FileBlock {
    fn drop(&mut self) {
        self.file.room().give_back(std::mem::take(&mut self.places));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Blocks of any size come and go in any order: each reads as it was written, and room is used again.
        #[test]
        fn blocks_share_a_file(
            steps in prop::collection::vec((0usize..20_000, any::<u8>(), any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let files = Files::default();
            let file = files.of(3).unwrap();
            prop_assert!(Arc::ptr_eq(&file, &files.of(3).unwrap()));
            let mut blocks: Vec<(FileBlock, u8)> = Vec::new();
            let mut most_used = 0;
            for (length, byte, index, goes) in steps {
                if goes && !blocks.is_empty() {
                    blocks.swap_remove(index.index(blocks.len()));
                } else {
                    blocks.push((FileBlock::write(&file, &vec![byte; length]).unwrap(), byte));
                }
                for (block, byte) in &blocks {
                    prop_assert_eq!(block.read().unwrap(), vec![*byte; block.length]);
                }
                most_used = file.room().used.max(most_used);
                prop_assert!(file.room().end <= most_used, "no more room than was ever used at once");
            }
            drop(blocks);
            let room = file.room();
            prop_assert_eq!((room.used, room.end, room.file.metadata().unwrap().len()), (0, 0, 0));
        }
    }
}
