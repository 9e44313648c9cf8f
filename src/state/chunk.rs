//! How tables of keys are written into the chunks of a checkpoint. Chunks are framed, with length and checksum, by who
//! keeps them. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..1 | version of the format: 2 |
//! | 1..2 | how the rest is written, a sum: 1 the numbers in keys are fixed, 2 there are idle times |
//! | entry, until the chunk ends: | |
//! | 1 | 0: the key has no value any more; 1: the key has this value |
//! | any | the key, as bincode writes what serde makes of it |
//! | 8, if 1 and there are idle times | the microseconds from the key's last use to the batch of the chunk |
//! | any, if 1 | the value, as the key; its numbers are not fixed |
//!
//! A later entry of a key takes the place of an earlier one. [`Numbers`] says what fixed numbers are, and how others are
//! written.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{self, Numbers};
use crate::error::{Error, ErrorKind, Result};

const VERSION: u8 = 2;
const HEAD: usize = 2;

const FIXED_KEYS: u8 = 1;
const IDLE_TIMES: u8 = 2;

/// No chunk has more room before it is known to need it.
const MOST_ROOM: usize = 1 << 20;

const REMOVE: u8 = 0;
const PUT: u8 = 1;

/// A chunk that is being written.
#[derive(Debug)]
pub(crate) struct ChunkWriter<K, V> {
    bytes: Vec<u8>,
    has_idle_times: bool,
    entries: usize,
    of: PhantomData<fn(&K, &V)>,
}

impl<K: Serialize, V: Serialize> ChunkWriter<K, V> {
    /// Keys may be as large as hashes are; values are small numbers more often than not.
    const KEYS: Numbers = Numbers::of::<K>();

    /// A chunk without entries.
    pub(crate) fn new(has_idle_times: bool) -> Self {
        let keys = if Self::KEYS == Numbers::Fixed { FIXED_KEYS } else { 0 };
        let flags = if has_idle_times { keys | IDLE_TIMES } else { keys };
        ChunkWriter { bytes: vec![VERSION, flags], has_idle_times, entries: 0, of: PhantomData }
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// The key has this value. `idle_micros` is left out if there are no idle times.
    #[inline]
    pub(crate) fn put(&mut self, key: &K, idle_micros: u64, value: &V) -> Result<()> {
        self.entries += 1;
        self.bytes.push(PUT);
        Self::KEYS.encode(key, &mut self.bytes)?;
        if self.has_idle_times {
            self.bytes.extend_from_slice(&idle_micros.to_le_bytes());
        }
        codec::encode_value(value, &mut self.bytes)
    }

    /// The key has no value any more.
    pub(crate) fn remove(&mut self, key: &K) -> Result<()> {
        self.entries += 1;
        self.bytes.push(REMOVE);
        Self::KEYS.encode(key, &mut self.bytes)
    }

    /// What has been written so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), entries: self.entries }
    }

    /// Takes out what was written since.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.entries = mark.entries;
    }

    /// Takes the bytes of the chunk, with as much room again behind them at most. What is written from here on is the next
    /// one, which gets as much room, within reason.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut next = Vec::with_capacity(self.bytes.len().min(MOST_ROOM));
        next.extend_from_slice(&self.bytes[..HEAD]);
        self.entries = 0;
        let mut bytes = std::mem::replace(&mut self.bytes, next);
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        bytes
    }
}

/// How much of a chunk is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    entries: usize,
}

impl Mark {
    /// Nothing.
    pub(crate) const BEGIN: Mark = Mark { bytes: HEAD, entries: 0 };
}

/// What a chunk says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<K, V> {
    pub(crate) key: K,
    /// How many microseconds ago it was used, 0 if there are no idle times, and its value; `None` if it has none any more.
    pub(crate) kept: Option<(u64, V)>,
}

/// Calls `each` with every entry of a chunk, in order.
///
/// `read_value` reads the value at the start of its bytes, and says how many it took.
pub(crate) fn read<K: DeserializeOwned, V>(
    bytes: &[u8],
    read_value: impl Fn(&[u8]) -> Result<(V, usize)>,
    mut each: impl FnMut(Said<K, V>),
) -> Result<()> {
    let wrong = |what: String| Error::new(ErrorKind::Codec, format!("a chunk of state cannot be read: {what}"));
    let cut_short = || wrong("it is cut short".to_string());
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => return Err(wrong(format!("it has version {version}, and this program knows {VERSION}"))),
        None => return Err(wrong("it is empty".to_string())),
    }
    let Some((&flags, mut rest)) = bytes[1..].split_first() else { return Err(wrong("it is cut short".to_string())) };
    if flags > FIXED_KEYS | IDLE_TIMES {
        return Err(wrong(format!("it is written in a way {flags} that this program does not know")));
    }
    let keys = if flags & FIXED_KEYS == 0 { Numbers::Variable } else { Numbers::Fixed };
    while let Some((&what, entry)) = rest.split_first() {
        let (key, used) = keys.decode(entry)?;
        rest = &entry[used..];
        let kept = match what {
            REMOVE => None,
            PUT => {
                let idle = if flags & IDLE_TIMES == 0 { 0 } else { take_u64(&mut rest).ok_or_else(cut_short)? };
                let (value, used) = read_value(rest)?;
                rest = &rest[used..];
                Some((idle, value))
            }
            _ => return Err(wrong("an entry is neither put nor removed".to_string())),
        };
        each(Said { key, kept });
    }
    Ok(())
}

