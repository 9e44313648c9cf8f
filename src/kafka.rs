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
use crate::dataset::Dataset;
use crate::dstream::DStream;
use crate::error::Result;
use crate::input::kafka::{decoded, decoded_range, range_records, records};

pub use crate::input::kafka::{
    AutoOffsetReset, CommitError, CommitHandle, DeadLetters, Decode, FileOffsetStore, FromKafka, HasOffsetRanges, Json,
    KafkaHeaders, KafkaMessage, KafkaParams, KafkaRecord, OffsetRange, OffsetStore, PerPartitionConfig, Subscription,
    TopicPartition, TransactionOffsets, Undecodable, embedded,
};
pub use crate::output::kafka::{Delivery, Producer, ProducerParams, ProducerRecord, RecordBytes};

/// Builds a struct from a Kafka message: the derive of the trait of the same name.
///
/// # Examples
///
/// ```
/// use tidemill::Time;
/// use tidemill::kafka::{FromKafka, KafkaRecord};
///
/// #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
/// struct Cart {
///     cents: u64,
/// }
///
/// #[derive(Clone, Debug, PartialEq, FromKafka)]
/// struct Order {
///     #[kafka(key)]
///     customer: String,
///     #[kafka(value = json)]
///     cart: Cart,
///     #[kafka(header = "retries", utf8)]
///     retries: Option<u32>,
///     #[kafka(timestamp)]
///     at: Time,
/// }
///
/// let at = Time::from_millis(5000);
/// let record = KafkaRecord::new("orders", 0, 7).with_key("ann").with_value(r#"{"cents": 1250}"#).with_timestamp(at);
/// let cart = Cart { cents: 1250 };
/// assert_eq!(record.decode::<Order>()?, Order { customer: "ann".to_string(), cart, retries: None, at });
///
/// let error = record.with_value("12.50").decode::<Order>().unwrap_err();
/// assert!(error.to_string().starts_with("orders/0 offset 7: field cart: the value cannot be decoded: "), "{error}");
/// # Ok::<(), tidemill::Error>(())
/// ```
pub use tidemill_macros::FromKafka;

/// Makes a stream of the records of Kafka topics. Spark's `KafkaUtils.createDirectStream`.
///
/// - **Batches.** At each tick the stream plans, for every topic partition, the offsets from where the last batch ended
///   to the end of the log, or as far as limits allow; the batch reads exactly these, however often it runs.
/// - **Partitions.** The dataset of a batch has one partition for each topic partition, ordered by topic and number,
///   also for those without new records; more if [`KafkaParams::max_records_per_task`] cuts them. [`HasOffsetRanges`]
///   tells their ranges. Topic partitions that appear later join the stream, and are read from their beginning.
/// - **Order.** Records of a topic partition come in the order of their offsets.
/// - **Start.** Where the [`Subscription`] says, or else at the committed offsets of the group, or else where
///   [`KafkaParams::auto_offset_reset`] says; there the group commits at once where it starts, so that a program that
///   fails in its first batch loses nothing. An [`OffsetStore`] keeps the place elsewhere.
///   Before all of these comes the checkpoint of the context, if it has one: there every partition goes on behind the
///   last batch that was planned.
/// - **Delivery.** The offsets of a batch are committed when all of its outputs are done; a graceful stop commits the
///   last batch too. What was not committed is delivered again after a restart: at least once. With
///   [`TransactionOffsets`] it is exactly once, and with a [`CommitHandle`] the program commits.
/// - **Limits.** By partition with [`KafkaParams::max_rate_per_partition`], and by what the program can process with
///   [`Backpressure`](crate::Backpressure).
/// - **Memory.** librdkafka fetches ahead of the batches: 32 MiB for all partitions together, and at least 1 MiB for
///   each, unless `queued.max.messages.kbytes` says how much for each. Each partition that joins later may take as much
///   again.
/// - **Brokers that go away** make batches empty, and tasks wait, until [`KafkaParams::max_outage`] is over.
///
/// # Errors
///
/// The context does not start if brokers are not reached, if a topic does not exist, if committed offsets are not there
/// any more, or if two streams keep their place in the same group and read the same partition. A stream fails that finds
/// somebody else's commits in its group. A batch whose records are deleted before they are read fails and names the
/// offsets, as does a stream whose partition is gone, unless [`KafkaParams::fail_on_data_loss`] says to go on.
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
/// As [`direct_stream`]. A message that cannot be decoded fails the batch, and is named, unless
/// [`KafkaParams::undecodable`] says otherwise.
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
///
/// The closure is lent the message, and what it returns owns what it needs.
///
/// # Errors
///
/// As [`direct_stream_as`]: an error of the closure is what makes a message undecodable.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{self, KafkaParams, Subscription};
/// use tidemill::prelude::*;
///
/// let context = StreamingContext::builder("sizes").build()?;
/// let params = KafkaParams::new("localhost:9092").group_id("sizes");
/// let sizes = kafka::direct_stream_with(&context, params, Subscription::topics(["lines"]), |message| {
///     let key = message.key().ok_or_else(|| Error::user("a line has a key"))?;
///     let key = std::str::from_utf8(key).map_err(Error::user)?;
///     Ok((key.to_string(), message.value().map_or(0, <[u8]>::len)))
/// });
/// let sums = sizes.reduce_by_key(|a, b| a + b);
/// # let _: DStream<(String, usize)> = sums;
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn direct_stream_with<T: Data>(
    context: &StreamingContext,
    params: KafkaParams,
    subscription: Subscription,
    decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
) -> DStream<T> {
    context.input(decoded(subscription, params, decode))
}

