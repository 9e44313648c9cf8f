//! Chunks in a segment of the state log: a frame that says what the chunk is, and a frame with its bytes.

use super::format::{
    FRAME_HEAD, Fields, FileId, FrameHead, damaged, open_frame, put_frame, put_frame_head, put_time, put_u32, put_u64,
};
use crate::error::Result;
use crate::id::OperatorId;
use crate::state::{ChunkKind, StateChunk};
use crate::time::Time;

/// The bytes of the body of the first frame of a chunk.
const ABOUT: u64 = 53;

/// The bytes of a chunk before its own.
pub(super) const CHUNK_HEAD: u64 = 2 * FRAME_HEAD + ABOUT;

/// What the first frame of a chunk says, and where the chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkInfo {
    pub(super) operator: OperatorId,
    pub(super) kind: ChunkKind,
    pub(super) partition: u32,
    pub(super) partitions: u32,
    /// The batch after which it was saved.
    pub(super) time: Time,
    pub(super) since: Time,
    pub(super) keys: u64,
    pub(super) version: u32,
    /// Where its second frame begins.
    pub(super) at: u64,
    /// How long the bytes in its second frame are.
    pub(super) length: u64,
}

/// What comes before the bytes of a chunk that begins at byte `at` of its segment: [`CHUNK_HEAD`] bytes.
pub(super) fn chunk_head(
    segment: FileId,
    at: u64,
    (time, version): (Time, u32),
    chunk: &StateChunk,
) -> Result<(Vec<u8>, ChunkInfo)> {
    let count = |number: usize| {
        u32::try_from(number).map_err(|_| damaged(format!("operator {} has {number} partitions", chunk.operator)))
    };
    let (partition, partitions) = (count(chunk.partition)?, count(chunk.partitions)?);
    let mut about = Vec::with_capacity(ABOUT as usize);
    put_u64(&mut about, chunk.operator.to_u64());
    let (kind, batch) = match chunk.kind {
        ChunkKind::State => (0, Time::ZERO),
        ChunkKind::Batch(batch) => (1, batch),
    };
    about.push(kind);
    put_time(&mut about, batch);
    put_u32(&mut about, partition);
    put_u32(&mut about, partitions);
    put_time(&mut about, time);
    put_time(&mut about, chunk.saved.since);
    put_u64(&mut about, chunk.saved.keys);
    put_u32(&mut about, version);
    let mut head = Vec::with_capacity(CHUNK_HEAD as usize);
    put_frame(segment, at, &about, &mut head)?;
    let at = at + FRAME_HEAD + ABOUT;
    put_frame_head(segment, at, &chunk.bytes, &mut head)?;
    let info = ChunkInfo {
        operator: chunk.operator,
        kind: chunk.kind,
        partition,
        partitions,
        time,
        since: chunk.saved.since,
        keys: chunk.saved.keys,
        version,
        at,
        length: chunk.bytes.len() as u64,
    };
    Ok((head, info))
}

/// Reads the head of the chunk at byte `at` of a segment, and that of the frame of its bytes; `None` if it is damaged.
pub(super) fn read_chunk_head(segment: FileId, at: u64, bytes: &[u8]) -> Option<(ChunkInfo, FrameHead)> {
    let about = open_frame(segment, at, bytes)?;
    let at = at + FRAME_HEAD + about.len() as u64;
    let frame = FrameHead::read(segment, at, &bytes[FRAME_HEAD as usize + about.len()..])?;
    let info = read_about(Fields(about), at, u64::from(frame.length)).ok()?;
    Some((info, frame))
}

fn read_about(mut fields: Fields<'_>, at: u64, length: u64) -> Result<ChunkInfo> {
    let operator = fields.operator()?;
    let kind = match (fields.u8()?, fields.time()?) {
        (0, _) => ChunkKind::State,
        (1, batch) => ChunkKind::Batch(batch),
        (other, _) => return Err(damaged(format!("a chunk of the unknown kind {other}"))),
    };
    Ok(ChunkInfo {
        operator,
        kind,
        partition: fields.u32()?,
        partitions: fields.u32()?,
        time: fields.time()?,
        since: fields.time()?,
        keys: fields.u64()?,
        version: fields.u32()?,
        at,
        length,
    })
}
