use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::offset_store::{CommitError, OffsetStore};
use crate::error::{Error, ErrorKind, Result};
use crate::input::kafka::topic_partition::TopicPartition;
use crate::storage::LockedFile;

/// The first line of the file.
const HEAD: &str = "tidemill offsets 1";

/// Before the CRC-32 of all lines above.
const CHECK: &str = "check ";

/// Keeps the place of a stream in a file, for programs that may not commit to Kafka, or whose results lie on the same
/// disk.
///
/// The file is text: a line for each partition with topic, number and offset, and a checksum.
///
/// ```text
/// tidemill offsets 1
/// lines 0 4711
/// lines 1 4698
/// check 41a3c6b0
/// ```
///
/// It is there as a whole or not at all, whenever the process or the machine dies: it is written beside its name
/// (`.NAME.tmp`), synced and renamed. A full disk is [temporary](CommitError::Temporary), and the file stays as it was.
/// A commit costs two syncs, some milliseconds on most disks.
///
/// A store holds a lock (`.NAME.lock`) until it is dropped, so that no second one uses the same file. A stream drops
/// its store when it stops. Only Unix has this lock; elsewhere nobody notices a second store.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{FileOffsetStore, KafkaParams, OffsetStore, TopicPartition};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("lines.offsets");
/// let lines = TopicPartition::new("lines", 0);
///
/// let store = FileOffsetStore::new(&path)?;
/// assert_eq!(store.load(&[lines.clone()])?, [None]);
/// store.commit(&[(lines.clone(), 3)]).map_err(|error| error.into_error())?;
/// drop(store);
///
/// let store = FileOffsetStore::new(&path)?;
/// assert_eq!(store.load(&[lines])?, [Some(3)]);
/// let params = KafkaParams::new("localhost:9092").offset_store(store);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Debug)]
pub struct FileOffsetStore {
    file: LockedFile,
    offsets: Mutex<BTreeMap<TopicPartition, i64>>,
}

impl FileOffsetStore {
    /// Opens the file, or begins one at the first commit. Its directory has to exist.
    ///
    /// # Errors
    ///
    /// A file that another store uses, that cannot be read, that no store has written, or that is torn.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let failed = |error: io::Error| {
            let message = match error.kind() {
                io::ErrorKind::WouldBlock => format!(
                    "the offsets in {} are in use: another stream or program has locked the file",
                    path.display()
                ),
                _ => format!("the offsets in {} cannot be used: {error}", path.display()),
            };
            Error::new(ErrorKind::Input, message).caused_by(error)
        };
        let file = LockedFile::open(&path).map_err(failed)?;
        let offsets = match file.read().map_err(failed)? {
            None => BTreeMap::new(),
            Some(bytes) => parse(&bytes).map_err(|why| {
                let message = format!(
                    "{} is no intact file of offsets: {why}; put back a copy, or move it away to start without offsets",
                    path.display()
                );
                Error::new(ErrorKind::Input, message)
            })?,
        };
        Ok(FileOffsetStore { file, offsets: Mutex::new(offsets) })
    }
}

impl OffsetStore for FileOffsetStore {
    fn name(&self) -> String {
        format!("the file {}", self.file.path().display())
    }

    fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(partitions.iter().map(|partition| offsets.get(partition).copied()).collect())
    }

    fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError> {
        let mut kept = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = kept.clone();
        all.extend(offsets.iter().cloned());
        self.file.replace(print(&all).as_bytes()).map_err(|error| {
            let is_temporary = is_temporary(error.kind());
            let message = format!("the file cannot be written: {error}");
            let error = Error::new(ErrorKind::Input, message).caused_by(error);
            if is_temporary { CommitError::Temporary(error) } else { CommitError::Refused(error) }
        })?;
        *kept = all;
        Ok(())
    }
}

/// Whether writing may succeed later.
fn is_temporary(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::Interrupted
            | Kind::OutOfMemory
            | Kind::QuotaExceeded
            | Kind::ResourceBusy
            | Kind::StorageFull
            | Kind::TimedOut
            | Kind::WouldBlock
    )
}

