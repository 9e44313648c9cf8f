//! What is written to disk: directories and files that are there as a whole or not at all. Knows nothing of records or
//! streams.

mod draft;
#[cfg(feature = "kafka")]
mod locked_file;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use draft::{Draft, Existing, Part, is_hidden};
#[cfg(feature = "kafka")]
pub(crate) use locked_file::LockedFile;

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
