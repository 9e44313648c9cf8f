//! Bytes of records: serde values with bincode, always under a size limit. Nothing of bincode shows outside.

mod block;

use bincode::config;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};

pub(crate) use block::{Block, BlockRead, block_len, decode_block};

/// No single value may claim more than this: a torn length must not make the process ask for it.
const MAX_VALUE_BYTES: usize = 1 << 30;

type Format<I> = config::Configuration<config::LittleEndian, I, config::Limit<MAX_VALUE_BYTES>>;

const VARIABLE: Format<config::Varint> = config::standard().with_limit::<MAX_VALUE_BYTES>();
const FIXED: Format<config::Fixint> = VARIABLE.with_fixed_int_encoding();

/// The bytes of a frame before its body: the length of the body and its checksum.
pub(crate) const FRAME_HEAD: usize = 8;

/// Appends a frame: length (4 bytes, little-endian) and CRC-32 of the value's bytes (4 bytes), then the bytes.
pub(crate) fn encode_frame<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_HEAD]);
    encode_value(value, into)?;
    close_frame(&mut into[start..]);
    Ok(())
}

/// Reads the frame at the start of `bytes` and returns the value and what follows it.
///
/// Length and checksum are checked before anything is decoded, and the value must use up its frame.
pub(crate) fn decode_frame<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    let (body, rest) = open_frame::<T>(bytes)?;
    let (value, used) = decode_value(body)?;
    if used != body.len() {
        return Err(torn::<T>("its frame holds more bytes than the type takes"));
    }
    Ok((value, rest))
}

/// How the numbers of a value are written: those in it, the lengths of its texts and lists, and which variants its enums
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// In one byte up to 250; above, in a byte of 251 to 254 and then 2, 4, 8 or 16 bytes. Those with a sign go there and
    /// back: 0, -1, 1, -2, 2. Single bytes and floats are as they are.
    Variable,
    /// In as many bytes as their type has; lengths in 8 bytes, variants in 4. They are written several times as fast.
    Fixed,
}

impl Numbers {
    /// What is best for a type: one that owns nothing on the heap is made of numbers for the most part, and one that does has
    /// lengths, which are small. The same type may be told otherwise by another compiler: whoever reads later has to note
    /// it.
    pub(crate) const fn of<T>() -> Self {
        if std::mem::needs_drop::<T>() { Numbers::Variable } else { Numbers::Fixed }
    }

    /// Appends the bytes of a value.
    #[inline]
    pub(crate) fn encode<T: Serialize>(self, value: &T, into: &mut Vec<u8>) -> Result<()> {
        let start = into.len();
        let written = match self {
            Numbers::Variable => bincode::serde::encode_into_writer(value, Append(into), VARIABLE),
            Numbers::Fixed => bincode::serde::encode_into_writer(value, Append(into), FIXED),
        };
        match written {
            Ok(()) if into.len() - start <= MAX_VALUE_BYTES => Ok(()),
            Ok(()) => Err(too_long::<T>(into.len() - start)),
            Err(error) => Err(unwritable::<T>(error)),
        }
    }

    /// Reads the value at the start of `bytes`, and returns how many of them it took.
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<(T, usize)> {
        let read = match self {
            Numbers::Variable => bincode::serde::decode_from_slice(bytes, VARIABLE),
            Numbers::Fixed => bincode::serde::decode_from_slice(bytes, FIXED),
        };
        read.map_err(|e| torn::<T>("its bytes do not fit the type").caused_by(e))
    }
}

/// Appends the bytes of a value, whose numbers are of variable length.
#[inline]
pub(crate) fn encode_value<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    Numbers::Variable.encode(value, into)
}

/// Bytes go to the end of a vector. (As a [`std::io::Write`] it would be asked for each few of them by a call.)
struct Append<'v>(&'v mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads the value at the start of `bytes`, whose numbers are of variable length, and returns how many of them it took.
pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize)> {
    Numbers::Variable.decode(bytes)
}

/// Writes the head of a frame whose body is complete.
fn close_frame(frame: &mut [u8]) {
    let (head, body) = frame.split_at_mut(FRAME_HEAD);
    let (length, checksum) = (body.len() as u32, crc32fast::hash(body));
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks the frame of a `T` at the start of `bytes`, and returns its body and what follows it.
fn open_frame<T>(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| torn::<T>("its frame is cut short"))?;
    let (body, rest) = rest.split_at_checked(body_len(head)).ok_or_else(|| torn::<T>("its frame is cut short"))?;
    if crc32fast::hash(body).to_le_bytes() != head[4..] {
        return Err(torn::<T>("the checksum of its frame does not match"));
    }
    Ok((body, rest))
}

/// What the head of a frame says of the length of the body.
fn body_len(head: &[u8; FRAME_HEAD]) -> usize {
    u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize
}

#[cold]
fn too_long<T>(length: usize) -> Error {
    Error::new(ErrorKind::Codec, format!("a {} takes {length} bytes, more than {MAX_VALUE_BYTES}", name::<T>()))
}

#[cold]
fn unwritable<T>(error: EncodeError) -> Error {
    Error::new(ErrorKind::Codec, format!("a {} cannot be written", name::<T>())).caused_by(error)
}

/// The error of bytes that are no `T`.
pub(crate) fn torn<T>(what: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("a {} cannot be read: {what}", name::<T>()))
}

fn name<T>() -> &'static str {
    std::any::type_name::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_follow_each_other() {
        let mut bytes = frame(&("tide".to_string(), 3u64));
        encode_frame(&7u8, &mut bytes).unwrap();
        let (pair, rest) = decode_frame::<(String, u64)>(&bytes).unwrap();
        assert_eq!(pair, ("tide".to_string(), 3));
        assert_eq!(decode_frame::<u8>(rest).unwrap(), (7, &[][..]));
    }

    #[test]
    fn a_cut_anywhere_and_a_flip_of_any_bit_is_an_error() {
        let bytes = frame(&vec!["tide".to_string(), "mill".to_string()]);
        for cut in 0..bytes.len() {
            assert_eq!(decode_frame::<Vec<String>>(&bytes[..cut]).unwrap_err().kind(), ErrorKind::Codec);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame::<Vec<String>>(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_not_an_abort() {
        // A string that claims 2^60 bytes, in a frame whose checksum fits.
        let body = [253, 0, 0, 0, 0, 0, 0, 0, 16];
        let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(body);
        assert!(decode_frame::<String>(&bytes).unwrap_err().to_string().contains("do not fit"));
    }

    #[test]
    fn another_type_is_told_from_trailing_bytes() {
        let error = decode_frame::<u8>(&frame(&(1u8, 2u8))).unwrap_err();
        assert!(error.to_string().contains("more bytes than the type takes"), "{error}");
    }
}
