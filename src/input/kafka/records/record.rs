use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::FromKafka;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// A record as Kafka keeps it. Spark's `ConsumerRecord`.
///
/// Cloning copies no bytes. Key, value and headers share one allocation with the records that were fetched beside
/// them, up to about 256 KiB: a program that keeps a few records for long should keep copies of what it needs.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::KafkaRecord;
///
/// let record = KafkaRecord::new("lines", 2, 7).with_value("to be or not to be");
/// assert_eq!(record.value_utf8()?, "to be or not to be");
/// assert_eq!(record.key_utf8().unwrap_err().to_string(), "lines/2 offset 7: the key is null");
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KafkaRecord {
    /// The topic.
    #[serde(with = "serde_topic")]
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// When the record was made or appended, as the topic is configured; to the millisecond.
    #[serde(with = "serde_timestamp")]
    pub timestamp: Option<Time>,
    /// The key. `None` is Kafka's null.
    pub key: Option<Bytes>,
    /// The value. `None` is Kafka's null: in a compacted topic it deletes the key.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: KafkaHeaders,
}

impl KafkaRecord {
    /// A record with nothing in it, to test what is done with one.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32, offset: i64) -> Self {
        let headers = KafkaHeaders::default();
        KafkaRecord { topic: topic.into(), partition, offset, timestamp: None, key: None, value: None, headers }
    }

    /// The same record with this key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same record with this value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same record with this timestamp.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Time) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The record as another type: one with `#[derive(FromKafka)]`, a value, a pair of key and value.
    ///
    /// # Errors
    ///
    /// If the record is no such thing; names topic, partition and offset.
    pub fn decode<T: FromKafka>(&self) -> Result<T> {
        let KafkaRecord { topic, partition, offset, .. } = self;
        T::from_kafka(&self.into()).map_err(|error| error.within(format!("{topic}/{partition} offset {offset}")))
    }

    /// The value as text.
    ///
    /// # Errors
    ///
    /// If the value is null or not UTF-8; names topic, partition and offset.
    pub fn value_utf8(&self) -> Result<&str> {
        self.utf8("value", self.value.as_deref())
    }

    /// The key as text.
    ///
    /// # Errors
    ///
    /// If the key is null or not UTF-8; names topic, partition and offset.
    pub fn key_utf8(&self) -> Result<&str> {
        self.utf8("key", self.key.as_deref())
    }

    fn utf8<'r>(&self, what: &str, bytes: Option<&'r [u8]>) -> Result<&'r str> {
        let bytes = bytes.ok_or_else(|| self.undecodable(&format!("the {what} is null")))?;
        std::str::from_utf8(bytes).map_err(|e| {
            let at = e.valid_up_to();
            self.undecodable(&format!("the {what} of {} bytes is not UTF-8 from byte {at} on", bytes.len()))
                .caused_by(e)
        })
    }

    #[cold]
    fn undecodable(&self, what: &str) -> Error {
        let KafkaRecord { topic, partition, offset, .. } = self;
        Error::new(ErrorKind::Input, format!("{topic}/{partition} offset {offset}: {what}"))
    }
}

impl fmt::Debug for KafkaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KafkaRecord { topic, partition, offset, key, value, .. } = self;
        write!(f, "KafkaRecord({topic}/{partition} offset {offset}, key {key:?}, value {value:?})")
    }
}

/// The headers of a [`KafkaRecord`], in order. A name may occur more than once.
///
/// Cloning is cheap; no headers take no memory.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::KafkaHeaders;
///
/// let headers: KafkaHeaders = [("trace", Some("a1")), ("trace", Some("b2")), ("empty", None)].into_iter().collect();
/// assert_eq!(headers.last("trace"), Some(&b"b2"[..]));
/// assert_eq!(headers.iter().count(), 3);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaHeaders(Option<Arc<[Header]>>);

type Header = (Box<str>, Option<Bytes>);

impl KafkaHeaders {
    /// Names and values in order. A value of `None` is Kafka's null.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Option<&[u8]>)> {
        self.all().iter().map(|(name, value)| (&**name, value.as_deref()))
    }

    /// The value of the last header of this name, which is the one that counts, if there is one and it is not null.
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        self.all().iter().rev().find(|(other, _)| **other == *name)?.1.as_deref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn all(&self) -> &[Header] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn from_vec(headers: Vec<Header>) -> Self {
        KafkaHeaders(if headers.is_empty() { None } else { Some(headers.into()) })
    }
}

impl<N: Into<Box<str>>, V: Into<Bytes>> FromIterator<(N, Option<V>)> for KafkaHeaders {
    fn from_iter<I: IntoIterator<Item = (N, Option<V>)>>(headers: I) -> Self {
        KafkaHeaders::from_vec(headers.into_iter().map(|(name, value)| (name.into(), value.map(Into::into))).collect())
    }
}

impl fmt::Debug for KafkaHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl Serialize for KafkaHeaders {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KafkaHeaders {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(KafkaHeaders::from_vec(Vec::deserialize(deserializer)?))
    }
}

/// Writes a topic as text.
pub(in crate::input::kafka) mod serde_topic {
    use super::{Arc, Deserialize};

    pub(in crate::input::kafka) fn serialize<S: serde::Serializer>(
        topic: &Arc<str>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(topic)
    }

    pub(in crate::input::kafka) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}

/// Writes a time in microseconds.
mod serde_timestamp {
    use super::{Deserialize, Serialize, Time};

    pub(super) fn serialize<S: serde::Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Time::as_micros).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Time::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_named() {
        let record = KafkaRecord::new("lines", 2, 7).with_value(&b"ab\xff"[..]).with_key("k");
        let error = record.value_utf8().unwrap_err();
        assert_eq!(error.to_string(), "lines/2 offset 7: the value of 3 bytes is not UTF-8 from byte 2 on");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(record.key_utf8().unwrap(), "k");
    }

    #[test]
    fn a_record_crosses_a_shuffle() {
        let mut record = KafkaRecord::new("lines", 2, 7).with_key("").with_timestamp(Time::from_millis(5));
        record.headers = [("h", Some("v")), ("n", None)].into_iter().collect();
        let mut bytes = Vec::new();
        crate::codec::encode_frame(&record, &mut bytes).unwrap();
        assert_eq!(crate::codec::decode_frame::<KafkaRecord>(&bytes).unwrap().0, record);
        assert_eq!(record.headers.last("n"), None);
        assert_eq!(record.headers.len(), 2);
    }

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<KafkaRecord>() <= 128, "{}", size_of::<KafkaRecord>());
    }
}
