//! Kafka as an input: Spark's direct stream. Each batch is a range of offsets for every topic partition, planned when
//! the batch is generated and read when it runs, so that a batch that runs again reads the same records.
//!
//! A stream has two clients. The reader only fetches, ahead of the batches; the planner asks where partitions end and
//! commits. A broker answers one connection in order, and behind a fetch that waits for records every question would
//! wait too.
//!
//! Knows nothing of what is done with the records.

mod client;
mod commit_handle;
mod committer;
mod decode;
mod decoder;
pub mod embedded;
pub mod fields;
mod file_offsets;
mod group_offsets;
mod limits;
mod message;
mod native;
mod offset_range;
mod offset_store;
mod params;
mod place;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod topic_partition;
mod transaction_offsets;
mod undecodable;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::client::{Offsets, Planner};
use self::committer::{Positions, Progress};
use self::decoder::{Copied, Decoder, Each};
use self::offset_range::{OffsetRanges, describe};
use self::place::Place;
use self::reader::{KafkaPartition, Reader, Slot};
use super::{InputBatch, Source, SourceContext};
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Time};

pub use commit_handle::CommitHandle;
pub use decode::{Decode, Json};
pub use file_offsets::FileOffsetStore;
pub use limits::PerPartitionConfig;
pub use message::{FromKafka, KafkaMessage};
pub use offset_range::{HasOffsetRanges, OffsetRange};
pub use offset_store::{CommitError, OffsetStore};
pub use params::{AutoOffsetReset, KafkaParams, Subscription};
pub use record::{KafkaHeaders, KafkaRecord};
pub use topic_partition::TopicPartition;
pub use transaction_offsets::TransactionOffsets;
pub use undecodable::{DeadLetters, Undecodable};

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

/// Reads topics in batches.
struct DirectSource<D> {
    name: String,
    subscription: Subscription,
    params: KafkaParams,
    decoder: D,
    running: Option<Running>,
}

struct Running {
    context: SourceContext,
    planner: Arc<Planner>,
    reader: Arc<Reader>,
    slots: Vec<Arc<Slot>>,
    place: Place,
    partitions: Arc<[TopicPartition]>,
    /// Where the next batch starts.
    next: Positions,
    /// Where the batches end that are planned and not completed.
    planned: VecDeque<(Time, Positions)>,
    outage: Outage,
}

impl<D> DirectSource<D> {
    fn new(subscription: Subscription, params: KafkaParams, decoder: D) -> Self {
        let name = format!("kafka {}", subscription.topic_names().join(","));
        DirectSource { name, subscription, params, decoder, running: None }
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().ok_or_else(|| Error::new(ErrorKind::State, "the Kafka stream does not run"))
    }
}

impl<T: Data, D: Decoder<T>> Source<T> for DirectSource<D> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        let config = self.params.client_config(context.batch_interval())?;
        let planner = Arc::new(Planner::new(&self.params, &config)?);
        let partitions: Arc<[TopicPartition]> = find_partitions(&planner, &self.subscription, &self.params)?.into();
        let mut place = Place::new(&self.name, &mut self.params, &planner, context)?;
        let kept = place.load(&partitions)?;
        let first: Positions = find_starts(&planner, &partitions, &kept, &place.name(), &self.params)?.into();
        place.begin(&partitions, &kept, &first)?;
        let assigned: Vec<_> = partitions.iter().cloned().zip(first.iter().copied()).collect();
        let reader = Arc::new(Reader::new(&config, assigned.len(), &planner, &self.params)?);
        let slots = reader.add(&assigned)?;
        let outage = Outage::new(self.params.max_outage);
        let (context, planned) = (context.clone(), VecDeque::new());
        self.running =
            Some(Running { context, planner, reader, slots, place, partitions, next: first, planned, outage });
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<T>>> {
        let KafkaParams { planning_timeout, max_records_per_task, .. } = self.params;
        let name = self.name.clone();
        let decoder = self.decoder.for_batch(&name, time);
        let running = self.running()?;
        let until = running.plan(&name, planning_timeout)?;
        let whole = running.partitions.iter().zip(&running.slots).zip(running.next.iter().zip(until.iter()));
        let parts: Vec<_> = whole
            .flat_map(|((TopicPartition { topic, partition }, slot), (&from, &until))| {
                let range = OffsetRange { topic: Arc::clone(topic), partition: *partition, from, until };
                let parts = range.cut(max_records_per_task);
                let whole = (parts.len() > 1).then_some(from..until);
                parts.into_iter().map(move |range| (slot, whole.clone(), range))
            })
            .collect();
        let ranges: Arc<[OffsetRange]> = parts.iter().map(|(_, _, range)| range.clone()).collect();
        let partitions = parts.into_iter().map(|(slot, whole, range)| KafkaPartition {
            reader: Arc::clone(&running.reader),
            slot: Arc::clone(slot),
            range,
            whole,
            decoder: Arc::clone(&decoder),
        });
        let records = ranges.iter().map(OffsetRange::count).sum();
        let description = describe(&ranges);
        let dataset = running.context.read(partitions.collect(), OffsetRanges(Arc::clone(&ranges)));
        running.planned.push_back((time, Arc::clone(&until)));
        running.next = until;
        Ok(Some(InputBatch { dataset, records, description }))
    }

    fn completed(&mut self, time: Time) -> Result<()> {
        let running = self.running()?;
        let mut newest = None;
        while running.planned.front().is_some_and(|(planned, _)| *planned <= time) {
            newest = running.planned.pop_front();
        }
        if let Some((_, positions)) = newest {
            running.place.done(Progress { partitions: Arc::clone(&running.partitions), positions });
        }
        Ok(())
    }

    fn stop(&mut self, timeout: Duration) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let Running { planner, reader, place, .. } = running;
        reader.close();
        // The committer's thread is the last that uses it, and may have to leave it behind.
        drop(planner);
        place.stop(timeout)
    }
}

