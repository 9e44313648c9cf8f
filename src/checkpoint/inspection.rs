use std::sync::Arc;
use std::time::Duration;

use super::entry::{LoggedBatch, Role, SavedOperator};
use super::format::{FileId, FileKind};
use super::owner::{Ownership, files};
use super::reader::{self, Recovered};
use super::settings::Checkpoint;
use super::upgrade::{called, of_role, short_name};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// A running owner may replace a file while it is read: then all is read again, so often at most.
const ATTEMPTS: usize = 5;

/// What a checkpoint holds, to be looked at beside the program or without it.
///
/// Nothing is written and nobody is kept from running by it; it shows what was there when it was opened. It reads all
/// files of the checkpoint once.
///
/// # Examples
///
/// ```no_run
/// use tidemill::Inspection;
///
/// let inspection = Inspection::open("/var/lib/clicks")?;
/// for state in inspection.states() {
///     println!("{}: {} keys, {} bytes", state.name, state.keys, state.bytes);
/// }
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Debug)]
pub struct Inspection {
    settings: Checkpoint,
    found: Recovered,
}

/// A process that owned a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedOwner {
    /// Its epoch: the higher one fences the lower.
    pub epoch: u64,
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// When it took over, by its clock.
    pub since: Time,
    /// Whether it lives; `None` if the storage cannot say.
    pub is_alive: Option<bool>,
}

/// A batch of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedBatch {
    /// Its time.
    pub time: Time,
    /// Whether all of its outputs have ended and what operators keep was saved after it.
    pub done: bool,
    /// What the inputs have planned for it.
    pub inputs: Vec<InspectedInput>,
    /// The outputs that have ended, with what the last error of those that failed said.
    pub outputs: Vec<(String, Option<String>)>,
}

/// What an input has planned for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedInput {
    /// The input's name.
    pub name: String,
    /// How many records it has planned.
    pub records: u64,
    /// Which, in its own words: offsets of topics, names of files.
    pub description: String,
}

/// What an operator keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedState {
    /// The operator's name; without one, its method and the beginning of its id.
    pub name: String,
    /// The line of the program that built the operator.
    pub site: String,
    /// The method that keeps it: `map_with_state`.
    pub method: String,
    /// The version that the program has given it.
    pub version: u32,
    /// Its parts, key and state say, with the shapes of their types.
    pub types: Vec<(String, String)>,
    /// In how many partitions it lies.
    pub partitions: usize,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes on the disk are needed to restore it.
    pub bytes: u64,
}

impl Inspection {
    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged so that no program would start from it.
    pub fn open(checkpoint: impl Into<Checkpoint>) -> Result<Self> {
        let settings = checkpoint.into();
        let within = |error: Error| error.within(format!("checkpoint {}", settings.storage.place()));
        let mut attempts = 1..ATTEMPTS;
        let found = loop {
            match reader::read(&settings.storage, settings.start_from_last_good) {
                Err(_) if attempts.next().is_some() => {}
                found => break found.map_err(within)?,
            }
        };
        let found = found.ok_or_else(|| within(Error::new(ErrorKind::Checkpoint, "there is no checkpoint here")))?;
        let found = Recovered::new(found, Arc::clone(&settings.storage));
        Ok(Inspection { settings, found })
    }

    /// The program that wrote it.
    pub fn app(&self) -> &str {
        &self.found.manifest().app
    }

    /// The batch interval of that program.
    pub fn batch_interval(&self) -> Duration {
        self.found.manifest().batch_interval
    }

    /// The newest batch that is done with all before it: where the state stands. The zero time if there is none.
    pub fn done_up_to(&self) -> Time {
        self.found.done_up_to()
    }

    /// What was damaged, and what a program that starts would do about it.
    pub fn damage(&self) -> &[String] {
        self.found.reports()
    }

    /// The batches that are still kept, in the order of time: those that are not done, and older ones for as long as
    /// windows or older states need them.
    pub fn batches(&self) -> Vec<InspectedBatch> {
        self.found.kept_batches().iter().map(|batch| self.inspect_batch(batch)).collect()
    }

