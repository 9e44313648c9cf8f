//! What outlives the process: the plans of batches, what of them is done, and what operators keep, in a directory that
//! one process owns at a time. Knows nothing of streams, of graphs or of what is in a chunk.
//!
//! `guide/src/checkpoint-format.md` describes the files byte by byte.

mod chunks;
mod dump;
mod entry;
mod format;
mod inspection;
mod journal;
mod ledger;
mod owner;
mod patience;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod upgrade;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::error::{OnError, Result};
use crate::time::Clock;

pub(crate) use entry::{LoggedBatch, LoggedInput, Manifest, Role, SavedOperator, SavedSchema};
pub use inspection::{InspectedBatch, InspectedInput, InspectedOwner, InspectedState, Inspection};
pub(crate) use journal::{Journal, Ticket};
pub(crate) use reader::Recovered;
pub use settings::{Checkpoint, SyncPolicy};
pub use upgrade::Upgrade;
pub(crate) use upgrade::{Comparison, Program, compare};

/// Becomes the owner of a checkpoint, which takes until another process lets go of it if this one is a standby, and
/// reads what is there, which may take long: the heart beats meanwhile. Nothing of what was written is changed before
/// [`Journal::begin`]. Who waits stops waiting when `cancel` is closed.
pub(crate) fn open(
    settings: &Checkpoint,
    app_name: &str,
    clock: &Clock,
    cancel: &Receiver<Infallible>,
    on_error: &OnError,
) -> Result<(Journal, Option<Recovered>)> {
    let place = settings.storage.place();
    let opened = || {
        let owner = owner::Owner::acquire(settings, app_name, clock, cancel)?;
        let journal = Journal::start(settings, owner, clock, on_error)?;
        let found = reader::read(&settings.storage, settings.start_from_last_good)?;
        let recovered = found.map(|found| {
            journal.found(found.ledger());
            Recovered::new(found, Arc::clone(&settings.storage))
        });
        Ok((journal, recovered))
    };
    opened().map_err(|error: crate::error::Error| error.within(format!("checkpoint {place}")))
}
