use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Lets `f` look at every record and passes the records on as they are: for logs and counters. Partitions and order
    /// stay.
    ///
    /// `f` sees a record whenever it is computed: again for another action or a retry, unless the dataset is
    /// [persisted](Dataset::persist), and not at all where nobody asks for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicI32, Ordering}};
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let highest = Arc::new(AtomicI32::new(0));
    /// let seen = Arc::clone(&highest);
    /// let levels = context.parallelize([71, 99, 12], 2).inspect(move |level| {
    ///     seen.fetch_max(*level, Ordering::Relaxed);
    /// });
    /// assert_eq!(levels.collect()?, [71, 99, 12]);
    /// assert_eq!(highest.load(Ordering::Relaxed), 99);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn inspect(&self, f: impl Fn(&T) + Send + Sync + 'static) -> Dataset<T> {
        self.derive(Inspect { header: Header::new("inspect"), parent: Arc::clone(self.lineage()), f })
    }
}

struct Inspect<T, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    f: F,
}

impl<T: Data, F: Fn(&T) + Send + Sync> Lineage<T> for Inspect<T, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let origin = self.header.origin();
        self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            chunk.as_slice().iter().for_each(&self.f);
            sink.push(chunk)
        })
    }
}

impl<T: Data, F: Fn(&T) + Send + Sync> AnyLineage for Inspect<T, F> {
    narrow_node!();

    fn key_partitions(&self) -> Option<usize> {
        self.parent.key_partitions()
    }
}
