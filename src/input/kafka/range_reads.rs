use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::Planner;
use super::offset_range::{OffsetRange, OffsetRanges};
use super::params::{KafkaParams, NO_GROUP};
use super::reader::{KafkaPartition, Reader, Slot};
use super::records::Decoder;
use super::running::partitions;
use super::subscription::Query;
use super::topic_partition::TopicPartition;
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::input::SourceContext;

/// A dataset of the records of ranges; what it promises is said at
/// [`create_dataset`](crate::kafka::create_dataset).
pub(super) fn dataset<T: Data, D: Decoder<T>>(
    context: &SourceContext,
    mut params: KafkaParams,
    ranges: &[OffsetRange],
    decoder: D,
) -> Result<Dataset<T>> {
    params.group.get_or_insert_with(|| NO_GROUP.to_string());
    let config = params.client_config(context.batch_interval())?;
    let planner = Arc::new(Planner::new(&params, &config)?);
    let mut bounds: BTreeMap<TopicPartition, (i64, i64)> = BTreeMap::new();
    for range in ranges {
        if range.from < 0 || range.from > range.until {
            let message = format!("{range} is no range: it has to start at 0 or later, and not behind its end");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let (first, last) = bounds.entry(range.topic_partition()).or_insert((range.from, range.until));
        *first = range.from.min(*first);
        *last = range.until.max(*last);
    }
    check(&planner, &params, &bounds)?;
    let reader = Arc::new(Reader::new(&config, bounds.len(), planner, &params, context)?);
    let slots: BTreeMap<TopicPartition, Arc<Slot>> = bounds
        .into_iter()
        .map(|(partition, (_, last))| Ok((partition.clone(), reader.add_up_to(partition, last)?)))
        .collect::<Result<_>>()?;
    let decoder = Arc::new(decoder);
    let mut all = Vec::new();
    let mut partitions = Vec::new();
    for range in ranges {
        let slot = &slots[&range.topic_partition()];
        for part in KafkaPartition::parts(&reader, slot, range.clone(), params.max_records_per_task, &decoder) {
            all.push(part.range.clone());
            partitions.push(part);
        }
    }
    Ok(context.read(partitions, OffsetRanges(all.into())))
}

/// Checks that the logs have what is asked for.
fn check(planner: &Planner, params: &KafkaParams, bounds: &BTreeMap<TopicPartition, (i64, i64)>) -> Result<()> {
    if bounds.is_empty() {
        return Ok(());
    }
    let query = Query::Partitions(bounds.keys().cloned().collect());
    let partitions = partitions::find(planner, &query, params.start_timeout)?.partitions;
    let partitions: Vec<_> = partitions.into_iter().collect();
    let logs = planner.logs(&partitions, params.start_timeout)?;
    for ((partition, &(from, until)), log) in bounds.iter().zip(logs) {
        if from < log.start || until > log.end {
            let message = format!("{partition} cannot be read from {from} to {until}: the log has {log:?}");
            return Err(Error::new(ErrorKind::Input, message));
        }
    }
    Ok(())
}
