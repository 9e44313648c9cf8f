use std::ffi::CStr;
use std::sync::Arc;

use super::record::{KafkaHeaders, KafkaRecord};
use crate::error::Result;
use crate::input::kafka::native::{Headers, Message};
use crate::time::Time;

/// A message as it was fetched, lent while it is decoded: nothing is copied but what the program keeps.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{KafkaMessage, KafkaRecord};
///
/// // In a test a record stands for what a broker has sent.
/// let record = KafkaRecord::new("clicks", 2, 7).with_key("ada").with_value("home");
/// let message = KafkaMessage::from(&record);
/// assert_eq!(message.value(), Some(&b"home"[..]));
/// assert_eq!((message.topic(), message.partition(), message.offset()), ("clicks", 2, 7));
/// ```
#[derive(Clone, Copy)]
pub struct KafkaMessage<'m> {
    topic: &'m Arc<str>,
    partition: i32,
    inner: Inner<'m>,
}

#[derive(Clone, Copy)]
enum Inner<'m> {
    Fetched(Message<'m>),
    Record(&'m KafkaRecord),
}

impl<'m> KafkaMessage<'m> {
    pub(super) fn fetched(topic: &'m Arc<str>, partition: i32, message: Message<'m>) -> Self {
        KafkaMessage { topic, partition, inner: Inner::Fetched(message) }
    }

    /// The topic.
    pub fn topic(&self) -> &'m str {
        self.topic
    }

    /// The partition of the topic.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset in the partition.
    pub fn offset(&self) -> i64 {
        match self.inner {
            Inner::Fetched(message) => message.offset(),
            Inner::Record(record) => record.offset,
        }
    }

    /// When the record was made or appended, as the topic is configured; to the millisecond.
    pub fn timestamp(&self) -> Option<Time> {
        match self.inner {
            Inner::Fetched(message) => message.timestamp_millis().map(Time::from_millis),
            Inner::Record(record) => record.timestamp,
        }
    }

    /// The key. `None` is Kafka's null.
    pub fn key(&self) -> Option<&'m [u8]> {
        match self.inner {
            Inner::Fetched(message) => message.key(),
            Inner::Record(record) => record.key.as_deref(),
        }
    }

    /// The value. `None` is Kafka's null: in a compacted topic it deletes the key.
    pub fn value(&self) -> Option<&'m [u8]> {
        match self.inner {
            Inner::Fetched(message) => message.payload(),
            Inner::Record(record) => record.value.as_deref(),
        }
    }

    /// Names and values of the headers in order. A value of `None` is Kafka's null; a name that is not UTF-8 is left
    /// out. They are parsed here: who does not ask does not pay, about 100 ns for a message, also for one without any.
    pub fn headers(&self) -> impl Iterator<Item = (&'m str, Option<&'m [u8]>)> + use<'m> {
        let (fetched, record) = match self.inner {
            Inner::Fetched(message) => (message.headers(), None),
            Inner::Record(record) => (Headers::none(), Some(&record.headers)),
        };
        let name = |(name, value): (&'m CStr, Option<&'m [u8]>)| Some((name.to_str().ok()?, value));
        fetched.filter_map(name).chain(record.into_iter().flat_map(KafkaHeaders::iter))
    }

    /// The value of the last header of this name, which is the one that counts, if there is one and it is not null.
    pub fn header(&self, name: &str) -> Option<&'m [u8]> {
        self.headers().filter(|(other, _)| *other == name).last()?.1
    }

    /// A copy to keep.
    pub fn to_record(&self) -> KafkaRecord {
        match self.inner {
            Inner::Record(record) => record.clone(),
            Inner::Fetched(_) => KafkaRecord {
                topic: Arc::clone(self.topic),
                partition: self.partition,
                offset: self.offset(),
                timestamp: self.timestamp(),
                key: self.key().map(|key| key.to_vec().into()),
                value: self.value().map(|value| value.to_vec().into()),
                headers: self.headers().map(|(name, value)| (name, value.map(<[u8]>::to_vec))).collect(),
            },
        }
    }
}

impl<'r> From<&'r KafkaRecord> for KafkaMessage<'r> {
    fn from(record: &'r KafkaRecord) -> Self {
        KafkaMessage { topic: &record.topic, partition: record.partition, inner: Inner::Record(record) }
    }
}

impl std::fmt::Debug for KafkaMessage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaMessage({}/{} offset {})", self.topic, self.partition, self.offset())
    }
}

/// A type that is built from a Kafka message: the records of [`direct_stream_as`](crate::kafka::direct_stream_as).
///
/// A struct derives it: each field says which part of the message it takes. [`Decode`](crate::kafka::Decode) is enough
/// for a type that is made of the value alone: each is `FromKafka` too, and so is a pair of two, of key and value.
/// [`Json`](crate::kafka::Json) is such a type. By hand it looks like this:
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{FromKafka, KafkaMessage, KafkaRecord};
/// use tidemill::{Error, Result};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Level {
///     gauge: String,
///     millimetres: i32,
/// }
///
/// impl FromKafka for Level {
///     fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self> {
///         let text = |bytes: Option<&[u8]>| std::str::from_utf8(bytes.unwrap_or_default()).map(str::to_string);
///         let gauge = text(message.key()).map_err(Error::user)?;
///         let millimetres = text(message.value()).map_err(Error::user)?.parse().map_err(Error::user)?;
///         Ok(Level { gauge, millimetres })
///     }
/// }
///
/// let record = KafkaRecord::new("levels", 0, 7).with_key("Hull").with_value("4120");
/// let level = Level::from_kafka(&KafkaMessage::from(&record))?;
/// assert_eq!(level, Level { gauge: "Hull".to_string(), millimetres: 4120 });
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be built from a Kafka message",
    label = "not `tidemill::kafka::FromKafka`",
    note = "add `#[derive(tidemill::kafka::FromKafka)]` to the struct and `#[kafka(..)]` to its fields, or implement the trait",
    note = "for a value alone take `kafka::Json` of what serde reads, or implement `tidemill::kafka::Decode`; `(K, V)` is key and value, each of them `Decode`"
)]
pub trait FromKafka: Sized {
    /// Builds the record.
    ///
    /// # Errors
    ///
    /// What cannot be decoded, and why; the stream adds topic, partition and offset.
    fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self>;
}

impl FromKafka for KafkaRecord {
    /// A copy of the whole message, in allocations of its own.
    fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self> {
        Ok(message.to_record())
    }
}
