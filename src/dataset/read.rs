use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use super::lineage::{AnyLineage, Header, Lineage, Note};
use super::{Dataset, Emitter, Flow, Sink};
use crate::data::Data;
use crate::error::Result;
use crate::exec::{Runtime, TaskContext};

/// One partition of a dataset that a source reads when the batch runs.
///
/// Reading must be repeatable: a task that is tried again reads the same records in the same order.
///
/// # Examples
///
/// An input that counts on by ten in every batch:
///
/// ```
/// use std::ops::Range;
/// use std::time::Duration;
/// use tidemill::prelude::*;
/// use tidemill::{Emitter, InputBatch, ReadPartition, Source, SourceContext};
///
/// struct Numbers(Range<u64>);
///
/// impl ReadPartition<u64> for Numbers {
///     fn records(&self) -> Option<u64> {
///         Some(self.0.end - self.0.start)
///     }
///
///     fn describe(&self) -> String {
///         format!("numbers {:?}", self.0)
///     }
///
///     fn read(&self, out: &mut Emitter<'_, u64>) -> Result<()> {
///         self.0.clone().for_each(|n| out.emit(n));
///         Ok(())
///     }
/// }
///
/// #[derive(Default)]
/// struct Counter {
///     next: u64,
///     context: Option<SourceContext>,
/// }
///
/// impl Source<u64> for Counter {
///     fn name(&self) -> String {
///         "counter".to_string()
///     }
///
///     fn start(&mut self, context: &SourceContext) -> Result<()> {
///         self.context = Some(context.clone());
///         Ok(())
///     }
///
///     // Decides what is in the batch; the tasks of the batch read it.
///     fn batch(&mut self, _: Time) -> Result<Option<InputBatch<u64>>> {
///         let Some(context) = &self.context else { return Ok(None) };
///         let numbers = self.next..self.next + 10;
///         self.next = numbers.end;
///         let description = format!("{numbers:?}");
///         Ok(Some(InputBatch { dataset: context.read(vec![Numbers(numbers)], ()), records: 10, description, plan: vec![] }))
///     }
/// }
///
/// let context = StreamingContext::builder("counter").batch_interval(Duration::from_millis(10)).build()?;
/// let (send, sums) = std::sync::mpsc::channel();
/// context.input(Counter::default()).reduce(|a, b| a + b).foreach_batch(move |sums, _| {
///     sums.foreach(|sum| send.send(sum).map_err(Error::user))
/// });
/// context.start()?;
/// assert_eq!((sums.recv()?, sums.recv()?), (45, 145));
/// context.stop(Stop::Now)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ReadPartition<T>: Send + Sync + 'static {
    /// How many records there are at most, when that is known before reading.
    fn records(&self) -> Option<u64>;

    /// What is read, for error messages: `lines/2 offsets 3..9`.
    fn describe(&self) -> String;

    /// Emits the records, in order.
    ///
    /// # Errors
    ///
    /// Whatever keeps the records from being read. The task is then tried again from the start.
    fn read(&self, out: &mut Emitter<'_, T>) -> Result<()>;
}

impl<T: Data> Dataset<T> {
    /// A dataset whose partitions are read by a source, with a note that [`Dataset::source_note`] finds.
    pub(crate) fn read<P: ReadPartition<T>>(
        partitions: Vec<P>,
        note: impl Any + Send + Sync,
        runtime: &Runtime,
    ) -> Self {
        Dataset::read_as(Header::new("read"), partitions, note, runtime)
    }

    pub(super) fn read_as<P: ReadPartition<T>>(
        header: Header,
        partitions: Vec<P>,
        note: impl Any + Send + Sync,
        runtime: &Runtime,
    ) -> Self {
        Dataset::new(Read { header, partitions, note: Arc::new(note), record: PhantomData }, runtime)
    }
}

struct Read<T, P> {
    header: Header,
    partitions: Vec<P>,
    note: Note,
    record: PhantomData<fn() -> T>,
}

impl<T: Data, P: ReadPartition<T>> Lineage<T> for Read<T, P> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        task.enter(self.header.origin());
        let part = &self.partitions[partition];
        let mut out = Emitter::new(sink);
        let outcome = part.read(&mut out);
        // An error of the operators below comes first: the reader may only have noticed that nobody listens.
        let flow = out.finish()?;
        task.enter(self.header.origin());
        outcome.map_err(|error| error.within(part.describe()))?;
        Ok(flow)
    }
}

impl<T: Data, P: ReadPartition<T>> AnyLineage for Read<T, P> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn records(&self) -> Option<u64> {
        self.partitions.iter().map(ReadPartition::records).sum()
    }

    fn parents(&self, _: &mut dyn FnMut(&dyn AnyLineage)) {}

    fn note(&self) -> Option<Note> {
        Some(Arc::clone(&self.note))
    }
}
