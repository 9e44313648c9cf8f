use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::data::{Data, Exchange, Ordered, Partitions};
use crate::dataset::narrow::narrow_node;
use crate::dataset::shuffle::Place;
use crate::dataset::{AnyLineage, Chunk, Dataset, Emitter, Flow, Header, Lineage, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// The `k` pairs with the largest values, the largest first, in one partition. Of equal values the first ones win
    /// and come first.
    ///
    /// Every partition keeps no more than its own `k` largest, and only these are moved.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([('a', 3), ('b', 7), ('c', 1), ('d', 7)], 2);
    /// assert_eq!(visits.top_k_by_value(3).collect()?, [('b', 7), ('d', 7), ('a', 3)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn top_k_by_value(&self, k: usize) -> Dataset<(K, V)>
    where
        K: Exchange,
        V: Exchange + Ordered,
    {
        let name = "top_k_by_value";
        let largest =
            |of: &Dataset<(K, V)>, header| of.derive(TopKByValue { header, parent: Arc::clone(of.lineage()), k });
        let of_each = largest(self, Header::new(name));
        let together = of_each.scatter_with(Header::new(name), Together, Partitions::new(1));
        largest(&together, Header::new(name))
    }
}

/// All in one partition.
struct Together;

impl<T> Place<T> for Together {
    fn place(&self, _: usize, _: usize, _: &T) -> usize {
        0
    }
}

/// The largest of each partition.
struct TopKByValue<K, V> {
    header: Header,
    parent: Arc<dyn Lineage<(K, V)>>,
    k: usize,
}

impl<K: Data, V: Data + Ord> Lineage<(K, V)> for TopKByValue<K, V> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(K, V)>) -> Result<Flow> {
        let origin = self.header.origin();
        let mut largest = Largest { k: self.k, heap: BinaryHeap::new(), taken: 0 };
        let _ = self.parent.compute(partition, task, &mut |chunk: Chunk<'_, (K, V)>| {
            task.enter(origin);
            match chunk {
                Chunk::Owned(records) => {
                    for record in records.drain(..) {
                        if largest.wants(&record.1) {
                            largest.take(record);
                        }
                    }
                }
                Chunk::Shared(records) => {
                    for record in records {
                        if largest.wants(&record.1) {
                            largest.take(record.clone());
                        }
                    }
                }
            }
            Ok(Flow::Continue(()))
        })?;
        task.enter(origin);
        let mut out = Emitter::new(sink);
        out.extend(largest.heap.into_sorted_vec().into_iter().map(|ranked| (ranked.key, ranked.value)));
        out.finish()
    }
}

impl<K: Data, V: Data + Ord> AnyLineage for TopKByValue<K, V> {
    narrow_node!();
}

/// The `k` best pairs so far, the worst of them on top.
struct Largest<K, V> {
    k: usize,
    heap: BinaryHeap<Ranked<K, V>>,
    taken: u64,
}

impl<K, V: Ord> Largest<K, V> {
    #[inline]
    fn wants(&self, value: &V) -> bool {
        self.heap.len() < self.k || self.heap.peek().is_some_and(|worst| *value > worst.value)
    }

    fn take(&mut self, (key, value): (K, V)) {
        if self.heap.len() == self.k {
            self.heap.pop();
        }
        self.heap.push(Ranked { key, value, place: self.taken });
        self.taken += 1;
    }
}

/// A pair; the smaller one is the better one: that with the larger value, or of equal ones that which came first.
struct Ranked<K, V> {
    key: K,
    value: V,
    place: u64,
}

impl<K, V: Ord> Ord for Ranked<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.value.cmp(&self.value).then(self.place.cmp(&other.place))
    }
}

impl<K, V: Ord> PartialOrd for Ranked<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K, V: Ord> PartialEq for Ranked<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K, V: Ord> Eq for Ranked<K, V> {}
