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
    let (mut table, mut apart) = (KeyTable::new(), KeyTable::new());
    let mut out = Vec::with_capacity(chunk_len::<(K, A::Output)>());
    for bucket in 0..buckets {
        let combiners: usize = combined.iter().map(|lists| list(lists, bucket).len()).max().unwrap_or(0);
        let loose: usize = values.iter().map(|lists| list(lists, bucket).len()).sum();
        table.reserve(combiners + combiners / 4 + loose / 2);
        for (combined, values) in combined.iter().zip(&values) {
            let (combined, values) = (list(combined, bucket), list(values, bucket));
            if A::APART && !values.is_empty() && table.len() > 0 {
                fill(&mut apart, aggregate, combined, values);
                for entry in apart.drain() {
                    table.merge(entry.hash, entry.key, entry.value, |c| c, |c, o| aggregate.merge_combiners(c, o));
                }
            } else {
                fill(&mut table, aggregate, combined, values);
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

/// Merges what one map task wrote for a bucket into a table.
fn fill<K: Key, A: Aggregate>(
    table: &mut KeyTable<K, A::Combiner>,
    aggregate: &A,
    combined: &[Entry<K, A::Combiner>],
    values: &[Entry<K, A::Value>],
) {
    for entry in combined {
        let value = entry.value.clone();
        table.merge_ref(entry.hash, &entry.key, value, |c| c, |c, other| aggregate.merge_combiners(c, other));
    }
    for entry in values {
        let value = entry.value.clone();
        table.merge_ref(entry.hash, &entry.key, value, |v| aggregate.create(v), |c, v| aggregate.merge_value(c, v));
    }
}

/// A bucket's list: a map task that passed no value on wrote none.
fn list<T>(lists: &[Vec<T>], bucket: usize) -> &[T] {
    lists.get(bucket).map_or(&[], |list| list)
}
