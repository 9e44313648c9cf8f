use std::borrow::Cow;
use std::sync::Arc;

use super::Aggregate;
use super::block::BlockOf;
use super::table::{Entry, KeyTable};
use crate::data::{Data, Key, part_of};
use crate::dataset::{Chunk, Flow, Sink, chunk_len};
use crate::error::Result;

/// The reduce side of a shuffle: merges what the map tasks wrote for one partition, one bucket after the other, and
/// pushes a record a key. Blocks are left as they are, for another attempt.
pub(super) fn merge<K: Key, A: Aggregate>(
    aggregate: &A,
    blocks: &[Arc<BlockOf<K, A>>],
    partitions: usize,
    sink: &mut dyn Sink<(K, A::Output)>,
) -> Result<Flow> {
    let buckets = blocks.iter().map(|block| block.buckets()).max().unwrap_or(0);
    let values: Vec<_> = blocks.iter().map(|block| split(&block.values, partitions, buckets)).collect();
    let combined: Vec<_> = blocks.iter().map(|block| split(&block.combined, partitions, buckets)).collect();
    let mut table = KeyTable::new();
    let mut out = Vec::with_capacity(chunk_len::<(K, A::Output)>());
    for bucket in 0..buckets {
        let combiners: usize = combined.iter().map(|lists| len(lists, bucket)).max().unwrap_or(0);
        let loose: usize = values.iter().map(|lists| len(lists, bucket)).sum();
        table.reserve(combiners + combiners / 4 + loose / 2);
        for (combined, values) in combined.iter().zip(&values) {
            for entry in combined.get(bucket).map_or(&[][..], |list| list) {
                let value = entry.value.clone();
                table.merge_ref(entry.hash, &entry.key, value, |c| c, |c, other| aggregate.merge_combiners(c, other));
            }
            for entry in values.get(bucket).map_or(&[][..], |list| list) {
                let value = entry.value.clone();
                table.merge_ref(
                    entry.hash,
                    &entry.key,
                    value,
                    |v| aggregate.create(v),
                    |c, v| aggregate.merge_value(c, v),
                );
            }
        }
        let mut entries = table.drain();
        loop {
            out.clear();
            out.extend(
                entries.by_ref().take(chunk_len::<(K, A::Output)>()).map(|e| (e.key, aggregate.finish(e.value))),
            );
            if out.is_empty() {
                break;
            }
            if sink.push(Chunk::Owned(&mut out))?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
    }
    Ok(Flow::Continue(()))
}

/// The lists of a block of one of `partitions` partitions, by `buckets`: a map task with little output wrote one list
/// for all of them.
fn split<K: Data, V: Data>(
    lists: &[Vec<Entry<K, V>>],
    partitions: usize,
    buckets: usize,
) -> Cow<'_, [Vec<Entry<K, V>>]> {
    if lists.len() == buckets || lists.is_empty() {
        return Cow::Borrowed(lists);
    }
    let mut finer: Vec<Vec<Entry<K, V>>> = vec![Vec::new(); buckets];
    for entry in lists.iter().flatten() {
        // The place among the buckets of all partitions, counted within the partition.
        finer[part_of(entry.hash, partitions * buckets) % buckets].push(entry.clone());
    }
    Cow::Owned(finer)
}

fn len<T>(lists: &[Vec<T>], bucket: usize) -> usize {
    lists.get(bucket).map_or(0, Vec::len)
}
