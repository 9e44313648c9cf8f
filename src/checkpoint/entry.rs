//! What the batch log is made of.

use std::sync::Arc;
use std::time::Duration;

use super::format::{Fields, FileId, FileKind, damaged, put_bytes, put_time, put_u32, put_u64};
use crate::error::Result;
use crate::id::OperatorId;
use crate::time::{Time, micros};

/// The program that a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) app: String,
    pub(crate) batch_interval: Duration,
    pub(crate) zero_time: Time,
    pub(crate) key_groups: u32,
    pub(crate) operators: Vec<SavedOperator>,
}

/// An operator that something of is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedOperator {
    pub(crate) id: OperatorId,
    pub(crate) name: String,
    /// The line of the program that built it.
    pub(crate) site: String,
    pub(crate) role: Role,
    /// What is kept, if the operator keeps state.
    pub(crate) schema: Option<SavedSchema>,
}

/// What a checkpoint has to do with an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    State,
    Output,
    /// Its batches are saved, and nothing else.
    Batches,
}

/// See [`Schema`](crate::state::Schema).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedSchema {
    pub(crate) method: String,
    pub(crate) version: u32,
    pub(crate) parts: Vec<(String, String)>,
}

/// A batch as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedBatch {
    pub(crate) time: Time,
    pub(crate) inputs: Vec<LoggedInput>,
    /// The outputs that have ended; with why, if they failed.
    pub(crate) outputs: Vec<(OperatorId, Option<String>)>,
    /// Whether what operators keep was saved after it, and can be restored or was followed by what can.
    pub(crate) done: bool,
}

/// What an input has planned for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedInput {
    pub(crate) operator: OperatorId,
    pub(crate) plan: Arc<[u8]>,
    pub(crate) records: u64,
    pub(crate) description: String,
}

/// Where the state chunks of a batch lie, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) segment: FileId,
    pub(super) at: u64,
    pub(super) length: u64,
}

/// That a batch is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) time: Time,
    /// Plans before this batch are needless once it is done.
    pub(super) plans_from: Time,
    pub(super) group: Option<Group>,
}

/// What is kept for a fall-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The oldest batch that can be gone back to.
    pub(super) oldest: Time,
    /// The batches that are planned again then begin with this one.
    pub(super) plans_from: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Manifest(Manifest),
    Planned {
        time: Time,
        inputs: Vec<LoggedInput>,
    },
    OutputEnded {
        time: Time,
        operator: OperatorId,
        failure: Option<String>,
    },
    Done(Done),
    /// These segments of the state log are needless, and are being removed.
    Dropped(Vec<FileId>),
    /// Chunks of the operator up to this batch are not restored.
    Forgotten {
        operator: OperatorId,
        up_to: Time,
    },
    /// What was needed only before was let go.
    Kept(Kept),
    /// Outputs that failed for batches up to this one do not run again for them.
    GivenUp(Time),
}

