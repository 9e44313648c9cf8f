//! Reads a checkpoint back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::chunks::{CHUNK_HEAD, ChunkInfo, read_chunk_head};
use super::entry::{Done, Entry, Group, Kept, LoggedBatch, Manifest, Role, SavedOperator};
use super::format::{FILE_HEAD, FRAME_HEAD, Fields, FileId, FileKind, FrameHead, damaged, open_frame};
use super::ledger::{Class, Ledger};
use super::owner::{Heart, files, unreadable};
use super::upgrade::Left;
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::event_loop::adopt_thread;
use crate::id::OperatorId;
use crate::state::{Chunk, ChunkKind};
use crate::storage::Storage;
use crate::time::Time;

/// As much of a file is read at once to check it.
const READ_BYTES: u64 = 1024 * 1024;

/// As much of a file is read at once to see what is in it.
const LOOK_BYTES: u64 = 16 * 1024;

/// What a checkpoint holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ledger: Ledger,
    places: Vec<Place>,
    /// Groups that cannot be read to their ends: the batch, and what is wrong.
    broken: Vec<(Time, String)>,
    said: Said,
}

/// What a reader has to say.
#[derive(Debug, Default)]
struct Said {
    /// What was damaged or is lost, and what is done about it.
    reports: Vec<String>,
    /// What does no harm.
    notes: Vec<String>,
}

/// A chunk that was found.
#[derive(Clone, Debug)]
struct Place {
    info: ChunkInfo,
    segment: FileId,
    frame: FrameHead,
    /// What is wrong with it.
    damage: Option<String>,
}

impl Found {
    /// What the log says, for its next owner.
    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// The chunks of an operator that a restart reads, in the order of time.
    pub(super) fn chunks_of(&self, operator: OperatorId) -> Vec<ChunkInfo> {
        let Some(time) = self.ledger.done_up_to() else { return Vec::new() };
        let classes = [Class::Batch, Class::State].into_iter();
        classes.flat_map(|class| self.needed((operator, class), time)).map(|place| place.info).collect()
    }

    /// The chunks that are needed to restore what an operator kept after the batch at `time`, in the order of time.
    ///
    /// Of a partition they are needed from where it says. That holds while there were as many partitions: from before the
    /// number has changed, a key may be in any chunk, and what is newer of it in any of those that follow. So if one of
    /// those is needed, all that come after it are.
    fn needed(&self, of: (OperatorId, Class), time: Time) -> Vec<&Place> {
        let mut places = self.places_of(of, time);
        let since = since_of(&places);
        let Some(first) = since.values().min().copied() else { return places };
        places.retain(|place| place.info.time >= first);
        if places.iter().all(|place| place.info.partitions == places[0].info.partitions) {
            places.retain(|place| Some(&place.info.time) >= since.get(&place.info.partition));
        }
        places
    }

    /// What an operator has saved up to the batch at `time`, in the order of time.
    fn places_of(&self, of: (OperatorId, Class), time: Time) -> Vec<&Place> {
        let is_of = |place: &&Place| (place.info.operator, Class::of(place.info.kind)) == of && place.info.time <= time;
        self.places.iter().filter(is_of).collect()
    }

    /// What of state cannot be restored as it was after the batch at `time`; `None` if all can.
    fn damage_at(&self, time: Time) -> Option<String> {
        for of in self.classes() {
            let needed = self.needed(of, time);
            if let Some(damage) = needed.iter().find_map(|place| place.damage.as_ref()) {
                return Some(format!("operator {}: {damage}", self.name(of.0)));
            }
            let first = since_of(&self.places_of(of, time)).into_values().min();
            let is_hit = |broken: &&(Time, String)| broken.0 <= time && Some(broken.0) >= first;
            if let Some((batch, damage)) = self.broken.iter().find(is_hit) {
                return Some(format!("operator {}: {damage}, which holds its state of batch {batch}", self.name(of.0)));
            }
        }
        None
    }

