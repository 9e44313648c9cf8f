//! The bytes of a checkpoint: heads of files, frames, fields. `guide/src/checkpoint-format.md` has the tables.

use crate::error::{Error, ErrorKind, Result};
use crate::id::OperatorId;
use crate::time::Time;

/// What every file begins with.
const MAGIC: [u8; 8] = *b"TIDEMILL";

/// The version of the format that this code writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u16 = 1;

/// The bytes of the head of a file.
pub(super) const FILE_HEAD: u64 = 32;

/// The bytes of the head of a frame.
pub(super) const FRAME_HEAD: u64 = 12;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FileKind {
    /// `epoch-N`: who owns the checkpoint in an epoch.
    Epoch = 1,
    /// `alive-N`: the heart of the owner, and where its batch log is.
    Alive = 2,
    /// `batches-N-S`: a segment of the batch log.
    Batches = 3,
    /// `state-N-S`: a segment of the state log.
    State = 4,
}

/// Names a file: its kind, the epoch of its owner, and its number among those of the kind and the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub(super) kind: FileKind,
    pub(super) epoch: u64,
    pub(super) number: u64,
}

impl FileId {
    pub(super) fn epoch(epoch: u64) -> Self {
        FileId { kind: FileKind::Epoch, epoch, number: 0 }
    }

    pub(super) fn alive(epoch: u64) -> Self {
        FileId { kind: FileKind::Alive, epoch, number: 0 }
    }

    pub(super) fn batches(epoch: u64, number: u64) -> Self {
        FileId { kind: FileKind::Batches, epoch, number }
    }

    pub(super) fn state(epoch: u64, number: u64) -> Self {
        FileId { kind: FileKind::State, epoch, number }
    }

    pub(super) fn name(self) -> String {
        let FileId { kind, epoch, number } = self;
        match kind {
            FileKind::Epoch => format!("epoch-{epoch:010}"),
            FileKind::Alive => format!("alive-{epoch:010}"),
            FileKind::Batches => format!("batches-{epoch:010}-{number:010}"),
            FileKind::State => format!("state-{epoch:010}-{number:010}"),
        }
    }

    /// The file of this name; `None` if it is none of a checkpoint.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let kind = parts.next()?;
        let mut number = || parts.next().and_then(|digits| digits.parse().ok());
        let id = match kind {
            "epoch" => FileId::epoch(number()?),
            "alive" => FileId::alive(number()?),
            "batches" => FileId::batches(number()?, number()?),
            "state" => FileId::state(number()?, number()?),
            _ => return None,
        };
        (id.name() == name).then_some(id)
    }

    /// The head of the file.
    pub(super) fn head(self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend(FORMAT_VERSION.to_le_bytes());
        head.extend((self.kind as u16).to_le_bytes());
        put_u64(&mut head, self.epoch);
        put_u64(&mut head, self.number);
        let checksum = crc32fast::hash(&head);
        put_u32(&mut head, checksum);
        head
    }

    /// Checks the head of the file at the start of its bytes.
    pub(super) fn check_head(self, bytes: &[u8]) -> Result<()> {
        let Some(head) = bytes.get(..FILE_HEAD as usize) else {
            return Err(damaged(format!("{}: ends at byte {}, within its head", self.name(), bytes.len())));
        };
        if head == self.head() {
            return Ok(());
        }
        let (checked, checksum) = head.split_at(head.len() - 4);
        let version = u16::from_le_bytes([head[8], head[9]]);
        if head[..8] == MAGIC && crc32fast::hash(checked).to_le_bytes() == checksum && version != FORMAT_VERSION {
            let message = format!(
                "{}: has format version {version}, and this program knows {FORMAT_VERSION}: run the version of the \
                 program that wrote it",
                self.name()
            );
            return Err(Error::new(ErrorKind::Checkpoint, message));
        }
        Err(damaged(format!("{} at byte 0: the head of the file is damaged", self.name())))
    }

    /// The file with one frame in it: its head and the frame.
    pub(super) fn whole(self, body: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = self.head();
        put_frame(self, FILE_HEAD, body, &mut bytes)?;
        Ok(bytes)
    }

    /// The body of the frame of a file that has one.
    pub(super) fn open_whole(self, bytes: &[u8]) -> Result<&[u8]> {
        self.check_head(bytes)?;
        let body = open_frame(self, FILE_HEAD, &bytes[FILE_HEAD as usize..])
            .ok_or_else(|| damaged(format!("{} at byte {FILE_HEAD}: a checksum does not match", self.name())))?;
        Ok(body)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    checksum: u32,
}

