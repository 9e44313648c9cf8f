use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select_biased};

use super::owner::Owner;
use super::settings::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use crate::time::Clock;

/// What is tried again waits this long at first, twice as long each time, and no longer than the last.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LAST_BACK_OFF: Duration = Duration::from_secs(1);

/// How an owner does things to the storage: as long as it is the owner, and again if they fail.
#[derive(Clone)]
pub(super) struct Patience {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) epoch: u64,
    clock: Clock,
    max_outage: Duration,
}

impl Patience {
    pub(super) fn new(settings: &Checkpoint, owner: &Owner, clock: &Clock) -> Self {
        Patience {
            storage: Arc::clone(&settings.storage),
            epoch: owner.epoch,
            clock: clock.clone(),
            max_outage: settings.max_outage,
        }
    }

    /// Looks whether the checkpoint is still ours and does something then, again and again until both work or have
    /// failed for too long, or `given_up` is closed. `deed` is what `act` does to `what`: "written".
    pub(super) fn insist(
        &self,
        (what, deed): (&str, &str),
        given_up: &Receiver<Infallible>,
        mut act: impl FnMut(&dyn Storage) -> io::Result<()>,
    ) -> Result<()> {
        let began = self.clock.now();
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let mut attempt = || match Owner::fenced(&*self.storage, self.epoch)? {
                Some(fenced) => Ok(Some(fenced)),
                None => act(&*self.storage).map(|()| None),
            };
            let error = match attempt() {
                Ok(None) => return Ok(()),
                Ok(Some(fenced)) => return Err(fenced),
                Err(error) => error,
            };
            let failed = self.clock.now() - began;
            let mut is_over = failed >= self.max_outage;
            if !is_over {
                tracing::warn!("checkpoint {}: {what} cannot be {deed}, trying again: {error}", self.storage.place());
                let wait = back_off.min(self.max_outage - failed);
                is_over = select_biased! {
                    recv(given_up) -> _ => true,
                    recv(self.clock.alarm(self.clock.now() + wait)) -> _ => false,
                };
                back_off = LAST_BACK_OFF.min(2 * back_off);
            }
            if is_over {
                let message = format!(
                    "{what} could not be {deed} for {failed:?}: {error}; what was written before is whole: make room or \
                     mend the storage, and start again"
                );
                return Err(Error::new(ErrorKind::Checkpoint, message).caused_by(error));
            }
        }
    }
}