    /// The operators of the program that something is kept of.
    fn classes(&self) -> BTreeSet<(OperatorId, Class)> {
        let operators = self.ledger.manifest.iter().flat_map(|manifest| &manifest.operators);
        // Of what is said to be saved, damage may have left nothing to be found.
        let class_of = |saved: &SavedOperator| match saved.role {
            Role::State => Some((saved.id, Class::State)),
            Role::Batches => Some((saved.id, Class::Batch)),
            Role::Input | Role::Output => None,
        };
        let saved = operators.clone().filter_map(class_of);
        let known: BTreeSet<OperatorId> = operators.map(|saved| saved.id).collect();
        let found = self.places.iter().map(|place| (place.info.operator, Class::of(place.info.kind)));
        found.filter(|(operator, _)| known.contains(operator)).chain(saved).collect()
    }

    fn name(&self, operator: OperatorId) -> String {
        let mut operators = self.ledger.manifest.iter().flat_map(|manifest| &manifest.operators);
        operators.find(|saved| saved.id == operator).map_or_else(|| operator.to_string(), |saved| saved.name.clone())
    }

    /// Whether all is kept that it takes to go back to the batch at `time`, but for what is damaged.
    fn is_kept(&self, time: Option<Time>) -> bool {
        let ledger = &self.ledger;
        let after = time.map_or(Bound::Unbounded, Bound::Excluded);
        let has_plans =
            || ledger.done.range((after, Bound::Unbounded)).all(|(time, _)| ledger.plans.contains_key(time));
        ledger.kept.is_none_or(|kept| time >= Some(kept.oldest)) && has_plans()
    }

    /// The batches before this one that could be gone back to, the newest last; `None` is the beginning.
    fn earlier(&self, time: Time) -> impl DoubleEndedIterator<Item = Option<Time>> {
        let from_nothing = self.ledger.forgotten.is_empty().then_some(None);
        from_nothing.into_iter().chain(self.ledger.done.range(..time).map(|(time, _)| Some(*time)))
    }

    /// Whether all is there that it takes to go back to the batch at `time`, and what was checked of it is whole.
    fn is_good(&self, time: Option<Time>) -> bool {
        self.is_kept(time) && time.is_none_or(|time| self.damage_at(time).is_none())
    }

    /// Takes back all that is done after a batch.
    fn go_back_to(&mut self, time: Option<Time>) {
        self.ledger.fall_back_to(time);
        self.places.retain(|place| Some(place.info.time) <= time);
    }

    /// Reads the bytes of chunks and marks those that are damaged: of those that are needed to restore what was kept after
    /// a batch, or of all.
    fn check(&mut self, storage: &dyn Storage, time: Option<Time>) -> Result<()> {
        let needed: Option<BTreeSet<(FileId, u64)>> = time.map(|time| {
            let classes = self.classes().into_iter();
            classes.flat_map(|of| self.needed(of, time)).map(|place| (place.segment, place.info.at)).collect()
        });
        for places in self.places.chunk_by_mut(|a, b| a.segment == b.segment) {
            let name = places[0].segment.name();
            let end = places.last().map_or(0, |last| last.info.at + last.frame.frame_length());
            let mut window = Window { storage, name: &name, start: 0, bytes: Vec::new(), end, ahead: READ_BYTES };
            for place in places {
                let is_needed = needed.as_ref().is_none_or(|needed| needed.contains(&(place.segment, place.info.at)));
                if is_needed && !window.check(place.info.at + FRAME_HEAD, place.frame)? {
                    place.damage = Some(format!("{name} at byte {}: damaged", place.info.at));
                }
            }
        }
        Ok(())
    }

    /// Goes back to the newest batch whose state is whole.
    fn fall_back(&mut self, storage: &dyn Storage) -> Result<()> {
        let Some(newest) = self.ledger.done_up_to() else { return Ok(()) };
        self.check(storage, Some(newest))?;
        let Some(damage) = self.damage_at(newest) else { return Ok(()) };
        self.check(storage, None)?;
        let Some(good) = self.earlier(newest).rev().find(|time| self.is_good(*time)) else {
            let message = format!(
                "{damage}; no older state that is whole is left with the plans of the batches after it: put the file back \
                 from a copy, reset the operator, or begin with an empty directory"
            );
            return Err(damaged(message));
        };
        let report = format!("{damage}; the state falls back from batch {newest} to {}", and_again(good));
        self.said.reports.push(report);
        self.go_back_to(good);
        Ok(())
    }

