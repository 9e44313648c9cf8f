use std::ops::Range;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::input::SourceContext;
use crate::input::kafka::client::Planner;
use crate::input::kafka::params::{AutoOffsetReset, KafkaParams};
use crate::input::kafka::plan::Plan;
use crate::input::kafka::subscription::{Start, Subscription};
use crate::input::kafka::topic_partition::TopicPartition;
use crate::time::Time;

/// Finds out where partitions are read from: behind the last batch of a checkpoint, or else at the offset or time that
/// the subscription names, or else behind what is kept, or else where the parameters say.
pub(super) struct Starts<'s> {
    pub(super) planner: &'s Planner,
    pub(super) subscription: &'s Subscription,
    pub(super) params: &'s KafkaParams,
    pub(super) context: &'s SourceContext,
    /// The last batch that a checkpoint has.
    pub(super) plan: &'s Plan,
    /// What the place of the stream is called: `group clicks`.
    pub(super) store: String,
    /// Whether the partitions have joined a stream that runs.
    pub(super) joining: bool,
}

impl Starts<'_> {
    /// The first offset of each partition, if `kept` is what is kept for them.
    pub(super) fn find(&self, partitions: &[TopicPartition], kept: &[Option<i64>]) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let Starts { planner, params, plan, .. } = self;
        let logs = planner.logs(partitions, self.timeout())?;
        let at_times = self.at_times(partitions, kept)?;
        let mut starts = Vec::with_capacity(partitions.len());
        for (n, (partition, log)) in partitions.iter().zip(logs).enumerate() {
            let Range { start: beginning, end } = log;
            let log = Log { partition, beginning, end };
            // A stream commits where it starts in every partition: one that has no offset beside others that do was
            // added since, and what is in it came since.
            let is_new = || {
                let of_topic = |(other, kept): (&TopicPartition, &Option<i64>)| {
                    other.topic == partition.topic && (kept.is_some() || plan.until(other).is_some())
                };
                self.joining || partitions.iter().zip(kept).any(of_topic)
            };
            if let Some(until) = plan.until(partition) {
                starts.push(self.behind(&log, until, "the checkpoint", "begin with another checkpoint directory")?);
                continue;
            }
            starts.push(match (self.subscription.start_of(partition), kept[n], params.reset) {
                (Some(Start::Offset(offset)), _, _) => log.explicit(offset)?,
                (None, Some(kept), _) => self.behind(&log, kept, &self.store, "keep the place under another name")?,
                (Some(Start::Time(_)), _, _) | (None, None, AutoOffsetReset::AtTime(_)) => at_times[n].unwrap_or(end),
                (None, None, AutoOffsetReset::Earliest) => beginning,
                (None, None, AutoOffsetReset::Latest) if is_new() => beginning,
                (None, None, AutoOffsetReset::Latest) => end,
                (None, None, AutoOffsetReset::None) if self.joining => beginning,
                (None, None, AutoOffsetReset::None) => {
                    let message = format!(
                        "{partition}: {} has no offset, and `AutoOffsetReset::None` says not to start without one",
                        self.store
                    );
                    return Err(Error::new(ErrorKind::Input, message));
                }
            });
        }
        Ok(starts)
    }

    /// How long a question may take.
    fn timeout(&self) -> Duration {
        if self.joining { self.params.planning_timeout } else { self.params.start_timeout }
    }

    /// The offsets of those partitions that start at a time. Asked for after their ends: where there is no record that
    /// is as young, none came before the end that is known.
    fn at_times(&self, partitions: &[TopicPartition], kept: &[Option<i64>]) -> Result<Vec<Option<i64>>> {
        let reset = match self.params.reset {
            AutoOffsetReset::AtTime(time) => Some(time),
            _ => None,
        };
        let time_of = |n: usize| match self.subscription.start_of(&partitions[n]) {
            _ if self.plan.until(&partitions[n]).is_some() => None,
            Some(Start::Time(time)) => Some(time),
            Some(Start::Offset(_)) => None,
            None => reset.filter(|_| kept[n].is_none()),
        };
        let asked: Vec<(usize, Time)> = (0..partitions.len()).filter_map(|n| Some((n, time_of(n)?))).collect();
        let mut offsets = vec![None; partitions.len()];
        if asked.is_empty() {
            return Ok(offsets);
        }
        let times: Vec<_> = asked.iter().map(|&(n, time)| (partitions[n].clone(), time)).collect();
        let ask = |timeout| self.planner.at_times(&times, timeout);
        let found = self.planner.ask_for_all("the offsets at a time cannot be read", self.timeout(), ask)?;
        for ((n, _), offset) in asked.into_iter().zip(found) {
            offsets[n] = offset;
        }
        Ok(offsets)
    }

    /// Where to go on behind what is kept somewhere, unless what comes next is lost.
    fn behind(&self, log: &Log<'_>, kept: i64, place: &str, or_else: &str) -> Result<i64> {
        let Log { partition, beginning, end } = *log;
        let (lost, goes_on) = if kept < beginning {
            let lost = format!(
                "{partition}: {place} has read up to offset {kept}, and the log now starts at {beginning}: records \
                 {kept}..{beginning} are lost"
            );
            (lost, beginning)
        } else if kept > end {
            let lost = format!(
                "{partition}: {place} has read up to offset {kept}, and the log ends at {end}: it was truncated, or the \
                 topic made anew"
            );
            (lost, end)
        } else {
            return Ok(kept);
        };
        if self.params.fail_on_data_loss {
            let message = format!("{lost}; to go on without them, set `fail_on_data_loss(false)`, or {or_else}");
            return Err(Error::new(ErrorKind::Input, message));
        }
        self.context.report_data_loss(lost);
        Ok(goes_on)
    }
}

/// What a partition has.
struct Log<'p> {
    partition: &'p TopicPartition,
    beginning: i64,
    end: i64,
}

impl Log<'_> {
    fn explicit(&self, offset: i64) -> Result<i64> {
        let Log { partition, beginning, end } = self;
        if (*beginning..=*end).contains(&offset) {
            return Ok(offset);
        }
        let message = format!(
            "{partition} is to start at offset {offset}, and the log has {beginning}..{end}: correct it in \
             `Subscription::starting_at`"
        );
        Err(Error::new(ErrorKind::Input, message))
    }
}
