use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::never;

use super::entry::{Manifest, Role, SavedOperator};
use super::reader::{self, Recovered};
use super::settings::Checkpoint;
use super::upgrade::{called, of_role, short_name};
use crate::codec;
use crate::data::{Exchange, Key};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::state::shape::{differences, shape};
use crate::state::{ChunkKind, chunk};
use crate::time::Clock;

impl Checkpoint {
    /// Reads the states that `map_with_state` or `update_state_by_key` keeps under a name, with their keys, in no order:
    /// as the last batch that is done has left them. Works beside a running program. All of them are in memory until the
    /// iterator is dropped.
    ///
    /// # Errors
    ///
    /// There is no checkpoint, no state has this name, it is of other types, or it cannot be read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let checkpoint = tidemill::Checkpoint::new("/var/lib/clicks");
    /// for (user, clicks) in checkpoint.read_state::<String, u64>("clicks_per_user")? {
    ///     println!("{user}: {clicks}");
    /// }
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn read_state<K: Key, S: Exchange>(&self, name: &str) -> Result<impl Iterator<Item = (K, S)> + use<K, S>> {
        let states = self.recovered().and_then(|recovered| read_state::<K, S>(&recovered, name));
        Ok(states.map_err(|error| self.within(error))?.into_iter())
    }

    /// Has the state of an operator begin empty when the program starts next. Batches that are done stay done.
    ///
    /// # Errors
    ///
    /// There is no checkpoint, no state has this name, a program runs on it, or it cannot be written.
    pub fn reset_state(&self, name: &str) -> Result<()> {
        let app = self.recovered().map_err(|error| self.within(error))?.manifest().app.clone();
        let failed = Arc::new(Mutex::new(None));
        let on_error: OnError = {
            let failed = Arc::clone(&failed);
            Arc::new(move |error| {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            })
        };
        // Another program may have run since the first look.
        let (journal, recovered) = super::open(self, &app, &Clock::system(), &on_error)?;
        let gone = || Error::new(ErrorKind::Checkpoint, "there is no checkpoint here any more");
        let recovered = recovered.ok_or_else(gone).map_err(|error| self.within(error))?;
        let operator = find(recovered.manifest(), name).map_err(|error| self.within(error))?.id;
        journal.forget(operator);
        journal.begin(recovered.manifest())?;
        journal.close(&never::<()>())?;
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), Err)
    }

    fn recovered(&self) -> Result<Recovered> {
        let found = reader::read(&self.storage, self.start_from_last_good)?;
        let found = found.ok_or_else(|| Error::new(ErrorKind::Checkpoint, "there is no checkpoint here"))?;
        Ok(Recovered::new(found, Arc::clone(&self.storage)))
    }

    fn within(&self, error: Error) -> Error {
        error.within(format!("checkpoint {}", self.place()))
    }
}

fn find<'m>(manifest: &'m Manifest, name: &str) -> Result<&'m SavedOperator> {
    let states: Vec<&SavedOperator> = of_role(manifest, Role::State).collect();
    called(&states, name).ok_or_else(|| {
        let names: Vec<String> = states.iter().map(|operator| short_name(manifest, operator)).collect();
        Error::new(ErrorKind::Checkpoint, format!("no state is called {name}; there are: {}", names.join(", ")))
    })
}

fn read_state<K: Key, S: Exchange>(recovered: &Recovered, name: &str) -> Result<HashMap<K, S>> {
    let operator = find(recovered.manifest(), name)?;
    let wrong = |what: String| Error::new(ErrorKind::Checkpoint, format!("the state {name}: {what}"));
    let schema = operator.schema.as_ref().ok_or_else(|| wrong("it has no schema".to_string()))?;
    for (part, asked) in [("key", shape::<K>()), ("state", shape::<S>())] {
        let saved = schema.parts.iter().find(|(other, _)| other == part).map(|(_, shape)| shape);
        let saved = saved.ok_or_else(|| wrong(format!("{} does not keep states of keys", schema.method)))?;
        let differences = differences(saved, &asked);
        if !differences.is_empty() {
            return Err(wrong(format!(
                "its {part} is {saved}, and was asked for as {asked}: {}",
                differences.join(", ")
            )));
        }
    }
    let states: Mutex<HashMap<K, S>> = Mutex::default();
    recovered.restore(operator.id, &|kind, part| {
        if kind != ChunkKind::State {
            return Ok(());
        }
        if part.version != schema.version {
            let (left, now) = (part.version, schema.version);
            let message =
                format!("states of version {left} are left: let the program migrate them to version {now} first");
            return Err(wrong(message));
        }
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        chunk::read(part.bytes, codec::decode_value, |said| {
            match said.kept {
                Some((_, state)) => states.insert(said.key, state),
                None => states.remove(&said.key),
            };
        })
    })?;
    Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner))
}
