//! Bytes of records: serde values with bincode, always under a size limit. Nothing of bincode shows outside.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};

/// No single value may claim more than this: a torn length must not make the process ask for it.
const MAX_VALUE_BYTES: usize = 1 << 30;

const FORMAT: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_VALUE_BYTES>,
> = bincode::config::standard().with_limit::<MAX_VALUE_BYTES>();

/// Length (4 bytes, little-endian) and CRC-32 (4 bytes) of the bytes that follow.
const HEADER_BYTES: usize = 8;

/// Appends a frame: its header, then the bytes of the value.
pub(crate) fn encode_frame<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    let start = into.len();
    into.extend_from_slice(&[0; HEADER_BYTES]);
    encode(value, into)?;
    seal(&mut into[start..]);
    Ok(())
}

/// Reads the frame at the start of `bytes` and returns the value and what follows it.
///
/// Length and checksum are checked before anything is decoded, and the value must use up its frame.
pub(crate) fn decode_frame<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    let (body, rest) = open_frame(bytes).map_err(|error| torn::<T>(&error.to_string()))?;
    let (value, left) = decode(body)?;
    if !left.is_empty() {
        return Err(torn::<T>("its frame holds more bytes than the type takes"));
    }
    Ok((value, rest))
}

/// A frame of several values, which follow each other with nothing in between.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        FrameWriter { bytes: vec![0; HEADER_BYTES] }
    }

    pub(crate) fn push<T: Serialize>(&mut self, value: &T) -> Result<()> {
        encode(value, &mut self.bytes)
    }

    /// How many bytes the values take.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// Ends the frame, hands it to `write`, and begins the next one.
    pub(crate) fn finish<R>(&mut self, write: impl FnOnce(&[u8]) -> R) -> R {
        seal(&mut self.bytes);
        let written = write(&self.bytes);
        self.bytes.truncate(HEADER_BYTES);
        written
    }
}

/// Checks length and checksum of the frame at the start of `bytes`. Returns what is in it, and what follows it.
pub(crate) fn open_frame(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let torn = |what: &str| Error::new(ErrorKind::Codec, what);
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| torn("the frame is cut short"))?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let checksum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let (body, rest) = rest.split_at_checked(length).ok_or_else(|| torn("the frame is cut short"))?;
    if crc32fast::hash(body) != checksum {
        return Err(torn("the checksum of the frame does not match"));
    }
    Ok((body, rest))
}

/// Reads the value at the start of what is in a frame, and returns it with what follows it.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<(T, &[u8])> {
    let (value, used) = bincode::serde::decode_from_slice(body, FORMAT)
        .map_err(|e| torn::<T>("its bytes do not fit the type").caused_by(e))?;
    Ok((value, &body[used..]))
}

/// Appends the bytes of a value.
fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<()> {
    let start = into.len();
    bincode::serde::encode_into_std_write(value, into, FORMAT)
        .map_err(|e| Error::new(ErrorKind::Codec, format!("a {} cannot be written", name::<T>())).caused_by(e))?;
    let length = into.len() - start;
    if length > MAX_VALUE_BYTES {
        let what = format!("a {} takes {length} bytes, more than {MAX_VALUE_BYTES}", name::<T>());
        return Err(Error::new(ErrorKind::Codec, what));
    }
    Ok(())
}

/// Writes the header of a frame that is complete.
fn seal(frame: &mut [u8]) {
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

fn torn<T>(what: &str) -> Error {
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
    fn values_of_one_frame_follow_each_other() {
        let mut writer = FrameWriter::new();
        let mut bytes = Vec::new();
        for values in [&["tide", ""][..], &[], &["mill"]] {
            values.iter().for_each(|value| writer.push(value).unwrap());
            writer.finish(|frame| bytes.extend_from_slice(frame));
            assert_eq!(writer.len(), 0);
        }
        let (first, rest) = open_frame(&bytes).unwrap();
        let (tide, left) = decode::<String>(first).unwrap();
        let (nothing, left) = decode::<String>(left).unwrap();
        assert_eq!((tide.as_str(), nothing.as_str(), left.len()), ("tide", "", 0));
        let (second, rest) = open_frame(rest).unwrap();
        assert!(second.is_empty());
        assert_eq!(decode_frame::<String>(rest).unwrap(), ("mill".to_string(), &[][..]));
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
