//! What becomes of messages: whole records, or what a type or a closure makes of them, or nothing, if they cannot be
//! decoded. Knows nothing of how they are fetched.

mod decode;
mod decoder;
pub mod fields;
mod message;
mod record;
mod undecodable;

pub use decode::{Decode, Json};
pub(super) use decoder::{Copied, Decoder, Each};
pub use message::{FromKafka, KafkaMessage};
pub(super) use record::serde_topic;
pub use record::{KafkaHeaders, KafkaRecord};
pub(super) use undecodable::LeftOut;
pub use undecodable::{DeadLetters, Undecodable};
