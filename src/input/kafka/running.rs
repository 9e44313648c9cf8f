mod limits;
mod outage;
pub(super) mod partitions;
mod starts;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use self::limits::{PartitionLimit, records_per_partition};
use self::outage::Outage;
use self::partitions::Found;
use self::starts::Starts;
use super::client::{Offsets, Planner};
use super::native::{TopicId, TopicIds};
use super::offset_range::OffsetRange;
use super::params::KafkaParams;
use super::place::{NOWHERE, Place, Positions, Progress};
use super::plan::Plan;
use super::reader::{Reader, Slot};
use super::subscription::{Query, Subscription};
use super::topic_partition::TopicPartition;
use crate::backpressure::RateLimit;
use crate::error::{Error, ErrorKind, Result};
use crate::input::SourceContext;
use crate::time::Time;

pub(super) use limits::PartitionRates;
pub use limits::PerPartitionConfig;

/// How often in a row a look has to find that a partition is gone, or shorter than it was, before that is believed:
/// brokers that have just started, or become leaders, may not know better.
const LOOKS: u32 = 3;

/// How long a question may take that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many partitions a pattern is expected to have at least.
const PATTERN: usize = 16;

/// A stream that runs: what it reads, and how far the batches have come that were planned.
pub(super) struct Running {
    stream: String,
    subscription: Subscription,
    query: Query,
    params: KafkaParams,
    context: SourceContext,
    planner: Arc<Planner>,
    reader: Arc<Reader>,
    place: Place,
    rate: RateLimit,
    /// In the order in which they have joined. None ever leaves the list.
    partitions: Arc<[TopicPartition]>,
    /// As `partitions`, as are the next two.
    members: Vec<Member>,
    limits: Vec<PartitionLimit>,
    /// Where the next batch starts.
    next: Vec<i64>,
    /// The numbers of the partitions that are read, ordered by topic and partition.
    order: Vec<usize>,
    /// The ids that each topic has had, as far as they are known.
    ids: BTreeMap<String, Vec<TopicId>>,
    asked_for_ids: Option<TopicIds>,
    /// Where the batches end that are planned and not completed.
    planned: VecDeque<(Time, Positions)>,
    /// The last batch that a checkpoint has; empty if there is none.
    last_plan: Plan,
    /// Partitions that only batches of a checkpoint read.
    former: BTreeMap<TopicPartition, Arc<Slot>>,
    ends: Outage,
    looks: Outage,
    next_look: Time,
}

/// What is known of a partition.
struct Member {
    slot: Arc<Slot>,
    /// It was deleted, and the stream goes on without it.
    gone: bool,
    /// How many looks in a row have not found it.
    missing: u32,
    /// How many looks in a row have found it shorter than it was.
    short: u32,
}

