use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};

use crate::time::Time;

/// A record on its way to Kafka. Kafka's `ProducerRecord`.
///
/// Topic, key, value and headers are borrowed where they can be: of a `&str` nothing is copied before librdkafka takes
/// the record. What a closure has captured it cannot lend, so the name of a topic in a variable is cloned:
/// `ProducerRecord::new(topic.clone(), value)`.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::ProducerRecord;
///
/// let count = ProducerRecord::new("counts", "17").with_key("tide").with_header("job", "word count");
/// assert_eq!((count.topic(), count.key(), count.value()), ("counts", Some(&b"tide"[..]), Some(&b"17"[..])));
///
/// let gone = ProducerRecord::tombstone("counts", "ebb");
/// assert_eq!((gone.key(), gone.value()), (Some(&b"ebb"[..]), None));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ProducerRecord<'r> {
    topic: Cow<'r, str>,
    key: RecordBytes<'r>,
    value: RecordBytes<'r>,
    headers: Vec<(Cow<'r, str>, RecordBytes<'r>)>,
    partition: Option<i32>,
    timestamp: Option<Time>,
}

impl<'r> ProducerRecord<'r> {
    /// A record without a key: it goes to any partition.
    ///
    /// A value of `None` is Kafka's null.
    pub fn new(topic: impl Into<Cow<'r, str>>, value: impl Into<RecordBytes<'r>>) -> Self {
        ProducerRecord {
            topic: topic.into(),
            key: RecordBytes::NULL,
            value: value.into(),
            headers: Vec::new(),
            partition: None,
            timestamp: None,
        }
    }

    /// A record that deletes the key from a compacted topic: its value is null.
    pub fn tombstone(topic: impl Into<Cow<'r, str>>, key: impl Into<RecordBytes<'r>>) -> Self {
        ProducerRecord::new(topic, RecordBytes::NULL).with_key(key)
    }

    /// The same record with this key, which decides the partition: records with one key go to one partition.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<RecordBytes<'r>>) -> Self {
        self.key = key.into();
        self
    }

    /// The same record with one more header. A name may occur more than once, and a value of `None` is Kafka's null.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'r, str>>, value: impl Into<RecordBytes<'r>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same record for this partition, from 0 on, whatever its key is.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same record with this timestamp, of which Kafka keeps the milliseconds. Unless set it is the time at which
    /// the record is sent; and a topic may say that it is the time at which the broker takes it.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Time) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The topic it goes to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The key. `None` is Kafka's null.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.get()
    }

    /// The value. `None` is Kafka's null.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.get()
    }

    /// The headers in order, names and values.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// The partition, if the record asks for one.
    pub fn partition(&self) -> Option<i32> {
        self.partition
    }

    /// The timestamp, if the record has one.
    pub fn timestamp(&self) -> Option<Time> {
        self.timestamp
    }

    /// The headers as librdkafka takes them.
    pub(super) fn native_headers(&self) -> Option<OwnedHeaders> {
        if self.headers.is_empty() {
            return None;
        }
        let empty = OwnedHeaders::new_with_capacity(self.headers.len());
        Some(self.headers().fold(empty, |headers, (key, value)| headers.insert(Header { key, value })))
    }
}

impl fmt::Debug for ProducerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProducerRecord({}, key {:?}, value {:?})", self.topic, self.key, self.value)
    }
}

/// Bytes of a [`ProducerRecord`], borrowed or owned, or null: whatever can be made one with `into`.
///
/// Strings, slices, arrays, vectors, [`bytes::Bytes`], references to them, and an `Option` of each.
#[derive(Clone)]
pub struct RecordBytes<'r>(Kind<'r>);

#[derive(Clone)]
enum Kind<'r> {
    Null,
    Borrowed(&'r [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl RecordBytes<'_> {
    const NULL: Self = RecordBytes(Kind::Null);

    fn get(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Null => None,
            Kind::Borrowed(bytes) => Some(bytes),
            Kind::Owned(bytes) => Some(bytes),
            Kind::Shared(bytes) => Some(bytes),
        }
    }
}