fn print(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    let mut text = format!("{HEAD}\n");
    for (TopicPartition { topic, partition }, offset) in offsets {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    let check = crc32fast::hash(text.as_bytes());
    let _ = writeln!(text, "{CHECK}{check:08x}");
    text
}

/// Reads what `print` has written; otherwise what is wrong with it.
fn parse(bytes: &[u8]) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_string())?;
    let lines = text.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('\n'));
    let lines = lines.ok_or_else(|| format!("it does not begin with `{HEAD}`"))?;
    let (lines, check) = lines.rsplit_once(CHECK).ok_or("its end is missing")?;
    let checked = &text[..HEAD.len() + 1 + lines.len()];
    let expected = format!("{:08x}\n", crc32fast::hash(checked.as_bytes()));
    if check != expected {
        return Err("its checksum is not that of its content".to_string());
    }
    let offset = |line: &str| {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        let partition = TopicPartition::new(topic, partition.parse().ok()?);
        words.next().is_none().then_some((partition, offset.parse().ok()?))
    };
    let offsets = lines.lines().map(|line| offset(line).ok_or_else(|| format!("`{line}` is no offset of a partition")));
    offsets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::tempdir;

    fn offsets(of: &[(&str, i32, i64)]) -> Vec<(TopicPartition, i64)> {
        of.iter().map(|(topic, partition, offset)| (TopicPartition::new(*topic, *partition), *offset)).collect()
    }

    fn load(store: &FileOffsetStore, of: &[(&str, i32)]) -> Vec<Option<i64>> {
        let of: Vec<_> = of.iter().map(|(topic, partition)| TopicPartition::new(*topic, *partition)).collect();
        store.load(&of).unwrap()
    }

    #[test]
    fn commits_of_some_partitions_leave_the_others() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("offsets");
        let store = FileOffsetStore::new(&path).unwrap();
        assert!(!path.exists(), "nothing is written before the first commit");
        store.commit(&offsets(&[("a.b", 0, 3), ("c", 10, 4)])).unwrap();
        store.commit(&offsets(&[("c", 10, 2), ("c", 2, i64::MAX)])).unwrap();
        drop(store);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("tidemill offsets 1\na.b 0 3\nc 2 9223372036854775807\nc 10 2\ncheck "), "{text}");
        let store = FileOffsetStore::new(&path).unwrap();
        assert_eq!(load(&store, &[("c", 10), ("d", 0), ("a.b", 0)]), [Some(2), None, Some(3)]);
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_changed_is_an_error_with_its_name() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("offsets");
        FileOffsetStore::new(&path).unwrap().commit(&offsets(&[("a", 0, 31), ("check", 1, 2)])).unwrap();
        let whole = fs::read(&path).unwrap();
        let error_of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            FileOffsetStore::new(&path).map(|_| ()).unwrap_err()
        };
        for length in 0..whole.len() {
            let error = error_of(&whole[..length]);
            assert_eq!(error.kind(), ErrorKind::Input);
            let start = format!("{} is no intact file of offsets: ", path.display());
            assert!(error.to_string().starts_with(&start), "{length}: {error}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            error_of(&changed);
        }
        assert!(error_of(b"[settings]\n").to_string().contains("does not begin with `tidemill offsets 1`"));
        assert!(error_of(&[0xff]).to_string().contains("it is no text"));
        fs::write(&path, &whole).unwrap();
        assert_eq!(load(&FileOffsetStore::new(&path).unwrap(), &[("a", 0), ("check", 1)]), [Some(31), Some(2)]);
    }

    #[cfg(unix)]
    #[test]
    fn a_second_store_over_the_same_file_is_refused() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("offsets");
        let first = FileOffsetStore::new(&path).unwrap();
        let error = FileOffsetStore::new(&path).map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the offsets in {} are in use: another stream or program has locked the file", path.display())
        );
        first.commit(&offsets(&[("a", 0, 1)])).unwrap();
        assert!(FileOffsetStore::new(&path).is_err(), "the lock is not that of a file which was replaced");
        drop(first);
        FileOffsetStore::new(&path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_temporary_and_leaves_what_was_there() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("offsets");
        let store = FileOffsetStore::new(&path).unwrap();
        store.commit(&offsets(&[("a", 0, 1)])).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join(".offsets.tmp")).unwrap();
        let error = store.commit(&offsets(&[("a", 0, 2)])).unwrap_err();
        assert!(matches!(&error, CommitError::Temporary(error) if error.to_string().contains("No space left")));
        assert_eq!(load(&store, &[("a", 0)]), [Some(1)]);
        drop(store);
        let store = FileOffsetStore::new(&path).unwrap();
        assert_eq!(load(&store, &[("a", 0)]), [Some(1)]);
        fs::remove_file(folder.path().join(".offsets.tmp")).unwrap();
        store.commit(&offsets(&[("a", 0, 2)])).unwrap();
        assert_eq!(load(&store, &[("a", 0)]), [Some(2)]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempdir().unwrap();
        let error = |path: &std::path::Path| FileOffsetStore::new(path).map(|_| ()).unwrap_err().to_string();
        let said = |path: &std::path::Path| {
            format!("the offsets in {} cannot be used: it is there and no regular file", path.display())
        };
        assert_eq!(error(folder.path()), said(folder.path()));
        // Through a link, so that nothing is made beside the device: it would be read without end.
        #[cfg(target_os = "linux")]
        {
            let path = folder.path().join("offsets");
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            assert_eq!(error(&path), said(&path));
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("nowhere/offsets");
        let error = FileOffsetStore::new(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the offsets in {} cannot be used: ", path.display())), "{error}");
        let store = FileOffsetStore::new(folder.path().join("offsets")).unwrap();
        drop(folder);
        assert!(matches!(store.commit(&offsets(&[("a", 0, 2)])), Err(CommitError::Refused(_))));
    }
}
