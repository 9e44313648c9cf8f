use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{hidden, parent_of, sync_directory};
use crate::error::{Error, ErrorKind, Result};

/// What a directory holds beside its parts once it is complete.
const SUCCESS: &str = "_SUCCESS";

/// How much of a part is collected before it goes to the system.
const BUFFER_BYTES: usize = 64 * 1024;

/// What becomes of a directory that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and there is no other.
    Refuse,
    /// It is replaced, if nothing is in it but what a draft writes.
    Replace,
}

/// A directory of part files in the making. It gets its name when it is complete: whoever looks at the name finds all
/// of it or nothing of it, whenever the process dies.
///
/// For a directory `NAME`, two siblings come and go: `.NAME.tmp`, where the draft is written, and `.NAME.old`, which is
/// what had the name before. The draft lies in `.NAME.tmp` under a name of its own, and whoever begins moves all of
/// `.NAME.tmp` aside first: of two that write one directory at the same time, one fails, and what they write is not
/// mixed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    parent: PathBuf,
    /// Where drafts of this directory are.
    workshop: PathBuf,
    /// This draft.
    draft: PathBuf,
    /// What had the name before, or was left behind.
    old: PathBuf,
    existing: Existing,
}

impl Draft {
    /// Begins a directory, and removes what broken attempts at it have left.
    pub(crate) fn begin(path: &Path, existing: Existing) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(Error::new(ErrorKind::Output, format!("{} cannot be the name of a directory", path.display())));
        };
        let parent = parent_of(path);
        let workshop = parent.join(hidden(name, "tmp"));
        let unique = RandomState::new().build_hasher().finish();
        let draft = Draft {
            path: path.to_path_buf(),
            draft: workshop.join(format!("{unique:016x}")),
            old: parent.join(hidden(name, "old")),
            workshop,
            parent,
            existing,
        };
        draft.check_existing()?;
        create_all(&draft.parent)?;
        draft.clear()?;
        fs::create_dir_all(&draft.draft).map_err(failed("create", &draft.draft))?;
        Ok(draft)
    }

    /// Creates a part anew. What an earlier attempt at it wrote is gone.
    pub(crate) fn part(&self, number: usize) -> Result<Part> {
        let path = self.draft.join(format!("part-{number:05}"));
        let file = File::create(&path).map_err(failed("create", &path))?;
        Ok(Part { file: BufWriter::with_capacity(BUFFER_BYTES, file), path })
    }

    /// Gives the directory its name. When this has returned, it outlives a crash of the machine.
    pub(crate) fn finish(self) -> Result<()> {
        self.seal()?;
        let has_old = self.move_old_away()?;
        if let Err(error) = fs::rename(&self.draft, &self.path) {
            if has_old {
                // The error of the first rename is the one to tell.
                let _ = fs::rename(&self.old, &self.path);
            }
            return Err(failed("rename to", &self.path)(error));
        }
        sync_directory(&self.parent).map_err(failed("sync", &self.parent))
        // Dropping removes what is left.
    }

    /// Marks the draft as complete and has all of it on the disk.
    fn seal(&self) -> Result<()> {
        let success = self.draft.join(SUCCESS);
        File::create(&success).and_then(|file| file.sync_all()).map_err(failed("create", &success))?;
        sync_directory(&self.draft).map_err(failed("sync", &self.draft))
    }

    /// Takes the name from the directory that has it; returns whether there was one.
    fn move_old_away(&self) -> Result<bool> {
        if !self.check_existing()? {
            return Ok(false);
        }
        fs::rename(&self.path, &self.old).map_err(failed("rename", &self.path))?;
        Ok(true)
    }

    /// Whether something has the name; an error if it may not be replaced.
    fn check_existing(&self) -> Result<bool> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::Output, format!("{}: {why}", self.path.display())));
        let kind = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("look at", &self.path)(error)),
        };
        if self.existing == Existing::Refuse {
            return refuse("exists already, and is not overwritten: remove it or write to another path");
        }
        if !kind.is_dir() {
            return refuse("a file is in the way: there has to be a directory or nothing");
        }
        for entry in fs::read_dir(&self.path).map_err(failed("read", &self.path))? {
            let entry = entry.map_err(failed("read", &self.path))?;
            let is_file = entry.file_type().map_err(failed("look at", &entry.path()))?.is_file();
            let name = entry.file_name();
            if !is_file || !(is_hidden(&name) || name.to_string_lossy().starts_with("part-")) {
                let name = name.to_string_lossy();
                return refuse(&format!("is not overwritten, since it holds `{name}`, which no output has written"));
            }
        }
        Ok(true)
    }

    /// Removes everything but the directory itself.
    fn clear(&self) -> Result<()> {
        remove(&self.old)?;
        // From here on a draft in it cannot get the name any more.
        match fs::rename(&self.workshop, &self.old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(failed("rename", &self.workshop))?,
        }
        remove(&self.old)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Somebody else may have begun by now: only this draft is removed, and the workshop if it is empty.
        let cleared = remove(&self.draft).and_then(|()| remove(&self.old));
        let _ = fs::remove_dir(&self.workshop);
        if let Err(error) = cleared {
            tracing::warn!(%error, "the remains of an output cannot be removed");
        }
    }
}

/// A file of a directory in the making.
#[derive(Debug)]
pub(crate) struct Part {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Part {
    /// Appends what `write` writes.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).map_err(failed("write", &self.path))
    }

    /// Has all of the file on the disk.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(failed("write", &self.path))
    }
}

/// Whether a file is none of records: its name begins with a dot or an underscore.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'))
}

