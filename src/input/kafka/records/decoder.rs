use std::ffi::CStr;
use std::sync::Arc;

use bytes::Bytes;

use super::message::KafkaMessage;
use super::record::{KafkaHeaders, KafkaRecord};
use super::undecodable::{LeftOut, Policy, Undecodable};
use crate::error::Result;
use crate::input::kafka::native::{Headers, Message, Messages};
use crate::input::kafka::topic_partition::TopicPartition;
use crate::time::Time;

/// How many bytes of keys, values and headers share an allocation, unless one record has more.
const ARENA_BYTES: usize = 256 * 1024;

/// Makes records of messages. The one place where bytes of Kafka become what a program works with.
pub(in crate::input::kafka) trait Decoder<T>: Send + Sync + 'static {
    /// The decoder of one batch of a stream.
    fn for_batch(&self, stream: &str, batch: Time) -> Arc<Self>;

    /// Appends a record for each message of a partition, in order, but for those that the task leaves out.
    fn decode(
        &self,
        partition: &TopicPartition,
        messages: &Messages,
        left_out: &mut LeftOut,
        records: &mut Vec<T>,
    ) -> Result<()>;
}

/// Decodes message by message, where they lie.
pub(in crate::input::kafka) struct Each<F> {
    decode: Arc<F>,
    undecodable: Policy,
}

impl<F> Each<F> {
    pub(in crate::input::kafka) fn new(decode: F, undecodable: Undecodable) -> Self {
        Each { decode: Arc::new(decode), undecodable: Policy::new(undecodable, None) }
    }
}

impl<T, F> Decoder<T> for Each<F>
where
    F: Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
{
    fn for_batch(&self, stream: &str, batch: Time) -> Arc<Self> {
        Arc::new(Each { decode: Arc::clone(&self.decode), undecodable: self.undecodable.for_batch(stream, batch) })
    }

    fn decode(
        &self,
        partition: &TopicPartition,
        messages: &Messages,
        left_out: &mut LeftOut,
        records: &mut Vec<T>,
    ) -> Result<()> {
        records.reserve(messages.len());
        for message in messages.iter() {
            let message = KafkaMessage::fetched(&partition.topic, partition.partition, message);
            match (self.decode)(&message) {
                Ok(record) => records.push(record),
                Err(why) => self.undecodable.apply(&message, why, left_out)?,
            }
        }
        Ok(())
    }
}

/// Copies messages into arenas, from which records take slices.
#[derive(Clone, Copy)]
pub(in crate::input::kafka) struct Copied {
    /// Whether headers are read.
    pub(in crate::input::kafka) headers: bool,
}

impl Decoder<KafkaRecord> for Copied {
    fn for_batch(&self, _: &str, _: Time) -> Arc<Self> {
        Arc::new(*self)
    }

    fn decode(
        &self,
        partition: &TopicPartition,
        messages: &Messages,
        _: &mut LeftOut,
        records: &mut Vec<KafkaRecord>,
    ) -> Result<()> {
        records.reserve(messages.len());
        let mut messages = messages.iter().peekable();
        while messages.peek().is_some() {
            let part = self.next_part(&mut messages);
            let mut arena = Vec::with_capacity(part.bytes);
            for (message, headers) in &part.messages {
                arena.extend_from_slice(message.key().unwrap_or_default());
                arena.extend_from_slice(message.payload().unwrap_or_default());
                headers.for_each(|(_, value)| arena.extend_from_slice(value.unwrap_or_default()));
            }
            let mut arena = Slices { arena: Bytes::from(arena), at: 0 };
            records.extend(part.messages.into_iter().map(|(message, headers)| KafkaRecord {
                topic: Arc::clone(&partition.topic),
                partition: partition.partition,
                offset: message.offset(),
                timestamp: message.timestamp_millis().map(Time::from_millis),
                key: message.key().map(|key| arena.take(key.len())),
                value: message.payload().map(|value| arena.take(value.len())),
                headers: arena.take_headers(headers),
            }));
        }
        Ok(())
    }
}

impl Copied {
    /// The next messages whose bytes fit into an arena, at least one.
    fn next_part<'m>(&self, messages: &mut std::iter::Peekable<impl Iterator<Item = Message<'m>>>) -> Part<'m> {
        let mut part = Part { messages: Vec::with_capacity(messages.size_hint().0), bytes: 0 };
        while let Some(&message) = messages.peek() {
            let headers = if self.headers { message.headers() } else { Headers::none() };
            let in_headers: usize = headers.map(|(_, value)| value.unwrap_or_default().len()).sum();
            let bytes =
                message.key().unwrap_or_default().len() + message.payload().unwrap_or_default().len() + in_headers;
            if !part.messages.is_empty() && part.bytes + bytes > ARENA_BYTES {
                break;
            }
            part.bytes += bytes;
            part.messages.push((message, headers));
            messages.next();
        }
        part
    }
}

/// Messages whose bytes share an arena.
struct Part<'m> {
    messages: Vec<(Message<'m>, Headers<'m>)>,
    bytes: usize,
}

/// Hands out an arena piece by piece, in the order in which it was filled.
struct Slices {
    arena: Bytes,
    at: usize,
}

impl Slices {
    fn take(&mut self, length: usize) -> Bytes {
        let start = self.at;
        self.at += length;
        self.arena.slice(start..self.at)
    }

    fn take_headers(&mut self, headers: Headers<'_>) -> KafkaHeaders {
        if headers.is_empty() {
            return KafkaHeaders::default();
        }
        let header = |(name, value): (&CStr, Option<&[u8]>)| {
            (name.to_string_lossy().into(), value.map(|value| self.take(value.len())))
        };
        KafkaHeaders::from_vec(headers.map(header).collect())
    }
}
