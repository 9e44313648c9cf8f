use std::sync::Arc;

use super::flat_map::expand_chunks;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink, stage};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Every record of this dataset with every record of `other`.
    ///
    /// Each partition of this dataset meets each of `other`, so there are as many partitions as their numbers
    /// multiplied, and a partition of either is computed once for each of the other's:
    /// [persist](Dataset::persist) what is dear. A partition of `other` is held in memory meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ports = context.parallelize(["Brest", "Dover"], 1);
    /// let tides = context.parallelize(["ebb", "flood"], 1);
    /// let all = [("Brest", "ebb"), ("Brest", "flood"), ("Dover", "ebb"), ("Dover", "flood")];
    /// assert_eq!(ports.cartesian(&tides).collect()?, all);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cartesian<U: Data>(&self, other: &Dataset<U>) -> Dataset<(T, U)> {
        let (left, right) = (Arc::clone(self.lineage()), Arc::clone(other.lineage()));
        self.derive(Cartesian { header: Header::new("cartesian"), left, right })
    }
}

struct Cartesian<T, U> {
    header: Header,
    left: Arc<dyn Lineage<T>>,
    right: Arc<dyn Lineage<U>>,
}

impl<T: Data, U: Data> Lineage<(T, U)> for Cartesian<T, U> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(T, U)>) -> Result<Flow> {
        let (left, right) = (partition / self.right.partitions(), partition % self.right.partitions());
        let right = stage::gather(&*self.right, right, task)?;
        expand_chunks(&*self.left, left, task, self.header.origin(), sink, |chunk: Chunk<'_, T>, out| {
            for left in chunk.as_slice() {
                out.extend(right.iter().map(|right| (left.clone(), right.clone())));
            }
        })
    }
}

impl<T: Data, U: Data> AnyLineage for Cartesian<T, U> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.left.partitions() * self.right.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.left.records()?.saturating_mul(self.right.records()?))
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.left.any());
        visit(self.right.any());
    }
}
