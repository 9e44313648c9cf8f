//! One batch of records: partitions, the lineage that computes them, and the operations on them.
//!
//! Knows nothing of streams or of time. An operation that looks at one batch lives here; a stream lifts it.

mod action;
mod approx_distinct;
mod chunk;
mod debug_string;
mod files;
mod keyed;
mod lineage;
mod narrow;
mod random;
mod read;
mod sets;
mod shuffle;
mod sort;
mod stage;

use std::fmt;
use std::sync::Arc;

use crate::data::Data;
use crate::exec::Runtime;
use crate::id::Origin;

pub(crate) use chunk::{Chunk, Flow, Sink, chunk_len, resuming};
pub(crate) use lineage::{AnyLineage, Header, Lineage, Note};
pub(crate) use narrow::{Keeping, Memory, Partition, push_shared};
pub(crate) use shuffle::Aggregate;
pub(crate) use stage::gather;

pub use action::{LocalIterator, Number, Stats};
pub use chunk::Emitter;
pub use keyed::{PairEmitter, ValueEmitter};
pub use narrow::{PartitionIter, StorageLevel};
pub use read::ReadPartition;
pub use sort::SortOrder;

/// The records of one batch: partitions, and the recipe that computes them when an action asks for them.
///
/// Spark's `RDD`. Transformations are lazy and cost nothing by themselves; actions run tasks, one a partition, on the
/// pool of the context. Narrow transformations run fused: records travel through the whole chain in chunks of a few
/// kilobytes. Cloning shares the recipe.
///
/// Each action computes the dataset anew, up to the last shuffle, unless it is [persisted](Dataset::persist).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::prelude::*;
///
/// let context = StreamingContext::builder("squares").batch_interval(Duration::from_secs(1)).build()?;
/// let numbers = context.parallelize(1..=6, 2);
/// let odd_squares = numbers.filter(|n| n % 2 == 1).map(|n| n * n);
/// assert_eq!(odd_squares.collect()?, [1, 9, 25]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct Dataset<T> {
    lineage: Arc<dyn Lineage<T>>,
    runtime: Runtime,
}

impl<T> Clone for Dataset<T> {
    fn clone(&self) -> Self {
        Dataset { lineage: Arc::clone(&self.lineage), runtime: self.runtime.clone() }
    }
}

impl<T> fmt::Debug for Dataset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({}, {} partitions)", self.lineage.header().origin(), self.lineage.partitions())
    }
}

impl<T: Data> Dataset<T> {
    pub(crate) fn new(lineage: impl Lineage<T> + 'static, runtime: &Runtime) -> Self {
        Dataset::shared(Arc::new(lineage), runtime)
    }

    /// A dataset of a recipe that somebody else has a hold of too.
    pub(crate) fn shared(lineage: Arc<dyn Lineage<T>>, runtime: &Runtime) -> Self {
        Dataset { lineage, runtime: runtime.clone() }
    }

    /// A dataset of the given partitions, kept in memory.
    #[track_caller]
    pub(crate) fn of(partitions: Vec<Vec<T>>, runtime: &Runtime) -> Self {
        let partitions = partitions.into_iter().map(Arc::new).collect();
        Dataset::new(narrow::Memory::new(Header::new("parallelize"), partitions), runtime)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn lineage(&self) -> &Arc<dyn Lineage<T>> {
        &self.lineage
    }

    /// Derives a dataset that runs on the same runtime.
    pub(crate) fn derive<U: Data>(&self, lineage: impl Lineage<U> + 'static) -> Dataset<U> {
        Dataset::new(lineage, &self.runtime)
    }

    /// Gives this dataset, and what it was made from, to an operator of the graph, up to what belongs to one already.
    /// `None` leaves to each what it knows of itself.
    pub(crate) fn attribute(&self, origin: Option<&Arc<Origin>>) {
        lineage::attribute(self.lineage.any(), origin);
    }

    /// How many partitions the dataset has: as many tasks run for an action.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize(1..=3, 8).num_partitions(), 8);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn num_partitions(&self) -> usize {
        self.lineage.partitions()
    }

    /// What the source noted beside the records with [`SourceContext::read`](crate::SourceContext::read), if this
    /// dataset comes straight from one, or through operations that keep its partitions, and the note is an `N`.
    pub fn source_note<N: Send + Sync + 'static>(&self) -> Option<Arc<N>> {
        self.lineage.note()?.downcast().ok()
    }
}