    fn inspect_batch(&self, batch: &LoggedBatch) -> InspectedBatch {
        let operators = &self.found.manifest().operators;
        let name = |id| match operators.iter().find(|operator| operator.id == id) {
            Some(operator) => operator.name.clone(),
            None => format!("operator {id}"),
        };
        let inputs = batch.inputs.iter().map(|input| InspectedInput {
            name: name(input.operator),
            records: input.records,
            description: input.description.clone(),
        });
        let outputs = batch.outputs.iter().map(|(output, failure)| (name(*output), failure.clone()));
        InspectedBatch { time: batch.time, done: batch.done, inputs: inputs.collect(), outputs: outputs.collect() }
    }

    /// Who owned it, oldest first, as far as that is still known. The last one may own it still.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn owners(&self) -> Result<Vec<InspectedOwner>> {
        let storage = &*self.settings.storage;
        let mut epochs: Vec<FileId> =
            files(storage)?.into_iter().map(|(file, _)| file).filter(|file| file.kind == FileKind::Epoch).collect();
        epochs.sort_unstable();
        let owner = |file: FileId| {
            let Ownership { epoch, host, pid, since, .. } = Ownership::read(storage, file.epoch)?;
            let is_alive = storage.is_held(&file.name()).ok().flatten();
            Ok(InspectedOwner { epoch, host, pid, since, is_alive })
        };
        epochs.into_iter().map(owner).collect()
    }

    /// What operators keep, in the order of the program.
    pub fn states(&self) -> Vec<InspectedState> {
        of_role(self.found.manifest(), Role::State).map(|operator| self.inspect_state(operator)).collect()
    }

    fn inspect_state(&self, operator: &SavedOperator) -> InspectedState {
        let saved = self.found.saved(operator.id);
        let (method, version, types) = match &operator.schema {
            Some(schema) => (schema.method.clone(), schema.version, schema.parts.clone()),
            None => (String::new(), 1, Vec::new()),
        };
        InspectedState {
            name: short_name(self.found.manifest(), operator),
            site: operator.site.clone(),
            method,
            version,
            types,
            partitions: saved.partitions,
            keys: saved.keys,
            bytes: saved.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::never;
    use tempfile::TempDir;

    use super::super::tests::{at, chunk, manifest, open_in, output, planned, run};
    use super::*;

    #[test]
    fn a_checkpoint_is_looked_at_beside_its_owner() {
        let directory = TempDir::new().unwrap();
        let missing = Inspection::open(directory.path()).unwrap_err().to_string();
        assert!(missing.ends_with("there is no checkpoint here"), "{missing}");

        let (journal, _) = open_in(directory.path());
        journal.begin(&manifest()).unwrap();
        run(&journal, 1, vec![chunk(0, 2, 1, "abc"), chunk(1, 2, 1, "de")]);
        run(&journal, 2, vec![chunk(0, 2, 1, "f")]);
        journal.wait(&journal.planned(&planned(3))).unwrap();
        journal.output_ended(at(3), output(), Some("no luck"));
        journal.wait(&journal.planned(&planned(4))).unwrap(); // the entries before are on the disk too

        let inspection = Inspection::open(directory.path()).unwrap();
        assert_eq!((inspection.app(), inspection.batch_interval()), ("clicks", Duration::from_secs(1)));
        assert_eq!(inspection.done_up_to(), at(2));
        assert!(inspection.damage().is_empty());
        let batches = inspection.batches();
        let times: Vec<(Time, bool)> = batches.iter().map(|batch| (batch.time, batch.done)).collect();
        assert_eq!(times, [(at(1), true), (at(2), true), (at(3), false), (at(4), false)]);
        let input = InspectedInput { name: "queue".to_string(), records: 3, description: "records of 3".to_string() };
        assert_eq!(batches[2].inputs, [input]);
        assert_eq!(batches[2].outputs, [("foreach_batch".to_string(), Some("no luck".to_string()))]);
        let state = InspectedState {
            name: "counts".to_string(),
            site: "src/main.rs:7".to_string(),
            method: "update_state_by_key".to_string(),
            version: 3,
            types: vec![("key".to_string(), "String".to_string())],
            partitions: 2,
            keys: 2,
            bytes: 6,
        };
        assert_eq!(inspection.states(), [state]);
        let [owner] = &inspection.owners().unwrap()[..] else { panic!("one owner") };
        assert_eq!((owner.epoch, owner.pid, owner.is_alive), (1, std::process::id(), Some(true)));
        journal.close(&never::<()>()).unwrap();
        assert_eq!(inspection.owners().unwrap()[0].is_alive, Some(false));
    }
}
