use std::fmt;

use super::offset_store::{CommitError, OffsetStore};
use crate::error::Result;
use crate::input::kafka::topic_partition::TopicPartition;

/// Leaves the place of a stream to the program, which writes it together with its results, in one transaction of its
/// own. Then both are there or neither, and every record has gone into the results exactly once, however the program
/// ends.
///
/// The stream reads the offsets when it starts, through a closure, and commits nothing. The output writes the end of
/// each range of the batch, and [`OffsetRange::advance`](crate::kafka::OffsetRange::advance) says whether that is
/// right:
///
/// - Only one output of the stream writes offsets, and with `concurrent_jobs` of 1, the default, batches come in order.
/// - All ranges of the batch are written, also empty ones: a partition without an offset starts where
///   [`KafkaParams::auto_offset_reset`](crate::kafka::KafkaParams::auto_offset_reset) says. Use `Earliest`: with
///   `Latest`, what arrives before the first transaction is lost if that does not succeed.
/// - With a checkpoint, a batch may come again that the table has: it is left alone if
///   [`OffsetRange::is_stored`](crate::kafka::OffsetRange::is_stored) holds for all of its ranges.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use tidemill::kafka::embedded::EmbeddedBroker;
/// use tidemill::kafka::{
///     self, AutoOffsetReset, HasOffsetRanges, KafkaParams, Subscription, TopicPartition, TransactionOffsets,
/// };
/// use tidemill::prelude::*;
///
/// /// A database: what is written under one lock is there as a whole.
/// #[derive(Default)]
/// struct Tables {
///     offsets: BTreeMap<TopicPartition, i64>,
///     lines: usize,
/// }
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("lines", 2)?;
/// broker.send("lines", ["a", "b", "c"])?;
/// let database = Arc::new(Mutex::new(Tables::default()));
///
/// let context = StreamingContext::builder("counter").batch_interval(Duration::from_millis(20)).build()?;
/// let tables = Arc::clone(&database);
/// let offsets = TransactionOffsets::new("the table offsets", move |partitions| {
///     let tables = tables.lock().unwrap();
///     Ok(partitions.iter().map(|partition| tables.offsets.get(partition).copied()).collect())
/// });
/// let params = KafkaParams::new(broker.bootstrap_servers())
///     .auto_offset_reset(AutoOffsetReset::Earliest)
///     .offset_store(offsets);
/// let (send, counted) = std::sync::mpsc::channel();
/// kafka::direct_stream(&context, params, Subscription::topics(["lines"])).foreach_batch(move |lines, _| {
///     let ranges = lines.offset_ranges().unwrap_or_default();
///     let count = lines.count()? as usize;
///     let mut tables = database.lock().unwrap(); // begin
///     let mut ends = Vec::new();
///     for range in &ranges {
///         let partition = range.topic_partition();
///         let end = range.advance(tables.offsets.get(&partition).copied())?; // an error rolls back
///         ends.push((partition, end));
///     }
///     tables.offsets.extend(ends);
///     tables.lines += count;
///     send.send(tables.lines).map_err(Error::user) // commit
/// });
/// context.start()?;
/// assert_eq!(counted.recv()?, 3);
/// context.stop(Stop::Gracefully)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TransactionOffsets {
    name: String,
    load: Box<Load>,
}

type Load = dyn Fn(&[TopicPartition]) -> Result<Vec<Option<i64>>> + Send + Sync;

impl TransactionOffsets {
    /// Offsets that `load` reads, in the order of the partitions it is asked for; `None` where there is none yet. The
    /// name is for errors: `the table offsets`.
    pub fn new(
        name: impl Into<String>,
        load: impl Fn(&[TopicPartition]) -> Result<Vec<Option<i64>>> + Send + Sync + 'static,
    ) -> Self {
        TransactionOffsets { name: name.into(), load: Box::new(load) }
    }
}

impl OffsetStore for TransactionOffsets {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
        (self.load)(partitions)
    }

    /// Does nothing: the program has done it.
    fn commit(&self, _offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError> {
        Ok(())
    }
}

impl fmt::Debug for TransactionOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionOffsets({})", self.name)
    }
}
