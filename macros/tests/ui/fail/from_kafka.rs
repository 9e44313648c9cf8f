//! All that is wrong with a record is reported at once, and what uses it does not fail as well.

extern crate self as tidemill;

use tidemill_macros::FromKafka;

/// As much of the library as the derive refers to: the feature with the rest compiles librdkafka.
pub mod kafka {
    pub struct KafkaMessage<'m>(pub &'m ());

    pub trait FromKafka: Sized {
        fn from_kafka(message: &KafkaMessage<'_>) -> super::Result<Self>;
    }
}

pub type Result<T> = std::result::Result<T, ()>;

#[derive(FromKafka)]
struct Click {
    user: String,
    #[kafka]
    page: String,
    #[kafka(valeu)]
    cents: u64,
    #[kafka("key")]
    key: String,
    #[kafka(key, value)]
    both: String,
    #[kafka(key)]
    #[kafka(value = avro)]
    twice: String,
}

#[derive(FromKafka)]
struct Formats {
    #[kafka(value = "json")]
    quoted: String,
    #[kafka(value, json)]
    separated: String,
    #[kafka(value = avro)]
    unknown: String,
    #[kafka(value = )]
    nothing: String,
    #[kafka(offset = utf8)]
    offset: i64,
}

#[derive(FromKafka)]
struct Headers {
    #[kafka(header)]
    unnamed: String,
    #[kafka(header = trace)]
    unquoted: String,
    #[kafka(header = "trace", "json")]
    quoted: String,
    #[kafka(header("trace"))]
    called: String,
}

#[derive(FromKafka)]
#[kafka(value = json)]
struct Whole<'a, T>(&'a str, #[kafka(key)] T);

#[derive(FromKafka)]
enum Event {
    #[kafka(key)]
    Click,
}

#[derive(FromKafka)]
union Bits {
    #[kafka(value)]
    number: i64,
}

fn is_built<T: kafka::FromKafka>() {}

fn main() {
    is_built::<Click>();
    is_built::<Formats>();
    is_built::<Headers>();
    is_built::<Whole<'static, String>>();
    is_built::<Event>();
    is_built::<Bits>();
}
