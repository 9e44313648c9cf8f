use std::any::Any;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use super::shuffle::ShuffleMap;
use super::{Flow, Partition, Sink, StorageLevel};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::TaskContext;
use crate::id::{OperatorId, Origin};

/// The recipe of a dataset: how to compute one of its partitions.
pub(crate) trait Lineage<T>: AnyLineage {
    /// Computes a partition and pushes its records, in order. May be called again, for a retry or another action, and
    /// then pushes the same records in the same order.
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow>;

    /// The records of a partition, if they lie in memory already.
    fn in_memory(&self, _partition: usize) -> Option<Partition<T>> {
        None
    }

    /// Whether partitions stay once they have been computed, for as long as the recipe is there.
    fn is_kept(&self) -> bool {
        false
    }
}

/// The way from a recipe to what can be said of it whatever its records are. For every recipe; Rust has one of its own
/// from 1.86 on.
pub(crate) trait AsAny {
    fn any(&self) -> &dyn AnyLineage;
}

impl<L: AnyLineage> AsAny for L {
    fn any(&self) -> &dyn AnyLineage {
        self
    }
}

/// What can be said of a recipe whatever its records are.
pub(crate) trait AnyLineage: AsAny + Send + Sync {
    fn header(&self) -> &Header;

    /// How many partitions there are.
    fn partitions(&self) -> usize;

    /// How many records a computation will look at, when that is known before it runs. Decides where it runs.
    fn records(&self) -> Option<u64>;

    /// Calls `visit` for each direct parent that computing this recipe would still need.
    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage));

    /// The stage that has to run before this recipe can be computed, for a wide one.
    fn shuffle(&self) -> Option<&dyn ShuffleMap> {
        None
    }

    /// Does what has to be done before tasks can compute this recipe, on the thread of the action: a sort looks at a
    /// sample. Called before every action, after the shuffles of the parents have run.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// `Some(n)` for pairs that are in the partition that the hash of their key says among `n`: what has to bring the
    /// values of a key together finds them together.
    fn key_partitions(&self) -> Option<usize> {
        None
    }

    /// How the program has partitions kept.
    fn storage_level(&self) -> Option<StorageLevel> {
        None
    }

    /// Lets go of kept partitions, if they can be computed again.
    fn unpersist(&self) {}

    /// How many partitions are kept, for a recipe that keeps them.
    fn kept_partitions(&self) -> Option<usize> {
        None
    }

    /// What a source noted beside the records: its own, or that of the parent with the same partitions.
    fn note(&self) -> Option<Note> {
        None
    }
}

/// What a source notes beside the records.
pub(crate) type Note = Arc<dyn Any + Send + Sync>;

/// Who a lineage node belongs to.
#[derive(Debug)]
pub(crate) struct Header {
    name: &'static str,
    site: &'static Location<'static>,
    origin: OnceLock<Arc<Origin>>,
}

impl Header {
    /// The header of a node made by the dataset method `name`.
    #[track_caller]
    pub(crate) fn new(name: &'static str) -> Self {
        Header { name, site: Location::caller(), origin: OnceLock::new() }
    }

    /// The dataset method that made the node.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The operator of the graph that the node belongs to; of none, the dataset's method and the line that called it.
    pub(crate) fn origin(&self) -> &Origin {
        self.origin.get_or_init(|| Arc::new(self.own_origin()))
    }

    /// The error of an operation that was called with something it cannot do.
    pub(crate) fn mistake(&self, said: impl Into<String>) -> Error {
        Error::new(ErrorKind::Graph, said).within_operator(|| self.origin().to_string())
    }

    fn own_origin(&self) -> Origin {
        let place = format!("{}@{}", self.name, self.site);
        Origin { operator: OperatorId::derive(&place, &[], 0), name: self.name.into(), site: self.site }
    }
}

/// See `Dataset::attribute`. Stops at nodes that belong to an operator: what they were made from does too.
pub(super) fn attribute(node: &dyn AnyLineage, origin: Option<&Arc<Origin>>) {
    let header = node.header();
    if header.origin.get().is_some() {
        return;
    }
    header.origin.get_or_init(|| match origin {
        Some(origin) => Arc::clone(origin),
        None => Arc::new(header.own_origin()),
    });
    node.parents(&mut |parent| attribute(parent, origin));
}
