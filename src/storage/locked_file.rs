use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{hidden, lock::Lock, parent_of, sync_directory};

/// A small file that is replaced as a whole: whoever reads it finds what was written last or before, whenever the
/// process or the machine dies. One process uses it at a time.
///
/// For a file `NAME`, two siblings are made: `.NAME.tmp`, where the next content is written, and `.NAME.lock`, which
/// stays. The file itself cannot be locked, since it is another one after each change.
#[derive(Debug)]
pub(crate) struct LockedFile {
    path: PathBuf,
    parent: PathBuf,
    draft: PathBuf,
    _lock: Lock,
}

impl LockedFile {
    /// Locks the name; the file need not exist. `WouldBlock` if somebody else has locked it; `InvalidInput` if it is
    /// something else than a file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no name"))?;
        // A device could be read without end, a pipe would be waited for.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is there and no regular file"));
        }
        let parent = parent_of(path);
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(parent.join(hidden(name, "lock")))?;
        let lock = Lock::try_new(lock)?;
        Ok(LockedFile { path: path.to_path_buf(), draft: parent.join(hidden(name, "tmp")), parent, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The content; `None` if there is no file.
    pub(crate) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Writes the content anew. When this has returned, it outlives a crash of the machine; if it fails, the file is as
    /// it was.
    pub(crate) fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut draft = File::create(&self.draft)?;
        draft.write_all(content)?;
        draft.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        sync_directory(&self.parent)
    }
}
