use serde::{Serialize, de::DeserializeOwned};

use crate::codec;
use crate::error::Result;

/// The entries of a keyed table on their way into a chunk: each a byte that says what becomes of the key (0: it is
/// removed, 1: it has the value that follows), and the bytes of the key and the value.
#[derive(Debug)]
pub(crate) struct Entries<'b>(&'b mut Vec<u8>);

const REMOVE: u8 = 0;
const PUT: u8 = 1;

impl<'b> Entries<'b> {
    /// Appends entries to `into`.
    pub(crate) fn new(into: &'b mut Vec<u8>) -> Self {
        Entries(into)
    }

    /// The key has this value.
    pub(crate) fn put<K: Serialize, V: Serialize>(&mut self, key: &K, value: &V) -> Result<()> {
        self.0.push(PUT);
        codec::encode_value(key, self.0)?;
        codec::encode_value(value, self.0)
    }

    /// The key has no value any more.
    pub(crate) fn remove<K: Serialize>(&mut self, key: &K) -> Result<()> {
        self.0.push(REMOVE);
        codec::encode_value(key, self.0)
    }
}

/// Reads entries, all of `bytes`, in order: `each` gets the key, and its value if it has one.
pub(crate) fn read_entries<K: DeserializeOwned, V: DeserializeOwned>(
    bytes: &[u8],
    each: impl FnMut(K, Option<V>),
) -> Result<()> {
    read_entries_with(bytes, codec::decode_value, each)
}

/// As [`read_entries`], where `read_value` reads the value at the start of its bytes, and says how many it took.
pub(crate) fn read_entries_with<K: DeserializeOwned, V>(
    mut bytes: &[u8],
    read_value: impl Fn(&[u8]) -> Result<(V, usize)>,
    mut each: impl FnMut(K, Option<V>),
) -> Result<()> {
    while let Some((&what, rest)) = bytes.split_first() {
        let (key, used) = codec::decode_value(rest)?;
        bytes = &rest[used..];
        let value = match what {
            REMOVE => None,
            PUT => {
                let (value, used) = read_value(bytes)?;
                bytes = &bytes[used..];
                Some(value)
            }
            _ => return Err(codec::torn::<K>("its entry is neither put nor removed")),
        };
        each(key, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(String, Option<u32>)>> {
        let mut entries = Vec::new();
        read_entries(bytes, |key, value| entries.push((key, value))).map(|()| entries)
    }

    #[test]
    fn entries_come_back_in_order() {
        let mut bytes = Vec::new();
        let mut entries = Entries::new(&mut bytes);
        entries.put(&"ebb", &300u32).unwrap();
        entries.remove(&"tide").unwrap();
        entries.put(&"tide", &7u32).unwrap();
        let expected = [("ebb", Some(300)), ("tide", None), ("tide", Some(7))];
        assert_eq!(read(&bytes).unwrap(), expected.map(|(key, value)| (key.to_string(), value)));
        assert_eq!(read(&[]).unwrap(), []);
        bytes[0] = 2;
        assert!(read(&bytes).unwrap_err().to_string().contains("neither put nor removed"));
    }

    #[test]
    fn bytes_that_are_cut_are_an_error_or_fewer_entries() {
        let mut bytes = Vec::new();
        let mut entries = Entries::new(&mut bytes);
        (0..3u32).for_each(|n| entries.put(&format!("key {n}"), &n).unwrap());
        let whole = bytes.len() / 3;
        for cut in 0..bytes.len() {
            match read(&bytes[..cut]) {
                Ok(entries) => assert_eq!((cut % whole, entries.len()), (0, cut / whole)),
                Err(_) => assert_ne!(cut % whole, 0),
            }
        }
    }
}
