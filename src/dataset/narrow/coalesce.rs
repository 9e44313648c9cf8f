use std::ops::Range;
use std::sync::Arc;

use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Joins neighbouring partitions until there are `partitions` of them. No record is moved and the order stays; what
    /// the joined partitions are made from is computed in one task after the other.
    ///
    /// A dataset that has as many partitions or fewer comes back as it is. To get more, or to have them of the same
    /// size, use [`repartition`](Dataset::repartition).
    ///
    /// # Errors
    ///
    /// Of every action, if the number is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(1..=6, 3);
    /// assert_eq!(numbers.coalesce(2).collect_partitions()?, [vec![1, 2], vec![3, 4, 5, 6]]);
    /// assert_eq!(numbers.coalesce(9).num_partitions(), 3);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn coalesce(&self, partitions: usize) -> Dataset<T> {
        let header = Header::new("coalesce");
        if partitions == 0 {
            return self.broken(header, "0 partitions: there has to be one at least");
        }
        if partitions >= self.num_partitions() {
            return self.clone();
        }
        self.derive(Coalesced { header, parent: Arc::clone(self.lineage()), partitions })
    }
}

struct Coalesced<T> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    partitions: usize,
}

impl<T: Data> Coalesced<T> {
    /// The partitions of the parent that are joined to one.
    fn joined(&self, partition: usize) -> Range<usize> {
        let first = |partition| partition * self.parent.partitions() / self.partitions;
        first(partition)..first(partition + 1)
    }
}

impl<T: Data> Lineage<T> for Coalesced<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        for partition in self.joined(partition) {
            if self.parent.compute(partition, task, sink)?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
        Ok(Flow::Continue(()))
    }
}

impl<T: Data> AnyLineage for Coalesced<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn records(&self) -> Option<u64> {
        self.parent.records()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.parent.any());
    }
}