/// Removes a directory and what is in it, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Creates a directory and those above it, so that they outlive a crash of the machine.
fn create_all(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent_of(path);
    create_all(&above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            Err(failed("create", path)(error))
        }
        _ => sync_directory(&above).map_err(failed("sync", &above)),
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::new(ErrorKind::Output, format!("cannot {what} {path}: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::forget;
    use tempfile::{TempDir, tempdir};

    fn write(draft: &Draft, number: usize, text: &str) -> Result<()> {
        let mut part = draft.part(number)?;
        part.write(|file| file.write_all(text.as_bytes()))?;
        part.finish()
    }

    fn begun(path: &Path, parts: &[&str]) -> Draft {
        let draft = Draft::begin(path, Existing::Replace).unwrap();
        parts.iter().enumerate().for_each(|(number, text)| write(&draft, number, text).unwrap());
        draft
    }

    /// Names and contents of what is in a directory; `None` if there is none.
    fn contents(path: &Path) -> Option<Vec<(String, String)>> {
        let mut files: Vec<_> = fs::read_dir(path)
            .ok()?
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap_or_default())
            })
            .collect();
        files.sort();
        Some(files)
    }

    fn complete(parts: &[&str]) -> Option<Vec<(String, String)>> {
        let mut files = vec![("_SUCCESS".to_string(), String::new())];
        let parts = parts.iter().enumerate();
        files.extend(parts.map(|(number, text)| (format!("part-{number:05}"), text.to_string())));
        Some(files)
    }

    fn names(folder: &TempDir) -> Vec<String> {
        contents(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_directory_is_there_when_it_is_finished() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("deep/er/out");
        let draft = begun(&path, &["ebb", "flood"]);
        assert_eq!(contents(&path), None);
        draft.finish().unwrap();
        assert_eq!(contents(&path), complete(&["ebb", "flood"]));
        let siblings = contents(path.parent().unwrap()).unwrap();
        assert_eq!(siblings.len(), 1, "{siblings:?}");
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let folder = tempdir().unwrap();
        drop(begun(&folder.path().join("out"), &["ebb"]));
        assert_eq!(names(&folder), [""; 0]);
    }

    #[test]
    fn a_part_is_written_anew_and_an_older_directory_gone() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("out");
        begun(&path, &["1", "2", "3"]).finish().unwrap();
        let draft = begun(&path, &["a long first attempt"]);
        write(&draft, 0, "new").unwrap();
        assert_eq!(contents(&path), complete(&["1", "2", "3"]));
        draft.finish().unwrap();
        assert_eq!(contents(&path), complete(&["new"]));
        assert_eq!(names(&folder), ["out"]);
    }

    /// The process dies after every step, with and without an older directory; then the batch runs again.
    #[test]
    fn whatever_is_left_behind_the_name_has_all_or_nothing() {
        let steps: [&dyn Fn(&Draft); 4] = [
            &|_| {},
            &|draft| draft.seal().unwrap(),
            &|draft| {
                draft.move_old_away().unwrap();
            },
            &|draft| fs::rename(&draft.draft, &draft.path).unwrap(),
        ];
        for has_old in [false, true] {
            for died_after in 0..=steps.len() {
                let folder = tempdir().unwrap();
                let path = folder.path().join("out");
                let old = has_old.then(|| begun(&path, &["old", "old"]).finish().unwrap());
                let draft = begun(&path, &["half"]);
                steps[..died_after].iter().for_each(|step| step(&draft));
                forget(draft);
                let expected = match (old, died_after) {
                    (_, 4) => complete(&["half"]),
                    (Some(()), 0..=2) => complete(&["old", "old"]),
                    _ => None,
                };
                assert_eq!(contents(&path), expected, "after step {died_after}, old: {has_old}");
                begun(&path, &["new"]).finish().unwrap();
                assert_eq!(contents(&path), complete(&["new"]));
                assert_eq!(names(&folder), ["out"], "after step {died_after}, old: {has_old}");
            }
        }
    }

    #[test]
    fn of_two_at_the_same_time_one_fails() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("out");
        let first = begun(&path, &["first", "first"]);
        let second = begun(&path, &["second"]);
        assert!(write(&first, 2, "late").is_err());
        assert!(first.finish().is_err());
        assert_eq!(contents(&path), None);
        second.finish().unwrap();
        assert_eq!(contents(&path), complete(&["second"]));
        assert_eq!(names(&folder), ["out"]);
    }

    #[track_caller]
    fn refused(path: &Path, existing: Existing, why: &str) {
        let error = Draft::begin(path, existing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn what_no_draft_has_written_is_left_alone() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("out");
        begun(&path, &["mine"]).finish().unwrap();
        refused(&path, Existing::Refuse, "exists already");
        fs::write(path.join("notes"), "yours").unwrap();
        refused(&path, Existing::Replace, "`notes`");
        assert_eq!(contents(&path).unwrap().len(), 3);
        fs::remove_file(path.join("notes")).unwrap();
        fs::create_dir(path.join("part-folder")).unwrap();
        refused(&path, Existing::Replace, "`part-folder`");
        assert_eq!(names(&folder), ["out"]);
    }

    #[test]
    fn files_in_the_way_are_named() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("out");
        fs::write(&path, "a file").unwrap();
        refused(&path, Existing::Replace, "a file is in the way");
        refused(&path.join("deeper"), Existing::Replace, "Not a directory");
        assert!(Draft::begin(Path::new("/"), Existing::Replace).unwrap_err().to_string().contains("the name"));
        fs::write(folder.path().join(".other.tmp"), "a file").unwrap();
        assert!(Draft::begin(&folder.path().join("other"), Existing::Replace).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_one_error() {
        let path = PathBuf::from("/dev/full");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut part = Part { file: BufWriter::with_capacity(BUFFER_BYTES, file), path };
        part.write(|file| file.write_all(b"small")).unwrap();
        let error = part.finish().unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full: No space left on device (os error 28)");
    }
}
