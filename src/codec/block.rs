use serde::{Serialize, de::DeserializeOwned};

use super::{FRAME_HEAD, MAX_VALUE_BYTES, close_frame, decode_value, encode_value, open_frame, torn};
use crate::error::Result;

/// A block is closed when it has this many bytes: one small enough to be cheap to hold, and large enough for its head
/// not to count.
const FULL_BYTES: usize = 64 * 1024;

/// A block is closed when it has this many values, which may have no bytes at all.
const FULL_VALUES: u32 = 64 * 1024;

/// The bytes of the number of values.
const COUNT: usize = 4;

/// No block takes more bytes: a full one, and the value that filled it.
const MAX_BLOCK_BYTES: usize = COUNT + FULL_BYTES + MAX_VALUE_BYTES;

/// Values on their way into a file: a frame of their number (4 bytes, little-endian) and their bytes, one after the
/// other. A block of no values is the end, and tells how many there were in all (8 bytes, little-endian), so that a
/// file that lacks a block is not taken for a whole one.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    values: u32,
}

impl Block {
    pub(crate) fn new() -> Self {
        Block { bytes: vec![0; FRAME_HEAD + COUNT], values: 0 }
    }

    /// Appends a value.
    pub(crate) fn push<T: Serialize>(&mut self, value: &T) -> Result<()> {
        self.values += 1;
        encode_value(value, &mut self.bytes)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FRAME_HEAD + COUNT + FULL_BYTES || self.values >= FULL_VALUES
    }

    /// Hands the frame of the values over, if there are any, and is empty again.
    pub(crate) fn flush<R>(&mut self, write: impl FnOnce(&[u8]) -> Result<R>) -> Result<Option<R>> {
        if self.values == 0 { Ok(None) } else { self.close(write).map(Some) }
    }

    /// Hands the frame of the end over.
    pub(crate) fn end<R>(&mut self, values: u64, write: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.bytes.extend_from_slice(&values.to_le_bytes());
        self.close(write)
    }

    fn close<R>(&mut self, write: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.bytes[FRAME_HEAD..][..COUNT].copy_from_slice(&self.values.to_le_bytes());
        close_frame(&mut self.bytes);
        let written = write(&self.bytes);
        self.bytes.truncate(FRAME_HEAD + COUNT);
        self.values = 0;
        written
    }
}

/// What a block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockRead {
    /// So many values.
    Values(u32),
    /// The end, after so many values in all.
    End(u64),
}

/// How many bytes follow the head of the frame of a block.
pub(crate) fn block_len<T>(head: [u8; FRAME_HEAD]) -> Result<usize> {
    let length = super::body_len(&head);
    if length > MAX_BLOCK_BYTES {
        return Err(torn::<T>("its block claims more bytes than there may be"));
    }
    Ok(length)
}

/// Reads the frame of a block, all of `bytes`, and calls `each` with every value.
pub(crate) fn decode_block<T: DeserializeOwned>(bytes: &[u8], mut each: impl FnMut(T)) -> Result<BlockRead> {
    let (body, _) = open_frame::<T>(bytes)?;
    let (count, mut values) = body.split_first_chunk::<COUNT>().ok_or_else(|| torn::<T>("its block has no number"))?;
    let count = u32::from_le_bytes(*count);
    if count == 0 {
        let total = values.try_into().map_err(|_| torn::<T>("its last block is no number"))?;
        return Ok(BlockRead::End(u64::from_le_bytes(total)));
    }
    for _ in 0..count {
        let (value, used) = decode_value(values)?;
        each(value);
        values = &values[used..];
    }
    if values.is_empty() {
        Ok(BlockRead::Values(count))
    } else {
        Err(torn::<T>("its block holds more bytes than its values"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn frame<T: Serialize>(values: &[T]) -> Vec<u8> {
        let mut block = Block::new();
        values.iter().for_each(|value| block.push(value).unwrap());
        block.flush(|bytes| Ok(bytes.to_vec())).unwrap().unwrap()
    }

    fn values<T: DeserializeOwned>(bytes: &[u8]) -> Result<(BlockRead, Vec<T>)> {
        let mut values = Vec::new();
        decode_block(bytes, |value| values.push(value)).map(|read| (read, values))
    }

    #[test]
    fn values_come_back_and_a_block_is_used_again() {
        let mut block = Block::new();
        for words in [vec!["tide", "mill"], vec!["ebb"]] {
            words.iter().for_each(|word| block.push(word).unwrap());
            let bytes = block.flush(|bytes| Ok(bytes.to_vec())).unwrap().unwrap();
            let (read, found) = values::<String>(&bytes).unwrap();
            assert_eq!((read, found.len()), (BlockRead::Values(words.len() as u32), words.len()));
            assert_eq!(found, words);
        }
        assert!(block.flush(|_| Ok(())).unwrap().is_none(), "nothing is left");
        let end = block.end(3, |bytes| Ok(bytes.to_vec())).unwrap();
        assert_eq!(values::<String>(&end).unwrap(), (BlockRead::End(3), vec![]));
    }

    #[test]
    fn values_of_no_bytes_are_counted_and_fill_a_block() {
        assert_eq!(values::<()>(&frame(&[(), (), ()])).unwrap().1.len(), 3);
        let mut block = Block::new();
        let pushed = (1..).find(|_| block.push(&()).is_err() || block.is_full());
        assert_eq!(pushed, Some(FULL_VALUES));
    }

    #[test]
    fn a_block_is_full_by_its_bytes() {
        let mut block = Block::new();
        block.push(&vec![0u8; FULL_BYTES / 2]).unwrap();
        assert!(!block.is_full());
        block.push(&vec![0u8; FULL_BYTES / 2]).unwrap();
        assert!(block.is_full());
    }

    #[test]
    fn a_cut_anywhere_and_a_flip_of_any_bit_is_an_error() {
        let bytes = frame(&["tide", "mill"]);
        for cut in 0..bytes.len() {
            assert_eq!(values::<String>(&bytes[..cut]).unwrap_err().kind(), ErrorKind::Codec);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(values::<String>(&flipped).is_err(), "bit {bit}");
        }
        assert!(values::<u8>(&bytes).is_err(), "another type");
    }
}