impl Running {
    /// Finds what the subscription names and where it starts, and begins to fetch.
    pub(super) fn start(
        stream: &str,
        subscription: &Subscription,
        params: &mut KafkaParams,
        context: &SourceContext,
    ) -> Result<Self> {
        let query = subscription.query()?;
        let last_plan = context.last_plan().map(Plan::decode).transpose()?.unwrap_or_default();
        let config = params.client_config(context.batch_interval())?;
        let planner = Arc::new(Planner::new(params, &config)?);
        let found = partitions::find(&planner, &query, params.start_timeout)?;
        let partitions: Vec<_> = found.partitions.iter().cloned().collect();
        if let Some(unread) = subscription.with_offsets().find(|partition| !partitions.contains(partition)) {
            let message = format!("{unread} has an offset to start at, and the stream does not read it");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let place = Place::new(stream, params, &planner, context);
        // Those of a pattern are likely to become more, and the memory of each is set now.
        let expected =
            if matches!(query, Query::Pattern(_)) { partitions.len().max(PATTERN) } else { partitions.len() };
        let reader = Arc::new(Reader::new(&config, expected, Arc::clone(&planner), params, context)?);
        let mut running = Running {
            stream: stream.to_string(),
            subscription: subscription.clone(),
            query,
            params: params.clone(),
            context: context.clone(),
            rate: context.rate_limit(),
            partitions: Arc::default(),
            members: Vec::new(),
            limits: Vec::new(),
            order: Vec::new(),
            ids: BTreeMap::new(),
            asked_for_ids: None,
            next: Vec::new(),
            planned: VecDeque::new(),
            last_plan,
            former: BTreeMap::new(),
            ends: Outage::new(params.max_outage, "have not told the ends of all partitions"),
            looks: Outage::new(params.max_outage, "have not told which partitions there are, or where they start"),
            next_look: Time::ZERO,
            planner,
            reader,
            place,
        };
        running.ask_for_ids(&partitions);
        running.check_last_plan(&found)?;
        running.join(partitions, false)?;
        running.next_look = running.looks.now() + running.params.discovery_interval;
        Ok(running)
    }

    pub(super) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(super) fn context(&self) -> &SourceContext {
        &self.context
    }

    /// Finds what the last batch of a checkpoint has read and is not there any more, or not under its name: offsets
    /// mean nothing in another topic.
    fn check_last_plan(&mut self, found: &Found) -> Result<()> {
        let ids: Vec<(String, TopicId)> = self.last_plan.ids().map(|(topic, id)| (topic.to_string(), id)).collect();
        let topics: Vec<String> = ids.iter().map(|(topic, _)| topic.clone()).collect();
        self.ids.extend(ids.into_iter().map(|(topic, id)| (topic, vec![id])));
        let now = if topics.is_empty() {
            BTreeMap::new()
        } else {
            self.planner.topic_ids(&topics, self.params.start_timeout)?
        };
        for (topic, id) in now {
            let known = self.ids.entry(topic.clone()).or_default();
            if known.contains(&id) {
                continue;
            }
            known.push(id);
            let read = self.last_plan.ranges().filter(|(range, _)| *range.topic == *topic);
            let read = read.map(|(range, _)| (range.topic_partition(), range.until));
            let places: Vec<String> = read
                .filter(|(partition, _)| self.query.names(partition))
                .map(|(partition, until)| format!("{partition}: {until}"))
                .collect();
            if !places.is_empty() {
                self.lose(was_made_anew(&topic, &places))?;
                self.last_plan.begin_anew(&topic);
            }
        }
        let missing = |(range, _): (OffsetRange, _)| {
            let partition = range.topic_partition();
            (self.query.names(&partition) && found.lacks(&partition)).then_some((partition, range.until))
        };
        let missing: Vec<_> = self.last_plan.ranges().filter_map(missing).collect();
        for (partition, from) in missing {
            self.lose(is_gone(&partition, from))?;
            self.last_plan.forget(&partition);
        }
        Ok(())
    }

    /// Adds partitions: from here on they belong to each batch.
    fn join(&mut self, joining: Vec<TopicPartition>, is_running: bool) -> Result<()> {
        let Running { planner, subscription, params, context, place, last_plan: plan, .. } = self;
        let limits: Vec<_> = joining
            .iter()
            .map(|TopicPartition { topic, partition }| params.rates.limit_of(topic, *partition))
            .collect::<Result<_>>()?;
        let kept = place.load(&joining)?;
        let store = place.name();
        for (partition, kept) in joining.iter().zip(&kept) {
            let (Some(kept), Some(until)) = (*kept, plan.until(partition)) else { continue };
            if kept > until {
                let stream = &self.stream;
                tracing::warn!(stream, %partition, store, kept, until, "somebody has committed more than was read");
            }
        }
        let starts = Starts { planner, subscription, params, context, plan, store, joining: is_running };
        let starts = starts.find(&joining, &kept)?;
        let joining: Vec<_> = joining.into_iter().zip(starts).collect();
        // What a checkpoint has planned is committed when it is done, and not because nothing is kept yet.
        let is_planned = |partition| plan.until(partition).map(|_| NOWHERE);
        let kept: Vec<_> =
            joining.iter().zip(kept).map(|((partition, _), kept)| kept.or_else(|| is_planned(partition))).collect();
        place.join(&joining, &kept)?;
        let slots = self.reader.add(&joining)?;
        self.partitions =
            self.partitions.iter().chain(joining.iter().map(|(partition, _)| partition)).cloned().collect();
        self.members.extend(slots.into_iter().map(|slot| Member { slot, gone: false, missing: 0, short: 0 }));
        self.next.extend(joining.iter().map(|(_, start)| start));
        self.limits.extend(limits);
        self.put_in_order();
        Ok(())
    }

    fn put_in_order(&mut self) {
        self.order = (0..self.members.len()).filter(|&n| !self.members[n].gone).collect();
        self.order.sort_by(|&a, &b| self.partitions[a].cmp(&self.partitions[b]));
    }

    /// Decides what the batch at a time reads of each partition, ordered by topic and partition.
    pub(super) fn plan(&mut self, time: Time) -> Result<Vec<(Arc<Slot>, OffsetRange)>> {
        self.planner.serve();
        self.reader.serve()?;
        self.check_ids()?;
        let looks = self.looks.now() >= self.next_look;
        if looks {
            self.look()?;
            self.next_look = self.looks.now() + self.params.discovery_interval;
        }
        let ends = self.ask_for_ends(looks)?;
        let lags: Vec<u64> = ends.iter().zip(&self.next).map(|(end, from)| end.abs_diff(*from)).collect();
        let rate = self.rate.records_per_second();
        let most = records_per_partition(rate, self.context.batch_interval(), &mut self.limits, &lags);
        let mut ranges = Vec::with_capacity(self.order.len());
        for &n in &self.order {
            let from = self.next[n];
            let until = most[n].map_or(ends[n], |most| ends[n].min(from.saturating_add_unsigned(most)));
            self.next[n] = until;
            let TopicPartition { topic, partition } = self.partitions[n].clone();
            ranges.push((Arc::clone(&self.members[n].slot), OffsetRange { topic, partition, from, until }));
        }
        self.planned.push_back((time, self.next.as_slice().into()));
        Ok(ranges)
    }

    /// What makes a batch of these ranges again.
    pub(super) fn encode<'r>(&self, ranges: impl IntoIterator<Item = &'r OffsetRange>) -> Result<Vec<u8>> {
        Plan::new(ranges, |topic| self.ids.get(topic).and_then(|ids| ids.last()).copied()).encode()
    }

