//! What a batch log says, as the writer keeps it and as a reader finds it: both apply the same entries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::chunks::ChunkInfo;
use super::entry::{Done, Entry, Kept, LoggedBatch, LoggedInput, Manifest};
use super::format::FileId;
use crate::id::OperatorId;
use crate::state::ChunkKind;
use crate::time::Time;

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
        if self.since.len() != chunk.partitions as usize {
            self.since = vec![None; chunk.partitions as usize];
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

    /// The batches that a restart asks for: those that are not done or have an output that failed, those whose plans are
    /// still needed, and the last, since inputs go on behind it.
    pub(super) fn needed_batches(&self) -> Vec<LoggedBatch> {
        let done = self.done_up_to().and_then(|time| self.done.get(&time));
        let plans_from = done.map_or(NEVER, |done| done.plans_from);
        let last = self.plans.keys().next_back().copied();
        let mut batches = self.batches();
        batches.retain(|batch| {
            let has_failed = batch.outputs.iter().any(|(_, failure)| failure.is_some());
            batch.time >= plans_from || !batch.done || has_failed || Some(batch.time) == last
        });
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

    /// What operators that are not part of the program any more have kept is not needed for ever.
    pub(super) fn keep_spans_of(&mut self, manifest: &Manifest) {
        self.spans.retain(|(operator, _), _| manifest.operators.iter().any(|saved| saved.id == *operator));
    }

    /// What is needed if so many complete snapshots are to be kept besides the newest.
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
        let has_failed = |planned: &PlannedBatch| planned.outputs.values().any(Option::is_some);
        let plans = self.plans.len();
        let done = &self.done;
        let last = self.plans.keys().next_back().copied();
        self.plans.retain(|time, planned| {
            *time >= plans_from || !done.contains_key(time) || has_failed(planned) || Some(*time) == last
        });
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
