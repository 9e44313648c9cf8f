use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::chunks::{CHUNK_HEAD, chunk_head};
use super::entry::{Done, Entry, Group, Manifest};
use super::format::{FILE_HEAD, FileId, FileKind, put_frame, put_u64};
use super::journal::{Backlog, Command, waiting_bytes};
use super::ledger::{Ledger, MOST_BEHIND};
use super::owner::{HEART_BEAT, Heart, Owner, files};
use super::patience::Patience;
use super::settings::{Checkpoint, SyncPolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::id::OperatorId;
use crate::state::StateChunk;
use crate::storage::Storage;
use crate::time::{Clock, Time};

/// How many epochs are remembered for people who look.
const REMEMBERED_EPOCHS: u64 = 16;

/// A segment of the batch log is rewritten when it is so many times as long as what it has to hold anyway.
const ROLL_FACTOR: u64 = 4;

/// The needless is looked for after so many batches, or an eighth of those that are known.
const PRUNE_EVERY: usize = 16;

/// The thread `tidemill-checkpoint`: writes what it is told, all that waits at once.
pub(super) struct Writer {
    settings: Checkpoint,
    storage: Arc<dyn Storage>,
    owner: Owner,
    clock: Clock,
    patience: Patience,
    /// Closed when what cannot be written is not to be tried again.
    given_up: Receiver<Infallible>,
    backlog: Arc<Backlog>,
    ledger: Ledger,
    log: Option<LogEnd>,
    state: StateEnd,
    /// What of the state log has to be synced.
    dirty: BTreeSet<FileId>,
    /// The versions of the schemas that chunks are saved under.
    versions: BTreeMap<OperatorId, u32>,
    heart: Heart,
    next_beat: Time,
    /// When what was written is to be synced, if something is to be.
    next_sync: Option<Time>,
    done_since_prune: usize,
}

/// The end of the state log.
#[derive(Clone, Copy, Debug)]
struct StateEnd {
    segment: FileId,
    length: u64,
    /// How many batches have put something into the segment.
    batches: usize,
}

/// The end of the batch log.
#[derive(Clone, Copy, Debug)]
struct LogEnd {
    file: FileId,
    length: u64,
    /// What of it outlives a power cut.
    synced: u64,
    /// How long the file was when it was made.
    began: u64,
}

/// What is to be written at once.
#[derive(Default)]
struct Commit {
    entries: Vec<Entry>,
    /// Appends to the state log, in parts.
    state: Vec<(FileId, u64, Vec<Vec<u8>>)>,
    replies: Vec<Sender<()>>,
    then: Vec<Box<dyn FnOnce() + Send>>,
    bytes: usize,
}

/// Why the loop goes on to something else.
enum End {
    Close(Option<Sender<()>>),
    Abandon(Sender<()>),
}

impl Writer {
    pub(super) fn new(
        settings: &Checkpoint,
        owner: Owner,
        clock: &Clock,
        patience: Patience,
        given_up: Receiver<Infallible>,
        backlog: Arc<Backlog>,
    ) -> Result<Self> {
        let state = StateEnd { segment: FileId::state(owner.epoch, 0), length: 0, batches: 0 };
        let mut writer = Writer {
            settings: settings.clone(),
            storage: Arc::clone(&settings.storage),
            owner,
            clock: clock.clone(),
            patience,
            given_up,
            backlog,
            ledger: Ledger::default(),
            log: None,
            state,
            dirty: BTreeSet::new(),
            versions: BTreeMap::new(),
            heart: Heart::default(),
            next_beat: clock.now(),
            next_sync: None,
            done_since_prune: 0,
        };
        writer.beat();
        writer.remove_idle()?;
        Ok(writer)
    }

    /// Writes until it is told to end, or nobody is left who could.
    pub(super) fn run(&mut self, inbox: &Receiver<Command>) -> Result<()> {
        self.run_to_the_end(inbox).map_err(|error| error.within(format!("checkpoint {}", self.storage.place())))
    }

    fn run_to_the_end(&mut self, inbox: &Receiver<Command>) -> Result<()> {
        loop {
            let wake = self.next_sync.map_or(self.next_beat, |sync| sync.min(self.next_beat));
            let first = select! {
                recv(inbox) -> command => Some(command.ok()),
                recv(self.clock.alarm(wake)) -> _ => None,
            };
            let now = self.clock.now();
            if now >= self.next_beat {
                self.beat();
            }
            let mut commit = Commit::default();
            let mut end = None;
            match first {
                Some(Some(first)) => {
                    for command in std::iter::once(first).chain(inbox.try_iter()) {
                        end = self.take(command, &mut commit)?;
                        if end.is_some() {
                            break;
                        }
                    }
                }
                Some(None) => end = Some(End::Close(None)),
                None => {}
            }
            if let Some(End::Abandon(reply)) = end {
                // Nobody may be waiting any more.
                let _ = reply.send(());
                return Ok(());
            }
            self.commit(commit)?;
            if self.next_sync.is_some_and(|sync| now >= sync) {
                self.sync_all()?;
            }
            if let Some(End::Close(reply)) = end {
                self.sync_all()?;
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
                return Ok(());
            }
        }
    }

    /// Adds what a command asks for to what is to be written.
    fn take(&mut self, command: Command, commit: &mut Commit) -> Result<Option<End>> {
        match command {
            Command::Begin { manifest, reply } => {
                self.begin(manifest)?;
                commit.replies.push(reply);
            }
            Command::Found { ledger } => self.ledger = ledger,
            Command::Forget { operator } => self.ledger.forget(operator),
            Command::Planned { time, inputs, reply } => {
                commit.entries.push(Entry::Planned { time, inputs });
                commit.replies.push(reply);
            }
            Command::OutputEnded { time, operator, failure } => {
                commit.entries.push(Entry::OutputEnded { time, operator, failure });
            }
            Command::Settled { time, chunks, plans_from, then } => {
                commit.bytes += waiting_bytes(&chunks);
                let group = if chunks.is_empty() { None } else { Some(self.add_group(time, chunks, commit)?) };
                commit.entries.push(Entry::Done(Done { time, plans_from, group }));
                commit.then.push(then);
                self.done_since_prune += 1;
            }
            Command::Close { reply } => return Ok(Some(End::Close(Some(reply)))),
            Command::Abandon { reply } => return Ok(Some(End::Abandon(reply))),
        }
        Ok(None)
    }

    /// Puts the chunks of a batch at the end of the state log.
    fn add_group(&mut self, time: Time, chunks: Vec<StateChunk>, commit: &mut Commit) -> Result<Group> {
        let StateEnd { mut segment, length: mut at, mut batches } = self.state;
        if at >= self.settings.state_segment_bytes || batches >= self.settings.state_segment_batches {
            (segment, at, batches) = (FileId { number: segment.number + 1, ..segment }, 0, 0);
        }
        let is_same = commit.state.last().is_some_and(|(file, _, _)| *file == segment);
        if !is_same {
            commit.state.push((segment, at, Vec::new()));
        }
        let Some((_, _, parts)) = commit.state.last_mut() else { unreachable!("one was pushed") };
        if at == 0 {
            parts.push(segment.head());
            at = FILE_HEAD;
        }
        let mut group = Group { segment, at, length: 0 };
        let mut infos = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let version = self.versions.get(&chunk.operator).copied().unwrap_or(1);
            let (head, info) = chunk_head(segment, at, (time, version), &chunk)?;
            at += CHUNK_HEAD + info.length;
            infos.push(info);
            parts.extend([head, chunk.bytes]);
        }
        group.length = at - group.at;
        self.state = StateEnd { segment, length: at, batches: batches + 1 };
        self.ledger.note_chunks(segment, time, &infos);
        Ok(group)
    }

    /// Writes all of it: what operators keep first, then the log that says where it is.
    fn commit(&mut self, commit: Commit) -> Result<()> {
        let Commit { entries, state, replies, then, bytes } = commit;
        for (segment, at, parts) in state {
            self.append(segment, at, &parts)?;
        }
        self.backlog.leave(bytes);
        if !entries.is_empty() {
            self.log(entries)?;
        }
        for reply in replies {
            // Nobody may be waiting any more.
            let _ = reply.send(());
        }
        for then in then {
            then();
        }
        self.clean()
    }

    /// Appends entries to the batch log, as one frame.
    fn log(&mut self, entries: Vec<Entry>) -> Result<()> {
        let Some(log) = self.log else {
            return Err(Error::new(ErrorKind::Internal, "a batch was written before the journal has begun"));
        };
        let mut frame = Vec::new();
        put_frame(log.file, log.length, &record(self.synced_for_record(log), &entries), &mut frame)?;
        self.append(log.file, log.length, &[&frame])?;
        self.log = Some(LogEnd { length: log.length + frame.len() as u64, ..log });
        entries.into_iter().for_each(|entry| self.ledger.apply(entry));
        Ok(())
    }

    /// Up to where a frame says that the log is whole: damage before that is damage, and damage behind it a power cut.
    fn synced_for_record(&self, log: LogEnd) -> u64 {
        match self.settings.sync {
            SyncPolicy::Every(_) => log.synced,
            SyncPolicy::EveryBatch | SyncPolicy::Never => log.length,
        }
    }

    fn append(&mut self, file: FileId, at: u64, parts: &[impl AsRef<[u8]>]) -> Result<()> {
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        let name = file.name();
        let sync = self.settings.sync == SyncPolicy::EveryBatch;
        self.persist(&format!("{name} at byte {at}"), |storage| {
            storage.append(&name, at, &parts)?;
            if sync { storage.sync(&name) } else { Ok(()) }
        })?;
        if !sync && file.kind == FileKind::State {
            self.dirty.insert(file);
        }
        if let SyncPolicy::Every(interval) = self.settings.sync {
            self.next_sync.get_or_insert(self.clock.now() + interval);
        }
        Ok(())
    }

    /// Has all that was written outlive a power cut.
    fn sync_all(&mut self) -> Result<()> {
        self.next_sync = None;
        if self.settings.sync == SyncPolicy::EveryBatch {
            return Ok(());
        }
        for segment in std::mem::take(&mut self.dirty) {
            let name = segment.name();
            self.persist(&name, |storage| storage.sync(&name))?;
        }
        if let Some(log) = self.log {
            let name = log.file.name();
            self.persist(&name, |storage| storage.sync(&name))?;
            self.log = Some(LogEnd { synced: log.length, ..log });
        }
        Ok(())
    }

    /// Does something to the storage, again and again until it works or has failed for too long.
    fn persist(&self, what: &str, act: impl FnMut(&dyn Storage) -> io::Result<()>) -> Result<()> {
        self.patience.insist((what, "written"), &self.given_up, act)
    }

    /// Begins this epoch: writes what was found, and from here on the program's part.
    fn begin(&mut self, manifest: Manifest) -> Result<()> {
        let schemas = manifest.operators.iter().filter_map(|saved| Some((saved.id, saved.schema.as_ref()?.version)));
        self.versions = schemas.collect();
        self.ledger.keep_only(&manifest);
        self.ledger.apply(Entry::Manifest(manifest));
        // However short epochs are, what is needless goes.
        let dead = self.ledger.prune(self.settings.generations);
        self.ledger.apply(Entry::Dropped(dead));
        self.roll()?;
        self.remove_orphans()
    }

    /// Writes all that the log has to hold to a new segment.
    fn roll(&mut self) -> Result<()> {
        if self.next_sync.is_some() {
            self.sync_all()?;
        }
        let number = self.log.map_or(0, |log| log.file.number + 1);
        let file = FileId::batches(self.owner.epoch, number);
        let bytes = file.whole(&record(0, &self.ledger.entries()))?;
        let durable = self.settings.sync != SyncPolicy::Never;
        let name = file.name();
        self.persist(&name, |storage| storage.write_atomically(&name, &bytes, durable))?;
        let length = bytes.len() as u64;
        self.log = Some(LogEnd { file, length, synced: length, began: length });
        self.heart.segment = Some(number);
        let (alive, heart) = (FileId::alive(self.owner.epoch).name(), self.heart.bytes(self.owner.epoch)?);
        self.persist(&alive, |storage| storage.write_atomically(&alive, &heart, durable))?;
        self.remove_old_logs()
    }

    /// Lets go of what is needless.
    fn clean(&mut self) -> Result<()> {
        if self.done_since_prune >= PRUNE_EVERY.max(self.ledger.done.len() / 8) {
            self.done_since_prune = 0;
            self.give_up_owed()?;
            let mut dead = self.ledger.prune(self.settings.generations);
            dead.retain(|segment| *segment != self.state.segment);
            if !dead.is_empty() {
                // What is gone is never looked for: that it goes is on the disk before it does.
                let kept = self.ledger.kept.map(Entry::Kept);
                self.log(kept.into_iter().chain([Entry::Dropped(dead.clone())]).collect())?;
                self.sync_all()?;
                self.remove(dead)?;
            }
        }
        match self.log {
            Some(log) if log.length >= self.settings.batch_segment_bytes.max(ROLL_FACTOR * log.began) => self.roll(),
            _ => Ok(()),
        }
    }

    /// Lets go of batches that an output is owed for too long.
    fn give_up_owed(&mut self) -> Result<()> {
        let Some(up_to) = self.ledger.owed_too_long() else { return Ok(()) };
        let why = format!("more than {MOST_BEHIND} batches are done since, and the program was not started again");
        for loss in self.ledger.losses(up_to, &why) {
            tracing::error!("checkpoint {}: {loss}", self.storage.place());
        }
        self.log(vec![Entry::GivenUp(up_to)])
    }

    /// Removes all segments of batch logs but the newest and the one before.
    fn remove_old_logs(&mut self) -> Result<()> {
        let mut logs: Vec<FileId> = self.files(FileKind::Batches)?;
        logs.sort_unstable();
        logs.truncate(logs.len().saturating_sub(2));
        self.remove(logs)
    }

    /// Removes what predecessors have left.
    fn remove_orphans(&mut self) -> Result<()> {
        let mut orphans = self.files(FileKind::State)?;
        orphans.retain(|file| !self.ledger.segments.contains_key(file));
        orphans.extend(self.forgotten(FileKind::Alive)?);
        orphans.extend(self.forgotten(FileKind::Epoch)?);
        self.remove(orphans)
    }

    /// Removes old epochs before this one has begun: a program that is started over and over and cannot go on leaves no
    /// more of them. The hearts that name a batch log stay.
    fn remove_idle(&mut self) -> Result<()> {
        let mut idle = self.forgotten(FileKind::Alive)?;
        idle.retain(|alive| Heart::read(&*self.storage, alive.epoch).is_ok_and(|heart| heart.segment.is_none()));
        idle.extend(self.forgotten(FileKind::Epoch)?);
        self.remove(idle)
    }

    /// The files of old epochs, oldest first: a fenced owner sees that its own is gone if the next is.
    fn forgotten(&self, kind: FileKind) -> Result<Vec<FileId>> {
        let mut old = self.files(kind)?;
        old.retain(|file| file.epoch + REMEMBERED_EPOCHS <= self.owner.epoch);
        old.sort_unstable();
        Ok(old)
    }

    fn files(&self, kind: FileKind) -> Result<Vec<FileId>> {
        let files = files(&*self.storage)?;
        Ok(files.into_iter().map(|(file, _)| file).filter(|file| file.kind == kind).collect())
    }

    fn remove(&mut self, files: Vec<FileId>) -> Result<()> {
        for file in files {
            self.dirty.remove(&file);
            let name = file.name();
            self.persist(&name, |storage| storage.remove(&name))?;
        }
        Ok(())
    }

    /// Shows that this process lives. If it cannot be shown, another one may take over, and this one will notice.
    fn beat(&mut self) {
        self.next_beat = self.clock.now() + HEART_BEAT;
        self.heart.beats += 1;
        let epoch = self.owner.epoch;
        let beaten = self
            .heart
            .bytes(epoch)
            .and_then(|heart| Ok(self.storage.write_atomically(&FileId::alive(epoch).name(), &heart, false)?));
        if let Err(error) = beaten {
            tracing::warn!("checkpoint {}: the heart of this process cannot be written: {error}", self.storage.place());
        }
    }
}

/// The body of a frame of the batch log.
fn record(synced: u64, entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    put_u64(&mut body, synced);
    entries.iter().for_each(|entry| entry.put(&mut body));
    body
}
