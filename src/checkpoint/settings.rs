use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::upgrade::Upgrade;
use crate::storage::{LocalDirectory, Storage};

/// How long writes that fail are tried again.
const MAX_OUTAGE: Duration = Duration::from_secs(30);

/// How large a segment of the state log grows.
const STATE_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// How many batches save something to a segment of the state log: a start looks for the chunks of each that there is.
const STATE_SEGMENT_BATCHES: usize = 4096;

/// How large a segment of the batch log grows, if what it has to hold anyway is not larger.
const BATCH_SEGMENT_BYTES: u64 = 1024 * 1024;

/// How many bytes of state wait to be written before batches wait for the disk.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// Where a program keeps what outlives it, and how.
///
/// One process owns a checkpoint at a time. A second one is refused, or waits as a [`standby`](Checkpoint::standby).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::{Checkpoint, SyncPolicy};
///
/// let checkpoint = Checkpoint::new("/var/lib/clicks").sync(SyncPolicy::Every(Duration::from_secs(1))).generations(3);
/// ```
#[derive(Clone)]
pub struct Checkpoint {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) sync: SyncPolicy,
    pub(super) generations: usize,
    pub(super) standby: Option<Duration>,
    pub(super) max_outage: Duration,
    pub(super) start_from_last_good: bool,
    pub(super) upgrade: Upgrade,
    pub(super) state_segment_bytes: u64,
    pub(super) state_segment_batches: usize,
    pub(super) batch_segment_bytes: u64,
    pub(super) max_waiting_bytes: usize,
}

/// When what is written to a checkpoint is made to outlive a power cut. It always outlives a kill of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// The plan of a batch before it runs, and what operators keep before the batch counts as done. Costs up to three
    /// syncs of the disk for each batch; what waits at the same time shares them.
    #[default]
    EveryBatch,
    /// As often as this. After a power cut the program goes on from where it was at the last sync, and what its outputs
    /// did since they do again.
    Every(Duration),
    /// Never: the operating system writes when it likes. After a power cut the checkpoint may be damaged, which is found
    /// and reported as any damage is.
    Never,
}

impl Checkpoint {
    /// A checkpoint in a local directory, which is made if there is none.
    ///
    /// All defaults: [`SyncPolicy::EveryBatch`], 2 older generations, a second process is refused, writes that fail are
    /// tried again for 30 s.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Checkpoint::on(LocalDirectory::new(directory.into()))
    }

    /// A checkpoint in a storage of another kind.
    pub fn on(storage: impl Storage) -> Self {
        Checkpoint {
            storage: Arc::new(storage),
            sync: SyncPolicy::default(),
            generations: 2,
            standby: None,
            max_outage: MAX_OUTAGE,
            start_from_last_good: false,
            upgrade: Upgrade::new(),
            state_segment_bytes: STATE_SEGMENT_BYTES,
            state_segment_batches: STATE_SEGMENT_BATCHES,
            batch_segment_bytes: BATCH_SEGMENT_BYTES,
            max_waiting_bytes: MAX_WAITING_BYTES,
        }
    }

    /// Sets when what is written is made to outlive a power cut.
    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Sets how many complete older snapshots of state are kept besides the newest: what recovery falls back to if a
    /// file is damaged. Each takes the room of the state on the disk once, and as much again for what changes while it is
    /// written: if everything changes all the time, up to four times the state.
    #[must_use]
    pub fn generations(mut self, older: usize) -> Self {
        self.generations = older;
        self
    }

    /// Waits while another process owns the checkpoint, instead of being refused: `start` returns when this one has
    /// taken over.
    ///
    /// It takes over when the other process has let go, by stopping or dying, or when its heart, which beats every second,
    /// has not for the whole `lease`, by this machine's monotonic clock. A process that was only stalled finds out when
    /// it goes on, before its next job or write, and ends with an error. A lease should be several seconds at least.
    #[must_use]
    pub fn standby(mut self, lease: Duration) -> Self {
        self.standby = Some(lease);
        self
    }

    /// Sets for how long writes that fail are tried again, a full disk say, before the context stops with an error, and
    /// looks whether the checkpoint is still its own as well. Until then batches wait, and nothing is left out.
    #[must_use]
    pub fn max_outage(mut self, outage: Duration) -> Self {
        self.max_outage = outage;
        self
    }

    /// Consents to going on from the last good place if the log of batches is damaged. What was done after it is done
    /// again, and what only the lost part knew is lost. Without this, such damage is an error.
    ///
    /// Damage of saved state needs no consent, since nothing is lost by it: an older snapshot is taken, and the batches
    /// after it run again.
    #[must_use]
    pub fn start_from_last_good(mut self) -> Self {
        self.start_from_last_good = true;
        self
    }

    pub(crate) fn upgrades(&self) -> &Upgrade {
        &self.upgrade
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> String {
        self.storage.place()
    }

    /// Consents to what a newer program does to the state of an older one.
    #[must_use]
    pub fn upgrade(mut self, upgrade: Upgrade) -> Self {
        self.upgrade = upgrade;
        self
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("place", &self.storage.place())
            .field("sync", &self.sync)
            .field("generations", &self.generations)
            .field("standby", &self.standby)
            .field("max_outage", &self.max_outage)
            .field("start_from_last_good", &self.start_from_last_good)
            .field("upgrade", &self.upgrade)
            .finish_non_exhaustive()
    }
}

impl From<PathBuf> for Checkpoint {
    fn from(directory: PathBuf) -> Self {
        Checkpoint::new(directory)
    }
}

impl From<&Path> for Checkpoint {
    fn from(directory: &Path) -> Self {
        Checkpoint::new(directory)
    }
}

impl From<&str> for Checkpoint {
    fn from(directory: &str) -> Self {
        Checkpoint::new(directory)
    }
}
