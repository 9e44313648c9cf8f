//! Aggregations whose result has a type of its own. As in Spark, the values of a key in one partition make a combiner
//! of their own before those of the partitions are merged. That holds whether or not values are combined before the
//! shuffle (`Aggregate::APART`), so the result does not depend on how often keys repeat.

use std::marker::PhantomData;
use std::mem::needs_drop;
use std::sync::Arc;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{Aggregate, Dataset, Header};

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Combines the values of each key into something of another type. In each partition `create` makes a combiner of
    /// the first value of a key and `merge_value` adds the others, in order; `merge_combiners` then merges the
    /// combiners of a key, in the order of the partitions. Every key comes once, in no particular (but in each run the
    /// same) order.
    ///
    /// Values are combined before the shuffle where keys repeat. That decides how much is moved and never the result:
    /// `create` is called as if once for each key and partition of this dataset. Spark's `mapSideCombine` need not be
    /// said.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let tides = context.parallelize([("high", 4.5), ("low", 0.5), ("high", 5.5)], 2);
    /// let tides = tides.map(|(name, metres)| (name.to_string(), metres));
    /// let sums = tides.combine_by_key(
    ///     |metres| (metres, 1),
    ///     |(sum, count), metres| (sum + metres, count + 1),
    ///     |(sum, count), (metres, more)| (sum + metres, count + more),
    /// );
    /// let mut means = sums.map_values(|(sum, count)| sum / f64::from(count)).collect()?;
    /// means.sort_by(|a, b| a.0.cmp(&b.0));
    /// assert_eq!(means, [("high".to_string(), 5.0), ("low".to_string(), 0.5)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn combine_by_key<C: Exchange>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> Dataset<(K, C)>
    where
        K: Key,
        V: Exchange,
    {
        self.combine_by_key_with(create, merge_value, merge_combiners, self.runtime().default_partitions())
    }

    /// As [`combine_by_key`](Dataset::combine_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn combine_by_key_with<C: Exchange>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, C)>
    where
        K: Key,
        V: Exchange,
    {
        let functions = Functions { create, merge_value, merge_combiners, types: PhantomData };
        self.combine_with(Header::new("combine_by_key"), functions, partitions)
    }

    /// Folds the values of each key into `zero`. In each partition `seq` folds the values of a key into a copy of
    /// `zero`, in order; `comb` then merges the results of a key, in the order of the partitions. Every key comes once,
    /// in no particular (but in each run the same) order.
    ///
    /// `zero` enters once for each key and partition of this dataset that has the key, as in Spark: it should change
    /// nothing, as 0 does in a sum. Values are combined before the shuffle where keys repeat, which never shows in the
    /// result.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeSet;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([(7, 'a'), (7, 'b'), (7, 'a')], 2);
    /// let visitors = visits.aggregate_by_key(
    ///     BTreeSet::new(),
    ///     |mut seen, visitor| {
    ///         seen.insert(visitor);
    ///         seen
    ///     },
    ///     |a, b| &a | &b,
    /// );
    /// assert_eq!(visitors.collect()?, [(7, BTreeSet::from(['a', 'b']))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_by_key<U: Exchange>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
    ) -> Dataset<(K, U)>
    where
        K: Key,
        V: Exchange,
    {
        self.aggregate_by_key_with(zero, seq, comb, self.runtime().default_partitions())
    }

    /// As [`aggregate_by_key`](Dataset::aggregate_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn aggregate_by_key_with<U: Exchange>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, U)>
    where
        K: Key,
        V: Exchange,
    {
        let fold = Fold { zero, seq, comb, value: PhantomData };
        self.combine_with(Header::new("aggregate_by_key"), fold, partitions)
    }

    /// Folds the values of each key into `zero` with `f`, which has to be associative and commutative.
    /// [`aggregate_by_key`](Dataset::aggregate_by_key) with one function for both.
    ///
    /// `zero` enters once for each key and partition of this dataset that has the key, as in Spark: it should change
    /// nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let factors = context.parallelize([("six", 2), ("six", 3)], 1).map(|(name, n)| (name.to_string(), n));
    /// assert_eq!(factors.fold_by_key(1, |a, b| a * b).collect()?, [("six".to_string(), 6)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn fold_by_key(&self, zero: V, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.fold_by_key_with(zero, f, self.runtime().default_partitions())
    }

    /// As [`fold_by_key`](Dataset::fold_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn fold_by_key_with(
        &self,
        zero: V,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: Partitions,
    ) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let f = Arc::new(f);
        let again = Arc::clone(&f);
        let fold = Fold { zero, seq: move |a, b| f(a, b), comb: move |a, b| again(a, b), value: PhantomData };
        self.combine_with(Header::new("fold_by_key"), fold, partitions)
    }
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    /// What is behind every aggregation whose functions take and return values.
    pub(super) fn combine_with<C: Combine<Value = V>>(
        &self,
        header: Header,
        combine: C,
        partitions: Partitions,
    ) -> Dataset<(K, C::Combiner)> {
        // Plain combiners are copied out of the table; others are taken out of an `Option`, which costs no room where
        // the type has a niche, as strings and vectors do.
        if needs_drop::<C::Combiner>() {
            self.aggregate_with(header, Taking(combine), partitions)
        } else {
            self.aggregate_with(header, Copying(combine), partitions)
        }
    }
}