    /// Goes back to before the oldest batch that an output is owed, as far as there is a state to go back to. What cannot
    /// be reached any more is given up.
    fn go_back_to_owed(&mut self, storage: &dyn Storage) -> Result<()> {
        let owed = self.ledger.owed();
        let (Some(newest), Some(first)) = (self.ledger.done_up_to(), owed.first()) else { return Ok(()) };
        let before = self.ledger.done.range(..first).next_back().map(|(time, _)| *time);
        if before.is_some() {
            self.check(storage, before)?;
        }
        if !self.is_good(before) {
            self.check(storage, None)?;
        }
        let oldest = self.earlier(newest).find(|time| self.is_good(*time));
        let lost = oldest.map_or(owed.len(), |oldest| owed.partition_point(|owed| Some(*owed) <= oldest));
        if let Some(up_to) = owed[..lost].last() {
            let why = "no state from before that is whole is left to run again from";
            self.said.reports.extend(self.ledger.losses(*up_to, why));
            self.ledger.apply(Entry::GivenUp(*up_to));
        }
        let Some(first) = owed.get(lost) else { return Ok(()) };
        let good = self.earlier(*first).rev().find(|time| self.is_good(*time));
        let Some(good) = good else { return Ok(()) };
        let what = match owed.len() - lost {
            1 => format!("an output failed for batch {first}"),
            more => format!("outputs failed for {more} batches from {first} on"),
        };
        self.said.notes.push(format!("{what}; going back from batch {newest} to {}", and_again(good)));
        self.go_back_to(good);
        Ok(())
    }

    /// What is damaged so that nobody knows what was there is forgotten when its segment goes: from here on nobody goes back
    /// to a batch that needs it.
    fn give_up_broken(&mut self) {
        let Some((_, damage)) = self.broken.last() else { return };
        let times = self.ledger.done.keys().rev().copied();
        let Some(oldest) = times.take_while(|time| self.damage_at(*time).is_none()).last() else { return };
        if self.ledger.kept.is_none_or(|kept| kept.oldest < oldest) {
            self.said.reports.push(format!("{damage}: from here on no fall-back reaches behind batch {oldest}"));
            self.ledger.kept = Some(Kept { oldest, plans_from: self.ledger.done[&oldest].plans_from });
        }
    }

    /// Tells the ledger what is in the segments.
    fn note_chunks(&mut self) {
        for group in self.places.chunk_by(|a, b| (a.info.time, a.segment) == (b.info.time, b.segment)) {
            let chunks: Vec<ChunkInfo> = group.iter().map(|place| place.info).collect();
            self.ledger.note_chunks(group[0].segment, chunks[0].time, &chunks);
        }
    }
}

/// From which batch on chunks of each partition are needed, as its last one says: of the partitions that there were last.
fn since_of(places: &[&Place]) -> BTreeMap<u32, Time> {
    let last = places.chunk_by(|a, b| a.info.partitions == b.info.partitions).next_back();
    last.into_iter().flatten().map(|place| (place.info.partition, place.info.since)).collect()
}

/// Reads what is there; `None` if no program has ever begun here. Works beside a running owner.
pub(super) fn read(storage: &Arc<dyn Storage>, start_from_last_good: bool) -> Result<Option<Found>> {
    let storage = &**storage;
    let mut said = Said::default();
    let Some(ledger) = read_ledger(storage, start_from_last_good, &mut said)? else { return Ok(None) };
    let mut found = Found { ledger, places: Vec::new(), broken: Vec::new(), said };
    let done: Vec<Done> = found.ledger.done.values().cloned().collect();
    for Done { time, group, .. } in done {
        if let Some(group) = group {
            if let Some(damage) = scan(storage, time, group, &mut found.places)? {
                found.broken.push((time, damage));
            }
        }
    }
    let forgotten = &found.ledger.forgotten;
    found.places.retain(|place| forgotten.get(&place.info.operator).is_none_or(|up_to| place.info.time > *up_to));
    found.fall_back(storage)?;
    found.go_back_to_owed(storage)?;
    found.give_up_broken();
    found.note_chunks();
    for report in &found.said.reports {
        tracing::error!("checkpoint {}: {report}", storage.place());
    }
    for note in &found.said.notes {
        tracing::info!("checkpoint {}: {note}", storage.place());
    }
    Ok(Some(found))
}

