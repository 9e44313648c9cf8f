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
        self.filter_into(Header::new("filter"), predicate)
    }

    /// [`filter`](Dataset::filter), under the name of the operation it is a part of.
    pub(in crate::dataset) fn filter_into(
        &self,
        header: Header,
        predicate: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Dataset<T> {
        self.derive(Filter { header, parent: Arc::clone(self.lineage()), predicate })
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
            if is_small_and_plain::<T>() {
                return match keep_plain(chunk.as_slice(), &mut kept, &self.predicate) {
                    [] => Ok(Flow::Continue(())),
                    records => sink.push(Chunk::Shared(records)),
                };
            }
            match chunk {
                Chunk::Owned(records) => {
                    records.retain(&self.predicate);
                    push_some(records, sink)
                }
                Chunk::Shared(records) => {
                    kept.clear();
                    kept.extend(records.iter().filter(|record| (self.predicate)(record)).cloned());
                    push_some(&mut kept, sink)
                }
            }
        })
    }
}

impl<T: Data, F: Fn(&T) -> bool + Send + Sync> AnyLineage for Filter<T, F> {
    narrow_node!();

    fn key_partitions(&self) -> Option<usize> {
        self.parent.key_partitions()
    }
}

fn push_some<T>(records: &mut Vec<T>, sink: &mut dyn Sink<T>) -> Result<Flow> {
    if records.is_empty() { Ok(Flow::Continue(())) } else { sink.push(Chunk::Owned(records)) }
}

const fn is_small_and_plain<T>() -> bool {
    !needs_drop::<T>() && size_of::<T>() <= 16
}

/// Writes the records for which `predicate` holds to the start of `room` and returns them, without a branch on what it
/// says: a branch that goes either way at random costs more than writing every record.
///
/// Each record is written behind those kept so far, and written over if it was not wanted. It does not work in place,
/// where every read has to wait for the write before it, and in blocks of eight, so that no index needs a check.
fn keep_plain<'r, T: Clone>(records: &[T], room: &'r mut Vec<T>, predicate: impl Fn(&T) -> bool) -> &'r [T] {
    const BLOCK: usize = 8;
    if let Some(missing) = records.get(room.len()..) {
        // Any values will do: they are written over or not returned.
        room.extend_from_slice(missing);
    }
    let blocks = records.chunks_exact(BLOCK);
    let rest = blocks.remainder();
    let mut len = 0;
    for block in blocks {
        let Some(places) = room[len..].first_chunk_mut::<BLOCK>() else { unreachable!("no more are kept than came") };
        let mut wanted = 0;
        for record in block {
            places[wanted % BLOCK] = record.clone();
            wanted += usize::from(predicate(record));
        }
        len += wanted;
    }
    for record in rest {
        room[len] = record.clone();
        len += usize::from(predicate(record));
    }
    &room[..len]
}

#[cfg(test)]
mod tests {
    use super::keep_plain;

    #[test]
    fn every_pattern_of_kept_records() {
        for mask in 0..1u32 << 11 {
            let plain: Vec<u32> = (0..11).collect();
            let mut room = vec![7; 3];
            let kept = keep_plain(&plain, &mut room, |bit| mask & (1 << bit) != 0);
            assert!(kept.iter().eq(plain.iter().filter(|bit| mask & (1 << **bit) != 0)), "{mask:b}");
        }
    }
}