impl Running {
    /// Where the batch ends in each partition. A partition about which nothing is learned ends where it starts.
    fn plan(&mut self, stream: &str, timeout: Duration) -> Result<Positions> {
        self.planner.serve();
        self.reader.serve();
        if self.outage.is_quiet() {
            return Ok(Arc::clone(&self.next));
        }
        let asked = self.outage.clock.now();
        let (offsets, problem) = match self.planner.ends(&self.partitions, timeout) {
            Ok(Offsets { offsets, problem }) => (offsets, problem),
            Err(unanswered) => (vec![None; self.next.len()], Some(unanswered.why)),
        };
        let mut problem = problem;
        let until = self.next.iter().zip(&offsets).zip(self.partitions.iter()).map(|((&from, end), partition)| {
            match *end {
                Some(end) if end >= from => end,
                Some(end) => {
                    // For a moment, after a change of leaders; for good, if the topic was made anew.
                    problem.get_or_insert_with(|| format!("{partition} ends at {end}, and the stream is at {from}"));
                    from
                }
                None => {
                    problem.get_or_insert_with(|| format!("{partition} did not answer"));
                    from
                }
            }
        });
        let until = until.collect();
        match problem {
            None => self.outage.end(stream),
            Some(why) => self.outage.go_on(stream, self.planner.brokers(), &why, asked)?,
        }
        Ok(until)
    }
}

/// How long brokers have been away. It is counted on the machine's clock, whatever clock the batches follow.
struct Outage {
    clock: Clock,
    limit: Duration,
    /// Since when, and how often in a row they were asked in vain.
    failing: Option<(Time, u32)>,
    /// Until when they are not asked again.
    quiet_until: Time,
}

impl Outage {
    fn new(limit: Duration) -> Self {
        Outage { clock: Clock::system(), limit, failing: None, quiet_until: Time::ZERO }
    }

    /// Whether brokers that are away were asked a moment ago. For as long as they were waited for in vain they are not
    /// asked again, so that batches which have become late meanwhile do not wait one after the other.
    fn is_quiet(&self) -> bool {
        self.failing.is_some() && self.clock.now() < self.quiet_until
    }

    fn end(&mut self, stream: &str) {
        if let Some((since, failures)) = self.failing.take() {
            let away = self.clock.now() - since;
            tracing::info!(stream, failures, ?away, "the Kafka brokers answer again");
        }
    }

