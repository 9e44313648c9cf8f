use std::marker::PhantomData;
use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Emitter, Flow, Header, Lineage, Sink, resuming};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

impl<T: Data> Dataset<T> {
    /// Replaces every record by what `f` makes of it: none, one or many. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let twice = context.parallelize([1, 2], 2).flat_map(|n| [n, n * 2]);
    /// assert_eq!(twice.collect()?, [1, 2, 2, 4]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Dataset<U> {
        self.flat_map_into(Header::new("flat_map"), f)
    }

    /// [`flat_map`](Dataset::flat_map), under the name of the operation it is a part of.
    pub(in crate::dataset) fn flat_map_into<U: Data, I: IntoIterator<Item = U>>(
        &self,
        header: Header,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Dataset<U> {
        let expand = move |chunk: Chunk<'_, T>, out: &mut Emitter<'_, U>| match chunk {
            Chunk::Owned(records) => records.drain(..).for_each(|record| out.extend(f(record))),
            Chunk::Shared(records) => records.iter().for_each(|record| out.extend(f(record.clone()))),
        };
        self.derive(FlatMap::new(header, self, expand))
    }

    /// Like [`flat_map`](Dataset::flat_map), but `f` looks at the record and emits: nothing is cloned and no collection
    /// is built per record.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let lines = context.parallelize(["to be".to_string(), "or not".to_string()], 2);
    /// let lengths = lines.flat_map_ref(|line, out| line.split(' ').for_each(|word| out.emit(word.len())));
    /// assert_eq!(lengths.collect()?, [2, 2, 2, 3]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_ref<U: Data>(&self, f: impl Fn(&T, &mut Emitter<'_, U>) + Send + Sync + 'static) -> Dataset<U> {
        let expand = move |chunk: Chunk<'_, T>, out: &mut Emitter<'_, U>| {
            chunk.as_slice().iter().for_each(|record| f(record, out));
        };
        self.derive(FlatMap::new(Header::new("flat_map_ref"), self, expand))
    }
}

struct FlatMap<T, U, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    expand: F,
    record: PhantomData<fn() -> U>,
}

impl<T: Data, U, F> FlatMap<T, U, F> {
    fn new(header: Header, parent: &Dataset<T>, expand: F) -> Self {
        FlatMap { header, parent: Arc::clone(parent.lineage()), expand, record: PhantomData }
    }
}

impl<T: Data, U: Data, F> Lineage<U> for FlatMap<T, U, F>
where
    F: Fn(Chunk<'_, T>, &mut Emitter<'_, U>) + Send + Sync,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<U>) -> Result<Flow> {
        expand_chunks(&*self.parent, partition, task, self.header.origin(), sink, &self.expand)
    }
}

/// Computes a partition of `parent`, for the operator of `origin`, and sends on what `expand` makes of each chunk.
pub(super) fn expand_chunks<'t, T, U>(
    parent: &'t dyn Lineage<T>,
    partition: usize,
    task: &TaskContext<'t>,
    origin: &'t Origin,
    sink: &mut dyn Sink<U>,
    mut expand: impl FnMut(Chunk<'_, T>, &mut Emitter<'_, U>),
) -> Result<Flow> {
    let mut down = resuming(task, origin, sink);
    let mut out = Emitter::new(&mut down);
    let _ = parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
        task.enter(origin);
        expand(chunk, &mut out);
        Ok(if out.is_done() { Flow::Break(()) } else { Flow::Continue(()) })
    })?;
    out.finish()
}

impl<T: Data, U: Data, F> AnyLineage for FlatMap<T, U, F>
where
    F: Fn(Chunk<'_, T>, &mut Emitter<'_, U>) + Send + Sync,
{
    narrow_node!();
}
