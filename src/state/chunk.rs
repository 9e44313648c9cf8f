//! How a table is written into the chunks of a checkpoint. Chunks are framed, with length and checksum, by who keeps
//! them. Numbers are bincode's: one byte up to 250; 251, 252 or 253 and then 2, 4 or 8 bytes, little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of the format: 1 |
//! | entry, until the chunk ends: | |
//! | 1 | 0: the key has no state any more; 1: the key has this state |
//! | any | the key, as bincode writes what serde makes of it |
//! | 1 to 9, if 1 | the microseconds from the key's last use to the batch of the chunk; 0 if there is no timeout |
//! | any, if 1 | the state, as the key |
//!
//! A later entry of a key takes the place of an earlier one.

use serde::{Serialize, de::DeserializeOwned};

use super::{Entries, read_entries_with};
use crate::codec;
use crate::error::{Error, ErrorKind, Result};

const VERSION: u8 = 1;

/// What a chunk says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<K, S> {
    pub(crate) key: K,
    /// How many microseconds ago it was used, and its state; `None` if it has none any more.
    pub(crate) kept: Option<(u64, S)>,
}

pub(super) fn begin(into: &mut Vec<u8>) -> Entries<'_> {
    into.push(VERSION);
    Entries::new(into)
}

pub(super) fn write_kept<K: Serialize, S: Serialize>(
    key: &K,
    idle_micros: u64,
    state: &S,
    into: &mut Entries<'_>,
) -> Result<()> {
    into.put(key, &(idle_micros, state))
}

/// Calls `each` with every entry of a chunk.
///
/// `read_state` reads the state at the start of its bytes, and says how many it took.
pub(crate) fn read<K: DeserializeOwned, S>(
    bytes: &[u8],
    read_state: impl Fn(&[u8]) -> Result<(S, usize)>,
    mut each: impl FnMut(Said<K, S>),
) -> Result<()> {
    let wrong = |what: String| Error::new(ErrorKind::Codec, format!("a chunk of state cannot be read: {what}"));
    match bytes.split_first() {
        Some((&VERSION, entries)) => {
            let read_kept = |bytes: &[u8]| {
                let (idle, used) = codec::decode_value::<u64>(bytes)?;
                let (state, of_state) = read_state(&bytes[used..])?;
                Ok(((idle, state), used + of_state))
            };
            read_entries_with(entries, read_kept, |key, kept| each(Said { key, kept }))
        }
        Some((version, _)) => Err(wrong(format!("it has version {version}, and this program knows {VERSION}"))),
        None => Err(wrong("it is empty".to_string())),
    }
}
