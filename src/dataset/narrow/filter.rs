use std::mem::needs_drop;
use std::sync::Arc;

use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink, chunk_len};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Keeps the records for which `predicate` holds. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let even = context.parallelize(1..=6, 2).filter(|n| n % 2 == 0);
    /// assert_eq!(even.collect()?, [2, 4, 6]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn filter(&self, predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> Dataset<T> {
        self.derive(Filter { header: Header::new("filter"), parent: Arc::clone(self.lineage()), predicate })
    }
}

struct Filter<T, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    predicate: F,
}

impl<T: Data, F: Fn(&T) -> bool + Send + Sync> Lineage<T> for Filter<T, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let origin = self.header.origin();
        let mut kept: Vec<T> = Vec::with_capacity(chunk_len::<T>());
        self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            match chunk {
                Chunk::Owned(records) => {
                    keep(records, &self.predicate);
                    push_some(records, sink)
                }
                Chunk::Shared(records) => {
                    kept.clear();
                    if needs_drop::<T>() {
                        kept.extend(records.iter().filter(|record| (self.predicate)(record)).cloned());
                    } else {
                        kept.extend_from_slice(records);
                        keep(&mut kept, &self.predicate);
                    }
                    push_some(&mut kept, sink)
                }
            }
        })
    }
}

impl<T: Data, F: Fn(&T) -> bool + Send + Sync> AnyLineage for Filter<T, F> {
    narrow_node!();
}

fn push_some<T>(records: &mut Vec<T>, sink: &mut dyn Sink<T>) -> Result<Flow> {
    if records.is_empty() { Ok(Flow::Continue(())) } else { sink.push(Chunk::Owned(records)) }
}

/// `Vec::retain`, without a branch on what the predicate says where records are small and plain: a branch that goes
/// either way at random costs more than moving every record.
fn keep<T>(records: &mut Vec<T>, predicate: impl Fn(&T) -> bool) {
    if needs_drop::<T>() || size_of::<T>() > 16 {
        return records.retain(predicate);
    }
    let mut kept = 0;
    for next in 0..records.len() {
        let wanted = predicate(&records[next]);
        records.swap(kept, next);
        kept += usize::from(wanted);
    }
    records.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn both_ways_of_keeping_agree() {
        for mask in 0..256u32 {
            let mut plain: Vec<u32> = (0..8).collect();
            keep(&mut plain, |bit| mask & (1 << bit) != 0);
            let mut heap: Vec<String> = (0..8).map(|bit| bit.to_string()).collect();
            keep(&mut heap, |bit| mask & (1 << bit.parse::<u32>().unwrap()) != 0);
            let expected: Vec<u32> = (0..8).filter(|bit| mask & (1 << bit) != 0).collect();
            assert_eq!(plain, expected);
            assert_eq!(heap, expected.iter().map(u32::to_string).collect::<Vec<_>>());
        }
    }
}