/// Where it goes on, and what follows.
fn and_again(good: Option<Time>) -> String {
    let to = good.map_or("the beginning".to_string(), |time| format!("batch {time}"));
    format!("{to}, and the batches after that run again from their plans, without the outputs that are done")
}

/// Reads the newest batch log.
fn read_ledger(storage: &dyn Storage, consent: bool, said: &mut Said) -> Result<Option<Ledger>> {
    let logs = logs(storage, said)?;
    let mut first_error = None;
    for log in logs {
        match read_log(storage, log, consent, said) {
            Ok(ledger) => {
                if let Some(error) = first_error {
                    said.reports.push(format!("{error}; going on from {}", log.name()));
                }
                return Ok(Some(ledger));
            }
            Err(error) if consent => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    first_error.map_or(Ok(None), Err)
}

/// The segments of batch logs, newest first. The first is what counts; it may be missing.
fn logs(storage: &dyn Storage, said: &mut Said) -> Result<Vec<FileId>> {
    let files = files(storage)?;
    let of = |kind| files.iter().map(|(file, _)| *file).filter(move |file| file.kind == kind);
    let mut logs: BTreeSet<FileId> = of(FileKind::Batches).collect();
    for alive in of(FileKind::Alive) {
        match Heart::read(storage, alive.epoch) {
            Ok(Heart { segment: Some(segment), .. }) => {
                if !logs.iter().any(|log| (log.epoch, log.number) >= (alive.epoch, segment)) {
                    logs.insert(FileId::batches(alive.epoch, segment));
                }
            }
            Ok(Heart { segment: None, .. }) => {}
            // After a power cut too: a beat is not synced.
            Err(error) => {
                said.notes.push(format!("{error}; which log of batches is the newest, the names have to tell"))
            }
        }
    }
    Ok(logs.into_iter().rev().collect())
}

fn read_log(storage: &dyn Storage, log: FileId, consent: bool, said: &mut Said) -> Result<Ledger> {
    let name = log.name();
    let bytes = storage.read(&name, 0..u64::MAX).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => damaged(format!(
            "{name} is missing: put it back from a copy, or go on from the one before with \
             `Checkpoint::start_from_last_good`"
        )),
        _ => damaged(format!("{name} cannot be read: {e}")),
    })?;
    log.check_head(&bytes)?;
    let mut ledger = Ledger::default();
    let mut at = FILE_HEAD;
    while at < bytes.len() as u64 {
        let Some(body) = open_frame(log, at, &bytes[at as usize..]) else {
            let left = bytes.len() as u64 - at;
            if at > FILE_HEAD && !was_synced(log, at, &bytes) {
                said.notes.push(format!("{name} at byte {at}: the last {left} bytes were never complete, and are cut"));
                break;
            }
            if at > FILE_HEAD && consent {
                said.reports.push(format!("{name} at byte {at}: damaged; the {left} bytes from there on are left out"));
                break;
            }
            let message = format!(
                "{name} at byte {at}: a frame is damaged: put the file back from a copy, or go on from the last good place \
                 before it with `Checkpoint::start_from_last_good`"
            );
            return Err(damaged(message));
        };
        apply(&mut ledger, body).map_err(|error| error.within(format!("{name} at byte {at}")))?;
        at += FRAME_HEAD + body.len() as u64;
    }
    if ledger.manifest.is_none() {
        return Err(damaged(format!("{name} at byte {FILE_HEAD}: the file ends before the manifest")));
    }
    Ok(ledger)
}

fn apply(ledger: &mut Ledger, body: &[u8]) -> Result<()> {
    let mut fields = Fields(body);
    fields.u64()?;
    while !fields.is_empty() {
        ledger.apply(Entry::read(&mut fields)?);
    }
    Ok(())
}

/// Whether a frame behind says that the log was synced beyond this place: then what is there was once complete.
fn was_synced(log: FileId, at: u64, bytes: &[u8]) -> bool {
    let says_so = |later: u64| {
        let body = open_frame(log, later, &bytes[later as usize..]);
        body.and_then(|body| Fields(body).u64().ok()).is_some_and(|synced| synced > at)
    };
    (at + 1..bytes.len() as u64).any(says_so)
}