    fn go_on(&mut self, stream: &str, brokers: &str, why: &str, asked: Time) -> Result<()> {
        let now = self.clock.now();
        let (since, failures) = self.failing.get_or_insert((now, 0));
        *failures += 1;
        self.quiet_until = now + (now - asked);
        let (away, failures) = (now - *since, *failures);
        if away >= self.limit && failures > 1 {
            let message = format!(
                "the Kafka brokers at {brokers} have not told the ends of all partitions for {away:?}, in {failures} \
                 attempts: {why}"
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        if failures == 1 {
            tracing::warn!(
                stream,
                brokers,
                why,
                "the batch is planned without the Kafka brokers' answer; its records \
                come later"
            );
        } else {
            tracing::debug!(stream, brokers, why, failures, "the batch is planned without the Kafka brokers' answer");
        }
        Ok(())
    }
}

fn find_partitions(
    planner: &Planner,
    subscription: &Subscription,
    params: &KafkaParams,
) -> Result<Vec<TopicPartition>> {
    let brokers = planner.brokers();
    if subscription.topic_names().is_empty() {
        return Err(Error::new(ErrorKind::Config, "a Kafka stream needs at least one topic"));
    }
    let mut partitions = Vec::new();
    for topic in subscription.topic_names() {
        let count = client::ask_until_ready(params.start_timeout, |timeout| planner.partitions(topic, timeout));
        let count = count.map_err(|unanswered| {
            unanswered.error(&format!("topic {topic} cannot be looked up at the Kafka brokers {brokers}"))
        })?;
        let count = count.ok_or_else(|| {
            let message =
                format!("topic {topic} does not exist at the Kafka brokers {brokers}: create it, or correct its name");
            Error::new(ErrorKind::Input, message)
        })?;
        let name: Arc<str> = topic.as_str().into();
        // A name of its own for each partition, or their threads would count references in the same place.
        let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
        partitions.extend(numbers.map(|partition| TopicPartition { topic: Arc::from(&*name), partition }));
    }
    Ok(partitions)
}

/// The offset at which each partition starts, if `kept` is what `store` has kept.
fn find_starts(
    planner: &Planner,
    partitions: &[TopicPartition],
    kept: &[Option<i64>],
    store: &str,
    params: &KafkaParams,
) -> Result<Vec<i64>> {
    let (brokers, timeout) = (planner.brokers(), params.start_timeout);
    let complete = |what: &str, answer: Result<Offsets, client::Unanswered>| {
        let answer = answer.map_err(|unanswered| unanswered.error(&format!("{what} (brokers {brokers})")))?;
        match answer.problem {
            None => Ok(answer.offsets),
            Some(why) => Err(Error::new(ErrorKind::Input, format!("{what} (brokers {brokers}): {why}"))),
        }
    };
    let ready = client::ask_until_ready(timeout, |timeout| planner.beginnings(partitions, timeout));
    let beginnings = complete("the first offsets cannot be read", ready)?;
    let ready = client::ask_until_ready(timeout, |timeout| planner.ends(partitions, timeout));
    let ends = complete("the last offsets cannot be read", ready)?;
    // A stream commits where it starts in every partition: one that has no offset beside others that do was added
    // since.
    let is_new =
        |topic: &str| partitions.iter().zip(kept).any(|(other, offset)| *other.topic == *topic && offset.is_some());
    let mut offsets = Vec::with_capacity(partitions.len());
    for (n, partition) in partitions.iter().enumerate() {
        let (Some(beginning), Some(end)) = (beginnings[n], ends[n]) else {
            return Err(Error::new(ErrorKind::Input, format!("the brokers {brokers} do not know {partition}")));
        };
        let start = match (kept[n], params.reset) {
            (Some(committed), _) if committed < beginning => {
                return Err(Error::new(
                    ErrorKind::Input,
                    format!(
                        "{partition}: {store} has read up to offset {committed}, and the log now starts at \
                         {beginning}: records {committed}..{beginning} are lost; to go on without them, reset the \
                         group's offsets or use another group id"
                    ),
                ));
            }
            (Some(committed), _) if committed > end => {
                return Err(Error::new(
                    ErrorKind::Input,
                    format!(
                        "{partition}: {store} has read up to offset {committed}, and the log ends at {end}: was \
                         the topic made anew? Reset the group's offsets or use another group id"
                    ),
                ));
            }
            (Some(committed), _) => committed,
            (None, AutoOffsetReset::Earliest) => beginning,
            (None, AutoOffsetReset::Latest) if is_new(&partition.topic) => beginning,
            (None, AutoOffsetReset::Latest) => end,
            (None, AutoOffsetReset::None) => {
                return Err(Error::new(
                    ErrorKind::Input,
                    format!(
                        "{partition}: {store} has committed no offset, and `AutoOffsetReset::None` says not to \
                         start without one"
                    ),
                ));
            }
        };
        offsets.push(start);
    }
    Ok(offsets)
}
