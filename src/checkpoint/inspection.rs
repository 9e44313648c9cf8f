use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{LoggedBatch, Role, SavedSchema};
use super::format::FileKind;
use super::owner::{Ownership, files};
use super::reader::{self, Found};
use super::settings::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::OperatorId;
use crate::storage::Storage;
use crate::time::Time;

/// A running owner may replace a file while it is read: then all is read again, so often at most.
const ATTEMPTS: usize = 5;

/// What is in a checkpoint, for people. Made by [`Checkpoint::inspect`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The name of the application.
    pub app: String,
    /// Its batch interval.
    pub batch_interval: Duration,
    /// Where its batch times count from.
    pub zero_time: Time,
    /// The newest batch that with all before it is done. A restart goes on behind it.
    pub done_up_to: Option<Time>,
    /// Who owned it, oldest first. The last one may still.
    pub owners: Vec<Owner>,
    /// What of the program is in it: inputs, operators that keep something, outputs.
    pub operators: Vec<Operator>,
    /// The batches that are still kept, in the order of time.
    pub batches: Vec<Batch>,
    /// What is damaged, and what a restart would do about it.
    pub reports: Vec<String>,
}

/// A process that owned a checkpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Owner {
    /// Its epoch: the higher one fences the lower.
    pub epoch: u64,
    /// The application that it called itself.
    pub app: String,
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// When it took over, by its clock.
    pub since: Time,
    /// Whether it lives; `None` if the storage cannot say.
    pub is_alive: Option<bool>,
}

/// An operator of the program that wrote a checkpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Operator {
    /// Its id, in hexadecimal.
    pub id: String,
    /// Its name, or its method.
    pub name: String,
    /// The line of the program that built it.
    pub site: String,
    /// What a checkpoint has to do with it.
    pub kind: OperatorKind,
    /// What it keeps, if it does.
    pub state: Option<State>,
}

/// What a checkpoint has to do with an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperatorKind {
    /// Its plans are kept.
    Input,
    /// What it keeps from batch to batch, or batches of it, are kept.
    State,
    /// Which of its batches are done is kept.
    Output,
    /// A stream whose batches are saved.
    Batches,
}

/// What an operator keeps, as a checkpoint has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// The method that keeps it: `map_with_state`.
    pub method: String,
    /// The version that the program has given it.
    pub version: u32,
    /// Its parts, each with the shape of its type.
    pub parts: Vec<(String, String)>,
    /// In how many partitions it lies.
    pub partitions: u32,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes a restart reads of it.
    pub bytes: u64,
    /// The batch after which something of it was saved last.
    pub last_saved: Option<Time>,
}

/// A batch in a checkpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Its time.
    pub time: Time,
    /// What each input has planned for it.
    pub inputs: Vec<Input>,
    /// The outputs of it that have ended.
    pub outputs: Vec<Output>,
    /// Whether it is done.
    pub is_done: bool,
}

/// What an input has planned for a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Input {
    /// The input's name.
    pub name: String,
    /// How many records it has planned.
    pub records: u64,
    /// What it says of them: offset ranges, say.
    pub description: String,
    /// What it needs to make them again. Only the input knows what it says.
    pub plan: Arc<[u8]>,
}

/// An output of a batch that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// The output's name.
    pub name: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl Checkpoint {
    /// Returns what is in the checkpoint; `None` if no program has begun to write one. Changes nothing, and works beside a
    /// program that runs.
    ///
    /// Reads what a restart would read, and checks it.
    ///
    /// # Errors
    ///
    /// If the batch log is damaged, or no state is left that is whole, as a restart would find.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::Checkpoint;
    ///
    /// let directory = tempfile::tempdir()?;
    /// assert!(Checkpoint::new(directory.path()).inspect()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(&self) -> Result<Option<Inspection>> {
        let storage = &self.storage;
        let mut attempt = 1;
        let found = loop {
            match reader::read(storage, self.start_from_last_good) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                found => break found,
            }
        };
        let inspected = found.and_then(|found| found.map(|found| inspection(&**storage, &found)).transpose());
        inspected.map_err(|error| error.within(format!("checkpoint {}", storage.place())))
    }
}

fn inspection(storage: &dyn Storage, found: &Found) -> Result<Inspection> {
    let manifest = found.ledger.manifest.clone();
    let manifest = manifest.ok_or_else(|| Error::new(ErrorKind::Internal, "a log without a manifest"))?;
    let names: BTreeMap<OperatorId, &str> =
        manifest.operators.iter().map(|saved| (saved.id, &saved.name[..])).collect();
    let name =
        |operator: OperatorId| names.get(&operator).map_or_else(|| operator.to_string(), |name| name.to_string());
    let operator = |saved: &super::SavedOperator| Operator {
        id: saved.id.to_string(),
        name: saved.name.clone(),
        site: saved.site.clone(),
        kind: match saved.role {
            Role::Input => OperatorKind::Input,
            Role::State => OperatorKind::State,
            Role::Output => OperatorKind::Output,
            Role::Batches => OperatorKind::Batches,
        },
        state: saved.schema.as_ref().map(|schema| state(found, saved.id, schema)),
    };
    let batch = |batch: LoggedBatch| Batch {
        time: batch.time,
        inputs: batch
            .inputs
            .into_iter()
            .map(|input| Input {
                name: name(input.operator),
                records: input.records,
                description: input.description,
                plan: input.plan,
            })
            .collect(),
        outputs: batch.outputs.into_iter().map(|(output, failure)| Output { name: name(output), failure }).collect(),
        is_done: batch.done,
    };
    Ok(Inspection {
        app: manifest.app.clone(),
        batch_interval: manifest.batch_interval,
        zero_time: manifest.zero_time,
        done_up_to: found.ledger.done_up_to(),
        owners: owners(storage)?,
        operators: manifest.operators.iter().map(operator).collect(),
        batches: found.ledger.batches().into_iter().map(batch).collect(),
        reports: found.reports().to_vec(),
    })
}

fn state(found: &Found, operator: OperatorId, schema: &SavedSchema) -> State {
    let chunks = found.chunks_of(operator);
    let partitions = chunks.last().map_or(0, |chunk| chunk.partitions);
    let newest: BTreeMap<u32, u64> = chunks
        .iter()
        .filter(|chunk| chunk.partitions == partitions)
        .map(|chunk| (chunk.partition, chunk.keys))
        .collect();
    State {
        method: schema.method.clone(),
        version: schema.version,
        parts: schema.parts.clone(),
        partitions,
        keys: newest.values().sum(),
        bytes: chunks.iter().map(|chunk| chunk.length).sum(),
        last_saved: chunks.last().map(|chunk| chunk.time),
    }
}

fn owners(storage: &dyn Storage) -> Result<Vec<Owner>> {
    let mut epochs: Vec<u64> = files(storage)?
        .into_iter()
        .filter(|(file, _)| file.kind == FileKind::Epoch)
        .map(|(file, _)| file.epoch)
        .collect();
    epochs.sort_unstable();
    let owner = |epoch: u64| {
        let Ownership { epoch, app, host, pid, since } = Ownership::read(storage, epoch)?;
        let is_alive = storage.is_held(&super::format::FileId::epoch(epoch).name()).ok().flatten();
        Ok(Owner { epoch, app, host, pid, since, is_alive })
    };
    epochs.into_iter().map(owner).collect()
}
