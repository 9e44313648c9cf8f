//! From the bytes of keys, values and headers to values. All decoding is done here: that of types which say themselves
//! how, and the formats that `#[derive(FromKafka)]` names.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fields::Part;
use super::message::{FromKafka, KafkaMessage};
use crate::error::{Error, ErrorKind, Result};

/// A value that is read from the bytes of a key, a value or a header. Kafka's `Deserializer`.
///
/// | type | bytes |
/// |---|---|
/// | `String`, `Arc<str>` | UTF-8: `StringSerializer` |
/// | `Vec<u8>`, `Bytes` | as they are: `ByteArraySerializer` |
/// | `i16`, `i32`, `i64` | 2, 4 or 8, the highest first: `ShortSerializer`, `IntegerSerializer`, `LongSerializer` |
/// | `f32`, `f64` | 4 or 8, the highest first: `FloatSerializer`, `DoubleSerializer` |
/// | [`Json<T>`] | JSON of a `T` that serde can read |
/// | `Option<T>` | those of a `T`; Kafka's null is `None` |
/// | `()` | any, none of them looked at |
///
/// Implement it for types of your own: of Avro or Protocol Buffers, say. The bytes are lent, so that a decoder need not
/// copy those that it only looks at.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{self, Decode, FromKafka, KafkaRecord};
/// use tidemill::{Error, ErrorKind, Result};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Celsius(f64);
///
/// impl Decode for Celsius {
///     fn decode(bytes: &[u8]) -> Result<Self> {
///         match bytes {
///             [tenths] => Ok(Celsius(f64::from(*tenths) / 10.0)),
///             _ => Err(Error::new(ErrorKind::Codec, format!("{} bytes, where a temperature has 1", bytes.len()))),
///         }
///     }
/// }
///
/// // A record of the value alone, a pair with the key, or the field of a struct.
/// let record = KafkaRecord::new("weather", 0, 7).with_key("north").with_value(vec![205]);
/// assert_eq!(record.decode::<Celsius>()?, Celsius(20.5));
/// assert_eq!(record.decode::<(String, Option<Celsius>)>()?, ("north".to_string(), Some(Celsius(20.5))));
///
/// let error = record.with_value("20.5").decode::<Celsius>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "weather/0 offset 7: the value cannot be decoded: 4 bytes, where a temperature has 1"
/// );
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from the bytes of a Kafka message",
    label = "not `tidemill::kafka::Decode`",
    note = "name the format of a field: `#[kafka(value = json)]` for what derives `serde::Deserialize`, `= utf8` for what is `FromStr`; or take `kafka::Json` of the type, or implement `Decode` for it",
    note = "integers are `i16`, `i32` and `i64`, as Kafka's serializers write them; numbers in text are `= utf8`"
)]
pub trait Decode: Sized {
    /// Reads the value. All of the bytes have to belong to it.
    ///
    /// # Errors
    ///
    /// If the bytes are no such value: a phrase that says what they are instead. Where they come from is added to it.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// What Kafka's null stands for. `None`, unless implemented otherwise: a null is an error then.
    fn from_null() -> Option<Self> {
        None
    }
}

/// A value in JSON. [`Decode`] for whatever serde can read.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{Json, KafkaRecord};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     cents: u64,
/// }
///
/// let record = KafkaRecord::new("orders", 0, 7).with_key("ann").with_value(r#"{"cents": 1250}"#);
/// let (user, Json(order)) = record.decode::<(String, Json<Order>)>()?;
/// assert_eq!((&*user, order.cents), ("ann", 1250));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<T>(
    /// What was read.
    pub T,
);

impl<T: DeserializeOwned> Decode for Json<T> {
    fn decode(bytes: &[u8]) -> Result<Self> {
        json(bytes).map(Json)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(bytes: &[u8]) -> Result<Self> {
        T::decode(bytes).map(Some)
    }

    fn from_null() -> Option<Self> {
        Some(None)
    }
}

impl Decode for () {
    fn decode(_: &[u8]) -> Result<Self> {
        Ok(())
    }

    fn from_null() -> Option<Self> {
        Some(())
    }
}

impl Decode for String {
    fn decode(bytes: &[u8]) -> Result<Self> {
        utf8(bytes).map(Self::from)
    }
}

impl Decode for Arc<str> {
    fn decode(bytes: &[u8]) -> Result<Self> {
        utf8(bytes).map(Self::from)
    }
}

impl Decode for Vec<u8> {
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

impl Decode for Bytes {
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

macro_rules! numbers {
    ($($number:ident)*) => {
        $(impl Decode for $number {
            fn decode(bytes: &[u8]) -> Result<Self> {
                number(bytes, stringify!($number)).map($number::from_be_bytes)
            }
        })*
    };
}

numbers! { i16 i32 i64 f32 f64 }

fn number<const BYTES: usize>(bytes: &[u8], of: &str) -> Result<[u8; BYTES]> {
    bytes.try_into().map_err(|_| bad(format!("{} bytes, where an {of} has {BYTES}", bytes.len())))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        bad(format!("not UTF-8 from byte {at} of {} on", bytes.len())).caused_by(error)
    })
}

/// Reads text and what it stands for.
pub(super) fn text<T: FromStr>(bytes: &[u8]) -> Result<T>
where
    T::Err: Display,
{
    utf8(bytes)?.parse().map_err(|error: T::Err| bad(format!("the text is not as it should be: {error}")))
}

pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "the JSON is not as it should be" } else { "not JSON" };
        bad(format!("{what}: {error}")).caused_by(error)
    })
}