/// Takes eight bytes from the front.
fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    /// The keys that are gone come in the middle.
    fn written<K: Serialize, V: Serialize>(gone: &[K], kept: &[(K, u64, V)], has_idle_times: bool) -> Vec<u8> {
        let mut chunk = ChunkWriter::new(has_idle_times);
        for (number, (key, idle, value)) in kept.iter().enumerate() {
            chunk.put(key, *idle, value).unwrap();
            if number == 0 {
                gone.iter().for_each(|key| chunk.remove(key).unwrap());
            }
        }
        assert_eq!(chunk.entries(), gone.len() + kept.len());
        chunk.take()
    }

    type All<K, V> = Vec<(K, Option<(u64, V)>)>;

    fn read_all<K: DeserializeOwned, V: DeserializeOwned>(bytes: &[u8]) -> Result<All<K, V>> {
        let mut all = Vec::new();
        read(bytes, codec::decode_value, |said: Said<K, V>| all.push((said.key, said.kept))).map(|()| all)
    }

    fn comes_back<K, V>(gone: &[K], kept: &[(K, u64, V)])
    where
        K: Serialize + DeserializeOwned + Clone + PartialEq + Debug,
        V: Serialize + DeserializeOwned + Clone + PartialEq + Debug,
    {
        for has_idle_times in [false, true] {
            let bytes = written(gone, kept, has_idle_times);
            let idle = |micros| if has_idle_times { micros } else { 0 };
            let mut expected: All<K, V> =
                kept.iter().cloned().map(|(key, micros, value)| (key, Some((idle(micros), value)))).collect();
            expected.splice(1..1, gone.iter().cloned().map(|key| (key, None)));
            assert_eq!(read_all::<K, V>(&bytes).unwrap(), expected);
            // Cut anywhere, it has the entries before or is an error.
            for cut in 0..bytes.len() {
                let Ok(entries) = read_all::<K, V>(&bytes[..cut]) else { continue };
                assert!(entries.len() < expected.len() && expected.starts_with(&entries), "{cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn entries_come_back_in_order() {
        let text = |text: &str| text.to_string();
        comes_back(&[7u64, 1 << 40], &[(7, 0, 3i32), (7, u64::MAX, -3), (0, 1, 0)]);
        comes_back(&[text("ebb")], &[(text("ebb"), 1, vec![300u32]), (text(""), 2, vec![])]);
        comes_back(&[text("ebb")], &[(text("ebb"), 1, (7u8, Some(2.5f64))), (text("tide"), 2, (8, None))]);
        comes_back(&[(1u16, 'a')], &[((1, 'a'), 1, text("low")), ((2, 'ß'), 2, text("high"))]);
        comes_back(&[(), ()], &[((), 1, ()), ((), 2, ())]);
        assert_eq!(read_all::<u64, u64>(&written::<u64, u64>(&[], &[], false)).unwrap(), []);
    }

    #[test]
    fn the_bytes_of_a_chunk() {
        let bytes = written(&[9u64], &[(300, 2, "ebb".to_string())], true);
        let parts: [&[u8]; 6] =
            [b"\x02\x03", b"\x01\x2c\x01\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0", b"\x03ebb", b"\0", b"\x09\0\0\0\0\0\0\0"];
        assert_eq!(bytes, parts.concat());
        let bytes = written(&[], &[("ebb".to_string(), 2, 7u16), ("tide".to_string(), 2, 300)], false);
        assert_eq!(bytes, *b"\x02\x00\x01\x03ebb\x07\x01\x04tide\xfb\x2c\x01");
        // Numbers that are not fixed, with a sign too.
        let bytes = written(&[], &[(vec![300u64], 0, vec![-2i16, 1])], false);
        assert_eq!(bytes, *b"\x02\x00\x01\x01\xfb\x2c\x01\x02\x03\x02");
    }

    #[test]
    fn bytes_that_lie_are_errors() {
        let wrong = |bytes: &[u8]| read_all::<u8, Vec<u64>>(bytes).unwrap_err().to_string();
        assert!(wrong(b"").contains("it is empty"));
        assert!(wrong(b"\x01").contains("it has version 1, and this program knows 2"));
        assert!(wrong(b"\x02").contains("cut short"));
        assert!(wrong(b"\x02\x04").contains("written in a way 4"));
        assert!(wrong(b"\x02\x01\x05\x07").contains("neither put nor removed"));
        assert!(wrong(b"\x02\x01\x01\x07").contains("do not fit"));
        assert!(wrong(b"\x02\x03\x01\x07\0").contains("cut short"));
        // A state of 2^62 numbers.
        assert!(wrong(b"\x02\x01\x01\x07\xfd\0\0\0\0\0\0\0\x40").contains("do not fit"));
    }

    #[test]
    fn a_chunk_takes_the_room_that_it_needs() {
        let mut chunk = ChunkWriter::<u64, u64>::new(false);
        let mut take = |keys: u64| {
            (0..keys).for_each(|key| chunk.put(&key, 0, &1).unwrap());
            let bytes = chunk.take();
            (bytes.len(), bytes.capacity())
        };
        let length = |keys: usize| HEAD + 10 * keys;
        let (first, room) = take(1000);
        assert!((first..=2 * first).contains(&room));
        // As before, and this time it is known how much that is; then less.
        assert_eq!(take(1000), (length(1000), length(1000)));
        assert_eq!(take(1), (length(1), length(1)));
        // What was taken back leaves nothing.
        chunk.put(&7, 0, &7).unwrap();
        let mark = chunk.mark();
        chunk.put(&8, 0, &8).unwrap();
        chunk.back_to(mark);
        assert_eq!((chunk.entries(), chunk.bytes.len()), (1, length(1)));
        chunk.back_to(Mark::BEGIN);
        assert_eq!((chunk.entries(), chunk.take().len()), (0, HEAD));
        (0..200_000).for_each(|key| chunk.put(&key, 0, &key).unwrap());
        assert!(chunk.take().len() > MOST_ROOM);
        assert_eq!(chunk.bytes.capacity(), MOST_ROOM);
    }
}
