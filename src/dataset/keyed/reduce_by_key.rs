use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::sync::Arc;

use super::combine_by_key::{Combine, Copying, Taking};
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::shuffle::{Feed, MapWriter};
use crate::dataset::{Aggregate, AnyLineage, Chunk, Dataset, Flow, Header, Lineage};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Merges the values of each key with `f`, which has to be associative and commutative. Every key comes once, in no
    /// particular (but in each run the same) order.
    ///
    /// Values are combined before the shuffle where keys repeat.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let words = context.parallelize([("a", 1), ("b", 1), ("a", 1)].map(|(w, n)| (w.to_string(), n)), 2);
    /// let mut counts = words.reduce_by_key(|a, b| a + b).collect()?;
    /// counts.sort();
    /// assert_eq!(counts, [("a".to_string(), 2), ("b".to_string(), 1)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let header = Header::new("reduce_by_key");
        self.reduce_by_key_into(header, f, self.runtime().default_partitions())
    }

    /// As [`reduce_by_key`](Dataset::reduce_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn reduce_by_key_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.reduce_by_key_into(Header::new("reduce_by_key"), f, partitions)
    }
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    pub(crate) fn reduce_by_key_into(
        &self,
        header: Header,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, V)> {
        self.combine_with(header, Reduce(f, PhantomData), partitions)
    }
}

impl<T: Data> Dataset<T> {
    /// Like [`flat_map_ref`](Dataset::flat_map_ref) to pairs and [`reduce_by_key`](Dataset::reduce_by_key) in one, with
    /// keys that are borrowed from the record: a key is copied when it is first seen in a partition, and not at each
    /// of its occurrences.
    ///
    /// Keys are `&str` and come out as `String`, or `&[u8]` and `Vec<u8>`, or whatever else is
    /// [`ToOwned`]. Every key comes once, in no particular (but in each run the same) order.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let lines = context.parallelize(["to be or".to_string(), "not to be".to_string()], 2);
    /// let counts = lines.reduce_by_key_ref(
    ///     |line, out| line.split(' ').for_each(|word| out.emit(word, 1)),
    ///     |a, b| a + b,
    /// );
    /// let mut counts = counts.collect()?;
    /// counts.sort();
    /// let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 2)];
    /// assert_eq!(counts, expected.map(|(word, count)| (word.to_string(), count)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_ref<Q, V: Exchange>(
        &self,
        pairs: impl Fn(&T, &mut PairEmitter<'_, Q, V>) + Send + Sync + 'static,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> Dataset<(Q::Owned, V)>
    where
        Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    {
        self.reduce_by_key_ref_into(Header::new("reduce_by_key_ref"), pairs, f)
    }

    /// [`reduce_by_key_ref`](Dataset::reduce_by_key_ref), under the name of the operation it is a part of.
    pub(super) fn reduce_by_key_ref_into<Q, V: Exchange>(
        &self,
        header: Header,
        pairs: impl Fn(&T, &mut PairEmitter<'_, Q, V>) + Send + Sync + 'static,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> Dataset<(Q::Owned, V)>
    where
        Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    {
        let partitions = self.runtime().default_partitions();
        let feed = BorrowedPairs { parent: Arc::clone(self.lineage()), pairs, key: PhantomData::<fn(&Q) -> V> };
        // As in `combine_with`.
        if needs_drop::<V>() {
            self.shuffle(header, feed, Taking(Reduce(f, PhantomData)), partitions)
        } else {
            self.shuffle(header, feed, Copying(Reduce(f, PhantomData)), partitions)
        }
    }
}

/// Takes pairs with borrowed keys. Given to the closure of [`Dataset::reduce_by_key_ref`].
pub struct PairEmitter<'w, Q: ?Sized, V>(&'w mut dyn FnMut(&Q, V));

impl<Q: ?Sized, V> PairEmitter<'_, Q, V> {
    /// Sends a pair on.
    #[inline]
    pub fn emit(&mut self, key: &Q, value: V) {
        (self.0)(key, value);
    }

    /// What takes the pairs.
    #[inline]
    pub(super) fn writer(&mut self) -> &mut dyn FnMut(&Q, V) {
        self.0
    }
}

impl<Q: ?Sized, V> fmt::Debug for PairEmitter<'_, Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairEmitter").finish_non_exhaustive()
    }
}

struct BorrowedPairs<T, Q: ?Sized, V, P> {
    parent: Arc<dyn Lineage<T>>,
    pairs: P,
    key: PhantomData<fn(&Q) -> V>,
}

impl<T, Q, V, P, A> Feed<Q::Owned, A> for BorrowedPairs<T, Q, V, P>
where
    T: Data,
    Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    V: Exchange,
    P: Fn(&T, &mut PairEmitter<'_, Q, V>) + Send + Sync + 'static,
    A: Aggregate<Value = V>,
{
    fn parent(&self) -> &dyn AnyLineage {
        self.parent.any()
    }

    fn feed<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
        writer: &mut MapWriter<'_, Q::Owned, A>,
    ) -> Result<()> {
        let _ = self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            let mut write = |key: &Q, value| writer.push_ref(key, value);
            let mut out = PairEmitter(&mut write);
            chunk.as_slice().iter().for_each(|record| (self.pairs)(record, &mut out));
            Ok(Flow::Continue(()))
        })?;
        Ok(())
    }
}

/// The combination of a reduction: values are merged as they are.
struct Reduce<V, F>(F, PhantomData<fn() -> V>);

impl<V: Exchange, F: Fn(V, V) -> V + Send + Sync + 'static> Combine for Reduce<V, F> {
    type Value = V;
    type Combiner = V;
    const APART: bool = false;

    #[inline]
    fn create(&self, value: V) -> V {
        value
    }

    #[inline]
    fn merge_value(&self, reduced: V, value: V) -> V {
        (self.0)(reduced, value)
    }

    #[inline]
    fn merge_combiners(&self, reduced: V, other: V) -> V {
        (self.0)(reduced, other)
    }
}
