use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lock::{Lock, is_locked};
use super::{Storage, StorageClaim, hidden, sync_directory};

/// A directory of this machine. It is made when the first file is.
#[derive(Clone, Debug)]
pub(crate) struct LocalDirectory(PathBuf);

impl LocalDirectory {
    pub(crate) fn new(path: PathBuf) -> Self {
        LocalDirectory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file under a name that nobody else writes at the same time.
    fn write_draft(&self, name: &str, content: &[u8], durable: bool) -> io::Result<(PathBuf, File)> {
        fs::create_dir_all(&self.0)?;
        let unique = RandomState::new().build_hasher().finish();
        let draft = self.file(&hidden(name.as_ref(), &format!("{unique:016x}.tmp")).to_string_lossy());
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(content)?;
            if durable { file.sync_all().map(|()| file) } else { Ok(file) }
        });
        match written {
            Ok(file) => Ok((draft, file)),
            Err(error) => Err(self.give_up(&draft, error)),
        }
    }

    /// A draft that came to nothing: on a full disk they would become more and more.
    fn give_up(&self, draft: &Path, error: io::Error) -> io::Error {
        // The next claim removes what is left.
        let _ = self.remove_file(draft);
        error
    }

    /// Removes what processes that died have left. One that lives and does not have the claim may find that its draft is
    /// gone: it has lost anyway.
    fn remove_drafts(&self) -> io::Result<()> {
        for (name, _) in self.list()? {
            if name.starts_with('.') && name.ends_with(".tmp") {
                self.remove_file(&self.file(&name))?;
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl Storage for LocalDirectory {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // Removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if let (true, Some(name)) = (metadata.is_file(), entry.file_name().to_str()) {
                files.push((name.to_string(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.file(name).try_exists()
    }

    fn read(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.file(name))?;
        let length = file.metadata()?.len();
        let end = range.end.min(length);
        let Some(wanted) = end.checked_sub(range.start) else { return Ok(Vec::new()) };
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
        file.take(wanted).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn claim(&self, name: &str, content: &[u8]) -> io::Result<Option<StorageClaim>> {
        // The lock is on the file and not on its name: with the name it appears complete and locked.
        let (draft, file) = self.write_draft(name, content, true)?;
        let lock = Lock::try_new(file).map_err(|error| self.give_up(&draft, error))?;
        let linked = fs::hard_link(&draft, self.file(name));
        self.remove_file(&draft)?;
        match linked {
            // Whoever has it removes the drafts of the others.
            Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => return Ok(None),
            linked => linked?,
        }
        sync_directory(&self.0)?;
        self.remove_drafts()?;
        Ok(Some(StorageClaim::new(lock)))
    }

    fn is_held(&self, name: &str) -> io::Result<Option<bool>> {
        is_locked(&File::open(self.file(name))?)
    }

    fn append(&self, name: &str, at: u64, parts: &[&[u8]]) -> io::Result<()> {
        let path = self.file(name);
        let mut file = match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && at == 0 => {
                fs::create_dir_all(&self.0)?;
                File::create(&path)?
            }
            file => file?,
        };
        let length = file.metadata()?.len();
        if length < at {
            let message = format!("{} ends at {length}, before {at}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if length > at {
            file.set_len(at)?;
        }
        file.seek(SeekFrom::Start(at))?;
        // Gathers small parts; large ones go as they are.
        let mut file = BufWriter::new(file);
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.flush()?;
        if at == 0 { sync_directory(&self.0) } else { Ok(()) }
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        // Its name was synced when it was created.
        File::open(self.file(name))?.sync_data()
    }

    fn write_atomically(&self, name: &str, content: &[u8], durable: bool) -> io::Result<()> {
        let (draft, _) = self.write_draft(name, content, durable)?;
        fs::rename(&draft, self.file(name)).map_err(|error| self.give_up(&draft, error))?;
        if durable { sync_directory(&self.0) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_file(&self.file(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let directory = LocalDirectory::new(folder.path().to_path_buf());
        fs::create_dir(folder.path().join("taken")).unwrap();
        for _ in 0..3 {
            directory.write_atomically("taken", b"content", false).unwrap_err();
        }
        assert_eq!(directory.list().unwrap(), []);
    }
}
