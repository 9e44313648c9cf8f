//! What `#[derive(FromKafka)]` expands to: each field of a struct takes a part of the message. Errors name the field.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::decode::{self, Decode, bad};
use super::message::KafkaMessage;
use crate::error::Result;
use crate::time::Time;

/// A part of a message that is bytes or null.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The last header of this name.
    Header(&'static str),
}

impl Part {
    fn of<'m>(self, message: &KafkaMessage<'m>) -> Option<&'m [u8]> {
        match self {
            Part::Key => message.key(),
            Part::Value => message.value(),
            Part::Header(name) => message.header(name),
        }
    }

    /// Reads the part as its type says.
    pub(super) fn decode<T: Decode>(self, message: &KafkaMessage<'_>) -> Result<T> {
        match self.of(message) {
            Some(bytes) => self.read(bytes, T::decode),
            None => T::from_null().ok_or_else(|| self.null()),
        }
    }

    fn read<T>(self, bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        decode(bytes).map_err(|error| error.within(format!("{self} cannot be decoded")))
    }

    fn null(self) -> crate::error::Error {
        match self {
            Part::Key | Part::Value => bad(format!("{self} is null")),
            Part::Header(_) => bad(format!("{self} is null or not there")),
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Key => f.write_str("the key"),
            Part::Value => f.write_str("the value"),
            Part::Header(name) => write!(f, "the header {name}"),
        }
    }
}

/// A field whose type says how it is read.
#[inline]
pub fn decoded<T: Decode>(message: &KafkaMessage<'_>, field: &str, part: Part) -> Result<T> {
    within(field, part.decode(message))
}

/// A field that is there.
#[inline]
pub fn required<T>(
    message: &KafkaMessage<'_>,
    field: &str,
    part: Part,
    decode: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    within(field, part.of(message).ok_or_else(|| part.null()).and_then(|bytes| part.read(bytes, decode)))
}

/// A field that may be missing.
#[inline]
pub fn optional<T>(
    message: &KafkaMessage<'_>,
    field: &str,
    part: Part,
    decode: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    within(field, part.of(message).map(|bytes| part.read(bytes, decode)).transpose())
}

/// Reads text and what it stands for.
pub fn text<T: FromText>(bytes: &[u8]) -> Result<T> {
    T::from_text(bytes)
}

/// Reads JSON.
pub fn json<T: FromJson>(bytes: &[u8]) -> Result<T> {
    T::from_json(bytes)
}

/// Takes the bytes as they are.
pub fn bytes<T: FromBytes>(bytes: &[u8]) -> Result<T> {
    T::from_bytes(bytes)
}

/// A time that is there.
#[inline]
pub fn timestamp(message: &KafkaMessage<'_>, field: &str) -> Result<Time> {
    within(field, message.timestamp().ok_or_else(|| bad("the message has no timestamp")))
}

fn within<T>(field: &str, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| error.within(format!("field {field}")))
}

/// What `= utf8` reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from text",
    label = "not `std::str::FromStr`",
    note = "`= utf8` reads what implements `FromStr`, with an error that can be displayed: `String`, numbers, types of your own"
)]
pub trait FromText: Sized {
    /// Reads text and what it stands for.
    fn from_text(bytes: &[u8]) -> Result<Self>;
}

impl<T: FromStr<Err: Display>> FromText for T {
    fn from_text(bytes: &[u8]) -> Result<Self> {
        decode::text(bytes)
    }
}

/// What `= json` reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from JSON",
    label = "not `serde::Deserialize`",
    note = "add `#[derive(serde::Deserialize)]` to the type; it owns what it consists of (`String`, not `&str`)"
)]
pub trait FromJson: Sized {
    /// Reads JSON.
    fn from_json(bytes: &[u8]) -> Result<Self>;
}

impl<T: DeserializeOwned> FromJson for T {
    fn from_json(bytes: &[u8]) -> Result<Self> {
        decode::json(bytes)
    }
}

/// What `= bytes` reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold bytes",
    label = "not `From<Vec<u8>>`",
    note = "`= bytes` is for `Vec<u8>`, `bytes::Bytes`, `Arc<[u8]>` and what else can be made of a `Vec<u8>`"
)]
pub trait FromBytes: Sized {
    /// Takes the bytes as they are.
    fn from_bytes(bytes: &[u8]) -> Result<Self>;
}

impl<T: From<Vec<u8>>> FromBytes for T {
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec().into())
    }
}

/// What `headers` fills.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold the headers of a message",
    label = "not a collection of `(String, Option<Vec<u8>>)`",
    note = "make it `tidemill::kafka::KafkaHeaders`, or a `Vec` or `HashMap` of names and values"
)]
pub trait FromHeaders: Sized {
    /// Takes all of them, in order.
    fn from_headers(message: &KafkaMessage<'_>) -> Self;
}

impl<T: FromIterator<(String, Option<Vec<u8>>)>> FromHeaders for T {
    fn from_headers(message: &KafkaMessage<'_>) -> Self {
        message.headers().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect()
    }
}

/// What `topic` fills.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold the name of a topic",
    label = "not `From<&str>`",
    note = "make it a `String`, or an `Arc<str>`, which is cheap to clone"
)]
pub trait FromTopic: Sized {
    /// Takes the name.
    fn from_topic(topic: &str) -> Self;
}

impl<T: for<'t> From<&'t str>> FromTopic for T {
    fn from_topic(topic: &str) -> Self {
        topic.into()
    }
}
