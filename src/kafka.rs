//! Kafka: the direct stream, its records and offsets, the output, and a broker inside the process for demos and tests.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, Subscription, embedded::EmbeddedBroker};
//! use tidemill::prelude::*;
//!
//! let broker = EmbeddedBroker::start(1)?;
//! broker.create_topic("lines", 2)?;
//! broker.send("lines", ["to be", "or not to be"])?;
//!
//! let context = StreamingContext::builder("lengths").batch_interval(Duration::from_millis(20)).build()?;
//! let params = KafkaParams::new(broker.bootstrap_servers())
//!     .group_id("lengths")
//!     .auto_offset_reset(AutoOffsetReset::Earliest);
//! let lines = kafka::direct_stream(&context, params, Subscription::topics(["lines"]));
//! let (send, lengths) = std::sync::mpsc::channel();
//! lines.try_map(|record| Ok(record.value_utf8()?.len())).reduce(|a, b| a + b).foreach_batch(move |sums, _| {
//!     sums.foreach(|sum| send.send(sum).map_err(Error::user))
//! });
//! context.start()?;
//! assert_eq!(lengths.recv()?, 17);
//! context.stop(Stop::Gracefully)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::context::StreamingContext;
use crate::data::Data;
use crate::dstream::DStream;
use crate::error::Result;
use crate::input::kafka::{decoded, records};

pub use crate::input::kafka::{
    AutoOffsetReset, CommitError, CommitHandle, FileOffsetStore, FromKafka, HasOffsetRanges, KafkaHeaders,
    KafkaMessage, KafkaParams, KafkaRecord, OffsetRange, OffsetStore, PerPartitionConfig, Subscription, TopicPartition,
    TransactionOffsets, embedded,
};
pub use crate::output::kafka::{Delivery, Producer, ProducerParams, ProducerRecord, RecordBytes};

/// Makes a stream of the records of Kafka topics. Spark's `KafkaUtils.createDirectStream`.
///
/// - **Batches.** At each tick the stream plans, for every topic partition, the offsets from where the last batch ended
///   to the end of the log; the batch reads exactly these, however often it runs.
/// - **Partitions.** The dataset of a batch has one partition for each topic partition, ordered by topic and number,
///   also for those without new records. [`HasOffsetRanges`] tells their ranges.
/// - **Order.** Records of a topic partition come in the order of their offsets.
/// - **Start.** At the committed offsets of the group, or where [`KafkaParams::auto_offset_reset`] says; there the
///   group commits at once where it starts, so that a program that fails in its first batch loses nothing. Partitions
///   that were added to a topic are read from their beginning, after a restart of the program. An [`OffsetStore`] keeps
///   the place elsewhere.
/// - **Delivery.** The offsets of a batch are committed when all of its outputs are done; a graceful stop commits the
///   last batch too. What was not committed is delivered again after a restart: at least once. With
///   [`TransactionOffsets`] it is exactly once, and with a [`CommitHandle`] the program commits.
/// - **Memory.** librdkafka fetches ahead of the batches: 128 MiB for all partitions together, and at least 4 MiB for
///   each, unless `queued.max.messages.kbytes` says how much for each.
/// - **Brokers that go away** make batches empty, and tasks wait, until [`KafkaParams::max_outage`] is over.
///
/// # Errors
///
/// The context does not start if brokers are not reached, if a topic does not exist, if committed offsets are not there
/// any more, or if two streams keep their place in the same group and read the same partition. A stream fails that finds
/// somebody else's commits in its group. A batch whose records are deleted before they are read fails, and names the offsets.
#[doc(alias = "createDirectStream")]
#[track_caller]
pub fn direct_stream(
    context: &StreamingContext,
    params: KafkaParams,
    subscription: Subscription,
) -> DStream<KafkaRecord> {
    context.input(records(subscription, params))
}

/// Makes a stream of what a type makes of Kafka's messages. Otherwise as [`direct_stream`].
///
/// Messages are decoded where they lie, by the tasks of the batch: nothing of a message is copied but what the record
/// keeps, and its headers are parsed only if the type asks for them.
///
/// # Errors
///
/// As [`direct_stream`]. A message that cannot be decoded fails the batch, and is named.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::kafka::{self, AutoOffsetReset, FromKafka, KafkaMessage, KafkaParams, Subscription};
/// use tidemill::kafka::embedded::EmbeddedBroker;
/// use tidemill::prelude::*;
///
/// /// How long the value is.
/// #[derive(Clone)]
/// struct Length(usize);
///
/// impl FromKafka for Length {
///     fn from_kafka(message: &KafkaMessage<'_>) -> Result<Self> {
///         Ok(Length(message.value().map_or(0, <[u8]>::len)))
///     }
/// }
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("lines", 2)?;
/// broker.send("lines", ["to be", "or not to be"])?;
/// let context = StreamingContext::builder("lengths").batch_interval(Duration::from_millis(20)).build()?;
/// let params = KafkaParams::new(broker.bootstrap_servers())
///     .group_id("lengths")
///     .auto_offset_reset(AutoOffsetReset::Earliest);
/// let lengths = kafka::direct_stream_as::<Length>(&context, params, Subscription::topics(["lines"]));
/// let (send, sums) = std::sync::mpsc::channel();
/// lengths.map(|length| length.0).reduce(|a, b| a + b).foreach_batch(move |sums, _| {
///     sums.foreach(|sum| send.send(sum).map_err(Error::user))
/// });
/// context.start()?;
/// assert_eq!(sums.recv()?, 17);
/// context.stop(Stop::Gracefully)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn direct_stream_as<T: FromKafka + Data>(
    context: &StreamingContext,
    params: KafkaParams,
    subscription: Subscription,
) -> DStream<T> {
    direct_stream_with(context, params, subscription, T::from_kafka)
}

/// As [`direct_stream_as`], with a closure that decodes: the `messageHandler` of Spark's first direct stream.
#[track_caller]
pub fn direct_stream_with<T: Data>(
    context: &StreamingContext,
    params: KafkaParams,
    subscription: Subscription,
    decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
) -> DStream<T> {
    context.input(decoded(subscription, params, decode))
}