impl Entry {
    pub(super) fn put(&self, into: &mut Vec<u8>) {
        match self {
            Entry::Manifest(manifest) => {
                into.push(1);
                put_manifest(manifest, into);
            }
            Entry::Planned { time, inputs } => {
                into.push(2);
                put_time(into, *time);
                put_u32(into, inputs.len() as u32);
                for input in inputs {
                    put_u64(into, input.operator.to_u64());
                    put_u64(into, input.records);
                    put_bytes(into, input.description.as_bytes());
                    put_bytes(into, &input.plan);
                }
            }
            Entry::OutputEnded { time, operator, failure } => {
                into.push(3);
                put_time(into, *time);
                put_u64(into, operator.to_u64());
                into.push(u8::from(failure.is_some()));
                put_bytes(into, failure.as_deref().unwrap_or_default().as_bytes());
            }
            Entry::Done(Done { time, plans_from, group }) => {
                into.push(4);
                put_time(into, *time);
                put_time(into, *plans_from);
                into.push(u8::from(group.is_some()));
                if let Some(Group { segment, at, length }) = group {
                    for number in [segment.epoch, segment.number, *at, *length] {
                        put_u64(into, number);
                    }
                }
            }
            Entry::Dropped(segments) => {
                into.push(5);
                put_u32(into, segments.len() as u32);
                for segment in segments {
                    put_u64(into, segment.epoch);
                    put_u64(into, segment.number);
                }
            }
            Entry::Forgotten { operator, up_to } => {
                into.push(6);
                put_u64(into, operator.to_u64());
                put_time(into, *up_to);
            }
            Entry::Kept(Kept { oldest, plans_from }) => {
                into.push(7);
                put_time(into, *oldest);
                put_time(into, *plans_from);
            }
            Entry::GivenUp(up_to) => {
                into.push(8);
                put_time(into, *up_to);
            }
        }
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self> {
        Ok(match fields.u8()? {
            1 => Entry::Manifest(read_manifest(fields)?),
            2 => Entry::Planned { time: fields.time()?, inputs: fields.list(read_input)? },
            3 => {
                let (time, operator, has_failed) = (fields.time()?, fields.operator()?, fields.u8()? == 1);
                let why = fields.text()?;
                Entry::OutputEnded { time, operator, failure: has_failed.then_some(why) }
            }
            4 => {
                let (time, plans_from, has_group) = (fields.time()?, fields.time()?, fields.u8()? == 1);
                let group = if has_group {
                    let segment = read_segment(fields)?;
                    Some(Group { segment, at: fields.u64()?, length: fields.u64()? })
                } else {
                    None
                };
                Entry::Done(Done { time, plans_from, group })
            }
            5 => Entry::Dropped(fields.list(read_segment)?),
            6 => Entry::Forgotten { operator: fields.operator()?, up_to: fields.time()? },
            7 => Entry::Kept(Kept { oldest: fields.time()?, plans_from: fields.time()? }),
            8 => Entry::GivenUp(fields.time()?),
            other => return Err(damaged(format!("an entry of the unknown kind {other}"))),
        })
    }
}

fn put_manifest(manifest: &Manifest, into: &mut Vec<u8>) {
    put_bytes(into, manifest.app.as_bytes());
    put_u64(into, micros(manifest.batch_interval).unsigned_abs());
    put_time(into, manifest.zero_time);
    put_u32(into, manifest.key_groups);
    put_u32(into, manifest.operators.len() as u32);
    for operator in &manifest.operators {
        put_u64(into, operator.id.to_u64());
        put_bytes(into, operator.name.as_bytes());
        put_bytes(into, operator.site.as_bytes());
        into.push(match operator.role {
            Role::Input => 1,
            Role::State => 2,
            Role::Output => 3,
            Role::Batches => 4,
        });
        into.push(u8::from(operator.schema.is_some()));
        if let Some(schema) = &operator.schema {
            put_bytes(into, schema.method.as_bytes());
            put_u32(into, schema.version);
            put_u32(into, schema.parts.len() as u32);
            for (part, shape) in &schema.parts {
                put_bytes(into, part.as_bytes());
                put_bytes(into, shape.as_bytes());
            }
        }
    }
}

fn read_manifest(fields: &mut Fields<'_>) -> Result<Manifest> {
    Ok(Manifest {
        app: fields.text()?,
        batch_interval: Duration::from_micros(fields.u64()?),
        zero_time: fields.time()?,
        key_groups: fields.u32()?,
        operators: fields.list(read_operator)?,
    })
}

fn read_operator(fields: &mut Fields<'_>) -> Result<SavedOperator> {
    let (id, name, site) = (fields.operator()?, fields.text()?, fields.text()?);
    let role = match fields.u8()? {
        1 => Role::Input,
        2 => Role::State,
        3 => Role::Output,
        4 => Role::Batches,
        other => return Err(damaged(format!("an operator of the unknown role {other}"))),
    };
    let schema = match fields.u8()? {
        0 => None,
        _ => Some(SavedSchema {
            method: fields.text()?,
            version: fields.u32()?,
            parts: fields.list(|fields| Ok((fields.text()?, fields.text()?)))?,
        }),
    };
    Ok(SavedOperator { id, name, site, role, schema })
}

fn read_input(fields: &mut Fields<'_>) -> Result<LoggedInput> {
    Ok(LoggedInput {
        operator: fields.operator()?,
        records: fields.u64()?,
        description: fields.text()?,
        plan: fields.bytes()?.into(),
    })
}

fn read_segment(fields: &mut Fields<'_>) -> Result<FileId> {
    Ok(FileId { kind: FileKind::State, epoch: fields.u64()?, number: fields.u64()? })
}