/// Makes a dataset of the records of ranges, to read a part of a topic again: a backfill, or one batch of a stream.
/// Spark's `KafkaUtils.createRDD`.
///
/// - **Partitions.** One for each range, in their order; ranges may be of one topic partition, and overlap.
///   [`KafkaParams::max_records_per_task`] cuts them further. [`HasOffsetRanges`] tells them.
/// - **Order.** Records of a range come in the order of their offsets. A range of a compacted topic, or of one that is
///   written in transactions, has fewer records than offsets.
/// - **Reading.** Each action reads from the brokers; [`persist`](Dataset::persist) keeps the records. Nothing is
///   committed, and a group id is not needed.
/// - **Memory.** Brokers are connected, and records fetched ahead, as with [`direct_stream`], until the ranges of a
///   topic partition have been read to their end; the connections go with the dataset.
///
/// # Errors
///
/// Brokers that are not reached, a topic partition that does not exist, and a range that the log does not have in full:
/// as long as the brokers keep the records, a dataset that was made can be read.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{self, HasOffsetRanges, KafkaParams, OffsetRange, embedded::EmbeddedBroker};
/// use tidemill::prelude::*;
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("lines", 1)?;
/// broker.send("lines", ["to be", "or not", "to be"])?;
/// let context = StreamingContext::builder("again").build()?;
/// let range = |from, until| OffsetRange { topic: "lines".into(), partition: 0, from, until };
/// let params = KafkaParams::new(broker.bootstrap_servers());
/// let lines = kafka::create_dataset(&context, params.clone(), &[range(1, 3), range(0, 1)])?;
/// let values = lines.try_map(|record| Ok(record.value_utf8()?.to_string()));
/// assert_eq!(values.collect_partitions()?, [vec!["or not", "to be"], vec!["to be"]]);
///
/// let error = kafka::create_dataset(&context, params, &[range(0, 5)]).unwrap_err();
/// assert_eq!(error.to_string(), "lines/0 cannot be read from 0 to 5: the log has 0..3");
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "createRDD")]
#[track_caller]
pub fn create_dataset(
    context: &StreamingContext,
    params: KafkaParams,
    ranges: &[OffsetRange],
) -> Result<Dataset<KafkaRecord>> {
    range_records(&context.source_context(), params, ranges)
}

/// As [`create_dataset`], of what a type makes of Kafka's messages.
///
/// # Errors
///
/// As [`create_dataset`]. A message that cannot be decoded fails the action that reads it, and is named, unless
/// [`KafkaParams::undecodable`] says otherwise.
#[track_caller]
pub fn create_dataset_as<T: FromKafka + Data>(
    context: &StreamingContext,
    params: KafkaParams,
    ranges: &[OffsetRange],
) -> Result<Dataset<T>> {
    decoded_range(&context.source_context(), params, ranges, T::from_kafka)
}
