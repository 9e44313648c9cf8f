use std::fmt;
use std::sync::Arc;

use super::blocks::{Blocks, Place, Writer};
use super::slots::Kept;
use crate::codec;
use crate::data::{Data, Exchange};
use crate::dataset::{Chunk, Emitter, Flow, Lineage, gather};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

/// How persisted records are kept: Spark's levels, without copies on other machines.
///
/// There is no level that goes from memory to disk by itself: nobody tells a process that its memory runs low before
/// it has.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::{StorageLevel, testing::run};
///
/// let second = Duration::from_secs(1);
/// let sums = run([vec![1], vec![2], vec![3]], |numbers| {
///     // What the window remembers is on disk.
///     numbers.persist_with(StorageLevel::DiskOnly).window(2 * second, second).reduce(|a, b| a + b)
/// })?;
/// assert_eq!(sums, [vec![1], vec![3], vec![5]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorageLevel {
    /// In memory as they are: nothing to encode and nothing to decode, and readers share the records. The level where
    /// none is given.
    MemoryOnly,
    /// In memory as bytes, with checksums: less room, above all for records with many small parts, and decoded at each
    /// read.
    MemoryOnlySer,
    /// As the same bytes in temporary files, one for each partition, which the batches of a stream share. They have no
    /// names: whatever becomes of the process, nothing is left behind. Room in a file is used again, and given back
    /// when nothing is kept in it. The files are in the directory for temporary files: the variable `TMPDIR` names it, and
    /// on some systems what is in the one that is used without it, `/tmp`, takes memory.
    DiskOnly,
}

/// A level, and the way of the records to bytes and back if it needs one: chosen where the records are known to have
/// one, used where they need not.
#[derive(Clone)]
pub(crate) struct Keeping<T> {
    level: StorageLevel,
    encoding: Option<Encoding<T>>,
}

/// Where encoded records go, and how they get there and back.
#[derive(Clone)]
struct Encoding<T> {
    place: Place,
    write: fn(&mut Writer, &[T]) -> Result<()>,
    read: ReadBlock<T>,
}

/// Emits the records of a block.
pub(super) type ReadBlock<T> = fn(&[u8], &mut Emitter<'_, T>) -> Result<()>;

impl<T: Data> Keeping<T> {
    /// Records as they are.
    pub(crate) fn records() -> Self {
        Keeping { level: StorageLevel::MemoryOnly, encoding: None }
    }

    pub(crate) fn level(&self) -> StorageLevel {
        self.level
    }

    /// Computes a partition into the form in which it is kept.
    pub(super) fn fill<'t>(
        &self,
        lineage: &'t dyn Lineage<T>,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
    ) -> Result<Kept<T>> {
        let Some(encoding) = &self.encoding else {
            return gather(lineage, partition, task).map(Kept::Records);
        };
        task.enter(origin);
        let mut writer = Writer::new(&encoding.place, partition)?;
        let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            (encoding.write)(&mut writer, chunk.as_slice())?;
            Ok(Flow::Continue(()))
        })?;
        task.enter(origin);
        Ok(Kept::Blocks(Blocks::new(writer.finish()?, encoding.read)))
    }
}

impl<T: Exchange> Keeping<T> {
    pub(crate) fn at(level: StorageLevel) -> Self {
        let place = match level {
            StorageLevel::MemoryOnly => return Keeping::records(),
            StorageLevel::MemoryOnlySer => Place::Memory,
            StorageLevel::DiskOnly => Place::Disk(Arc::default()),
        };
        Keeping { level, encoding: Some(Encoding { place, write: write_records, read: read_records }) }
    }
}

fn write_records<T: Exchange>(writer: &mut Writer, records: &[T]) -> Result<()> {
    records.iter().try_for_each(|record| writer.push(record))
}

fn read_records<T: Exchange>(block: &[u8], out: &mut Emitter<'_, T>) -> Result<()> {
    codec::decode_block(block, |record| out.emit(record)).map(drop)
}

impl<T> fmt::Debug for Keeping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeping({:?})", self.level)
    }
}
