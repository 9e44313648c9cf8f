//! What a batch log says, as the writer keeps it and as a reader finds it: both apply the same entries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chunks::ChunkInfo;
use super::entry::{Done, Entry, Kept, LoggedBatch, LoggedInput, Manifest};
use super::format::FileId;
use crate::id::OperatorId;
use crate::state::ChunkKind;
use crate::time::Time;

/// An output that has failed for a batch can run again until so many later ones are done. Up to then the plans and the
/// changes of state of all of them are kept: enough for somebody to mend what the output writes to, and the checkpoint of
/// a program whose output fails for ever does not grow for ever.
pub(super) const MOST_BEHIND: usize = 1000;

/// Before all batches.
pub(super) const NEVER: Time = Time::from_micros(i64::MIN);

/// What an operator keeps, and the batches of it that are kept, are needed for different spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    State,
    Batch,
}

impl Class {
    pub(super) fn of(kind: ChunkKind) -> Self {
        match kind {
            ChunkKind::State => Class::State,
            ChunkKind::Batch(_) => Class::Batch,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) manifest: Option<Manifest>,
    /// Planned batches.
    pub(super) plans: BTreeMap<Time, PlannedBatch>,
    pub(super) done: BTreeMap<Time, Done>,
    pub(super) forgotten: BTreeMap<OperatorId, Time>,
    /// What there is for a fall-back; `None` if nothing was let go yet.
    pub(super) kept: Option<Kept>,
    /// Outputs that failed for batches up to this one do not run again for them.
    given_up: Option<Time>,
    pub(super) segments: BTreeMap<FileId, Segment>,
    pub(super) spans: BTreeMap<(OperatorId, Class), Span>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PlannedBatch {
    pub(super) inputs: Vec<LoggedInput>,
    pub(super) outputs: BTreeMap<OperatorId, Option<String>>,
}

/// A segment of the state log.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Of what it has chunks, and the last batch of each.
    last: BTreeMap<(OperatorId, Class), Time>,
}

/// From which batch on chunks of an operator are needed, as it was after each batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    /// What the partitions said last.
    since: Vec<Option<Time>>,
    /// After which batches it changed, and to what.
    changes: VecDeque<(Time, Time)>,
}

impl Span {
    fn note(&mut self, chunk: &ChunkInfo) {
        // Of a batch without partitions there is a chunk all the same.
        let partitions = chunk.partitions.max(1) as usize;
        if self.since.len() != partitions {
            self.since = vec![None; partitions];
        }
        if let Some(since) = self.since.get_mut(chunk.partition as usize) {
            *since = Some(chunk.since);
        }
    }

    /// All chunks of a batch were noted.
    fn close(&mut self, time: Time) {
        let Some(since) = self.since.iter().flatten().min().copied() else { return };
        if self.changes.back().is_none_or(|(_, last)| *last != since) {
            self.changes.push_back((time, since));
        }
    }

    /// From which batch on chunks are needed to restore what is kept as it was after the batch at `time`.
    fn since(&self, time: Time) -> Option<Time> {
        let after = self.changes.partition_point(|(changed, _)| *changed <= time);
        after.checked_sub(1).and_then(|last| self.changes.get(last)).map(|(_, since)| *since)
    }

    fn forget_before(&mut self, time: Time) {
        let after = self.changes.partition_point(|(changed, _)| *changed <= time);
        self.changes.drain(..after.saturating_sub(1));
    }
}

