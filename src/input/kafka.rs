//! Kafka as an input: Spark's direct stream. Each batch is a range of offsets for every topic partition, planned when
//! the batch is generated and read when it runs, so that a batch that runs again reads the same records.
//!
//! A stream has two clients. The reader only fetches, ahead of the batches; the planner asks where partitions end and
//! commits. A broker answers one connection in order, and behind a fetch that waits for records every question would
//! wait too.
//!
//! Knows nothing of what is done with the records.

mod client;
pub mod embedded;
mod native;
mod offset_range;
mod params;
mod place;
mod plan;
mod range_reads;
mod reader;
mod records;
mod running;
mod subscription;
#[cfg(test)]
mod tests;
mod topic_partition;

use std::sync::Arc;
use std::time::Duration;

use self::offset_range::{OffsetRanges, describe};
use self::reader::{KafkaPartition, Slot};
use self::records::{Copied, Decoder, Each};
use self::running::Running;
use super::{InputBatch, Source, SourceContext};
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

pub use offset_range::{HasOffsetRanges, OffsetRange};
pub use params::{AutoOffsetReset, KafkaParams};
pub use place::{CommitError, CommitHandle, FileOffsetStore, OffsetStore, TransactionOffsets};
pub use records::{DeadLetters, Decode, FromKafka, Json, KafkaHeaders, KafkaMessage, KafkaRecord, Undecodable, fields};
pub use running::PerPartitionConfig;
pub use subscription::Subscription;
pub use topic_partition::TopicPartition;

/// A source of whole records; what it promises is said at [`direct_stream`](crate::kafka::direct_stream). Nothing is
/// connected before the context starts.
pub(crate) fn records(subscription: Subscription, params: KafkaParams) -> impl Source<KafkaRecord> {
    let headers = params.headers;
    DirectSource::new(subscription, params, Copied { headers })
}

/// A source of what `decode` makes of messages.
pub(crate) fn decoded<T: Data>(
    subscription: Subscription,
    params: KafkaParams,
    decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
) -> impl Source<T> {
    let decoder = Each::new(decode, params.undecodable.clone());
    DirectSource::new(subscription, params, decoder)
}

/// A dataset of the whole records of ranges; what it promises is said at
/// [`create_dataset`](crate::kafka::create_dataset).
pub(crate) fn range_records(
    context: &SourceContext,
    params: KafkaParams,
    ranges: &[OffsetRange],
) -> Result<Dataset<KafkaRecord>> {
    let headers = params.headers;
    range_reads::dataset(context, params, ranges, Copied { headers })
}

/// A dataset of what `decode` makes of the messages of ranges.
pub(crate) fn decoded_range<T: Data>(
    context: &SourceContext,
    params: KafkaParams,
    ranges: &[OffsetRange],
    decode: impl Fn(&KafkaMessage<'_>) -> Result<T> + Send + Sync + 'static,
) -> Result<Dataset<T>> {
    let decoder = Each::new(decode, params.undecodable.clone());
    range_reads::dataset(context, params, ranges, decoder)
}

/// Reads topics in batches.
struct DirectSource<D> {
    name: String,
    subscription: Subscription,
    params: KafkaParams,
    decoder: D,
    running: Option<Running>,
}

impl<D> DirectSource<D> {
    fn new(subscription: Subscription, params: KafkaParams, decoder: D) -> Self {
        let name = format!("kafka {subscription}");
        DirectSource { name, subscription, params, decoder, running: None }
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().ok_or_else(|| Error::new(ErrorKind::State, "the Kafka stream does not run"))
    }
}

impl<D> DirectSource<D> {
    /// The batch that reads these ranges.
    fn batch_of<T: Data>(
        &mut self,
        time: Time,
        ranges: Vec<(Arc<Slot>, OffsetRange)>,
        plan: Vec<u8>,
    ) -> Result<InputBatch<T>>
    where
        D: Decoder<T>,
    {
        let most = self.params.max_records_per_task;
        let decoder = self.decoder.for_batch(&self.name, time);
        let running = self.running()?;
        let partitions: Vec<_> = ranges
            .into_iter()
            .flat_map(|(slot, range)| KafkaPartition::parts(running.reader(), &slot, range, most, &decoder))
            .collect();
        let ranges: Vec<_> = partitions.iter().map(|part| part.range.clone()).collect();
        let records = ranges.iter().map(OffsetRange::count).sum();
        let description = describe(&ranges);
        let dataset = running.context().read(partitions, OffsetRanges(ranges.into()));
        Ok(InputBatch { dataset, records, description, plan })
    }
}

impl<T: Data, D: Decoder<T>> Source<T> for DirectSource<D> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn kind(&self) -> String {
        "kafka".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.running = Some(Running::start(&self.name, &self.subscription, &mut self.params, context)?);
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>> {
        let running = self.running()?;
        let ranges = running.plan(time)?;
        let plan = running.encode(ranges.iter().map(|(_, range)| range))?;
        self.batch_of(time, ranges, plan).map(Some)
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, time: Time, plan: &[u8]) -> Result<InputBatch<T>> {
        let ranges = self.running()?.restore(time, plan)?;
        self.batch_of(time, ranges, plan.to_vec())
    }

    fn completed(&mut self, time: Time) -> Result<()> {
        self.running()?.completed(time);
        Ok(())
    }

    fn stop(&mut self, timeout: Duration) -> Result<()> {
        self.running.take().map_or(Ok(()), |running| running.stop(timeout))
    }
}
