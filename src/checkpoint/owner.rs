//! Who owns a checkpoint: whoever has created the file of the newest epoch.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, select_biased};

use super::format::{Fields, FileId, FileKind, put_bytes, put_time, put_u32, put_u64};
use super::settings::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, StorageClaim};
use crate::time::{Clock, Time};

/// How often the heart of an owner beats.
pub(super) const HEART_BEAT: Duration = Duration::from_secs(1);

/// A standby looks at least as often.
const LOOK: Duration = Duration::from_millis(500);

/// The process that has an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) epoch: u64,
    pub(crate) app: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) since: Time,
}

impl Ownership {
    pub(super) fn read(storage: &dyn Storage, epoch: u64) -> Result<Self> {
        let file = FileId::epoch(epoch);
        let bytes = read_all(storage, file)?;
        let mut fields = Fields(file.open_whole(&bytes)?);
        let (since, pid) = (fields.time()?, fields.u32()?);
        Ok(Ownership { epoch, since, pid, host: fields.text()?, app: fields.text()? })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        put_time(&mut body, self.since);
        put_u32(&mut body, self.pid);
        put_bytes(&mut body, self.host.as_bytes());
        put_bytes(&mut body, self.app.as_bytes());
        FileId::epoch(self.epoch).whole(&body)
    }
}

impl std::fmt::Display for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ownership { epoch, app, host, pid, since } = self;
        write!(f, "process {pid} on {host} (\"{app}\", epoch {epoch}, since {since})")
    }
}

/// What the heart of an owner says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heart {
    pub(super) beats: u64,
    /// The segment of its batch log that it writes, once it has begun.
    pub(super) segment: Option<u64>,
}

impl Heart {
    pub(super) fn read(storage: &dyn Storage, epoch: u64) -> Result<Self> {
        let file = FileId::alive(epoch);
        let bytes = read_all(storage, file)?;
        let mut fields = Fields(file.open_whole(&bytes)?);
        let (beats, segments) = (fields.u64()?, fields.u64()?);
        Ok(Heart { beats, segment: segments.checked_sub(1) })
    }

    pub(super) fn bytes(self, epoch: u64) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        put_u64(&mut body, self.beats);
        put_u64(&mut body, self.segment.map_or(0, |segment| segment + 1));
        FileId::alive(epoch).whole(&body)
    }
}

/// All of a small file.
fn read_all(storage: &dyn Storage, file: FileId) -> Result<Vec<u8>> {
    let name = file.name();
    storage
        .read(&name, 0..u64::MAX)
        .map_err(|e| Error::new(ErrorKind::Checkpoint, format!("{name} cannot be read: {e}")).caused_by(e))
}

/// The claim to the newest epoch.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) epoch: u64,
    _claim: StorageClaim,
}

impl Owner {
    /// Creates the next epoch, once nobody else lives in the last.
    pub(super) fn acquire(
        settings: &Checkpoint,
        app: &str,
        clock: &Clock,
        cancel: &Receiver<Infallible>,
    ) -> Result<Self> {
        let storage = &*settings.storage;
        let mut watched: Option<Watched> = None;
        loop {
            let newest = newest_epoch(storage)?;
            if let Some(epoch) = newest {
                let held = storage.is_held(&FileId::epoch(epoch).name()).map_err(|e| unreadable(&e))?;
                if held != Some(false) && !Watched::is_over(&mut watched, storage, epoch, settings.standby, clock) {
                    let Some(lease) = settings.standby else { return Err(refused(storage, epoch)) };
                    select_biased! {
                        recv(cancel) -> _ => {
                            let message = "the context was stopped while it waited as a standby";
                            return Err(Error::new(ErrorKind::State, message));
                        }
                        recv(clock.alarm(clock.now() + LOOK.min(lease / 4))) -> _ => continue,
                    }
                }
            }
            let epoch = newest.unwrap_or(0) + 1;
            let ownership =
                Ownership { epoch, app: app.to_string(), host: host(), pid: std::process::id(), since: clock.now() };
            let claimed = storage
                .claim(&FileId::epoch(epoch).name(), &ownership.bytes()?)
                .map_err(|e| Error::new(ErrorKind::Checkpoint, format!("cannot be written to: {e}")).caused_by(e))?;
            match claimed {
                Some(claim) => return Ok(Owner { epoch, _claim: claim }),
                // Somebody was faster.
                None => watched = None,
            }
        }
    }

    /// Says so if somebody else owns the checkpoint now.
    pub(super) fn fenced(storage: &dyn Storage, epoch: u64) -> io::Result<Option<Error>> {
        // Old epochs are removed from the oldest on: if the next was, this one was before.
        let has_next = storage.exists(&FileId::epoch(epoch + 1).name())?;
        if !has_next && storage.exists(&FileId::epoch(epoch).name())? {
            return Ok(None);
        }
        let newest = newest_epoch(storage).ok().flatten().unwrap_or(epoch);
        let who =
            Ownership::read(storage, newest).map_or_else(|e| format!("epoch {newest} ({e})"), |who| who.to_string());
        let message = format!(
            "fenced by {who}, which has taken over from epoch {epoch}: this process has to end, and the other one goes on \
             from what is in the checkpoint"
        );
        Ok(Some(Error::new(ErrorKind::Checkpoint, message)))
    }
}

/// A heart that a standby watches.
#[derive(Debug)]
struct Watched {
    epoch: u64,
    heart: Option<Heart>,
    /// When it was first seen to be as it is.
    since: Time,
}

impl Watched {
    /// Whether the heart of the owner has not beaten for the whole lease.
    fn is_over(
        watched: &mut Option<Watched>,
        storage: &dyn Storage,
        epoch: u64,
        lease: Option<Duration>,
        clock: &Clock,
    ) -> bool {
        let Some(lease) = lease else { return false };
        // An owner that has not beaten yet, or has stopped in the middle of it, is one whose heart stands still.
        let heart = Heart::read(storage, epoch).ok();
        let now = clock.now();
        match watched {
            Some(seen) if seen.epoch == epoch && seen.heart == heart => now - seen.since >= lease,
            _ => {
                *watched = Some(Watched { epoch, heart, since: now });
                false
            }
        }
    }
}

fn refused(storage: &dyn Storage, epoch: u64) -> Error {
    let who = Ownership::read(storage, epoch)
        .map_or_else(|error| format!("another process (epoch {epoch}: {error})"), |who| who.to_string());
    let message = format!(
        "belongs to {who}, which still runs: stop it first, or let this process wait for it with `Checkpoint::standby`"
    );
    Error::new(ErrorKind::Checkpoint, message)
}

pub(super) fn newest_epoch(storage: &dyn Storage) -> Result<Option<u64>> {
    Ok(files(storage)?.into_iter().filter(|(file, _)| file.kind == FileKind::Epoch).map(|(file, _)| file.epoch).max())
}

/// All files of a checkpoint, and how long they are.
pub(super) fn files(storage: &dyn Storage) -> Result<Vec<(FileId, u64)>> {
    let listed = storage.list().map_err(|e| unreadable(&e))?;
    Ok(listed.into_iter().filter_map(|(name, length)| Some((FileId::parse(&name)?, length))).collect())
}

pub(super) fn unreadable(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Checkpoint, format!("cannot be read: {error}"))
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
