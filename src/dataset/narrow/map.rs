use std::marker::PhantomData;
use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink, chunk_len};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Puts every record through `f`. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let tens = context.parallelize([1, 2, 3], 2).map(|n| n * 10);
    /// assert_eq!(tens.collect()?, [10, 20, 30]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Dataset<U> {
        self.map_into(Header::new("map"), f)
    }

    /// Makes pairs of the records: each with the key that `f` says. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let by_length = context.parallelize(["ebb", "flood"], 1).key_by(|tide| tide.len());
    /// assert_eq!(by_length.collect()?, [(3, "ebb"), (5, "flood")]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn key_by<K: Data>(&self, f: impl Fn(&T) -> K + Send + Sync + 'static) -> Dataset<(K, T)> {
        self.map_into(Header::new("key_by"), move |record| (f(&record), record))
    }

    /// [`map`](Dataset::map), under the name of the operation it is a part of.
    pub(in crate::dataset) fn map_into<U: Data>(
        &self,
        header: Header,
        f: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Dataset<U> {
        self.derive(Map { header, parent: Arc::clone(self.lineage()), f, record: PhantomData })
    }
}

impl<T: Data> Dataset<T> {
    /// As [`map`](Dataset::map), with an `f` that may fail: its error fails the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::Error;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(["1", "x7"], 1).try_map(|text| text.parse::<i32>().map_err(Error::user));
    /// assert_eq!(numbers.take(1)?, [1]);
    /// assert!(numbers.collect().unwrap_err().to_string().ends_with("partition 0: invalid digit found in string"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_map<U: Data>(&self, f: impl Fn(T) -> Result<U> + Send + Sync + 'static) -> Dataset<U> {
        let header = Header::new("try_map");
        self.derive(TryMap { header, parent: Arc::clone(self.lineage()), f, record: PhantomData })
    }
}

struct TryMap<T, U, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    f: F,
    record: PhantomData<fn() -> U>,
}

impl<T: Data, U: Data, F: Fn(T) -> Result<U> + Send + Sync> Lineage<U> for TryMap<T, U, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<U>) -> Result<Flow> {
        let origin = self.header.origin();
        let mut out: Vec<U> = Vec::with_capacity(chunk_len::<U>());
        self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            out.clear();
            let outcome = chunk.try_for_each(|record| {
                out.push((self.f)(record)?);
                Ok(())
            });
            // Whoever wanted only the records before the one that failed gets them.
            let flow = if out.is_empty() { Flow::Continue(()) } else { sink.push(Chunk::Owned(&mut out))? };
            task.enter(origin);
            if flow.is_break() { Ok(flow) } else { outcome.map(|()| flow) }
        })
    }
}

impl<T: Data, U: Data, F: Fn(T) -> Result<U> + Send + Sync> AnyLineage for TryMap<T, U, F> {
    narrow_node!();
}

struct Map<T, U, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    f: F,
    record: PhantomData<fn() -> U>,
}

impl<T: Data, U: Data, F: Fn(T) -> U + Send + Sync> Lineage<U> for Map<T, U, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<U>) -> Result<Flow> {
        let origin = self.header.origin();
        let mut out: Vec<U> = Vec::with_capacity(chunk_len::<U>());
        self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            out.clear();
            chunk.map_into(&mut out, &self.f);
            sink.push(Chunk::Owned(&mut out))
        })
    }
}

impl<T: Data, U: Data, F: Fn(T) -> U + Send + Sync> AnyLineage for Map<T, U, F> {
    narrow_node!();
}
