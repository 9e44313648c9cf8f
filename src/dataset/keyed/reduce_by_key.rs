use std::marker::PhantomData;
use std::mem::needs_drop;

use crate::data::{Data, Exchange, Key};
use crate::dataset::{Aggregate, Dataset, Header};

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
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    pub(crate) fn reduce_by_key_into(
        &self,
        header: Header,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: usize,
    ) -> Dataset<(K, V)> {
        // `f` takes values. Plain ones are copied out of the table; others are taken out of an `Option`, which costs no
        // room where the type has a niche, as strings and vectors do.
        if needs_drop::<V>() {
            self.aggregate_with(header, ReduceTaking(f, PhantomData), partitions)
        } else {
            self.aggregate_with(header, ReduceCopying(f, PhantomData), partitions)
        }
    }
}

struct ReduceCopying<V, F>(F, PhantomData<fn() -> V>);

impl<V: Exchange, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregate for ReduceCopying<V, F> {
    type Value = V;
    type Combiner = V;
    type Output = V;
    const COMBINES: bool = true;

    #[inline]
    fn create(&self, value: V) -> V {
        value
    }

    #[inline]
    fn merge_value(&self, reduced: &mut V, value: V) {
        *reduced = (self.0)(reduced.clone(), value);
    }

    #[inline]
    fn merge_combiners(&self, reduced: &mut V, other: V) {
        self.merge_value(reduced, other);
    }

    #[inline]
    fn finish(&self, reduced: V) -> V {
        reduced
    }
}

struct ReduceTaking<V, F>(F, PhantomData<fn() -> V>);

/// Between two calls there is a value; only a panic of the closure leaves none, and that is the end of the table.
const PRESENT: &str = "a reduced value is present between calls";

impl<V: Exchange, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregate for ReduceTaking<V, F> {
    type Value = V;
    type Combiner = Option<V>;
    type Output = V;
    const COMBINES: bool = true;

    fn create(&self, value: V) -> Option<V> {
        Some(value)
    }

    fn merge_value(&self, reduced: &mut Option<V>, value: V) {
        *reduced = Some((self.0)(reduced.take().expect(PRESENT), value));
    }

    fn merge_combiners(&self, reduced: &mut Option<V>, other: Option<V>) {
        self.merge_value(reduced, other.expect(PRESENT));
    }

    fn finish(&self, reduced: Option<V>) -> V {
        reduced.expect(PRESENT)
    }
}