/// Finds the chunks of a group and checks them; what is wrong with the group, if it cannot be read to its end.
fn scan(storage: &dyn Storage, time: Time, group: Group, places: &mut Vec<Place>) -> Result<Option<String>> {
    let Group { segment, at: begin, length } = group;
    let name = segment.name();
    let end = begin.saturating_add(length);
    let mut window = Window { storage, name: &name, start: 0, bytes: Vec::new(), end, ahead: LOOK_BYTES };
    if begin == FILE_HEAD {
        match window.get(0, FILE_HEAD)? {
            Some(head) if segment.check_head(head).is_ok() => {}
            Some(_) => return Ok(Some(format!("{name} at byte 0: the head of the file is damaged"))),
            None => return Ok(Some(format!("{name} is missing"))),
        }
    }
    let mut at = begin;
    while at < end {
        let Some(head) = window.get(at, CHUNK_HEAD)? else { return Ok(Some(format!("{name} ends before byte {end}"))) };
        let Some((info, frame)) = read_chunk_head(segment, at, head) else {
            return Ok(Some(format!("{name} at byte {at}: damaged")));
        };
        let next = info.at + frame.frame_length();
        if info.time != time || next > end {
            return Ok(Some(format!("{name} at byte {at}: a chunk of batch {} does not belong here", info.time)));
        }
        places.push(Place { info, segment, frame, damage: None });
        at = next;
    }
    Ok(None)
}

/// Reads a file from its beginning to its end, a piece at a time.
struct Window<'s> {
    storage: &'s dyn Storage,
    name: &'s str,
    start: u64,
    bytes: Vec<u8>,
    /// Nobody asks for what is behind it.
    end: u64,
    /// How much is read at once.
    ahead: u64,
}

impl Window<'_> {
    /// The bytes at `at`; `None` if the file is missing or ends before.
    fn get(&mut self, at: u64, length: u64) -> Result<Option<&[u8]>> {
        let is_in = at >= self.start && at + length <= self.start + self.bytes.len() as u64;
        if !is_in {
            let until = (at + length).max((at + self.ahead).min(self.end));
            self.bytes = match self.storage.read(self.name, at..until) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                bytes => bytes.map_err(|e| unreadable(&e).within(self.name))?,
            };
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + length as usize))
    }

    /// Whether the body of a frame, at `at`, is whole.
    fn check(&mut self, at: u64, frame: FrameHead) -> Result<bool> {
        let mut hasher = crc32fast::Hasher::new();
        let end = at + u64::from(frame.length);
        let mut next = at;
        while next < end {
            let piece = READ_BYTES.min(end - next);
            let Some(bytes) = self.get(next, piece)? else { return Ok(false) };
            hasher.update(bytes);
            next += piece;
        }
        Ok(frame.has_checksum(hasher.finalize()))
    }
}

/// How much there is of an operator's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedState {
    pub(super) partitions: usize,
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// What a checkpoint holds, to be handed to those who kept it.
pub(crate) struct Recovered {
    found: Found,
    manifest: Manifest,
    batches: Vec<LoggedBatch>,
    storage: Arc<dyn Storage>,
}

impl std::fmt::Debug for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovered").field("done_up_to", &self.done_up_to()).finish_non_exhaustive()
    }
}

impl Recovered {
    pub(super) fn new(found: Found, storage: Arc<dyn Storage>) -> Self {
        let manifest = found.ledger.manifest.clone().expect("a log without a manifest is an error");
        Recovered { batches: found.ledger.needed_batches(), manifest, found, storage }
    }

    /// The program that wrote it.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The batches that are not done, those whose plans are still needed by what is, and the last; in the order of time.
    pub(crate) fn batches(&self) -> &[LoggedBatch] {
        &self.batches
    }

    /// All batches whose plans are still there, for whatever reason.
    pub(super) fn kept_batches(&self) -> Vec<LoggedBatch> {
        self.found.ledger.batches()
    }

    /// The newest batch that with all before it is done, that no output is owed, nor one before it, and whose state can be
    /// restored; the zero time if there is none.
    pub(crate) fn done_up_to(&self) -> Time {
        self.found.ledger.done_up_to().unwrap_or(self.manifest.zero_time)
    }