impl Ledger {
    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Manifest(manifest) => self.manifest = Some(manifest),
            Entry::Planned { time, inputs } => self.plans.entry(time).or_default().inputs = inputs,
            Entry::OutputEnded { time, operator, failure } => {
                if let Some(planned) = self.plans.get_mut(&time) {
                    planned.outputs.insert(operator, failure);
                }
            }
            Entry::Done(done) => {
                if let Some(group) = done.group {
                    self.segments.entry(group.segment).or_default();
                }
                self.done.insert(done.time, done);
            }
            Entry::Dropped(segments) => {
                for segment in segments {
                    self.segments.remove(&segment);
                    for done in self.done.values_mut() {
                        if done.group.is_some_and(|group| group.segment == segment) {
                            done.group = None;
                        }
                    }
                }
            }
            Entry::Forgotten { operator, up_to } => {
                self.forgotten.insert(operator, up_to);
            }
            Entry::Kept(kept) => self.kept = Some(kept),
            Entry::GivenUp(up_to) => self.given_up = self.given_up.max(Some(up_to)),
        }
    }

    /// The chunks that a batch has put into a segment.
    pub(super) fn note_chunks(&mut self, segment: FileId, time: Time, chunks: &[ChunkInfo]) {
        let last = &mut self.segments.entry(segment).or_default().last;
        let mut touched = BTreeSet::new();
        for chunk in chunks {
            let of = (chunk.operator, Class::of(chunk.kind));
            let at = last.entry(of).or_insert(time);
            *at = time.max(*at);
            self.spans.entry(of).or_default().note(chunk);
            touched.insert(of);
        }
        for of in touched {
            if let Some(span) = self.spans.get_mut(&of) {
                span.close(time);
            }
        }
    }

    /// The newest batch that with all before it is done.
    pub(super) fn done_up_to(&self) -> Option<Time> {
        let first_open = self.plans.keys().find(|time| !self.done.contains_key(*time));
        let done = self.done.keys().copied();
        match first_open {
            Some(first_open) => self.done.range(..*first_open).next_back().map(|(time, _)| *time),
            None => done.last(),
        }
    }

    /// The batches that are done, but for an output that has failed and is to run again.
    pub(super) fn owed(&self) -> Vec<Time> {
        let Some(done) = self.done_up_to() else { return Vec::new() };
        let is_owed = |(time, planned): &(&Time, &PlannedBatch)| {
            Some(**time) > self.given_up && planned.outputs.values().any(Option::is_some)
        };
        self.plans.range(..=done).filter(is_owed).map(|(time, _)| *time).collect()
    }

    /// The newest of the owed batches behind which too many others are done.
    pub(super) fn owed_too_long(&self) -> Option<Time> {
        let (bound, _) = self.done.range(..=self.done_up_to()?).rev().nth(MOST_BEHIND)?;
        self.owed().into_iter().take_while(|owed| owed <= bound).last()
    }

    /// Says which outputs never get which of the batches that they are owed, if those up to a batch are given up.
    pub(super) fn losses(&self, up_to: Time, why: &str) -> Vec<String> {
        let mut losses: BTreeMap<OperatorId, (usize, Time, Time, &str)> = BTreeMap::new();
        for time in self.owed().into_iter().take_while(|time| *time <= up_to) {
            for (output, failure) in &self.plans[&time].outputs {
                let Some(failure) = failure else { continue };
                let loss = losses.entry(*output).or_insert((0, time, time, failure));
                *loss = (loss.0 + 1, loss.1, time, failure);
            }
        }
        let operators = self.manifest.iter().flat_map(|manifest| &manifest.operators);
        let names: BTreeMap<OperatorId, String> =
            operators.map(|saved| (saved.id, format!("{} ({})", saved.name, saved.site))).collect();
        let line = |(output, (count, first, last, failure)): (OperatorId, (usize, Time, Time, &str))| {
            let output = names.get(&output).cloned().unwrap_or_else(|| output.to_string());
            let batches = match count {
                1 => format!("batch {first}"),
                _ => format!("{count} batches from {first} to {last}"),
            };
            format!("output {output} never gets {batches}, for which it failed (\"{failure}\"): {why}")
        };
        losses.into_iter().map(line).collect()
    }

    /// The batches that a restart asks for: those that are not done, those whose plans are still needed, and the last,
    /// since inputs go on behind it.
    pub(super) fn needed_batches(&self) -> Vec<LoggedBatch> {
        let done = self.done_up_to().and_then(|time| self.done.get(&time));
        let plans_from = done.map_or(NEVER, |done| done.plans_from);
        let last = self.plans.keys().next_back().copied();
        let mut batches = self.batches();
        batches.retain(|batch| batch.time >= plans_from || !batch.done || Some(batch.time) == last);
        batches
    }

    /// All batches that are still kept.
    pub(super) fn batches(&self) -> Vec<LoggedBatch> {
        let batch = |(time, planned): (&Time, &PlannedBatch)| LoggedBatch {
            time: *time,
            inputs: planned.inputs.clone(),
            outputs: planned.outputs.iter().map(|(output, failure)| (*output, failure.clone())).collect(),
            done: self.done.contains_key(time),
        };
        self.plans.iter().map(batch).collect()
    }

    /// Takes back that batches after this one are done.
    pub(super) fn fall_back_to(&mut self, time: Option<Time>) {
        self.done.retain(|done, _| Some(*done) <= time);
    }

    /// What an operator has kept so far is not restored any more.
    pub(super) fn forget(&mut self, operator: OperatorId) {
        if let Some(up_to) = self.done_up_to() {
            self.forgotten.insert(operator, up_to);
        }
        self.spans.retain(|(of, _), _| *of != operator);
    }

    /// Of operators that are not part of the program any more, what they have kept is not needed for ever, and outputs
    /// are owed nothing.
    pub(super) fn keep_only(&mut self, manifest: &Manifest) {
        let is_left = |operator: &OperatorId| manifest.operators.iter().any(|saved| saved.id == *operator);
        self.spans.retain(|(operator, _), _| is_left(operator));
        for planned in self.plans.values_mut() {
            planned.outputs.retain(|output, failure| failure.is_none() || is_left(output));
        }
    }

    /// What is needed if so many complete snapshots are to be kept besides the newest, and outputs are to run again for
    /// the batches that they are owed; `None` if everything is.
    ///
    /// The batches that can be gone back to are chosen so that they have no chunk of state in common: damage of one leaves
    /// the others.
    fn needed(&self, generations: usize) -> Option<Kept> {
        let mut oldest = self.done_up_to()?;
        for _ in 0..generations {
            let states = self.spans.iter().filter(|((_, class), _)| *class == Class::State);
            let since = states.filter_map(|(_, span)| span.since(oldest)).min();
            // Without state there are only batches that are kept: one is as good as the other.
            let before = since.unwrap_or(oldest).min(oldest);
            match self.done.range(..before).next_back() {
                Some((time, _)) => oldest = *time,
                None => break,
            }
        }
        if let Some(owed) = self.owed().first() {
            let (before, _) = self.done.range(..owed).next_back()?;
            oldest = oldest.min(*before);
        }
        // What was given up does not come back.
        let oldest = self.kept.map_or(oldest, |kept| kept.oldest.max(oldest));
        Some(Kept { oldest, plans_from: self.done.get(&oldest)?.plans_from })
    }

    /// Forgets what is needless, and returns the segments of the state log that are; they are still known, until they
    /// are dropped.
    pub(super) fn prune(&mut self, generations: usize) -> Vec<FileId> {
        let Some(kept @ Kept { oldest, plans_from }) = self.needed(generations) else { return Vec::new() };
        self.spans.values_mut().for_each(|span| span.forget_before(oldest));
        let is_needed = |(of, last): (&(OperatorId, Class), &Time)| {
            let span = self.spans.get(of);
            span.is_some_and(|span| span.since(oldest).is_none_or(|since| *last >= since))
        };
        let dead: Vec<FileId> = self
            .segments
            .iter()
            .filter(|(_, segment)| !segment.last.iter().any(is_needed))
            .map(|(segment, _)| *segment)
            .collect();
        let spans = &self.spans;
        self.forgotten.retain(|operator, up_to| {
            let since = |class| spans.get(&(*operator, class)).and_then(|span| span.since(oldest));
            ![Class::State, Class::Batch].into_iter().filter_map(since).any(|since| since > *up_to)
        });
        let plans = self.plans.len();
        let done = &self.done;
        let last = self.plans.keys().next_back().copied();
        self.plans.retain(|time, _| *time >= plans_from || !done.contains_key(time) || Some(*time) == last);
        if self.plans.len() < plans || !dead.is_empty() {
            self.kept = Some(kept);
        }
        let plans = &self.plans;
        self.done.retain(|time, done| *time >= oldest || plans.contains_key(time) || done.group.is_some());
        dead
    }

    /// The entries that make a ledger like this one.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.manifest.clone().map(Entry::Manifest).into_iter().collect();
        entries.extend(self.kept.map(Entry::Kept));
        entries.extend(self.given_up.map(Entry::GivenUp));
        entries.extend(self.forgotten.iter().map(|(&operator, &up_to)| Entry::Forgotten { operator, up_to }));
        for (time, planned) in &self.plans {
            entries.push(Entry::Planned { time: *time, inputs: planned.inputs.clone() });
            for (&operator, failure) in &planned.outputs {
                entries.push(Entry::OutputEnded { time: *time, operator, failure: failure.clone() });
            }
        }
        entries.extend(self.done.values().cloned().map(Entry::Done));
        entries
    }
}
