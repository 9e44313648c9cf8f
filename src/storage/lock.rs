use std::fs::File;
use std::io;

/// An open file that is locked until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// `WouldBlock` if somebody else has locked the file.
    #[cfg(unix)]
    pub(super) fn try_new(file: File) -> io::Result<Self> {
        use rustix::fs::{FlockOperation, flock};
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock(file))
    }

    /// Other systems have no lock that goes with the process.
    #[cfg(not(unix))]
    pub(super) fn try_new(file: File) -> io::Result<Self> {
        Ok(Lock(file))
    }
}

#[cfg(unix)]
impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked has the file open, until it runs its program.
        // What cannot be unlocked is unlocked then.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// Whether somebody has locked a file; `None` if the system cannot say. Two that ask do not disturb each other.
#[cfg(unix)]
pub(super) fn is_locked(file: &File) -> io::Result<Option<bool>> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(false)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(true)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
pub(super) fn is_locked(_file: &File) -> io::Result<Option<bool>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_dropped_is_free_whoever_has_inherited_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let opened = file.reopen().unwrap();
        // As a child has it that was forked a moment ago: another descriptor of the same open file.
        let _inherited = opened.try_clone().unwrap();
        let lock = Lock::try_new(opened).unwrap();
        assert_eq!(is_locked(file.as_file()).unwrap(), Some(true));
        drop(lock);
        assert_eq!(is_locked(file.as_file()).unwrap(), Some(false));
    }
}