impl FrameHead {
    /// Reads the head of the frame at byte `at` of a file; `None` if there is none, or it is damaged.
    pub(super) fn read(file: FileId, at: u64, bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.get(..FRAME_HEAD as usize)?);
        let (length, checksum) = (fields.u32().ok()?, fields.u32().ok()?);
        let is_whole = head_checksum(file, at, length, checksum) == fields.u32().ok()?;
        is_whole.then_some(FrameHead { length, checksum })
    }

    /// Whether this is the body of the frame.
    pub(super) fn fits(self, body: &[u8]) -> bool {
        body.len() as u64 == u64::from(self.length) && self.has_checksum(crc32fast::hash(body))
    }

    /// Whether this is the checksum of the body.
    pub(super) fn has_checksum(self, checksum: u32) -> bool {
        self.checksum == checksum
    }

    /// How many bytes the frame takes.
    pub(super) fn frame_length(self) -> u64 {
        FRAME_HEAD + u64::from(self.length)
    }
}

/// The checksum of the head of a frame: it covers where the frame is, so that none is taken for another.
fn head_checksum(file: FileId, at: u64, length: u32, checksum: u32) -> u32 {
    let mut covered = [0; 32];
    covered[..8].copy_from_slice(&file.epoch.to_le_bytes());
    covered[8..16].copy_from_slice(&file.number.to_le_bytes());
    covered[16..24].copy_from_slice(&at.to_le_bytes());
    covered[24..28].copy_from_slice(&length.to_le_bytes());
    covered[28..].copy_from_slice(&checksum.to_le_bytes());
    crc32fast::hash(&covered)
}

/// Appends a frame that begins at byte `at` of its file.
pub(super) fn put_frame(file: FileId, at: u64, body: &[u8], into: &mut Vec<u8>) -> Result<()> {
    put_frame_head(file, at, body, into)?;
    into.extend_from_slice(body);
    Ok(())
}

/// Appends what comes before the body in a frame that begins at byte `at` of its file.
pub(super) fn put_frame_head(file: FileId, at: u64, body: &[u8], into: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| {
        let message = format!("a frame of {} bytes is too long: 4 GiB are the limit", body.len());
        Error::new(ErrorKind::Checkpoint, message)
    })?;
    let checksum = crc32fast::hash(body);
    put_u32(into, length);
    put_u32(into, checksum);
    put_u32(into, head_checksum(file, at, length, checksum));
    Ok(())
}

/// The body of the frame at byte `at` of its file, at the start of `bytes`; `None` if it is cut short or damaged.
pub(super) fn open_frame(file: FileId, at: u64, bytes: &[u8]) -> Option<&[u8]> {
    let head = FrameHead::read(file, at, bytes)?;
    let body = bytes[FRAME_HEAD as usize..].get(..head.length as usize)?;
    head.fits(body).then_some(body)
}

pub(super) fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Checkpoint, message)
}

pub(super) fn put_u32(into: &mut Vec<u8>, number: u32) {
    into.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u64(into: &mut Vec<u8>, number: u64) {
    into.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_time(into: &mut Vec<u8>, time: Time) {
    into.extend_from_slice(&time.as_micros().to_le_bytes());
}

/// A length of 4 bytes, and the bytes. What does not fit into a frame is found when the frame is made.
pub(super) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(into, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    into.extend_from_slice(bytes);
}

/// Reads fields off the front of a body whose checksum was right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Result<Time> {
        self.array().map(|bytes| Time::from_micros(i64::from_le_bytes(bytes)))
    }

    pub(super) fn operator(&mut self) -> Result<OperatorId> {
        self.u64().map(OperatorId::from_u64)
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|e| damaged("a text is not UTF-8".to_string()).caused_by(e))
    }

    /// A number of elements, and the elements. Allocates as they come and not as many as are claimed.
    pub(super) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.u32()?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }
}

fn short() -> Error {
    damaged("it ends within a field".to_string())
}