    /// What the batch at a time has read, in this process or in an earlier one.
    pub(super) fn restore(&mut self, time: Time, plan: &[u8]) -> Result<Vec<(Arc<Slot>, OffsetRange)>> {
        let plan = Plan::decode(plan)?;
        let numbers: BTreeMap<_, _> = self.partitions.iter().cloned().zip(0..).collect();
        let mut positions = vec![NOWHERE; numbers.len()];
        let mut ranges = Vec::new();
        for (range, id) in plan.ranges() {
            let partition = range.topic_partition();
            let known = self.ids.get(&*range.topic).and_then(|ids| ids.last());
            let slot = if id.is_some() && known.is_some() && id.as_ref() != known {
                // Whoever reads the batch finds out; most likely nobody needs it any more.
                self.reader.add_gone(&partition)?
            } else if let Some(&n) = numbers.get(&partition) {
                let n: usize = n;
                positions[n] = range.until;
                Arc::clone(&self.members[n].slot)
            } else {
                self.former(&partition, range.until)?
            };
            ranges.push((slot, range));
        }
        self.planned.push_back((time, positions.into()));
        Ok(ranges)
    }

    /// A partition that the subscription does not name any more.
    fn former(&mut self, partition: &TopicPartition, last: i64) -> Result<Arc<Slot>> {
        if let Some(slot) = self.former.get(partition) {
            slot.extend(last);
            return Ok(Arc::clone(slot));
        }
        let slot = self.reader.add_up_to(partition.clone(), last)?;
        self.former.insert(partition.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// The offset up to which each partition can be read. One about which nothing is learned ends where the stream is.
    fn ask_for_ends(&mut self, looks: bool) -> Result<Vec<i64>> {
        if self.order.is_empty() || self.ends.is_quiet() {
            return Ok(self.next.clone());
        }
        let asked = self.ends.now();
        let partitions: Vec<_> = self.order.iter().map(|&n| self.partitions[n].clone()).collect();
        let (answers, mut problem) = match self.planner.ends(&partitions, self.params.planning_timeout) {
            Ok(Offsets { offsets, problem }) => (offsets, problem),
            Err(unanswered) => (vec![None; partitions.len()], Some(unanswered.why())),
        };
        let mut ends = self.next.clone();
        for ((n, partition), end) in self.order.clone().into_iter().zip(&partitions).zip(answers) {
            let from = self.next[n];
            match end {
                Some(end) if end >= from => {
                    self.members[n].short = 0;
                    ends[n] = end;
                }
                Some(end) => {
                    problem.get_or_insert_with(|| format!("{partition} ends at {end}, and the stream is at {from}"));
                    self.is_short(n, end, looks)?;
                    ends[n] = self.next[n];
                }
                None => drop(problem.get_or_insert_with(|| format!("{partition} did not answer"))),
            }
        }
        match problem {
            None => self.ends.end(&self.stream),
            Some(why) => self.ends.go_on(&self.stream, self.planner.brokers(), &why, asked)?,
        }
        Ok(ends)
    }

    /// A log ends before the place where the stream is: for a moment, after a change of leaders; for good, if it was
    /// truncated or the topic made anew.
    #[cold]
    fn is_short(&mut self, n: usize, end: i64, looks: bool) -> Result<()> {
        self.members[n].short += u32::from(looks);
        if self.members[n].short < LOOKS {
            return Ok(());
        }
        let (partition, from) = (&self.partitions[n], self.next[n]);
        let lost = format!(
            "{partition}: the stream has read up to offset {from}, and the log ends at {end}: it was truncated, or the \
             topic made anew"
        );
        self.lose(lost)?;
        self.members[n].short = 0;
        self.next[n] = end;
        Ok(())
    }

    /// Looks for partitions that have come and gone.
    fn look(&mut self) -> Result<()> {
        let asked = self.looks.now();
        let answer = partitions::look_up(&self.planner, &self.query, self.params.planning_timeout);
        let outcome = match answer {
            Ok(found) => {
                self.ask_for_ids(&found.partitions);
                self.compare(found)?
            }
            Err(unanswered) => Err(unanswered.why()),
        };
        match outcome {
            Ok(()) => self.looks.end(&self.stream),
            Err(why) => self.looks.go_on(&self.stream, self.planner.brokers(), &why, asked)?,
        }
        Ok(())
    }

    /// Takes in what has come, and notes what has gone. Returns why something has to wait for the next look.
    fn compare(&mut self, found: Found) -> Result<Result<(), String>> {
        for n in self.order.clone() {
            let member = &mut self.members[n];
            member.missing = if found.lacks(&self.partitions[n]) { member.missing + 1 } else { 0 };
            if member.missing >= LOOKS {
                let (partition, from) = (&self.partitions[n], self.next[n]);
                self.lose(is_gone(partition, from))?;
                self.members[n].gone = true;
                self.reader.give_up(&self.members[n].slot);
            }
        }
        self.put_in_order();
        for (partition, member) in self.partitions.iter().zip(&mut self.members) {
            if member.gone && found.partitions.contains(partition) && take(&mut member.missing) > 0 {
                self.context.report_data_loss(format!(
                    "{partition} was made anew: the stream goes on without it until it is started again"
                ));
            }
        }
        let known: HashSet<&TopicPartition> = self.partitions.iter().collect();
        let new: Vec<_> = found.partitions.iter().filter(|partition| !known.contains(partition)).cloned().collect();
        if new.is_empty() {
            return Ok(Ok(()));
        }
        let names: Vec<String> = new.iter().map(ToString::to_string).collect();
        match self.join(new, true) {
            Ok(()) => {
                tracing::info!(stream = self.stream, partitions = names.join(", "), "partitions join the stream");
                Ok(Ok(()))
            }
            // What the program has to mend.
            Err(error) if error.kind() == ErrorKind::Config => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Asks for the ids of topics. Some brokers do not answer this question, so that nothing waits for it: the answer is
    /// looked for when batches are planned.
    fn ask_for_ids<'t>(&mut self, partitions: impl IntoIterator<Item = &'t TopicPartition>) {
        let topics: BTreeSet<&str> = partitions.into_iter().map(|partition| &*partition.topic).collect();
        if !topics.is_empty() && self.asked_for_ids.is_none() {
            self.asked_for_ids =
                self.planner.ask_for_topic_ids(topics.into_iter(), self.params.discovery_interval.max(PATIENCE));
        }
    }

    /// Notes the ids of topics, if they have come, and finds those topics that were deleted and made anew: offsets of the
    /// one mean nothing in the other.
    fn check_ids(&mut self) -> Result<()> {
        let Some(answer) = self.asked_for_ids.as_ref().and_then(TopicIds::answer) else { return Ok(()) };
        self.asked_for_ids = None;
        let found = match answer {
            Ok(found) => found,
            Err(code) => {
                tracing::debug!(stream = self.stream, %code, "no topic ids: one that is made anew may go unnoticed");
                return Ok(());
            }
        };
        for (topic, id) in found {
            let known = self.ids.entry(topic.clone()).or_default();
            // One that is known, and is not the last, comes from a broker that is behind.
            if known.contains(&id) {
                continue;
            }
            // What cannot be done now is done when the next answer has come.
            if known.is_empty() || self.begin_anew(&topic)? {
                self.ids.entry(topic).or_default().push(id);
            }
        }
        Ok(())
    }

    /// Goes on at the beginning of a topic that was deleted and made anew.
    /// Returns whether that could be done.
    #[cold]
    fn begin_anew(&mut self, topic: &str) -> Result<bool> {
        let of_topic: Vec<usize> =
            self.order.iter().copied().filter(|&n| *self.partitions[n].topic == *topic).collect();
        if of_topic.is_empty() {
            // All of it was given up before, and that was said.
            return Ok(true);
        }
        let places: Vec<String> =
            of_topic.iter().map(|&n| format!("{}: {}", self.partitions[n], self.next[n])).collect();
        let lost = was_made_anew(topic, &places);
        if self.params.fail_on_data_loss {
            return self.lose(lost).map(|()| true);
        }
        let partitions: Vec<_> = of_topic.iter().map(|&n| self.partitions[n].clone()).collect();
        let beginnings = match self.planner.beginnings(&partitions, self.params.planning_timeout) {
            Ok(beginnings) => beginnings.offsets,
            Err(_) => return Ok(false),
        };
        self.lose(lost)?;
        // What the new topic does not have will be missed.
        for (n, beginning) in of_topic.into_iter().zip(beginnings) {
            self.next[n] = beginning.unwrap_or(self.next[n]);
            self.members[n].short = 0;
            self.members[n].slot.begin_anew();
        }
        Ok(true)
    }

    fn lose(&self, what: String) -> Result<()> {
        if self.params.fail_on_data_loss {
            return Err(Error::new(ErrorKind::Input, format!("{what}; `fail_on_data_loss(false)` goes on without")));
        }
        self.context.report_data_loss(what);
        Ok(())
    }

    /// All outputs of a batch, and of those before it, are done.
    pub(super) fn completed(&mut self, time: Time) {
        let mut newest = None;
        while self.planned.front().is_some_and(|(planned, _)| *planned <= time) {
            newest = self.planned.pop_front();
        }
        if let Some((_, positions)) = newest {
            self.place.done(Progress { partitions: Arc::clone(&self.partitions), positions });
        }
    }

    pub(super) fn stop(self, timeout: Duration) -> Result<()> {
        let Running { planner, reader, place, .. } = self;
        reader.close();
        // The committer's thread is the last that uses it, and may have to leave it behind.
        drop(planner);
        place.stop(timeout)
    }
}

fn is_gone(partition: &TopicPartition, from: i64) -> String {
    format!("{partition} does not exist any more: what it had from offset {from} on is lost")
}

fn was_made_anew(topic: &str, places: &[String]) -> String {
    let places = places.join(", ");
    format!(
        "topic {topic} was deleted and made anew: what the old one had behind the place of the stream ({places}) is lost"
    )
}