/// An aggregation by functions that take a combiner and return it, as programs write them.
pub(super) trait Combine: Send + Sync + 'static {
    type Value: Exchange;
    type Combiner: Exchange;

    /// As [`Aggregate::APART`].
    const APART: bool;

    fn create(&self, value: Self::Value) -> Self::Combiner;
    fn merge_value(&self, combiner: Self::Combiner, value: Self::Value) -> Self::Combiner;
    fn merge_combiners(&self, combiner: Self::Combiner, other: Self::Combiner) -> Self::Combiner;
}

struct Functions<V, C, F, G, H> {
    create: F,
    merge_value: G,
    merge_combiners: H,
    types: PhantomData<fn(V) -> C>,
}

impl<V, C, F, G, H> Combine for Functions<V, C, F, G, H>
where
    V: Exchange,
    C: Exchange,
    F: Fn(V) -> C + Send + Sync + 'static,
    G: Fn(C, V) -> C + Send + Sync + 'static,
    H: Fn(C, C) -> C + Send + Sync + 'static,
{
    type Value = V;
    type Combiner = C;
    const APART: bool = true;

    #[inline]
    fn create(&self, value: V) -> C {
        (self.create)(value)
    }

    #[inline]
    fn merge_value(&self, combiner: C, value: V) -> C {
        (self.merge_value)(combiner, value)
    }

    #[inline]
    fn merge_combiners(&self, combiner: C, other: C) -> C {
        (self.merge_combiners)(combiner, other)
    }
}

struct Fold<V, U, F, G> {
    zero: U,
    seq: F,
    comb: G,
    value: PhantomData<fn(V)>,
}

impl<V, U, F, G> Combine for Fold<V, U, F, G>
where
    V: Exchange,
    U: Exchange,
    F: Fn(U, V) -> U + Send + Sync + 'static,
    G: Fn(U, U) -> U + Send + Sync + 'static,
{
    type Value = V;
    type Combiner = U;
    const APART: bool = true;

    #[inline]
    fn create(&self, value: V) -> U {
        (self.seq)(self.zero.clone(), value)
    }

    #[inline]
    fn merge_value(&self, folded: U, value: V) -> U {
        (self.seq)(folded, value)
    }

    #[inline]
    fn merge_combiners(&self, folded: U, other: U) -> U {
        (self.comb)(folded, other)
    }
}

/// Combiners that are copied out of the table and written back.
pub(super) struct Copying<C>(pub(super) C);

impl<C: Combine> Aggregate for Copying<C> {
    type Value = C::Value;
    type Combiner = C::Combiner;
    type Output = C::Combiner;
    const COMBINES: bool = true;
    const APART: bool = C::APART;

    #[inline]
    fn create(&self, value: C::Value) -> C::Combiner {
        self.0.create(value)
    }

    #[inline]
    fn merge_value(&self, combiner: &mut C::Combiner, value: C::Value) {
        *combiner = self.0.merge_value(combiner.clone(), value);
    }

    #[inline]
    fn merge_combiners(&self, combiner: &mut C::Combiner, other: C::Combiner) {
        *combiner = self.0.merge_combiners(combiner.clone(), other);
    }

    #[inline]
    fn finish(&self, combiner: C::Combiner) -> C::Combiner {
        combiner
    }
}

/// Combiners that are taken out of the table and put back.
pub(super) struct Taking<C>(pub(super) C);

/// Between two calls there is a combiner; only a panic of the closure leaves none, and that is the end of the table.
const PRESENT: &str = "a combiner is present between calls";

impl<C: Combine> Aggregate for Taking<C> {
    type Value = C::Value;
    type Combiner = Option<C::Combiner>;
    type Output = C::Combiner;
    const COMBINES: bool = true;
    const APART: bool = C::APART;

    fn create(&self, value: C::Value) -> Option<C::Combiner> {
        Some(self.0.create(value))
    }

    fn merge_value(&self, combiner: &mut Option<C::Combiner>, value: C::Value) {
        *combiner = Some(self.0.merge_value(combiner.take().expect(PRESENT), value));
    }

    fn merge_combiners(&self, combiner: &mut Option<C::Combiner>, other: Option<C::Combiner>) {
        *combiner = Some(self.0.merge_combiners(combiner.take().expect(PRESENT), other.expect(PRESENT)));
    }

    fn finish(&self, combiner: Option<C::Combiner>) -> C::Combiner {
        combiner.expect(PRESENT)
    }
}