#[cold]
pub(super) fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Codec, what)
}

/// A record of the value alone.
impl<T: Decode> FromKafka for T {
    fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self> {
        Part::Value.decode(message)
    }
}

/// Key and value.
impl<K: Decode, V: Decode> FromKafka for (K, V) {
    fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self> {
        Ok((Part::Key.decode(message)?, Part::Value.decode(message)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::kafka::KafkaRecord;

    fn error_of<T: FromKafka>(record: &KafkaRecord) -> String {
        let error = record.decode::<T>().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Codec);
        let text = error.to_string();
        text.strip_prefix("a/0 offset 5: ").unwrap_or_else(|| panic!("no place in {text}")).to_string()
    }

    fn value(bytes: &[u8]) -> KafkaRecord {
        KafkaRecord::new("a", 0, 5).with_value(bytes.to_vec())
    }

    #[test]
    fn what_kafkas_serializers_write() {
        assert_eq!(value(b"ebb").decode::<String>().unwrap(), "ebb");
        assert_eq!(&*value(b"ebb").decode::<Arc<str>>().unwrap(), "ebb");
        assert_eq!(value(b"\xff").decode::<Vec<u8>>().unwrap(), b"\xff");
        assert_eq!(value(b"\xff").decode::<Bytes>().unwrap(), &b"\xff"[..]);
        assert_eq!(value(b"\xff\xfe").decode::<i16>().unwrap(), -2);
        assert_eq!(value(&[0, 0, 1, 0]).decode::<i32>().unwrap(), 256);
        assert_eq!(value(&[0, 0, 0, 0, 0, 0, 1, 0]).decode::<i64>().unwrap(), 256);
        assert_eq!(value(&[0x3f, 0xc0, 0, 0]).decode::<f32>().unwrap(), 1.5);
        assert_eq!(value(&[0xbf, 0xf8, 0, 0, 0, 0, 0, 0]).decode::<f64>().unwrap(), -1.5);
        assert_eq!(value(b"[1,2]").decode::<Json<Vec<u8>>>().unwrap(), Json(vec![1, 2]));
        assert_eq!(value(b"anything").decode::<()>().unwrap(), ());
    }

    #[test]
    fn what_bytes_are_instead() {
        assert_eq!(error_of::<String>(&value(b"ab\xff")), "the value cannot be decoded: not UTF-8 from byte 2 of 3 on");
        assert_eq!(error_of::<i64>(&value(b"256")), "the value cannot be decoded: 3 bytes, where an i64 has 8");
        assert_eq!(
            error_of::<Json<Vec<u8>>>(&value(b"[1, x]")),
            "the value cannot be decoded: not JSON: expected value at line 1 column 5"
        );
        assert_eq!(
            error_of::<Json<u8>>(&value(b"")),
            "the value cannot be decoded: not JSON: EOF while parsing a value at line 1 column 0"
        );
        assert_eq!(
            error_of::<Json<u8>>(&value(b"256")),
            "the value cannot be decoded: the JSON is not as it should be: invalid value: integer `256`, expected u8 at \
             line 1 column 3"
        );
        assert_eq!(
            text::<u8>(b"256").unwrap_err().to_string(),
            "the text is not as it should be: number too large to fit in target type"
        );
    }

    #[test]
    fn a_null_is_an_error_or_none() {
        let null = KafkaRecord::new("a", 0, 5).with_key("k");
        assert_eq!(error_of::<String>(&null), "the value is null");
        assert_eq!(null.decode::<Option<String>>().unwrap(), None);
        assert_eq!(null.decode::<(String, Option<Json<u8>>)>().unwrap(), ("k".to_string(), None));
        assert_eq!(null.decode::<(Bytes, ())>().unwrap(), (Bytes::from_static(b"k"), ()));
        // JSON has a null of its own.
        assert_eq!(value(b"null").decode::<Option<Json<Option<u8>>>>().unwrap(), Some(Json(None)));
    }

    #[test]
    fn a_pair_is_key_and_value() {
        let record = value(&[0, 0, 0, 7]);
        assert_eq!(error_of::<(String, i32)>(&record), "the key is null");
        assert_eq!(record.decode::<(Option<String>, i32)>().unwrap(), (None, 7));
        assert_eq!(
            error_of::<(i32, i32)>(&record.clone().with_key("7")),
            "the key cannot be decoded: 1 bytes, where an i32 has 4"
        );
        assert_eq!(
            error_of::<(String, i16)>(&record.with_key("7")),
            "the value cannot be decoded: 4 bytes, where an i16 has 2"
        );
    }
}
