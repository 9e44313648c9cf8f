//! What is written to disk: directories and files that are there as a whole or not at all. Knows nothing of records or
//! streams.

mod directory;
mod draft;
mod lock;
#[cfg(feature = "kafka")]
mod locked_file;

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use directory::LocalDirectory;
pub(crate) use draft::{Draft, Existing, Part, is_hidden};
#[cfg(feature = "kafka")]
pub(crate) use locked_file::LockedFile;

/// Where a checkpoint lies: a flat set of files with names of ASCII letters, digits and `-`.
///
/// A [`Checkpoint`](crate::Checkpoint) made of a path lies in a local directory. Something else, a store of objects say,
/// has to keep the promises of each method; they are what recovery stands on. Methods may be called from several threads.
/// An error is taken to be of the moment: whatever failed is asked for again until
/// [`max_outage`](crate::Checkpoint::max_outage) has passed.
pub trait Storage: Send + Sync + 'static {
    /// What people call it, for messages: a path, an address.
    fn place(&self) -> String;

    /// All files and how many bytes they have, in any order. A file that was created or removed, by whatever process,
    /// before the call began, is there or not there.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Whether there is a file of this name, as up to date as [`list`](Storage::list). It is asked before each job.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// The bytes of a file in this range; fewer if the file ends before. `NotFound` if there is no such file.
    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Creates a file with this content if there is none of this name, and holds it until the [`StorageClaim`] is dropped or the
    /// process has died. Of several callers, in whatever processes, exactly one gets it: this is what decides who owns a
    /// checkpoint. Whoever sees the name finds all of the content, and a file that is held. It is durable.
    fn claim(&self, name: &str, content: &[u8]) -> io::Result<Option<StorageClaim>>;

    /// Whether a file that was claimed is held: `Some(false)` only if its holder will certainly never write again
    /// without asking who owns the checkpoint. `None` if the storage cannot know; then only the heart beat tells.
    fn is_held(&self, name: &str) -> io::Result<Option<bool>>;

    /// Makes these parts, one behind the other, what a file has from offset `at` on. The file is created if `at` is zero; what it had behind `at` is
    /// gone: an append that failed half-way is simply asked for again. `InvalidInput` if the file is shorter than `at`.
    fn append(&self, name: &str, at: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// When it has returned, all that was appended to the file before outlives a power cut, its name included.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Makes `content` all that the file has: whoever reads it, whenever the process dies, finds the old content or the
    /// new one. If `durable`, the new one outlives a power cut when this has returned.
    fn write_atomically(&self, name: &str, content: &[u8], durable: bool) -> io::Result<()>;

    /// Removes a file. That there is none is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file that is held, see [`Storage::claim`]. Dropping it lets go of the file, which stays.
pub struct StorageClaim(#[expect(dead_code, reason = "it is kept to be dropped")] Box<dyn Any + Send + Sync>);

impl StorageClaim {
    /// Whatever has to be dropped to let go of the file: a locked file, a lease.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        StorageClaim(Box::new(held))
    }
}

impl fmt::Debug for StorageClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageClaim")
    }
}

/// The name of a sibling that comes and goes: `.NAME.ENDING`.
fn hidden(name: &OsStr, ending: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    hidden
}

/// The directory that a path is in.
fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Has the names in a directory on the disk. Only Unix can say so of a directory.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
