use std::ops::ControlFlow;

use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

/// Whether the receiver of a chunk wants more. `Break` ends the partition early, as `take` does.
pub(crate) type Flow = ControlFlow<()>;

/// A chunk holds about this many bytes, so that a chain of operators works in the first-level cache, also when another
/// thread of the processor has half of it.
const CHUNK_BYTES: usize = 4 * 1024;

/// How many records of a type make a chunk.
pub(crate) const fn chunk_len<T>() -> usize {
    let bytes = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    let records = CHUNK_BYTES / bytes;
    if records < 16 {
        16
    } else if records > 1024 {
        1024
    } else {
        records
    }
}

/// Records on their way from one operator to the next: the unit of a virtual call.
pub(crate) enum Chunk<'c, T> {
    /// Lent by the sender for the call. The receiver may take the records and leaves the buffer in any state.
    Owned(&'c mut Vec<T>),
    /// Records that belong to somebody else, a persisted partition, say. Clone what has to be kept.
    Shared(&'c [T]),
}

impl<T: Clone> Chunk<'_, T> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Chunk::Owned(records) => records.len(),
            Chunk::Shared(records) => records.len(),
        }
    }

    /// The records, to look at.
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Chunk::Owned(records) => records,
            Chunk::Shared(records) => records,
        }
    }

    /// Appends the records, each put through `f`.
    #[inline]
    pub(crate) fn map_into<U>(self, into: &mut Vec<U>, f: impl FnMut(T) -> U) {
        match self {
            Chunk::Owned(records) => into.extend(records.drain(..).map(f)),
            Chunk::Shared(records) => into.extend(records.iter().cloned().map(f)),
        }
    }

    /// Appends the records.
    #[inline]
    pub(crate) fn append_to(self, into: &mut Vec<T>) {
        match self {
            Chunk::Owned(records) => into.append(records),
            Chunk::Shared(records) => into.extend_from_slice(records),
        }
    }

    /// Hands the records over one by one.
    #[inline]
    pub(crate) fn for_each(self, f: impl FnMut(T)) {
        match self {
            Chunk::Owned(records) => records.drain(..).for_each(f),
            Chunk::Shared(records) => records.iter().cloned().for_each(f),
        }
    }

    /// Hands the records over one by one, up to the first error.
    #[inline]
    pub(crate) fn try_for_each(self, mut f: impl FnMut(T) -> Result<()>) -> Result<()> {
        match self {
            Chunk::Owned(records) => records.drain(..).try_for_each(f),
            Chunk::Shared(records) => records.iter().try_for_each(|record| f(record.clone())),
        }
    }

    /// Folds the records into `start`.
    #[inline]
    pub(crate) fn fold<A>(self, start: A, f: impl FnMut(A, T) -> A) -> A {
        match self {
            Chunk::Owned(records) => records.drain(..).fold(start, f),
            Chunk::Shared(records) => records.iter().cloned().fold(start, f),
        }
    }
}

/// What an operator pushes its records into.
pub(crate) trait Sink<T> {
    fn push(&mut self, chunk: Chunk<'_, T>) -> Result<Flow>;
}

impl<T, F: FnMut(Chunk<'_, T>) -> Result<Flow>> Sink<T> for F {
    fn push(&mut self, chunk: Chunk<'_, T>) -> Result<Flow> {
        self(chunk)
    }
}

/// The sink of an operator that is not done when it has pushed a chunk: the operators below noted themselves with the
/// task, and after them this one does so again.
pub(crate) fn resuming<'s, 't, T>(
    task: &'s TaskContext<'t>,
    origin: &'t Origin,
    sink: &'s mut dyn Sink<T>,
) -> impl Sink<T> + use<'s, 't, T> {
    move |chunk: Chunk<'_, T>| {
        let flow = sink.push(chunk);
        task.enter(origin);
        flow
    }
}

/// Takes the records that a closure produces one at a time, and sends them on in chunks.
///
/// Given to the closures of `flat_map_ref` and to the readers of sources.
pub struct Emitter<'s, T> {
    buffer: Vec<T>,
    down: &'s mut dyn Sink<T>,
    /// What the last push came back with. After an error or a `Break` records are dropped unseen.
    state: Result<Flow>,
}

impl<'s, T> Emitter<'s, T> {
    pub(crate) fn new(down: &'s mut dyn Sink<T>) -> Self {
        Emitter { buffer: Vec::with_capacity(chunk_len::<T>()), down, state: Ok(Flow::Continue(())) }
    }

    /// Sends a record on.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.buffer.push(record);
        if self.buffer.len() >= chunk_len::<T>() {
            self.flush();
        }
    }

    /// Whether nobody wants more records: what is emitted from here on goes nowhere.
    #[inline]
    pub fn is_done(&self) -> bool {
        !matches!(self.state, Ok(Flow::Continue(())))
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        if !self.is_done() {
            self.state = self.down.push(Chunk::Owned(&mut self.buffer));
        }
        self.buffer.clear();
    }

    /// Sends on what is left and says how the pushes went.
    pub(crate) fn finish(mut self) -> Result<Flow> {
        if !self.buffer.is_empty() {
            self.flush();
        }
        self.state
    }
}

/// Sends all records on, or as many of them as somebody wants.
impl<T> Extend<T> for Emitter<'_, T> {
    #[inline]
    fn extend<I: IntoIterator<Item = T>>(&mut self, records: I) {
        for record in records {
            self.emit(record);
            if self.is_done() {
                return;
            }
        }
    }
}

impl<T> std::fmt::Debug for Emitter<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Emitter({} buffered)", self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_sized_by_bytes() {
        assert_eq!(chunk_len::<u64>(), 512);
        assert_eq!(chunk_len::<[u8; 24]>(), 170);
        assert_eq!(chunk_len::<[u8; 4096]>(), 16);
        assert_eq!(chunk_len::<()>(), 1024);
    }

    #[test]
    fn an_emitter_sends_chunks_and_stops_when_told() {
        let mut lengths = Vec::new();
        let mut down = |chunk: Chunk<'_, u64>| {
            lengths.push(chunk.len());
            Ok(if lengths.len() == 2 { Flow::Break(()) } else { Flow::Continue(()) })
        };
        let mut emitter = Emitter::new(&mut down);
        (0..511).for_each(|n| emitter.emit(n));
        assert!(!emitter.is_done());
        (0..5000).for_each(|n| emitter.emit(n));
        assert!(emitter.is_done());
        assert_eq!(emitter.finish().unwrap(), Flow::Break(()));
        assert_eq!(lengths, [512, 512]);
    }
}
