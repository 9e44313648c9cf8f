use std::fs::File;
use std::io;

/// Locks an open file until it is closed; the lock goes with the process. `WouldBlock` if somebody else has it.
#[cfg(unix)]
pub(super) fn try_lock(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

/// Other systems have no lock that goes with the process.
#[cfg(not(unix))]
pub(super) fn try_lock(_file: &File) -> io::Result<()> {
    Ok(())
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