impl PartialEq for RecordBytes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for RecordBytes<'_> {}

impl fmt::Debug for RecordBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            None => f.write_str("null"),
            Some(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

impl<'r> From<&'r [u8]> for RecordBytes<'r> {
    fn from(bytes: &'r [u8]) -> Self {
        RecordBytes(Kind::Borrowed(bytes))
    }
}

impl<'r, const N: usize> From<&'r [u8; N]> for RecordBytes<'r> {
    fn from(bytes: &'r [u8; N]) -> Self {
        RecordBytes(Kind::Borrowed(bytes))
    }
}

impl<'r> From<&'r Vec<u8>> for RecordBytes<'r> {
    fn from(bytes: &'r Vec<u8>) -> Self {
        RecordBytes(Kind::Borrowed(bytes))
    }
}

impl<'r> From<&'r Bytes> for RecordBytes<'r> {
    fn from(bytes: &'r Bytes) -> Self {
        RecordBytes(Kind::Borrowed(bytes))
    }
}

impl<'r> From<&'r str> for RecordBytes<'r> {
    fn from(text: &'r str) -> Self {
        RecordBytes(Kind::Borrowed(text.as_bytes()))
    }
}

impl<'r> From<&'r String> for RecordBytes<'r> {
    fn from(text: &'r String) -> Self {
        RecordBytes(Kind::Borrowed(text.as_bytes()))
    }
}

impl<const N: usize> From<[u8; N]> for RecordBytes<'_> {
    fn from(bytes: [u8; N]) -> Self {
        RecordBytes(Kind::Owned(bytes.to_vec()))
    }
}

impl From<Vec<u8>> for RecordBytes<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        RecordBytes(Kind::Owned(bytes))
    }
}

impl From<String> for RecordBytes<'_> {
    fn from(text: String) -> Self {
        RecordBytes(Kind::Owned(text.into_bytes()))
    }
}

impl From<Bytes> for RecordBytes<'_> {
    fn from(bytes: Bytes) -> Self {
        RecordBytes(Kind::Shared(bytes))
    }
}

impl<'r, B: Into<RecordBytes<'r>>> From<Option<B>> for RecordBytes<'r> {
    fn from(bytes: Option<B>) -> Self {
        bytes.map_or(RecordBytes::NULL, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::Headers;

    #[test]
    fn bytes_are_equal_whoever_owns_them_and_null_is_not_empty() {
        let text = "tide".to_string();
        let all: [RecordBytes<'_>; 10] = [
            "tide".into(),
            (&text).into(),
            text.clone().into(),
            b"tide".into(),
            (*b"tide").into(),
            b"tide"[..].into(),
            b"tide".to_vec().into(),
            Bytes::from_static(b"tide").into(),
            Some("tide").into(),
            RecordBytes(Kind::Borrowed(&b"tide"[..])),
        ];
        for bytes in &all {
            assert_eq!(*bytes, all[0]);
            assert_eq!(format!("{bytes:?}"), "\"tide\"");
        }
        assert_ne!(RecordBytes::from(None::<&str>), RecordBytes::from(""));
    }

    #[test]
    fn nothing_is_copied_that_can_be_borrowed() {
        let (key, value) = ("key".to_string(), vec![7_u8; 3]);
        let record = ProducerRecord::new("t", &value).with_key(&key);
        assert_eq!(record.key().unwrap().as_ptr(), key.as_ptr());
        assert_eq!(record.value().unwrap().as_ptr(), value.as_ptr());
        assert!(matches!(record.topic, Cow::Borrowed("t")));
    }

    #[test]
    fn headers_keep_their_order_and_their_nulls() {
        let record = ProducerRecord::new("t", "v");
        assert!(record.native_headers().is_none());
        let record = record.with_header("a", "1").with_header("a", None::<&str>).with_header("b", "");
        let headers = record.native_headers().unwrap();
        let found: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
        assert_eq!(found, [("a", Some(&b"1"[..])), ("a", None), ("b", Some(&b""[..]))]);
    }
}