    /// What a program is compared with. `is_place` says whether a plan of an input tells where that goes on.
    pub(crate) fn left(&self, is_place: impl Fn(&[u8]) -> bool) -> Left<'_> {
        let plans = self.batches.iter().flat_map(|batch| &batch.inputs).filter(|input| is_place(&input.plan));
        let placed = plans.map(|input| input.operator).collect();
        Left { manifest: self.manifest(), batches: self.batches(), saved: self.with_batches(), placed }
    }

    /// The operators that batches are kept of.
    fn with_batches(&self) -> BTreeSet<OperatorId> {
        let is_batch = |place: &&Place| Class::of(place.info.kind) == Class::Batch;
        self.found.places.iter().filter(is_batch).map(|place| place.info.operator).collect()
    }

    /// What there is of an operator's state.
    pub(super) fn saved(&self, operator: OperatorId) -> SavedState {
        let mut saved = SavedState::default();
        let Some(time) = self.found.ledger.done_up_to() else { return saved };
        let needed = self.found.needed((operator, Class::State), time);
        saved.bytes = needed.iter().map(|place| place.info.length).sum();
        if let Some(last) = needed.last() {
            saved.partitions = last.info.partitions as usize;
            let of_layout = needed.iter().filter(|place| place.info.partitions == last.info.partitions);
            let keys: BTreeMap<u32, u64> = of_layout.map(|place| (place.info.partition, place.info.keys)).collect();
            saved.keys = keys.values().sum();
        }
        saved
    }

    /// What was damaged or is lost, and what is done about it.
    pub(crate) fn reports(&self) -> &[String] {
        &self.found.said.reports
    }

    /// What was found and does no harm.
    #[cfg(test)]
    pub(super) fn notes(&self) -> &[String] {
        &self.found.said.notes
    }

    /// Hands over the chunks of an operator that are needed at [`done_up_to`](Recovered::done_up_to): those of a partition
    /// in the order of time, those of different partitions at the same time, on two threads. While the number of
    /// partitions was another one, chunks come before all that were saved after it has changed.
    pub(crate) fn restore(
        &self,
        operator: OperatorId,
        each: &(dyn Fn(ChunkKind, &Chunk<'_>) -> Result<()> + Sync),
    ) -> Result<()> {
        let Some(time) = self.found.ledger.done_up_to() else { return Ok(()) };
        for class in [Class::State, Class::Batch] {
            let needed = self.found.needed((operator, class), time);
            for layout in needed.chunk_by(|a, b| a.info.partitions == b.info.partitions) {
                let (even, odd): (Vec<&Place>, Vec<&Place>) =
                    layout.iter().copied().partition(|place| place.info.partition % 2 == 0);
                let lane = |places: Vec<&Place>| places.into_iter().try_for_each(|place| self.hand_over(place, each));
                if odd.is_empty() {
                    lane(even)?;
                    continue;
                }
                let (even, odd) = std::thread::scope(|scope| {
                    let odd = scope.spawn(|| {
                        adopt_thread();
                        guarded(
                            || lane(odd),
                            |said| Error::new(ErrorKind::Internal, format!("a restore panicked: {said}")),
                        )
                    });
                    let even = lane(even);
                    (even, odd.join())
                });
                even?;
                odd.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a restore panicked")))?;
            }
        }
        Ok(())
    }

    fn hand_over(&self, place: &Place, each: &(dyn Fn(ChunkKind, &Chunk<'_>) -> Result<()> + Sync)) -> Result<()> {
        let Place { info, segment, .. } = place;
        let name = segment.name();
        let range = info.at..info.at + FRAME_HEAD + info.length;
        let within =
            |error: Error| error.within(format!("checkpoint {}: {name} at byte {}", self.storage.place(), info.at));
        let frame = self.storage.read(&name, range).map_err(|e| within(unreadable(&e)))?;
        let bytes = open_frame(*segment, info.at, &frame)
            .ok_or_else(|| within(damaged("was damaged since it was read first".to_string())))?;
        let chunk = Chunk {
            time: info.time,
            partition: info.partition as usize,
            partitions: info.partitions as usize,
            version: info.version,
            bytes,
        };
        each(info.kind, &chunk).map_err(within)
    }
}
